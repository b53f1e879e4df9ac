# %% [markdown]
# # Loss against wall-clock time
#
# Which rule brings an error down first, and does the answer change when compilation counts, or
# when progress is measured in updates or in physics calls? The runs here are small ones that come
# with the source: five problems, four rules at their default options, three seeds. Put your own
# folder in their place.

# %%
# %matplotlib inline
from pathlib import Path

import seaborn as sns

from physopt import analysis

examples = Path(analysis.__file__).resolve().parent / "example_results"
frame = analysis.load(examples / "rules")
frame[["case", "method", "seed", "step", "t_train", "test_loss", "status"]].tail()

# %% [markdown]
# One row per evaluation. A line is the median over seeds, a band the quartiles. Runs that
# diverged are marked where they ended. Where the rules need very unlike times, the axis is
# logarithmic.

# %%
analysis.curves(frame)

# %% [markdown]
# The time that compilation takes is left out above, because it is paid once, however long the
# run. For runs as short as these it is most of what one waits for:

# %%
analysis.curves(frame, compile_time=True)

# %% [markdown]
# Updates of different rules cost differently: a Gauss-Newton update is dear, but goes far.

# %%
analysis.curves(frame, "updates")

# %% [markdown]
# A physics call is one sample simulated, pulled back through the physics or solved inversely.
# Against these, rules compare on any machine alike.

# %%
analysis.curves(frame, "calls")

# %% [markdown]
# The frame is in long form, so seaborn draws any other picture from it in a line.

# %%
one = frame[frame["case"] == "oscillators"]
grid = sns.relplot(one, x="step", y="grad_norm", hue="method", style="method", kind="line")
grid.set(yscale="log")
grid.figure

# %% [markdown]
# Larger batches: more samples a second, and the time to a common target.

# %%
batches = analysis.load(examples / "batch_sizes")
analysis.plot_scaling(analysis.batch_scaling(batches))

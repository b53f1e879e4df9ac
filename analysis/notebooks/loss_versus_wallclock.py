# %% [markdown]
# # Loss against wall-clock time
#
# Which rule reduces the error fastest, and does the answer change if compilation is included, or if
# progress is measured in updates or in physics calls? The small runs used here come with the
# source: five problems, four rules with their default options, three seeds. Replace them with your
# own folder.

# %%
# %matplotlib inline
from pathlib import Path

import seaborn as sns

from physopt import analysis

examples = Path(analysis.__file__).resolve().parent / "example_results"
frame = analysis.load(examples / "rules")
frame[["case", "method", "seed", "step", "t_train", "test_loss", "status"]].tail()

# %% [markdown]
# The frame has one row per evaluation. A line is the median over seeds, a band the quartiles. A
# marker shows where a run diverged. The axis is logarithmic if the rules differ widely in time.

# %%
analysis.curves(frame)

# %% [markdown]
# Compilation is not included above, because its time does not depend on the length of a run. For
# runs as short as these it is most of the total time:

# %%
analysis.curves(frame, compile_time=True)

# %% [markdown]
# Updates of different rules differ in cost: a Gauss-Newton update is expensive but effective.

# %%
analysis.curves(frame, "updates")

# %% [markdown]
# A physics call is one sample simulated, pulled back through the physics or solved inversely. This
# cost does not depend on the machine.

# %%
analysis.curves(frame, "calls")

# %% [markdown]
# The frame is in long form, so seaborn draws other plots from it in one line.

# %%
one = frame[frame["case"] == "oscillators"]
grid = sns.relplot(one, x="step", y="grad_norm", hue="method", style="method", kind="line")
_ = grid.set(yscale="log")

# %% [markdown]
# Larger batches: throughput in samples per second, and the time to a common target.

# %%
batches = analysis.load(examples / "batch_sizes")
analysis.plot_scaling(analysis.batch_scaling(batches))

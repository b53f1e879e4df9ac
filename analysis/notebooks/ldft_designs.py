# %% [markdown]
# # Designs of porous materials
#
# A network learns to answer a water sorption isotherm with a porous matrix that has it. Its loss
# goes through a lattice density functional theory simulator.

# %%
# %matplotlib inline
import json
from pathlib import Path

import numpy as np
from IPython.display import Image
from matplotlib.figure import Figure

from physopt import analysis
from physopt.problems.ldft import isotherm

examples = Path(analysis.__file__).resolve().parent / "example_results"
frame = analysis.load(examples / "designs")
folder = Path(frame["folder"].iloc[0])
frame[["step", "t_train", "area_percent", "area_percent_relaxed", "porosity"]].iloc[[0, -1]]

# %% [markdown]
# What the run of Adam drew when it ended: four targets of the test set, the matrix designed for
# each, the water in it, and the isotherms wanted and achieved.

# %%
Image(str(folder / "figure.png"), width=640)

# %% [markdown]
# The area error is the mean distance of the two curves, in per cent, from the converged simulator
# on the matrix made binary. The baselines are what one has without training: the nearest of N
# simulated matrices.

# %%
baselines = json.loads((folder / "baselines.json").read_text())
figure = analysis.curves(frame, logarithmic=(False, True))
panel = figure.axes[0]
for name, values in baselines.items():
    panel.axhline(values["area_percent"], color="0.6", lw=0.8)
    panel.text(0, values["area_percent"], name.replace("_", " "), fontsize=7, va="bottom")
figure

# %% [markdown]
# The simulator answers any matrix, [batch, n, n] with 1 for pore and 0 for solid. Four of one
# porosity, whose pores are ever finer, hold their water ever more tightly:

# %%
size, widths = 12, (1, 2, 3, 6)
row = np.arange(size)
matrices = np.stack([np.tile((row // width) % 2, (size, 1)) for width in widths]).astype(float)
water = np.asarray(isotherm(matrices, dimensions=2))

figure = Figure(figsize=(5, 3), layout="constrained")
panel = figure.subplots()
humidity = np.linspace(0, 100, water.shape[1] + 1)[1:]
for width, curve, dashes in zip(widths, water, ("-", "--", "-.", ":"), strict=True):
    panel.plot(humidity, curve, ls=dashes, label=f"{width} sites wide")
panel.set(xlabel="relative humidity (%)", ylabel="water per pore volume")
panel.legend(title="slit pores")
figure

# %% [markdown]
# A trained network's designs for targets of your own, from a run that still has its checkpoints:
#
# ```python
# physopt.load(folder).predict(inputs)
# ```
#
# or, from a table of humidity and water content, `python -m physopt design FOLDER isotherm.csv`.

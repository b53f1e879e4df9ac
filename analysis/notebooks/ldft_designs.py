# %% [markdown]
# # Designs of porous materials
#
# A network learns to design a porous matrix with a given water sorption isotherm. Its loss is
# evaluated through a lattice density functional theory simulator.

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
# The figure that the run of Adam drew at its end: four targets of the test set, the matrix designed
# for each, the water in it, and the target and achieved isotherms.

# %%
Image(str(folder / "figure.png"), width=640)

# %% [markdown]
# The area error is the mean distance between the two curves, in per cent, of the converged
# simulator on the binarised matrix. The baselines need no training: the nearest of N simulated
# matrices.

# %%
baselines = json.loads((folder / "baselines.json").read_text())
figure = analysis.curves(frame, logarithmic=(False, True))
panel = figure.axes[0]
for name, values in baselines.items():
    panel.axhline(values["area_percent"], color="0.6", lw=0.8)
    panel.text(0, values["area_percent"], name.replace("_", " "), fontsize=7, va="bottom")
panel.set_ylim(bottom=0.8 * min(values["area_percent"] for values in baselines.values()))
figure

# %% [markdown]
# The simulator accepts any matrix, [batch, n, n] with 1 for pore and 0 for solid. Four matrices of
# the same porosity: the narrower the pores, the lower the humidity at which they fill.

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
# Designs of a trained network for your own targets, from a run with its checkpoints:
#
# ```python
# physopt.load(folder).predict(inputs)
# ```
#
# or, from a table of humidity and water content, `python -m physopt design FOLDER isotherm.csv`.

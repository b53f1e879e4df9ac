# %% [markdown]
# # Add your own rule
#
# A rule is a class in a file. This one takes steps of equal length in every parameter, independent
# of the gradient's magnitude, which helps with badly scaled losses.

# %%
# %matplotlib inline
import tempfile
from pathlib import Path

import physopt
from physopt import analysis
from physopt.optimizers.first_order import Adam

folder = Path(tempfile.mkdtemp())
file = folder / "signed_descent.py"
_ = file.write_text('''
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from physopt import UpdateRule, cost
from physopt.options import PositiveFloat


@dataclass(frozen=True)
class SignedDescent(UpdateRule):
    """Steps of equal length in every parameter: theta <- theta - eta sign(dL/dtheta)."""

    learning_rate: PositiveFloat = 1e-3
    tunable = {"learning_rate": (1e-5, 1e-1)}

    def init(self, objective, params, key):
        return ()

    def update(self, objective, params, state, batch, key):
        loss, gradient = jax.value_and_grad(objective.value)(params, batch)
        updates = jax.tree.map(lambda g: -self.learning_rate * jnp.sign(g), gradient)
        return updates, state, {"loss": loss, **cost(simulate=len(batch), vjp=len(batch))}
''')

# %% [markdown]
# `python -m physopt check signed_descent.py:SignedDescent` tests the requirements of a rule. Here
# it is compared with Adam, on the same batches from the same initial parameters, two seeds each.

# %%
budget = {"steps": 300, "log_every": 30, "batch_size": 64, "out": folder / "results"}
for seed in range(2):
    physopt.run("toy", f"{file}:SignedDescent", seed=seed, **budget)
    physopt.run("toy", Adam(learning_rate=1e-3), seed=seed, **budget)

# %%
frame = analysis.load(folder / "results")
analysis.curves(frame, "updates")

# %% [markdown]
# Is one better? Two seeds cannot show significance; the interval of the ratio shows the spread.

# %%
ours = frame.assign(source=frame["rule"])  # compare the two rules as if they were two folders
analysis.compare(ours, "updates")[["quantity", "a", "b", "ratio", "low", "high", "runs"]]

# %% [markdown]
# The same from the command line:
#
# ```sh
# python -m physopt run problem=toy rule=signed_descent.py:SignedDescent
# python -m physopt compare runs/results/toy/adam runs/results/toy/SignedDescent
# python -m physopt report runs/results
# ```

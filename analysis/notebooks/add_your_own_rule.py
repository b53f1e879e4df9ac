# %% [markdown]
# # Add your own rule
#
# A rule is a file with a class. This one takes steps of one length in every parameter, whatever
# the gradient's size, which helps where a loss is badly scaled.

# %%
# %matplotlib inline
import tempfile
from pathlib import Path

import physopt
from physopt import analysis
from physopt.optimizers.first_order import Adam

folder = Path(tempfile.mkdtemp())
file = folder / "signed_descent.py"
file.write_text('''
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from physopt import UpdateRule, cost
from physopt.options import PositiveFloat


@dataclass(frozen=True)
class SignedDescent(UpdateRule):
    """Steps of one length in every parameter: theta <- theta - eta sign(dL/dtheta)."""

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
# `python -m physopt check signed_descent.py:SignedDescent` tests what every rule promises. Here
# it meets Adam, on the same batches from the same initial parameters, two seeds each.

# %%
budget = {"steps": 300, "log_every": 30, "batch_size": 64, "out": folder / "results"}
for seed in range(2):
    physopt.run("toy", f"{file}:SignedDescent", seed=seed, **budget)
    physopt.run("toy", Adam(learning_rate=1e-3), seed=seed, **budget)

# %%
frame = analysis.load(folder / "results")
analysis.curves(frame, "updates")

# %% [markdown]
# Is one better? Two seeds cannot make it sure; the interval of the ratio says what they do say.

# %%
ours = frame.assign(source=frame["rule"])  # two sides to compare: the two rules
analysis.compare(ours, "updates")[["quantity", "a", "b", "ratio", "low", "high", "runs"]]

# %% [markdown]
# The same from the command line:
#
# ```sh
# python -m physopt run problem=toy rule=signed_descent.py:SignedDescent
# python -m physopt compare runs/results/toy/adam runs/results/toy/SignedDescent
# python -m physopt report runs/results
# ```

"""Scale-invariant physics with the discrete inverse solver, against other rules at equal CPU time.

    python runs/ldft/sip_flips.py [key=value ...]

Every method trains the default generator of ldft2d from the same parameters and batches for the
same CPU seconds of this process; pin it to one core. Prints area errors of the rounded designs of
new targets; `out=runs/ldft/sip_flips.md` writes the table there.
"""

import sys
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from equal_time import PROBLEM, ComparisonOptions, Method, compare

from physopt.numerics.linalg import damped_solve
from physopt.optimizers.estimated import EquilibriumPropagation
from physopt.optimizers.first_order import Adam
from physopt.optimizers.sip import SIP
from physopt.optimizers.spectral import HalfInverse
from physopt.problem import Batch
from physopt.problems.ldft.named import LDFT2D
from physopt.problems.ldft.relaxation import binary
from physopt.script import script

SURROGATE = 2.0
"""Sharpness k of the surrogate slope: deta/dx of the rounded matrix is that of sigmoid(k x)."""


def surrogate_slope(x: jax.Array) -> jax.Array:
    """Return the derivative of sigmoid(2 x)."""
    half = jax.nn.sigmoid(SURROGATE * x)
    return SURROGATE * half * (1 - half)


@dataclass(frozen=True)
class RoundedSteps(LDFT2D):
    """ldft2d whose inverse solver takes one damped Gauss-Newton step at the rounded matrix."""

    def invert(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return x + clip(J^T (J J^T + damping tr/K I)^-1 (y* - y), -1, 1).

        J = dy/deta at the rounded matrix, times the surrogate slope.
        """
        y, slope = self._slope(binary(x))
        jacobian = (slope * surrogate_slope(x)[:, None]).reshape(*y.shape, -1)
        step = damped_solve(jacobian, batch.target - y, self.inverse_damping, jnp.float32)
        return x + jnp.clip(step.reshape(x.shape), -1, 1)


def methods() -> dict[str, Method]:
    """Return the compared methods."""
    sip = SIP(schedule="cosine", repeat=4)
    flips = PROBLEM.replace(inverse="flips", relaxation="straight_through")
    rounded = partial(
        RoundedSteps, misfit=PROBLEM.misfit, textures=PROBLEM.textures, optimised_fraction=0
    )
    return {
        "Adam": Method(PROBLEM, Adam(schedule="cosine")),
        "equilibrium propagation": Method(PROBLEM, EquilibriumPropagation(schedule="cosine")),
        "half-inverse gradients": Method(PROBLEM, HalfInverse()),
        "SIP, relaxed": Method(PROBLEM, sip),
        "SIP, flips, 1 trial": Method(flips, sip),
        "SIP, flips, 4 trials": Method(flips.replace(inverse_iterations=4), sip),
        "SIP, step at the rounded matrix, damping 0.01": Method(rounded(), sip),
        "SIP, step at the rounded matrix, damping 1": Method(rounded(inverse_damping=1.0), sip),
        "SIP, step at the rounded matrix, damping 100": Method(rounded(inverse_damping=100.0), sip),
    }


if __name__ == "__main__":
    sys.exit(
        script(
            ComparisonOptions, lambda options: compare(methods(), options), __doc__, sys.argv[1:]
        )
    )

"""The Allen-Cahn equation, by a physics-informed network."""

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, ClassVar, Literal

import jax.numpy as jnp
import numpy as np
from jax import Array

from physopt.options import Bounds, PositiveInt
from physopt.problems.pinn import trajectory
from physopt.problems.pinn.evolution import EvolutionPINN
from physopt.problems.pinn.points import Placement
from physopt.problems.pinn.stored import stored
from physopt.problems.pinn.trajectory import Trajectory, etdrk4, fourier_series

DIFFUSIVITY = 1e-4
STRENGTH = 5.0
SLICES, STEPS = 200, 10
Start = Literal["smooth", "kink"]


@dataclasses.dataclass(frozen=True)
class AllenCahnPINN(EvolutionPINN):
    """u_t = 1e-4 u_xx + 5 u - 5 u^3 on t in [0, 1], x in [-1, 1] periodic.

    u(0, x) is x^2 cos(pi x) in the literature (start=kink), whose slope jumps from 2 to -2 at
    x = +-1: no network of periodic features represents it, and reference files in circulation are
    off by 1e-5. sin^2(pi x / 2) cos(pi x) has the same shape and is smooth.

    Reference: ETDRK4 with `modes` Fourier modes and a time step of 5e-4. With 1024 modes the smooth
    solution is converged to 1e-12; the kink's to 3e-6, with 8192 to 4e-8.

    Source: M. Raissi et al., arXiv 1711.10561; J. F. Urban et al., arXiv 2405.04230.
    """

    hidden: tuple[PositiveInt, ...] = (30, 30, 30)
    """Widths of the network's hidden layers, with tanh."""

    points: Placement = "adaptive"
    """Interior points of the training set. See `PINN`."""

    start: Start = "smooth"
    """Initial value; kink is that of the literature."""

    modes: Annotated[int, Bounds(32)] = 1024
    """Fourier modes of the reference."""

    is_periodic: ClassVar = True
    entries: ClassVar = ("u", "u_t", "u_xx")
    domain: ClassVar = ((0.0, 1.0), (-1.0, 1.0))
    target: ClassVar = ("relative_l2", 1e-4)
    tiny: ClassVar = {"hidden": (4,), "points": "random", "modes": 64}
    defaults: ClassVar = {
        "batch_size": 2048, "train_size": 2048, "redraw": 200, "heldout_size": 2048,
        "steps": 10000, "log_every": None, "dtype": "float64",
    }  # fmt: skip

    def equation(self, u: Mapping[str, Array], points: Array) -> Array:
        """Return u_t - 1e-4 u_xx - 5 u + 5 u^3."""
        return u["u_t"] - DIFFUSIVITY * u["u_xx"] - STRENGTH * (u["u"] - u["u"] ** 3)

    def initial(self, x: Array) -> Array:
        """Return the initial value."""
        shape = jnp.sin(jnp.pi * x / 2) ** 2 if self.start == "smooth" else x**2
        return shape * jnp.cos(jnp.pi * x)

    def exact(self, points: Array) -> Array:
        """Return the reference."""
        return reference(self.start, self.modes).at(points)


@lru_cache(maxsize=4)
def reference(start: Start, modes: int, steps: int = STEPS) -> Trajectory:
    """Return the solution with `steps` steps to each of 200 slices; slow ones are kept on disk."""
    return Trajectory(stored(coefficients, trajectory)(start, modes, steps), 1.0, -1.0, 2.0)


def coefficients(start: Start, modes: int, steps: int) -> np.ndarray:
    """Integrate the equation on the host: Fourier coefficients [slices + 1, modes / 2 + 1]."""
    x = -1 + 2 * np.arange(modes) / modes
    shape = np.sin(np.pi * x / 2) ** 2 if start == "smooth" else x**2
    wave = np.pi * np.arange(modes // 2 + 1)

    def nonlinear(v: np.ndarray) -> np.ndarray:
        return -STRENGTH * np.fft.rfft(np.fft.irfft(v, modes) ** 3)

    linear = STRENGTH - DIFFUSIVITY * wave**2
    values = np.fft.rfft(shape * np.cos(np.pi * x))
    slices = etdrk4(linear, nonlinear, values, 1 / (SLICES * steps), SLICES, steps)
    return fourier_series(slices, modes)

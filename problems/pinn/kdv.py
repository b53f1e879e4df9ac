"""The Korteweg-de Vries equation, by a physics-informed network."""

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array

from physopt.options import Bounds, PositiveInt
from physopt.problems.pinn import trajectory
from physopt.problems.pinn.evolution import EvolutionPINN
from physopt.problems.pinn.points import Placement
from physopt.problems.pinn.stored import stored
from physopt.problems.pinn.trajectory import Trajectory, etdrk4, fourier_series

DISPERSION = 0.022**2
SLICES, STEPS = 400, 25


@dataclasses.dataclass(frozen=True)
class KdVPINN(EvolutionPINN):
    """u_t + u u_x + 0.022^2 u_xxx = 0 on t in [0, 1], x in [-1, 1] periodic; u(0, x) = cos(pi x).

    The wave steepens and breaks into solitons. Reference: ETDRK4 with `modes` Fourier modes,
    a third of them dealiased, and a time step of 1e-4: with 512 modes converged to 2e-10.

    Source: N. J. Zabusky, M. D. Kruskal, Phys. Rev. Lett. 15 (1965) 240; as a test of networks
    S. Wang et al., arXiv 2402.00326.
    """

    hidden: tuple[PositiveInt, ...] = (30, 30, 30)
    """Widths of the network's hidden layers, with tanh."""

    points: Placement = "adaptive"
    """Interior points of the training set. See `PINN`."""

    modes: Annotated[int, Bounds(32)] = 512
    """Fourier modes of the reference."""

    is_periodic: ClassVar = True
    entries: ClassVar = ("u", "u_t", "u_x", "u_xxx")
    domain: ClassVar = ((0.0, 1.0), (-1.0, 1.0))
    target: ClassVar = ("relative_l2", 1e-3)
    tiny: ClassVar = {"hidden": (4,), "points": "random", "modes": 64}
    defaults: ClassVar = {
        "batch_size": 2048, "train_size": 2048, "redraw": 200, "heldout_size": 2048,
        "steps": 10000, "log_every": None, "dtype": "float64",
    }  # fmt: skip

    def equation(self, u: Mapping[str, Array], points: Array) -> Array:
        """Return u_t + u u_x + 0.022^2 u_xxx."""
        return u["u_t"] + u["u"] * u["u_x"] + DISPERSION * u["u_xxx"]

    def initial(self, x: Array) -> Array:
        """Return cos(pi x)."""
        return jnp.cos(jnp.pi * x)

    def exact(self, points: Array) -> Array:
        """Return the reference."""
        return reference(self.modes).at(points)


@lru_cache(maxsize=4)
def reference(modes: int, steps: int = STEPS) -> Trajectory:
    """Return the solution with `steps` steps to each of 400 slices; slow ones are kept on disk."""
    return Trajectory(stored(coefficients, trajectory)(modes, steps), 1.0, -1.0, 2.0)


def coefficients(modes: int, steps: int) -> np.ndarray:
    """Integrate the equation on the host: Fourier coefficients [slices + 1, modes / 2 + 1]."""
    x = -1 + 2 * np.arange(modes) / modes
    number = np.arange(modes // 2 + 1)
    wave = np.pi * number
    kept = number <= modes // 3

    def nonlinear(v: np.ndarray) -> np.ndarray:
        return -0.5j * wave * kept * np.fft.rfft(np.fft.irfft(v * kept, modes) ** 2)

    values = np.fft.rfft(np.cos(np.pi * x))
    linear = 1j * DISPERSION * wave**3
    slices = etdrk4(linear, nonlinear, values, 1 / (SLICES * steps), SLICES, steps)
    return fourier_series(slices, modes)

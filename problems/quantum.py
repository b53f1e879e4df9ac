"""Quantum dipole: drive a particle in a box from its ground state to a wanted superposition."""

import dataclasses
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from physopt.networks import Dense
from physopt.options import Bounds, PositiveFloat, PositiveInt
from physopt.problem import Batch, Problem
from physopt.unet import initialize

LENGTH = 2.0


@dataclasses.dataclass(frozen=True)
class QuantumDipole(Problem):
    """A particle in a box of length 2 under a time-dependent dipole field u(t).

    i dpsi/dt = (-d^2/ds^2 + u(t) s) psi, psi = 0 at the walls s = 0 and s = 2, on `points` inner
    points, by Crank-Nicolson steps. psi begins in the ground state e_1; the wanted state is
    c_2 e_2 + c_3 e_3 with a uniformly random direction (c_2, c_3). The unknown x [batch, steps] is
    u, constant within a step; y [batch, 2 points] holds the real and imaginary part of the final
    psi, point by point. Loss and infidelity are 1 - |<psi*, psi>|^2, which no global phase changes;
    low_energy_loss = (|<e_2, psi>| - |<e_2, psi*>|)^2, high_energy_loss the same with e_3.
    Half-way, at 0.5, only one of the two states is reached.

    Source: P. Schnell, P. Holl, N. Thuerey, arXiv 2203.10131, section 3.3.
    """

    points: Annotated[int, Bounds(3)] = 14
    """Points between the walls."""

    steps: PositiveInt = 384
    """Time steps, each with a control of its own."""

    time_step: PositiveFloat = 0.05
    """Length of a step; the ground state turns its phase once in 2.55."""

    hidden: tuple[PositiveInt, ...] = (20, 20, 20)
    """Widths of the network's hidden layers."""

    target: ClassVar = ("infidelity", 0.1)
    tiny: ClassVar = {"points": 6, "steps": 12, "hidden": (8,)}
    defaults: ClassVar = {"batch_size": 16, "steps": 500, "log_every": 20}

    @property
    def spacing(self) -> float:
        """Distance of two points."""
        return LENGTH / (self.points + 1)

    def eigenstate(self, number: int) -> np.ndarray:
        """Return the state e_number = sin(pi number j / (points + 1)) with sum |e|^2 = 1."""
        index = np.arange(1, self.points + 1)
        state = np.sin(np.pi * number * index / (self.points + 1))
        return state / np.linalg.norm(state)

    def sample(self, keys: jax.Array) -> Batch:
        """Draw wanted states [batch, 2 points], input and target alike."""
        normal = jax.vmap(lambda key: jax.random.normal(key, (2,)))(keys)
        weights = normal / jnp.linalg.norm(normal, axis=-1, keepdims=True)
        pair = np.stack([self.eigenstate(2), self.eigenstate(3)])
        real = jnp.sum(weights[:, :, None] * jnp.asarray(pair, weights.dtype), axis=1)
        target = as_real(jax.lax.complex(real, jnp.zeros_like(real)))
        return Batch(inputs=target, target=target)

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make a dense tanh network, wanted state [batch, 2 points] -> control [batch, steps]."""
        sizes = (2 * self.points, *self.hidden, self.steps)
        return initialize(Dense(sizes, rngs, activation="tanh"), rngs, "glorot")

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return the final state: controls [batch, steps] -> [batch, 2 points].

        A step (1 + i dt/2 H) psi' = (1 - i dt/2 H) psi is psi' = 2 (1 + i dt/2 H)^-1 psi - psi.
        """
        dtype = jnp.result_type(x.dtype, jnp.complex64)
        half_step = 0.5j * self.time_step
        shape = (x.shape[0], self.points)
        neighbour = np.full(shape, -half_step / self.spacing**2)
        below, above = neighbour.copy(), neighbour.copy()
        below[:, 0], above[:, -1] = 0, 0  # outside the matrix
        below, above = jnp.asarray(below, dtype), jnp.asarray(above, dtype)
        position = jnp.asarray(self.spacing * np.arange(1, self.points + 1), x.dtype)

        def step(psi: jax.Array, control: jax.Array) -> tuple[jax.Array, None]:
            energy = 2 / self.spacing**2 + control[:, None] * position
            diagonal = (1 + half_step * energy).astype(dtype)
            solved = jax.lax.linalg.tridiagonal_solve(below, diagonal, above, psi[..., None])
            return 2 * solved[..., 0] - psi, None

        ground = jnp.broadcast_to(jnp.asarray(self.eigenstate(1), dtype), shape)
        final, _ = jax.lax.scan(step, ground, x.T)
        return as_real(final)

    def loss(self, y: jax.Array, batch: Batch) -> jax.Array:
        """Return 1 - |<psi*, psi>|^2."""
        overlap = jnp.sum(jnp.conj(as_complex(batch.target)) * as_complex(y), axis=-1)
        return 1 - (overlap.real**2 + overlap.imag**2)

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return the infidelity and the errors of the two levels' amplitudes."""

        def amplitude_error(number: int) -> jax.Array:
            state = jnp.asarray(self.eigenstate(number), y.dtype)
            reached, wanted = (
                jnp.abs(jnp.sum(as_complex(a) * state, axis=-1)) for a in (y, batch.target)
            )
            return (reached - wanted) ** 2

        return {
            "infidelity": self.loss(y, batch),
            "low_energy_loss": amplitude_error(2),
            "high_energy_loss": amplitude_error(3),
        }


def as_real(psi: jax.Array) -> jax.Array:
    """Interleave real and imaginary parts: complex [batch, n] -> real [batch, 2 n]."""
    return jnp.stack([psi.real, psi.imag], axis=-1).reshape(psi.shape[0], -1)


def as_complex(pairs: jax.Array) -> jax.Array:
    """Undo `as_real`."""
    return jax.lax.complex(pairs[:, ::2], pairs[:, 1::2])

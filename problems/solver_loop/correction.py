"""Corrected solver: a network corrects the state after every step of a coarse solver."""

from typing import TypedDict

import jax
import jax.numpy as jnp
from flax import nnx

from physopt.networks.convolution import convolve
from physopt.networks.unet import initialize
from physopt.problems.solver_loop.forcing import TIME_STEP, Waves, advance, force

VELOCITY, FORCE = 0.6, 0.27
"""Typical values, by which the network's inputs are divided."""

WINDOW = 5
"""Cells of a convolution's window along each axis."""


class Segment(TypedDict):
    """What a corrected simulation starts from, leaves [batch, ...]."""

    state: jax.Array
    """[batch, m, m, 2]"""
    waves: Waves
    times: jax.Array
    """Before each step, [batch, steps]."""


class CorrectedSolver(nnx.Module):
    """Solver and network in a loop, start and force -> corrections [batch, steps, m, m, 2].

    Each step of the solver is followed by the addition of a correction, which the network returns
    from the velocity after the step and the force. The last layer starts at zero: before training
    there is no correction.

    Source: arXiv 2007.00016; layers of its program (tum-pbs/Solver-in-the-Loop), which does not
    continue fields periodically in convolutions and has no layer at zero.
    """

    def __init__(self, features: int, blocks: int, rngs: nnx.Rngs):
        self.entry = _convolution(4, features, rngs)
        self.blocks = nnx.List([Residual(features, rngs) for _ in range(blocks)])
        self.exit = _convolution(features, 2, rngs)
        initialize(self, rngs, "glorot")
        self.exit.kernel[...] = jnp.zeros_like(self.exit.kernel[...])

    def __call__(self, inputs: Segment) -> jax.Array:
        """Simulate with corrections, and return these."""
        waves, cells = inputs["waves"], inputs["state"].shape[1]

        def step(state: jax.Array, time: jax.Array) -> tuple[jax.Array, jax.Array]:
            pushed = jax.vmap(lambda w, t: force(w, t, cells))(waves, time)
            after = jax.vmap(advance)(state, pushed)
            correction = self.correct(after, pushed)
            return after + correction, correction

        times = jnp.swapaxes(inputs["times"], 0, 1)
        _, corrections = jax.lax.scan(step, inputs["state"], times)
        return jnp.swapaxes(corrections, 0, 1)

    def correct(self, velocity: jax.Array, pushed: jax.Array) -> jax.Array:
        """Return the correction of velocities [batch, m, m, 2] after a step under a force."""
        z = jnp.concatenate([velocity / VELOCITY, pushed / FORCE], axis=-1)
        z = _activated(self.entry(z))
        for block in self.blocks:
            z = block(z)
        return TIME_STEP * VELOCITY * self.exit(z)


class Residual(nnx.Module):
    """Two convolutions with an identity around them."""

    def __init__(self, features: int, rngs: nnx.Rngs):
        self.first = _convolution(features, features, rngs)
        self.second = _convolution(features, features, rngs)

    def __call__(self, z: jax.Array) -> jax.Array:
        """Evaluate the layers."""
        return _activated(z + self.second(_activated(self.first(z))))


def _activated(z: jax.Array) -> jax.Array:
    return jax.nn.leaky_relu(z, 0.3)


def _convolution(inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Conv:
    # The weights are drawn by `initialize`.
    return nnx.Conv(
        inputs, outputs, (WINDOW, WINDOW), padding="CIRCULAR", rngs=rngs,
        kernel_init=nnx.initializers.zeros_init(), conv_general_dilated=convolve,
    )  # fmt: skip

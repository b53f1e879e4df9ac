"""Corrected solver: a network corrects the state after every step of a coarse solver."""

import jax
import jax.numpy as jnp
from flax import nnx

from physopt.networks.convolution import convolve
from physopt.networks.unet import initialize
from physopt.problems.solver_loop.coarse import CoarseSolver, Segment

WINDOW = 5
"""Cells of a convolution's window along each axis."""


class CorrectedSolver(nnx.Module):
    """Solver and network in a loop, start and context -> corrections [batch, steps, *grid, 2].

    Each step of the solver is followed by the addition of a correction, which the network returns
    from the features of the state after the step. The last layer starts at zero: before training
    there is no correction.

    Source: arXiv 2007.00016; layers of its program (tum-pbs/Solver-in-the-Loop), which does not
    continue fields periodically in convolutions and has no layer at zero.
    """

    def __init__(self, solver: CoarseSolver, features: int, blocks: int, rngs: nnx.Rngs):
        self.solver = solver
        padding = solver.padding
        self.entry = _convolution(solver.channels, features, padding, rngs)
        self.blocks = nnx.List([Residual(features, padding, rngs) for _ in range(blocks)])
        self.exit = _convolution(features, 2, padding, rngs)
        initialize(self, rngs, "glorot")
        self.exit.kernel[...] = jnp.zeros_like(self.exit.kernel[...])

    def __call__(self, inputs: Segment) -> jax.Array:
        """Simulate with corrections, and return these."""
        context = inputs["context"]

        def step(state: jax.Array, time: jax.Array) -> tuple[jax.Array, jax.Array]:
            after = jax.vmap(self.solver.advance)(state, context, time)
            correction = self.correct(jax.vmap(self.solver.features)(after, context, time))
            return after + correction, correction

        times = jnp.swapaxes(inputs["times"], 0, 1)
        _, corrections = jax.lax.scan(step, inputs["state"], times)
        return jnp.swapaxes(corrections, 0, 1)

    def correct(self, z: jax.Array) -> jax.Array:
        """Return the corrections of states with features z: [batch, *grid, channels]."""
        z = _activated(self.entry(z))
        for block in self.blocks:
            z = block(z)
        return self.solver.correction * self.exit(z)


class Residual(nnx.Module):
    """Two convolutions with an identity around them."""

    def __init__(self, features: int, padding: str, rngs: nnx.Rngs):
        self.first = _convolution(features, features, padding, rngs)
        self.second = _convolution(features, features, padding, rngs)

    def __call__(self, z: jax.Array) -> jax.Array:
        """Evaluate the layers."""
        return _activated(z + self.second(_activated(self.first(z))))


def _activated(z: jax.Array) -> jax.Array:
    return jax.nn.leaky_relu(z, 0.3)


def _convolution(inputs: int, outputs: int, padding: str, rngs: nnx.Rngs) -> nnx.Conv:
    # The weights are drawn by `initialize`.
    return nnx.Conv(
        inputs, outputs, (WINDOW, WINDOW), padding=padding, rngs=rngs,
        kernel_init=nnx.initializers.zeros_init(), conv_general_dilated=convolve,
    )  # fmt: skip

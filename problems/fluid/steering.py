"""Objective of steered smoke: a blurred end density and the force, with an inverse step."""

import dataclasses
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp

from physopt.numerics.steps import shortened
from physopt.options import NonNegativeInt, PositiveFloat, PositiveInt
from physopt.problem import Batch, Problem
from physopt.problems.fields import LARGE_OUTPUT
from physopt.problems.fluid.blur import blur
from physopt.problems.fluid.least_squares import gauss_newton_step


@dataclasses.dataclass(frozen=True)
class Steering(Problem):
    """Loss 1/2 |B (rho_N - rho*)|^2 + alpha/2 sum F^2 of smoke rho under forces F.

    B blurs with a radius that shrinks in the course of training; y holds B (rho_N - rho*) and
    sqrt(alpha) F, and y* = 0.
    """

    alpha: PositiveFloat = 0.01
    """Weight of the force in the loss."""

    coarse_blur: PositiveFloat = 16.0
    """Radius of the blur in the beginning, in 128ths of the side."""

    fine_blur: PositiveFloat = 2.0
    """Radius of the blur in the end and in evaluation, in 128ths of the side."""

    cg_steps: PositiveInt = 10
    """Iterations of conjugate gradients in the inverse step, a Gauss-Newton step."""

    halvings: NonNegativeInt = 4
    """The inverse step has the length out of 1, 1/2, ... 2^-halvings with the least loss."""

    rule_defaults: ClassVar = LARGE_OUTPUT

    def observed(self, x: jax.Array, inputs: jax.Array, progress: jax.Array) -> jax.Array:
        """Return y of one sample at a progress [] of training, from both densities [n, n, 2]."""
        raise NotImplementedError

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return blurred difference and scaled forces, [batch, 1 + forces, n, n]."""
        return jax.vmap(self.observed)(x, batch.inputs, _progress(batch, x.dtype))

    def invert(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return the controls after a truncated Gauss-Newton step, like x."""

        def step(x: jax.Array, inputs: jax.Array, progress: jax.Array) -> jax.Array:
            observe = partial(self.observed, inputs=inputs, progress=progress)
            return gauss_newton_step(observe, x, jnp.zeros((), x.dtype), self.cg_steps)

        steps = jax.vmap(step)(x, batch.inputs, _progress(batch, x.dtype))
        lengths = tuple(0.5**k for k in range(self.halvings + 1))
        return shortened(x, steps, lambda x: self.loss(self.simulate(x, batch), batch), lengths)

    def stacked(self, difference: jax.Array, force: jax.Array, progress: jax.Array) -> jax.Array:
        """Return y [1 + 2 times, n, n] from rho_N - rho* [n, n] and forces [times, n, n, 2]."""
        radius = len(difference) / 128 * self.coarse_blur
        radius *= (self.fine_blur / self.coarse_blur) ** progress
        fields = jnp.moveaxis(self.alpha**0.5 * force, -1, 1).reshape(-1, *difference.shape)
        return jnp.concatenate([blur(difference, radius)[None], fields])

    def measured(self, end: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return errors of an end density [batch, n, n], and the force."""
        start, wanted, axes = batch.inputs[..., 0], batch.inputs[..., 1], (1, 2)
        # On a grid of a few cells a scene may have no smoke.
        mass = jnp.maximum(jnp.sum(start, axes), 1)
        size = jnp.maximum(jnp.linalg.norm(wanted, axis=axes), 1)
        return {
            "observation_error": jnp.linalg.norm(end - wanted, axis=axes) / size,
            "observation_l2": jnp.sum(y[:, 0] ** 2, axes),
            "force_half_l2": jnp.sum(y[:, 1:] ** 2, (1, 2, 3)) / (2 * self.alpha),
            "mass_error": jnp.abs(jnp.sum(end - start, axes)) / mass,
        }

    def means(self, x: jax.Array, held_out: Batch) -> dict[str, float]:
        """Return the mean metrics of controls, for baselines."""

        @jax.jit
        def evaluated(x: jax.Array) -> dict[str, jax.Array]:
            return self.metrics(x, self.simulate(x, held_out), held_out)

        return {name: float(jnp.mean(value)) for name, value in evaluated(x).items()}


def _progress(batch: Batch, dtype: jnp.dtype) -> jax.Array:
    """Return the progress of training of each sample [batch], 1 where none is given."""
    if isinstance(batch.progress, tuple):
        return jnp.ones(len(batch), dtype)
    return batch.progress.astype(dtype)

"""Networks that control smoke: all controls at once, a chain, and hierarchical prediction."""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from physopt.networks.unet import UNet
from physopt.problems.predictor_corrector import (
    Hidden,
    along,
    chain,
    execute,
    halved,
    over_times,
    schedule,
)


class Controlled(Protocol):
    """What networks need to know of a problem of controlled smoke; fields are [batch, n, n]."""

    steps: int
    taught: bool
    """Whether inputs are true densities at all times, [batch, steps + 1, n, n]."""
    channels: int
    """Numbers per cell of the control of a step."""

    def unet(self, inputs: int, outputs: int, rngs: nnx.Rngs) -> UNet:
        """Make a U-net."""
        ...

    def control(self, outputs: jax.Array) -> jax.Array:
        """Return the control of a step from a network's outputs [batch, n, n, channels]."""
        ...

    def at_rest(self, density: jax.Array) -> Hidden:
        """Return the hidden state of a fluid at rest."""
        ...

    def advance(
        self, hidden: Hidden, density: jax.Array, control: jax.Array
    ) -> tuple[Hidden, jax.Array]:
        """Return hidden state and density after a step."""
        ...


class AllAtOnce(nnx.Module):
    """One U-net, initial and target density [batch, n, n, 2] -> controls [batch, steps, ...]."""

    def __init__(self, problem: Controlled, rngs: nnx.Rngs):
        self.unet = problem.unet(2, problem.steps * problem.channels, rngs)
        self.problem = problem

    def __call__(self, inputs: jax.Array) -> Any:
        """Evaluate the network."""
        if self.problem.taught:
            ends = jnp.stack([inputs[:, 0], inputs[:, -1]], axis=-1)
            return {"density": inputs, "control": self._controls(ends)}
        return self._controls(inputs)

    def _controls(self, ends: jax.Array) -> jax.Array:
        outputs = self.unet(ends)
        outputs = outputs.reshape(*ends.shape[:3], self.problem.steps, self.problem.channels)
        return over_times(self.problem.control, jnp.moveaxis(outputs, 3, 1))


class EstimatorChain(nnx.Module):
    """Chain of control force estimators, densities [batch, n, n, 2] -> controls [batch, steps, *].

    One U-net returns the control of every step from the density that is reached, the target and the
    time. If taught, it sees the true densities instead.

    Source: P. Holl, V. Koltun, N. Thuerey, arXiv 2001.07457, section 4; its networks have other
    layers.
    """

    def __init__(self, problem: Controlled, rngs: nnx.Rngs):
        self.unet = problem.unet(3, problem.channels, rngs)
        self.problem = problem

    def __call__(self, inputs: jax.Array) -> Any:
        """Evaluate the chain through the physics, or along true densities."""
        times = np.arange(self.problem.steps) / self.problem.steps
        if self.problem.taught:
            controls = along(self._estimate, inputs[:, :-1], inputs[:, -1], times)
            return {"density": inputs, "control": controls}
        start, wanted = inputs[..., 0], inputs[..., 1]
        return chain(self._correct, self.problem.at_rest(start), start, wanted, times)[1]

    def _estimate(self, density: jax.Array, wanted: jax.Array, time: jax.Array) -> jax.Array:
        fields = jnp.stack([density, wanted, jnp.broadcast_to(time, density.shape)], axis=-1)
        return self.problem.control(self.unet(fields))

    def _correct(
        self, hidden: Hidden, density: jax.Array, wanted: jax.Array, time: jax.Array
    ) -> tuple[Hidden, jax.Array, jax.Array]:
        control = self._estimate(density, wanted, time)
        return *self.problem.advance(hidden, density, control), control


class HierarchicalControl(nnx.Module):
    """Observation predictors and a control force estimator, [batch, n, n, 2] -> controls.

    The predictor of intervals of 2^(k+1) steps, one U-net per k, returns the density half-way
    between two densities as their mean plus a change; the estimator returns the control of one step
    from the density that is reached to the next predicted one. The order is that of
    `predictor_corrector.schedule`, staggered or refined; both have the same parameters. If taught,
    both kinds see true densities, at all intervals at once.

    Source: P. Holl, V. Koltun, N. Thuerey, arXiv 2001.07457, sections 4 and 5; its networks have
    other layers.
    """

    def __init__(self, problem: Controlled, rngs: nnx.Rngs, *, refined: bool):
        count = problem.steps.bit_length() - 1
        self.predictors = nnx.List([problem.unet(2, 1, rngs) for _ in range(count)])
        self.estimator = problem.unet(2, problem.channels, rngs)
        self.problem, self.refined = problem, refined

    def __call__(self, inputs: jax.Array) -> Any:
        """Execute the schedule, or evaluate all networks on true densities."""
        if self.problem.taught:
            controls = over_times(self._estimate, inputs[:, :-1], inputs[:, 1:])
            return {"density": halved(self.predictors, inputs), "control": controls}
        actions = schedule(0, self.problem.steps, refined=self.refined)
        ends, hidden = jnp.moveaxis(inputs, -1, 1), self.problem.at_rest(inputs[..., 0])
        graphdef, state = nnx.split(self.estimator)

        def correct(hidden: Hidden, density: jax.Array, wanted: jax.Array):
            outputs = nnx.merge(graphdef, state)(jnp.stack([density, wanted], axis=-1))
            control = self.problem.control(outputs)
            return *self.problem.advance(hidden, density, control), control

        return execute(self.predictors, correct, hidden, ends, actions)[1]

    def _estimate(self, density: jax.Array, wanted: jax.Array) -> jax.Array:
        return self.problem.control(self.estimator(jnp.stack([density, wanted], axis=-1)))

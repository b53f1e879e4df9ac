"""Networks that control smoke: all controls at once, a chain, and hierarchical prediction."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from physopt.problems.fluid.advection import semi_lagrangian
from physopt.problems.predictor_corrector import (
    Hidden,
    along,
    chain,
    execute,
    halved,
    over_times,
    schedule,
)

if TYPE_CHECKING:
    from physopt.problems.fluid.control_scenes import HierarchicalNetworks


class AllAtOnce(nnx.Module):
    """One U-net, initial and target density [batch, n, n, 2] -> controls [batch, steps, ...]."""

    def __init__(self, problem: "HierarchicalNetworks", rngs: nnx.Rngs):
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

    def __init__(self, problem: "HierarchicalNetworks", rngs: nnx.Rngs):
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

    def __init__(self, problem: "HierarchicalNetworks", rngs: nnx.Rngs, *, refined: bool):
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


class StraightLine(nnx.Module):
    """An estimator whose wanted densities move along a straight line, [batch, n, n, 2] -> controls.

    The wanted density of step i of N is the initial one, moved by i / N of the distance between the
    centres of mass of both densities. The estimator has the inputs of that of `HierarchicalControl`
    and takes the place of its predictors.

    Source: arXiv 2001.07457, section 6 and table 3.
    """

    def __init__(self, problem: "HierarchicalNetworks", rngs: nnx.Rngs):
        self.estimator = problem.unet(2, problem.channels, rngs)
        self.problem = problem

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Evaluate the estimator through the physics."""
        start, wanted = inputs[..., 0], inputs[..., 1]
        distance = jax.vmap(centre_of_mass)(wanted) - jax.vmap(centre_of_mass)(start)

        def correct(hidden: Hidden, density: jax.Array, _: jax.Array, time: jax.Array):
            next_one = jax.vmap(shifted)(start, time * distance)
            outputs = self.estimator(jnp.stack([density, next_one], axis=-1))
            control = self.problem.control(outputs)
            return *self.problem.advance(hidden, density, control), control

        times = np.arange(1, self.problem.steps + 1) / self.problem.steps
        return chain(correct, self.problem.at_rest(start), start, wanted, times)[1]


def centre_of_mass(density: jax.Array) -> jax.Array:
    """Return the centre of mass of a density [n, m] in cells, [2]."""
    places = jnp.stack(jnp.meshgrid(*map(jnp.arange, density.shape), indexing="ij"), axis=-1)
    return jnp.sum(density[..., None] * places, axis=(0, 1)) / jnp.sum(density)


def shifted(density: jax.Array, motion: jax.Array) -> jax.Array:
    """Return a density [n, m] moved by a vector [2], in cells."""
    return semi_lagrangian(density, jnp.broadcast_to(motion, (*density.shape, 2)), "zero")

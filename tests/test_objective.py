"""The objective: its functions and derivatives are consistent."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from tiny import Tiny

from physopt.config.run_config import network_names
from physopt.numerics.gram import jacobian
from physopt.objective import build, flatten, unflatten


@dataclasses.dataclass(frozen=True)
class Pair(Tiny):
    """A nonlinear physics, coupled within a sample, whose observations are a tree."""

    def network(self, rngs):
        return Tiny(size=self.size).network(rngs)

    def simulate(self, x, batch):  # type: ignore[override]
        square = x**2 * self.scales(x.dtype)
        return {"sum": jnp.sum(x, axis=1, keepdims=True), "square": square + x[:, ::-1]}

    def sample(self, keys):
        batch = super().sample(keys)
        target = {"sum": batch.target[:, :1], "square": batch.target}
        return dataclasses.replace(batch, target=target)

    def metrics(self, x, y, batch):
        return {}


@dataclasses.dataclass(frozen=True)
class OwnSlope(Tiny):
    """Returns twice the Jacobian, to show that it was called."""

    def linearize(self, x, batch):
        slope = jnp.broadcast_to(jnp.diag(self.scales(x.dtype)), (len(batch), self.size, self.size))
        return self.simulate(x, batch), 2 * slope


def case(problem, batch=4):
    objective, params = build(problem, "default", 0)
    objective, params = jax.tree.map(lambda a: a.astype("float64"), (objective, params))
    samples = problem.sample(jax.random.split(jax.random.key(1), batch)).at(0.0)
    return objective, params, samples


def jacobian_rows(objective, params, batch):
    """J = dy/dtheta [batch, |y|, P], sample by sample and through the physics."""

    def outputs(params, sample):
        alone = jax.tree.map(lambda leaf: leaf[None], sample)
        return flatten(objective.outputs(params, alone))[0]

    return jacobian(outputs, params, batch)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("problem", [Tiny(), Pair()])
def test_the_pieces_make_up_the_gradient(problem):
    objective, params, batch = case(problem)
    gradient = jax.grad(objective.value)(params, batch)
    x = objective.predict(params, batch.inputs)
    by_pieces = objective.pullback(params, batch, jax.grad(objective.mean_loss)(x, batch))
    loss, output_gradient = objective.output_gradient(objective.outputs(params, batch), batch)
    rows = jacobian_rows(objective, params, batch)
    by_rows = jnp.einsum("bmp,bm->p", rows, flatten(output_gradient))
    flat = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(gradient)])
    # Sums of some hundred float64 products of order one.
    np.testing.assert_allclose(by_rows, flat, atol=1e-13)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(by_pieces), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-13)
    np.testing.assert_allclose(loss, objective.value(params, batch))


def test_loss_is_the_mean_over_the_batch_of_half_the_squares():
    objective, params, batch = case(Tiny())
    y = np.asarray(objective.outputs(params, batch))
    expected = np.mean(0.5 * np.sum((y - np.asarray(batch.target)) ** 2, axis=1))
    np.testing.assert_allclose(objective.value(params, batch), expected, rtol=1e-14)
    _, gradient = objective.output_gradient(jnp.asarray(y), batch)
    np.testing.assert_allclose(gradient, (y - np.asarray(batch.target)) / 4, rtol=1e-14)


@pytest.mark.parametrize("slope", [False, True], ids=["physics", "slope"])
def test_the_forms_of_the_jacobian_agree(slope):
    objective, params, batch = case(Pair())
    rows = jacobian_rows(objective, params, batch)
    rows = rows.reshape(-1, rows.shape[-1])
    system = objective.linearised(params, batch, slope=slope)
    np.testing.assert_allclose(system.gram(), rows @ rows.T, atol=1e-12)
    np.testing.assert_allclose(system.gram(layerwise=False), rows @ rows.T, atol=1e-12)
    np.testing.assert_allclose(system.rows(), rows, atol=1e-12)
    vector, unravel = ravel_pytree(jax.tree.map(jnp.sin, params))
    np.testing.assert_allclose(system.forward()(unravel(vector)), rows @ vector, atol=1e-12)
    c = jnp.sin(jnp.arange(float(len(rows))))
    np.testing.assert_allclose(ravel_pytree(system.pull(c))[0], c @ rows, atol=1e-12)
    np.testing.assert_allclose(flatten(system.y), flatten(objective.outputs(params, batch)))


def test_the_curvature_of_half_the_squares_is_the_identity():
    objective, params, batch = case(Pair())
    change = jnp.sin(jnp.arange(4.0 * len(batch)))
    curvature = objective.output_curvature(objective.outputs(params, batch), batch, change)
    np.testing.assert_allclose(curvature, change @ change / len(batch), rtol=1e-14)


def test_unflatten_undoes_flatten():
    tree = {"a": jnp.arange(12.0).reshape(2, 3, 2), "b": jnp.arange(2.0)}
    jax.tree.map(np.testing.assert_array_equal, unflatten(flatten(tree), tree), tree)


@pytest.mark.parametrize("problem", [Tiny(), Pair()])
def test_linearize_is_the_derivative_of_simulate(problem):
    objective, params, batch = case(problem)
    x = objective.predict(params, batch.inputs)
    y, slope = objective.linearize(x, batch)
    direction = jax.random.normal(jax.random.key(2), x.shape)
    _, tangent = jax.jvp(lambda x: flatten(problem.simulate(x, batch)), (x,), (direction,))
    np.testing.assert_allclose(jnp.einsum("bmk,bk->bm", slope, direction), tangent, atol=1e-13)
    np.testing.assert_allclose(y, flatten(problem.simulate(x, batch)))


def test_a_problem_s_own_jacobian_is_used():
    objective, params, batch = case(OwnSlope())
    x = objective.predict(params, batch.inputs)
    own, default = (
        dataclasses.replace(objective, problem=problem).linearize(x, batch)[1]
        for problem in (OwnSlope(), Tiny())
    )
    np.testing.assert_allclose(own, 2 * default, atol=1e-15)


def test_the_generic_inverse_step_solves_a_linear_physics():
    objective, params, batch = case(Tiny())
    x = objective.predict(params, batch.inputs)
    # With damping d relative to the mean of s^2, a component keeps d m / (s^2 + d m) of its error.
    damping = 1e-9
    solved = objective.invert(x, batch, damping)
    np.testing.assert_allclose(Tiny().simulate(solved, batch), batch.target, atol=1e-6)
    scales = np.logspace(0, -1, 3)
    step = objective.invert(x, batch, 0.5) - x
    exact = np.asarray(batch.target) / scales - np.asarray(x)
    kept = scales**2 / (scales**2 + 0.5 * np.mean(scales**2))
    np.testing.assert_allclose(step, exact * kept, rtol=1e-9)


def test_network_names_are_named_by_their_methods():
    class TwoNetworks(Tiny):
        def network_other(self, rngs):
            return Tiny(size=self.size).network(rngs)

    assert network_names(Tiny) == ["default", "none"]
    assert network_names(TwoNetworks) == ["default", "other", "none"]

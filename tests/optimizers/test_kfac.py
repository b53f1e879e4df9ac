"""KFAC: exact blocks of one linear layer, layouts of kernels, damping, refusals."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.flatten_util import ravel_pytree
from tiny import Tiny

from physopt.machine.devices import cast
from physopt.networks import Dense
from physopt.objective import build, flatten
from physopt.optimizers.kfac import KFAC
from physopt.optimizers.layer_blocks import find_blocks, preconditioned
from physopt.problem import Problem
from physopt.rule import PlanError

BATCH = 40


def random(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape)


class Kernel(nnx.Module):
    """x = a W with a kernel that is stored in other layouts, or tied to its transpose."""

    def __init__(self, layout: str):
        self.layout = layout
        self.kernel = nnx.Param(jnp.asarray(random(3, 3)))

    def __call__(self, a):
        kernel = self.kernel[...]
        if self.layout == "transposed":
            return a @ kernel.T
        if self.layout == "positions":  # the layer acts on a and on its reverse
            return jnp.sum(jnp.stack([a, a[:, ::-1]], axis=1) @ kernel, axis=1)
        if self.layout == "shared":
            return jnp.sum(jnp.stack([a @ kernel, a[:, ::-1] @ kernel]), axis=0)
        return jnp.tanh(a @ kernel) @ kernel.T if self.layout == "tied" else a @ kernel


@dataclasses.dataclass(frozen=True)
class Mixed(Tiny):
    """y = M x with a full matrix M."""

    layout: Literal["dense", "plain", "transposed", "positions", "shared", "tied", "large"] = (
        "dense"
    )

    def sample(self, keys):
        inputs = jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys)
        return dataclasses.replace(super().sample(keys), inputs=inputs)

    def network(self, rngs):
        if self.layout == "dense":
            return Dense((3, 3), rngs)
        if self.layout == "large":
            return Dense((3, 600, 3), rngs, normalization="group")
        return Kernel(self.layout)

    def simulate(self, x, batch):
        return x @ jnp.asarray(random(3, 3), x.dtype)


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


def case(problem: Problem, batch=BATCH):
    objective, params = build(problem, "default", 0)
    samples = problem.sample(jax.random.split(jax.random.key(1), batch)).at(0.0)
    return objective, *cast((params, samples), "float64")


def jacobian(objective, params, batch):
    """Return J / sqrt(b) [n, P]."""
    flat, unravel = ravel_pytree(params)

    def outputs(flat):
        return flatten(objective.outputs(unravel(flat), batch)).ravel()

    return np.asarray(jax.jacrev(outputs)(flat)) / len(batch) ** 0.5


def inverse_product(objective, params, batch, damping):
    """Return the gradient, and its product with the inverses of the damped blocks."""
    system = objective.linearised(params, batch)
    dense, blocks = find_blocks(system)
    gradient = system.pull(system.gradient)
    return tuple(
        np.asarray(ravel_pytree(tree)[0])
        for tree in (gradient, preconditioned(dense, blocks, gradient, jnp.asarray(damping)))
    )


@pytest.mark.parametrize("layout", ["dense", "plain", "transposed"])
def test_the_block_of_one_linear_layer_is_the_gauss_newton_matrix(layout):
    """With nearly no damping, in every layout of the kernel."""
    objective, params, batch = case(Mixed(layout=layout))
    a = jacobian(objective, params, batch)
    gradient, direction = inverse_product(objective, params, batch, 1e-24)
    expected = np.linalg.solve(a.T @ a, gradient)  # 0 for a bias that is at its optimum, 0
    np.testing.assert_allclose(direction, expected, rtol=1e-7, atol=1e-11)


def test_the_damping_is_divided_between_the_factors():
    """By pi, the root of the ratio of their mean eigenvalues."""
    objective, params, batch = case(Mixed(layout="plain"))
    a = np.asarray(batch.inputs)
    m = random(3, 3)
    left, right = a.T @ a / BATCH, m @ m.T
    pi = np.sqrt(np.trace(left) / np.trace(right))
    gradient, direction = inverse_product(objective, params, batch, 0.09)
    expected = np.linalg.inv(left + 0.3 * pi * np.eye(3)) @ gradient.reshape(3, 3)
    expected = expected @ np.linalg.inv(right + 0.3 / pi * np.eye(3))
    np.testing.assert_allclose(direction.reshape(3, 3), expected, rtol=1e-10)


@pytest.mark.parametrize("layout", ["dense", "transposed", "tied"])
def test_one_update_solves_a_linear_layer(layout):
    """A kernel tied to its transpose has a block without approximation, too: Gauss-Newton."""
    objective, params, batch = case(Mixed(layout=layout))
    rule = KFAC(damping=1e-24)
    state = rule.init(objective, params, jax.random.key(0))
    step, _, info = jax.jit(rule.update)(objective, params, state, batch, jax.random.key(0))
    a, system = jacobian(objective, params, batch), objective.linearised(params, batch)
    newton = -np.linalg.solve(a.T @ a, ravel_pytree(system.pull(system.gradient))[0])
    if layout == "tied" and not info["accepted"]:
        newton = 0 * newton
    np.testing.assert_allclose(ravel_pytree(step)[0], newton, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(info["length"], 1, rtol=1e-6)
    if layout != "tied":
        np.testing.assert_allclose(info["gain"], 1, rtol=1e-6)


@pytest.mark.parametrize("layout", ["positions", "shared"])
def test_positions_of_a_layer_count_as_independent(layout):
    """sum_t E[a_t a_t^T] E[D_t^T D_t] for equal D_t: the cross terms of two positions are left."""
    objective, params, batch = case(Mixed(layout=layout))
    _, blocks = find_blocks(objective.linearised(params, batch))
    ((left, right),) = blocks.layers
    a, m = np.asarray(batch.inputs), random(3, 3)
    both = (a.T @ a + a[:, ::-1].T @ a[:, ::-1]) / (2 * BATCH)
    np.testing.assert_allclose(left[:3, :3], both, rtol=1e-10)
    np.testing.assert_allclose(right, 2 * m @ m.T, rtol=1e-10)


def test_factors_are_running_means():
    objective, params, batch = case(Mixed(layout="plain"))
    rule = KFAC(decay=0.75)
    state = rule.init(objective, params, jax.random.key(0))
    update, expected = jax.jit(rule.update), np.zeros((3, 3))
    for k in range(6):
        other = dataclasses.replace(batch, inputs=batch.inputs + k)
        a = np.asarray(other.inputs)
        past = min(1 - 1 / (k + 1), 0.75)
        expected = past * expected + (1 - past) * a.T @ a / BATCH
        _, state, _ = update(objective, params, state, other, jax.random.key(0))
        np.testing.assert_allclose(state.blocks.layers[0][0][:3, :3], expected, rtol=1e-9)


def test_the_loss_of_a_deep_network_falls_in_every_update():
    objective, params, batch = case(Tiny(size=4))
    rule = KFAC()
    state, update = rule.init(objective, params, jax.random.key(0)), jax.jit(rule.update)
    losses = []
    for _ in range(60):
        step, state, info = update(objective, params, state, batch, jax.random.key(0))
        params = optax.apply_updates(params, step)
        losses.append(float(info["loss"]))
    assert all(np.diff(losses) <= 0)
    assert losses[-1] < 1e-2 * losses[0]


def test_other_parameters_have_exact_blocks_up_to_a_size():
    objective, params, batch = case(Tiny(normalization="group"))
    assert "2 exact ones" in KFAC().plan(objective, params, batch)
    objective, params, batch = case(Mixed(layout="large"))
    with pytest.raises(PlanError, match=r"norms.*600 parameters is not the weight of a dense"):
        KFAC().plan(objective, params, batch)
    with pytest.raises(PlanError, match="dense layer"):
        KFAC().init(objective, params, jax.random.key(0))

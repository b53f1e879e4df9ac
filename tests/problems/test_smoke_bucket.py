"""Smoke steered into a bucket: geometry, controlled faces, the step and its derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from physopt.problems.fluid.bucket import (
    BUCKETS,
    bucket_cells,
    controlled,
    domain,
    square,
)
from physopt.problems.fluid.control_networks import centre_of_mass, shifted
from physopt.problems.fluid.smoke_bucket import SmokeBucket
from physopt.problems.fluid.walls import divergence_in

PROBLEM = SmokeBucket(steps=2, levels=2, filters=4, tolerance=1e-12, iterations=1000)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def batch():
    with jax.enable_x64(True):
        return jax.jit(PROBLEM.sample)(jax.random.split(jax.random.key(0), 2))


def controls(seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(2, 2, 32, 32, 2)))


simulate = jax.jit(PROBLEM.simulate)
run = jax.jit(jax.vmap(PROBLEM.run))


def test_squares_have_their_area_and_targets_lie_in_their_buckets():
    smoke = square(jnp.array([40.3, 25.1]), 32)
    assert float(smoke.sum()) == pytest.approx((11 / 4) ** 2)
    # Exact at the source's resolution: 28, 28 and 28 cells wide, and as high as the open layer.
    cells = bucket_cells(128)
    assert [int(bucket.any(axis=1).sum()) for bucket in cells] == [b - a for a, b in BUCKETS]
    for corner, bucket in zip(((30, 105), (60, 105), (94, 105)), cells, strict=True):
        assert float((square(jnp.array(corner, float), 128) * bucket).sum()) == pytest.approx(121)


@pytest.mark.parametrize("n", [32, 64, 128])
def test_the_middle_is_not_controlled_but_joined_to_the_borders(n):
    free, mask = domain(n).free, controlled(n)
    assert mask.sum() < 0.4 * free.sum()
    middle = slice(n // 4, 3 * n // 4)
    assert not mask[middle, middle].any()
    # No fluid is enclosed: pressure is 0 above the open top.
    assert len(domain(n).closed) == 0


def test_a_straight_line_moves_the_centre_of_mass():
    smoke = square(jnp.array([40.0, 40.0]), 32)
    moved = shifted(smoke, jnp.array([3.3, -2.4]))
    difference = centre_of_mass(moved) - centre_of_mass(smoke)
    np.testing.assert_allclose(difference, [3.3, -2.4], atol=1e-12)


def test_velocities_have_no_divergence_and_keep_to_the_walls(batch):
    velocity, density, force = run(controls(), batch.inputs[..., 0])
    geometry = domain(32)
    left = jax.vmap(jax.vmap(lambda v: divergence_in(geometry, v)))(velocity)
    assert float(jnp.abs(left).max()) < 1e-9
    assert not np.asarray(velocity * (1 - geometry.free)).any()
    assert not np.asarray(force * (1 - controlled(32))).any()
    # The middle moves although it is not controlled.
    assert float(jnp.abs(velocity[:, 0, 16, 16]).max()) > 1e-3
    assert float(density.min()) >= -1e-15
    assert float(density.max()) <= 1 + 1e-12


def test_only_controlled_faces_count_and_rest_needs_no_force(batch):
    x = controls()
    y = simulate(x, batch)
    other = x + (1 - controlled(32)) * controls(seed=1)
    np.testing.assert_allclose(simulate(other, batch), y, atol=1e-12)
    rest = simulate(jnp.zeros_like(x), batch)
    assert not np.asarray(rest[:, 1:]).any()
    metrics = PROBLEM.metrics(jnp.zeros_like(x), rest, batch)
    np.testing.assert_allclose(metrics["outside"], 1)
    assert float(metrics["mass_error"].max()) < 1e-12


def test_gradient_agrees_with_central_differences(batch):
    x, direction, h = 0.5 * controls(), controls(seed=1), 1e-6

    @jax.jit
    def loss(x):
        return PROBLEM.loss(PROBLEM.simulate(x, batch), batch).sum()

    slope = float(jnp.sum(jax.jit(jax.grad(loss))(x) * direction))
    central = float(loss(x + h * direction) - loss(x - h * direction)) / (2 * h)
    assert slope == pytest.approx(central, rel=1e-5)


@pytest.mark.parametrize("name", ["network_line", "network_cfe", "network_staggered"])
def test_networks_return_controls(batch, name):
    network = getattr(PROBLEM, name)(nnx.Rngs(0))
    x = nnx.jit(lambda network, inputs: network(inputs))(network, batch.inputs)
    assert x.shape == controls().shape
    assert np.isfinite(x).all()

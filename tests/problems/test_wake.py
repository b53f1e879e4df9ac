"""The flow behind a cylinder: its step, the restriction of fluxes, and the corrected solver."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physopt.problems.fluid.grid import divergence
from physopt.problems.fluid.walls import divergence_in
from physopt.problems.solver_loop.wake import TEST, TRAINING, Wake
from physopt.problems.solver_loop.wake_flow import (
    RADIUS,
    SPEED,
    TIME_STEP,
    WIDTH,
    advance,
    channel,
    initial_velocity,
    restrict,
    viscosity,
)

CELLS = 16
PROBLEM = Wake(**Wake.tiny)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def test_a_step_keeps_the_inflow_the_cylinder_and_zero_divergence():
    step = jax.jit(advance)
    velocity, pressure = initial_velocity(jax.random.key(0), CELLS), None
    for _ in range(3):
        velocity, pressure = step(velocity, jnp.asarray(160e3), pressure)
    geometry = channel(CELLS)
    left = np.asarray(divergence_in(geometry, velocity))
    assert np.abs(left).max() < 1e-4
    np.testing.assert_array_equal(velocity[0, :, 0], SPEED)
    walls = np.asarray(geometry.free) == 0
    walls[0, :, 0] = False
    np.testing.assert_array_equal(np.asarray(velocity)[walls], 0)
    # The flow is slower behind the cylinder than beside it.
    behind = np.asarray(velocity[..., 0])[12:16]
    assert behind[:, 7:9].mean() < 0.8 < 0.9 < behind[:, 3:5].mean()


def test_the_cylinder_has_its_area_and_the_diffusion_number_is_the_sources():
    inside = channel(64)
    solid = (1 - inside.fluid)[:-1, 1:-1].sum() * (WIDTH / 64) ** 2
    assert solid == pytest.approx(np.pi * RADIUS**2, rel=0.05)
    number = viscosity(jnp.asarray(160e3)) * TIME_STEP / (WIDTH / 128) ** 2
    assert float(number) == pytest.approx(128**2 / 160e3)


def test_restriction_keeps_fluxes():
    fine = jnp.asarray(np.random.default_rng(0).normal(size=(12, 6, 2)))
    coarse = restrict(fine, 3)
    np.testing.assert_allclose(coarse[1, 0, 0], fine[3, :3, 0].mean())
    np.testing.assert_allclose(coarse[2, 1, 1], fine[6:9, 3, 1].mean())
    sums = np.asarray(divergence(fine)).reshape(4, 3, 2, 3).sum(axis=(1, 3))
    np.testing.assert_allclose(3 * divergence(coarse), sums, atol=1e-12)
    np.testing.assert_array_equal(restrict(fine, 1), fine)


def test_on_the_references_own_grid_no_corrections_are_needed():
    problem = PROBLEM.replace(refinement=1)
    batch = jax.jit(problem.held_out)(jax.random.split(jax.random.key(0), 2))
    plain = jax.jit(problem.simulate)(jnp.zeros_like(batch.target), batch)
    np.testing.assert_allclose(plain, batch.target, atol=1e-4)  # of the pressure solver
    assert float(jnp.abs(batch.target[:, 0] - batch.inputs["state"]).max()) > 0.01
    assert np.isin(batch.inputs["context"]["re"], TEST).all()


def test_training_meets_each_viscosity_and_the_inverse_step_follows_the_reference():
    problem = PROBLEM.replace(simulations=6)
    batch = jax.jit(problem.arrange, static_argnums=1)(jnp.arange(12), 12, jax.random.key(1))
    np.testing.assert_allclose(batch.inputs["context"]["re"], np.tile(TRAINING, 2))
    x = jax.jit(problem.invert)(jnp.zeros_like(batch.target), batch)
    y = jax.jit(problem.simulate)(x, batch)
    np.testing.assert_allclose(y, batch.target, atol=1e-12)
    assert float(jnp.abs(x).max()) > 1e-3

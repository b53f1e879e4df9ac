"""Steps of a fluid on a staggered grid: exact cases, conservation and convergence orders."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physopt.problems.fluid import advection, diffusion, grid, projection
from physopt.problems.fluid import buoyancy as lifting

interpolate, semi_lagrangian, maccormack, divergence = (
    jax.jit(function, static_argnames="boundary")
    for function in (
        advection.interpolate,
        advection.semi_lagrangian,
        advection.maccormack,
        grid.divergence,
    )
)
gradient, project = jax.jit(grid.gradient), jax.jit(projection.project)

ROUNDING = 1e-13
"""Of sums of some hundred numbers near 1, in float64."""


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def random(*shape):
    return np.random.default_rng(0).normal(size=shape)


def waves(n, shift=0.0):
    """A smooth periodic field on an n x n grid, translated by a part of the domain."""
    x, y = np.meshgrid(*(2 * np.pi * ((np.arange(n) + 0.5) / n - shift),) * 2, indexing="ij")
    return np.sin(x) * np.cos(y) + 0.5 * np.cos(x + 2 * y)


def vortices(n):
    """The Taylor-Green vortices on the faces of an n x n grid, of largest speed 1/2 cell per step.

    Differences of the stream function at the corners of cells: the divergence vanishes exactly.
    """
    corners = 2 * np.pi * np.arange(n) / n
    stream = n / (4 * np.pi) * np.sin(corners)[:, None] * np.sin(corners)
    return jnp.stack([np.roll(stream, -1, 1) - stream, stream - np.roll(stream, -1, 0)], -1)


def orders(errors):
    return np.log2(np.array(errors[:-1]) / errors[1:])


# --- advection


@pytest.mark.parametrize("method", [semi_lagrangian, maccormack])
def test_a_motion_of_whole_cells_is_exact(method):
    field, motion = random(5, 6), np.broadcast_to([2.0, -7.0], (5, 6, 2))
    np.testing.assert_array_equal(method(field, motion), np.roll(field, (2, -7), (0, 1)))


def test_interpolation_reproduces_linear_functions_and_continues_them_as_named():
    slopes = np.array([0.5, -2.0, 3.0])
    cells = np.stack(np.meshgrid(*map(np.arange, (4, 5, 6)), indexing="ij"), -1)
    field, position = cells @ slopes, np.array([[0.3, 3.9, 2.0], [2.5, 0.1, 4.7]])
    sampled = interpolate(field, position)
    np.testing.assert_allclose(sampled.value, position @ slopes, atol=ROUNDING)
    around = np.floor(position) @ slopes  # the corners lie half a slope to either side
    np.testing.assert_allclose(sampled.lowest, around - 2.0, atol=ROUNDING)
    np.testing.assert_allclose(sampled.highest, around + 3.5, atol=ROUNDING)
    line, outside = np.array([1.0, 5.0, 7.0]), np.array([[-0.25], [2.5], [-9.0], [9.0]])
    for boundary, expected in (
        ("periodic", [2.5, 4.0, 1.0, 1.0]),
        ("edge", [1.0, 7.0, 1.0, 7.0]),
        ("zero", [0.75, 3.5, 0.0, 0.0]),
    ):
        np.testing.assert_allclose(interpolate(line, outside, boundary).value, expected)


@pytest.mark.parametrize(("method", "order"), [(semi_lagrangian, 1), (maccormack, 2)])
def test_advection_converges_with_its_order(method, order):
    """Translate by a third of the domain, with steps of 2/3 of a cell."""
    errors = []
    for n in (16, 32, 64):
        motion, field = jnp.full((n, n, 2), 2 / 3), waves(n)
        for _ in range(n // 2):
            field = method(field, motion)
        errors.append(np.abs(field - waves(n, 1 / 3)).mean())
    # The limiter lowers the order at extrema, and the first grids are coarse.
    assert (orders(errors) > order - 0.4).all()


def test_the_limiter_makes_no_new_extrema():
    field = np.random.default_rng(1).integers(0, 2, (16, 16)).astype(float)
    moved = np.asarray(maccormack(field, 3 * random(16, 16, 2)))
    assert moved.min() >= 0
    assert moved.max() <= 1


# --- grid, projection, diffusion, buoyancy


@pytest.mark.parametrize("shape", [(6,), (6, 4), (5, 4, 3)])
def test_gradient_is_minus_the_adjoint_of_divergence_and_fluxes_cancel(shape):
    velocity, pressure = random(*shape, len(shape)), random(*shape)
    sources = np.asarray(divergence(velocity))
    assert np.vdot(sources, pressure) == pytest.approx(-np.vdot(velocity, gradient(pressure)))
    assert abs(sources.sum()) < ROUNDING


def test_averages_between_centres_and_faces_keep_the_mean_and_are_second_order():
    average = jax.jit(lambda v: grid.velocity_at_centres(grid.velocity_on_faces(v)))
    errors = []
    for n in (32, 64):
        centred = np.stack([waves(n), waves(n) ** 2], -1)
        again = np.asarray(average(centred))
        np.testing.assert_allclose(again.mean((0, 1)), centred.mean((0, 1)), atol=ROUNDING)
        errors.append(np.abs(again - centred).max())
    assert orders(errors)[0] == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("shape", [(6,), (6, 5), (5, 4, 6)])
def test_projection_splits_a_velocity_into_flow_and_gradient(shape):
    velocity, potential = random(*shape, len(shape)), random(*shape)
    solenoidal, pressure = map(np.asarray, project(velocity))
    assert np.abs(divergence(solenoidal)).max() < ROUNDING
    slope = np.asarray(gradient(pressure))
    np.testing.assert_allclose(solenoidal + slope, velocity, atol=ROUNDING)
    assert abs(np.vdot(solenoidal, slope)) < 100 * ROUNDING
    again, recovered = project(solenoidal + gradient(potential))
    np.testing.assert_allclose(again, solenoidal, atol=ROUNDING)
    np.testing.assert_allclose(recovered, potential - potential.mean(), atol=10 * ROUNDING)


def test_steady_vortices_stay_with_first_order():
    """Taylor-Green vortices are a steady solution of Euler's equations."""

    @jax.jit
    def step(velocity):
        return projection.project(advection.advect_velocity(velocity))[0]

    errors = []
    for n in (16, 32, 64):  # for the same time: an eighth of a revolution at the centre of a vortex
        velocity = vortices(n)
        for _ in range(n // 4):
            velocity = step(velocity)
        errors.append(np.abs(velocity - vortices(n)).mean() * 2)
    assert (orders(errors) > 0.8).all()
    assert errors[-1] < 0.02


@partial(jax.jit, static_argnums=(1, 2))
def diffused(field, number, steps):
    return jax.lax.fori_loop(0, steps, lambda _, field: diffusion.diffuse(field, number), field)


def test_diffusion_damps_waves_by_the_factor_of_the_scheme_and_converges():
    n, number = 16, 0.1
    wave = np.cos(2 * np.pi * (3 * np.arange(n)[:, None] + 2 * np.arange(n)) / n)
    factor = 1 - 4 * number * (np.sin(3 * np.pi / n) ** 2 + np.sin(2 * np.pi / n) ** 2)
    np.testing.assert_allclose(diffused(wave, number, 1), factor * wave, atol=ROUNDING)
    field = random(6, 4, 5)
    np.testing.assert_allclose(np.mean(diffused(field, number, 1)), field.mean())
    # The lowest wave after a fixed time, at a fixed number: time steps fall with the square of h.
    errors = []
    for n in (8, 16, 32):
        damped = (1 - 4 * number * np.sin(np.pi / n) ** 2) ** (n * n // 4)
        field = diffused(np.cos(2 * np.pi * np.arange(n) / n), number, n * n // 4)
        np.testing.assert_allclose(field[0], damped, rtol=1e-12)
        errors.append(abs(float(field[0]) - np.exp(-((2 * np.pi) ** 2) * number / 4)))
    assert (orders(errors) > 1.9).all()


def test_buoyancy_of_layers_is_balanced_by_pressure():
    """A density that depends on the height alone makes a force with a potential, up to its mean."""
    layers = np.tile(random(8), (6, 1))
    force = jax.jit(partial(lifting.buoyancy, lift=(0.0, 0.3)))(layers)
    assert np.abs(force).max() > 0.1
    flow, _ = map(np.asarray, project(force))
    np.testing.assert_allclose(flow[..., 1], 0.3 * layers.mean(), atol=ROUNDING)
    np.testing.assert_array_equal(flow[..., 0], 0)

"""Pressure with walls, obstacles and open cells: exact cases, a dense reference, derivatives."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physopt.problems.fluid.closed_box import solve_in_closed_box
from physopt.problems.fluid.conjugate_gradient import (
    conjugate_gradient,
    iterated,
    largest_residuals,
)
from physopt.problems.fluid.walls import (
    at_rest,
    divergence_in,
    free_gradient,
    laplacian_in,
    pressure_system,
    project,
    solvable,
    solve_pressure,
    walls,
)

TIGHT = 1e-13
"""Relative tolerance at which float64 rounding remains."""


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def rooms():
    """A room with an obstacle below an open layer, and a closed chamber with one more."""
    solid, is_open = np.zeros((2, 12, 10), bool)
    solid[:, 6] = solid[3:5, 2:4] = solid[8, 8] = True
    is_open[-1, :6] = True
    return walls(solid, is_open)


ROOMS = rooms()
solve = jax.jit(partial(solve_pressure, ROOMS, tolerance=TIGHT))
projected = jax.jit(partial(project, ROOMS, tolerance=TIGHT))


def dense(geometry):
    """The matrix of the Laplacian, column by column."""
    shape = geometry.fluid.shape
    unit = jnp.eye(geometry.fluid.size).reshape(-1, *shape)
    columns = jax.vmap(partial(laplacian_in, geometry))(unit)
    return np.asarray(columns).reshape(len(unit), -1).T


def test_a_projected_velocity_has_no_divergence_and_stays_out_of_walls():
    velocity = at_rest(ROOMS, random(12, 10, 2))
    result = projected(velocity)
    assert float(jnp.abs(divergence_in(ROOMS, velocity)).max()) > 1
    assert float(jnp.abs(divergence_in(ROOMS, result.velocity)).max()) < 1e-11
    np.testing.assert_array_equal(result.velocity * (1 - ROOMS.free), 0)
    # Flow and gradient are orthogonal, so that no other flow is nearer.
    push = free_gradient(ROOMS, result.pressure)
    assert abs(float(jnp.vdot(result.velocity, push))) < 1e-10
    again = projected(result.velocity)
    np.testing.assert_allclose(again.velocity, result.velocity, atol=1e-11)


def test_velocities_of_walls_are_kept():
    """Fluid that is pushed in through one wall leaves through the open layer."""
    velocity = jnp.zeros((12, 10, 2)).at[0, :6, 0].set(1.0)
    flow = projected(velocity).velocity
    np.testing.assert_array_equal(flow[0, :6, 0], 1)
    assert float(jnp.abs(divergence_in(ROOMS, flow)).max()) < 1e-11
    assert float(flow[-1, :6, 0].sum()) == pytest.approx(6)


def test_the_solution_is_that_of_the_pseudo_inverse():
    source = random(12, 10)
    matrix = dense(ROOMS)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-15)
    assert len(ROOMS.closed) == 1  # the chamber; the room is open
    assert np.linalg.matrix_rank(matrix) == ROOMS.fluid.sum() - 1
    inside = np.asarray(solvable(ROOMS, source)).ravel()
    expected = np.linalg.lstsq(matrix, inside, rcond=1e-10)[0]
    pressure, iterations = solve(source)
    np.testing.assert_allclose(pressure.ravel(), expected, atol=1e-10)
    assert 0 < int(iterations) < ROOMS.fluid.sum()


@pytest.mark.parametrize("top", ["closed", "open"])
def test_a_manufactured_pressure_is_found_with_second_order(top):
    """cos(a x) cos(2 pi y), whose gradient vanishes at closed walls, with its exact Laplacian."""
    errors = []
    for n in (8, 16):
        is_open = np.zeros((n + 1 if top == "open" else n, n), bool)
        is_open[n:] = True
        geometry = walls(np.zeros_like(is_open), is_open)
        # The open layer's centre, where the pressure is 0, lies half a cell above the unit square.
        length, waves = (1 + 0.5 / n, 1.5) if top == "open" else (1.0, 2.0)
        x, y = np.meshgrid(*(np.arange(k) / n + 0.5 / n for k in is_open.shape), indexing="ij")
        true = np.cos(waves * np.pi * x / length) * np.cos(2 * np.pi * y)
        factor = -((waves * np.pi / length) ** 2) - (2 * np.pi) ** 2
        solver = jax.jit(partial(solve_pressure, geometry, tolerance=1e-12))
        pressure, _ = solver(jnp.asarray(factor * true / n**2))
        errors.append(np.abs(pressure - true)[:n].max())
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.15)


def test_cosine_transforms_solve_the_closed_box():
    geometry, source = walls(np.zeros((6, 5), bool)), random(6, 5)
    exact = solve_in_closed_box(source)
    np.testing.assert_allclose(laplacian_in(geometry, exact), source - source.mean(), atol=1e-13)
    np.testing.assert_allclose(
        solve_pressure(geometry, source, tolerance=TIGHT)[0], exact, atol=1e-11
    )
    line = random(7)
    slopes = np.diff(solve_in_closed_box(line))  # fluxes add up along a line
    np.testing.assert_allclose(slopes, np.cumsum(line - line.mean())[:-1], atol=1e-13)


def test_iterations_are_as_many_as_eigenvalues_in_the_source():
    n = 8
    geometry = walls(np.zeros((n, n), bool))
    cells = np.pi * (np.arange(n) + 0.5) / n
    modes = [np.outer(np.cos(i * cells), np.cos(j * cells)) for i, j in ((1, 0), (2, 3), (5, 5))]
    run = jax.jit(partial(solve_pressure, geometry, tolerance=1e-9))
    for count in (1, 2, 3):
        assert int(run(jnp.asarray(sum(modes[:count])))[1]) == count
    assert int(run(jnp.zeros((n, n)))[1]) == 0
    exact = solve_in_closed_box(jnp.asarray(sum(modes)))
    found, iterations = run(jnp.asarray(sum(modes)), guess=exact + 5.0)
    assert int(iterations) == 0  # up to its mean, which is arbitrary
    np.testing.assert_allclose(found, exact, atol=1e-12)


def test_a_sample_of_a_batch_takes_its_own_number_of_iterations():
    sources = jnp.stack([random(12, 10), jnp.zeros((12, 10)), 1e-8 * random(12, 10, seed=1)])
    together = jax.jit(jax.vmap(partial(solve_pressure, ROOMS, tolerance=TIGHT)))(sources)
    alone = [solve(source) for source in sources]
    assert [int(k) for k in together[1]] == [int(k) for _, k in alone]
    assert int(together[1][1]) == 0
    np.testing.assert_allclose(together[0], jnp.stack([p for p, _ in alone]), atol=1e-10)


def test_a_source_that_is_not_a_number_gives_no_number():
    pressure, _ = solve(random(12, 10).at[2, 2].set(jnp.nan))
    assert np.isnan(np.asarray(pressure)).any()


def test_derivatives_are_those_of_an_orthogonal_projection():
    """P is linear and symmetric on free faces: both derivatives along w are P w."""
    velocity, along = (at_rest(ROOMS, random(12, 10, 2, seed=k)) for k in (0, 1))

    def flow(velocity, guess):
        return project(ROOMS, velocity, guess, tolerance=TIGHT).velocity

    @jax.jit
    def derivatives(velocity, guess, along):
        _, forward = jax.jvp(lambda v: flow(v, guess), (velocity,), (along,))
        return forward, *jax.vjp(flow, velocity, guess)[1](along)

    forward, backward, of_guess = derivatives(velocity, random(12, 10), along)
    expected = projected(along).velocity
    np.testing.assert_allclose(forward, expected, atol=1e-11)
    np.testing.assert_allclose(at_rest(ROOMS, backward), expected, atol=1e-11)
    np.testing.assert_array_equal(of_guess, 0)


def test_the_gradient_agrees_with_central_differences_at_any_scale_of_the_loss():
    velocity, along = (at_rest(ROOMS, random(12, 10, 2, seed=k)) for k in (0, 1))
    weights = random(12, 10, seed=2)

    @jax.jit
    @jax.value_and_grad
    def loss(velocity):
        result = project(ROOMS, velocity, tolerance=1e-10)
        return 1e-9 * jnp.sum(weights * result.pressure**2 + jnp.sin(result.velocity[..., 0]))

    slope = float(jnp.vdot(loss(velocity)[1], along))
    ahead, behind = (float(loss(velocity + h * along)[0]) for h in (1e-4, -1e-4))
    # The tolerance of the adjoint solve is relative to the cotangent, which is tiny here.
    assert slope == pytest.approx((ahead - behind) / 2e-4, rel=1e-6)


def test_single_iterations_are_those_of_the_solver_and_differentiable():
    system = pressure_system(ROOMS, random(12, 10))
    start, along = (random(12, 10, seed=k) for k in (1, 2))

    @jax.jit
    def compared(start):
        stopped = conjugate_gradient(system, start, 0.0, 4)
        return stopped, iterated(system, start, 4), largest_residuals(system, start, 4)

    @jax.jit
    @jax.value_and_grad
    def loss(start):
        return jnp.sum(jnp.sin(iterated(system, start, 4)))

    stopped, x, residuals = compared(start)
    np.testing.assert_allclose(x, stopped.x, atol=1e-13)
    assert float(residuals[-1]) == pytest.approx(float(jnp.abs(stopped.residual).max()))
    slope = float(jnp.vdot(loss(start)[1], along))
    ahead, behind = (float(loss(start + h * along)[0]) for h in (1e-5, -1e-5))
    assert slope == pytest.approx((ahead - behind) / 2e-5, rel=1e-7)


def test_iterations_beyond_the_solution_change_nothing():
    """The operator is singular: rounding errors along its null space must not grow."""
    geometry, source = walls(np.zeros((6, 6), bool)), random(6, 6)
    system = pressure_system(geometry, source)
    history = jax.jit(
        lambda start: (iterated(system, start, 300), largest_residuals(system, start, 300))
    )
    solved, residuals = history(random(6, 6, seed=1))
    np.testing.assert_allclose(solvable(geometry, solved), solve_in_closed_box(source), atol=1e-12)
    assert float(residuals[40:].max()) < 1e-12

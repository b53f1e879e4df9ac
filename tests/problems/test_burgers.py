"""Burgers' equation under control: the scheme, the scenes and the inverse step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.integrate import solve_ivp

from physopt.problem import Batch
from physopt.problems.burgers import Burgers, BurgersSupervised, advance, random_scene

PROBLEM = Burgers()
SMALL = Burgers(cells=8, steps=4)
step = jax.jit(advance)
simulate = jax.jit(PROBLEM.simulate)


def keys(number):
    return jax.random.split(jax.random.key(0), number)


def advanced(u, viscosity=0.1):
    with jax.enable_x64(True):
        return np.asarray(step(jnp.asarray(u), viscosity))


@pytest.fixture(scope="module")
def batch():
    """Sixty-four scenes."""
    return jax.jit(PROBLEM.sample)(keys(64))


@pytest.fixture
def small():
    """A small problem in float64 with forces of some size."""
    generator = np.random.default_rng(3)
    with jax.enable_x64(True):
        forces = jnp.asarray(0.1 * generator.normal(size=(2, 4, 8)))
        start = jnp.asarray(generator.normal(size=(2, 8)))
        target = jnp.zeros((2, 5, 8)).at[:, 0].set(generator.normal(size=(2, 8)))
        yield forces, Batch((), target, extra=start)


def with_fields(batch, fields):
    """Return a batch whose target has further fields of zeros, for changes of the force."""
    target = jnp.pad(batch.target, ((0, 0), (0, fields - batch.target.shape[1]), (0, 0)))
    return dataclasses.replace(batch, target=target)


def test_a_step_is_interpolation_and_diffusion():
    u = 3 * np.random.default_rng(0).normal(size=(5, 32))
    cells = np.arange(32)
    advected = np.stack([np.interp(cells - row, cells, row) for row in u])
    padded = np.pad(advected, ((0, 0), (1, 1)), mode="edge")
    expected = advected + 0.1 * (padded[:, 2:] + padded[:, :-2] - 2 * advected)
    np.testing.assert_allclose(advanced(u), expected, atol=1e-14)  # rounding of numbers near 5


def test_a_step_commutes_with_mirroring_and_keeps_constants():
    u = 3 * np.random.default_rng(1).normal(size=(5, 32))
    np.testing.assert_allclose(advanced(-u[:, ::-1]), -advanced(u)[:, ::-1], atol=1e-14)
    np.testing.assert_allclose(advanced(np.full((1, 32), 0.7)), 0.7, atol=1e-15)


def test_the_order_of_convergence_is_one():
    """Interpolating once per step of length dt errs by dx^2/dt, so refine dx and dt together."""
    length, time, viscosity = 32.0, 8.0, 0.1

    def positions(n):
        return (np.arange(n) + 0.5) * length / n

    def initial(s):
        return np.exp(-((s - 10) ** 2) / 18) - 0.8 * np.exp(-((s - 22) ** 2) / 18)

    def slope(_, u):
        dx = length / 1024
        padded = np.pad(u, 1, mode="edge")
        second = (padded[2:] + padded[:-2] - 2 * u) / dx**2
        return viscosity * second - u * (padded[2:] - padded[:-2]) / (2 * dx)

    fine = positions(1024)
    # Central differences on 1024 points, exact to 1e-3: the front is about 0.4 wide.
    exact = solve_ivp(slope, (0, time), initial(fine), method="LSODA", lband=1, uband=1, rtol=1e-6)
    errors = []
    for n in (32, 64, 128):  # dt = dx; in units of the grid viscosity is viscosity/dx
        u = initial(positions(n))[None]
        for _ in range(int(time * n / length)):
            u = advanced(u, viscosity * n / length)
        errors.append(np.abs(u[0] - np.interp(positions(n), fine, exact.y[:, -1])).mean())
    ratios = np.array(errors[:-1]) / errors[1:]
    assert ((ratios > 1.5) & (ratios < 3)).all()


def test_forces_of_the_driven_motion_reach_the_target(batch):
    _, drive, mirrored = jax.vmap(lambda key: random_scene(key, 32))(keys(64))
    drive = jnp.where(mirrored[:, None], -drive[:, ::-1], drive)
    u, forces = batch.extra, []
    for _ in range(32):
        forces.append(step(u + drive, 0.1) - step(u, 0.1))
        u = step(u, 0.1) + forces[-1]
    y = simulate(jnp.stack(forces, axis=1), batch)
    # The same motion with different operations: float32 rounding of numbers near 3, 32 steps.
    np.testing.assert_allclose(y[:, 0], batch.target[:, 0], atol=1e-4)
    assert not np.asarray(batch.target[:, 1:]).any()
    # Half of the scenes are mirrored: 32 +- 4, five standard errors.
    assert 12 <= int(mirrored.sum()) <= 52


def test_scenes_have_the_specified_forces(batch):
    """Two values of the specification: |F| of the driving force, 1/2 F^2 of a last-step force."""
    _, drive, _ = jax.vmap(lambda key: random_scene(key, 32))(keys(64))
    idle = simulate(jnp.zeros((64, 32, 32)), batch)
    driving = 32 * np.abs(np.asarray(drive, float)).sum(axis=1)
    gaps = np.asarray(batch.target - idle, float)[:, 0]
    closing = np.square(gaps).sum(axis=1) / 2
    # Both were measured on 100 other scenes.
    for actual, expected in ((driving, 13.5), (closing, 3.89)):
        assert actual.mean() == pytest.approx(
            expected, abs=3 * actual.std() * np.sqrt(1 / 64 + 1 / 100)
        )


@pytest.mark.parametrize(
    ("closed", "jerk"), [(True, 0.003), (False, 0.003), (False, 0.0), (True, 0.0)]
)
def test_inverse_step_solves_the_linearised_problem(small, closed, jerk):
    forces, batch = small
    problem = dataclasses.replace(SMALL, halvings=0, closed=closed, jerk=jerk)
    y = problem.simulate(forces, batch)
    batch = with_fields(batch, y.shape[1])
    slope = jax.jit(jax.jacfwd(lambda x: problem.simulate(x, batch)))(forces)
    solved = jax.jit(problem.invert)(forces, batch)
    for i in range(2):  # the linear least-squares problem of the whole residual
        matrix = np.asarray(slope)[i, :, :, i].reshape(-1, 32)
        residual = np.asarray(batch.target - y)[i].ravel()
        step = np.linalg.lstsq(matrix, residual, rcond=None)[0]
        actual = np.asarray(solved - forces)[i].ravel()
        # lstsq works with the condition number of the matrix, about 30 at alpha = 0.01. In a closed
        # problem the other forces determine the last one.
        free = 24 if closed else 32
        np.testing.assert_allclose(actual[:free], step[:free], atol=1e-11)


def test_gradient_agrees_with_central_differences(small):
    forces, batch = small

    @jax.jit
    def loss(x):
        return jnp.sum(SMALL.loss(SMALL.simulate(x, batch), batch))

    direction = jnp.asarray(np.random.default_rng(4).normal(size=forces.shape))
    difference = (loss(forces + 1e-6 * direction) - loss(forces - 1e-6 * direction)) / 2e-6
    # The scheme is piecewise smooth; no kink lies within 1e-6 of these numbers.
    slope = jnp.vdot(jax.grad(loss)(forces), direction)
    assert float(slope) == pytest.approx(float(difference), rel=1e-7)


def test_inverse_steps_find_the_least_force(batch):
    invert, x = jax.jit(PROBLEM.invert), jnp.zeros((64, 32, 32))
    losses = []
    for _ in range(15):
        losses.append(np.asarray(PROBLEM.loss(simulate(x, batch), batch)))
        x = invert(x, batch)
    # Shortened steps decrease the loss, up to rounding, until no length does.
    assert (np.array(losses[1:]) < np.array(losses[:-1]) * 1.05 + 1e-4).all()
    metrics = PROBLEM.metrics(x, simulate(x, batch), batch)
    assert float(metrics["final_error"].mean()) < 0.02
    # Single shooting by Adam found 0.110 for 100 scenes, exact to a tenth of the spread.
    force = np.asarray(metrics["force_half_l2"])
    assert force.mean() == pytest.approx(0.110, abs=3 * force.std() * np.sqrt(1 / 64 + 1 / 100))


def test_control_force_estimators_meet_the_end(batch):
    network = Burgers(levels=2, filters=4).network_cfe(nnx.Rngs(0))
    forces = nnx.jit(network)(batch.inputs)
    metrics = PROBLEM.metrics(forces, simulate(forces, batch), batch)
    # The gap is closed by construction: float32 rounding of velocities near 1.
    assert float(metrics["final_error"].max()) < 1e-5
    assert float(jnp.abs(forces[:, :-1]).max()) > 1e-3


def test_a_closed_problem_meets_the_end_and_counts_the_closing_force(small):
    forces, batch = small
    problem = dataclasses.replace(SMALL, closed=True)
    y = problem.simulate(forces, batch)
    closing = np.asarray(y[:, -1]) / 0.1  # sqrt(alpha)
    closed = forces.at[:, -1].set(closing)
    # Rounding of fields near 1; the result is bitwise independent of the last force of x.
    np.testing.assert_allclose(SMALL.simulate(closed, batch), y, atol=1e-14)
    np.testing.assert_array_equal(problem.simulate(closed, batch), y)
    metrics = problem.metrics(forces, y, batch)
    assert not np.asarray(metrics["final_error"]).any()
    np.testing.assert_allclose(metrics["force_l1"], np.abs(closed).sum(axis=(1, 2)))
    np.testing.assert_allclose(problem.loss(y, batch), 0.01 * metrics["force_half_l2"])


def test_changes_of_the_force_are_penalised_and_the_closing_force_is_a_baseline(small):
    forces, batch = small
    problem = dataclasses.replace(SMALL, closed=True, jerk=0.002)
    y, wide = problem.simulate(forces, batch), with_fields(batch, 8)
    closed = np.asarray(y[:, 1:5]) / 0.1  # sqrt(alpha)
    changes = 0.5 * np.square(np.diff(closed, axis=1)).sum(axis=(1, 2))
    metrics = problem.metrics(forces, y, wide)
    expected = 0.01 * metrics["force_half_l2"] + 0.002 * changes
    np.testing.assert_allclose(problem.loss(y, wide), expected)
    # Without training: the whole difference to a motion without forces.
    idle = SMALL.simulate(jnp.zeros_like(forces), batch)
    gap = np.abs(np.asarray(batch.target - idle)[:, 0]).sum(axis=1)
    (method,) = problem.baselines(wide).values()
    assert method["force_l1"] == pytest.approx(gap.mean())
    assert method["final_error"] == 0


def test_supervised_forces_are_those_that_drove_the_scene(batch):
    supervised = jax.jit(BurgersSupervised().sample)(keys(64))
    np.testing.assert_array_equal(supervised.inputs[:, 0], batch.extra)
    y = simulate(supervised.target, batch)
    # float32 rounding of numbers near 3 over 32 steps.
    np.testing.assert_allclose(y[:, 0], batch.target[:, 0], atol=1e-4)

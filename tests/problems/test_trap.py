"""Harmonic trap: closed forms of the work, the excess as a sum of squares, trajectories."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from physopt.options import OptionError
from physopt.problem import Batch
from physopt.problems.trap.moments import excess, stage_times
from physopt.problems.trap.problem import Trap
from physopt.problems.trap.trajectories import step_times, works
from physopt.problems.trap.traps import TRAPS, signed_root

WORKS = {
    # trap, goal, duration: work of the linear protocol, least work (Schmiedl and Seifert)
    ("moved", 5.0, 0.1): (12.0935, 11.9048),
    ("moved", 5.0, 1.0): (9.1970, 8.3333),
    ("moved", 5.0, 5.0): (4.0067, 3.5714),
    ("stiffened", 2.0, 0.1): (0.484587, 0.478289),
    ("stiffened", 2.0, 1.0): (0.412466, 0.402918),
    ("stiffened", 5.0, 1.0): (1.123952, 1.056538),
    ("stiffened", 5.0, 10.0): (0.848926, 0.834672),
}


def batch_of(goal, time):
    goal, time = (jnp.atleast_1d(jnp.asarray(a, float)) for a in (goal, time))
    return Batch(goal, goal, {"goal": goal, "time": time})


def excess_work(problem, x, batch):
    return np.asarray(problem.metrics(x, x, batch)["excess_work"])


@pytest.mark.parametrize("case", WORKS, ids=str)
def test_works_are_those_of_the_closed_forms(case):
    """The linear protocol needs no optimum: W* + excess is its work by the moments alone."""
    name, goal, time = case
    linear, least = WORKS[case]
    with jax.enable_x64(True):
        batch, problem = batch_of(goal, time), Trap(trap=name)
        work = float(problem.family.work(*batch.extra.values())[0])
        excess = excess_work(problem, problem.initial_unknowns(batch), batch)
    assert work == pytest.approx(least, rel=1e-5)  # digits of the table
    assert work + excess == pytest.approx(linear, rel=1e-5)


def test_linear_motion_has_its_closed_form():
    with jax.enable_x64(True):
        batch, problem = batch_of(np.array([1.0, 3.0]), np.array([0.3, 7.0])), Trap()
        goal, time = (np.asarray(a) for a in batch.extra.values())
        work = problem.family.work(*batch.extra.values())
        total = work + excess_work(problem, problem.initial_unknowns(batch), batch)
    # The integrator's error is of order (t / steps)^4 / 4320.
    np.testing.assert_allclose(total, (goal / time) ** 2 * (time + np.expm1(-time)), rtol=1e-7)


@pytest.mark.parametrize("name", TRAPS)
def test_excess_is_the_work_integral_minus_the_optimum(name):
    """W = int dlambda dV/dlambda by a fine quadrature of any protocol, jumps included."""
    trap, goal, time, fine = TRAPS[name], np.array([2.0]), np.array([1.5]), 400

    def protocol(s):
        return 0.4 + s + 0.5 * np.sin(3 * s)

    with jax.enable_x64(True):
        control = jnp.asarray(protocol(stage_times(fine)))[None]
        terms = excess(trap, control, jnp.asarray(goal), jnp.asarray(time))
        total = float((trap.work(jnp.asarray(goal), jnp.asarray(time)) + terms.work())[0])
    nodes = np.linspace(0, 1, 20 * fine + 1)
    h, values = time[0] / (len(nodes) - 1), protocol(nodes)
    slope = np.gradient(values, h, edge_order=2)
    moment, moments = trap.moment, []
    for k in range(len(nodes)):  # midpoint rule of the moment's equation
        moments.append(moment)
        if k + 1 < len(nodes):
            middle = (values[k] + values[k + 1]) / 2
            a, b = (2.0, 2 * middle) if name == "stiffened" else (middle, 1.0)
            moment = (moment * (1 - h * b / 2) + h * a) / (1 + h * b / 2)
    moments = np.array(moments)
    force = moments / 2 if name == "stiffened" else values - moments

    def energy(m, control):  # up to a constant that the control does not change
        return control * m / 2 if name == "stiffened" else control**2 / 2 - control * m

    jumps = energy(moments[0], values[0]) - energy(moments[0], trap.before)
    jumps += energy(moments[-1], goal[0]) - energy(moments[-1], values[-1])
    integral = np.sum((slope * force)[1:] + (slope * force)[:-1]) * h / 2
    assert total == pytest.approx(jumps + integral, abs=1e-6)


@pytest.mark.parametrize("basis", ["linear", "chebyshev"])
def test_a_gauss_newton_step_finds_the_optimal_motion(basis):
    with jax.enable_x64(True):
        batch = batch_of(np.array([1.0, 5.0, 3.0]), np.array([0.1, 1.0, 10.0]))
        problem = Trap(basis=basis)
        x = jax.jit(problem.invert)(problem.initial_unknowns(batch), batch)
        metrics = problem.metrics(x, x, batch)
    np.testing.assert_array_less(metrics["excess_work"], 1e-12)
    np.testing.assert_array_less(metrics["protocol_error"], 1e-5)  # the square root of the excess


@pytest.mark.parametrize("basis", ["linear", "chebyshev"])
def test_stiffening_approaches_the_optimum_as_the_basis_grows(basis):
    """A fourth power of the number of knots for splines of order 2, exponential for Chebyshev."""
    excesses = []
    with jax.enable_x64(True):
        batch = batch_of(5.0, 1.0)
        for knots in (3, 5, 9):
            problem = Trap(trap="stiffened", basis=basis, knots=knots)
            x = problem.initial_unknowns(batch)
            for _ in range(4):
                x = problem.invert(x, batch)
            excesses.append(float(excess_work(problem, x, batch)[0]))
    print(excesses)
    ratios = np.array(excesses[:-1]) / excesses[1:]
    assert (ratios > (8 if basis == "linear" else 50)).all()


@pytest.mark.parametrize("name", TRAPS)
def test_the_optimal_protocol_has_no_excess_and_its_own_path(name):
    trap = TRAPS[name]
    with jax.enable_x64(True):
        goal, time = jnp.asarray([0.3, 1.0, 4.0]), jnp.asarray([5.0, 1.0, 0.2])
        control = trap.protocol(goal, time, jnp.asarray(stage_times(64)))
        terms = excess(trap, control, goal, time)
        path = trap.optimum(goal, time)
        free_energy = 0.5 * jnp.log(goal) if name == "stiffened" else 0 * goal
        work = trap.work(goal, time)
    np.testing.assert_array_less(terms.work(), 1e-14)
    np.testing.assert_allclose(terms.terms, terms.optimal, atol=1e-7)
    assert (np.asarray(work) >= np.asarray(free_energy)).all()
    # A stationary path: no protocol with another rate does less work.
    assert path.rate.shape == (3,)


def test_the_root_of_the_bregman_distance_has_no_seam():
    with jax.enable_x64(True):
        z = jnp.asarray([-0.5, -0.051, -0.05, -0.049, -1e-6, 0.0, 1e-6, 0.049, 0.051, 3.0])
        exact = np.array([float(a - np.log1p(a)) for a in z])
        np.testing.assert_allclose(signed_root(z) ** 2 / 2, exact, rtol=1e-9, atol=1e-16)
        assert float(jax.grad(signed_root)(0.0)) == 1.0


@pytest.mark.parametrize("name", TRAPS)
@pytest.mark.parametrize("trajectories", [0, 3])
def test_gradient_agrees_with_central_differences(name, trajectories):
    with jax.enable_x64(True):
        problem = Trap(trap=name, trajectories=trajectories, knots=3)
        batch = problem.sample(jax.random.split(jax.random.key(0), 2))
        x = problem.initial_unknowns(batch) + 0.1
        check_grads(lambda x: problem.simulate(x, batch), (x,), order=1, modes=["rev"])


@pytest.mark.parametrize("name", TRAPS)
def test_trajectories_have_the_mean_work_and_gradient_of_the_moments(name):
    """Within four standard errors, and the O(h^2) of a stepwise protocol."""
    problem = Trap(trap=name, trajectories=4000, knots=5)
    batch = problem.sample(jax.random.split(jax.random.key(3), 2))
    x = problem.initial_unknowns(batch)
    exact = dataclasses.replace(problem, trajectories=0)
    target = dataclasses.replace(batch, target=exact.sample(jax.random.split(jax.random.key(3), 2)))
    target = dataclasses.replace(batch, target=target.target.target)

    def losses(problem, batch):
        value, pull = jax.vjp(lambda x: problem.loss(problem.simulate(x, batch), batch), x)
        return value, pull(jnp.ones_like(value))[0]

    (loss, gradient), (mean, slope) = losses(exact, target), losses(problem, batch)
    spread = np.asarray(problem.simulate(x, batch)).std(axis=1) / np.sqrt(4000)
    assert (np.abs(mean - loss) < 4 * spread + 2e-3).all()
    np.testing.assert_allclose(slope, gradient, atol=0.1 * float(jnp.abs(gradient).max()))


def test_jarzynski_holds_for_trajectories():
    """<exp(-W)> = exp(-dF) for any protocol, stepwise ones included."""
    trap, steps, count = TRAPS["stiffened"], 8, 20_000
    control = 1 + jnp.asarray(step_times(steps), jnp.float32)[None]
    noise = jax.random.normal(jax.random.key(0), (1, count, steps + 1))
    work = works(trap, control, jnp.asarray([2.0]), jnp.asarray([0.5]), noise)
    weights = np.exp(-np.asarray(work, float))
    error = weights.std() / np.sqrt(count)
    assert weights.mean() == pytest.approx(2**-0.5, abs=4 * error)


def test_goals_and_durations_keep_their_ranges():
    for name, (low, high) in {"moved": (1, 5), "stiffened": (0.2, 5)}.items():
        batch = Trap(trap=name).sample(jax.random.split(jax.random.key(0), 2048))
        goal, time = (np.asarray(batch.extra[key]) for key in ("goal", "time"))
        assert low <= goal.min() < low * 1.02
        assert high * 0.98 < goal.max() <= high * 1.0001
        # Five standard errors of the mean of a uniform logarithm: 5 ln(100) / sqrt(12 * 2048).
        assert np.log(time).mean() == pytest.approx(0, abs=0.15)


def test_an_empty_range_of_durations_is_refused():
    with pytest.raises(OptionError, match="shorter than"):
        Trap(shortest=2.0, longest=1.0)

"""Harmonic trap: closed forms of the work, the excess as a sum of squares, trajectories."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physopt.options import OptionError
from physopt.problem import Batch
from physopt.problems.trap.moments import excess, stage_times
from physopt.problems.trap.problem import Trap
from physopt.problems.trap.trajectories import step_times, works
from physopt.problems.trap.traps import TRAPS, signed_root

WORKS = {
    # goal, duration: work of the linear protocol, least work (Schmiedl and Seifert), 6 digits
    "moved": [
        (5.0, 0.1, 12.0935, 11.9048),
        (5.0, 1.0, 9.1970, 8.3333),
        (5.0, 5.0, 4.0067, 3.5714),
    ],
    "stiffened": [
        (2.0, 0.1, 0.484587, 0.478289),
        (2.0, 1.0, 0.412466, 0.402918),
        (5.0, 1.0, 1.123952, 1.056538),
        (5.0, 10.0, 0.848926, 0.834672),
    ],
}


def batch_of(goal, time):
    goal, time = np.asarray(goal, float), np.asarray(time, float)
    return Batch(goal, goal, {"goal": goal, "time": time})


def excess_work(problem, x, batch):
    return problem.metrics(x, x, batch)["excess_work"]


@pytest.mark.parametrize("name", TRAPS)
def test_works_are_those_of_the_closed_forms(name):
    """The linear protocol needs no optimum: W* + excess is its work by the moments alone."""
    goal, time, linear, least = np.array(WORKS[name]).T
    problem = Trap(trap=name)

    @jax.jit
    def both(batch):
        x = problem.initial_unknowns(batch)
        work = problem.family.work(batch.extra["goal"], batch.extra["time"])
        return work, excess_work(problem, x, batch)

    with jax.enable_x64(True):
        work, more = jax.device_get(both(batch_of(goal, time)))
    np.testing.assert_allclose(work, least, rtol=1e-5)
    np.testing.assert_allclose(work + more, linear, rtol=1e-5)
    if name == "moved":
        closed = (goal / time) ** 2 * (time + np.expm1(-time))
        np.testing.assert_allclose(work + more, closed, rtol=1e-6)  # (t / steps)^4 / 4320
    else:
        assert (work >= np.log(goal) / 2).all(), "the difference of free energies"


def quadrature(name, protocol, goal, time, points=8001):
    """Return W = int dlambda dV/dlambda by the midpoint rule, jumps included."""
    nodes = np.linspace(0, 1, points)
    control, h = protocol(nodes), time / (points - 1)
    middle = (control[1:] + control[:-1]) / 2
    stiff = name == "stiffened"
    a, b = (np.full_like(middle, 2.0), 2 * middle) if stiff else (middle, np.ones_like(middle))
    moments = [1.0 if stiff else 0.0]
    for a_k, b_k in zip(a, b, strict=True):
        moments.append((moments[-1] * (1 - h * b_k / 2) + h * a_k) / (1 + h * b_k / 2))
    moment = np.array(moments)
    mean = (moment[1:] + moment[:-1]) / 2
    force = mean / 2 if stiff else middle - mean

    def energy(m, control):  # but for a part that the control does not change
        return control * m / 2 if stiff else control**2 / 2 - control * m

    jumps = energy(moment[0], control[0]) - energy(moment[0], 1.0 if stiff else 0.0)
    jumps += energy(moment[-1], goal) - energy(moment[-1], control[-1])
    return jumps + np.sum(np.diff(control) * force)


@pytest.mark.parametrize("name", TRAPS)
def test_excess_is_the_work_integral_minus_the_optimum(name):
    """For any protocol; and none for the optimal one, whose terms are the optimal terms."""
    trap, goal, time, parts = TRAPS[name], 2.0, 1.5, stage_times(64)

    def protocol(part):
        return 0.4 + part + 0.5 * np.sin(3 * part)

    @jax.jit
    def evaluate(goal, time):
        optimal = trap.protocol(goal, time, jnp.asarray(parts))
        control = jnp.stack([jnp.asarray(protocol(parts)), optimal[0]])
        goals, times = jnp.broadcast_to(goal, 2), jnp.broadcast_to(time, 2)
        return excess(trap, control, goals, times), trap.work(goal, time)

    with jax.enable_x64(True):
        terms, least = evaluate(jnp.asarray([goal]), jnp.asarray([time]))
        work, least = jax.device_get((terms.work(), least))
    expected = quadrature(name, protocol, goal, time)
    assert float(work[0] + least[0]) == pytest.approx(expected, abs=1e-6)  # 1e-8 and its constants
    assert work[1] < 1e-15
    np.testing.assert_allclose(terms.terms[1], terms.optimal[1], atol=1e-7)


def test_one_gauss_newton_step_finds_the_optimal_motion():
    problem = Trap(basis="chebyshev", knots=5)

    @jax.jit
    def solve(batch):
        x = problem.invert(problem.initial_unknowns(batch), batch)
        return problem.metrics(x, x, batch)

    with jax.enable_x64(True):
        metrics = solve(batch_of(np.array([1.0, 5.0, 3.0]), np.array([0.1, 1.0, 10.0])))
    np.testing.assert_array_less(metrics["excess_work"], 1e-20)
    np.testing.assert_array_less(metrics["protocol_error"], 1e-12)


def test_the_basis_converges_on_the_optimal_stiffness():
    """Order 2 in the protocol is order 4 in the work; Chebyshev series converge exponentially."""
    parts = np.linspace(0, 1, 65)

    @jax.jit
    def excesses(batch):
        goal, time = batch.extra["goal"], batch.extra["time"]
        optimal = TRAPS["stiffened"].protocol(goal, time, jnp.asarray(parts))
        problems = [
            Trap(trap="stiffened", basis=basis, knots=knots)
            for basis in ("linear", "chebyshev")
            for knots in (3, 5, 9)
        ]
        return [excess_work(p, p.represent(optimal, parts), batch) for p in problems]

    with jax.enable_x64(True):
        works = np.array(excesses(batch_of(np.array([2.0]), np.array([1.0]))))
    linear, chebyshev = works.reshape(2, 3)
    np.testing.assert_allclose(np.log2(linear[:-1] / linear[1:]), 4, atol=0.2)
    assert (chebyshev[:-1] / chebyshev[1:] > 1e4).all()


def test_the_root_of_the_bregman_distance_has_no_seam():
    with jax.enable_x64(True):
        z = np.array([-0.5, -0.051, -0.05, -0.049, -1e-6, 0.0, 1e-6, 0.049, 0.051, 3.0])
        root, slope = jax.device_get(jax.jit(jax.vmap(jax.value_and_grad(signed_root)))(z))
    np.testing.assert_allclose(root**2 / 2, z - np.log1p(z), rtol=1e-9, atol=1e-16)
    # r r' = z / (1 + z)
    np.testing.assert_allclose(root * slope, z / (1 + z), rtol=1e-8)
    assert slope[5] == 1.0


def test_gradient_of_stiffening_agrees_with_central_differences():
    problem, direction = Trap(trap="stiffened", knots=3), np.array([[0.3, -1, 0.5], [1, 0.2, -0.4]])

    @jax.jit
    def along(shift):
        batch = problem.sample(jax.random.split(jax.random.key(0), 2))
        x = problem.initial_unknowns(batch) + shift * direction
        loss, gradient = jax.value_and_grad(
            lambda x: problem.loss(problem.simulate(x, batch), batch).sum()
        )(x)
        return loss, jnp.sum(gradient * direction)

    with jax.enable_x64(True):
        (ahead, _), (behind, _), (_, slope) = (along(h) for h in (1e-5, -1e-5, 0.0))
        assert float(slope) == pytest.approx(float(ahead - behind) / 2e-5, rel=1e-7)


@pytest.mark.parametrize("name", TRAPS)
def test_trajectories_have_the_mean_work_and_slope_of_the_moments(name):
    """Along a direction, within four standard errors and the O(h^2) of a stepwise protocol."""
    count, direction = 4000, np.array([1.0, -0.5, 0.8, 0.2, -1.0], np.float32)
    problem = Trap(trap=name, trajectories=count, knots=5)
    exact = dataclasses.replace(problem, trajectories=0)

    @jax.jit
    def compare(keys):
        batch, of_moments = problem.sample(keys), exact.sample(keys)
        x = problem.initial_unknowns(batch)

        def drawn(x):
            return problem.simulate(x, batch) - batch.target

        def by_moments(x):
            return exact.loss(exact.simulate(x, of_moments), of_moments)

        tangent = jnp.broadcast_to(direction, x.shape)
        return jax.jvp(drawn, (x,), (tangent,)), jax.jvp(by_moments, (x,), (tangent,))

    estimates, expected = compare(jax.random.split(jax.random.key(3), 2))
    for draws, value in zip(estimates, expected, strict=True):  # loss, slope
        error = np.std(draws, axis=1) / np.sqrt(count)
        assert (np.abs(np.mean(draws, axis=1) - value) < 4 * error + 2e-3).all()
        assert (error < 0.05).all()


def test_jarzynski_holds_for_trajectories():
    """<exp(-W)> = exp(-dF) for any protocol, stepwise ones included."""
    trap, steps, count = TRAPS["stiffened"], 8, 20_000
    control = 1 + np.asarray(step_times(steps), np.float32)[None]
    noise = np.random.default_rng(0).normal(size=(1, count, steps + 1)).astype(np.float32)
    goal, time = np.array([2.0], np.float32), np.array([0.5], np.float32)
    work = jax.jit(lambda *arrays: works(trap, *arrays))(control, goal, time, noise)
    weights = np.exp(-np.asarray(work, float))
    assert weights.mean() == pytest.approx(2**-0.5, abs=4 * weights.std() / np.sqrt(count))


@pytest.mark.parametrize(("name", "low", "high"), [("moved", 1, 5), ("stiffened", 0.2, 5)])
def test_goals_and_durations_keep_their_ranges(name, low, high):
    batch = jax.jit(Trap(trap=name).sample)(jax.random.split(jax.random.key(0), 2048))
    goal, time = (np.asarray(batch.extra[key]) for key in ("goal", "time"))
    assert low <= goal.min() < low * 1.02
    assert high * 0.98 < goal.max() <= high * 1.0001
    # Five standard errors of the mean of a uniform logarithm: 5 ln(100) / sqrt(12 * 2048).
    assert np.log(time).mean() == pytest.approx(0, abs=0.15)


def test_an_empty_range_of_durations_is_refused():
    with pytest.raises(OptionError, match="shorter than"):
        Trap(shortest=2.0, longest=1.0)

"""Wave packets, billiards, Kuramoto-Sivashinsky: closed forms, conservation, orders, basins."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.integrate import solve_ivp

from physopt.problems.etdrk4 import advance, factors
from physopt.problems.local_minima import Billiards, KuramotoSivashinsky, WavePacket
from physopt.problems.local_minima.collisions import Table


def keys(number, seed=0):
    return jax.random.split(jax.random.key(seed), number)


# --- wave packet


def test_six_per_cent_of_the_starts_lie_in_the_right_basin():
    """The overlap of two packets at a distance d is exp(-d^2 / 4 w^2) cos(k d), up to a factor.

    Its first minimum is at k d tan(-k d) = (d/w)^2 / 2: half a period, less 1/2 (k w)^-2 of it.
    """
    problem = WavePacket(noise=0.0)
    half = np.pi / problem.wavenumber * (1 - 1 / (2 * (problem.wavenumber * problem.width) ** 2))
    batch = problem.sample(keys(64))
    scan = np.linspace(-0.875, 0.875, 1793)  # 1/8 point

    def losses(position):
        return problem.loss(problem.signal(jnp.full((64, 1), position)), batch)

    loss = np.array(jax.jit(lambda s: jax.lax.map(losses, s))(jnp.asarray(scan, jnp.float32)))
    share = []
    for k, true in enumerate(np.asarray(batch.extra[:, 0])):
        start = int(np.argmin(np.abs(scan - true)))
        rises = np.sign(np.diff(loss[:, k])) * np.sign(np.arange(1792) + 0.5 - start)
        right = np.argmax(np.append(rises[start + 1 :], -1) < 0)
        left = np.argmax(np.append(rises[: start - 1][::-1], -1) < 0)
        share.append((left + right + 2) / 1792)
        if abs(true) < 0.8:
            assert (left + right + 2) / 8 == pytest.approx(2 * half, abs=0.5)
    assert np.mean(share) == pytest.approx(0.055, abs=0.003)


def test_the_misfit_of_the_truth_is_that_of_the_noise():
    """|noise|^2 / |y*|^2, with |y|^2 = A^2 w sqrt(pi) / 2 up to exp(-(k w)^2) inside the line."""
    problem = WavePacket(unknowns="all")
    batch = problem.sample(keys(512))
    y = problem.simulate(batch.extra, batch)
    inside = np.abs(batch.extra[:, 0]) < 0.5
    squares = np.sum(np.asarray(y) ** 2, axis=1)[inside]
    amplitude, width = np.exp(batch.extra[inside, 1]), 20 * np.exp(batch.extra[inside, 2])
    np.testing.assert_allclose(squares, amplitude**2 * width * np.pi**0.5 / 2, rtol=1e-3)
    noise = np.sum(np.asarray(y - batch.target) ** 2, axis=1)
    assert noise.mean() == pytest.approx(2.56, abs=0.05)  # 256 x 0.1^2, sigma 0.01
    misfit = problem.metrics(batch.extra, y, batch)["misfit"]
    np.testing.assert_allclose(misfit, noise / np.sum(np.asarray(batch.target) ** 2, 1), rtol=1e-4)


# --- billiards


def test_an_oblique_collision_is_that_of_the_closed_form():
    """The normal velocity is passed on by (1 + e) / 2; the tangential one stays."""
    e, speed, offset, time = 0.8, 1.0, 0.06, 0.5
    table = Table((100.0, 100.0), 0.05, e, 0.0)
    with jax.enable_x64(True):
        position = jnp.asarray([[50.0, 50.0], [50.3, 50.0 + offset]])
        velocity = jnp.asarray([[speed, 0.0], [0.0, 0.0]])
        path, final = jax.device_get(table.path(position, velocity, 5, time / 5))
    n = np.array([np.sqrt(0.1**2 - offset**2), offset]) / 0.1
    passed = (1 + e) / 2 * speed * n[0] * n
    np.testing.assert_allclose(final[-1], [np.array([speed, 0]) - passed, passed], atol=1e-12)
    contact = 0.3 - 0.1 * n[0]
    left = time - contact / speed
    moved = np.array([[contact, 0.0], [0.3, offset]]) + left * final[-1]
    np.testing.assert_allclose(path[-1] - 50.0, moved, atol=1e-12)


def test_elastic_balls_keep_their_energy_and_pairs_their_momentum():
    generator = np.random.default_rng(0)
    with jax.enable_x64(True):
        start = jnp.asarray([[0.3, 0.3], [0.7, 0.5], [1.1, 0.4], [1.5, 0.7], [1.8, 0.2]])
        velocity = jnp.asarray(generator.normal(size=start.shape))
        elastic = Table((2.0, 1.0), 0.05, 1.0, 0.0)
        path, velocities = jax.jit(elastic.path, static_argnums=(2, 3))(start, velocity, 600, 0.01)
        energy = np.sum(np.asarray(velocities) ** 2, axis=(1, 2))
        np.testing.assert_allclose(energy, np.sum(np.asarray(velocity) ** 2), rtol=1e-12)
        turned = np.any(np.diff(np.asarray(velocities), axis=0) != 0, axis=2).sum(axis=1)
        assert np.sum(turned >= 2) > 5, "balls collided with one another"
        assert np.all((np.asarray(path) > 0) & (np.asarray(path) < [2, 1]))
        time, change = elastic.first_collision(path[-1], -velocities[-1], 10.0)
    assert 0 < time < 10
    np.testing.assert_allclose(np.sum(np.asarray(change), axis=0), 0, atol=1e-15)


def test_a_cushion_reflects_at_one_radius_and_drag_is_exponential():
    e, drag = 0.5, 0.4
    with jax.enable_x64(True):
        ball = jnp.asarray([[1.0, 0.5], [5.0, 0.9]])
        velocity = jnp.asarray([[0.0, -1.0], [0.0, 0.0]])
        path, final = Table((9.0, 1.0), 0.05, e, 0.0).path(ball, velocity, 10, 0.1)
        slowed = Table((9.0, 9.0), 0.05, e, drag).path(ball, -velocity, 40, 0.05)[1][-1]
    # 0.45 to the cushion, then back at half the speed for the other 0.55.
    np.testing.assert_allclose(path[-1, 0], [1.0, 0.05 + e * 0.55], atol=1e-12)
    np.testing.assert_allclose(final[-1, 0], [0, e], atol=1e-12)
    np.testing.assert_allclose(slowed[0], [0, np.exp(-2 * drag)], rtol=1e-12)


def test_a_hit_has_the_right_gradient_and_a_miss_none():
    problem = Billiards()
    with jax.enable_x64(True):
        batch = problem.sample(keys(1))
        aim = batch.extra[0, 0] - jnp.asarray([0.3, 0.5])
        hit = (0.8 * aim / jnp.linalg.norm(aim) - jnp.asarray([0.5, 0.0]))[None]
        check_grads(lambda x: problem.simulate(x, batch), (hit,), order=1, modes=["fwd", "rev"])
        assert problem.metrics(hit, problem.simulate(hit, batch), batch)["untouched"] == 0
        miss = jnp.asarray([[-0.4, 0.0]])  # too weak to arrive
        y, pull = jax.vjp(lambda x: problem.simulate(x, batch), miss)
        np.testing.assert_array_equal(pull(jnp.ones_like(y))[0], 0)
        assert problem.metrics(miss, y, batch)["untouched"] == 1


# --- exponential time differencing and Kuramoto-Sivashinsky


def solved(linear, u, nonlinear, step, steps):
    with jax.enable_x64(True):
        f = factors(np.asarray(linear), step)
        return np.asarray(
            jax.lax.fori_loop(0, steps, lambda _, u: advance(f, u, nonlinear), jnp.asarray(u))
        )


def test_etdrk4_has_order_four_and_solves_linear_equations_exactly():
    """u' = -c u + u^2 has the solution c / (1 + (c / u_0 - 1) exp(c t)), stiff or not."""
    c, u = np.array([0.5, 2.0, 300.0]), np.array([0.4, 1.5, 200.0])
    exact = c / (1 + (c / u - 1) * np.exp(c))
    errors = []
    for steps in (20, 40, 80):
        f = solved(-c, u, lambda u: u**2, 1 / steps, steps)
        errors.append(np.abs(f - exact))
        assert errors[-1][2] < 1e-6, "a decaying stiff component stays at zero"
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))[:, :2]
    np.testing.assert_allclose(orders[-1], 4, atol=0.15)
    rates = np.array([0.0, 1e-7, -1e-3, -4.0, -1e3, 0.3j])
    constant = solved(rates, np.ones(6) + 0j, lambda u: jnp.full_like(u, 2.0), 0.1, 7)
    safe = np.where(rates == 0, 1, rates)
    growth = np.where(rates == 0, 0.7, np.expm1(0.7 * rates) / safe)
    np.testing.assert_allclose(constant, np.exp(0.7 * rates) + 2 * growth, rtol=1e-12)


def flow(problem, unknown, seed=3):
    """Return u after each step from one initial state, [steps, points], in float64."""
    with jax.enable_x64(True):
        start = problem.state(jax.random.normal(jax.random.key(seed), (1, 2 * problem.modes)))
        path = jax.jit(problem.path)(jnp.asarray(unknown)[None], start)
        return np.asarray(start[0]), np.asarray(path[:, 0])


def test_kuramoto_sivashinsky_converges_to_an_independent_solution_with_order_four():
    """Longer steps have a lower order, as the stiff modes are not resolved."""
    problem = KuramotoSivashinsky(points=32, length=22.0, horizon=2.0)
    waves = 2 * np.pi / 22 * np.arange(17)
    forcing = 0.7 * np.fft.rfft(problem.forcing())

    def rate(_, u):
        u = u[:17] + 1j * u[17:]
        square = np.fft.rfft(np.fft.irfft(u, 32) ** 2)
        change = (waves**2 - waves**4) * u + forcing
        change = change - 0.4j * waves * (waves < 2 / 3 * waves[-1]) * square
        return np.concatenate([change.real, change.imag])

    flows = [
        flow(dataclasses.replace(problem, time_step=2 / steps), [0.7, -0.4]) for steps in (128, 256)
    ]
    u = np.fft.rfft(flows[0][0])
    state = np.concatenate([u.real, u.imag])
    end = solve_ivp(rate, (0, 2), state, method="LSODA", rtol=1e-11, atol=1e-11).y[:, -1]
    exact = np.fft.irfft(end[:17] + 1j * end[17:], 32)
    errors = [np.linalg.norm(path[-1] - exact) for _, path in flows]
    assert errors[1] < 1e-6 * np.linalg.norm(exact)
    assert np.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.3)


def test_the_mean_is_conserved_and_the_energy_bounded():
    problem = KuramotoSivashinsky(points=64, length=32.0, horizon=200.0)
    start, path = flow(problem, [1.0, 0.5])
    np.testing.assert_allclose(path.mean(axis=1), start.mean(), atol=1e-12)
    energy = np.mean(path**2, axis=1)
    assert 0.1 < energy[200:].mean() < energy.max() < 20


def test_the_condition_number_grows_with_the_horizon():
    """Of du(T)/dx, in the largest singular value, by which an error of x is magnified."""
    magnified = []
    for horizon in (5.0, 20.0, 60.0):
        problem = KuramotoSivashinsky(points=32, length=22.0, horizon=horizon, unknown="state")
        with jax.enable_x64(True):
            batch = problem.sample(keys(4))
            _, slope = jax.jit(problem.linearize)(batch.extra["x"], batch)
            values = np.linalg.svd(np.asarray(slope), compute_uv=False)
        magnified.append(np.median(values[:, 0] / values[:, -1]))
    assert magnified[0] < magnified[1] / 3 < magnified[2] / 9


def test_the_flow_is_chaotic_on_a_long_line():
    """States at a distance of 1e-8 part exponentially on a long line, and do not on a short one."""
    rates = {}
    for length in (8.0, 22.0):
        problem = KuramotoSivashinsky(
            points=32, length=length, horizon=300.0, unknown="state", modes=2
        )
        with jax.enable_x64(True):
            x = jax.random.normal(jax.random.key(0), (8, 4))
            near = jnp.concatenate([x, x * (1 + 1e-8)])
            path = np.asarray(jax.jit(problem.path)(near, problem.state(near)))
        distance = np.linalg.norm(path[:, 8:] - path[:, :8], axis=2)
        rates[length] = np.log(distance[1199] / distance[199]) / 250
    # The mean exponent over 250 units of time scatters by a third between initial states.
    assert 0.03 < np.median(rates[22.0]) < 0.08
    assert np.max(np.abs(rates[8.0])) < 1e-3

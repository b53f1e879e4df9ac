"""The problem `navier_stokes`: scenes, simulation, loss and inverse steps."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physopt.problems.fluid.flow import Flow, rollout
from physopt.problems.fluid.grid import divergence
from physopt.problems.fluid.navier_stokes import (
    BLUR,
    LEAST,
    WAVES,
    NavierStokes,
    spectrum,
    summed_amplitudes,
)
from physopt.problems.fluid.swirl import SIDE, Motion, centre_of_mass, centring, spin_of, swirl

PROBLEM = NavierStokes()
invert = jax.jit(PROBLEM.invert)


@pytest.fixture(scope="module")
def batch():
    """Sixteen scenes."""
    return jax.jit(PROBLEM.sample)(jax.random.split(jax.random.key(0), 16))


@pytest.fixture(scope="module")
def true_flow(batch):
    """The rollouts of the scenes."""
    return jax.jit(jax.vmap(PROBLEM.flow))(batch.extra["velocity"], batch.extra["first"])


@jax.jit
def spins_of(velocity):
    return jax.vmap(spin_of)(velocity)


def spins(velocity):
    return np.asarray(spins_of(velocity))


# --- scenes


def test_scenes_are_translated_swirls_of_a_marker_in_a_box(batch):
    first, velocity = batch.extra["first"], batch.extra["velocity"]
    share = np.asarray(first.mean((1, 2)))
    assert set(np.unique(first)) == {0, 1}
    assert share.min() > 0.02
    assert share.max() < 0.151
    reach = np.ptp(np.argwhere(np.asarray(first[0])), axis=0) * SIDE / 32
    assert (reach < 56).all()
    u = np.asarray(jax.vmap(centring)(first))
    omega = spins(velocity)
    assert np.abs(omega).max() < 2.1
    assert np.std(omega) == pytest.approx(2 / np.sqrt(3), rel=0.4)
    family = jax.vmap(lambda u, spin: Motion(u, spin).velocity(32))(u, omega)
    # What remains are two fields of unit deviation times 0.1, less their own share of the swirl.
    assert np.std(velocity - family) == pytest.approx(0.1, rel=0.05)


def test_the_spin_is_that_of_a_swirl_whatever_the_translation():
    for n in (32, 64):
        moved = 1.3 * jnp.asarray(swirl(n)) + jnp.asarray([5.0, -3.0])
        assert float(spin_of(moved)) == pytest.approx(1.3, rel=1e-5)
    # The published program divides by 120.5 at 64 x 64.
    place = np.linspace(-63, 63, 64)
    squared = place[:, None] ** 2 + place**2
    assert np.mean(squared * np.exp(-squared / 800)) == pytest.approx(120.519, abs=1e-3)


# --- simulation


def test_the_flow_keeps_energy_and_range_and_has_no_divergence(batch, true_flow):
    energy = np.mean(np.square(true_flow.velocity), axis=(2, 3, 4))
    np.testing.assert_allclose(energy, np.broadcast_to(energy[:, :1], energy.shape), rtol=1e-5)
    assert float(true_flow.marker.min()) >= 0
    assert float(true_flow.marker.max()) <= 1
    # float32 rounding of velocities of up to 3 cells per step.
    sources = jax.vmap(jax.vmap(divergence))(true_flow.velocity)
    assert float(jnp.abs(sources).max()) < 1e-5
    still = rollout(Flow(jnp.zeros((8, 8, 2)), batch.extra["first"][0][:8, :8]), 2)
    np.testing.assert_array_equal(still.marker[-1], still.marker[0])
    assert not np.asarray(still.velocity).any()


def test_a_translation_moves_the_centre_of_mass_to_the_middle(batch):
    first = batch.extra["first"]
    u = jax.vmap(centring)(first)
    x = jnp.broadcast_to(u[:, None, None], (*first.shape, 2))
    last = jax.jit(jax.vmap(PROBLEM.flow))(x, first).marker[:, -1]
    # Interpolation and its correction keep the centre of mass; the limiter does not.
    assert np.linalg.norm(centre_of_mass(last), axis=1).max() < SIDE / 32


def test_reversal_returns_the_marker_within_a_cell(batch, true_flow):
    back = jax.jit(jax.vmap(PROBLEM.reverse))(true_flow.velocity[:, -1], true_flow.marker[:, -1])
    miss = centre_of_mass(back.marker[:, -1]) - centre_of_mass(batch.extra["first"])
    assert np.median(np.linalg.norm(miss, axis=-1)) < SIDE / 32


# --- loss


def test_the_loss_is_the_published_one_less_a_constant():
    """Compare the sum over the few waves with that over all of them."""
    n, generator = 64, np.random.default_rng(0)
    markers = [np.clip(generator.normal(size=(n, n)), 0, 1), np.zeros((n, n))]
    markers[1][20:44, 10:30] = 1.0
    difference = markers[1] - markers[0]
    k = np.fft.fftfreq(n)
    weights = np.exp(-(k[:, None] ** 2 + k**2) * 80**2 / 2)
    amplitudes = np.abs(np.fft.fft2(difference - difference.mean())) * weights
    published = np.sqrt(np.maximum(amplitudes**2, 1e-5)).sum()
    with jax.enable_x64(True):
        y, target = (spectrum(jnp.asarray(marker)) for marker in markers)
        own = float(summed_amplitudes((y - target)[None])[0])
    assert own == pytest.approx(published - n * n * LEAST, rel=1e-9)
    assert pytest.approx(2 * 80) == BLUR
    assert len(WAVES) == 24


@pytest.mark.parametrize("objective", ["amplitudes", "squared"])
def test_gradient_agrees_with_central_differences(objective):
    """Along a swirl and a random field; the scheme is piecewise smooth."""
    with jax.enable_x64(True):
        problem = NavierStokes(size=16, time_steps=4, objective=objective)
        batch = problem.sample(jax.random.split(jax.random.key(3), 2))
        x = 0.7 * batch.extra["velocity"]

        @jax.jit
        def loss(x):
            return jnp.sum(problem.loss(problem.simulate(x, batch), batch))

        slope = jax.grad(loss)(x)
        random = np.random.default_rng(4).normal(size=x.shape)
        for direction in (np.broadcast_to(swirl(16), x.shape), random):
            shift = 1e-6 * jnp.asarray(direction)
            difference = float(loss(x + shift) - loss(x - shift)) / 2e-6
            assert float(jnp.vdot(slope, direction)) == pytest.approx(difference, rel=1e-5)


# --- inverse steps


def iterated(invert, batch, iterations):
    """Apply inverse steps from a fluid at rest."""
    x = PROBLEM.initial_unknowns(batch)
    for _ in range(iterations):
        x = invert(x, batch)
    return x


def test_the_change_of_omega_has_the_right_sign(batch):
    true = batch.extra["velocity"]
    for error in (-0.5, 0.5):
        x = true + error * jnp.asarray(swirl(32), true.dtype)
        change = spins(invert(x, batch)) - spins(x)
        assert (change * error < 0).mean() > 0.9


def test_with_a_known_translation_omega_is_found(batch):
    error = np.abs(spins(iterated(invert, batch, 10)) - spins(batch.extra["velocity"]))
    assert (error < 0.2).mean() >= 0.85


def test_a_centre_of_mass_does_not_tell_translation_and_swirl_apart_but_a_shape_does(batch):
    """Neither method has the generator's translation."""

    def error(iterations, **options):
        invert = jax.jit(dataclasses.replace(PROBLEM, **options).invert)
        x = iterated(invert, batch, iterations)
        return float(np.median(PROBLEM.metrics(x, x, batch)["velocity_error"]))

    assert error(10, translation="estimated") > 0.15
    # What remains are the weak random fields: 1 % of the velocity.
    assert error(2, inverse="gauss_newton") < 0.02

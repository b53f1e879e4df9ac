"""References: independent rules, convergence orders, symmetries and conserved quantities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physopt.problems.pinn import allen_cahn, kdv
from physopt.problems.pinn.burgers import VISCOSITY, cole_hopf
from physopt.problems.pinn.trajectory import Trajectory, etdrk4, fourier_series


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


def test_the_transform_of_cole_and_hopf_converges_and_agrees_with_another_rule():
    t, x = (a.ravel() for a in np.meshgrid(np.linspace(0.01, 1, 8), np.linspace(-1, 1, 33)))
    rules = jax.jit(lambda t, x: [cole_hopf(t, x, nodes) for nodes in (50, 100)])
    coarse, fine = (np.asarray(u) for u in rules(t, x))
    np.testing.assert_allclose(coarse, fine, rtol=0, atol=1e-7)
    z = np.linspace(-12, 12, 401)  # the trapezoidal rule, exponentially accurate on the real line
    angle = np.pi * (x[:, None] - 2 * np.sqrt(VISCOSITY * t)[:, None] * z)
    exponent = -np.cos(angle) / (2 * np.pi * VISCOSITY) - z**2
    density = np.exp(exponent - exponent.max(axis=1, keepdims=True))
    trapezoidal = -np.sum(np.sin(angle) * density, axis=1) / np.sum(density, axis=1)
    np.testing.assert_allclose(fine, trapezoidal, rtol=0, atol=1e-14)
    mirrored = fine.reshape(33, 8)[::-1].ravel()
    np.testing.assert_allclose(fine, -mirrored, rtol=0, atol=1e-14)
    start = np.asarray(rules(np.zeros(33), x[::8])[1])
    np.testing.assert_allclose(start, -np.sin(np.pi * x[::8]), rtol=0, atol=1e-14)


def test_nodes_whose_weights_overflow_are_refused():
    with pytest.raises(ValueError, match="overflow"):
        cole_hopf(jnp.ones(1), jnp.ones(1), 301)


def test_allen_cahn_is_of_fourth_order_in_time_and_converges_spectrally():
    coarse, middle, fine = (allen_cahn.reference("smooth", 256, n).coefficients for n in (1, 2, 8))
    errors = [np.max(np.abs(c - fine)) for c in (coarse, middle)]
    assert 3.6 < np.log2(errors[0] / errors[1]) < 4.6
    # Layers of width sqrt(1e-4 / 5) = 0.004 need more than 256 modes.
    states = {n: allen_cahn.reference("smooth", n, 1).coefficients[-1] for n in (256, 512, 1024)}
    errors = [np.max(np.abs(states[n][: n // 2] - states[1024][: n // 2])) for n in (256, 512)]
    assert errors[1] < 1e-5
    assert errors[1] < errors[0] / 20


def test_kdv_conserves_mean_and_mean_square_and_is_of_fourth_order():
    states = {steps: kdv.reference(256, steps).coefficients for steps in (1, 2, 8)}
    errors = [np.max(np.abs(states[n] - states[8])) for n in (1, 2)]
    assert 3.6 < np.log2(errors[0] / errors[1]) < 5.2
    fine = states[8]
    square = np.abs(fine[:, 0]) ** 2 + np.sum(np.abs(fine[:, 1:-1]) ** 2, axis=1) / 2
    np.testing.assert_allclose(fine[:, 0], 0, atol=1e-14)
    np.testing.assert_allclose(square, 0.5, rtol=1e-8)


def test_etdrk4_is_exact_for_linear_equations():
    wave = 2 * np.pi * np.arange(9)
    start = np.fft.rfft(np.random.default_rng(0).normal(size=16))
    linear = -0.01 * wave**2 - 1j * wave
    got = etdrk4(linear, np.zeros_like, start, 0.05, 4, 5)
    expected = start * np.exp(linear * np.arange(5)[:, None] * 0.25)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-13)


def test_a_trajectory_is_interpolated_to_rounding():
    """u = e^-t cos(2 pi (s - t)) + 1/4, s = (x + 1) / 2, whose coefficients are known."""
    times = np.linspace(0, 1, 101)
    coefficients = np.zeros((101, 5), complex)
    coefficients[:, 0], coefficients[:, 1] = 0.25, np.exp(-times - 2j * np.pi * times)
    points = np.random.default_rng(0).uniform([0, -1], [1, 1], (200, 2))
    points[:2, 0] = 0, 1
    t, s = points[:, 0], (points[:, 1] + 1) / 2
    got = jax.jit(Trajectory(coefficients, 1.0, -1.0, 2.0).at)(points)
    expected = np.exp(-t) * np.cos(2 * np.pi * (s - t)) + 0.25
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


def test_the_series_of_transformed_values_is_the_function():
    x = np.arange(8) / 8
    values = 1 + np.sin(2 * np.pi * x) + 0.5 * np.cos(8 * np.pi * x)
    series = fourier_series(np.fft.rfft(values), 8)
    waves = np.exp(2j * np.pi * np.arange(5) * x[:, None])
    np.testing.assert_allclose(np.real(waves @ series), values, atol=1e-15)

"""Pareto fronts and sinuosity: definitions."""

import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np

STUDIES = Path(__file__).resolve().parent.parent.parent / "runs" / "ldft"
sys.path.insert(0, str(STUDIES))

import pareto  # noqa: E402
from sinuosity import sinuosity  # noqa: E402


def test_the_front_is_what_no_point_matches_or_betters():
    first, second = np.random.default_rng(0).integers(0, 12, size=(2, 200)).astype(float)
    front = pareto.non_dominated(first, second)
    points = set(zip(first, second, strict=True))
    expected = {
        (a, b) for a, b in points if not any((c <= a and d <= b) for c, d in points - {(a, b)})
    }
    assert {(first[k], second[k]) for k in front} == expected
    assert len(front) == len(expected)
    assert (np.diff(first[front]) > 0).all()


def test_the_width_is_the_mean_distance_of_the_branches():
    # Adsorption at h = 1/3, 2/3, 1, then desorption at 2/3, 1/3, 0.
    loop = jnp.array([[0.1, 0.3, 0.9, 0.8, 0.4, 0.0]])
    np.testing.assert_allclose(pareto.width(loop, loop), (0.3 + 0.5) / 2, rtol=1e-6)


def test_sinuosity_of_known_curves():
    humidity = np.arange(1, 41) / 40
    step = np.where(humidity > 0.5, 1.0, 0.0)
    assert sinuosity(np.stack([humidity, 0.3 * humidity])).round(12).tolist() == [1, 1]
    # 39 level steps of 1/40 and one of height 1.
    expected = (39 / 40 + np.hypot(1 / 40, 1)) / np.sqrt(2)
    np.testing.assert_allclose(sinuosity(step[None]), expected)

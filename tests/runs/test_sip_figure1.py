"""Paths of the source's first figure: what is exact, and what the scale of y decides."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

FILE = Path(__file__).resolve().parent.parent.parent / "runs" / "sip_figure1.py"


def test_inversion_takes_one_step_and_newton_converges_quadratically():
    spec = importlib.util.spec_from_file_location("sip_figure1", FILE)
    assert spec
    assert spec.loader
    figure = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(figure)
    with jax.enable_x64(True):
        target = jnp.asarray([[0.25, 0.25]])
        methods = figure.methods(figure.Batch(target, target))
        start = jnp.asarray([2.0, 2.0])
        paths = {name: figure.path(step, start, 12) for name, step in methods.items()}
    errors = {name: np.abs(path - [0.25, 0.5]) for name, path in paths.items()}
    np.testing.assert_allclose(errors["inversion"][1:], 0, atol=1e-15)
    np.testing.assert_allclose(errors["Newton"][1:, 0], 0, atol=1e-15)
    later = errors["Newton"][:, 1]
    assert later[-1] < 1e-12
    # e' = f3 / (2 f2) e^2 with the derivatives f2 = 6 x^2 - 2 y = 1 and f3 = 12 x = 6.
    near = np.flatnonzero(later < 1e-2)[0]
    np.testing.assert_allclose(later[near + 1] / later[near] ** 2, 3, rtol=0.05)
    # Descent keeps 1 - eta of the error in x_1; x_2, no farther away, moves 8.6 times as far.
    descent = errors["gradient descent"]
    np.testing.assert_allclose(descent[1:, 0], 0.95 * descent[:-1, 0])
    first = np.diff(paths["gradient descent"], axis=0)[0]
    np.testing.assert_allclose(first[1] / first[0], 15 / 1.75)

"""The LDFT simulator at its limits: bounds, precision and invalid input."""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physopt.problems.ldft import isotherm, isotherm_and_jacobian


def test_nan_never_converges_and_does_not_spread():
    pores = np.random.default_rng(0).uniform(size=(2, 5, 5)).astype(np.float32)
    clean = isotherm(jnp.asarray(pores), dimensions=2, humidities=(0.3, 0.6))
    pores[0, 0, 0] = np.nan
    simulate = jax.jit(
        partial(isotherm, dimensions=2, humidities=(0.3, 0.6), return_convergence=True)
    )
    uptake, convergence = simulate(jnp.asarray(pores))
    assert convergence.unconverged.tolist() == [2, 0]
    np.testing.assert_allclose(uptake[1], clean[1], atol=1e-6)  # the tolerance


def test_sweeps_are_bounded():
    pores = jax.random.bernoulli(jax.random.key(0), 0.7, (1, 20, 20)).astype(jnp.float32)
    _, convergence = isotherm(
        pores, dimensions=2, humidities=(0.5, 0.9), maximum_sweeps=3, return_convergence=True
    )
    assert convergence.unconverged.sum() > 0
    assert convergence.sweeps.max() < 20  # selected for a block once, never again


def test_precision_is_that_of_the_pores():
    with jax.enable_x64(True):
        for dtype, gradient in product((jnp.float32, jnp.float64), ("implicit", "unrolled")):
            pores = jax.ShapeDtypeStruct((2, 6, 6), dtype)
            simulate = partial(isotherm, dimensions=2, desorption=True, gradient=gradient)
            result = jax.eval_shape(simulate, pores)
            assert (result.shape, result.dtype) == ((2, 80), dtype)
            slope = jax.eval_shape(jax.grad(lambda p, f=simulate: f(p).sum()), pores)
            assert slope.dtype == dtype


@pytest.mark.parametrize(
    ("shape", "dimensions", "message"),
    [
        ((6, 6), 2, "shape"),
        ((2, 6, 6), 3, "shape"),
        ((2, 6, 5), 2, "shape"),
        ((2, 1, 1), 2, "2 or more"),
        ((0, 6, 6), 2, "2 or more"),
        ((2, 6), 1, "dimensions"),
    ],
)
@pytest.mark.parametrize("function", [isotherm, isotherm_and_jacobian])
def test_bad_shapes_are_rejected_when_traced(function, shape, dimensions, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(
            partial(function, dimensions=dimensions), jax.ShapeDtypeStruct(shape, jnp.float32)
        )


@pytest.mark.parametrize(
    ("pores", "options", "message"),
    [
        (np.full((1, 4, 4), 1.5), {}, r"\[0, 1\]"),
        (np.full((1, 4, 4), np.nan), {}, "NaN"),
        (np.ones((1, 4, 4), int), {}, "float32"),
        (np.ones((1, 4, 4)), {"humidities": (0.5, 0.4)}, "increase"),
        (np.ones((1, 4, 4)), {"humidities": (0.0, 0.4)}, "increase"),
        (np.ones((1, 4, 4)), {"spacing": 0.3}, "spacing"),
        (np.ones((1, 4, 4)), {"tolerance": 0.0}, "positive"),
        (np.ones((1, 4, 4)), {"gradient": "adjoint"}, "implicit"),
        (np.ones((1, 4, 4)), {"gradient": "remat", "return_convergence": True}, "implicit"),
    ],
)
def test_bad_values_are_rejected(pores, options, message):
    with pytest.raises(ValueError, match=message):
        isotherm(jnp.asarray(pores), dimensions=2, **options)

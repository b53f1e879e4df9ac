"""Gradients of the LDFT problems without backpropagation, against the implicit gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physopt.problems.ldft.named import LDFT2D, LDFTHysteresis

SIZE, POINTS, BATCH, DRAWS = 4, 5, 3, 100


@pytest.fixture(scope="module", params=[LDFT2D, LDFTHysteresis], ids=["adsorption", "hysteresis"])
def case(request):
    """Grey matrices without a pore close to filling, in float64, with a penalty in the loss.

    Problem, batch, x, dL/dx, and both estimators, compiled once.
    """
    with jax.enable_x64(True):
        problem = request.param(
            size=SIZE, points=POINTS, continuity=0.3, relaxation="relaxed", tolerance=1e-12
        )
        batch = problem.sample(jax.random.split(jax.random.key(0), BATCH)).at(0.5)
        batch = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), batch)
        x = jax.random.normal(jax.random.key(1), (BATCH, SIZE, SIZE), jnp.float64) - 0.5

        def loss(x):
            return jnp.mean(problem.loss(problem.simulate(x, batch), batch))

        yield (
            problem, batch, x, jax.jit(jax.grad(loss))(x),
            jax.jit(problem.estimate_gradient_equilibrium, static_argnums=3),
            jax.jit(problem.estimate_gradient_subsampled, static_argnums=3),
        )  # fmt: skip


def relative(a, b):
    return float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b))


def test_nudged_equilibria_give_the_gradient_up_to_the_square_of_the_nudge(case):
    _, batch, x, gradient, nudged, _ = case
    with jax.enable_x64(True):
        errors = [relative(nudged(x, batch, None, nudge), gradient) for nudge in (4e-2, 2e-2)]
        # Without pores the gradient is zero.
        np.testing.assert_array_equal(nudged(jnp.full_like(x, -1e4), batch, None, 2e-2), 0)
    assert errors[1] < 1e-2
    # The next term of the error is of order nudge^4, at these nudges a few per cent of this one.
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)


def test_subsampled_gradients_are_unbiased_and_vary_less_with_a_larger_fraction(case):
    _, batch, x, gradient, _, subsampled = case
    keys, variance = jax.random.split(jax.random.key(2), DRAWS), {}
    with jax.enable_x64(True):
        for fraction in (0.4, 1.0):
            drawn = np.stack([subsampled(x, batch, key, fraction).ravel() for key in keys])
            variance[fraction] = np.sum(np.var(drawn, axis=0, ddof=1))
            # The squared error of a mean of independent draws has the expectation variance / draws.
            missed = np.sum((drawn.mean(0) - gradient.ravel()) ** 2)
            assert missed < 3 * variance[fraction] / DRAWS + 1e-18
        np.testing.assert_array_equal(subsampled(jnp.full_like(x, -1e4), batch, keys[0], 0.4), 0)
    # With all humidities the estimate is the gradient, up to the order of summation.
    assert variance[1.0] < 1e-24 * np.sum(gradient**2) < 1e-12 * variance[0.4]

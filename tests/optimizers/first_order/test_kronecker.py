"""SOAP and Shampoo: rotations of the parameters, and the rules that they equal in special cases."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rule_steps import trajectory

from physopt.optimizers.first_order import SGD, SOAP, Adam, Shampoo

STEPS = 40
SHAPE = (4, 3)


def random(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape)


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


def orthogonal(size):
    return np.linalg.qr(random(size, size))[0]


def curved(weights):
    """A loss with a Hessian that mixes all entries, and higher derivatives."""
    flat = weights.ravel()
    hessian = random(flat.size, flat.size)
    hessian = hessian @ hessian.T / flat.size
    return 0.5 * flat @ jnp.asarray(hessian) @ flat + jnp.sum(jnp.cos(random(5, 12) @ flat))


def iterates(rule, loss, start):
    return np.asarray(trajectory(rule, loss, jnp.asarray(start), STEPS).iterates)


def rotation_error(rule):
    """Return how far training in coordinates V = P W Q^T is from training in W."""
    left, right = orthogonal(SHAPE[0]), orthogonal(SHAPE[1])
    start = random(*SHAPE)
    direct = iterates(rule, curved, start)
    rotated = iterates(rule, lambda v: curved(left.T @ v @ right), left @ start @ right.T)
    return np.abs(left.T @ rotated @ right - direct).max()


@pytest.mark.parametrize("rule", [SOAP(interval=3), SOAP(interval=1), SGD(learning_rate=1e-3)])
def test_soap_is_invariant_under_rotations_of_rows_and_columns(rule):
    """To eps = 1e-8 of Adam relative to its root mean squares, and rounding; so is SGD."""
    assert rotation_error(rule) < 1e-6


def test_adam_is_not_invariant_under_rotations():
    assert rotation_error(Adam(learning_rate=3e-3)) > 1e-3


def test_shampoo_rotates_up_to_the_length_of_its_steps():
    """The first direction is that of P D Q^T for the direction D of unrotated parameters."""
    left, right = orthogonal(SHAPE[0]), orthogonal(SHAPE[1])
    gradient = random(*SHAPE)
    first, rotated = (
        np.asarray(step(Shampoo(), jnp.asarray(g))) for g in (gradient, left @ gradient @ right.T)
    )
    expected = left @ first @ right.T
    cosine = np.sum(expected * rotated) / np.linalg.norm(expected) / np.linalg.norm(rotated)
    np.testing.assert_allclose(cosine, 1, rtol=1e-9)


def step(rule, gradient) -> Any:
    optimizer = rule.transformation()
    return optimizer.update(gradient, optimizer.init(gradient))[0]


def test_the_first_step_of_shampoo_is_the_orthogonal_factor_with_the_norm_of_adams():
    """A = (1 - b) U S^2 U^T, so that A^(-1/4) G B^(-1/4) is a multiple of U V^T."""
    gradient = random(*SHAPE)
    u, _, vt = np.linalg.svd(gradient, full_matrices=False)
    expected = -(u @ vt) * np.linalg.norm(step(Adam(), jnp.asarray(gradient))) / 3**0.5
    actual = step(Shampoo(damping=1e-12), jnp.asarray(gradient))
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_soap_is_adam_in_the_eigenbasis_one_update_later():
    """With a gradient that stays U diag(s) V^T, A and B keep the eigenvectors U and V."""
    u, v = orthogonal(4), orthogonal(4)
    curvature = np.array([3.0, 2.0, 1.0, 0.3])

    def loss(weights):
        s = jnp.diag(u.T @ weights @ v)
        return 0.5 * jnp.sum(curvature * s**2) + jnp.sum(jnp.cos(s))

    def diagonal(s):
        return 0.5 * jnp.sum(curvature * s**2) + jnp.sum(jnp.cos(s))

    start = np.array([2.0, -1.0, 0.5, 1.5])
    options: Any = {"b1": 0.9, "b2": 0.99, "learning_rate": 1e-2}
    soap = iterates(SOAP(interval=2, **options), loss, u @ np.diag(start) @ v.T)
    np.testing.assert_allclose(soap[0], u @ np.diag(start) @ v.T, rtol=1e-12)
    adam = iterates(Adam(**options), diagonal, start)
    singular = np.einsum("ji,tjk,ki->ti", u, soap, v)
    np.testing.assert_allclose(singular[1:], adam[:-1], atol=1e-6)


@pytest.mark.parametrize("rule", [SOAP(learning_rate=1e-2), Shampoo(learning_rate=1e-2)])
@pytest.mark.parametrize("shape", [(7,), ()])
def test_vectors_are_trained_by_adam(rule, shape):
    options: Any = {"b1": rule.b1, "b2": rule.b2, "learning_rate": 1e-2}
    start = random(7).reshape(-1)[: int(np.prod(shape))].reshape(shape)
    own, adam = (iterates(r, lambda w: jnp.sum(w**4), start) for r in (rule, Adam(**options)))
    late = 1 if isinstance(rule, SOAP) else 0
    np.testing.assert_allclose(own[late:], adam[: STEPS - late], rtol=1e-12)


@pytest.mark.parametrize("rule", [SOAP(), Shampoo()])
def test_a_tensor_has_one_factor_for_each_axis_that_is_not_too_long(rule):
    leaf = jnp.zeros((3, 1, 5, 7))
    state: Any = rule.replace(largest_side=5).transformation().init({"kernel": leaf})
    assert [matrix.shape for matrix in state.factors[0]] == [(3, 3), (5, 5)]

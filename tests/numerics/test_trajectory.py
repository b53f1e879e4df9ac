"""Integration of lanes: the kernel in interpret mode against lax.scan, under any transformation."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physopt.numerics.float64 import evaluated_in
from physopt.numerics.time_kernel import Kernel
from physopt.numerics.trajectory import integrate
from tests.triton_modules import triton_modules

LANES, LENGTH = 3, 5  # three lanes fill a block of four, so that padding is covered
ROUNDING = {"float32": 2e-5, "float64": 1e-13}  # of a few steps with numbers near 1


def pendulum(state, inputs):
    """A step of scalars, with an output and an input that also enters the derivative."""
    angle, speed = state
    torque, friction = inputs["torque"], inputs["friction"]
    speed = speed + 0.1 * (torque - jnp.sin(angle)) - friction * jnp.where(speed > 0, speed**2, 0)
    return (angle + 0.1 * speed, speed), {"power": torque * speed}


def ring(state, inputs):
    """A step of vectors: each element interacts with the sum of all."""
    field, (push,) = state, inputs
    total = jnp.sum(jnp.sin(field[:, None] - field[None]), axis=1)
    return field + 0.1 * total + push * jnp.max(field), total


def arguments(step, dtype):
    draw = itertools.count()

    def normal(*shape):
        return jnp.asarray(np.random.default_rng(next(draw)).normal(size=shape), dtype)

    if step is pendulum:
        inputs = {name: normal(LENGTH, LANES) for name in ("torque", "friction")}
        return (normal(LANES), normal(LANES)), inputs
    return normal(LANES, 4), (normal(LENGTH, LANES, 4),)


def kernel_of(step, interpret=True):
    """Scalars of many lanes together, vectors of one lane at a time."""
    return Kernel(lanes=1 if step is ring else 32, interpret=interpret)


def both(step, kernel=None):
    """The same function by lax.scan and by the kernel."""
    kernels = None, kernel or kernel_of(step)
    return [lambda initial, inputs, k=k: integrate(step, initial, inputs, k) for k in kernels]


def agree(function, step, dtype, scale=1.0):
    """Apply `function` to both forms and compare."""
    with jax.enable_x64(dtype == "float64"):
        given = arguments(step, dtype)
        expected, actual = (jax.jit(function, static_argnums=0)(f, *given) for f in both(step))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=scale * ROUNDING[dtype], rtol=0),
            actual, expected,
        )  # fmt: skip
        types = [[leaf.dtype for leaf in jax.tree.leaves(tree)] for tree in (actual, expected)]
        assert types[0] == types[1]


def like(tree, scale=1.0):
    return jax.tree.map(lambda a: jnp.cos(scale * a + 1), tree)


def value(f, *given):
    return f(*given)


def forward(f, *given):
    return jax.jvp(f, given, like(given))[1]


def backward(f, *given):
    y, vjp = jax.vjp(f, *given)
    return vjp(like(y))


def backward_batched(f, *given):
    """All rows at once, which share the trajectory."""
    y, vjp = jax.vjp(f, *given)
    rows = jax.tree.map(lambda a: jnp.stack([a, 2 * a, like(a)]), like(y))
    return jax.vmap(vjp)(rows)


def backward_of_mapped(f, *given):
    """vmap inside of the derivative, over an axis that the initial state lacks."""

    def total(initial, inputs):
        many = jax.tree.map(lambda a: jnp.stack([a, like(a)], axis=1), inputs)
        y = jax.vmap(f, in_axes=(None, 1))(initial, many)
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(y))

    return jax.grad(total, argnums=(0, 1))(*given)


def stored_linearisation(f, *given):
    """Products with the derivative and its transpose at one stored point."""
    y, push = jax.linearize(f, *given)
    return push(*like(given)), jax.linear_transpose(push, *given)(like(y))


def inputs_only(f, initial, inputs):
    y, vjp = jax.vjp(lambda inputs: f(initial, inputs), inputs)
    return vjp(like(y))


def second_order(f, *given):
    """Forward over reverse."""

    def total(*given):
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(f(*given)))

    return jax.jvp(jax.grad(total, argnums=(0, 1)), given, like(given))[1]


@pytest.mark.parametrize("step", [pendulum, ring])
@pytest.mark.parametrize("function", [value, forward, backward, backward_batched])
def test_kernel_agrees_with_scan(step, function):
    agree(function, step, "float32")


@pytest.mark.parametrize(
    "function", [backward_of_mapped, stored_linearisation, inputs_only, second_order]
)
def test_transformations_compose(function):
    agree(function, pendulum, "float64", scale=10)


def test_kernel_in_float64():
    agree(backward, pendulum, "float64")
    agree(backward, ring, "float64")


@pytest.mark.parametrize(("lanes", "ahead"), [(1, 8), (2, 0), (8, 0)])
def test_the_result_is_independent_of_the_layout(lanes, ahead):
    given, kernel = arguments(pendulum, "float32"), Kernel(lanes, ahead=ahead, interpret=True)
    expected, actual = (jax.jit(f)(*given) for f in both(pendulum, kernel))
    np.testing.assert_allclose(actual[0][0], expected[0][0], atol=2e-5)
    np.testing.assert_allclose(actual[1]["power"], expected[1]["power"], atol=2e-5)


def test_float64_inside_a_float32_program():
    """The derivative is made, batched and lowered while 64-bit types are off."""

    def final(torque, kernel):
        rest = jnp.zeros(LANES, torque.dtype)
        inputs = {"torque": torque, "friction": jnp.zeros_like(torque)}
        return integrate(pendulum, (rest, rest), inputs, kernel)[0][0]

    single, double = (
        evaluated_in(lambda torque, k=k: final(torque, k)) for k in (kernel_of(pendulum), None)
    )
    torque = jnp.asarray(np.random.default_rng(0).normal(size=(LENGTH, LANES)), jnp.float32)

    def rows(evaluate):
        y, vjp = jax.vjp(lambda t: evaluate("float64", "float32", t), torque)
        return y, jax.vmap(lambda c: vjp(c)[0])(jnp.eye(LANES, dtype=y.dtype))

    actual, expected = jax.jit(lambda: rows(single))(), jax.jit(lambda: rows(double))()
    for a, b in zip(actual, expected, strict=True):
        assert a.dtype == jnp.float32
        np.testing.assert_array_max_ulp(np.asarray(a), np.asarray(b), 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("step", [pendulum, ring])
def test_modules_are_valid_triton(step, dtype, monkeypatch):
    with jax.enable_x64(dtype == "float64"):
        f = both(step, kernel_of(step, interpret=False))[1]
        given = arguments(step, dtype)
        # One kernel stores the trajectory, one scans the tangent step or its transpose.
        for function, kernels in ((value, 1), (forward, 2), (backward_batched, 2)):
            modules = triton_modules(
                lambda *given, g=function: g(f, *given), *given, monkeypatch=monkeypatch
            )
            assert len(modules) == kernels
            assert all(("f64" in module) == (dtype == "float64") for module in modules)

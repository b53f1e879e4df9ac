"""Convolutions: the results of JAX's own, and in a loop the layout that is fast on a CPU."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from physopt.networks.convolution import convolve

PLAIN = ["rhs_dilation", "lhs_dilation"]


def arguments(dimensions, x, kernel, padding):
    """Return the arguments that nnx.Conv passes, with channels last."""
    ones, grid = (1,) * dimensions, "XYZ"[:dimensions]
    options = {**dict.fromkeys(PLAIN, ones), "feature_group_count": 1, "precision": None}
    numbers = lax.conv_dimension_numbers(
        x.shape, kernel.shape, (f"N{grid}C", f"{grid}IO", f"N{grid}C")
    )
    return (x, kernel, ones, padding), {**options, "dimension_numbers": numbers}


def values(dimensions, size=5):
    generator = np.random.default_rng(dimensions)
    shapes = (2, *(size,) * dimensions, 3), (*(3,) * dimensions, 3, 4)
    return [jnp.asarray(generator.normal(size=shape), jnp.float32) for shape in (*shapes, *shapes)]


def derivatives(function, dimensions, padding):
    """Return value, gradients in both arguments, and the derivative in a direction."""

    def apply(x, kernel):
        positional, options = arguments(dimensions, x, kernel, padding)
        return function(*positional, **options)

    def both(x, kernel, *tangents):
        y, dy = jax.jvp(apply, (x, kernel), tangents)
        _, vjp = jax.vjp(apply, x, kernel)
        alone = jax.grad(lambda kernel: jnp.sum(apply(x, kernel) ** 2))(kernel)
        return y, dy, vjp(jnp.sin(y)), alone

    return jax.jit(both)(*values(dimensions))


@pytest.mark.parametrize(
    ("dimensions", "padding"), [(1, "SAME"), (2, "SAME"), (2, [(0, 1), (2, 0)]), (3, "VALID")]
)
def test_value_and_derivatives_are_those_of_jax(dimensions, padding):
    ours, theirs = (
        derivatives(f, dimensions, padding) for f in (convolve, lax.conv_general_dilated)
    )
    # Sums of at most 200 products of numbers near 1, in float32 and in another order.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), ours, theirs)


def test_samples_may_be_mapped_and_differentiated_twice():
    x, kernel, *_ = values(2)

    def energy(kernel, sample):
        positional, options = arguments(2, sample[None], kernel, "SAME")
        return jnp.sum(convolve(*positional, **options) ** 2)

    mapped = jax.vmap(jax.grad(energy), in_axes=(None, 0))(kernel, x)
    single = jnp.stack([jax.grad(energy)(kernel, sample) for sample in x])
    np.testing.assert_allclose(mapped, single, rtol=1e-4, atol=1e-3)
    # The energy is quadratic in the kernel: its second derivative along the kernel is the gradient.
    _, curvature = jax.jvp(lambda k: jax.grad(energy)(k, x[0]), (kernel,), (kernel,))
    np.testing.assert_allclose(curvature, single[0], rtol=1e-4, atol=1e-3)


def test_other_convolutions_are_left_to_jax():
    x, kernel, *_ = values(2)
    (x, kernel, _, padding), options = arguments(2, x, kernel, "SAME")
    strided = convolve(x, kernel, (2, 2), padding, **options)
    assert strided.shape == (2, 3, 3, 4)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="for CPUs only")
def test_gradients_in_a_loop_have_the_fast_form():
    x, kernel, *_ = values(2)

    def labels(function):
        def energy(x, kernel):
            positional, options = arguments(2, x, kernel, "SAME")
            return jnp.sum(function(*positional, **options) ** 2)

        def step(_, pair):
            return jax.grad(energy, argnums=(0, 1))(*pair)

        loop = jax.jit(lambda pair, count: lax.fori_loop(0, count, step, pair))
        text = loop.lower((x, kernel), 3).compile().as_text() or ""
        return re.findall(r" convolution\(.*dim_labels=(\S+?),? ", text)

    layouts = labels(convolve)
    assert len(layouts) == 3, "the value and two gradients"
    assert set(layouts) == {"b01f_01io->b01f"}
    theirs = set(labels(lax.conv_general_dilated))
    assert theirs != {"b01f_01io->b01f"}, "else the module is not needed"

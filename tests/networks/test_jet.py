"""Jets: finite differences, closed forms, and two ways that agree to rounding."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from physopt.networks import Dense
from physopt.networks.jet import Ansatz, Jet
from physopt.numerics.dense_layers import find_dense_layers

ENTRIES: tuple[str, ...] = ("u", "u_t", "u_x", "u_xx", "u_tx", "u_xxx", "laplacian")


@dataclasses.dataclass(frozen=True)
class Wave:
    """A form with every part: periodic features, an offset, and a factor that vanishes at t = 0."""

    def features(self, points):
        t, x = points.T
        return jnp.stack([2 * t - 1, jnp.cos(jnp.pi * x), jnp.sin(jnp.pi * x)], axis=1)

    def offset(self, points):
        return jnp.sin(2 * points[:, 1]) * jnp.exp(points[:, 0])

    def factor(self, points):
        return points[:, 0] * (1 - points[:, 1] ** 2)


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


def network(form=None, inputs=2, activation: Any = "tanh", **options):
    sizes = (3 if form else inputs, 6, 5, 1)
    dense = Dense(sizes, nnx.Rngs(3), activation=activation, **options)
    for layer in dense.layers:  # zero biases would hide an error in their handling
        bias: Any = layer.bias
        bias[...] = 0.3 + 0.1 * jnp.arange(bias.size, dtype=jnp.float32)
    return widened(Ansatz(form, dense) if form else dense)


def widened(module):
    graph, state = nnx.split(module)
    return nnx.merge(graph, jax.tree.map(lambda leaf: leaf.astype(float), state))


def points(count=5, dimension=2):
    return jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (count, dimension)))


def evaluated(module, coordinates="tx", entries=ENTRIES, at=None, **options):
    at = points() if at is None else at
    jet = Jet(module, coordinates, entries, **options)
    values: Any = np.asarray(jax.jit(jet)(at)).T
    result: dict[str, Any] = dict(zip(entries, values, strict=True))
    return result


def test_derivatives_agree_with_central_differences():
    """The errors of the differences are O(h^2) and eps / h^k; they set steps and tolerances."""
    module, here = network(Wave()), points()
    got = evaluated(module)

    def u(t, x):
        return np.asarray(module(here + jnp.asarray([t, x])))[:, 0]

    h, m, k = 1e-5, 3e-4, 1e-3
    expected = {
        "u": (u(0, 0), 1e-14),
        "u_t": ((u(h, 0) - u(-h, 0)) / (2 * h), 1e-9),
        "u_x": ((u(0, h) - u(0, -h)) / (2 * h), 1e-9),
        "u_xx": ((u(0, k) - 2 * u(0, 0) + u(0, -k)) / k**2, 5e-6),
        "u_tx": ((u(m, m) - u(m, -m) - u(-m, m) + u(-m, -m)) / (4 * m**2), 5e-6),
        "u_xxx": ((u(0, 2 * k) - 2 * u(0, k) + 2 * u(0, -k) - u(0, -2 * k)) / (2 * k**3), 5e-5),
    }
    for entry, (value, tolerance) in expected.items():
        scale = np.max(np.abs(value))
        np.testing.assert_allclose(got[entry], value, rtol=0, atol=tolerance * scale, err_msg=entry)


@pytest.mark.parametrize("nested", [False, True])
def test_one_neuron_has_its_closed_form(nested):
    """u = tanh(z), z = w . p + b: u' = 1 - u^2, u'' = -2 u u', u''' = -2 u'^2 - 2 u u''."""
    neuron = widened(Dense((2, 1, 1), nnx.Rngs(0)))
    w, b, here = jnp.asarray([0.7, -1.3]), 0.2, points()
    neuron.layers[0].kernel[...], neuron.layers[0].bias[...] = w[:, None], jnp.full(1, b)
    neuron.layers[1].kernel[...] = jnp.ones((1, 1))
    got = evaluated(neuron, nested=nested)
    u = np.tanh(np.asarray(here @ w + b))
    first = 1 - u**2
    second = -2 * u * first
    third = -2 * first**2 - 2 * u * second
    expected = {
        "u": u, "u_t": 0.7 * first, "u_x": -1.3 * first, "u_xx": 1.69 * second,
        "u_tx": -0.91 * second, "u_xxx": -(1.3**3) * third, "laplacian": (0.49 + 1.69) * second,
    }  # fmt: skip
    for entry, value in expected.items():
        np.testing.assert_allclose(got[entry], value, rtol=0, atol=1e-14, err_msg=entry)


@pytest.mark.parametrize(("form", "activation"), [(None, "silu"), (Wave(), "tanh")])
def test_both_ways_agree_and_so_do_their_gradients(form, activation):
    module, here = network(form, activation=activation), points()
    graph, params, rest = nnx.split(module, nnx.Param, ...)

    @jax.jit
    def values_and_gradients(params):
        def weighted(params, nested):
            jet = Jet(nnx.merge(graph, params, rest), "tx", ENTRIES, nested=nested)(here)
            return jnp.sum(jnp.sin(jet)), jet

        return [jax.grad(weighted, has_aux=True)(params, nested) for nested in (False, True)]

    forward, nested = values_and_gradients(params)
    for a, b in zip(jax.tree.leaves(forward), jax.tree.leaves(nested), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * max(1, np.max(np.abs(b))))


def test_the_laplacian_is_the_trace_of_the_hessian():
    module, here = network(inputs=3), points(3, 3)
    hessian = jax.vmap(jax.hessian(lambda p: module(p[None])[0, 0]))(here)
    trace = np.trace(hessian, axis1=1, axis2=2)
    for nested in (False, True):
        got = evaluated(module, "abc", ("laplacian",), here, nested=nested)
        np.testing.assert_allclose(got["laplacian"], trace, rtol=0, atol=1e-12)


def test_a_constrained_form_holds_for_any_parameters():
    form = Wave()
    start = jnp.stack([jnp.zeros(4), jnp.linspace(-1, 1, 4)], axis=1)
    got = evaluated(network(form), entries=("u", "u_x"), at=start)
    np.testing.assert_array_equal(got["u"], form.offset(start))
    np.testing.assert_allclose(got["u_x"], 2 * np.cos(2 * np.linspace(-1, 1, 4)), atol=1e-15)


def test_a_normalised_network_is_differentiated_by_nesting():
    module, here = network(normalization="group"), points()
    both = [evaluated(module, entries=("u_xx",), nested=nested)["u_xx"] for nested in (False, True)]
    np.testing.assert_array_equal(*both)
    assert np.max(np.abs(both[0])) > 0
    assert here.shape == (5, 2)


@pytest.mark.parametrize("entry", ["u_y", "v", "laplace", "u_", "ux"])
def test_an_entry_that_names_no_derivative_is_refused(entry):
    with pytest.raises(ValueError, match="no derivative"):
        Jet(network(), "tx", (entry,))


def test_the_layers_of_a_jet_are_found():
    """Kronecker factors and layerwise Gram matrices need them."""
    jet = Jet(Dense((2, 5, 4, 1), nnx.Rngs(0)), "xy", ("u", "u_x", "laplacian"))
    graph, params = nnx.split(jet)

    def outputs(params, sample):
        return nnx.merge(graph, params)(sample[None])[0]

    dense = find_dense_layers(outputs, params, jnp.ones((3, 2)))
    leaves = jax.tree.leaves(params)
    assert {leaves[layer.kernel].shape for layer in dense.layers} == {(2, 5), (5, 4), (4, 1)}
    assert {leaves[layer.bias].shape for layer in dense.layers if layer.bias is not None} == {
        (5,),
        (4,),
        (1,),
    }
    # The value, two first derivatives and the Laplacian
    assert {layer.positions for layer in dense.layers} == {4}
    assert dense.explicit == ()


def test_a_sample_has_the_same_jet_as_in_a_batch():
    jet = Jet(Dense((2, 5, 4, 1), nnx.Rngs(0)), "xy", ("u", "u_x", "u_xy", "laplacian"))
    points = jax.random.normal(jax.random.key(1), (6, 2))
    single = jnp.concatenate([jet(point[None]) for point in points])
    np.testing.assert_allclose(single, jet(points), rtol=1e-5, atol=1e-5)

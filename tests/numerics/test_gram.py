"""The layerwise Gram matrix against J J^T with J computed sample by sample, and its use.

Both sum the same numbers in different order: in float64 they differ by a few eps times the number
of terms, at most 1e-13 of the largest entry for the sizes here.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.flatten_util import ravel_pytree
from numerics.layerwise_cases import (
    CASES,
    X,
    convolution,
    left_operand,
    many_positions,
    mixed_samples_and_outputs,
    mlp,
    normal,
    plain,
    weights,
)
from numerics.references import parameter_split, spectral_power

from physopt.numerics.gram import explicit_gram, jacobian, layerwise_gram
from physopt.numerics.linalg import damped_solve, gram_power


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def reference_jacobian(case):
    """Return J [n, P] without the library: sample by sample, leaf by leaf."""

    samples = jax.tree.map(jnp.asarray, case.samples)

    def flat(params, sample):
        return jnp.concatenate(
            [jnp.ravel(y) for y in jax.tree.leaves(case.outputs(params, sample))]
        )

    derivative = jax.jit(jax.jacrev(lambda p, i: flat(p, jax.tree.map(lambda a: a[i], samples))))
    rows = []
    for i in range(jax.tree.leaves(samples)[0].shape[0]):
        leaves = jax.tree.leaves(derivative(case.params, i))
        rows.append(np.concatenate([np.reshape(leaf, (leaf.shape[0], -1)) for leaf in leaves], 1))
    return np.concatenate(rows)


def assert_equal(result, expected, tolerance=1e-13):
    scale = np.max(np.abs(expected))
    np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_equals_the_product_of_the_jacobian(make):
    case = make()
    arguments = case.outputs, case.params, case.samples
    j = reference_jacobian(case)
    for gram in (layerwise_gram, explicit_gram):
        result = jax.jit(gram, static_argnums=0)(*arguments)
        assert result.dtype == jnp.float64
        assert_equal(result, j @ j.T)
    split = parameter_split(*arguments)
    names = [{name_of(leaf, case) for leaf in way} for way in split]
    assert names == [case.layerwise, case.explicit, case.unused]


def name_of(leaf, case):
    leaf = leaf.removesuffix(".value")
    return leaf if isinstance(case.params, nnx.State) else leaf[2:-2]


@pytest.mark.usefixtures("x64")
def test_jacobian_rows():
    case = mixed_samples_and_outputs()
    j = jacobian(case.outputs, case.params, case.samples)
    assert j.shape == (5, 24, 24)
    assert_equal(j.reshape(120, 24), reference_jacobian(case))


@pytest.mark.usefixtures("x64")
def test_kernel_cast_before_its_product():
    case = plain(lambda p, x: jnp.tanh(x @ p["w"].astype(x.dtype)), weights(w=(3, 4)), X, "w")
    exact = layerwise_gram(case.outputs, case.params, X)
    params = jax.tree.map(np.float32, case.params)
    assert parameter_split(case.outputs, params, X).layerwise == ("['w']",)
    # A float32 parameter differs by the rounding of the kernel only, 6e-8.
    assert_equal(layerwise_gram(case.outputs, params, X), exact, 1e-6)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("block", [1, 2, 5])
def test_blocks_of_samples_change_nothing(block):
    case = left_operand()
    arguments = case.outputs, case.params, case.samples
    for function in (layerwise_gram, explicit_gram, jacobian):
        assert_equal(function(*arguments, block=block), function(*arguments))


@pytest.mark.usefixtures("x64")
def test_wide_rows_are_summed_in_blocks(monkeypatch):
    monkeypatch.setattr("physopt.numerics.gram._BLOCK", 50)  # one to a few columns at a time
    for make in (many_positions, convolution):
        case = make()
        # A batch size of its own, so that no program compiled for another test is reused.
        case = dataclasses.replace(case, samples=case.samples[:3])
        j = reference_jacobian(case)
        assert_equal(layerwise_gram(case.outputs, case.params, case.samples), j @ j.T)


@pytest.mark.usefixtures("x64")
def test_known_jacobian_of_the_physics_replaces_its_derivative():
    params = weights(w=(3, 6), b=(6,), v=(6, 4))

    def network(p, c):
        return jnp.tanh(c @ p["w"] + p["b"]) @ p["v"]

    def physics(x):
        return jnp.stack([jnp.sum(jnp.sin(x)), x[0] * x[1] * x[2], jnp.exp(x[3])])

    x = jax.vmap(network, (None, 0))(params, X)
    slopes = jax.vmap(jax.jacfwd(physics))(x)
    whole = layerwise_gram(lambda p, c: physics(network(p, c)), params, X)
    linearised = layerwise_gram(lambda p, s: s[1] @ network(p, s[0]), params, (X, slopes))
    assert_equal(linearised, whole)


@pytest.mark.usefixtures("x64")
def test_one_gram_matrix_per_lane():
    # As with independent unknowns: every sample has its own parameters and its own batch.
    case = left_operand()
    params = jax.tree.map(lambda a: np.stack([a, -a, 2 * a]), case.params)
    samples = np.stack([X, X + 1, -X])
    lanes = jax.vmap(lambda p, s: layerwise_gram(case.outputs, p, s))(params, samples)
    for i, lane in enumerate(lanes):
        one = dataclasses.replace(
            case, params=jax.tree.map(lambda a, i=i: a[i], params), samples=samples[i]
        )
        j = reference_jacobian(one)
        assert_equal(lane, j @ j.T)


def single_precision(case):
    return jax.tree.map(lambda a: np.asarray(a, np.float32), (case.params, case.samples))


def test_float32_program_gets_a_float64_gram_matrix():
    case = mlp()
    with jax.enable_x64(True):
        j = reference_jacobian(case)
    single = single_precision(case)
    gram = layerwise_gram(case.outputs, *single)
    assert gram.dtype == jnp.float64
    assert_equal(gram, j @ j.T, 1e-5)  # float32 network: some hundred roundings of 6e-8


def test_float64_gram_matrix_of_float32_factors_resolves_what_a_float32_one_cannot():
    # Three outputs that are multiples of one: two thirds of the eigenvalues are zero, but for the
    # float32 rounding of J, (6e-8)^2 = 4e-15. In a float32 Gram matrix they are 1e-8 and more.
    case = plain(
        lambda p, x: jnp.outer(jnp.tanh(x @ p["w"]), jnp.asarray([1.0, 0.3, 0.7])),
        *(weights(w=(3, 4)), X, "w"),
    )
    single = single_precision(case)
    for dtype, low, high in ((None, 0.0, 1e-13), (np.float32, 1e-9, 1e-6)):
        gram = layerwise_gram(case.outputs, *single, dtype=dtype)
        values = np.linalg.eigvalsh(np.asarray(gram, np.float64))
        noise = np.max(np.abs(values[: len(values) * 2 // 3])) / values[-1]
        assert low <= noise < high


def test_half_inverse_update_in_a_float32_program():
    # The whole step under jit and scan, with 64-bit types off, against float64 throughout.
    case = mlp()
    params, samples = single_precision(case)
    g = np.asarray(normal(7, 10), np.float32)

    def step(params, _):
        gram = layerwise_gram(case.outputs, params, samples)
        result = gram_power(gram, g, rcond=1e-4)
        y, vjp = jax.vjp(lambda p: jax.vmap(case.outputs, (None, 0))(p, samples), params)
        (update,) = vjp(result.coefficients.reshape(y.shape))
        return params, ravel_pytree(update)[0]

    _, (update, _) = jax.lax.scan(step, params, None, 2)
    with jax.enable_x64(True):
        expected = spectral_power(reference_jacobian(case), g.astype(np.float64), rcond=1e-4)
    # J has condition 16 here, so the float32 roundings of 6e-8 grow to no more than some 1e-6.
    update, expected = np.asarray(update), np.asarray(expected)
    assert np.linalg.norm(update - expected) < 1e-5 * np.linalg.norm(expected)


@pytest.mark.filterwarnings("error")  # JAX warns where it truncates float64 to float32
def test_lanes_of_a_jitted_update_with_float64_inside_the_simulator_too():
    params, samples = single_precision(left_operand())

    def outputs(p, x):
        z = jnp.tanh(p["w"] @ x + p["b"])
        return damped_solve(p["v"] + 0.1 * jnp.outer(z[:2], z), z[:2])

    @jax.jit
    def update(p, samples):
        gram = layerwise_gram(outputs, p, samples)
        return gram, gram_power(gram, jnp.ones(20)).coefficients

    lanes = np.stack([samples, 2 * samples])
    grams, coefficients = jax.vmap(update, (None, 0))(params, lanes)
    for lane, gram, c in zip(lanes, grams, coefficients, strict=True):
        assert_equal(gram, np.asarray(explicit_gram(outputs, params, lane)), 1e-5)
        assert_equal(c, np.asarray(gram_power(gram, jnp.ones(20)).coefficients), 1e-5)


def test_errors_say_what_was_expected():
    with pytest.raises(ValueError, match=r"\['w'\] is not real floating"):
        layerwise_gram(lambda p, x: x * p["w"], {"w": np.arange(3)}, np.ones((2, 3)))
    with pytest.raises(ValueError, match="no arrays"):
        layerwise_gram(lambda p, x: p["w"], {"w": np.ones(3)}, ())

"""Poisson's equation: operator, exact solver, inverse steps, random fields and the U-net."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from physopt.networks.unet import UNet
from physopt.problem import Batch
from physopt.problems.fields import inverse_laplacian, laplacian, random_field
from physopt.problems.poisson import Poisson
from physopt.problems.poisson8 import Poisson8


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def keys(number):
    return jax.random.split(jax.random.key(0), number)


def test_laplacian_is_the_stencil_with_zeros_outside():
    field = np.arange(1.0, 10).reshape(3, 3)
    # Centre: 2 + 4 + 6 + 8 - 20; corner: 2 + 4 - 4; edge: 1 + 3 + 5 - 8.
    actual = np.asarray(laplacian(jnp.asarray(field)))
    assert (actual[1, 1], actual[0, 0], actual[0, 1]) == (0, 2, 1)


def test_sine_modes_are_eigenfunctions():
    with jax.enable_x64(True):
        index = np.arange(1, 65)
        mode = np.outer(np.sin(np.pi * 3 * index / 65), np.sin(np.pi * 40 * index / 65))
        value = -4 * sum(np.sin(np.pi * j / 130) ** 2 for j in (3, 40))
        # Rounding of numbers of order 10.
        np.testing.assert_allclose(laplacian(jnp.asarray(mode)), value * mode, atol=1e-13)
        np.testing.assert_allclose(inverse_laplacian(jnp.asarray(mode)), mode / value, atol=1e-13)


@pytest.mark.parametrize("size", [2, 8, 64])
def test_solver_undoes_the_laplacian(size):
    with jax.enable_x64(True):
        field = jnp.asarray(normal(0, 2, size, size))
        # The condition number is 1700 at n = 64: 1e-13 is expected, 1e-10 required.
        np.testing.assert_allclose(inverse_laplacian(laplacian(field)), field, atol=1e-10)


def test_one_inverse_step_solves_poisson():
    problem = Poisson()
    with jax.enable_x64(True):
        batch = jax.jit(problem.sample)(keys(2))
        x = jnp.asarray(normal(1, 2, 64, 64))
        actual = problem.invert(x, batch)
        # Potentials of 50 round at 1e-14; the Laplacian multiplies by up to 8.
        np.testing.assert_allclose(actual, batch.extra, atol=1e-10)
        metrics = problem.metrics(x, problem.simulate(x, batch), batch)
        distance = np.asarray(x - batch.extra)
        np.testing.assert_allclose(metrics["x_l1"], np.abs(distance).sum(axis=(1, 2)))
    single = jax.jit(problem.sample)(keys(2))
    actual = problem.invert(jnp.asarray(x, jnp.float32), single)
    assert actual.dtype == jnp.float32
    # The same in float32: 50 * 6e-8 * 8 * a few operations.
    np.testing.assert_allclose(actual, single.extra, atol=5e-4)


def test_one_inverse_step_solves_poisson8():
    problem = Poisson8()
    with jax.enable_x64(True):
        batch = jax.jit(problem.sample)(keys(3))
        actual = problem.invert(jnp.asarray(normal(2, 3, 8, 8)), batch)
        np.testing.assert_allclose(actual, batch.extra, atol=1e-12)


@pytest.mark.parametrize("problem", [Poisson(size=16), Poisson8()])
def test_gradient_is_the_adjoint_of_a_symmetric_operator(problem):
    """The gradient of <w, P(x)> is P(w), and that of the loss is P(y - y*)."""
    with jax.enable_x64(True):
        size = problem.size
        x, w, target = (jnp.asarray(normal(s, 2, size, size)) for s in (3, 4, 5))
        batch = Batch(target, target)
        gradient = jax.grad(lambda x: jnp.sum(w * problem.simulate(x, batch)))(x)
        # Rounding, with the condition number 120 of the 16x16 grid.
        np.testing.assert_allclose(gradient, problem.simulate(w, batch), atol=1e-11)
        residual = problem.simulate(x, batch) - target
        gradient = jax.grad(lambda x: jnp.sum(problem.loss(problem.simulate(x, batch), batch)))(x)
        np.testing.assert_allclose(gradient, problem.simulate(residual, batch), atol=1e-10)


@pytest.fixture(scope="module")
def fields():
    """1024 random fields on 64x64 cells."""
    draw = jax.jit(jax.vmap(lambda key: random_field(key, (64, 64))))
    return np.asarray(draw(keys(1024)))


def test_random_fields_have_the_specified_spectrum(fields):
    # Sums of 4096 numbers in float32.
    np.testing.assert_allclose(fields.mean(axis=(1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(fields.std(axis=(1, 2)), 1, atol=1e-4)
    power = (np.abs(np.fft.fft2(fields)) ** 2).mean(axis=0) / 4096**2
    cut = [(0, 0), (1, 0), (0, 2), (1, 1), (2, 0)]  # modes with m^2 <= 4
    assert max(power[mode] for mode in cut) < 1e-10
    assert power[1, 2] > 1e-2
    # Power goes like k^-4. Each value is a mean over two independent modes in 1024 fields, exact
    # to 2.2 %; these modes have too little variance to be affected by the normalisation.
    near, far = (power[m, m] + power[m, -m] for m in (4, 8))
    assert near / far == pytest.approx(16, rel=4 * 0.031)
    # On a small grid only the mean is left out.
    small = np.asarray(jax.vmap(lambda key: random_field(key, (8, 8)))(keys(64)))
    assert (np.abs(np.fft.fft2(small)) ** 2).mean(axis=0)[1, 0] > 1


def test_potentials_have_the_specified_scale(fields):
    deviation = np.asarray(inverse_laplacian(jnp.asarray(fields))).std(axis=(1, 2))
    # About 13.6 by the specification, itself a mean over one batch of 128.
    error = deviation.std() * np.sqrt(1 / 1024 + 1 / 128)
    assert deviation.mean() == pytest.approx(13.6, abs=4 * error)


@pytest.mark.parametrize(
    ("inputs", "outputs", "levels", "parameters"), [(1, 1, 4, 37_697), (2, 2, 5, 49_570)]
)
def test_unet_has_the_papers_size(inputs, outputs, levels, parameters):
    # Shapes are sufficient.
    network = nnx.eval_shape(lambda: UNet(inputs, outputs, nnx.Rngs(0), levels=levels))
    leaves = jax.tree.leaves(nnx.state(network, nnx.Param))
    assert sum(leaf.size for leaf in leaves) == parameters


@nnx.jit
def evaluate(network, inputs):
    return network(inputs)


@pytest.mark.parametrize(("kind", "coupled"), [("group", False), ("batch", True)])
def test_unet_couples_samples_only_by_batch_normalisation(kind, coupled):
    batch = jnp.asarray(normal(6, 3, 9, 9), jnp.float32)  # an odd grid, too
    network = UNet(1, 1, nnx.Rngs(0), levels=2, filters=2, normalization=kind)
    first, second = (evaluate(network, batch.at[1:].add(shift * batch[0])) for shift in (0, 1))
    assert first.shape == batch.shape
    assert bool((first[0] != second[0]).any()) == coupled
    assert bool((first[1:] != second[1:]).any())


def test_poisson8_starts_where_the_specification_does():
    problem = Poisson8(hidden=(64, 128, 64))
    network = problem.network(nnx.Rngs(0))
    assert sum(a.size for a in jax.tree.leaves(nnx.state(network, nnx.Param))) == 24_896
    batch = jax.jit(problem.sample)(keys(512))
    y = problem.simulate(evaluate(network, batch.inputs), batch)
    loss = np.asarray(problem.loss(y, batch))
    # 247 with one seed and one batch of 64, whose standard error is 7.5 times larger than ours.
    assert loss.mean() == pytest.approx(247, abs=4 * loss.std() / np.sqrt(64))

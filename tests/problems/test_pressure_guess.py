"""Guesses for a pressure solver: data, misfits, the solver's own steps, and the network."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from physopt.problems.fluid.closed_flow import closed_box
from physopt.problems.fluid.grid import divergence
from physopt.problems.fluid.walls import at_rest, laplacian_in
from physopt.problems.solver_loop.guess_network import PressureUNet
from physopt.problems.solver_loop.noise import decaying_noise
from physopt.problems.solver_loop.pressure_guess import PressureGuess
from physopt.problems.solver_loop.smoke import (
    advance,
    random_divergence,
    random_smoke,
)

PROBLEM = PressureGuess(size=12, frames=3)
BOX = closed_box(12)
MISFITS = ("supervised", "residual", "solver", "solver_residual")


def keys(number):
    return jax.random.split(jax.random.key(0), number)


@pytest.fixture(scope="module")
def batch():
    """Five samples in float64."""
    with jax.enable_x64(True):
        return jax.jit(PROBLEM.sample)(keys(5))


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def distance(x, batch):
    return np.linalg.norm(x - batch.extra, axis=(1, 2))


def test_pressures_belong_to_scaled_divergences(batch):
    np.testing.assert_allclose(batch.inputs.std(axis=(1, 2)), 1, rtol=1e-12)
    np.testing.assert_allclose(batch.extra.mean(axis=(1, 2)), 0, atol=1e-12)
    applied = jax.vmap(lambda p: laplacian_in(BOX, p))(batch.extra)
    np.testing.assert_allclose(applied, batch.inputs, atol=1e-12)


def test_divergences_are_those_of_a_simulation_with_walls():
    key, states = jax.random.key(3), []
    smoke = jax.jit(random_smoke, static_argnums=1)(jax.random.split(key)[0], 12)
    step = jax.jit(advance)
    for _ in range(3):
        smoke, removed = step(smoke)
        states.append(removed / removed.std())
        assert float(jnp.abs(divergence(smoke.velocity, "zero")).max()) < 1e-13
        np.testing.assert_array_equal(smoke.velocity, at_rest(BOX, smoke.velocity))
    drawn = jax.jit(random_divergence, static_argnums=(1, 2))(key, 12, 3)
    assert min(float(jnp.abs(drawn - state).max()) for state in states) < 1e-12


def test_noise_has_the_spectrum_of_its_source():
    with jax.enable_x64(False):
        fields = jax.vmap(lambda key: decaying_noise(key, (128, 128), 8.0))(keys(40))
    # Largely of the lowest modes, of which 40 fields have too few for more than a tenth.
    assert float(fields.std()) == pytest.approx(0.122, rel=0.1)
    power = np.mean(np.abs(np.fft.fft2(fields)) ** 2, axis=0)
    # Real parts: half of the power at each of two opposite waves, 2 * 64 * 128 |1 + k|^-16.
    expected = 128 * 64 * (1 + 8 / 128) ** -16.0
    assert power[8, 0] + power[0, 8] == pytest.approx(2 * expected, rel=0.5)


@pytest.mark.parametrize("misfit", MISFITS)
def test_every_misfit_vanishes_at_the_pressure_alone(batch, misfit):
    problem = PROBLEM.replace(misfit=misfit)
    goals = {"supervised": batch.extra, "solver": 0 * batch.extra}
    batch = dataclasses.replace(batch, target=goals.get(misfit, batch.inputs))
    assert jax.tree.map(jnp.shape, jax.eval_shape(problem.sample, keys(5))) == jax.tree.map(
        jnp.shape, batch
    )
    losses = jax.jit(lambda x: problem.loss(problem.simulate(x, batch), batch))
    np.testing.assert_allclose(losses(batch.extra + 3.0), 0, atol=1e-20)
    assert (losses(0 * batch.extra) > 1e-3).all()
    assert (losses(0.9 * batch.extra) > 1e-5).all()


def test_steps_of_the_solver_approach_the_pressure(batch):
    """CG decreases the error in the Euclidean norm with every iteration."""
    x, before = 0 * batch.extra, np.linalg.norm(batch.extra, axis=(1, 2))
    step = jax.jit(PROBLEM.invert)
    for _ in range(3):
        x = step(x, batch)
        assert (distance(x, batch) < before).all()
        before = distance(x, batch)
    exact = PROBLEM.replace(inverse="exact").invert(x, batch)
    np.testing.assert_array_equal(exact, batch.extra)
    solved = PROBLEM.replace(solver_steps=150).invert(x, batch)
    assert (distance(solved, batch) < 1e-8).all()


def test_iterations_are_counted_from_the_guess(batch):
    count = jax.jit(jax.vmap(PROBLEM.iterations))
    cosine = np.cos(3 * np.pi * (np.arange(12) + 0.5) / 12)[:, None]
    np.testing.assert_array_equal(count(batch.extra, batch.inputs), 0)
    np.testing.assert_array_equal(count(batch.extra + 7 + cosine, batch.inputs), 1)
    from_zero = count(0 * batch.extra, batch.inputs)
    assert (from_zero > 10).all()
    assert PROBLEM.baselines(batch)["zero guess"]["iterations"] == float(from_zero.mean())
    metrics = PROBLEM.metrics(0 * batch.extra, batch.target, batch)
    np.testing.assert_array_equal(metrics["iterations"], from_zero)
    np.testing.assert_allclose(metrics["pressure_error"], 1)
    np.testing.assert_allclose(metrics["residual_error"], 1)


def test_the_network_has_the_layers_of_the_source():
    features = PressureGuess().features
    network = nnx.eval_shape(lambda: PressureUNet(features, 1.0, nnx.Rngs(0)))
    down = [(1, 4), (4, 4), (4, 4), (4, 8), (8, 8), (8, 8), (8, 16), (16, 16), (16, 16)]
    lowest = [(16, 32), (32, 32), (32, 32)]
    up = [(48, 16), (16, 16), (16, 16), (24, 8), (8, 8), (8, 8), (12, 4), (4, 4), (4, 4)]
    expected = sum(25 * i * o + o for i, o in [*down, *lowest, *up, (4, 1)])
    leaves = jax.tree.leaves(nnx.state(network, nnx.Param))
    assert sum(leaf.size for leaf in leaves) == expected


def test_the_guess_scales_with_the_divergence(batch):
    network = PressureUNet((2, 3), 6.0, nnx.Rngs(0))
    evaluate = nnx.jit(lambda network, inputs: network(inputs))
    once, thrice = (evaluate(network, factor * batch.inputs) for factor in (1.0, 3.0))
    assert once.shape == batch.inputs.shape
    assert float(jnp.abs(once).max()) > 1e-2
    np.testing.assert_allclose(thrice, 3 * once, rtol=1e-5, atol=1e-5)  # weights in float32


def test_the_figure_shows_how_the_solver_converges(batch):
    first = jax.tree.map(lambda leaf: leaf[:2], batch)
    figure = PROBLEM.figure(first.extra, first.target, first)
    curves = {line.get_label(): np.asarray(line.get_ydata()) for line in figure.axes[6].lines}
    assert np.max(curves["from network"]) < 1e-10  # the exact pressure
    assert curves["from zero"][0] == pytest.approx(float(jnp.abs(first.inputs[0]).max()))

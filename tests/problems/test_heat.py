"""The heat equation: exact Fourier modes, conservation, the inverse step and the boxes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from physopt.problem import Batch
from physopt.problems.heat import Heat, Standardized, random_boxes

PROBLEM = Heat()


def wave(p, q):
    """A Fourier mode on 64x64 cells, and its decay."""
    phase = 2 * np.pi * (p * np.arange(64)[:, None] + q * np.arange(64)) / 64
    return np.cos(phase), np.exp(-8 * (2 * np.pi / 64) ** 2 * (p**2 + q**2))


def diffused(field):
    with jax.enable_x64(True):
        return np.asarray(PROBLEM.simulate(jnp.asarray(field), Batch((), ())))


def test_fourier_modes_decay_exactly():
    for p, q in ((0, 0), (1, 0), (3, 5), (7, -2)):
        mode, decay = wave(p, q)
        # Sums of 64 positive weights that add up to 1, twice.
        np.testing.assert_allclose(diffused(mode[None])[0], decay * mode, atol=1e-14)


def test_heat_is_conserved_and_spreads_from_a_point_as_a_gaussian():
    point = np.zeros((1, 64, 64))
    point[0, 32, 32] = 1
    later = diffused(point)[0]
    assert later.sum() == pytest.approx(1, abs=1e-14)
    distance = np.arange(64) - 32
    gaussian = np.exp(-(distance**2) / 32) / np.sqrt(32 * np.pi)
    # The variance is 2 * 8 on each axis; images and sampling enter below e^-32.
    np.testing.assert_allclose(later, np.outer(gaussian, gaussian), atol=1e-13)


def test_gradient_is_the_adjoint_of_a_symmetric_operator():
    x, w = np.random.default_rng(0).normal(size=(2, 1, 64, 64))
    with jax.enable_x64(True):
        gradient = jax.grad(lambda x: jnp.sum(w * PROBLEM.simulate(x, Batch((), ()))))(
            jnp.asarray(x)
        )
    np.testing.assert_allclose(gradient, diffused(w), atol=1e-14)


def test_inverse_step_is_exact_where_nothing_was_lost():
    modes = [wave(p, q)[0] for p, q in ((0, 0), (1, 0), (2, 3), (4, 1))]
    initial = 0.05 * np.sum(modes, axis=0)[None]
    guess = 0.05 * wave(3, 0)[0][None]
    later = diffused(initial)
    assert wave(4, 1)[1] > 0.25  # the mode that decays most
    with jax.enable_x64(True):
        batch = Batch(jnp.asarray(later), jnp.asarray(later))
        actual = jax.jit(PROBLEM.invert)(jnp.asarray(guess), batch)
    # Modes present are amplified by 4 at most, from rounding at 1e-17. All others hold rounding
    # only, which is not amplified because it is indistinguishable from signal.
    np.testing.assert_allclose(actual, initial, atol=1e-13)


def test_inverse_steps_in_single_precision_converge():
    """The remaining error is information lost in float32; steps must not amplify rounding."""
    batch = jax.jit(PROBLEM.sample)(jax.random.split(jax.random.key(0), 8))
    invert = jax.jit(PROBLEM.invert)
    x = jnp.zeros_like(batch.extra)
    distances = []
    for _ in range(5):
        distances.append(float(PROBLEM.metrics(x, x, batch)["x_l1"].mean()))
        x = invert(x, batch)
    assert x.dtype == jnp.float32
    assert distances[1] < 0.45 * distances[0]
    # Modes at the edge of the noise may change by a few per cent.
    assert max(distances[2:]) < 1.03 * distances[1]
    # At the solution the step vanishes: D is rounding error and is treated as noise.
    still = invert(batch.extra, batch)
    assert float(jnp.abs(still - batch.extra).max()) < 0.05


def test_network_keeps_the_mean_and_follows_the_scale():
    inputs = jnp.asarray(np.random.default_rng(1).normal(size=(3, 8, 8)), jnp.float32)
    network = Standardized(jnp.square)  # type: ignore[arg-type]
    x = network(inputs)
    # Rounding of float32 numbers near 10, here and below.
    np.testing.assert_allclose(x.mean((1, 2)), inputs.mean((1, 2)), atol=1e-5)
    np.testing.assert_allclose(network(5 * inputs - 2), 5 * x - 2, atol=1e-4)
    assert np.isfinite(network(jnp.zeros((1, 8, 8)))).all()
    assert isinstance(nnx.eval_shape(lambda: PROBLEM.network(nnx.Rngs(0))), Standardized)


def test_boxes_have_the_specified_amount_of_heat():
    draw = jax.jit(jax.vmap(lambda key: random_boxes(key, 64)))
    boxes = np.asarray(draw(jax.random.split(jax.random.key(0), 2048)))
    heat = boxes.sum(axis=(1, 2))
    # 7 boxes of mean temperature 1/2 and mean area (2 * 5)^2; the soft rim adds four times the
    # mean square of its width, 1/24, or 0.17, and thin boxes lose about as much.
    assert heat.mean() == pytest.approx(350, abs=4 * heat.std() / np.sqrt(2048) + 3.5)
    # Var = E[K] E[s^2 a^2] + (Var K - E[K]) (E[s] E[a])^2, with E[s^2] = 1/3, E[a^2] =
    # (4 * 100/3)^2 and K uniform in 4 ... 10; its own error from the spread of the squares.
    variance = 7 / 3 * (400 / 3) ** 2 + (4 - 7) * 50**2
    squares = (heat - heat.mean()) ** 2
    assert squares.mean() == pytest.approx(variance, abs=4 * squares.std() / np.sqrt(2048) + 400)
    assert boxes.min() == 0
    assert boxes[:, [0, 0, -1, -1], [0, -1, 0, -1]].max() <= 10
    # A symmetric distribution in space: the mean temperature's centre is the domain's.
    centre = (boxes.sum(axis=2) @ (np.arange(64) + 0.5)) / heat
    assert centre.mean() == pytest.approx(32, abs=4 * centre.std() / np.sqrt(2048))

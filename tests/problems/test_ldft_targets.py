"""Training targets and random matrices: bounds, distributions, textures."""

import jax
import numpy as np
import pytest

from physopt.problems.ldft.targets import (
    POROSITIES,
    procedural_loop,
    procedural_target,
    random_matrix,
)


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def test_procedural_targets_are_monotone_from_0_to_1():
    curves = np.asarray(jax.vmap(lambda k: procedural_target(k, 40))(keys(2000)))
    assert (np.diff(curves, axis=1) >= -1e-6).all()
    assert (curves >= 0).all()
    # Increments sum to one to the rounding of 40 float32 additions.
    np.testing.assert_allclose(curves[:, -1], 1, atol=40 * 1.2e-7)
    steps = (np.abs(curves - np.round(curves)) < 1e-9).all(axis=1)
    # A fifth are unit steps; an anchored curve is practically never binary to 1e-9. The
    # tolerance is 4 standard deviations of a binomial proportion.
    assert abs(steps.mean() - 0.2) < 4 * np.sqrt(0.2 * 0.8 / 2000)
    # A step is at each of the 40 humidities equally often: mean height 1/2 (1 + 1/40).
    mean = curves[steps].mean()
    assert abs(mean - 0.5 * (1 + 1 / 40)) < 4 * np.sqrt(1 / 12 / steps.sum())


def test_the_anchor_has_its_distribution():
    # In an anchored curve of 3 points int(3 u) is 0, 1 or 2 and clipped to 1 or 2, so that the
    # curve's middle value is a, or a plus a part of 1 - a. Its mean over both cases:
    # P(index 1) E[a + r (1 - a)] + P(index 2) E[a r'] with r the share of one increment of two.
    curves = np.asarray(jax.vmap(lambda k: procedural_target(k, 3))(keys(4000, 1)))
    steps = (np.abs(curves - np.round(curves)) < 1e-9).all(axis=1)
    first_only = 1 - (0.95 - 2 / 3) / 0.9
    expected = first_only * 0.5 + (1 - first_only) * 0.25
    assert abs(curves[~steps, 0].mean() - expected) < 0.03


def test_loops_keep_the_physical_order():
    loops = np.asarray(jax.vmap(lambda k: procedural_loop(k, 20))(keys(500)))
    assert loops.shape == (500, 40)
    up, down = loops[:, :20], np.concatenate([loops[:, 19:20], loops[:, 20:39]], axis=1)[:, ::-1]
    assert (down >= up - 1e-6).all(), "a pore empties at a lower humidity than it fills at"
    np.testing.assert_array_equal(loops[:, -1], 0)
    assert (np.diff(up, axis=1) >= -1e-6).all()
    assert (np.diff(down, axis=1) >= -1e-6).all()


@pytest.mark.parametrize("shape", [(12, 12), (6, 6, 6)])
def test_random_matrices_are_binary_with_the_specified_porosities(shape):
    matrices = np.asarray(jax.vmap(lambda k: random_matrix(k, shape))(keys(400)))
    assert set(np.unique(matrices)) == {0.0, 1.0}
    porosity = matrices.reshape(400, -1).mean(axis=1)
    half_site = 0.5 / np.prod(shape)
    assert porosity.min() >= POROSITIES[0] - half_site
    assert porosity.max() <= POROSITIES[1] + half_site
    spread = (POROSITIES[1] - POROSITIES[0]) / np.sqrt(12)
    assert abs(porosity.mean() - np.mean(POROSITIES)) < 4 * spread / np.sqrt(400)
    # Textures differ: neighbours are similar in smooth fields and independent in white noise.
    alike = (matrices == np.roll(matrices, 1, axis=1)).reshape(400, -1).mean(axis=1)
    expected = porosity**2 + (1 - porosity) ** 2
    assert (alike - expected > 0.1).mean() > 0.2
    assert (np.abs(alike - expected) < 0.1).mean() > 0.2


def test_textures_are_drawn_from_those_that_are_named():
    draw = jax.vmap(lambda k: random_matrix(k, (12, 12), ["slits"]))
    matrices = np.asarray(draw(keys(50)))
    # A slit spans the lattice; only the line at the threshold is partly pore.
    mixed = [
        min(
            sum(0 < line.mean() < 1 for line in matrix),
            sum(0 < line.mean() < 1 for line in matrix.T),
        )
        for matrix in matrices
    ]
    assert max(mixed) <= 1
    white = np.asarray(jax.vmap(lambda k: random_matrix(k, (12, 12), ["white"]))(keys(400)))
    porosity = white.mean(axis=(1, 2))
    alike = (white == np.roll(white, 1, axis=1)).mean(axis=(1, 2))
    # A pair of sites drawn without replacement is alike with p^2 + (1 - p)^2 - 2 p (1 - p) / 143.
    expected = porosity**2 + (1 - porosity) ** 2 - 2 * porosity * (1 - porosity) / 143
    assert abs((alike - expected).mean()) < 4 * (alike - expected).std() / np.sqrt(400)

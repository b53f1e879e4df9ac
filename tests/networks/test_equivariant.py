"""Equivariant networks: rotated, reflected and relabelled structures, and the missing extra."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from physopt.networks.equivariant_3d import SpatialTensorField
from physopt.objective import build
from physopt.options import OptionError
from physopt.problems.springs import SpringsTensor
from physopt.problems.springs.structure import harmonics

PROBLEM = SpringsTensor(size=2, channels=2, layers=2, hidden=(8,))
ANGLE = 0.7


def turned(inputs, angle, side):
    """Return structures that are reflected at the first axis if side = -1, and then rotated."""
    c, s = np.cos(angle), np.sin(angle)
    move = np.array([[c, -s], [s, c]]) @ np.diag([1, side])
    return jnp.concatenate([inputs[..., :2] @ move.T, inputs[..., 2:]], axis=-1)


def turned_harmonics(y, angle, side):
    """Return exp(i m angle) C^m, of conj C^m after a reflection."""
    columns = [y[:, 0], y[:, 1]]
    for first, order in ((2, 2), (4, 4)):
        z = (y[:, first] + 1j * side * y[:, first + 1]) * np.exp(1j * order * angle)
        columns += [z.real, z.imag]
    return np.stack(columns, axis=1)


@pytest.fixture(scope="module")
def samples():
    with jax.enable_x64(True):
        return jax.jit(PROBLEM.sample)(jax.random.split(jax.random.key(0), 3))


def predictor(make):
    """Return inputs -> prediction of a network in float64, with parameters of a common size."""
    graphdef, state = nnx.split(make(nnx.Rngs(0)))
    state = jax.tree.map(lambda a: a.astype(jnp.float64), state)
    return jax.jit(lambda inputs: nnx.merge(graphdef, state)(inputs))


def test_a_structure_and_its_prediction_turn_together(samples):
    with jax.enable_x64(True):
        inputs = samples.inputs
        predict, dense = (predictor(m) for m in (PROBLEM.network_equivariant, PROBLEM.network))
        y, other = np.asarray(predict(inputs)), np.asarray(dense(inputs))
        assert (np.abs(y[:, 2:]).max(axis=0) > 1e-3).all()
        for side in (1, -1):
            moved = turned(inputs, ANGLE, side)
            np.testing.assert_allclose(predict(moved), turned_harmonics(y, ANGLE, side), atol=1e-13)
            assert np.abs(dense(moved) - turned_harmonics(other, ANGLE, side)).max() > 0.01
        # Nodes with other names: the lattice moved by a column along its rows.
        rows = inputs.reshape(len(inputs), 3, PROBLEM.size, PROBLEM.size, 3)
        renamed = jnp.roll(rows, 1, axis=3).reshape(inputs.shape)
        np.testing.assert_allclose(predict(renamed), y, atol=1e-13)


def test_harmonics_have_the_norm_of_the_tensor_and_turn_with_the_structure(samples):
    """Sums of n_i n_j n_k n_l, the tensor of springs, have the invariant norm of all components."""
    with jax.enable_x64(True):
        normal = np.random.default_rng(0).normal(size=(5, 2))
        fourth = np.einsum("bi,bj,bk,bl->ijkl", *[normal] * 4)
        pairs = ((0, 0), (1, 1), (0, 1))
        voigt = np.array([[fourth[i, j, k, m] for k, m in pairs] for i, j in pairs])
        np.testing.assert_allclose(jnp.sum(harmonics(jnp.asarray(voigt)) ** 2), np.sum(fourth**2))
        # The tensor of a turned structure, solved anew.
        for side in (1, -1):
            moved = turned(samples.inputs, ANGLE, side)
            expected = turned_harmonics(np.asarray(samples.target), ANGLE, side)
            solved = PROBLEM.solved(moved[..., :2], moved[..., 2])
            np.testing.assert_allclose(solved.target, expected, atol=1e-12)
        # The affine tensor is an upper bound of the energy, hence of the trace.
        affine = PROBLEM.baselines(samples)["affine"]["elastic_error"]
        assert affine > 0.05


@pytest.mark.skipif(
    importlib.util.find_spec("e3nn_jax") is None, reason="e3nn-jax is not installed"
)
def test_the_network_in_space_is_equivariant_there_and_in_the_plane(samples):
    with jax.enable_x64(True):
        predict = predictor(PROBLEM.network_equivariant_3d)
        y = np.asarray(predict(samples.inputs))
        for side in (1, -1):
            moved = predict(turned(samples.inputs, ANGLE, side))
            np.testing.assert_allclose(moved, turned_harmonics(y, ANGLE, side), atol=1e-12)
        ends, random = PROBLEM.graph().ends, np.random.default_rng(1)
        network = SpatialTensorField(ends, 1, nnx.Rngs(0), channels=2, layers=2)
        vectors, numbers = (jnp.asarray(random.normal(size=(2, len(ends), n))) for n in (3, 1))
        move = np.linalg.qr(random.normal(size=(3, 3)))[0]
        evaluate = nnx.jit(lambda network, vectors: network(vectors, numbers))
        tensor, moved = (evaluate(network, v) for v in (vectors, vectors @ move.T))
    expected = np.einsum("ai,bj,ck,dl,nijkl->nabcd", *[move] * 4, tensor)
    np.testing.assert_allclose(moved, expected, atol=1e-12)
    assert np.abs(expected - tensor).max() > 1e-2


def test_without_e3nn_the_network_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"physopt\[equivariant\]"):
        build(PROBLEM, "equivariant_3d", 0)

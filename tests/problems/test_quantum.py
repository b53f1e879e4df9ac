"""Quantum dipole: exact evolutions, order and unitarity of Crank-Nicolson, loss and data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.test_util import check_grads

from physopt.problem import Batch
from physopt.problems import crank_nicolson
from physopt.problems.quantum import QuantumDipole, as_complex, as_real

PROBLEM = QuantumDipole()


def final_state(problem, control):
    """The final psi, complex [batch, points], computed in float64."""
    with jax.enable_x64(True):
        y = jax.jit(problem.simulate)(jnp.asarray(control), Batch((), ()))
        return np.asarray(as_complex(y))


def hamiltonian(problem, field):
    n = problem.points
    kinetic = (2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)) / problem.spacing**2
    return kinetic + field * np.diag(problem.spacing * np.arange(1, n + 1))


def test_the_phase_of_the_free_ground_state_rotates():
    """A step multiplies an eigenstate of energy E by (1 - i E dt/2) / (1 + i E dt/2)."""
    energy = (2 - 2 * np.cos(np.pi / 15)) / PROBLEM.spacing**2
    factor = (1 - 0.025j * energy) / (1 + 0.025j * energy)
    # 384 steps of rounding at 1e-16, growing at most linearly.
    expected = factor**384 * PROBLEM.eigenstate(1)
    np.testing.assert_allclose(final_state(PROBLEM, np.zeros((1, 384)))[0], expected, atol=1e-12)


def test_the_order_of_convergence_is_two():
    # On five points the highest energy is 34, whose phase error E^3 dt^2 t / 12 is below 0.3: on
    # fourteen it is 215, and the order shows only at much smaller steps.
    coarse = QuantumDipole(points=5)
    energies, states = np.linalg.eigh(hamiltonian(coarse, 1.0))
    begin = coarse.eigenstate(1)
    exact = states @ (np.exp(-1.6j * energies) * (states.T @ begin))
    errors = []
    for steps in (256, 512):
        finer = QuantumDipole(points=5, steps=steps, time_step=1.6 / steps)
        errors.append(np.linalg.norm(final_state(finer, np.ones((1, steps)))[0] - exact))
    # A halved step divides the error by 4; what remains of the next order is of that phase error.
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.1)


def test_the_norm_is_conserved_under_any_control():
    control = 5 * np.random.default_rng(0).normal(size=(4, 384))
    norms = np.linalg.norm(final_state(PROBLEM, control), axis=1)
    # Each step is unitary: 384 roundings of 1e-16, with a solver of condition number near 10.
    np.testing.assert_allclose(norms, 1, atol=1e-12)


def test_single_precision_is_kept_and_enough():
    control = np.random.default_rng(1).normal(size=(4, 384))
    single = jax.jit(PROBLEM.simulate)(jnp.asarray(control, jnp.float32), Batch((), ()))
    assert single.dtype == jnp.float32
    # 384 steps with rounding errors of 6e-8 and no amplification.
    np.testing.assert_allclose(as_complex(single), final_state(PROBLEM, control), atol=3e-5)


def test_gradient_agrees_with_central_differences():
    with jax.enable_x64(True):
        small = QuantumDipole(points=5, steps=6)
        control = jnp.asarray(np.random.default_rng(2).normal(size=(2, 6)))
        check_grads(lambda x: small.simulate(x, Batch((), ())), (control,), order=1, modes=["rev"])


def test_elimination_keeps_single_precision():
    """384 steps of elimination without row exchanges."""
    small, control = QuantumDipole(points=6), np.random.default_rng(1).normal(size=(4, 384))
    single = crank_nicolson.evolve(
        jnp.asarray(control, jnp.float32), small.eigenstate(1), small.spacing, small.time_step, None
    )
    np.testing.assert_allclose(as_complex(single), final_state(small, control), atol=3e-5)


def test_loss_is_the_infidelity_for_any_phase():
    ground, first, second = (PROBLEM.eigenstate(k) for k in (1, 2, 3))
    wanted = 0.6 * first + 0.8 * second
    reached = np.stack([wanted, 1j * wanted, np.exp(2j) * wanted, ground, first])
    target = as_real(jnp.asarray(np.broadcast_to(wanted, reached.shape), jnp.complex64))
    batch = Batch(target, target)
    y = as_real(jnp.asarray(reached, jnp.complex64))
    metrics = PROBLEM.metrics(jnp.zeros((5, 384)), y, batch)
    # Sums of 14 products in float32.
    np.testing.assert_allclose(metrics["infidelity"], [0, 0, 0, 1, 1 - 0.36], atol=1e-6)
    np.testing.assert_allclose(metrics["low_energy_loss"], [0, 0, 0, 0.36, 0.16], atol=1e-6)
    np.testing.assert_allclose(metrics["high_energy_loss"], [0, 0, 0, 0.64, 0.64], atol=1e-6)


def test_target_states_mix_two_levels_uniformly():
    batch = PROBLEM.sample(jax.random.split(jax.random.key(0), 4096))
    real, imaginary = batch.target[:, ::2], batch.target[:, 1::2]
    assert not np.asarray(imaginary).any()
    pair = np.stack([PROBLEM.eigenstate(2), PROBLEM.eigenstate(3)])
    weights = real @ pair.T
    np.testing.assert_allclose(real, weights @ pair, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(weights, axis=1), 1, atol=1e-6)
    turns = np.exp(1j * np.arctan2(weights[:, 1], weights[:, 0]))
    # The first four moments of a uniform angle vanish; their standard error is 1/64.
    for moment in range(1, 5):
        assert abs((turns**moment).mean()) < 5 / 64


def test_the_network_has_the_papers_size():
    leaves = jax.tree.leaves(nnx.state(PROBLEM.network(nnx.Rngs(0)), nnx.Param))
    assert sum(leaf.size for leaf in leaves) == 9484


def test_the_convolutional_network_has_the_papers_size_and_sees_neighbouring_points():
    network = PROBLEM.network_cnn(nnx.Rngs(0))
    leaves = jax.tree.leaves(nnx.state(network, nnx.Param))
    assert sum(leaf.size for leaf in leaves) == 21_984
    # The fifth of twelve results belongs to points 4, 5 and 6, real and imaginary part each.
    state = np.random.default_rng(3).normal(size=(2, 28)).astype(np.float32)
    first = getattr(network, "convolutions")[0]  # noqa: B009
    patch = state[:, 8:14].reshape(2, 3, 2)
    expected = np.einsum("bwi,wio->bo", patch, first.kernel[...]) + first.bias[...]
    z = first(jnp.asarray(state).reshape(2, 14, 2))
    np.testing.assert_allclose(z[:, 4], expected, atol=1e-5)
    assert network(jnp.asarray(state)).shape == (2, 384)

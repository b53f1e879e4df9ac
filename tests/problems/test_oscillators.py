"""Nonlinear oscillators: the integrator against exact motions, its order, and the data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.test_util import check_grads

from physopt.problem import Batch
from physopt.problems.oscillators import Oscillators

PROBLEM = Oscillators()


def final_state(problem, state, control):
    """Final states in float64, outside of any float64 context."""
    with jax.enable_x64(True):
        state = jnp.asarray(state)
        batch = Batch(state, state, state)
        return np.asarray(jax.jit(problem.simulate)(jnp.asarray(control), batch))


def states(number):
    return np.random.default_rng(0).uniform(size=(number, 4))


def test_masses_in_phase_are_free_oscillators():
    """q0 = q1 never stretches the coupling: q = a cos t + b sin t at t = 12."""
    a, b = np.array([0.3, 1.0]), np.array([0.7, -0.2])
    end = final_state(PROBLEM, np.stack([a, a, b, b], axis=1), np.zeros((2, 96)))
    q, p = a * np.cos(12) + b * np.sin(12), b * np.cos(12) - a * np.sin(12)
    # The phase error of the scheme is h^4 t / 120 = 2.4e-5, for amplitudes near 1.
    np.testing.assert_allclose(end, np.stack([q, q, p, p], axis=1), atol=5e-5)


def test_the_order_of_convergence_is_four():
    control = 0.1 * np.random.default_rng(1).normal(size=(8, 96))
    ends = {}
    for refinement in (2, 4, 32):
        finer = Oscillators(steps=96 * refinement, time_step=0.125 / refinement)
        ends[refinement] = final_state(finer, states(8), np.repeat(control, refinement, axis=1))
    errors = [np.linalg.norm(ends[r] - ends[32], axis=1) for r in (2, 4)]
    # A halved step divides the error by 16; the next order shifts the exponent by 0.1 or 0.2.
    assert np.median(np.log2(errors[0] / errors[1])) == pytest.approx(4, abs=0.3)


def test_energy_is_conserved_without_control():
    def energy(state):
        q0, q1, p0, p1 = state.T
        return (p0**2 + p1**2 + q0**2 + q1**2) / 2 + (q1 - q0) ** 4 / 4

    begin = states(16)
    end = final_state(PROBLEM, begin, np.zeros((16, 96)))
    # Drift of order h^4 t = 3e-3 times a small constant; a wrong sign of the coupling gives 0.1.
    np.testing.assert_allclose(energy(end), energy(begin), rtol=2e-3)


def test_the_control_pushes_the_second_mass_threefold():
    end = final_state(Oscillators(steps=1, time_step=1e-3), np.zeros((1, 4)), np.ones((1, 1)))
    # q1 = 3 (1 - cos t) and p1 = 3 sin t, up to the coupling, which is of order t^6.
    np.testing.assert_allclose(end[0], [0, 1.5e-6, 0, 3e-3], atol=1e-9)


def test_gradient_agrees_with_central_differences():
    with jax.enable_x64(True):
        small = Oscillators(steps=5)
        state = jnp.asarray(states(2))
        batch = Batch(state, state, state)
        control = jnp.asarray(np.random.default_rng(2).normal(size=(2, 5)))
        check_grads(lambda x: small.simulate(x, batch), (control,), order=1, modes=["rev"])


def test_initial_states_are_uniform_and_are_the_targets():
    batch = PROBLEM.sample(jax.random.split(jax.random.key(0), 4096))
    drawn = np.asarray(batch.inputs)
    assert (drawn == np.asarray(batch.target)).all()
    # Standard errors of the mean and of the variance of U[0, 1] are .0045 and .0012; five of each.
    np.testing.assert_allclose(drawn.mean(axis=0), 0.5, atol=0.023)
    np.testing.assert_allclose(drawn.var(axis=0), 1 / 12, atol=0.006)
    correlation = np.corrcoef(drawn.T) - np.eye(4)
    assert np.abs(correlation).max() < 5 / np.sqrt(4096)


def test_the_untrained_network_is_the_papers():
    network = PROBLEM.network(nnx.Rngs(0))
    leaves = jax.tree.leaves(nnx.state(network, nnx.Param))
    assert sum(leaf.size for leaf in leaves) == 2956
    assert all(not leaf.any() for leaf in leaves if leaf.ndim == 1)
    last = max((leaf for leaf in leaves if leaf.ndim == 2), key=jnp.size)
    bound = np.sqrt(6 / (20 + 96))  # Glorot's; the maximum of 1920 draws is within 1 %
    assert 0.99 * bound < float(jnp.abs(last).max()) <= bound
    batch = jax.jit(PROBLEM.sample)(jax.random.split(jax.random.key(1), 512))
    x = network(batch.inputs)
    y = jax.jit(PROBLEM.simulate)(x, batch)
    # The authors' program starts between 0.7 and 0.96, depending on the weights.
    assert 0.6 < float(PROBLEM.metrics(x, y, batch)["squared_error"].mean()) < 1.1

"""Networks for the control of Burgers' equation: estimators, predictors and their executions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from physopt.options import OptionError
from physopt.problems.burgers import Burgers, BurgersSupervised, advance
from physopt.problems.predictor_corrector import predictions

OPTIONS = {"cells": 8, "steps": 8, "levels": 2, "filters": 4, "hidden": (8,), "closed": True}
NETWORKS = ("network", "network_cfe", "network_staggered", "network_refined")


def keys(number):
    return jax.random.split(jax.random.key(0), number)


def reconstruct(predict, left, right, beyond, steps, forces):
    """Algorithm 1 of the source, literally: execute `steps` steps from the state `left`.

    Without a state `beyond` nothing is refined. Returns the state reached.
    """
    if steps == 1:
        forces.append(right - advance(left, 0.1))
        return advance(left, 0.1) + forces[-1]
    middle = predict(steps, left, right)
    reached = reconstruct(predict, left, middle, right, steps // 2, forces)
    further = None
    if beyond is not None:
        further = predict(steps, right, beyond)
        right = predict(steps, reached, further)
    return reconstruct(predict, reached, right, further, steps // 2, forces)


def executed(kind, seed):
    """Return inputs of two scenes, the forces of a network, and its predictors."""
    problem = Burgers(**OPTIONS)
    network = getattr(problem, f"network_{kind}")(nnx.Rngs(seed))
    inputs = problem.sample(keys(2)).inputs
    actual = nnx.jit(lambda network, inputs: network(inputs))(network, inputs)
    return inputs, actual, [nnx.jit(predictor) for predictor in network.predictors]


def test_refinement_is_algorithm_1():
    """Compare the scanned schedule with the recursion on the states reached."""
    with jax.enable_x64(True):
        inputs, actual, predictors = executed("refined", 0)
        calls = []

        def predict(steps, left, right):
            calls.append(steps)
            change = predictors[steps.bit_length() - 2](jnp.stack([left, right], axis=-1))[..., 0]
            return (left + right) / 2 + change

        forces = []
        reconstruct(predict, inputs[..., 0], inputs[..., 1], None, 8, forces)
        # The predicted state is reached, up to rounding of fields near 10.
        np.testing.assert_allclose(actual, np.stack(forces, axis=1), atol=1e-12)
    assert calls == [2 ** (use.network + 1) for use in predictions(8, refined=True)]


@pytest.mark.parametrize("steps", [2, 4, 8, 32])
def test_refinement_takes_the_published_number_of_predictions(steps):
    uses = predictions(steps, refined=True)
    assert len(uses) == 3 * steps - 2 * np.log2(steps) - 3
    for use in uses:
        assert use.right - use.left == 2 ** (use.network + 1)
        assert 0 <= use.left < use.centre < use.right <= steps
        assert use.left + use.right == 2 * use.centre


def test_staggered_predictions_see_the_states_reached():
    """Compare predictions for all intervals of one length at once with sequential ones."""
    with jax.enable_x64(True):
        inputs, actual, predictors = executed("staggered", 1)
        forces = []

        def execute(left, right, steps):
            if steps == 1:
                forces.append(right - advance(left, 0.1))
                return advance(left, 0.1) + forces[-1]
            change = predictors[steps.bit_length() - 2](jnp.stack([left, right], axis=-1))[..., 0]
            reached = execute(left, (left + right) / 2 + change, steps // 2)
            return execute(reached, right, steps // 2)

        execute(inputs[..., 0], inputs[..., 1], 8)
        assert len(forces) == 8
        np.testing.assert_allclose(actual, np.stack(forces, axis=1), atol=1e-12)


@pytest.mark.parametrize("name", ["network_staggered", "network_refined"])
def test_predictors_need_a_power_of_two(name):
    with pytest.raises(OptionError, match="power of two"):
        getattr(Burgers(steps=6), name)(nnx.Rngs(0))


# --- supervised


@pytest.mark.parametrize("name", NETWORKS)
def test_supervised_training_has_the_parameters_of_control(name):
    options = {key: value for key, value in OPTIONS.items() if key != "closed"}

    def shapes(problem):
        network = nnx.eval_shape(lambda: getattr(problem, name)(nnx.Rngs(0)))
        return jax.tree.map(jnp.shape, nnx.to_pure_dict(nnx.state(network, nnx.Param)))

    assert shapes(BurgersSupervised(**options)) == shapes(Burgers(**OPTIONS))


@pytest.mark.parametrize("name", ["network_cfe", "network_staggered"])
def test_taught_networks_see_true_states_at_every_step(name):
    """A network that reproduces its trajectory when taught also does so under control."""
    options = {key: value for key, value in OPTIONS.items() if key != "closed"}
    taught = getattr(BurgersSupervised(**options), name)(nnx.Rngs(0))
    own = getattr(Burgers(**OPTIONS), name)(nnx.Rngs(0))
    forces = nnx.jit(lambda network, inputs: network(inputs))
    with jax.enable_x64(True):
        start = Burgers(**OPTIONS).sample(keys(2)).inputs
        frames, x = [start[..., 0]], forces(own, start)
        for i in range(8):
            frames.append(advance(frames[-1], 0.1) + x[:, i])
        # On the trajectory that a network makes under control, the taught network is exact.
        again = forces(taught, jnp.stack(frames, axis=1))
        np.testing.assert_allclose(again, x, atol=1e-5)  # parameters and U-nets in float32

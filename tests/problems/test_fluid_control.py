"""Control of smoke: stream functions, blur, closed flow, the problem and its networks."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from physopt.options import OptionError
from physopt.problems.fluid.blur import REACH, blur
from physopt.problems.fluid.closed_flow import carried, move, natural_flow, without_divergence
from physopt.problems.fluid.fluid_control import FluidControl
from physopt.problems.fluid.fluid_control_supervised import FluidControlSupervised
from physopt.problems.fluid.grid import divergence
from physopt.problems.fluid.smoke_scenes import SHAPES, random_shape
from physopt.problems.fluid.stream import curl, low_pass, stream_function
from physopt.problems.predictor_corrector import STEP, centre, predictions, schedule

SMALL = FluidControl(size=16, steps=4, levels=2, filters=4)
TAUGHT = FluidControlSupervised(size=16, steps=4, levels=2, filters=4)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def keys(number):
    return jax.random.split(jax.random.key(0), number)


@pytest.fixture(scope="module")
def batch():
    """Four natural scenes in float64."""
    with jax.enable_x64(True):
        return jax.jit(SMALL.sample)(keys(4))


@jax.jit
def true_streams(batch):
    """The stream functions of the natural flows."""
    run = partial(natural_flow, steps=4)
    velocity = jax.vmap(run)(batch.inputs[..., 0], batch.extra)[1]
    return jax.vmap(jax.vmap(stream_function))(velocity)


simulate = jax.jit(SMALL.simulate)
measure = jax.jit(SMALL.metrics)


# --- steps


def test_a_controlled_velocity_has_no_divergence_and_keeps_to_the_box():
    stream = random(8, 6)
    velocity = curl(stream)
    assert float(jnp.abs(divergence(velocity, "zero")).max()) < 1e-14
    assert not np.asarray(velocity[0, :, 0]).any()
    assert not np.asarray(velocity[:, 0, 1]).any()
    inside = stream.at[0].set(0).at[:, 0].set(0)
    np.testing.assert_allclose(stream_function(velocity), inside, atol=1e-13)


def test_projection_is_the_orthogonal_one_and_leaves_stream_functions():
    velocity, free = random(8, 8, 2), curl(random(8, 8, seed=1))
    kept = without_divergence(velocity)
    assert float(jnp.abs(divergence(kept, "zero")).max()) < 1e-13
    np.testing.assert_allclose(without_divergence(free), free, atol=1e-13)
    # What is removed is a gradient: it does no work on a velocity without divergence.
    assert float(jnp.sum((velocity - kept) * free)) == pytest.approx(0, abs=1e-11)


def test_a_rotation_loses_mass_as_its_backward_step_expands():
    """Backtracing by one Euler step under a rotation omega has the determinant 1 + omega^2."""
    n, omega = 16, 0.2
    nodes = np.arange(n) - n / 2
    stream = jnp.asarray(-omega / 2 * (nodes[:, None] ** 2 + nodes**2 - 2 * (n / 2) ** 2))
    place = np.arange(n) + 0.5 - n / 2
    smoke = jnp.asarray(np.exp(-(place[:, None] ** 2 + place**2) / 4))
    rotated = smoke
    for _ in range(3):
        rotated = move(rotated, curl(stream))
    expected = float(smoke.sum()) / (1 + omega**2) ** 3
    assert float(rotated.sum()) == pytest.approx(expected, rel=0.01)
    assert float(rotated.max()) <= float(smoke.max())


def test_constant_smoke_stays_constant():
    uniform = jnp.full((8, 8), 0.7)
    np.testing.assert_allclose(move(uniform, curl(random(8, 8))), uniform, atol=1e-14)


def test_a_blur_keeps_the_sum_and_has_the_kernel_of_the_source():
    radius, n = 2.0, 20
    point = jnp.zeros((n, n)).at[10, 9].set(1)
    kernel = np.asarray(blur(point, radius))
    assert kernel.sum() == pytest.approx(1)
    distance = np.hypot(*np.meshgrid(np.arange(n) - 10, np.arange(n) - 9, indexing="ij"))
    shape = np.maximum(1 / (1 + distance / radius) - 1 / (1 + REACH), 0)
    np.testing.assert_allclose(kernel, shape / shape.sum(), atol=1e-14)
    # The kernel is symmetric, so that the blur is its own adjoint, at borders too.
    a, b = random(6, 6), random(6, 6, seed=1)
    assert float(jnp.sum(a * blur(b, radius))) == pytest.approx(float(jnp.sum(b * blur(a, radius))))


def test_a_low_pass_keeps_coarse_waves():
    n = 12
    i = np.arange(n)
    waves = [
        jnp.asarray(np.outer(np.sin(np.pi * k * i / n), np.sin(np.pi * i / n))) for k in (2, 7)
    ]
    np.testing.assert_allclose(low_pass(waves[0] + waves[1], 3.0), waves[0], atol=1e-13)
    stream = random(n, n)
    whole = low_pass(stream, float(n))
    np.testing.assert_allclose(curl(whole), curl(stream), atol=1e-13)


def test_shapes_lie_inside_the_margin_with_their_areas():
    smoke = jax.vmap(partial(random_shape, n=32))(keys(32))
    assert len(SHAPES) == 10
    assert float(smoke.min()) >= 0
    assert float(smoke.max()) <= 1
    border = np.asarray(smoke).copy()
    border[:, 1:-1, 1:-1] = 0
    assert border.max() < 1e-6
    mass = np.asarray(smoke.sum(axis=(1, 2)))
    assert (mass > 0.3 * 0.2 * 5**2).all()
    assert (mass < 10**2).all()


# --- the problem


def test_a_natural_flow_needs_no_force(batch):
    x = true_streams(batch)
    y = simulate(x, batch)
    assert float(jnp.abs(y).max()) < 1e-12
    metrics = measure(x, y, batch)
    assert float(metrics["observation_error"].max()) < 1e-12
    # Without pressure in the natural step, the force is the gradient of the pressure.
    program = FluidControl(**{**SMALL.as_dict(), "pressure": False})
    force = np.asarray(jax.jit(program.simulate)(x, batch)[:, 1:]) / 0.1
    force = np.moveaxis(force.reshape(4, 3, 2, 16, 16), 2, -1)

    @jax.jit
    @jax.vmap
    def changes(x):
        velocity = jax.vmap(curl)(x)
        return velocity[1:] - jax.vmap(carried)(velocity[:-1])

    expected = changes(x)
    np.testing.assert_allclose(force, expected, atol=1e-13)
    assert np.abs(expected).max() > 1e-3


def test_gradient_agrees_with_central_differences_and_the_adjoint_with_both(batch):
    x = true_streams(batch) + 0.3 * random(4, 4, 16, 16)
    direction, h = random(4, 4, 16, 16, seed=1), 1e-6
    wide = batch.at(0.3)
    loss = jax.jit(lambda x: SMALL.loss(simulate(x, wide), wide).sum())
    slope = float(jnp.sum(jax.jit(jax.grad(loss))(x) * direction))
    central = float(loss(x + h * direction) - loss(x - h * direction)) / (2 * h)
    assert slope == pytest.approx(central, rel=1e-5)
    y, forward = jax.jvp(lambda x: simulate(x, wide), (x,), (direction,))
    rows = random(*y.shape, seed=2)
    (back,) = jax.vjp(lambda x: simulate(x, wide), x)[1](rows)
    assert float(jnp.sum(rows * forward)) == pytest.approx(float(jnp.sum(back * direction)))


def test_the_inverse_step_reduces_the_loss(batch):
    x = jnp.zeros((4, 4, 16, 16))
    before = SMALL.loss(simulate(x, batch), batch)
    after = SMALL.loss(simulate(jax.jit(SMALL.invert)(x, batch), batch), batch)
    assert (after <= before).all()
    # Far from the solution the linear model holds for a part of the way only.
    assert float(after.sum()) < 0.9 * float(before.sum())


def test_coarse_scales_are_free_first(batch):
    problem = FluidControl(**{**SMALL.as_dict(), "multiscale": True})
    coarse, x = jax.jit(problem.simulate), random(4, 4, 16, 16)
    last = coarse(x, batch.at(1.0))
    np.testing.assert_allclose(last, simulate(x, batch.at(1.0)), atol=1e-12)
    fine = jnp.asarray(np.outer(*(np.sin(np.pi * 9 * np.arange(16) / 16),) * 2))
    moved = coarse(x + fine, batch.at(0.0)) - coarse(x, batch.at(0.0))
    assert float(jnp.abs(moved).max()) < 1e-12


# --- networks

NETWORKS = ("network", "network_cfe", "network_staggered", "network_refined")


@pytest.mark.parametrize("steps", [2, 8])
@pytest.mark.parametrize("refined", [False, True])
def test_schedules_take_the_published_number_of_predictions(steps, refined):
    count = 3 * steps - 2 * np.log2(steps) - 3 if refined else steps - 1
    assert len(predictions(steps, refined=refined)) == count
    taken = [action for action in schedule(0, steps, refined=refined) if action.network == STEP]
    assert [(action.left, action.right) for action in taken] == [(i, i + 1) for i in range(steps)]


def executed(problem, network, inputs, *, refined):
    """Algorithm 1 of the source, literally; the staggered one does not refine."""
    streams = []

    def run(left, right, beyond, steps):
        if steps == 1:
            outputs = network.estimator(jnp.stack([left, right], axis=-1))
            streams.append(problem.control(outputs))
            return jax.vmap(lambda rho, psi: move(rho, curl(psi)))(left, streams[-1])
        predictor = network.predictors[steps.bit_length() - 2]
        reached = run(left, centre(predictor, left, right), right, steps // 2)
        further = None
        if beyond is not None and refined:
            further = centre(predictor, right, beyond)
            right = centre(predictor, reached, further)
        return run(reached, right, further, steps // 2)

    run(inputs[..., 0], inputs[..., 1], None, problem.steps)
    return jnp.stack(streams, axis=1)


@pytest.mark.parametrize("refined", [False, True])
def test_execution_is_algorithm_1_on_the_densities_reached(batch, refined):
    network = getattr(SMALL, "network_refined" if refined else "network_staggered")(nnx.Rngs(0))
    actual = nnx.jit(lambda network, inputs: network(inputs))(network, batch.inputs)
    expected = nnx.jit(partial(executed, SMALL, refined=refined))(network, batch.inputs)
    np.testing.assert_allclose(actual, expected, atol=1e-5)  # U-nets in float32
    assert float(jnp.abs(expected).max()) > 1e-2


@pytest.mark.parametrize("name", NETWORKS)
def test_supervised_training_has_the_parameters_of_control(name):
    def shapes(problem):
        network = nnx.eval_shape(lambda: getattr(problem, name)(nnx.Rngs(0)))
        return jax.tree.map(jnp.shape, nnx.to_pure_dict(nnx.state(network, nnx.Param)))

    assert shapes(TAUGHT) == shapes(SMALL)


def test_a_taught_chain_sees_true_densities(batch):
    """On the trajectory that a chain makes under control, the taught chain is exact."""
    own, taught = SMALL.network_cfe(nnx.Rngs(0)), TAUGHT.network_cfe(nnx.Rngs(0))
    streams = own(batch.inputs)
    frames = SMALL.flow(streams, batch.inputs[..., 0]).marker
    frames = frames.at[:, -1].set(batch.inputs[..., 1])
    np.testing.assert_allclose(taught(frames)["control"], streams, atol=1e-5)


def test_predictors_need_a_power_of_two():
    with pytest.raises(OptionError, match="power of two"):
        FluidControl(steps=6).network_staggered(nnx.Rngs(0))

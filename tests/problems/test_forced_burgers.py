"""Corrections of a coarse solver: the scheme, its simulations, the inverse, and the loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from physopt.options import OptionError
from physopt.problems.solver_loop.coarse import precorrected
from physopt.problems.solver_loop.correction import CorrectedSolver
from physopt.problems.solver_loop.forced_burgers import FORCE, VELOCITY, ForcedBurgers
from physopt.problems.solver_loop.forcing import (
    SIDE,
    TIME_STEP,
    advance,
    force,
    random_waves,
    reference,
    restrict,
)

PROBLEM = ForcedBurgers(**{**ForcedBurgers.tiny, "frames": 5})
EXACT = PROBLEM.replace(refinement=1)
"""A coarse grid as fine as the reference's: no corrections are needed."""


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def keys(number):
    return jax.random.split(jax.random.key(0), number)


def uncorrected(problem, batch):
    return jax.jit(problem.simulate)(jnp.zeros_like(batch.target), batch)


@jax.jit
def step(velocity, pushed):
    return advance(velocity, pushed)


def test_the_force_is_the_sum_of_its_waves():
    waves = random_waves(jax.random.key(1))
    place = (np.arange(7) + 0.5) * SIDE / 7
    x, y = np.meshgrid(place, place, indexing="ij")
    expected = np.zeros((7, 7, 2))
    for vector, amplitude, phase, rate in zip(*map(np.asarray, waves), strict=True):
        wave = np.sin(vector[0] * x + vector[1] * y + phase + 2.5 * rate)
        expected += wave[..., None] * amplitude
    np.testing.assert_allclose(force(waves, jnp.asarray(2.5), 7), expected, atol=1e-12)
    many = jax.vmap(lambda key: force(random_waves(key), jnp.zeros(()), 8))(keys(200))
    assert float(many.std()) == pytest.approx((20 * 0.3**2 / 12 / 2) ** 0.5, rel=0.05)
    lengths = np.linalg.norm(waves.vector, axis=1)
    assert lengths.min() >= 0.8
    assert lengths.max() <= 1.6


def test_a_uniform_velocity_gains_the_force_alone():
    pushed = jnp.asarray(np.random.default_rng(0).normal(size=(5, 5, 2)))
    velocity = jnp.broadcast_to(jnp.asarray([3.0, -40.0]), (5, 5, 2))
    np.testing.assert_allclose(step(velocity, pushed), velocity + TIME_STEP * pushed, atol=1e-12)


def test_the_scheme_converges_to_the_solution_of_cole_and_hopf():
    """u = -2 nu d/dx log(1 + a cos k x), a = a_0 exp(-nu k^2 t), in one coordinate."""
    wave, viscosity, steps = 2 * np.pi / SIDE, 0.1, 200

    def exact(n, time):
        place = wave * (np.arange(n) + 0.5) * SIDE / n
        size = 0.8 * np.exp(-viscosity * wave**2 * time)
        u = 2 * viscosity * wave * size * np.sin(place) / (1 + size * np.cos(place))
        across = np.zeros((n, n))
        return np.stack([u[:, None] + across, across], axis=-1)

    @jax.jit
    def integrated(velocity):
        return jax.lax.fori_loop(0, steps, lambda _, v: advance(v, 0 * v), velocity)

    errors = []
    for n in (64, 128):
        expected = exact(n, steps * TIME_STEP)
        difference = integrated(jnp.asarray(exact(n, 0.0))) - expected
        errors.append(float(jnp.abs(difference).max() / expected.max()))
    # At a fixed time step, interpolation diffuses by |u| h / 2: first order in the spacing h.
    assert errors[1] < 0.015
    assert 1.6 < errors[0] / errors[1] < 2.2


def test_restriction_averages_blocks():
    fine = jnp.asarray(np.random.default_rng(0).normal(size=(6, 6, 2)))
    coarse = restrict(fine, 3)
    np.testing.assert_allclose(coarse[1, 0], fine[3:, :3].mean(axis=(0, 1)))
    np.testing.assert_array_equal(restrict(fine, 1), fine)


def test_segments_are_consecutive_states_with_their_times_and_forces():
    """On the reference's own grid the plain solver stays on it, from wherever it starts."""
    arrange = jax.jit(EXACT.arrange, static_argnums=1)
    batches = {
        "sample": jax.jit(EXACT.sample)(keys(3)),
        "arrange": arrange(jnp.arange(6), 6, jax.random.key(1)),
        "held_out": jax.jit(EXACT.held_out)(keys(2)),
        "precomputed": jax.jit(EXACT.replace(states="precomputed").sample)(keys(3)),
    }
    for name, batch in batches.items():
        steps = 5 if name == "held_out" else 2
        assert batch.target.shape[1:] == (steps, 6, 6, 2)
        np.testing.assert_allclose(uncorrected(EXACT, batch), batch.target, atol=1e-12)
    arranged = batches["arrange"]
    first = np.round(np.asarray(arranged.inputs["times"])[:, 0] / TIME_STEP).astype(int)
    assert ((first >= 2) & (first <= 2 + 5 - 2)).all()
    phases = np.asarray(arranged.inputs["context"].phase)
    np.testing.assert_array_equal(phases[0], phases[2])  # of two simulations in turn
    assert (phases[0] != phases[1]).any()
    some = arrange(jnp.asarray([4, 1]), 6, jax.random.key(1))
    np.testing.assert_allclose(some.target, arranged.target[np.array([4, 1])], atol=1e-14)


def test_precomputed_corrections_minimise_distance_and_change():
    run = jax.jit(reference, static_argnums=(1, 2, 3, 4))(jax.random.key(0), 6, 2, 1, 4)
    follow = jax.jit(lambda run, memory: precorrected(run, PROBLEM.solver(), memory))
    push = jax.jit(force, static_argnums=2)
    np.testing.assert_allclose(follow(run, 0.0).states, run.states, atol=1e-14)
    states, memory = follow(run, 2.0).states, 2.0
    before, largest = 0.0, 0.0
    for i in range(4):
        time = run.start + TIME_STEP * i
        after = step(states[i], push(run.context, time, 6))
        correction, distance = states[i + 1] - after, run.states[i + 1] - after
        slope = (correction - distance) + memory * (correction - before)
        np.testing.assert_allclose(slope, 0, atol=1e-14)
        before, largest = correction, max(largest, float(jnp.abs(distance).max()))
    assert largest > 1e-4


def test_the_inverse_step_follows_the_reference_and_the_metrics_say_so():
    batch = jax.jit(PROBLEM.held_out)(keys(3))
    x = jax.jit(PROBLEM.invert)(jnp.zeros_like(batch.target), batch)
    y = jax.jit(PROBLEM.simulate)(x, batch)
    np.testing.assert_allclose(y, batch.target, atol=1e-12)
    plain = uncorrected(PROBLEM, batch)
    errors = PROBLEM.metrics(0 * x, plain, batch)["velocity_mae"]
    np.testing.assert_allclose(errors, np.abs(plain - batch.target).mean(axis=(1, 2, 3, 4)))
    expected = {"uncorrected": {"velocity_mae": pytest.approx(float(errors.mean()))}}
    assert PROBLEM.baselines(batch) == expected
    for unknowns, states, improvement in ((0 * x, plain, 0.0), (x, y, 1.0)):
        terms = {k: np.asarray(v) for k, v in PROBLEM.set_terms(unknowns, states, batch).items()}
        assert PROBLEM.set_metrics(terms)["improvement"] == pytest.approx(improvement, abs=1e-9)
    twice = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf], axis=1), (plain, batch.target))
    doubled = PROBLEM.loss(twice[0], type(batch)((), twice[1]))
    np.testing.assert_allclose(doubled, PROBLEM.loss(plain, batch))  # a mean over steps


def trained(features=4):
    """A network whose last layer is not zero."""
    network = CorrectedSolver(PROBLEM.solver(), features, 1, nnx.Rngs(0))
    shape = network.exit.kernel[...].shape
    network.exit.kernel[...] = 0.1 * jax.random.normal(jax.random.key(1), shape, jnp.float32)
    return network


def test_corrections_depend_on_corrected_states():
    network, batch = trained(), jax.jit(PROBLEM.sample)(keys(2))
    evaluate = nnx.jit(lambda network, inputs: network(inputs))
    x = evaluate(network, batch.inputs)
    y = jax.jit(PROBLEM.simulate)(x, batch)

    @nnx.jit
    def next_state(network, state, times):
        pushed = jax.vmap(lambda w, t: force(w, t, 6))(batch.inputs["context"], times)
        after = jax.vmap(advance)(state, pushed)
        seen = jnp.concatenate([after / VELOCITY, pushed / FORCE], axis=-1)
        return after + network.correct(seen)

    state = batch.inputs["state"]
    for i in range(2):
        state = next_state(network, state, batch.inputs["times"][:, i])
        np.testing.assert_allclose(y[:, i], state, atol=1e-6)  # the network has float32 weights
    assert float(jnp.abs(x).min(axis=(2, 3, 4)).max()) > 0

    untrained = CorrectedSolver(PROBLEM.solver(), 4, 1, nnx.Rngs(0))
    assert not np.asarray(evaluate(untrained, batch.inputs)).any()


def test_corrections_of_translated_fields_are_translated():
    network, generator = trained(), np.random.default_rng(0)
    correct = nnx.jit(lambda network, seen: network.correct(seen))
    seen = jnp.asarray(generator.normal(size=(1, 8, 8, 4)))
    expected = jnp.roll(correct(network, seen), (3, -2), (1, 2))
    moved = jnp.roll(seen, (3, -2), (1, 2))
    np.testing.assert_allclose(correct(network, moved), expected, atol=1e-5)
    assert float(jnp.abs(expected).max()) > 1e-3


def test_segments_are_no_longer_than_simulations():
    with pytest.raises(OptionError, match="at most frames = 5"):
        PROBLEM.replace(look_ahead=6)


def test_the_figure_and_the_film_show_the_reference_and_both_solvers():
    batch = jax.jit(PROBLEM.held_out)(keys(2))
    x = jax.jit(PROBLEM.invert)(jnp.zeros_like(batch.target), batch)
    figure = PROBLEM.figure(x, batch.target, batch)
    curves = {line.get_label(): line.get_ydata() for line in figure.axes[-1].lines}
    assert np.max(curves["corrected"]) < 1e-10 < np.max(curves["uncorrected"])
    film = PROBLEM.film(x, batch)
    assert list(film) == ["reference", "uncorrected", "corrected"]
    assert float(film["reference"].max()) == 1

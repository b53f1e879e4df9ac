"""Training sets that are drawn anew, at random or by the residuals of candidates."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import Descent, Tiny

from physopt.config.run_config import make_config
from physopt.objective import build
from physopt.options import OptionError
from physopt.problems.pinn.poisson import PoissonPINN
from physopt.training.data import AdaptedSet, RedrawnSet, training_source
from physopt.training.loop import compile_program, initial_carry

SIZE, EVERY = 34, 3
PROBLEM = PoissonPINN(hidden=(4,), points="adaptive", candidates=4)


class Watching(Descent):
    """Reports where the points of its batch lie."""

    def update(self, objective, params, state, batch, key):
        updates, state, info = super().update(objective, params, state, batch, key)
        return updates, state, {**info, "place": jnp.sum(batch.inputs)}


@pytest.fixture(scope="module")
def program():
    rule = Watching(learning_rate=1e-3)
    objective, params = build(PROBLEM, "default", 0)
    source = training_source(PROBLEM, 0, SIZE, SIZE, redraw=EVERY)
    assert isinstance(source, AdaptedSet)
    key = jax.random.key(1)
    carry = initial_carry(rule, objective, params, source, key)
    return compile_program(rule, objective, carry, source, key), carry


def trained(program, *lengths):
    """Return the carry after pieces of some lengths, and the info of each of them."""
    program, carry = program
    carry, infos = jax.tree.map(jnp.copy, carry), []
    for length in lengths:
        before = jax.tree.map(float, carry.sums)
        carry = program.call(carry, (0.0, 0.0), length)
        infos.append({name: float(carry.sums[name]) - before[name] for name in before})
    return jax.device_get(carry), infos


def test_a_redrawn_set_is_kept_for_a_number_of_updates():
    source = training_source(Tiny(), 0, 4, 4, redraw=EVERY)
    assert isinstance(source, RedrawnSet)
    steps = jnp.arange(7)
    draw = jax.jit(lambda step: source.draw(step).target)
    targets = [np.asarray(draw(step)) for step in steps]
    for step in range(1, 7):
        assert np.array_equal(targets[step], targets[step - 1]) == (step % EVERY != 0)


def test_parts_of_a_redrawn_set_are_visited_in_order():
    source = training_source(Tiny(), 0, 2, 6, redraw=100)
    draw = jax.jit(lambda step: source.draw(step).target)
    parts = [np.asarray(draw(jnp.int32(step))) for step in range(4)]
    np.testing.assert_array_equal(parts[3], parts[0])
    assert len(np.unique(np.concatenate(parts[:3]), axis=0)) == 6


def test_an_adapted_set_is_kept_for_a_number_of_updates(program):
    _, infos = trained(program, *[1] * 7)
    places = [info["place"] for info in infos]
    changed = [abs(a - b) > 1e-3 for a, b in itertools.pairwise(places)]
    assert changed == [False, False, True, False, False, True]


def test_adapted_points_do_not_depend_on_the_pieces_of_a_run(program):
    """Nor on an interruption: the carry, which a checkpoint holds, has the points."""
    (whole, _), (pieces, _) = trained(program, 8), trained(program, 1, 4, 3)
    jax.tree.map(np.testing.assert_array_equal, whole, pieces)
    assert whole.kept.inputs.shape == (SIZE, 2)
    kinds = np.asarray(whole.kept.kind)
    assert kinds.sum() == SIZE * 2 // 17


def test_a_redraw_needs_a_training_set():
    with pytest.raises(OptionError, match="without train_size"):
        make_config(Tiny(), Descent(), {"redraw": 3})

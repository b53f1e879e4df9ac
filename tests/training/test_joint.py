"""train_on=test: a network trained on the samples that are scored, and random starts."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import Descent, Tiny

import physopt
from physopt.config import from_words
from physopt.options import OptionError
from physopt.training.data import held_out_samples
from physopt.training.setup import prepare

SETTINGS: dict[str, Any] = {"steps": 6, "log_every": 1, "heldout_size": 8, "batch_size": 8}


@pytest.fixture(scope="module")
def joint(tmp_path_factory):
    """A run whose batch is the whole test set."""
    out = tmp_path_factory.mktemp("joint")
    return physopt.run(Tiny(), Descent(), train_on="test", out=out, **SETTINGS)


def test_it_trains_on_the_test_set_and_is_selected_by_it(joint):
    setup = prepare(joint.config)
    test = jax.tree.map(lambda leaf: leaf[8:], held_out_samples(Tiny(), 8))
    np.testing.assert_array_equal(setup.source.draw(jnp.int32(0)).target, test.target)
    curve = joint.curve
    np.testing.assert_array_equal(curve.validation_loss, curve.test_loss)
    np.testing.assert_array_equal(curve.validation_error, curve.error)
    # The loss of a batch before its update is that of the test set at the previous evaluation.
    np.testing.assert_allclose(curve.train_loss[1:], curve.test_loss[:-1], rtol=1e-6)
    usual = physopt.run(Tiny(), Descent(), out=joint.folder.parents[2], **SETTINGS)
    assert usual.folder.name != joint.folder.name
    np.testing.assert_allclose(usual.curve.test_loss[0], curve.test_loss[0], rtol=1e-6)
    assert not np.array_equal(usual.curve.train_loss[1:], curve.train_loss[1:])


def test_single_solves_continue_from_the_joint_solution(joint):
    refined = physopt.run(
        Tiny(), Descent(), network="none", start=joint.folder, out=joint.folder.parents[2],
        **SETTINGS,
    )  # fmt: skip
    best = joint.curve.loc[joint.curve.error.idxmin()]
    np.testing.assert_allclose(refined.curve.test_loss[0], best.test_loss, rtol=1e-5)
    assert refined.curve.test_loss.iloc[-1] < best.test_loss


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["network=none"], "already"),
        (["train_size=64"], "trains on the test set"),
        (["batch_size=32", "heldout_size=16"], "heldout_size=16"),
    ],
)
def test_settings_of_another_training_set_are_refused(words, reason):
    with pytest.raises(OptionError, match=reason):
        from_words(["problem=toy", "rule=adam", "train_on=test", *words])


@dataclasses.dataclass(frozen=True)
class Random(Tiny):
    """Tiny from random unknowns."""

    def draw_unknowns(self, keys):
        return jax.vmap(lambda key: jax.random.normal(key, (self.size,)))(keys)


def test_each_seed_starts_single_solves_elsewhere_and_the_same_for_fewer_samples():
    def start(seed, size):
        words = ["problem=toy", "rule=adam", "network=none", f"seed={seed}", f"batch_size={size}"]
        config = dataclasses.replace(from_words(words), problem=Random())
        (x,) = jax.tree.leaves(prepare(config).params)
        return np.asarray(x)

    assert start(0, 4).shape == (8, 3)  # validation and test samples
    np.testing.assert_array_equal(start(0, 4), start(0, 4))
    np.testing.assert_array_equal(start(0, 4), start(0, 8)[:8])
    assert not np.any(start(0, 4) == start(1, 4))
    assert not np.any(start(0, 4)[0] == start(0, 4)[1])

"""Runs that start from the parameters of another run: start=FOLDER."""

import dataclasses
import shutil
from typing import ClassVar

import jax
import numpy as np
import pytest
from tiny import Choosy, Descent, Tiny

import physopt
from physopt.optimizers.first_order import Adam
from physopt.options import OptionError
from physopt.training.data import held_out_samples


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run."""
    out = tmp_path_factory.mktemp("trained")
    return physopt.run(Tiny(), Adam(learning_rate=0.05), seed=1, steps=40, out=out)


def best_losses(run):
    """Return the evaluation whose parameters are the best."""
    row = run.curve.loc[run.curve.validation_error.idxmin()]
    return row.validation_loss, row.test_loss, row.error


def first_losses(run):
    row = run.curve.iloc[0]
    return row.validation_loss, row.test_loss, row.error


def test_a_run_starts_from_the_best_parameters_of_another(trained, tmp_path):
    run = physopt.run(Tiny(), Descent(), start=trained.folder, steps=10, out=tmp_path)
    assert first_losses(run) == best_losses(trained)
    other = physopt.run(Tiny(), Descent(), steps=10, out=tmp_path)
    assert first_losses(other) != first_losses(run)
    assert other.folder != run.folder
    assert physopt.load(run.folder).config == run.config


def test_network_none_starts_from_the_predictions_of_another_run(trained, tmp_path):
    run = physopt.run(
        Tiny(), Descent(), start=trained.folder, network="none", batch_size=8, steps=5, out=tmp_path
    )
    # Computed by a program of another shape: equal up to float32 rounding.
    np.testing.assert_allclose(first_losses(run), best_losses(trained), rtol=1e-5)
    inputs = held_out_samples(Tiny(), 8).inputs
    setup, params = run.best()
    assert setup.objective.predict(params, inputs).shape == inputs.shape
    assert run.curve.validation_loss.is_monotonic_decreasing


def test_another_precision_keeps_the_parameters(trained, tmp_path):
    run = physopt.run(
        Tiny(), Descent(learning_rate=0), start=trained.folder, dtype="float64", steps=5,
        out=tmp_path,
    )  # fmt: skip
    wide = run.predict(np.ones((2, 3)))
    assert wide.dtype == np.float64
    np.testing.assert_allclose(wide, trained.predict(np.ones((2, 3))), rtol=1e-5)


def test_the_run_id_depends_on_the_content_of_start(trained, tmp_path):
    copy = tmp_path / "elsewhere"
    shutil.copytree(trained.folder, copy)

    def folder(start):
        return physopt.run(Tiny(), Descent(), start=start, steps=5, out=tmp_path / "out").folder

    first = folder(copy)
    assert folder(trained.folder) == first
    physopt.resume(copy, steps=60)
    assert folder(copy) != first


def test_resuming_does_not_need_the_start_folder(trained, tmp_path):
    copy = tmp_path / "start"
    shutil.copytree(trained.folder, copy)
    settings = {"start": copy, "log_every": 5}
    whole = physopt.run(Tiny(), Adam(), steps=20, out=tmp_path / "whole", **settings)
    part = physopt.run(Tiny(), Adam(), steps=10, out=tmp_path / "part", **settings)
    shutil.rmtree(copy)
    more = physopt.resume(part.folder, steps=20)
    assert list(more.curve.test_loss) == list(whole.curve.test_loss)
    assert more.predict(np.ones((2, 3))) == pytest.approx(whole.predict(np.ones((2, 3))), abs=0)


def test_an_unusable_start_is_refused_with_its_reason(trained, tmp_path):
    def refusal(problem, start, **settings):
        with pytest.raises(OptionError) as caught:
            physopt.run(problem, Descent(), start=start, out=tmp_path / "out", **settings)
        assert caught.value.key == "start"
        assert not (tmp_path / "out").exists(), "nothing is written for a run that cannot be"
        return caught.value.reason

    assert "holds no run" in refusal(Tiny(), tmp_path)
    skipped = physopt.run(Tiny(), Choosy(), out=tmp_path / "skipped").folder
    assert "no checkpoint" in refusal(Tiny(), skipped)
    reason = refusal(Tiny(size=4), trained.folder)
    assert "layers.0.kernel is (3, 8) there, (4, 8) here" in reason
    assert "layers.0.kernel" in refusal(Tiny(size=4), trained.folder, network="none")
    reason = refusal(Tiny(normalization="group"), trained.folder)
    assert "norms.0.bias is missing there, (8,) here" in reason
    unknowns = physopt.run(
        Tiny(), Descent(), network="none", steps=5, out=tmp_path / "unknowns"
    ).folder
    assert "network=none" in refusal(Tiny(), unknowns)


def test_batch_statistics_are_measured_for_predictions(tmp_path):
    """Without them predictions of a batch-normalised network differ from its evaluation."""
    problem = Tiny(normalization="batch")
    run = physopt.run(problem, Adam(learning_rate=0.05), steps=20, out=tmp_path)
    samples = held_out_samples(problem, 8)
    x = run.predict(samples.inputs)
    error = problem.metrics(x, problem.simulate(x, samples), samples)["error"]
    # The test set follows the validation set; float32 rounding.
    assert float(np.mean(error[8:])) == pytest.approx(best_losses(run)[2], rel=1e-5)
    unknowns = physopt.run(
        problem, Descent(), start=run.folder, network="none", batch_size=8, steps=5,
        out=tmp_path,
    )  # fmt: skip
    np.testing.assert_allclose(first_losses(unknowns), best_losses(run), rtol=1e-5)


def test_the_best_parameters_are_those_of_the_targets_metric(tmp_path):
    """A metric that falls while the loss rises selects the last parameters; others are refused."""

    @dataclasses.dataclass(frozen=True)
    class Contrary(Tiny):
        target: ClassVar = ("likeness", 0.0)

        def metrics(self, x, y, batch):
            return {"likeness": 1 / (1 + super().metrics(x, y, batch)["error"])}

    @dataclasses.dataclass(frozen=True)
    class Ascent(Descent):
        def update(self, objective, params, state, batch, key):
            updates, state, info = super().update(objective, params, state, batch, key)
            return jax.tree.map(lambda u: -u, updates), state, info

    climbing = physopt.run(Contrary(), Ascent(), steps=20, out=tmp_path)
    losses, likeness = climbing.curve.validation_loss, climbing.curve.validation_likeness
    assert losses.idxmin() == 0
    assert likeness.idxmin() == len(likeness) - 1
    samples = held_out_samples(Contrary(), 8)
    x = climbing.predict(samples.inputs)
    metrics = Contrary().metrics(x, x * Contrary().scales(x.dtype), samples)
    # The same network and samples, once inside the run's program: float32 rounding.
    assert float(np.mean(metrics["likeness"][:8])) == pytest.approx(likeness.min(), rel=1e-5)

    @dataclasses.dataclass(frozen=True)
    class Misspelt(Tiny):
        target: ClassVar = ("eror", 0.0)

    with pytest.raises(OptionError, match="no such metric"):
        physopt.run(Misspelt(), Descent(), steps=5, out=tmp_path)

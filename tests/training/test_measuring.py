"""What a run measures: metrics of whole sets, and the errors of single test samples."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import Broken, Choosy, Descent, Explosive, Tiny

import physopt
from physopt import analysis
from physopt.checking import check
from physopt.objective import build
from physopt.options import OptionError
from physopt.problem import Batch, MeasuresSet
from physopt.records.samples import TEST_METRICS, read_samples
from physopt.training.data import FreshSamples, held_out_samples, held_out_sets
from physopt.training.loop import evaluate
from physopt.training.measuring import overfitting, samples_of_test_sets, set_columns


@dataclasses.dataclass(frozen=True)
class Relative(Tiny):
    """Adds the relative L2 error and the largest error of a set, and a wider test set."""

    test_sets: ClassVar = ("wide",)

    def test_set(self, name, keys):
        batch = self.sample(keys)
        return Batch(3 * batch.inputs, 3 * batch.target)

    def set_terms(self, x, y, batch):
        squares = {"error": (y - batch.target) ** 2, "size": batch.target**2}
        return {name: jnp.sum(square, axis=1) for name, square in squares.items()}

    def set_metrics(self, terms):
        ratio = terms["error"].sum() / terms["size"].sum()
        return {"relative_l2": ratio**0.5, "worst": jnp.sqrt(terms["error"].max())}


@dataclasses.dataclass(frozen=True)
class Aiming(Relative):
    """Selects the best parameters by the metric of a set."""

    target: ClassVar = ("relative_l2", 1e-9)


def measured(problem, chunk, size=24):
    objective, params = build(problem, "default", 0)
    held_out = held_out_samples(problem, size)
    source = FreshSamples(jax.random.key(0), problem, 4)
    x = objective.predict(params, held_out.inputs)
    whole = x, problem.simulate(x, held_out), held_out
    return jax.device_get(evaluate(objective, params, held_out, source, chunk)), whole


@pytest.mark.parametrize("chunk", [1, 8, 72])
def test_set_metrics_are_exact_whatever_the_chunks(chunk):
    problem, size = Relative(), 24
    of_samples, (_, y, batch) = measured(problem, chunk, size)
    columns = set_columns(problem, of_samples, held_out_sets(problem))
    for k, column in enumerate(("validation_relative_l2", "relative_l2", "relative_l2_wide")):
        own = slice(k * size, (k + 1) * size)
        error = np.asarray(y[own] - batch.target[own], np.float64)
        expected = np.linalg.norm(error) / np.linalg.norm(batch.target[own])
        assert columns[column] == pytest.approx(expected, rel=1e-6)
        worst = columns[column.replace("relative_l2", "worst")]
        assert worst == pytest.approx(np.linalg.norm(error, axis=1).max(), rel=1e-6)
    # It is no mean over samples: dividing each by its own size gives another number.
    means = np.sqrt(of_samples.terms["error"] / of_samples.terms["size"])[size : 2 * size].mean()
    assert abs(means - columns["relative_l2"]) > 1e-3


def test_a_run_records_set_metrics_and_may_aim_at_one(tmp_path):
    run = physopt.run(Aiming(), Descent(), out=tmp_path)
    curve = run.curve
    names = ["validation_relative_l2", "relative_l2", "relative_l2_wide"]
    assert curve[names].notna().all(axis=None)
    assert curve["validation_relative_l2"].iloc[-1] < curve["validation_relative_l2"].iloc[0]
    assert set(read_samples(run.folder)) == {"test_loss", "test_wide_loss", "error", "error_wide"}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_samples_resolve_the_means_of_the_best_evaluation(tmp_path, dtype):
    run = physopt.run(Relative(), Explosive(learning_rate=0.3), out=tmp_path, dtype=dtype)
    assert run.status["status"] == "diverged"
    best = run.curve.loc[run.curve["validation_error"].idxmin()]
    assert best["step"] < run.curve["step"].max()
    samples = read_samples(run.folder)
    assert {values.dtype for values in samples.values()} == {np.dtype(np.float32)}
    for column, values in samples.items():
        assert values.shape == (8,)
        np.testing.assert_allclose(np.mean(values, dtype=np.float64), best[column], rtol=1e-6)
        assert values.std() > 0


def test_samples_of_test_sets_are_the_evaluated_ones():
    problem, size = Relative(), 24
    of_samples, (_, y, batch) = measured(problem, 8, size)
    samples = samples_of_test_sets(of_samples, held_out_sets(problem))
    error = np.abs(np.asarray(y - batch.target)).max(axis=1)
    np.testing.assert_allclose(samples["error"], error[size : 2 * size], rtol=1e-6)
    np.testing.assert_allclose(samples["error_wide"], error[2 * size :], rtol=1e-6)


def test_a_solve_without_a_network_keeps_the_error_of_each_sample(tmp_path):
    run = physopt.run(Tiny(), Descent(), out=tmp_path, network="none", batch_size=4)
    assert read_samples(run.folder)["error"].shape == (4,)


def test_only_finished_runs_have_samples_and_an_extended_one_has_new_ones(tmp_path, monkeypatch):
    run = physopt.run(Tiny(), Descent(), out=tmp_path, steps=10)
    first = read_samples(run.folder)["error"]
    physopt.resume(run.folder, steps=20)
    second = read_samples(run.folder)["error"]
    assert second.mean() < first.mean()
    monkeypatch.setattr("physopt.training.interrupt.Interrupt.requested", lambda self: True)
    physopt.resume(run.folder, steps=40)
    assert run.status["status"] == "interrupted"
    assert not (run.folder / TEST_METRICS).exists(), "those of other parameters are removed"
    standing = analysis.sample_errors(analysis.load(run.folder))
    np.testing.assert_array_equal(standing["error"], second)  # the finished run counts
    skipped = physopt.run(Tiny(), Choosy(), out=tmp_path)
    assert not (skipped.folder / TEST_METRICS).exists()
    with pytest.raises(RuntimeError):
        physopt.run(Tiny(), Broken(), out=tmp_path / "broken")
    assert not list((tmp_path / "broken").rglob(TEST_METRICS))


def changed(**methods):
    """Return a problem with set metrics in which some methods are replaced."""
    cls = type("Changed", (Relative,), {"__module__": __name__, **methods})
    return dataclasses.dataclass(frozen=True)(cls)()


WRONG = {
    "it is called like a metric": ({"set_metrics": lambda self, terms: {"error": 1.0}}, "rename"),
    "it is called like a column": ({"set_metrics": lambda self, terms: {"seed": 1.0}}, "rename"),
    "it is no number": ({"set_metrics": lambda self, terms: {"size": terms["size"]}}, "real"),
    "it is complex": ({"set_metrics": lambda self, terms: {"size": 1j}}, "real"),
}
UNSOUND = {
    "it depends on the order": (
        {"set_metrics": lambda self, terms: {"first": terms["error"][0]}}, "order of the samples",
    ),
    "it is not finite": ({"set_metrics": lambda self, terms: {"nothing": np.nan}}, "is nan"),
    "a term is no number per sample": (
        {"set_terms": lambda self, x, y, batch: {"error": x, "size": x}}, "is not [3] finite",
    ),
    "a term couples the samples": (
        {"set_terms": lambda self, x, y, batch: dict.fromkeys(
            ("error", "size"), jnp.full(len(batch), jnp.sum(y**2)))}, "other samples",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_run_refuses_set_metrics_that_have_no_column(tmp_path, kind):
    methods, reason = WRONG[kind]
    with pytest.raises(OptionError, match=reason):
        physopt.run(changed(**methods), Descent(), out=tmp_path)


@pytest.mark.parametrize("kind", [*WRONG, *UNSOUND])
def test_check_finds_wrong_set_metrics(kind):
    methods, reason = {**WRONG, **UNSOUND}[kind]
    failures = [f for f in check(changed(**methods)) if not f.passed]
    assert any(f.claim.startswith("set_terms") and reason in f.detail for f in failures)


def test_check_accepts_set_metrics_and_requires_both_methods():
    findings = check(Relative())
    assert all(finding.passed for finding in findings), findings
    assert any("relative_l2" in f.detail for f in findings if f.claim.startswith("set_terms"))
    assert not isinstance(Tiny(), MeasuresSet)

    @dataclasses.dataclass(frozen=True)
    class Half(Tiny):
        def set_metrics(self, terms):
            return {}

    assert any("one of them is missing" in finding.detail for finding in check(Half()))


@pytest.mark.parametrize(
    ("training", "size", "expected"), [(1e-3, 8, "500 times"), (0.4, 8, None), (1e-3, None, None)]
)
def test_a_training_set_far_below_the_validation_set_is_overfitted(training, size, expected):
    text = overfitting({"train_loss": training, "validation_loss": 0.5}, size)
    assert text is None if expected is None else expected in str(text)
    assert overfitting({"train_loss": None, "validation_loss": 0.5}, 8) is None, "before training"

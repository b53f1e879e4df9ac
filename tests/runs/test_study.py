"""The comparison study: its definition is a plan, and its tables say what the records say."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from analysis_records import write_run

from physopt import analysis
from physopt.analysis.sensitivity import plot_learning_rates
from physopt.config import from_words
from physopt.config.registry import names
from physopt.records import RunFolder
from physopt.sweeping.plan import planned_runs, read_request
from physopt.training import identity

STUDY = Path(__file__).resolve().parent.parent.parent / "runs" / "study"
sys.path.insert(0, str(STUDY))

import claims  # noqa: E402
import ldft  # noqa: E402
import results  # noqa: E402


@pytest.mark.parametrize("name", ["claims", "ldft_causes"])
def test_the_runs_for_single_claims_are_a_plan(name):
    runs = planned_runs(read_request([str(STUDY / f"{name}.toml")]))
    assert len({identity.run_id(run, "cpu") for run in runs}) == len(runs) >= 24


def test_problems_and_rules_of_the_study_are_there():
    assert set(results.PROBLEMS) <= set(names("problem"))
    for problem in results.PROBLEMS:
        from_words([f"problem={problem}", "rule=sgd", "rule.momentum=0.9", "log_every=none"])


@pytest.fixture
def frame(tmp_path):
    for seed in range(3):
        write_run(tmp_path, "oscillators", "adam", seed, [1.0, 0.5, 0.2 + 0.01 * seed])
        write_run(tmp_path, "oscillators", "hig", seed, [1.0, 0.05, 0.02])
        lost = [1.0, 0.9] if seed else [1.0, math.nan]
        status = "ok" if seed else "diverged"
        write_run(tmp_path, "oscillators", "sip", seed, lost, status=status)
    return analysis.load(tmp_path)


def test_the_table_shows_medians_times_and_failures(frame):
    text = results.scores_text(analysis.score_table(frame), ["oscillators"])
    adam, hig, sip = text.splitlines()[3:]
    # The target of the made-up problem is 0.1: HIG is there at its first evaluation, after 1 s.
    assert adam == "| `adam` | 0.21 [0.2, 0.22]<br>not reached |"
    assert hig == "| `hig` | **0.02** [0.02, 0.02]<br>1 s |"
    assert "1 of 3 failed" in sip


def test_a_claim_holds_or_not_by_the_medians(frame, monkeypatch):
    monkeypatch.setattr(claims, "DRAWS", 2**10)
    found = {claim.claim: claim for claim in claims.tested_claims(frame, pd.DataFrame())}
    beats = found["HIG beats Adam on oscillators in wall-clock time"]
    assert beats.verdict == claims.HOLDS
    assert beats.measured == "final error 0.02, Adam 0.21: a factor of 10.5"
    assert "SIP beats Adam on heat 64 x 64" not in found, "no run decides it"
    # What needs no run: the mean step of neuroevolution, at the smallest step size.
    assert found["neuroevolution follows the gradient at small steps (oscillators)"].verdict == (
        claims.HOLDS
    )


def test_a_claim_is_decided_by_its_own_runs(frame, tmp_path, monkeypatch):
    """Those of 10 s at the same batch test another claim, and are worse."""
    for seconds, error in ((20, 1e-6), (10, 1e-3)):
        for rule, size in (("hig", 16), ("hig", 128), ("adam", 16), ("adam", 128)):
            own = error if size == 128 else 1e-5
            name = f"{rule}-{size}-{seconds}"
            folder = write_run(
                tmp_path / "claims", "oscillators", rule, 0, [1.0, own], batch_size=size, name=name
            )
            config = json.loads((folder / "config.json").read_text())
            (folder / "config.json").write_text(json.dumps({**config, "seconds": seconds}))
    monkeypatch.setattr(claims, "TESTS", (claims.batch_size,))
    (claim,) = claims.tested_claims(frame, analysis.load(tmp_path / "claims"))
    assert claim.measured == (
        "error by batch size; hig 16: 1.00e-5, 128: 1.00e-6; adam 16: 1.00e-5, 128: 1.00e-6"
    )


def test_learning_rates_stand_in_units_of_the_best():
    trials = pd.DataFrame(
        {
            "problem": "p", "rule": "adam", "trial": range(4), "status": "ok",
            "validation_loss": [3.0, 1.0, math.inf, 2.0], "learning_rate": [1.0, 0.1, 10.0, 0.01],
        }
    )  # fmt: skip
    (panel,) = (axes for axes in plot_learning_rates(trials).axes if axes.axison)
    (line,) = panel.lines
    np.testing.assert_allclose(np.asarray(line.get_xdata()), [0.1, 1, 10, 100])
    # A trial that failed stands at three times the worst.
    np.testing.assert_allclose(np.asarray(line.get_ydata()), [2, 1, 3, 9])


def test_errors_stand_by_batch_size_where_there_are_several(tmp_path):
    for size, error in ((16, 0.2), (128, 0.1)):
        write_run(tmp_path, "p", "hig", 0, [1.0, error], batch_size=size)
    write_run(tmp_path, "p", "sip", 0, [1.0, 0.5])
    for path in tmp_path.rglob("config.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "seconds": 8.0}))
    text = results.batch_sizes_text(analysis.load(tmp_path))
    assert text.splitlines()[2:] == ["| `p` | `hig` | 8 s | error |  | 0.2 (10) | 0.1 (10) |"]


def test_a_target_is_that_of_the_problem_today(tmp_path):
    write_run(tmp_path, "oscillators", "adam", 0, [1.0, 0.5], target=("error", 0.7))
    frame = results.with_todays_targets(analysis.load(tmp_path))
    assert set(frame["target_metric"]) == {"squared_error"}
    assert set(frame["target_value"]) == {1e-3}


def test_what_a_cause_changed_is_told_as_it_is_typed(tmp_path):
    """Options that suit the pair are not changes; those of problem, rule and batch are."""
    words = ["problem=ldft2d", "rule=hig", "rule.damping=0.5", "batch_size=2", "problem.points=20"]
    config = from_words([*words, f"out={tmp_path}"])
    folder = RunFolder(tmp_path / "run")
    folder.write("config.json", config.record())
    assert ldft.changed(str(folder.path)) == "problem.points=20 rule.damping=0.5 batch_size=2"


def test_designs_are_told_apart_by_what_any_matrix_reaches():
    """Two targets of four are reached by one of the two who try; FAILED is above 10 %."""
    errors = {
        "adam": {"test": np.array([0.5, 2.0, 4.0, 20.0])},
        "direct": {"test": np.array([0.9, 0.8, 3.0, 9.0])},
    }
    text = ldft.designs_table(errors, {"fixed_matrix": {"test": 30.0}})
    assert "2 of 4 simulated and optimised targets" in text
    direct, adam, fixed = text.splitlines()[-3:]
    assert direct == "| `direct` | 1.95 | 0 % | 3.42 | 0.85 | 6 |"
    assert adam == "| `adam` | 3 | 25 % | 6.62 | 1.25 | 12 |"
    assert fixed == "| fixed matrix |  |  | 30 |  |  |"
    assert len(ldft.draw(errors, "ldft2d").axes) == 1

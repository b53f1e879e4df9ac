"""Race: halving and its schedule, selections on the validation set, and who wins where."""

import math
from pathlib import Path

import pandas as pd
import pytest
from linear_race import Linear

import physopt.checking.conditioning
import physopt.sweeping.race
from physopt.analysis.ranking import rank
from physopt.checking.conditioning import Conditioning
from physopt.cli import main
from physopt.config import from_words
from physopt.config.run_config import make_config
from physopt.options import OptionError
from physopt.problems.poisson import Poisson
from physopt.records.folder import RunFolder, find_runs
from physopt.sweeping.estimate import Row
from physopt.sweeping.options import RaceOptions
from physopt.sweeping.plan import planned_runs, read_request
from physopt.sweeping.race import (
    Candidate,
    Heat,
    candidates,
    dropped,
    finalists,
    lowest_error,
    race,
    schedule,
    survivors,
)
from physopt.sweeping.race_files import settings_text
from physopt.sweeping.studies import FIRST_SEED, Study, studies
from physopt.training.run import begin
from physopt.training.session import Session

TINY = f"{Path(__file__).resolve().parent.parent / 'tiny.py'}:Tiny"


def only_study(*words):
    (study,) = studies(read_request(["problem=exp", "device=cpu", *words]))
    return study


def test_step_sizes_lie_around_the_rules_own_and_inside_its_range():
    rates = [c.rate for c in candidates(only_study("rule=adam"), 3)]
    assert rates == [2.5e-4, 1e-3, 4e-3]
    inside = candidates(only_study("rule=kfac"), 3)
    assert [c.rate for c in inside] == [0.25, 1.0], "4 is beyond its range"
    for candidate, config in inside.items():
        assert config.rule.as_dict()["learning_rate"] == candidate.rate
    assert list(candidates(only_study("rule=adam", "rule.learning_rate=0.7"), 3)) == [
        ("adam", None)
    ]
    adapted = candidates(only_study("rule=hig"), 3)
    assert list(adapted) == [("hig", None), ("hig", 0.5), ("hig", 0.125)]
    rates = [config.rule.as_dict()["learning_rate"] for config in adapted.values()]
    assert rates == [None, 0.5, 0.125]
    assert list(candidates(only_study("rule=levenberg_marquardt"), 3)) == [
        ("levenberg_marquardt", None)
    ]


def test_the_rounds_halve_rules_and_step_sizes_and_share_the_time_equally():
    rounds = schedule([3] * 8, RaceOptions(seeds=5), total=120.0)
    assert [one[:3] for one in rounds] == [(8, 3, 1), (4, 2, 2), (3, 1, 5)]
    for one in rounds:
        assert one.runs == one.rules * one.rates * one.seeds
        spent = one.runs * one.seconds
        assert spent == pytest.approx(40.0, rel=5e-3), "rounded to three digits"
    assert schedule([1, 1], RaceOptions(seeds=4), 8.0) == [(2, 1, 4, 8, 1.0)]
    # Rules without a step size to vary have one candidate.
    assert [one.runs for one in schedule([3, 1, 1, 1], RaceOptions(), 1.0)] == [6, 8, 15]
    with pytest.raises(OptionError, match="no rule can serve"):
        schedule([], RaceOptions(), 1.0)


def test_the_best_rules_go_on_with_their_best_step_sizes_and_the_reference_stays():
    errors = {
        Candidate("hig", 0.1): [1.0, 9.0, 1.1],  # its median counts
        Candidate("hig", 0.2): [3.0, 3.0, 3.0],
        Candidate("sgd", 0.1): [2.0, 2.0, 2.0],
        Candidate("sip", 0.1): [2.5, 2.5, 2.5],
        Candidate("adam", 0.1): [7.0, 8.0, 7.0],
        Candidate("muon", 0.1): [0.1, math.inf, math.inf],
    }
    kept = survivors(errors, rules=2, rates=1, reference="none")
    assert kept == [("hig", 0.1), ("sgd", 0.1)]
    assert survivors(errors, 2, 1, "adam") == [("hig", 0.1), ("adam", 0.1)]
    assert survivors(errors, 9, 2, "adam") == [
        ("hig", 0.1), ("hig", 0.2), ("sgd", 0.1), ("sip", 0.1), ("adam", 0.1),
    ]  # fmt: skip
    failed = {candidate: [math.inf] for candidate in errors}
    assert survivors(failed, 3, 3, "adam") == []


def test_the_last_round_has_one_candidate_of_each_rule_and_earlier_ones_are_named():
    first = {Candidate(rule, None): [1.0] for rule in ("adam", "hig", "sgd")}
    last = {
        Candidate("adam", 0.1): [2.0, 2.0],
        Candidate("adam", 0.4): [1.0, 1.0],
        Candidate("hig", None): [math.inf, math.inf],
    }
    heats = [Heat(1.0, {}, errors) for errors in (first, last)]
    assert finalists(heats) == {
        "hig": (("hig", None), [math.inf, math.inf]),
        "adam": (("adam", 0.4), [1.0, 1.0]),
    }
    assert dropped(heats) == {1: ["sgd"]}


def test_a_run_counts_by_the_validation_metric_within_its_time(tmp_path):
    config = make_config(Linear(), only_study("rule=adam").config.rule, {"seconds": 1.0})
    folder = RunFolder(tmp_path)
    points = [(0.0, 9.0), (0.5, 3.0), (1.1, 2.0), (1.5, 0.1)]
    for step, (seconds, error) in enumerate(points):
        row = {"step": step, "t_train": seconds, "validation_loss": -error, "error": -1.0}
        folder.append({**row, "validation_error": error})
    row = Row(config, "a", tmp_path, status="budget")
    assert lowest_error(row) == 2.0, "an update that ends late does not count"
    row.status = "diverged"
    assert lowest_error(row) == math.inf


def test_the_settings_file_is_read_by_run_and_sweep(tmp_path):
    words = ["problem=ldft2d", "problem.size=10", "rule=hig", "rule.learning_rate=0.05"]
    words += ["rule.schedule=constant", "batch_size=16", "tuning_trials=3"]
    config = from_words(words)
    file = tmp_path / "race.toml"
    timed = config.with_option("seconds", 7.0).with_option("out", "elsewhere")
    timed = timed.with_option("figures", False)  # as in a race
    file.write_text(settings_text(timed.with_option("seed", 5), "a\nb"))
    assert file.read_text().startswith("# a\n# b\n")
    assert from_words([str(file)]) == config
    assert planned_runs(read_request([str(file), "seed=3"])) == [config.with_option("seed", 3)]


@pytest.fixture
def in_this_process(monkeypatch):
    """Make the runs of a race in this process, which starts in no time."""

    def completed(runs, options, display):
        rows = {}
        for config in runs:
            made = begin(config)
            rows[config] = Row(config, "", made.folder, status=made.status["status"])
        return rows

    monkeypatch.setattr(physopt.sweeping.race, "completed", completed)
    monkeypatch.setattr(Session, "_finish", lambda session: None)  # figures, which take longest


@pytest.mark.parametrize(
    ("winner", "other", "problem", "batch_size", "why", "seconds"),
    [
        ("gauss_newton", "adam", Linear(decades=3.0), 8, "a Hessian of condition 1e6", 1.6),
        ("adam", "gauss_newton", Linear(noise=1.0), 2, "noise, and a condition of 1", 1.6),
        ("sip", "adam", Linear(decades=3.0), 8, "an exact inverse", 1.6),
        ("sip", "adam", Poisson(size=16, levels=2, filters=4), 8, "a badly conditioned solve", 12),
    ],
)
def test_the_rule_that_suits_a_problem_wins(
    winner, other, problem, batch_size, why, seconds, in_this_process, tmp_path
):
    settings = {"device": "cpu", "out": tmp_path, "batch_size": batch_size}
    raced = []
    for name in (other, winner):
        rule = from_words(["problem=exp", f"rule={name}"]).rule
        config = make_config(problem, rule, settings)
        raced.append(Study(config, (FIRST_SEED,), {}, {}))
    options = RaceOptions(seeds=2, rates=1)
    heats = race(raced, options, schedule([1, 1], options, total=seconds))
    assert [len(heat.rows) for heat in heats] == [2]
    standings = rank({rule: errors for rule, (_, errors) in finalists(heats).items()})
    assert standings[0].method == winner, why
    assert standings[1].ratio > (2 if seconds < 2 else 1.1)


def test_race_from_the_check_to_the_files(tmp_path, capsys):
    words = [
        "race",
        f"problem={TINY}",
        "rule=sgd,adam,ssbroyden",
        "seconds=0.4",
        "rates=1",
        "seeds=2",
    ]
    words += ["device=cpu", f"out={tmp_path}", "workers=2", "problem.size=2"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "checks passed" in out
    assert "outputs 2, unknowns 2" in out
    assert "refuses   ssbroyden: needs the same batch" in out
    assert "times nearer than" in out
    assert "ssbroyden cannot serve it" in out
    table = pd.read_csv(tmp_path / "race.csv")
    assert set(table["rule"]) == {"sgd", "adam"}
    assert list(table["status"]) == ["budget"] * 4
    assert table.groupby("rule")["seed"].apply(tuple).nunique() == 1, "paired seeds"
    assert (tmp_path / "race.png").stat().st_size > 1000
    (config,) = planned_runs(read_request([str(tmp_path / "race.toml")]))
    best = table.groupby("rule")["error"].median().idxmin()
    assert type(config.rule).__name__.lower() == best
    assert not list(tmp_path.rglob("training.png")), "runs of a race draw no figures"
    made = {run.path: (run.path / "curve.jsonl").read_text() for run in find_runs(tmp_path)}
    assert main(words) == 0, "the same command resumes a race, here one that is over"
    assert {path: (path / "curve.jsonl").read_text() for path in made} == made
    assert len(find_runs(tmp_path)) == 4


def test_a_plan_prints_the_rounds_and_runs_nothing(tmp_path, capsys, monkeypatch):
    measured = Conditioning("cpu", 1, 100, 1, 1, 9, {}, {}, {"sip": "no inverse"})
    monkeypatch.setattr(physopt.checking.conditioning, "conditioning", lambda *_: measured)
    words = ["race", "problem=exp", "rule=sgd,adam,sip", "rates=1", f"out={tmp_path}"]
    assert main([*words, "seconds=8", "workers=3", "plan=true"]) == 0
    out = capsys.readouterr().out
    assert "refuses   sip: no inverse" in out
    assert "round 1   rules 2, step sizes 1, seeds 5: at most 10 runs of 2.4 s" in out
    assert not list(tmp_path.iterdir())


def test_a_race_refuses_steps_and_several_problems(capsys):
    assert main(["race", "problem=exp", "steps=10"]) == 2
    assert "give seconds=" in capsys.readouterr().err
    assert main(["race", "problem=exp,sin", "rule=adam"]) == 2
    assert "a race has one problem" in capsys.readouterr().err

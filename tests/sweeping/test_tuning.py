"""Tuning: equal effort, evenly placed points, a selection that a sweep can read."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from physopt.analysis.sensitivity import edge, plot_sensitivity
from physopt.cli import main
from physopt.config import from_words
from physopt.config.registry import names
from physopt.options import OptionError
from physopt.records.folder import RunFolder, find_runs
from physopt.sweeping.estimate import Row
from physopt.sweeping.plan import expand, planned_runs, read_request
from physopt.sweeping.studies import FIRST_SEED, studies
from physopt.sweeping.tuning import score, write_selection

TINY = f"{Path(__file__).resolve().parent.parent / 'tiny.py'}:Tiny"


def study(*words):
    return studies(read_request(["problem=exp", *words]))


def test_every_rule_gets_as_many_trials_with_seeds_apart_from_reporting():
    tuned = study("rule=adam,hig", "seed=0,1", "steps=10", "device=cpu")
    for one in tuned:
        planned = one.runs(8)
        assert len(planned) == 8
        assert [len(runs) for _, runs in planned] == [2] * 8
        seeds = {run.settings.seed for _, runs in planned for run in runs}
        assert seeds == {FIRST_SEED, FIRST_SEED + 1}
    assert [set(one.ranges) for one in tuned] == [{"learning_rate"}, {"learning_rate", "tau"}]


def test_trials_fill_a_range_evenly_on_its_logarithmic_scale():
    (adam,) = study("rule=adam")
    low, high = adam.ranges["learning_rate"]
    own, *points = adam.trials(17)
    assert own == {"learning_rate": 1e-3}
    values = np.array([trial["learning_rate"] for trial in points])
    # Of 2^4 points of a Sobol sequence each of 16 equal intervals holds exactly one.
    fractions = np.log(values / low) / math.log(high / low)
    np.testing.assert_array_equal(np.sort((16 * fractions).astype(int)), np.arange(16))
    assert adam.trials(17) == adam.trials(17)
    assert adam.trials(1) == [own]


def test_an_option_that_is_given_is_not_tuned():
    (hig,) = study("rule=hig", "rule.tau=1e-3")
    assert set(hig.ranges) == {"learning_rate"}
    assert hig.fixed == {"tau": 1e-3}
    (lbfgs,) = study("rule=lbfgs")
    assert lbfgs.trials(16) == [{}]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["rule=adam", "batch_size=8,16"], "one value for each key except seed"),
        (["rule=adam", "seed=x"], "whole number"),
    ],
)
def test_an_invalid_tuning_is_refused(words, expected):
    with pytest.raises(OptionError, match=expected):
        study(*words)


def test_rules_of_one_problem_have_equal_budgets(tmp_path):
    path = tmp_path / "unequal.toml"
    path.write_text('[[grid]]\nrule = "adam"\nsteps = 5\n[[grid]]\nrule = "sip"\nsteps = 6\n')
    with pytest.raises(OptionError, match="different budgets"):
        study(str(path))


def test_a_range_with_units_is_divided_by_what_the_pilot_measured(tmp_path):
    (sgd,) = study("rule=sgd", "seconds=30")
    assert sgd.units == {"learning_rate": "grad_norm"}
    assert (sgd.pilot().settings.steps, sgd.pilot().settings.seconds) == (1, None)
    folder = RunFolder(tmp_path)
    with pytest.raises(OptionError, match="no grad_norm"):
        sgd.in_units(folder)
    for row in ({"step": 0}, {"step": 1, "grad_norm": 200.0}):
        folder.append(row)
    low, high = sgd.ranges["learning_rate"]
    assert sgd.in_units(folder).ranges["learning_rate"] == (low / 200, high / 200)


def test_units_are_options_that_are_tuned():
    from physopt.config.registry import find

    for name in names("rule"):
        try:
            rule = find("rule", name)
        except OptionError:  # an optional dependency is missing
            continue
        assert set(rule.tunable_per) <= set(rule.tunable)


def test_the_score_is_the_median_of_the_lowest_validation_losses(tmp_path):
    (run, *_) = planned_runs(read_request(["problem=exp", "rule=adam"]))

    def row(name, status, losses):
        folder = RunFolder(tmp_path / name)
        folder.path.mkdir()
        for step, loss in enumerate(losses):
            folder.append({"step": step, "validation_loss": loss})
        return Row(run, name, folder.path, status=status)

    rows = [row("a", "ok", [3, 1, 2]), row("b", "budget", [5, 4]), row("c", "target", [9])]
    assert score(rows) == 4
    assert score([*rows[:2], row("d", "diverged", [0.1, math.nan])]) == 4
    assert score([row("e", "oom", [0.1])]) == math.inf


def test_the_selection_is_a_file_that_sweep_reads_and_that_grows(tmp_path):
    path = tmp_path / "tuned.toml"
    write_selection(
        path, {("exp", "adam"): {"learning_rate": 0.0123, "schedule": "cosine"}}, 4, "a\nb"
    )
    write_selection(path, {("exp", "hig"): {"tau": 1e-05}, ("sin", "adam"): {}}, 8, "remark")
    assert expand(read_request([str(path), "seed=7"])) == [
        (
            "problem=exp",
            "rule=adam",
            "tuning_trials=4",
            "rule.learning_rate=0.0123",
            "rule.schedule=cosine",
            "seed=7",
        ),
        ("problem=exp", "rule=hig", "tuning_trials=8", "rule.tau=1e-05", "seed=7"),
        ("problem=sin", "rule=adam", "tuning_trials=8", "seed=7"),
    ]
    assert len(planned_runs(read_request([str(path)]))) == 3


def test_a_selection_at_the_end_of_its_range_is_reported():
    (adam,) = study("rule=adam")
    low, high = adam.ranges["learning_rate"]
    assert adam.at_edge({"learning_rate": 1.5 * low}) == ["learning_rate"]
    assert adam.at_edge({"learning_rate": math.sqrt(low * high)}) == []


def test_the_figure_has_axes_for_each_rule_and_option():
    trials = pd.DataFrame(
        [
            {"problem": "p", "rule": rule, "trial": k, "status": "ok", "validation_loss": loss}
            | {"learning_rate": 10.0**-k, **({"tau": 0.1 * k} if rule == "hig" else {})}
            for rule in ("adam", "hig")
            for k, loss in enumerate((1.0, 0.1, math.inf))
        ]
    )
    drawn = [axes for axes in plot_sensitivity(trials).axes if axes.get_visible()]
    assert [axes.get_xlabel() for axes in drawn] == ["learning_rate", "learning_rate", "tau"]
    assert [axes.get_xscale() for axes in drawn] == ["log", "log", "linear"]


def test_the_figure_marks_a_selection_at_the_end_of_its_range():
    trials = pd.DataFrame(
        {"problem": "p", "rule": "adam", "status": "ok", "validation_loss": [3.0, 2.0, 1.0],
         "learning_rate": [1e-3, 1e-2, 5e-2]}
    )  # fmt: skip
    drawn = {}
    for high in (0.06, 10.0):
        (axes,) = plot_sensitivity(trials, {("adam", "learning_rate"): (1e-4, high)}).axes
        (mark,) = axes.collections
        assert np.asarray(mark.get_offsets()).tolist() == [[5e-2, 1.0]]
        drawn[high] = len(np.asarray(mark.get_paths()[0].vertices))
    assert drawn[0.06] < drawn[10.0], "a triangle has fewer vertices than a ring"
    assert [edge(value, 1e-4, 0.06) for value in (1.5e-4, 1e-3, 5e-2)] == ["low", None, "high"]
    assert edge(0.55, 0.5, 1.0) is None
    assert edge(0.5, 0.5, 0.5) is None


def test_a_plan_for_a_cluster_names_the_ranges_that_are_not_known_yet(tmp_path, capsys):
    words = ["tune", f"problem={TINY}", "rule=sgd", "trials=2", "steps=5", f"out={tmp_path}"]
    assert main([*words, "executor=cluster.py", "plan=true"]) == 0
    remark = "the range of learning_rate will be divided by grad_norm, which the cluster measures"
    assert remark in capsys.readouterr().out


def test_tune_from_trials_to_the_file(tmp_path, capsys):
    words = ["tune", f"problem={TINY}", "rule=sgd", "trials=2", "steps=5", "device=cpu"]
    words += [f"out={tmp_path}", "workers=2", "threads=1"]
    assert main([*words, "plan=true"]) == 0
    planned = capsys.readouterr().out
    assert not list(tmp_path.iterdir()), "a plan writes nothing"
    assert main(words) == 0
    assert f"next   python -m physopt sweep {tmp_path / 'tuned.toml'}" in capsys.readouterr().out
    trials = pd.read_csv(tmp_path / "trials.csv")
    assert list(trials.status) == ["ok", "ok"]
    (selected,) = planned_runs(read_request([str(tmp_path / "tuned.toml")]))
    best = trials.learning_rate[trials.validation_loss.idxmin()]
    assert selected.rule.as_dict()["learning_rate"] == best
    assert (tmp_path / "sensitivity_Tiny.png").stat().st_size > 1000
    made = find_runs(tmp_path)
    assert len(made) == 3, "two trials and the pilot"
    (pilot,) = (folder for folder in made if folder.read("config.json")["steps"] == 1)
    low, high = (bound / pilot.curve()[-1]["grad_norm"] for bound in (1e-4, 1e1))
    assert f"sgd: learning_rate from {low:.4g} to {high:.4g}" in planned
    start = "python -m physopt run "
    commands = [line for line in planned.splitlines() if line.startswith(start)]
    configs = [from_words(line.removeprefix(start).split()) for line in commands]
    rates = [config.rule.as_dict()["learning_rate"] for config in configs]
    assert rates == list(trials.learning_rate)
    assert main([*words, "plan=true"]) == 0
    assert "2 runs: 2 done" in capsys.readouterr().out
    assert len(find_runs(tmp_path)) == 3

"""The page of published numbers: its commands start runs, and it says what the records say."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from physopt.config import from_words
from physopt.options import OptionError

PUBLISHED = Path(__file__).resolve().parent.parent.parent / "runs" / "published"
sys.path.insert(0, str(PUBLISHED))

import page  # noqa: E402
from long import long_experiments  # noqa: E402
from quantities import (  # noqa: E402
    BASELINES,
    Experiment,
    Quantity,
    about,
    above,
    any_value,
    at,
    baseline,
    below,
    final,
    ratio,
    seconds_an_update,
    seconds_to_pass,
    shared,
)
from short import short_experiments  # noqa: E402

EXPERIMENTS = [*short_experiments(), *long_experiments()]


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda e: e.name)
def test_the_runs_of_an_experiment_can_be_started(experiment):
    earlier: dict[str, str] = {}
    for name, words in experiment.runs.items():  # a run starts from an earlier one
        config = from_words([*(word.format_map(earlier) for word in words), "seed=1"])
        earlier[name] = f"folder_of_{name}"
        assert config.settings.steps or config.settings.seconds
    low_to_high = [q.low < q.high for q in experiment.quantities]
    assert low_to_high
    assert all(low_to_high)


def test_every_record_belongs_to_a_quantity_and_its_verdict_to_its_interval():
    quantities = {(e.name, q.name): q for e in EXPERIMENTS for q in e.quantities}
    records = page.read_records()
    assert len(quantities) == sum(len(e.quantities) for e in EXPERIMENTS)
    assert set(records) <= set(quantities)
    assert len(records) >= 19
    for key, record in records.items():
        within = quantities[key].low <= float(str(record["median"])) <= quantities[key].high
        assert record["holds"] == ("yes" if within else "no")


def test_the_page_is_the_one_that_the_records_make():
    text = page.page(EXPERIMENTS, page.read_records(), page.read_unmeasured())
    assert text == (PUBLISHED.parent / "published.md").read_text(encoding="utf-8")


def test_a_published_number_has_its_place_and_a_missing_run_is_named():
    for row in page.read_unmeasured():
        assert {"source", "where", "quantity", "published"} <= set(row)
        assert row.get("reason") or row.get("command")
    for experiment in EXPERIMENTS:
        for quantity in experiment.quantities:
            assert bool(quantity.published) == bool(quantity.where)
    quantity = Quantity("a", *about(2.0, 10), at("one", "loss", 1), "2", "table 1")
    experiment = Experiment("e", "paper", {"one": ["problem=toy"]}, [quantity], "1 update")
    missing = page.quantity_row(experiment, quantity, None)
    assert missing[1:] == ["2 (table 1)", "2 ± 10 %", "–", "1 update", "–", "not run yet",
                           "`problem=toy`"]  # fmt: skip
    record = {"median": "3", "lowest": "2", "highest": "4", "seeds": 3, "device": "cpu",
              "holds": "no"}  # fmt: skip
    measured = page.quantity_row(experiment, quantity, record)
    assert measured[3:7] == ["3 [2, 4], 3 seeds", "1 update", "cpu", "**does not hold**"]


def test_numbers_are_read_from_curves():
    curves = {
        "one": pd.DataFrame({"step": [0, 10], "loss": [8.0, 6.0]}),
        "two": pd.DataFrame({"step": [0, 10], "loss": [4.0, 2.0]}),
    }
    assert at("one", "loss", 10)(curves) == 6
    assert final("two", "loss")(curves) == 2
    assert ratio("one", "two", "loss")(curves) == 3
    assert ratio("one", "two", "loss", 0)(curves) == 2
    assert below(1.0)[1:] == (-float("inf"), 1.0)
    assert above(1.0)[1:] == (1.0, float("inf"))


def test_losses_that_fall_in_turn_differ_from_losses_that_fall_together():
    step = np.arange(11)
    fast, slow = 0.5**step, np.where(step < 6, 1.2, 0.1)
    curves = {
        "in turn": pd.DataFrame(
            {"step": step, "t_train": 2.0 * step, "low": fast, "high": slow / 1.2}
        ),
        "together": pd.DataFrame(
            {"step": step, "t_train": 1.0 * step, "low": 3 * fast, "high": 5 * fast}
        ),
    }
    # 0.5^4 is the first power below a tenth.
    assert shared("in turn", "low", "high")(curves) == 1
    assert shared("together", "low", "high")(curves) == 0.5**4
    assert seconds_to_pass("together", "in turn", "high")(curves) == 6  # 5/64 < 0.1/1.2 < 5/32
    assert seconds_to_pass("in turn", "together", "high")(curves) == np.inf
    assert seconds_an_update("in turn")(curves) == 2


def test_baselines_and_reported_numbers_have_rows():
    curves = {BASELINES: pd.DataFrame({"force": {"error": 2.0}}).T}
    assert baseline("force", "error")(curves) == 2
    quantity = Quantity("a", *any_value(), at("two", "loss", 1))
    runs = {"one": ["problem=toy"], "two": ["problem=toy", "start={one}"]}
    experiment = Experiment("e", "paper", runs, [quantity], "1 update")
    record = {"median": "3", "lowest": "2", "highest": "4", "seeds": 3, "device": "cpu",
              "holds": "yes"}  # fmt: skip
    row = page.quantity_row(experiment, quantity, record)
    assert row[6:] == ["reported", "`problem=toy`<br>`problem=toy start=FOLDER_OF_one`"]


def program():
    """The module behind `python runs/published`."""
    spec = importlib.util.spec_from_file_location("published_main", PUBLISHED / "__main__.py")
    assert spec
    assert spec.loader
    main = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(main)
    return main


def test_half_a_run_is_no_record(monkeypatch, tmp_path):
    """Ctrl-C in a run ends the program; the number after half of its budget is not recorded."""
    main = program()

    curve = pd.DataFrame({"step": [0, 10], "loss": [8.0, 6.0]})
    half = SimpleNamespace(curve=curve, status={"status": "interrupted"}, folder=tmp_path)
    (tmp_path / "env.json").write_text('{"device_kind": "cpu", "cpu_count": 2}', encoding="utf-8")
    monkeypatch.setattr(main, "begin", lambda config: half)
    quantity = Quantity("a", *any_value(), final("one", "loss"))
    experiment = Experiment(
        "e", "paper", {"one": ["problem=toy", "rule=adam"]}, [quantity], "1 update"
    )
    monkeypatch.setattr(main, "selected", lambda *_: [experiment])
    options = main.PageOptions(records=tmp_path / "r.csv", page=tmp_path / "p.md", out=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        main.make(options)
    assert not options.records.exists()


def test_an_unknown_experiment_is_refused():
    main = program()
    with pytest.raises(OptionError, match="names none of trap"):
        main.selected(EXPERIMENTS, main.PageOptions(only="nothing"))
    assert not [e for e in main.selected(EXPERIMENTS, main.PageOptions()) if e.slow]
    assert main.selected(EXPERIMENTS, main.PageOptions(run=False)) == []

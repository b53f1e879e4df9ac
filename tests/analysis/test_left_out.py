"""A report is always written: what cannot be compared fairly is left out, with the reason."""

import html
import json
import re

import pytest
from analysis_records import write_run

from physopt import analysis
from physopt.analysis.fairness import apart
from physopt.analysis.report import Parts
from physopt.cli import main
from physopt.options import OptionError


def devices(root, case):
    for seed, kind in enumerate(("cpu", "H200")):
        write_run(root, case, "adam", seed, [1.0, 0.1], device_kind=kind)


def tuning(root, case):
    write_run(root, case, "adam", 0, [1.0, 0.1], tuning_trials=16)
    write_run(root, case, "hig", 0, [1.0, 0.1])


def versions(root, case):
    for seed in (0, 1):
        folder = write_run(root, case, "adam", seed, [1.0, 0.1])
        known = {"jax": f"0.1{seed}", "jaxlib": "1", "flax": "2", "optax": "3"}
        (folder / "env.json").write_text(json.dumps({"device_kind": "cpu", **known}))


def cached(root, case):
    """A newer run that compiled from the cache replaces the one that compiled cold."""
    for name, seconds in (("cold", 5.0), ("new", 0.1)):
        folder = write_run(root, case, "adam", 0, [1.0, 0.1], name=f"{case}-{name}",
                           finished=f"2026-0{2 if name == 'new' else 1}-01T00:00:00",
                           compile_seconds=seconds)  # fmt: skip
        curve = folder / "curve.jsonl"
        flag = json.dumps({"compile_cached": name == "new"})[:-1]
        curve.write_text(curve.read_text().replace("{", f"{flag}, "))


REFUSED = {
    "devices": (devices, (), "these runs were timed on different devices (H200, cpu)"),
    "tuning": (tuning, (), "the rules were tuned unequally"),
    "versions": (versions, (), "were made with different versions"),
    "cached": (cached, ("compile=true",), "every compilation of adam came from a cache"),
}


def embedded(page):
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
    assert found is not None
    return html.unescape(text), json.loads(found.group(1))


@pytest.mark.parametrize("kind", REFUSED)
def test_a_problem_that_scores_refuse_is_left_out_and_the_others_are_scored(tmp_path, capsys, kind):
    refuse, words, reason = REFUSED[kind]
    refuse(tmp_path, "unfair")
    write_run(tmp_path, "fair", "adam", 0, [1.0, 0.01], compile_seconds=2.0)
    assert main(["score", str(tmp_path), *words]) == 2
    assert reason in capsys.readouterr().err
    assert main(["report", str(tmp_path), *words]) == 0
    printed = capsys.readouterr().out
    text, data = embedded(tmp_path / "report.html")
    for place in (printed, text):
        assert re.search(rf"of unfair: .*{re.escape(reason)}", place)
        assert not re.search(rf"of fair: .*{re.escape(reason)}", place)
    scored = re.findall(r"<caption><b>(\w+)</b> target", text)
    assert scored == ["fair"]
    curves = {case["name"]: case["curves"]["seconds"] for case in data["cases"]}
    assert curves["unfair"], "its runs are drawn"
    assert curves["fair"]


@pytest.mark.parametrize("kind", REFUSED)
def test_a_report_of_nothing_that_can_be_scored_shows_the_runs_and_the_reason(tmp_path, kind):
    refuse, words, reason = REFUSED[kind]
    refuse(tmp_path, "unfair")
    assert main(["report", str(tmp_path), *words]) == 0
    text, data = embedded(tmp_path / "report.html")
    assert reason in text
    runs = analysis.load(tmp_path)["folder"].nunique()
    assert len(re.findall(r'<tr class="(?:well|ill)">', text)) == runs
    assert len(data["cases"]) == 1


def test_scores_use_seconds_if_no_compilation_is_known(tmp_path):
    folder = write_run(tmp_path, "a", "adam", 0, [1.0, 0.1], compile_seconds=1.0)
    curve = folder / "curve.jsonl"
    curve.write_text(curve.read_text().replace("{", '{"compile_cached": true, '))
    assert main(["report", str(tmp_path), "compile=true"]) == 0
    text, data = embedded(tmp_path / "report.html")
    assert (data["axis"], list(data["axes"])) == ("seconds", ["seconds", "updates", "calls"])
    assert "Progress is measured in training time (s), compilation not included" in text
    assert "Curves against seconds with compilation of a: every compilation of adam" in text


def test_problems_on_different_devices_are_not_scored_together(tmp_path):
    write_run(tmp_path, "a", "adam", 0, [1.0, 0.1])
    write_run(tmp_path, "b", "adam", 0, [1.0, 0.1], device_kind="H200")
    parts = Parts.of(analysis.Comparison(analysis.load(tmp_path)))
    assert parts.fair.comparison.frame.empty
    assert set(parts.fair.left_out) == {"a", "b"}
    allowed = Parts.of(analysis.Comparison(analysis.load(tmp_path), allow=["devices"]))
    assert allowed.left_out() == []


def test_methods_on_several_devices_are_named_once(tmp_path):
    devices(tmp_path, "a")
    once = apart(analysis.load(tmp_path))
    assert sorted(once["method"].unique()) == ["adam on H200", "adam on cpu"]
    assert apart(once)["method"].tolist() == once["method"].tolist()


def test_an_unknown_axis_or_allowance_is_still_refused(tmp_path):
    devices(tmp_path, "a")
    frame = analysis.load(tmp_path)
    for options in ({"allow": ["device"]}, {"axis": "second"}):
        with pytest.raises(OptionError, match="did you mean"):
            analysis.write_report(frame, tmp_path / "report.html", **options)
    assert not (tmp_path / "report.html").exists()


def damaged(root):
    (write_run(root, "a", "adam", 0, [1.0, 0.1]) / "config.json").write_text("{")


def trials(root):
    for seed in range(10**6, 10**6 + 3):
        write_run(root, "a", "adam", seed, [1.0, 0.1])


def stuck(root):
    for batch_size in (4, 8):
        write_run(root, "a", "adam", 0, [1.0, 1.0], batch_size=batch_size, target=None)


def one(*errors, **options):
    return lambda root: write_run(root, "a", "adam", 0, list(errors), **options)


ODD = {
    "one run": one(1.0, 0.1),
    "no target": one(1.0, 0.1, target=None),
    "no target is reached at any batch size": stuck,
    "refused by the rule": one(status="skipped"),
    "failed at once": one(status="error"),
    "interrupted before the first update": one(1.0, status="interrupted"),
    "not finite": one(float("nan"), float("nan"), status="diverged"),
    "zero": one(0.0, 0.0),
    "negative": one(-1.0, -2.0),
    "damaged": damaged,
    "tuning trials alone": trials,
}


@pytest.mark.parametrize("kind", ODD)
def test_a_report_of_unusual_runs_is_written(tmp_path, kind):
    ODD[kind](tmp_path)
    for axis in ("seconds", "calls"):
        assert main(["report", str(tmp_path), f"axis={axis}", "compile=true"]) == 0
        text, _ = embedded(tmp_path / "report.html")
        assert "<b>1</b> problem" in text

"""The commands score, report and compare."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from analysis_records import write_run

from physopt import analysis
from physopt.cli import main


@pytest.fixture
def results(tmp_path):
    for seed in range(3):
        write_run(tmp_path, "a", "adam", seed, [1.0, 0.5, 0.1 * (1 + seed)], compile_seconds=5)
        write_run(tmp_path, "a", "[red]x", seed, [1.0, 0.9, 0.6])
    write_run(tmp_path, "a", "adam", 3, [1.0], status="interrupted")
    return tmp_path


def test_score_prints_table_ranks_and_notes(capsys, results):
    assert main(["score", str(results)]) == 0
    out = capsys.readouterr().out
    (row,) = [line for line in out.splitlines() if line.startswith("adam   ")]
    assert row.split()[1] == "3"
    assert "1/3" in row
    (row,) = [line for line in out.splitlines() if line.startswith("[red]x")]
    assert "never" in row
    assert "mean rank by final error: adam 1, [red]x 2" in out
    assert "note: Left out because they are not finished: 1 interrupted." in out
    assert main(["score", str(results), "axis=calls"]) == 0
    assert "physics calls" in capsys.readouterr().out
    assert main(["score", str(results), "compile=true"]) == 0
    assert "compilation included" in capsys.readouterr().out


@pytest.mark.parametrize(("kind", "read"), [("csv", pd.read_csv), ("json", pd.read_json)])
def test_score_writes_its_table(capsys, results, tmp_path, kind, read):
    out = tmp_path / f"scores.{kind}"
    assert main(["score", str(results), f"out={out}"]) == 0
    assert capsys.readouterr().out.endswith(f"wrote  {out}\n")
    table = read(out).set_index("method")
    assert table.loc["adam", "runs"] == 3
    assert table.loc["[red]x", "reached"] == 0


def test_a_folder_may_have_an_equals_sign_in_its_name(capsys, results):
    renamed = results.rename(results.parent / "rate=1")
    assert main(["score", str(renamed)]) == 0
    assert "[red]x" in capsys.readouterr().out


def test_score_needs_no_drawing_library():
    examples = Path(analysis.__file__).resolve().parent / "example_results" / "rules"
    code = f"""
import sys
sys.modules["bokeh"] = None
from physopt.cli import main
code = main(["score", {str(examples)!r}])
assert "matplotlib.figure" not in sys.modules and "jax" not in sys.modules
raise SystemExit(code)
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_compare_prints_ratios_and_writes_a_figure(capsys, results, tmp_path):
    figure = tmp_path / "figure.png"
    words = [str(results / "a" / "adam"), str(results / "a" / "[red]x"), f"out={figure}"]
    assert main(["compare", *words]) == 0
    out = capsys.readouterr().out
    assert "A adam, B [red]x" in out
    assert "final error" in out
    assert f"wrote  {figure}" in out
    assert figure.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["score", "nowhere"], "folder=nowhere: no such folder"),
        (["score", "{results}", "axis=second"], "did you mean seconds?"),
        (["score", "{results}", "allow=[device]"], "did you mean devices?"),
        (["score", "{results}", "alow=[devices]"], "did you mean allow?"),
        (["score", "{empty}"], "contains no runs"),
        (["report", "{empty}"], "contains no runs"),
        (["compare", "{results}"], "compare takes 2 folders"),
        (["compare", "{results}", "{results}"], "takes two folders with different runs"),
    ],
)
def test_a_wrong_argument_is_one_line_on_stderr(capsys, results, tmp_path, words, expected):
    (tmp_path / "empty").mkdir()
    places = {"results": str(results / "a"), "empty": str(tmp_path / "empty")}
    assert main([word.format(**places) for word in words]) == 2
    err = capsys.readouterr().err
    assert expected in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", ["score", "report", "compare"])
def test_help_shows_an_example_and_the_options(capsys, command):
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"python -m physopt {command}" in out
    assert "allow=" in out

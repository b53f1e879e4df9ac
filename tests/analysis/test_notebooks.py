"""The notebooks: both forms are equal, each runs, and stored outputs are of its source."""

import json
import math
import re
import runpy
from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

FOLDER = Path(__file__).resolve().parent.parent.parent / "analysis" / "notebooks"
NAMES = ("add_your_own_rule", "ldft_designs", "loss_versus_wallclock", "optimiser_scores")
TRAINS = "add_your_own_rule"
REFRESH = runpy.run_path(str(FOLDER / "refresh.py"))
COMMAND = "python analysis/notebooks/refresh.py"
LARGEST_BYTES = 400_000


def cells(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def words(notebook):
    """The words and numbers of all tables and values."""
    plain = [o["data"].get("text/plain", "") for o in outputs(notebook) if "data" in o]
    return [word for text in plain if not text.startswith("<") for word in text.split()]


def alike(one, other):
    """Whether two words are equal, or numbers up to the rounding of another machine."""
    try:
        return math.isclose(float(one), float(other), rel_tol=2e-3)
    except ValueError:
        return one == other


def test_each_notebook_is_a_pair_of_files():
    files = {path.name for path in FOLDER.iterdir() if path.is_file()}
    notebooks = {f"{name}{end}" for name in NAMES for end in (".ipynb", ".py")}
    assert files == {"README.md", "refresh.py", *notebooks}


@pytest.mark.parametrize("name", NAMES)
def test_both_forms_are_equal(name):
    text, notebook = (jupytext.read(FOLDER / f"{name}{end}") for end in (".py", ".ipynb"))
    assert cells(text) == cells(notebook)


@pytest.mark.parametrize("name", NAMES)
def test_stored_outputs_are_fresh(name):
    notebook = jupytext.read(FOLDER / f"{name}.ipynb")
    of = notebook.metadata["physopt"]["outputs_of"]
    assert of == REFRESH["fingerprint"](notebook), f"cells or example results changed: {COMMAND}"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert any("image/png" in output.get("data", {}) for output in outputs(notebook))
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
    assert not re.search(r"/(tmp|home|root|Users)/", json.dumps(outputs(notebook))), "a path"


def test_the_notebooks_are_small():
    assert sum((FOLDER / f"{name}.ipynb").stat().st_size for name in NAMES) < LARGEST_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_from_top_to_bottom(name):
    stored = jupytext.read(FOLDER / f"{name}.ipynb")
    run = REFRESH["execute"](jupytext.read(FOLDER / f"{name}.ipynb"))
    drawn = [o for o in outputs(run) if "image/png" in o.get("data", {})]
    assert drawn, "a notebook shows at least one figure"
    errors = [o.text for o in outputs(run) if o.output_type == "stream" and o.name == "stderr"]
    lines = [line for text in errors for line in text.splitlines()]
    assert [line for line in lines if "imings of this run" not in line] == []  # a busy machine
    if name != TRAINS:  # its numbers depend on the machine
        pairs = list(zip(words(run), words(stored), strict=True))
        assert [pair for pair in pairs if not alike(*pair)] == [], f"of another code: {COMMAND}"

"""The notebooks: both forms of each are equal, and each runs from top to bottom."""

from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

FOLDER = Path(__file__).resolve().parent.parent.parent / "analysis" / "notebooks"
NAMES = ("add_your_own_rule", "ldft_designs", "loss_versus_wallclock", "optimiser_scores")


def cells(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def test_each_notebook_is_a_pair_of_files():
    files = {path.name for path in FOLDER.iterdir() if path.is_file()}
    assert files == {"README.md", *(f"{n}{end}" for n in NAMES for end in (".ipynb", ".py"))}


@pytest.mark.parametrize("name", NAMES)
def test_both_forms_are_equal(name):
    text, notebook = (jupytext.read(FOLDER / f"{name}{end}") for end in (".py", ".ipynb"))
    assert cells(text) == cells(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells), "outputs are not committed"


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_from_top_to_bottom(name):
    notebook = jupytext.read(FOLDER / f"{name}.ipynb")
    run = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": FOLDER}}
    ).execute()
    outputs = [output for cell in run.cells for output in cell.get("outputs", ())]
    drawn = [o for o in outputs if "image/png" in o.get("data", {})]
    assert drawn, "a notebook shows at least one figure"
    errors = [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"]
    lines = [line for text in errors for line in text.splitlines()]
    assert [line for line in lines if "imings of this run" not in line] == []  # a busy machine

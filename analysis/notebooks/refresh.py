"""Execute the notebooks and store their outputs, with a hash of what these depend on.

    python analysis/notebooks/refresh.py                     all notebooks
    python analysis/notebooks/refresh.py optimiser_scores    one of them

Needs `pip install -e ".[notebooks]"`. Pictures are stored with few colours, so that all notebooks
together stay small.
"""

import base64
import hashlib
import io
import sys
from pathlib import Path

import jupytext
import nbclient
from PIL import Image

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "example_results"
COLOURS = 24


def fingerprint(notebook) -> str:
    """Return a hash of the cells of a notebook and of the example results."""
    digest = hashlib.sha256()
    for cell in notebook.cells:
        digest.update(repr((cell.cell_type, cell.source)).encode())
    for path in sorted(path for path in EXAMPLES.rglob("*") if path.is_file()):
        digest.update(path.relative_to(EXAMPLES).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def execute(notebook):
    """Run a notebook from top to bottom; return it with its outputs."""
    client = nbclient.NotebookClient(
        notebook,
        timeout=1200,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(HERE)}},
    )
    return client.execute()


def refresh(name: str) -> None:
    """Execute a notebook and write it with its outputs."""
    path = HERE / f"{name}.ipynb"
    notebook = jupytext.read(path)
    text = jupytext.read(path.with_suffix(".py"))
    if [cell.source for cell in text.cells] != [cell.source for cell in notebook.cells]:
        raise SystemExit(f"{name}: both forms differ; jupytext --sync {path.name} first")
    metadata = dict(notebook.metadata)
    executed = execute(notebook)
    for cell in executed.cells:
        if cell.cell_type == "code":
            cell.outputs = [_small(output) for output in cell.outputs if not _is_remark(output)]
    executed.metadata = {
        **metadata,
        "language_info": {"name": "python"},
        "physopt": {"outputs_of": fingerprint(executed)},
    }
    jupytext.write(executed, path)
    print(f"{name}  {path.stat().st_size / 1e3:.0f} kB")


def _is_remark(output) -> bool:
    return output.output_type == "stream" and output.name == "stderr"  # on a busy machine


def _small(output):
    """Return an output whose pictures have COLOURS colours."""
    if "image/png" in output.get("data", {}):
        picture = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
        few = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        stored = io.BytesIO()
        few.save(stored, "PNG", optimize=True)
        output.data["image/png"] = base64.b64encode(stored.getvalue()).decode()
    return output


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(path.stem for path in HERE.glob("*.ipynb")):
        refresh(name)

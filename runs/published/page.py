"""The page runs/published.md, and the records that it is made from."""

import tomllib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from quantities import Experiment, Quantity

from physopt.analysis.words import markdown_table

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RECORDS = HERE / "records.csv"
COLUMNS = ["problem", "quantity", "expected", "median", "lowest", "highest", "seeds", "device",
           "holds"]  # fmt: skip
HEADS = ["quantity", "published", "expected", "ours: median [lowest, highest]", "budget",
         "device", "verdict", "command: `python -m physopt run ...`"]  # fmt: skip

HEAD = """# Published numbers and ours

Made by `python runs/published` from its records, `runs/published/records.csv`. A number under
"published" stands in the source, at the place named in brackets. Under "expected" is the interval
in which our median has to lie for the verdict: around the published number or, where nothing is
published, around one measured with the authors' program or an independent one. Those were single
runs, which explains the wide tolerances. Lowest and highest are those of the seeds. A row without
an interval only reports what we measure. `FOLDER_OF_` stands for the folder of an earlier run of
the row, by its name.

On Burgers' equation the L1 norm of the force, which the source's table reports, judges nothing: a
single force in the last step that meets the target, without any training, has a norm of about 12,
below those of all published networks (14.2 to 83.4) and like that of the optimum. Half the sum of
squares, 4 for the former and 0.1 for the latter, tells them apart, and stands beside every row.
"""


def read_records(path: Path = RECORDS) -> dict[tuple[str, str], dict[str, object]]:
    """Return the measured rows by experiment and quantity; {} if there are none."""
    if not path.exists():
        return {}
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    return {(str(row["problem"]), str(row["quantity"])): dict(row) for _, row in frame.iterrows()}


def write_records(records: Iterable[dict[str, object]], path: Path = RECORDS) -> None:
    """Write the measured rows as CSV."""
    pd.DataFrame(list(records), columns=COLUMNS).to_csv(path, index=False)


def page(
    experiments: list[Experiment],
    records: dict[tuple[str, str], dict[str, object]],
    unmeasured: list[dict[str, str]],
) -> str:
    """Return the text: a table per source, then the numbers that no run measures, then notes."""
    sources = dict.fromkeys(experiment.source for experiment in experiments)
    parts = [HEAD]
    for source in sources:
        rows = [
            quantity_row(experiment, quantity, records.get((experiment.name, quantity.name)))
            for experiment in experiments
            if experiment.source == source
            for quantity in experiment.quantities
        ]
        parts.append(f"## {source}\n\n{markdown_table(HEADS, rows)}")
    rows = [
        [row["source"], row["quantity"], f"{row['published']} ({row['where']})", status_of(row),
         code(row.get("command", ""))]
        for row in unmeasured
    ]  # fmt: skip
    heads = ["source", "quantity", "published", "state", "command"]
    parts.append(f"## Not measured\n\n{markdown_table(heads, rows)}")
    notes = [f"* {e.name}: {e.note}" for e in experiments if e.note]
    return "\n".join([*parts, "## Notes\n", *notes, ""])


def quantity_row(
    experiment: Experiment, quantity: Quantity, record: dict[str, object] | None
) -> list[str]:
    """Return the cells of a quantity; without a record its row says that it was not run."""
    printed = f"{quantity.published} ({quantity.where})" if quantity.published else "–"
    ours, device, verdict = "–", "–", "not run yet"
    if record:
        one = str(record["seeds"]) == "1"
        spread = "{median}, 1 seed" if one else "{median} [{lowest}, {highest}], {seeds} seeds"
        ours = spread.format(**record)
        device = str(record["device"])
        verdict = "holds" if record["holds"] == "yes" else "**does not hold**"
        if np.isinf([quantity.low, quantity.high]).all():
            verdict = "reported"
    commands = "<br>".join(code(command(words)) for words in experiment.runs.values())
    name = f"{experiment.name}: {quantity.name}"
    known = [name, printed, quantity.expected]
    return [*known, ours, experiment.budget, device, verdict, commands]


def command(words: list[str]) -> str:
    """Return words as they are typed in the repository's root.

    The folder of an earlier run is that of the row's run of this name.
    """
    text = " ".join(word.removeprefix(f"{ROOT}/") for word in words)
    return text.replace("{", "FOLDER_OF_").replace("}", "")


def code(text: str) -> str:
    """Return text as code; a dash if it is empty."""
    return f"`{text}`" if text else "–"


def status_of(row: dict[str, str]) -> str:
    """Return why a published number has no measurement."""
    return row.get("reason") or "not run yet"


def read_unmeasured() -> list[dict[str, str]]:
    """Return the published numbers that no experiment measures."""
    return tomllib.loads((HERE / "unmeasured.toml").read_text(encoding="utf-8"))["row"]

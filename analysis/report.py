"""Report: one HTML page about many runs, complete in itself.

It holds its data, its script and the drawing library (BokehJS), so it opens without a network; its
content security policy forbids every request. Text from records is escaped by the template.
"""

import base64
import io
import json
from collections.abc import Collection
from importlib import metadata
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup
from PIL import Image

from physopt.analysis import reproduce, words
from physopt.analysis.fairness import apart, comparable, refused
from physopt.analysis.load import runs_of
from physopt.analysis.report_data import page_data
from physopt.analysis.report_tables import environment, heat_map, run_rows, score_rows
from physopt.analysis.scores import ranks, run_errors, score_table
from physopt.analysis.tests_of_difference import paired_tests

PAGE = Path(__file__).resolve().parent / "page"
PICTURES = 12
"""Pictures of designs on a page, at most."""

PICTURE_WIDTH = 760


def write_report(
    frame: pd.DataFrame,
    out: Path | str,
    axis: str = "seconds",
    *,
    compile_time: bool = False,
    allow: Collection[str] = (),
) -> int:
    """Write a report of all runs of a frame to an HTML file; return its size in bytes.

    `axis` and `compile_time` choose how progress is scored, and what the page shows first. Raises
    OptionError as `comparable` does, and ImportError where bokeh is not installed.
    """
    how: dict[str, Any] = {"compile_time": compile_time, "allow": allow}
    kept = comparable(frame, allow)
    scores = score_table(frame, axis, **how)
    table, tests = ranks(frame, allow), paired_tests(frame, allow=allow)
    data = page_data(frame, axis, compile_time, allow)
    profile = _profile_frame(data["profiles"][data["axis"]])
    sources = list(dict.fromkeys(frame["source"]))
    content = {
        "title": f"physopt: {', '.join(Path(s).resolve().name for s in sources)}",
        "counts": _counts(frame),
        "overall": words.overall(table, profile, tests),
        "findings": words.findings(scores, tests, axis),
        "notes": kept.attrs["notes"],
        "heat": heat_map(scores, table, refused(apart(frame))),
        "scores": score_rows(scores, axis),
        "axis_label": data["axes"].get(data["axis"], axis),
        "data": data,
        "json": _json(data),
        "pictures": pictures(frame),
        "runs": run_rows(run_errors(frame)),
        "environment": environment(frame),
        "figures": reproduce.figures(sources, out, axis, compile_time, allow),
        "commands": reproduce.commands(frame),
        "version": metadata.version("physopt"),
        "style": Markup((PAGE / "page.css").read_text(encoding="utf-8")),
        "scripts": [Markup(text) for text in (*_bokeh(), _read("page.js"))],
    }
    loader = jinja2.FileSystemLoader(PAGE)
    pages = jinja2.Environment(autoescape=True, loader=loader, trim_blocks=True, lstrip_blocks=True)
    text = pages.get_template("page.html.jinja").render(content)
    Path(out).write_text(text, encoding="utf-8")
    return Path(out).stat().st_size


def _counts(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Return what the page says first: numbers with their words."""
    runs = runs_of(frame)
    ended = runs["status"].value_counts()
    told = [(str(len(runs)), "run" if len(runs) == 1 else "runs")]
    for column, word in (("case", "problem"), ("method", "method"), ("device", "device")):
        count = runs[column].nunique()
        told.append((str(count), word + ("" if count == 1 else "s")))
    updates = runs["step"].sum()
    told.append((f"{updates:,.0f}", "updates"))
    told.append((f"{runs['t_train'].sum():,.0f} s", "of training"))
    return told + [(str(count), status) for status, count in ended.items() if status != "ok"]


def _profile_frame(lines: list[dict[str, Any]]) -> pd.DataFrame:
    tables = [pd.DataFrame(line) for line in lines]
    columns = ["method", "ratio", "fraction"]
    return pd.concat(tables) if tables else pd.DataFrame(columns=columns)


def pictures(frame: pd.DataFrame) -> list[dict[str, str]]:
    """Return the pictures that the problems drew of their designs, one a method, the best run's.

    Each is {case, method, told, uri}; at most PICTURES, one of each case first.
    """
    errors = run_errors(frame).sort_values("final_error", kind="stable")
    drawn = errors[[(Path(folder) / "figure.png").is_file() for folder in errors["folder"]]]
    best = drawn.drop_duplicates(["case", "method"])
    best = best.assign(place=best.groupby("case").cumcount()).sort_values("place", kind="stable")
    found = []
    for row in best.head(PICTURES).to_dict("records"):
        uri = _small(Path(row["folder"]) / "figure.png")
        if uri:
            told = f"seed {row['seed']:g}, {row['metric']} {words.amount(row['final_error'])}"
            found.append({"case": row["case"], "method": row["method"], "told": told, "uri": uri})
    return found


def _small(path: Path) -> str | None:
    """Return a picture as a small data URI, None where it cannot be read."""
    try:
        with Image.open(path) as picture:
            opaque = picture.convert("RGBA")
    except (OSError, Image.DecompressionBombError):
        return None
    small = Image.new("RGB", opaque.size, "white")
    small.paste(opaque, mask=opaque.getchannel("A"))
    small.thumbnail((PICTURE_WIDTH, 4 * PICTURE_WIDTH))
    out = io.BytesIO()
    small.save(out, "WEBP", quality=72, method=6)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()


def _json(data: dict[str, Any]) -> Markup:
    """Write data as JSON that can stand inside a script element: no text in it can end that."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def _bokeh() -> list[str]:
    """Return the drawing library's scripts."""
    try:
        from bokeh.resources import Resources
    except ImportError:
        raise ImportError("the report draws with bokeh: pip install bokeh") from None
    scripts = Resources(mode="inline", components=["bokeh", "bokeh-api"]).js_raw
    return [script for script in scripts if "set_log_level" not in script[:80]]


def _read(name: str) -> str:
    return (PAGE / name).read_text(encoding="utf-8")

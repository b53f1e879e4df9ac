"""Report: one self-contained HTML page about many runs.

It contains its data, its script and the drawing library (BokehJS), so it opens without a network;
its content security policy forbids every request. The template escapes text from records.
"""

import base64
import io
import itertools
import math
import os
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from bokeh.resources import Resources
from markupsafe import Markup
from PIL import Image, ImageSequence

import physopt
from physopt.analysis import words
from physopt.analysis.comparison import Comparison, Runs
from physopt.analysis.errors import run_errors
from physopt.analysis.fairness import refused
from physopt.analysis.load import runs_of
from physopt.analysis.profiles import performance_profile
from physopt.analysis.report import reproduce
from physopt.analysis.report.data import page_data
from physopt.analysis.report.parts import AXES, Parts
from physopt.analysis.report.tables import (
    environment,
    heat_map,
    run_rows,
    sample_rows,
    score_rows,
)
from physopt.analysis.samples import sample_errors, sample_quantiles
from physopt.analysis.scores import final_errors, ranks, score_table
from physopt.analysis.tests_of_difference import paired_tests
from physopt.records.status import RESULTS, shown_status
from physopt.records.units import seconds_text

PAGE = Path(__file__).resolve().parent / "page"
PICTURES = 12
"""Maximum number of pictures of designs on a page."""

PICTURE_WIDTH = 760

LARGEST_PICTURE = 50_000_000
"""Pixels above which a picture is left out: a small file may hold very many."""

MOST_FRAMES = 100
"""Frames of a film that are shown; all of them together count as one picture."""


def write_report(runs: Runs, out: Path | str, axis: str | None = None, **options: Any) -> int:
    """Write a report of runs to an HTML file; return its size in bytes.

    The page scores progress by the axis of the comparison and offers the others. Problems whose
    runs `comparable` refuses are left out of the scores, with the reason. `options` are those of
    `Comparison`.
    """
    return write_parts(Parts.of(Comparison.of(runs, axis=axis, **options)), out)


def write_parts(parts: Parts, out: Path | str) -> int:
    """Write a report of given parts to an HTML file; return its size in bytes."""
    frame, fair = parts.all.frame, parts.fair.comparison
    timed = parts.scored[parts.axis].comparison
    scores, ranked, tests = score_table(timed), ranks(fair), paired_tests(fair)
    # Scores hold the final errors of all problems that have times; their intervals are costly.
    finals = final_errors(fair) if parts.scored[parts.axis].left_out else scores
    samples = sample_errors(fair)
    data = page_data(parts, samples)
    totals = runs_of(fair.runs).groupby(["case", "method"]).size().to_dict()
    errors, refusals = run_errors(frame), refused(fair.frame)
    sources = ", ".join(Path(source).resolve().name for source in frame["source"].unique())
    bokeh = Resources(mode="inline", components=["bokeh", "bokeh-api"])
    # The script that sets the log level writes to the browser's log.
    drawing = [Markup(script) for script in bokeh.js_raw if "set_log_level" not in script[:80]]
    content = {
        "title": f"physopt: {sources}",
        "counts": _counts(frame),
        "overall": words.overall(ranked, performance_profile(timed), tests),
        "findings": words.findings(scores, tests, timed.axis),
        "notes": fair.notes,
        "samples": sample_rows(sample_quantiles(samples), totals),
        "sample_notes": samples.attrs["notes"],
        "left_out": parts.left_out(),
        "heat": heat_map(finals, ranked, refusals),
        "scores": score_rows(scores, timed.axis, refusals),
        "axes": {axis: name for axis, name in AXES.items() if axis in data["axes"]},
        "axis_label": data["axes"][data["axis"]],
        "data": data,
        "pictures": pictures(errors),
        "runs": run_rows(errors, Path(out).parent),
        "results": RESULTS,
        "environment": environment(frame),
        "figures": reproduce.figures(parts.all, out),
        "commands": reproduce.commands(frame),
        "version": physopt.__version__,
        "style": _page_file("page.css"),
        "scripts": [*drawing, _page_file("page.js")],
    }
    loader = jinja2.FileSystemLoader(PAGE)
    pages = jinja2.Environment(autoescape=True, loader=loader, trim_blocks=True, lstrip_blocks=True)
    pages.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    text = pages.get_template("page.html.jinja").render(content)
    # The name of a folder need not be UTF-8.
    return Path(out).write_bytes(text.encode(errors="backslashreplace"))


def _page_file(name: str) -> Markup:
    return Markup((PAGE / name).read_text(encoding="utf-8"))


def _counts(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the numbers at the top of the page, each with its unit."""
    runs = runs_of(frame)
    columns = {"run": "folder", "problem": "case", "method": "method", "device": "device"}
    numbers = {word: runs[column].nunique() for word, column in columns.items()}
    counts = [(str(n), word if n == 1 else f"{word}s") for word, n in numbers.items()]
    counts.append((f"{runs['step'].sum():,.0f}", "updates"))
    counts.append((seconds_text(runs["t_train"].sum()), "of training"))
    ended = runs.loc[runs["status"] != "ok", "status"].value_counts()
    return counts + [(str(count), shown_status(str(status))) for status, count in ended.items()]


def pictures(errors: pd.DataFrame) -> list[dict[str, str]]:
    """Return the pictures of designs, one per method: that of its run with the lowest error.

    errors: as of `run_errors`. Each picture is {case, method, caption, uri}; at most PICTURES, the
    first of every case before any second. That of a run with a film also has {film}.
    """
    errors = errors.sort_values("final_error", kind="stable")
    drawn = errors[[os.path.isfile(Path(f, "figure.png")) for f in errors["folder"]]]
    best = drawn.drop_duplicates(["case", "method"])
    best = best.assign(place=best.groupby("case").cumcount()).sort_values("place", kind="stable")
    entries = []
    for row in best.head(PICTURES).to_dict("records"):
        uri = picture_uri(Path(row["folder"]) / "figure.png")
        if uri:
            error = f"{row['metric']} {words.amount(row['final_error'])}"
            names = {"case": row["case"], "method": row["method"]}
            if film := _film(Path(row["folder"]) / "film.gif"):
                names["film"] = film
            entries.append({**names, "caption": f"seed {row['seed']:g}, {error}", "uri": uri})
    return entries


def picture_uri(path: Path) -> str | None:
    """Return a picture as a small data URI, None if it cannot be read."""
    try:
        # Only PNG: a file of another format, under this name, may start a program to draw it.
        with Image.open(path, formats=["PNG"]) as picture:
            if math.prod(picture.size) > LARGEST_PICTURE:
                return None
            opaque = picture.convert("RGBA")
    except Exception:  # Pillow has many for a damaged file
        return None
    small = Image.new("RGB", opaque.size, "white")
    small.paste(opaque, mask=opaque.getchannel("A"))
    small.thumbnail((PICTURE_WIDTH, 4 * PICTURE_WIDTH))
    return _uri(small)


def _film(path: Path) -> str | None:
    """Return a film as a data URI, None if there is none that can be read."""
    try:
        with Image.open(path, formats=["GIF"]) as film:
            if math.prod(film.size) * MOST_FRAMES > LARGEST_PICTURE:
                return None
            shown = itertools.islice(ImageSequence.Iterator(film), MOST_FRAMES)
            frames = [(frame.convert("RGB"), frame.info.get("duration", 100)) for frame in shown]
    except Exception:
        return None
    first, *others = (frame for frame, _ in frames)
    durations = [int(duration) for _, duration in frames]
    return _uri(first, save_all=True, append_images=others, duration=durations, loop=0)


def _uri(picture: Image.Image, **more: Any) -> str:
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=72, method=6, **more)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()

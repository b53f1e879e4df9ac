"""The report as a file: it is self-contained and small, and text from records is escaped."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
from analysis_records import write_run
from damage import EPS
from PIL import EpsImagePlugin, Image

from physopt import analysis
from physopt.analysis.errors import run_errors
from physopt.analysis.report import pictures
from physopt.analysis.report.tables import run_rows


def test_the_page_is_self_contained(page):
    text = page.read_text(encoding="utf-8")
    ours = re.sub(r"<script>(?:.|\n)*?</script>", "", text)  # without the text of the library
    assert not re.search(r"""src\s*=\s*["'](?!data:)""", ours)
    # Links lead to the page itself or to the runs beside it, never to another host.
    assert not re.search(r"""href\s*=\s*["'](?!#|data:|\./|\.\./)""", ours)
    assert not re.search(r"""<link[^>]*href\s*=\s*["'](?!data:)""", ours)
    assert "url(" not in ours
    assert "default-src 'none'" in ours
    assert text.count("<html") == 1


def test_text_from_records_is_escaped(page):
    text = page.read_text(encoding="utf-8")
    assert "window.stolen" in text
    assert "<script>window.stolen" not in text
    assert "&lt;script&gt;window.stolen" in text
    assert "<b>&amp;" not in text
    embedded = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
    assert embedded is not None
    assert "<" not in embedded.group(1)
    names = [method["name"] for method in json.loads(embedded.group(1))["methods"]]
    assert any(name.startswith("<script>") for name in names)


def test_every_run_is_in_the_page(page, mixed_results):
    text = page.read_text(encoding="utf-8")
    rows = re.findall(r'<tr class="(?:well|ill)">', text)
    assert len(rows) == analysis.load(mixed_results)["folder"].nunique()
    assert "no inverse solver" in text
    assert "RESOURCE_EXHAUSTED" in text
    assert "for seed in 0 1 2; do python -m physopt run problem=oscillators rule=adam" in text


def test_a_run_links_to_its_folder_and_pictures_and_shows_its_options(tmp_path):
    options = {"schedule": "constant", "learning_rate": 0.1, "clip": None}
    folder = write_run(tmp_path / "a b", "toy", "sgd", 0, [1.0, 0.5], options=options)
    for name in ("training.png", "rollout.gif", "copy.txt"):
        (folder / name).touch()
    (row,) = run_rows(run_errors(analysis.load(tmp_path)), tmp_path / "reports")
    assert row["run"] == f'<a href="../a%20b/toy/sgd/{folder.name}">{folder.name}</a>'
    assert re.findall(r'/([a-z.]+)">(\w+)</a>', row["pictures"]) == [
        ("rollout.gif", "rollout"), ("training.png", "training"),
    ]  # fmt: skip
    first = "<details><summary>learning_rate=0.1 …</summary>"
    assert row["options"] == f"{first}schedule=constant clip=none</details>"


def test_a_refused_pair_is_called_refused(page):
    text = page.read_text(encoding="utf-8")
    assert "<b>1</b> refused" in text
    assert "skipped" not in re.sub(r"<script>(?:.|\n)*?</script>", "", text)
    assert "<td>sip</td><td></td><td></td><td>refused</td>" in text, "in the table of scores"
    assert "sip: 1 refused" in text, "in the chart"


def test_a_metric_may_have_the_name_of_a_score_column(tmp_path):
    folder = write_run(tmp_path, "control", "adam", 0, [1.0, 0.5])
    curve = folder / "curve.jsonl"
    named = '{"final_error": 7.0, "metric": 8.0, '
    curve.write_text(curve.read_text().replace("{", named))
    (row,) = run_rows(run_errors(analysis.load(tmp_path)))
    assert row["error"] == "0.5"


def test_pictures_are_small(page):
    (uri,) = re.findall(r'src="data:image/webp;base64,([^"]+)"', page.read_text(encoding="utf-8"))
    assert Image.open(io.BytesIO(base64.b64decode(uri))).size == (760, 190)


def test_a_picture_has_its_method_seed_and_error(tmp_path):
    examples = Path(analysis.__file__).resolve().parent / "example_results" / "designs"
    analysis.write_report(analysis.load(examples), tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<b>ldft2d</b> adam, seed 0, area_percent 2.6" in text


def test_five_hundred_runs_stay_under_five_megabytes(tmp_path):
    random = np.random.default_rng(0)
    for case in range(10):
        for method in range(10):
            for seed in range(5):
                errors = np.exp(-np.cumsum(random.random(30))).tolist()
                times = np.cumsum(random.random(30)).tolist()
                write_run(tmp_path, f"case{case}", f"method{method}", seed, errors, times=times)
    size = analysis.write_report(analysis.load(tmp_path), tmp_path / "report.html")
    assert size < 5e6


def test_a_picture_starts_no_program(tmp_path, monkeypatch):
    """Pillow hands PostScript, under whatever name, to Ghostscript."""
    folder = write_run(tmp_path, "a", "adam", 0, [1.0, 0.5])
    started = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *a, **k: started.append(a))
    (folder / "figure.png").write_bytes(EPS)
    Image.open(folder / "figure.png")  # it is taken for a picture
    assert pictures(run_errors(analysis.load(tmp_path))) == []
    assert not started

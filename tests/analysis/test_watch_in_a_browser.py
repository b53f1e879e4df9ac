"""The live page in a real browser while a sweep runs."""

import base64
import io
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from analysis_records import write_run
from browser import wait_for
from PIL import Image

from physopt.analysis.style import COLOURS

TINY = Path(__file__).resolve().parent.parent / "tiny.py"
HOSTILE = "<script>window.stolen = 1<|script>$$x$$"
WAIT = 300


def shows(text):
    """A script that returns whether the page shows a text."""
    return f"""
        const texts = (node) => [...node.querySelectorAll('*')].flatMap((one) =>
            one.shadowRoot ? [one.shadowRoot.textContent, ...texts(one.shadowRoot)] : []);
        return texts(document).join(' ').includes({text!r})"""


def points(condition):
    """A script that returns the number of points in all charts, if it fulfils a condition."""
    return f"""
        const models = Bokeh.documents.flatMap((one) => [...one._all_models.values()]);
        const lines = models.filter((model) => model.type === "Figure").flatMap(
            (chart) => chart.renderers[1].data_source.data.y ?? []);
        const number = lines.reduce((sum, y) => sum + y.length, 0);
        return number {condition} && number"""


@pytest.fixture
def runs(tmp_path):
    """A sweep that has just been started, and the folder of its runs."""
    root = tmp_path / "runs"
    write_run(root, "hostile", HOSTILE, 0, [1.0, 0.5], status="error", reason=HOSTILE, name="h")
    Image.new("RGB", (40, 30), "white").save(root / "hostile" / HOSTILE / "h" / "figure.png")
    words = [f"problem={TINY}:Tiny", f"rule={TINY}:Sleepy", "rule.learning_rate=0.1,0.3"]
    words += ["rule.seconds=0.1", "steps=60", "log_every=2", "workers=2", f"out={root}"]
    command = [sys.executable, "-m", "physopt", "sweep", *words]
    sweep = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    yield root, sweep
    sweep.send_signal(signal.SIGINT)
    sweep.wait(WAIT)


@pytest.fixture
def watch(runs):
    """The command and the URL of its page."""
    command = [sys.executable, "-u", "-m", "physopt", "watch", str(runs[0]), "every=0.5"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    url = next(line.split()[1] for line in lines if line.startswith("page "))
    yield process, url
    process.kill()
    process.wait()


def seen(browser, colour):
    """Return whether the window shows more than a few pixels of a colour."""
    png = base64.b64decode(browser.get_screenshot_as_base64())
    picture = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), int)
    wanted = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
    return np.sum(np.abs(picture - wanted).max(axis=2) < 12) > 100


def test_a_sweep_is_watched_from_its_start_to_its_report(browser, runs, watch):
    root, sweep = runs
    process, url = watch
    browser.get(url)
    wait_for(browser, "return window.Bokeh && Bokeh.documents.length > 0")
    wait_for(browser, shows("2 running, 1 ended: 1 error"), WAIT)
    wait_for(browser, shows("% of the budget"), WAIT)
    before = wait_for(browser, points("> 3"), WAIT)
    wait_for(browser, points(f"> {before}"), WAIT)
    assert browser.execute_script("return window.stolen === undefined")
    assert seen(browser, COLOURS[1])
    log = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert [entry["message"] for entry in log if "favicon" not in entry["message"]] == []
    assert sweep.wait(WAIT) == 0
    wait_for(browser, shows("0 running, 3 ended: 2 ok, 1 error"), WAIT)
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=WAIT)[0]
    assert process.returncode == 0
    assert f"wrote  {root / 'report.html'}" in rest
    browser.get((root / "report.html").as_uri())
    wait_for(browser, "return document.body.dataset.complete === 'yes'")

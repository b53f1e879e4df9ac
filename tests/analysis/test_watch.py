"""The command watch: what it shows follows the records, and only who has the token sees it."""

import asyncio
import json
import os
import shutil
import socket
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest
from analysis_records import write_run
from bokeh.document import Document
from bokeh.models import Range1d

from physopt.analysis.watch.blocks import block_chart, block_curve
from physopt.analysis.watch.feed import Feed
from physopt.analysis.watch.lines import POINTS, lines
from physopt.analysis.watch.page import Page
from physopt.analysis.watch.panels import _move, log_ticks
from physopt.analysis.watch.server import page_server
from physopt.cli import main
from physopt.commands.watch import Watcher, WatchOptions
from physopt.sweeping.lease import Lease, sweep_is_alive


@pytest.fixture
def results(tmp_path):
    for seed in range(2):
        write_run(tmp_path, "a", "adam", seed, [1.0, 0.5, 0.1])
        write_run(tmp_path, "a", "<b>hig", seed, [1.0, 0.2], status="diverged", reason="<i>nan")
    return tmp_path


def grow(folder, step, error):
    """Append an evaluation to the curve of a run."""
    lines = (folder / "curve.jsonl").read_text().splitlines()
    row = {**json.loads(lines[-1]), "step": step, "t_train": float(step), "error": error}
    (folder / "curve.jsonl").write_text("\n".join([*lines, json.dumps(row), ""]))


def test_a_feed_reads_again_the_runs_that_have_changed(results):
    feed = Feed(results)
    assert feed.poll()
    assert feed.counts() == "0 running, 4 ended: 2 ok, 2 diverged"
    assert not feed.poll()
    folder = results / "a" / "adam" / "a-adam-4-0"
    untouched = feed._entries[results / "a" / "adam" / "a-adam-4-1"]
    grow(folder, 30, 0.01)
    assert feed.poll()
    assert feed.frame.loc[feed.frame["folder"] == str(folder), "error"].tolist()[-1] == 0.01
    assert feed._entries[results / "a" / "adam" / "a-adam-4-1"] is untouched
    shutil.rmtree(folder)
    assert feed.poll()
    assert str(folder) not in set(feed.frame["folder"])


def test_a_feed_notices_that_a_process_has_ended(results):
    from physopt.records import RunFolder

    folder = write_run(results, "a", "adam", 2, [1.0, 0.3], status="running")
    feed = Feed(results)
    with RunFolder(folder).held():
        feed.poll()
        assert feed.active
        assert feed.runs()["folder"].iloc[0] == str(folder), "running runs come first"
        assert feed.progress[str(folder)].phase == "starting"
    assert feed.poll()
    assert not feed.active
    assert feed.counts().endswith("1 interrupted")


def test_lines_end_with_the_newest_point_and_leave_out_what_is_not_finite(tmp_path):
    errors = np.geomspace(1, 1e-6, 3 * POINTS).tolist()
    errors[7] = float("nan")
    write_run(tmp_path, "a", "adam", 0, errors)
    feed = Feed(tmp_path)
    feed.poll()
    (line,) = lines(feed.frame, "updates")
    assert len(line.x) == POINTS
    assert (line.x[0], line.x[-1]) == (0, 10 * (3 * POINTS - 1))
    assert line.y[-1] == errors[-1]
    assert np.isfinite(line.y).all()
    assert (np.diff(line.x) > 0).all()


def test_a_curve_in_blocks_is_linear_for_an_exponential_decay():
    x = np.arange(64)
    rows = block_curve(x, 10.0 ** -(x / 9), 64, height=8)
    levels = [sum(" ▁▂▃▄▅▆▇█".index(row[k]) for row in rows) for k in range(64)]
    assert levels == list(range(64, 0, -1))
    (flat,) = block_curve([0, 1], [3.0, 3.0], 5)
    assert flat == "▁" * 5
    assert block_curve([0, 1], [np.nan, np.inf], 5) == []
    chart = block_chart(x, 10.0 ** -(x / 9), 64, 8, "s")
    assert chart[0].startswith("    1 │█")
    assert chart[7].startswith("1e-07 │█")
    assert chart[-1].rstrip().endswith("63 s")


def page_of(root):
    feed, document = Feed(root), Document()
    feed.poll()
    return feed, Page(document, feed), document


def test_the_page_grows_with_a_record(results):
    feed, page, document = page_of(results)
    names = [key.method for key in page._panels]
    assert names == [None, "<b>hig", "adam"], "the problem, then each of its methods"
    every, hig, adam = page._panels.values()
    assert [len(panel._lines.data["x"]) for panel in (every, hig, adam)] == [4, 2, 2]
    assert len(adam._grey.data["x"]) == 2
    charts = list(page._grid.children)
    grow(results / "a" / "adam" / "a-adam-4-0", 30, 0.01)
    page.refresh()
    assert [len(y) for y in adam._lines.data["y"]] == [3, 3], "the feed was not read yet"
    feed.poll()
    page.refresh()
    assert sorted(len(y) for y in adam._lines.data["y"]) == [3, 4]
    assert page._grid.children == charts, "a chart is kept while its data grow"
    assert getattr(adam.chart.y_range, "start") < 0.01  # noqa: B009
    write_run(results, "b", "adam", 0, [1.0, 0.5])
    feed.poll()
    page.refresh()
    assert [(key.case, key.method) for key in page._panels] == [("a", None), ("b", None)]
    assert len(document.session_callbacks) == 1


def test_names_in_records_are_text(results):
    _, page, _ = page_of(results)
    for shown in (page._heading, page._methods, page._designs):
        assert "<b>hig" not in shown.text
    assert "&lt;b&gt;hig" in page._methods.text


def test_a_range_that_the_user_has_moved_stays():
    axis = Range1d(start=0.1, end=1, reset_start=0.1, reset_end=1)
    _move(axis, 1.0, 10.0, logarithmic=True)
    assert (axis.start, axis.end) == (0.8, 12.5)
    axis.start = 2.0
    _move(axis, 1.0, 100.0, logarithmic=True)
    assert (axis.start, axis.end, axis.reset_end) == (2.0, 12.5, 125.0)


@pytest.mark.parametrize("decades", [0.02, 0.3, 0.7, 2, 9, 40])
def test_a_logarithmic_axis_has_a_few_ticks_inside(decades):
    for low in (1.0, 3.7e-5, 8.9e3):
        ticks = log_ticks(low, low * 10**decades)
        assert 2 <= len(ticks) <= 10
        assert low <= ticks[0] < ticks[-1] <= low * 10**decades


def test_the_server_answers_only_with_the_token(results):
    feed, started, stop = Feed(results), threading.Event(), threading.Event()
    feed.poll()
    urls = []

    async def serve():
        server, url = page_server(feed)
        urls.append(url)
        started.set()
        while not stop.is_set():
            await asyncio.sleep(0.01)
        server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert started.wait(30)
        url, forged = urls[0], urls[0][:-4] + "AAAA"
        bare = url.partition("?")[0]
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert answer.status == 200
        for refused in (bare, forged, f"{bare}autoload.js?bokeh-autoload-element=1"):
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(refused, timeout=30)
        port = int(bare.rpartition(":")[2].strip("/"))
        own = socket.gethostbyname(socket.gethostname())
        if not own.startswith("127."):
            with pytest.raises(OSError, match="refused"):
                socket.create_connection((own, port), timeout=5)
    finally:
        stop.set()
        thread.join()


def test_the_terminal_shows_a_curve_and_the_report_is_written(results, capsys):
    assert main(["watch", str(results), "text=true", "end=true"]) == 0
    out = capsys.readouterr().out
    assert "0 running, 4 ended: 2 ok, 2 diverged" in out
    assert "│█" in out
    assert "<i>nan" in out
    assert f"wrote  {results / 'report.html'}" in out
    assert "<html" in (results / "report.html").read_text()


def test_a_port_that_is_taken_leaves_the_terminal(results, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        words = [f"port={taken.getsockname()[1]}", "end=true", f"out={results / 'r.html'}"]
        assert main(["watch", str(results), *words]) == 0
    out = capsys.readouterr().out
    assert "no page in the browser (" in out
    assert "│█" in out


def test_it_waits_for_the_first_run(tmp_path):
    root = tmp_path / "later"
    feed = Feed(root)
    watcher = Watcher(feed, WatchOptions(end=True, every=1e-9), lambda: False)
    assert watcher.look()
    assert (
        feed.counts()
        == f"no runs below {root} (there is no such folder yet): waiting for the first"
    )
    watcher.report()
    assert not root.exists()
    write_run(root, "a", "adam", 0, [1.0, 0.5])
    watcher._due = 0.0
    assert not watcher.look()


def test_a_sweep_is_alive_until_it_ends(tmp_path):
    below = tmp_path / "problem"
    below.mkdir()
    assert not sweep_is_alive(below)
    lease = Lease(tmp_path)
    assert sweep_is_alive(below)
    os.utime(lease.file, (0, 0))
    assert not sweep_is_alive(below), "a sweep that was killed"
    lease.renew()
    lease.end()
    assert not sweep_is_alive(below)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["{file}"], "is no folder"),
        (["{folder}", "{folder}"], "watch takes one folder"),
        (["{folder}", "prt=1"], "did you mean port?"),
        (["{folder}", "port=70000"], "must be at most 65535"),
    ],
)
def test_a_wrong_argument_is_one_line(tmp_path, capsys, words, expected):
    (tmp_path / "file").touch()
    places = {"folder": str(tmp_path), "file": str(tmp_path / "file")}
    assert main(["watch", *(word.format(**places) for word in words)]) == 2
    err = capsys.readouterr().err
    assert expected in err
    assert err.count("\n") == 1

"""Phases: every second of a run belongs to one phase, and what is done is shown when it begins."""

import io
import json
import time
from contextlib import suppress

from rich.console import Console
from tiny import Sleepy, Tiny

import physopt
from physopt.records import RunFolder
from physopt.training import phases as module
from physopt.training.display import Display, LiveLine, pace_text
from physopt.training.loop import Budget, Clock
from physopt.training.phases import Phases


class Texts(Display):
    def __init__(self):
        self.begun = time.monotonic()
        self.texts = []

    def phase(self, text):
        self.texts.append(text)


def test_an_inner_phase_interrupts_the_outer(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    display, recorded = Texts(), []
    now[0] += 2
    phases = Phases(display, recorded.append)
    with phases.phase("training", "training"):
        now[0] += 3
        with suppress(KeyboardInterrupt), phases.phase("evaluation"):
            now[0] += 0.5
            raise KeyboardInterrupt
        now[0] += 1
    now[0] += 0.25
    assert phases.seconds() == {"start": 2, "records": 0.25, "training": 4, "evaluation": 0.5}
    assert display.texts == recorded == ["training"]


def test_a_run_accounts_for_its_wall_time(tmp_path):
    display = Texts()
    settings = {"steps": 4, "figures": True, "out": tmp_path}
    run = physopt.run(Tiny(), Sleepy(seconds=0.1), display=display, **settings)
    phases = run.status["phases"]
    assert set(phases) == {
        "start", "records", "setup", "evaluation", "compilation", "training", "baselines", "figures"
    }  # fmt: skip
    assert phases["training"] >= 0.4
    assert display.texts == [
        "building the network and drawing the test set",
        "evaluating the initial parameters",
        "compiling an update",
        "training",
        "evaluating the best parameters",
        "drawing the figures",
    ]


def test_a_terminal_shows_the_phase_and_its_seconds():
    screen = io.StringIO()
    display = LiveLine(Console(file=screen, force_terminal=True, width=80))
    time.sleep(1.1)
    display.phase("drawing the test set")
    display.close()
    assert "importing JAX, the problem and the rule  1 s" in screen.getvalue()
    assert "drawing the test set" in screen.getvalue()


def test_no_time_is_left_at_the_end():
    assert pace_text(Clock(step=5, t_train=1.0), Budget(10, None)).endswith("1 s left")
    assert pace_text(Clock(step=10, t_train=2.0), Budget(10, None)).endswith("200 ms/update")


def test_the_newest_row_is_the_last_complete_one(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.newest_row() == {}
    rows = "".join(json.dumps({"step": step, "pad": "x" * 40_000}) + "\n" for step in range(5))
    (tmp_path / "curve.jsonl").write_text(rows + '{"step": 7')
    assert folder.newest_row()["step"] == 4

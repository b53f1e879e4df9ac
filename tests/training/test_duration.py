"""The duration that a run announces: its arithmetic, and that nothing recorded depends on it."""

import math

import pytest
from tiny import Descent, Tiny

import physopt
from physopt.training import timing
from physopt.training.display import Display
from physopt.training.loop import Budget, Clock, Piece
from physopt.training.timing import announcing_duration, duration_text


def clocks(*times):
    """Return clocks at (step, training seconds)."""
    return [Clock(step=step, t_train=seconds) for step, seconds in times]


def announced(times, budget):
    """Return the notes on the pieces that end at the given clocks, with the number of each."""
    notes = []
    pieces = [Piece(None, clock, None) for clock in clocks(*times)]  # type: ignore[arg-type]
    kept = []
    for piece in announcing_duration(pieces, Clock(), budget, notes.append):
        kept.append(piece)
        notes.append(len(kept))
    assert kept == pieces
    return notes


def test_the_estimate_is_the_updates_left_times_the_time_of_one():
    before, after = clocks((10, 7.0), (14, 9.0))  # half a second each, 100,000 of them left
    text = duration_text(before, after, Budget(100_014, None))
    assert text is not None
    assert "13 h 53 min" in text
    assert "100000 updates of 500 ms" in text


def test_a_time_budget_that_ends_earlier_bounds_the_estimate():
    before, after = clocks((0, 0.0), (2, 1.0))
    text = duration_text(before, after, Budget(100_000, 601.0))
    assert text is not None
    assert "10 min 00 s" in text


@pytest.mark.parametrize("budget", [Budget(None, 1e6), Budget(240, None), Budget(10**6, 100.0)])
def test_short_training_and_a_time_budget_alone_are_not_announced(budget):
    before, after = clocks((0, 0.0), (2, 1.0))
    assert duration_text(before, after, budget) is None


def test_the_second_piece_is_the_basis_and_is_announced_once():
    notes = announced([(1, 0.4), (9, 1.2), (17, 2.0)], Budget(100_009, None))
    assert notes[0] == 1, "the first call of a program is not typical"
    assert "100000 updates of 100 ms" in notes[1]
    assert notes[2:] == [2, 3]


def test_a_long_first_update_is_announced_at_once():
    notes = announced([(1, 30.0), (2, 59.0)], Budget(1001, None))
    assert "1000 updates of 30 s" in notes[0]
    assert notes[1:] == [1, 2]


class Notes(Display):
    """Keeps the notes of a run."""

    def __init__(self):
        self.texts = []

    def note(self, text):
        self.texts.append(text)


def test_a_long_run_is_announced_and_its_record_stays_the_same(tmp_path, monkeypatch):
    curves, estimates = [], []
    for limit in (0.0, math.inf):
        monkeypatch.setattr(timing, "LONG_SECONDS", limit)
        display = Notes()
        run = physopt.run(Tiny(), Descent(), display=display, steps=40, out=tmp_path / str(limit))
        curves.append(run.curve.drop(columns=["t_train", "t_compile", "t_eval", "compile_cached"]))
        estimates.append([text for text in display.texts if text.startswith("estimate")])
    assert len(estimates[0]) == 1
    assert not estimates[1]
    assert curves[0].equals(curves[1])

"""Timing: when the milliseconds of a run are not to be trusted."""

import pytest

from physopt.records.timing import load_of_others, paces, timing_remark


def curve(seconds, updates=10):
    """Return the rows of a run whose intervals of 10 updates took these seconds."""
    rows, total = [{"step": 0, "t_train": 0.0}], 0.0
    for number, interval in enumerate(seconds, 1):
        total += interval
        rows.append({"step": number * updates, "t_train": total})
    return rows


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([1.0] * 8, (0.1, 0.1)),
        ([1.0] * 4 + [3.0] * 4, (0.1, 0.3)),
        ([1.0, 3.0] * 4, (0.2, 0.2)),  # each quarter has both
        ([1.0, 4.0], (0.1, 0.4)),
        ([4.0], None),
        ([], None),
        ([0.001] * 4 + [0.003] * 4, None),  # too short to be measured
    ],
)
def test_pace_of_the_fastest_and_the_slowest_quarter(seconds, expected):
    assert paces(curve(seconds)) == (expected if expected is None else pytest.approx(expected))


def test_evaluations_at_uneven_steps_make_quarters_of_updates_not_of_rows():
    rows = [{"step": n, "t_train": 0.1 * n} for n in (0, 1, 2, 3, 4, 100)]
    assert paces(rows) == pytest.approx((0.1, 0.1)) or paces(rows) is None


def test_damaged_rows_are_passed_over():
    rows = [*curve([1.0] * 4), {"step": None}, {"t_train": "x", "step": 3}, {}]
    assert paces(rows) == pytest.approx((0.1, 0.1))


def test_the_load_at_the_end_includes_the_run_itself():
    assert load_of_others(1.5, 2.2) == 1.5
    assert load_of_others(0.2, 5.0) == 4.0
    assert load_of_others(None, None) is None


def test_remarks_name_load_and_drift_with_their_numbers():
    assert timing_remark(curve([1.0] * 8), 2.0, 2) == ""
    assert timing_remark(curve([1.0] * 4 + [1.9] * 4), None, 2) == ""
    text = timing_remark(curve([0.1] * 4 + [1.0] * 4), 9.5, 2)
    assert text == "load 9.5 on 2 cores, 10 ms to 100 ms per update within the run"
    assert timing_remark(curve([1.0] * 8), 9.5, None) == "", "an accelerator hardly waits"

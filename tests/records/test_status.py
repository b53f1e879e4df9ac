"""Statuses: every way in which a process can end gives one status."""

import signal

import pytest

from physopt.records.status import End, last_line, verdict

KILL, SEGV, INT = -signal.SIGKILL, -signal.SIGSEGV, -signal.SIGINT


@pytest.mark.parametrize(
    ("end", "own", "expected"),
    [
        (End(0, None, "", False), "ok", "ok"),
        (End(1, None, "", False), "diverged", "diverged"),
        (End(KILL, "timeout", "", False), "ok", "ok"),  # it had finished before the time limit
        (End(1, None, "", False), "error", "error"),
        (End(130, "sweep", "", False), "interrupted", "interrupted"),
        (End(130, "timeout", "", False), "interrupted", "timeout"),
        (End(KILL, "timeout", "", False), "running", "timeout"),
        (End(KILL, "sweep", "", False), "running", "interrupted"),
        (End(KILL, None, "", True), "running", "oom"),
        (End(137, None, "", True), "running", "oom"),
        (End(KILL, None, "", None), "running", "oom"),
        (End(KILL, None, "", False), "running", "interrupted"),
        (End(-signal.SIGABRT, None, "std::bad_alloc", False), "running", "oom"),
        (End(1, None, "XlaRuntimeError: RESOURCE_EXHAUSTED: x", False), "", "oom"),
        (End(SEGV, None, "", False), "running", "error"),
        (End(INT, None, "", False), "", "interrupted"),
        (End(2, None, "physopt: device=gpu: no gpu", False), "", "error"),
        (End(0, None, "", False), "", "error"),
        (End(75, None, "", False), "", "locked"),
        (End(75, None, "", False), "running", "locked"),
    ],
)
def test_verdict(end, own, expected):
    record = {"status": own, "reason": "own"} if own else {}
    status, reason = verdict(end, record, 7.0)
    assert status == expected
    assert reason


def test_reasons_describe_what_happened():
    assert verdict(End(1, "timeout", "", None), {}, 90.0)[1] == "wall-clock limit of 90 s"
    assert "source changed" in verdict(End(0, None, "", False), {}, None)[1]
    assert "no gpu" in verdict(End(2, None, "x\nphysopt: no gpu\n\n", None), {}, None)[1]
    own = {"status": "error", "reason": "ValueError: CUDA_ERROR: out of memory"}
    assert verdict(End(1, None, "", None), own, None) == ("oom", own["reason"])
    assert last_line("a\n" + "b" * 1000) == "b" * 500

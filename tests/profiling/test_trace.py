"""Costs of operations, computed from handmade timelines of traced events."""

import random
from types import SimpleNamespace

import jax
import pytest

from physopt.profiling.hlo import Operation
from physopt.profiling.trace import Event, costs, read_trace

LOOP = Operation("while", "while", "f", "a.py:1")
CALL = Operation("call", "call", "f", "a.py:2")
DOT = Operation("dot_general", "dot", "g", "a.py:3")
SUM = Operation("reduce_sum", "fusion", "g", "a.py:4")
KNOWN = {"while.1": LOOP, "call.1": CALL, "dot.1": DOT, "dot.2": DOT, "sum.1": SUM}


def spent(lines, window=1e-6):
    """Return {operation: (nanoseconds, calls)}."""
    events = [[Event(*event) for event in line] for line in lines]
    table = costs(events, KNOWN, window)
    for cost in table:
        assert cost.share == pytest.approx(cost.seconds / window)
    assert [cost.seconds for cost in table] == sorted((c.seconds for c in table), reverse=True)
    return {c.operation: (pytest.approx(c.seconds * 1e9), c.calls) for c in table}


def test_the_cost_of_a_loop_excludes_nested_operations():
    line = [(0, 100, "while.1"), (10, 40, "dot.1"), (50, 70, "sum.1"), (80, 90, "dot.2")]
    assert spent([line]) == {"while": (40, 1), "dot_general": (40, 2), "reduce_sum": (20, 1)}


def test_parallel_operations_share_the_time():
    # 0-20 dot alone, 20-60 both, 60-100 sum alone; nothing runs from 100 to 120.
    lines = [[(0, 60, "dot.1"), (120, 130, "dot.2")], [(20, 100, "sum.1")]]
    assert spent(lines) == {"dot_general": (50, 2), "reduce_sum": (60, 1)}


def test_a_loop_waiting_for_another_thread_costs_nothing():
    lines = [[(0, 100, "while.1")], [(10, 95, "dot.1")]]
    assert spent(lines) == {"while": (15, 1), "dot_general": (85, 1)}


def test_work_on_other_threads_counts_until_its_end():
    # The sum's event ends at 10, its work at 70 at the latest; dot works from 50 to 65.
    lines = [[(0, 10, "sum.1", 70)], [(50, 65, "dot.1", 64)], [(0, 90, "while.1")]]
    assert spent(lines) == {"reduce_sum": (55, 1), "dot_general": (15, 1), "while": (20, 1)}


def test_a_call_waits_only_for_nested_events():
    # A call compiled as one kernel works and shares the time; one with nested events waits.
    alone = [[(0, 100, "call.1")], [(0, 100, "dot.1")]]
    assert spent(alone) == {"call": (50, 1), "dot_general": (50, 1)}
    around = [[(0, 100, "call.1"), (0, 10, "sum.1")], [(0, 100, "dot.1")]]
    assert spent(around) == {"call": (0, 1), "reduce_sum": (5, 1), "dot_general": (95, 1)}


def test_costs_sum_to_the_time_in_which_any_operation_runs():
    random.seed(0)

    def nested(start, end, depth):
        yield start, end, random.choice(list(KNOWN))
        inner = sorted(random.sample(range(start, end + 1), 4)) if depth and end - start > 4 else ()
        for a, b in zip(inner[::2], inner[1::2], strict=True):
            yield from nested(a, b, depth - 1)

    for _ in range(50):
        lines = [
            [event for k in range(3) for event in nested(100 * k, 100 * k + 60 + 9 * thread, 3)]
            for thread in range(3)
        ]
        total = sum(value.expected for value, _ in spent(lines).values())
        assert total == pytest.approx(3 * 78)  # the time in which the busiest thread works


def test_kernels_of_an_accelerator_are_mapped_to_operations(monkeypatch, tmp_path):
    """Only the streams of one accelerator are read: not the host, not a second accelerator."""

    def plane(name, *streams):
        lines = [SimpleNamespace(events=stream) for stream in streams]
        return SimpleNamespace(name=name, lines=lines)

    def event(name, start, duration, **stats):
        return SimpleNamespace(name=name, start_ns=start, duration_ns=duration, stats=stats.items())

    gemm = event("gemm_128x64", 40, 20, hlo_op="dot.1")
    fusion = event("loop_fusion", 70, 10, hlo_op="sum.1")
    planes = [
        plane("/host:CPU", [event("dot.1", 0, 500)]),
        plane(
            "/device:GPU:0", [gemm, fusion], [event("MemcpyD2H", 0, 9)], [event("dot.2", 50, 20)]
        ),
        plane("/device:GPU:1", [gemm]),
    ]
    (tmp_path / "name.xplane.pb").touch()
    content = SimpleNamespace(from_file=lambda path: SimpleNamespace(planes=planes))
    monkeypatch.setattr(jax.profiler, "ProfileData", content)
    lines = read_trace(tmp_path, KNOWN)
    assert [[tuple(e) for e in line] for line in lines] == [
        [(40, 60, "dot.1", 0.0), (70, 80, "sum.1", 0.0)],
        [(50, 70, "dot.2", 0.0)],
    ]

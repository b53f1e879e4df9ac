"""Traced events of a program's operations, and the cost of each.

A CPU executes operations on several threads, nested and in part unnamed: a loop may wait while
another thread executes its body, and a matrix product is distributed over threads whose events have
no names. Here every moment is attributed to the operations that are active in it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import jax

from physopt.profiling.hlo import Operation

_CONTROL = ("while", "conditional", "call")
_END = "end: "


class ProfileError(Exception):
    """A profile cannot be made; the message is the reason."""


class Event(NamedTuple):
    """An executed instruction, in nanoseconds."""

    start: float
    end: float
    instruction: str
    over: float = 0.0  # end of the work that it started on other threads, if any


class Activity(Enum):
    """State of an event. Time is attributed to the first of these that is present."""

    WORKS = 1
    LEFT = 2  # to unnamed threads; only an upper bound on its end is known
    WAITS = 3  # a loop whose body another thread executes


class Piece(NamedTuple):
    """A part of an event."""

    start: float
    end: float
    instruction: str
    activity: Activity


class Cost(NamedTuple):
    """Cost of an operation in the window; the fields are the columns of operations.csv.

    The seconds exclude nested operations: those inside a loop do not count for the loop. Concurrent
    operations share the time equally, so that the sum is at most the window. share is the fraction
    of the window.
    """

    operation: str
    hlo: str
    function: str
    source: str
    seconds: float
    share: float
    calls: int


def read_trace(scratch: Path, known: Mapping[str, Operation]) -> list[list[Event]]:
    """Return the events of each line, which is a thread of a CPU or a stream of an accelerator.

    Of several accelerators only one is read, since all execute the same program. Raises
    ProfileError if the trace names no operation of the program.
    """
    for path in scratch.rglob("*.xplane.pb"):
        planes = list(jax.profiler.ProfileData.from_file(str(path)).planes)
        for plane in sorted(planes, key=lambda plane: not plane.name.startswith("/device:")):
            if lines := _lines(plane, known):
                return lines
    raise ProfileError("the trace of this backend names no operations")


def _lines(plane: Any, known: Mapping[str, Operation]) -> list[list[Event]]:
    lines, ended = [], defaultdict(list)
    for line in plane.lines:
        events = []
        for event in line.events:
            name = event.name.removeprefix("%").partition(" ")[0]
            if event.name.startswith(_END):
                ended[event.name.removeprefix(_END)].append(event.start_ns)
                continue
            if name not in known:  # an accelerator's kernel has a different name
                name = str(dict(event.stats).get("hlo_op", ""))
            if name in known:
                events.append(Event(event.start_ns, event.start_ns + event.duration_ns, name))
        lines.append(sorted(events, key=lambda event: (event.start, -event.end)))
    return [line for line in _with_ends(lines, ended) if line]


def _with_ends(lines: list[list[Event]], ended: Mapping[str, list[float]]) -> list[list[Event]]:
    """Attach the end time of asynchronous work to events, if the trace contains it.

    An instruction does not overlap with itself: its k-th end belongs to its k-th event.
    """
    begun = defaultdict(list)
    for event in sorted(event for line in lines for event in line):
        begun[event.instruction].append(event)
    over = {}
    for name, events in begun.items():
        if len(events) == len(ended.get(name, ())):
            over.update(zip(events, sorted(ended[name]), strict=True))
    return [[event._replace(over=over.get(event, 0.0)) for event in line] for line in lines]


def costs(
    lines: Sequence[Sequence[Event]], known: Mapping[str, Operation], window: float
) -> list[Cost]:
    """Return the cost of each operation in a window of given seconds, the most expensive first.

    Every line's events are sorted by their start, an outer event before nested ones.
    """
    calls = Counter(known[event.instruction] for line in lines for event in line)
    pieces = [piece for line in lines for piece in (*_innermost(line, known), *_tails(line, known))]
    changes = [(piece.start, 1, piece) for piece in pieces]
    changes += [(piece.end, -1, piece) for piece in pieces]
    spent: dict[Operation, float] = defaultdict(float)
    running: dict[Activity, Counter[str]] = {activity: Counter() for activity in Activity}
    before = 0.0
    for now, change, piece in sorted(changes, key=lambda change: change[:2]):
        active = next(filter(None, running.values()), Counter[str]())
        total = active.total()
        for name, count in active.items():
            spent[known[name]] += (now - before) * 1e-9 * count / total
        running[piece.activity][piece.instruction] += change
        if not running[piece.activity][piece.instruction]:
            del running[piece.activity][piece.instruction]
        before = now
    table = [Cost(*op, spent[op], spent[op] / window, calls[op]) for op in calls]
    return sorted(table, key=lambda cost: -cost.seconds)


def _innermost(line: Sequence[Event], known: Mapping[str, Operation]) -> Iterator[Piece]:
    """Cut a line into pieces of its innermost events, whose time does not count for outer ones."""
    stack: list[tuple[Event, bool]] = []
    at = 0.0

    def piece(until: float) -> Iterator[Piece]:
        nonlocal at
        event, outer = stack[-1]
        until = min(until, event.end)
        if until > at:
            # A call without nested events is a single kernel, and works.
            hlo = known[event.instruction].hlo
            waits = hlo in _CONTROL and (outer or hlo != "call")
            yield Piece(at, until, event.instruction, Activity.WAITS if waits else Activity.WORKS)
        at = max(at, until)

    for event in line:
        while stack and stack[-1][0].end <= event.start:
            yield from piece(stack[-1][0].end)
            stack.pop()
        if stack:
            stack[-1] = (stack[-1][0], True)
            yield from piece(event.start)
        at = max(at, event.start)
        stack.append((event, False))
    while stack:
        yield from piece(stack[-1][0].end)
        stack.pop()


def _tails(line: Sequence[Event], known: Mapping[str, Operation]) -> Iterator[Piece]:
    """Yield the work on other threads that outlasts the events that started it."""
    for event in line:
        if event.over > event.end:
            control = known[event.instruction].hlo in _CONTROL
            activity = Activity.WAITS if control else Activity.LEFT
            yield Piece(event.end, event.over, event.instruction, activity)

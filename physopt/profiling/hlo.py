"""Operations of a compiled program, and the source line of each.

XLA prints a program with one instruction per line,
`%fusion.37 = f32[8] fusion(...), metadata={...}`, and the Python stack of each in tables at its
head. A trace names instructions only; this module maps their names to functions in the source.
"""

import re
import sysconfig
from pathlib import Path
from typing import NamedTuple


class Operation(NamedTuple):
    """What an instruction computes; instructions with equal fields are reported as one."""

    operation: str  # the JAX primitive, or XLA's name if the compiler added it
    hlo: str  # XLA's operation: fusion, dot, while, ...
    function: str  # the function of the line; "" if the compiler added it
    source: str  # file:line, relative to the package


class Place(NamedTuple):
    """A line of source."""

    function: str
    source: str
    own: bool  # not in a library


NOWHERE = Place("", "", False)

_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?(?P<name>[\w.\-]+) = .*? (?P<hlo>[a-z][a-z0-9\-]*)\(")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_CALLED = re.compile(r"\b(?:calls|to_apply)=%?([\w.\-]+)")
_NAME = re.compile(r'op_name="([^"]*)"')
_FRAME = re.compile(r"stack_frame_id=(\d+)")


def operations(text: str) -> dict[str, Operation]:
    """Return {instruction: operation} of a compiled program, given `compiled.as_text()`.

    A fusion is named by its last step, as in XLA.
    """
    places, by_name, roots, computation = _places(text), {}, {}, ""
    for line in text.splitlines():
        if opened := _COMPUTATION.match(line):
            computation = opened.group(1)
        if not (match := _INSTRUCTION.match(line)):
            continue
        name, frame = _NAME.search(line), _FRAME.search(line)
        called = _CALLED.search(line)
        if name is None and called is not None:  # called computations precede their callers
            primitive, place = roots.get(called.group(1), ("", NOWHERE))
        else:
            primitive = name.group(1).rpartition("/")[2] if name else ""
            place = places.get(frame.group(1), NOWHERE) if frame else NOWHERE
        if primitive:
            roots[computation] = primitive, place
        hlo = match.group("hlo")
        by_name[match.group("name")] = Operation(primitive or hlo, hlo, *place[:2])
    return by_name


def _places(text: str) -> dict[str, Place]:
    """Return {stack frame: its innermost line outside of libraries}."""
    files = _table(text, "FileNames", r'(\d+) "(.*)"')
    functions = _table(text, "FunctionNames", r'(\d+) "(.*)"')
    row = r"(\d+) \{file_name_id=(\d+) function_name_id=(\d+) line=(\d+)"
    lines = {
        key: _place(files[file][0], functions[function][0], line)
        for key, (file, function, line) in _table(text, "FileLocations", row).items()
    }
    row = r"(\d+) \{file_location_id=(\d+) parent_frame_id=(\d+)\}"
    frames = _table(text, "StackFrames", row)
    # Frames are numbered from 1. Some versions print parents one too high, which shows if a frame
    # is its own parent.
    shift = any(key == parent for key, (_, parent) in frames.items())
    return {key: _innermost(key, frames, lines, int(shift)) for key in frames}


def _innermost(
    key: str, frames: dict[str, tuple[str, ...]], lines: dict[str, Place], shift: int
) -> Place:
    first = lines[frames[key][0]]
    while key in frames:
        line, parent = frames[key]
        if lines[line].own:
            return lines[line]
        key = str(int(parent) - shift)
    return first


def _table(text: str, title: str, row: str) -> dict[str, tuple[str, ...]]:
    """Read a table at the head of a program: a title, rows `key ...`, an empty line."""
    _, _, rest = text.partition(f"\n{title}\n")
    rows = re.findall(f"^{row}", rest.partition("\n\n")[0], re.MULTILINE)
    return {key: tuple(values) for key, *values in rows}


def _place(path: str, function: str, line: str) -> Place:
    """Name a line without local folders."""
    package = Path(__file__).parent.parent
    for root in (package.parent / "physopt", package.resolve()):
        if Path(path).is_relative_to(root):
            within = Path(path).relative_to(root)
            return Place(function, f"physopt/{within.as_posix()}:{line}", True)
    for kind in ("purelib", "platlib", "stdlib"):
        root = sysconfig.get_path(kind)
        if Path(path).is_relative_to(root):
            return Place(function, f"{Path(path).relative_to(root).as_posix()}:{line}", False)
    return Place(function, f"{Path(path).name}:{line}", True)

"""Which tests only the nightly run covers: the list in nightly.txt."""

import re
from collections import defaultdict
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


def nightly_cases() -> dict[str, list[slice]]:
    """Return the cases of each test that nightly.txt lists, {"file.py::test": [slice, ...]}."""
    cases = defaultdict(list)
    for line in (HERE / "nightly.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        listed = re.fullmatch(r"(\S+?)(?:\[(\d*):(\d*)\])?", line)
        if listed is None:
            raise pytest.UsageError(
                f"tests/nightly.txt: {line}: expected PATH::TEST or PATH::TEST[n:]"
            )
        name, *ends = listed.groups()
        cases[name].append(slice(*(int(end) if end else None for end in ends)))
    return cases

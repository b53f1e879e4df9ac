"""The command feasibility: a map of what a device can train."""

from functools import partial

from physopt.commands import Command, plain_help
from physopt.config.parse import flat_arguments
from physopt.config.text import from_text
from physopt.feasibility.options import FeasibilityOptions
from physopt.options import annotations

_USAGE = "feasibility [problem=NAME] [rule=NAME] [sizes=A,B] [batches=C,D] [key=value ...]"

_DESCRIPTION = """
    Map which sizes of a problem and which batches fit into a device's memory, by gradient mode.

    python -m physopt feasibility
    python -m physopt feasibility problem=ldft3d sizes=10,20,30 batches=1,8,64 memory_limit=16GiB
    python -m physopt feasibility rule=hig modes=implicit,remat dtype=float64 confirm=0
    python -m physopt feasibility problem=quantum size_option=points sizes=14,28,56
    python -m physopt feasibility rule=hig mode_option=rule.method modes=layerwise,rows,krylov

    Each cell's training program is compiled from shapes, which takes seconds; the compiler reports
    the memory that it needs, and nothing is run. Then the `confirm` cells nearest to the limit,
    inside and outside, are run for one update each, in a process of its own that is killed when it
    holds more than the limit. The limit applies to the program of the updates: it excludes
    evaluation, which takes at most 64 held-out samples or one batch at a time, and Python itself.

    The map lies in out/problem/rule/feasibility_ID: feasibility.csv and feasibility.png. Cells of
    the table are not compiled again: an interrupted map resumes, and sizes, batches and modes can
    be added. All settings of `run` and all options of problem and rule are accepted, and these
    options:
"""


def _feasibility(words: list[str]) -> int:
    given = flat_arguments(words)
    own = {name: given.pop(name) for name in annotations(FeasibilityOptions) if name in given}
    options = from_text(FeasibilityOptions, own)

    from physopt.training.display import activity

    with activity():
        from physopt.feasibility.map import TABLE, draw, make_map
        from physopt.feasibility.request import read_request
        from physopt.feasibility.tables import show_map

        request = read_request(options, given)
    table = make_map(request, partial(print, flush=True))
    picture = draw(request, table)
    show_map(table, request.limit)
    print(f"\nwrote  {request.folder.path / TABLE}")
    print(f"wrote  {picture}" if picture else "no cell has a prediction to be drawn")
    return 0


FEASIBILITY = Command(
    _USAGE,
    "map the sizes and batches that fit into memory",
    _feasibility,
    plain_help(_USAGE, _DESCRIPTION, FeasibilityOptions),
    FeasibilityOptions,
    takes_run=True,
)

"""The command that maps what a device can train: feasibility."""

import dataclasses
from textwrap import dedent

from physopt.commands import Command
from physopt.config.help import help_text
from physopt.config.parse import flat_arguments
from physopt.config.text import from_text
from physopt.feasibility.options import FeasibilityOptions

_USAGE = "feasibility [problem=NAME] [rule=NAME] [sizes=A,B] [batches=C,D] [key=value ...]"

_DESCRIPTION = dedent("""
    Map which sizes of a problem and which batches a device's memory can train, by gradient mode.

    python -m physopt feasibility
    python -m physopt feasibility problem=ldft3d sizes=10,20,30 batches=1,8,64 memory_limit=16GiB
    python -m physopt feasibility rule=hig modes=implicit,remat dtype=float64 confirm=0
    python -m physopt feasibility problem=quantum size_option=points sizes=14,28,56
    python -m physopt feasibility rule=hig mode_option=rule.method modes=layerwise,rows,krylov

    Each cell's training program is compiled from shapes, which takes seconds, and the compiler says
    what memory it needs; nothing is run. Then `confirm` cells nearest to the limit, inside and
    outside, are run for one update each, in a process of its own that is killed when it holds more
    than the limit. What counts is the program of the updates: evaluation, which takes held-out
    samples 64 or a batch at a time, and Python itself are not in it.

    The map lies in out/problem/rule/feasibility_ID: feasibility.csv and feasibility.png. Cells that
    are there are not compiled again, so that an interrupted map goes on, and sizes, batches and
    modes can be added. Every setting of `run` and every option of problem and rule may be given
    beside these:
""").strip()


def _feasibility(words: list[str]) -> int:
    given = flat_arguments(words)
    names = [field.name for field in dataclasses.fields(FeasibilityOptions)]
    own = {name: given.pop(name) for name in names if name in given}
    for name in ("sizes", "batches", "modes"):
        if name in own and not own[name].startswith("["):
            own[name] = f"[{own[name]}]"
    options = from_text(FeasibilityOptions, own)

    from physopt.feasibility.confirm import confirm
    from physopt.feasibility.request import read_request
    from physopt.feasibility.survey import TABLE, draw, survey
    from physopt.feasibility.tables import show_map

    request = read_request(options, given)
    table = confirm(request, survey(request, _note), _note)
    picture = draw(request, table)
    show_map(table, request.limit)
    print(f"\nwrote  {request.folder.path / TABLE}")
    print(f"wrote  {picture}" if picture else "no cell is known well enough to be drawn")
    return 0


def _note(text: str) -> None:
    print(text, flush=True)


def _help(words: list[str]) -> str:
    options = help_text(FeasibilityOptions, "feasibility")
    return f"usage: python -m physopt {_USAGE}\n\n{_DESCRIPTION}\n\n{options}"


FEASIBILITY = Command(_USAGE, "map the sizes and batches that fit into memory", _feasibility, _help)

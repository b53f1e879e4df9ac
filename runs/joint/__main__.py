"""Joint and individual solves of fixed sets of inverse problems: who solves what fraction?

    python runs/joint                           all cases
    python runs/joint cases=[billiards_16,sin]  some of them
    python runs/joint run=false                 table and figure from the records of earlier runs

All methods solve the same samples, the test set of a problem, and are scored on it; only the last
one makes a claim about other samples. The results are out/table.md and out/fractions.png;
runs/joint/README.md discusses them.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import methods
import summary
from cases import CASES

from physopt.options import OptionError, Options, suggest
from physopt.script import script

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class JointOptions(Options):
    """Options of the comparison."""

    cases: tuple[str, ...] = tuple(CASES)
    """Cases to run, of those in runs/joint/cases.py."""

    out: Path = Path("runs/results/joint")
    """Folder of the runs; the ones that are finished are not repeated."""

    results: Path = HERE / "out"
    """Folder of the table and the figure."""

    run: bool = True
    """Make the runs that are missing; false reads those that exist."""

    def __post_init__(self) -> None:
        """Refuse an unknown case."""
        super().__post_init__()
        for name in self.cases:
            if name not in CASES:
                raise OptionError(type(self), "cases", name, suggest(name, CASES))


def compare(options: JointOptions) -> None:
    """Make the runs, write their numbers, and write table and figure."""
    numbers = options.results / "numbers.csv"
    if options.run:
        for name in options.cases:
            summary.write_numbers(methods.solve(name, CASES[name], options.out), numbers)
    summary.write(summary.read_numbers(numbers), options.results)


if __name__ == "__main__":
    sys.exit(script(JointOptions, compare, __doc__, sys.argv[1:]))

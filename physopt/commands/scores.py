"""Commands on many runs: score, report, compare."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from physopt.commands import Command, plain_help
from physopt.config.parse import flat_arguments
from physopt.config.text import from_text
from physopt.options import OptionError, Options

if TYPE_CHECKING:
    from physopt.analysis import Comparison

_WRITERS: dict[str, Callable[..., Any]] = {
    ".csv": lambda table, path: table.to_csv(path, index=False),
    ".json": lambda table, path: table.to_json(path, orient="records", indent=1),
    ".parquet": lambda table, path: table.to_parquet(path, index=False),
}


@dataclass(frozen=True)
class ComparisonOptions(Options):
    """What is compared, and what is allowed to differ."""

    axis: Literal["seconds", "updates", "calls"] = "seconds"
    """Cost that progress is measured against: training seconds, updates, or physics calls."""

    compile: bool = False
    """Add compilation to the seconds."""

    allow: tuple[str, ...] = ()
    """Unequal conditions to allow and report: devices (runs on different devices, each shown as a
    method of its own), versions (runs of one method made with different versions of libraries),
    tuning (options tuned with unequal numbers of trials), train_on (runs with train_on=test, which
    trained on the samples that are scored)."""

    debug: bool = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class ScoreOptions(ComparisonOptions):
    """Options of the scores, and the file of their table."""

    out: Path | None = None
    """Table to write in addition, one row per problem and method: .csv, .json or .parquet (with
    pyarrow installed)."""

    def __post_init__(self) -> None:
        """Refuse a file of another kind before anything is read."""
        super().__post_init__()
        if self.out is not None and self.out.suffix not in _WRITERS:
            raise OptionError(type(self), "out", self.out, f"must end with {', '.join(_WRITERS)}")


@dataclass(frozen=True)
class ReportOptions(ComparisonOptions):
    """Options of the scores, and the file of the report."""

    out: Path | None = None
    """File to write; none writes report.html to the first folder, or to the working directory if
    that folder is read-only."""


@dataclass(frozen=True)
class CompareOptions(ComparisonOptions):
    """Options of the scores, and the file of the figure."""

    out: Path = Path("comparison.png")
    """Figure to write."""


def _score(words: list[str]) -> int:
    comparison, _, options = _read(words, ScoreOptions)
    from physopt.analysis import tables

    tables.print_scores(comparison)
    if options.out is not None:
        from physopt.analysis import score_table

        try:
            _WRITERS[options.out.suffix](score_table(comparison), options.out)
        except ImportError:
            reason = "needs pyarrow, which is not installed; a .csv file does not"
            raise OptionError(ScoreOptions, "out", options.out, reason) from None
        print(f"wrote  {options.out}")
    return 0


def _report(words: list[str]) -> int:
    comparison, folders, options = _read(words, ReportOptions)
    write_report_of(comparison, folders[0], options.out)
    return 0


def write_report_of(comparison: "Comparison", folder: Path | str, out: Path | None) -> Path:
    """Write a report, to report.html in a folder if `out` is None; print and return its path.

    A folder that is read-only makes it report.html in the working directory.
    """
    from physopt.analysis.report import Parts, write_parts

    out = out or Path(folder if os.access(folder, os.W_OK) else ".", "report.html")
    parts = Parts.of(comparison)
    size = write_parts(parts, out)
    print(f"wrote  {out}  ({size / 1e6:.1f} MB, opens offline in any browser)")
    for sentence in parts.left_out():
        print(f"left out  {sentence}")
    return out


def _compare(words: list[str]) -> int:
    comparison, folders, options = _read(words, CompareOptions, count=2)
    from physopt import analysis
    from physopt.analysis import tables

    tables.print_comparison(analysis.compare(comparison), folders)
    analysis.plot_comparison(comparison).savefig(options.out)
    print(f"wrote  {options.out}")
    return 0


def _read(words: list[str], cls: type, count: int | None = None):
    """Return a Comparison of the runs in the folders among the words, the folders, the options."""
    folders = [word for word in words if names_folder(word)]
    options = from_text(cls, flat_arguments([word for word in words if word not in folders]))
    if count not in (None, len(folders)):
        raise OptionError(object, "folder", "", f"compare takes {count} folders")
    folders = folders or ["runs/results"]
    from physopt import analysis

    frame = analysis.load(*folders)
    if frame.empty:
        raise OptionError(object, "folder", " ".join(folders), "contains no runs")
    compile_time, allow = options.compile, options.allow
    comparison = analysis.Comparison(frame, options.axis, compile_time=compile_time, allow=allow)
    return comparison, folders, options


def names_folder(word: str) -> bool:
    """Return whether a word is a folder; the name of one that exists may contain "="."""
    return os.path.isdir(word) or ("=" not in word and not word.endswith(".toml"))


_SCORE_USAGE = "score [FOLDER ...] [key=value ...]"
SCORE = Command(
    _SCORE_USAGE,
    "print final errors, times to targets and ranks",
    _score,
    plain_help(
        _SCORE_USAGE,
        """
        Score all runs below FOLDER (default: runs/results): final error and time to a target shared
        by all methods of a problem, with intervals over seeds, ranks and paired tests.

        python -m physopt score
        python -m physopt score runs/results/ldft2d axis=calls
        python -m physopt score cpu_runs gpu_runs allow=devices
        """,
        ScoreOptions,
    ),
    ScoreOptions,
)

_REPORT_USAGE = "report [FOLDER ...] [out=FILE] [key=value ...]"
REPORT = Command(
    _REPORT_USAGE,
    "write one HTML page: curves, scores, designs, every run",
    _report,
    plain_help(
        _REPORT_USAGE,
        """
        Write one HTML file about all runs below FOLDER (default: runs/results): findings, scores,
        interactive curves, profiles, designs, and a table of every run. It opens without a network.
        What cannot be compared fairly is left out of it, with the reason.

        python -m physopt report
        python -m physopt report runs/results out=study.html
        """,
        ReportOptions,
    ),
    ReportOptions,
)

_COMPARE_USAGE = "compare A B [key=value ...]"
COMPARE = Command(
    _COMPARE_USAGE,
    "compare two runs or two folders of runs",
    _compare,
    plain_help(
        _COMPARE_USAGE,
        """
        Compare two runs, or two folders of runs, problem by problem: final error, time to a common
        target and speed, the ratio B / A and its interval over seeds. Draws the curves too.

        python -m physopt compare runs/results/ldft2d/adam runs/results/ldft2d/hig
        python -m physopt compare before after out=change.png
        """,
        CompareOptions,
    ),
    CompareOptions,
)

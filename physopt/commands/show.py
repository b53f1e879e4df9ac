"""Tables and lines that the commands print."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from physopt.checking.findings import Finding
from physopt.config.help import help_text
from physopt.config.parse import KINDS
from physopt.config.registry import Kind, find, names, needs_no_trust, short_names
from physopt.machine.cache import cache_folder, kept_bytes
from physopt.options import OptionError
from physopt.problem import (
    Designs,
    Draws,
    EstimatesGradient,
    HasBaselines,
    Inverts,
    Linearizes,
    Problem,
    Refines,
)
from physopt.records import Record, RunFolder, find_runs
from physopt.records.columns import CLOCK, chosen_by
from physopt.records.folder import SOURCE
from physopt.records.reading import shown
from physopt.records.samples import Unreadable, read_samples
from physopt.records.status import STATUSES
from physopt.records.units import seconds_text
from physopt.training.display import console
from physopt.training.film import Films

_CAPABILITIES = {
    "baselines": HasBaselines,
    "read_target": Designs,
    "linearize": Linearizes,
    "invert": Inverts,
    "estimate_gradient": EstimatesGradient,
    "figure": Draws,
    "film": Films,
    "refined": Refines,
}


def show_run(path: Path) -> int:
    """Print the result of a run; return the exit code of its status."""
    record = Record(RunFolder(path))
    out, curve = console(), record.curve
    if curve:
        target = record.config.get("target")
        out.print(_run_table(curve, chosen_by(target and target[0])))
        out.print(_times(last_clock(record)))
    if refined := _refined_means(record.folder.results().path, curve):
        listed = ", ".join(f"{column} {value:.3g}" for column, value in refined.items())
        out.print(escape(f"refined without the network, best parameters: {listed}"))
    if phases := record.progress.get("phases"):
        out.print(f"wall time {_phases(phases)}")
    for metric, methods in _by_metric(record.baselines).items():
        listed = ", ".join(f"{method} {value:.3g}" for method, value in methods.items())
        out.print(escape(f"{metric} without training: {listed}"))
    reason = f" ({record.reason})" if record.reason else ""
    out.print(f"status  {record.status}{escape(reason)}")
    if remark := record.progress.get("remark"):
        out.print(f"rule    {escape(remark)}")
    if timing := record.progress.get("timing"):
        out.print(f"timing  unreliable: {escape(timing)}")
    if record.folder.results() is not record.folder:
        out.print("earlier the records of the finished run before count until this one has ended")
    if method := record.progress.get("method"):
        out.print(f"method  {escape(method)}")
    out.print(f"source  {escape(_source(record))}")
    out.print(f"folder  {escape(str(path))}")
    for figure in ("training.png", "figure.png", "film.gif"):
        if (path / figure).exists():
            out.print(f"figure  {escape(str(path / figure))}")
    if (profile := path / "profile" / "operations.csv").exists():
        out.print(f"profile {escape(str(profile))}")
    out.print(f"next    {escape(_next(record))}")
    return STATUSES.get(record.status, STATUSES["error"]).exit_code


def _refined_means(path: Path, curve: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the mean of each column of the test samples that no curve has: of refined designs."""
    try:
        samples = read_samples(path)
    except Unreadable:
        return {}
    measured = {name for row in curve[-1:] for name in row}
    return {name: float(e.mean(dtype=float)) for name, e in samples.items() if name not in measured}


def last_clock(record: Record) -> dict[str, Any]:
    """Return the clock where the run ended, which may be after its last evaluation."""
    last, progress = record.curve[-1] if record.curve else {}, record.progress
    later = progress.get("step", 0) > last.get("step", -1)
    return {**last, **{k: progress[k] for k in CLOCK if k in progress}} if later else last


def _times(last: dict[str, Any]) -> str:
    """Return a line on the number of updates and the times of a run, from its clock."""
    train, compilation, evaluation = (
        last.get(f"t_{k}") or 0.0 for k in ("train", "compile", "eval")
    )
    kept = " (of programs kept from an earlier run)" if last.get("compile_cached") else ""
    return (
        f"{last['step']} updates in {seconds_text(train)} of training "
        f"({seconds_text(train / max(1, last['step']))} each); in addition "
        f"{seconds_text(compilation)} of compilation{kept} and {seconds_text(evaluation)} of "
        "evaluation"
    )


def _phases(phases: dict[str, float]) -> str:
    """Return the wall-clock time of a run by phase, the longest first."""
    parts = sorted(((s, name) for name, s in phases.items() if s >= 0.5), reverse=True)
    listed = ", ".join(f"{name} {seconds_text(seconds)}" for seconds, name in parts)
    return f"{seconds_text(sum(phases.values()))}: {listed}"


def _source(record: Record) -> str:
    """Return the version of the code that ran: one hash, and one for each of the user's files."""
    environment = record.environment
    files = {k: v for k, v in environment.get("sources", {}).items() if k != "physopt"}
    listed = ", ".join(f"{file} {version}" for file, version in files.items())
    copies = f" ({listed}; copies in {SOURCE}/)" if files else ""
    return f"{environment.get('source', 'not recorded')}{copies}"


def _by_metric(baselines: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return {metric: {method: value}} from {method: {metric: value}}."""
    by_metric: dict[str, dict[str, float]] = {}
    for method, values in baselines.items():
        for metric, value in values.items():
            by_metric.setdefault(metric, {})[method] = value
    return by_metric


def _run_table(curve: Sequence[dict[str, Any]], column: str) -> Table:
    table = Table("", box=None, pad_edge=False)
    steps = {"start": curve[0], "end": curve[-1]}
    required = {"validation_loss", column}
    evaluated = [row for row in curve if None not in map(row.get, required)]
    if evaluated:
        steps["best"] = min(evaluated, key=lambda row: row[column])
    for label, row in steps.items():
        table.add_column(f"{label} (step {row['step']})", justify="right")
    for name in _measured_columns(curve[-1]):
        values = [row.get(name) for row in steps.values()]
        table.add_row(escape(name), *("-" if value is None else f"{value:.4g}" for value in values))
    return table


def _measured_columns(row: dict[str, Any]) -> list[str]:
    """Return the columns of losses and metrics, without the metrics of the validation set."""
    names = list(row)
    if not {"train_loss", "n_simulate"} <= row.keys():
        return []
    measured = names[names.index("train_loss") : names.index("n_simulate")]
    return [n for n in measured if n == "validation_loss" or not n.startswith("validation_")]


def _next(record: Record) -> str:
    command = ["python", "-m", "physopt", "resume", str(record.folder.path)]
    budgets = (f"{k}={2 * v:g}" for k in ("steps", "seconds") if (v := record.config.get(k)))
    more = next(budgets, None)
    if record.status in ("ok", "budget") and more is not None:
        command.append(more)
    elif record.status == "diverged" and not needs_no_trust("problem", record.name("problem")):
        return shlex.join(["python", "-m", "physopt", "check", record.name("problem")])
    elif record.status not in ("interrupted", "running", "error", "timeout", "oom"):
        return "python -m physopt list"
    if not all(needs_no_trust(kind, record.name(kind)) for kind in KINDS):
        command.append("trust=true")
    return shlex.join(command)


def _by_seed(row: Sequence[str]) -> tuple[Any, ...]:
    """Sort by problem and rule, then by seed as a number; anything else follows as text."""
    problem, rule, seed, *rest = row
    return problem, rule, not seed.isdigit(), int(seed) if seed.isdigit() else 0, seed, *rest


def show_status(root: Path | str) -> int:
    """Print a table of all runs below a folder; return the exit code."""
    if not os.path.isdir(root):
        raise OptionError(object, "folder", root, "no such folder")
    folders, out = find_runs(root), console()
    if not folders:
        out.print(f"no runs below {escape(str(root))}")
        return 0
    table = Table(box=None, pad_edge=False, expand=True)
    for name in ("problem", "rule", "seed", "run"):
        table.add_column(name, overflow="fold")
    for name in ("status", "step", "time", "test_loss", "source"):
        justify = "right" if name in ("step", "time", "test_loss") else "left"
        table.add_column(name, justify=justify, no_wrap=True)
    # The reason takes what the others leave, at least `width`; in a file it is complete.
    table.add_column("reason", overflow="ellipsis", no_wrap=out.is_terminal, ratio=1, width=16)
    rows = [_status_row(Record(folder)) for folder in folders]
    for row in sorted(rows, key=_by_seed):
        table.add_row(*map(escape, row))
    out.print(table)
    kept = f"{kept_bytes() / 1e6:.3g} MB in {cache_folder()}"
    out.print(f"compiled programs kept: {escape(kept)}")
    return 0


def _status_row(record: Record) -> list[str]:
    last = last_clock(record)
    loss, seconds = last.get("test_loss"), last.get("t_train")
    timing = record.progress.get("timing", "")
    timing = timing and f" (unreliable timing: {timing})"
    return [
        *(Path(record.name(kind)).name for kind in ("problem", "rule")),
        str(record.config.get("seed", "?")),
        shown(record.folder.path.name),
        record.status,
        str(last.get("step", "-")),
        "-" if seconds is None else seconds_text(seconds),
        "-" if loss is None else f"{loss:.4g}",
        record.environment.get("source") or "-",
        f"{record.reason}{timing}",
    ]


def show_list() -> None:
    """Print all problems and rules with the first line of their docstrings."""
    out = console()
    for kind in KINDS:
        table = Table(box=None, pad_edge=False, show_header=False)
        table.title, table.title_justify = f"{kind}s", "left"
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        for name in names(kind):
            label = ", ".join((name, *short_names(kind, name)))
            table.add_row(escape(label), escape(_first_line(kind, name)))
        out.print(table)
        out.print()
    out.print("python -m physopt info NAME explains a problem or a rule")


def _first_line(kind: Kind, name: str) -> str:
    try:
        return (find(kind, name).__doc__ or "").partition("\n")[0]
    except OptionError as error:  # a broken plug-in must not hide the others
        return f"cannot be loaded: {error.reason}"


def show_info(name: str, kind: Kind, cls: type) -> None:
    """Print the docstring, the options and the properties of a problem or a rule."""
    out = console()
    print(help_text(cls))
    if issubclass(cls, Problem):
        capable = [word for word, protocol in _CAPABILITIES.items() if hasattr(cls, word)]
        out.print(f"capabilities  {', '.join(capable) or 'only simulate'}")
        if cls.target:
            out.print(f"solved when   {cls.target[0]} <= {cls.target[1]:g}")
        if cls.defaults:
            defaults = " ".join(f"{key}={value}" for key, value in cls.defaults.items())
            out.print(f"run settings  {defaults}")
    for option, (low, high) in getattr(cls, "tunable", {}).items():
        per = getattr(cls, "tunable_per", {}).get(option)
        unit = f", divided by {per} at the first update" if per else ""
        out.print(f"tuned over    {option} from {low:g} to {high:g}{unit}")
    out.print(f"class         {cls.__module__}:{cls.__qualname__}")
    out.print(f"in a run      {kind}={name} {kind}.OPTION=VALUE")


def show_findings(name: str, findings: Sequence[Finding]) -> int:
    """Print the findings of a check; return 0 if all passed, 1 otherwise."""
    out = console()
    for finding in findings:
        mark = "[green]ok  [/]" if finding.passed else "[red]FAIL[/]"
        out.print(f"{mark} {escape(finding.claim)}")
        for line in finding.detail.splitlines():
            out.print(f"       {escape(line)}")
    failed = sum(not finding.passed for finding in findings)
    count = len(findings)
    verdict = f"{failed} of {count} checks failed" if failed else f"all {count} checks passed"
    out.print(f"{escape(name)}: {verdict}")
    return 1 if failed else 0

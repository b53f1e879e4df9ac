"""Race files: the ranking of a race with its runs, the best settings and the picture.

race.toml   the settings of the best candidate, for `run` and `sweep`
race.csv    every run: round, rule, step size, seed, status and lowest validation metric
race.png    errors against training time in every round, and the ranking with its intervals
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from physopt.analysis.race import plot_race
from physopt.analysis.ranking import Standing
from physopt.config import RunConfig
from physopt.config.parse import KINDS, flat_keys
from physopt.sweeping.race import Candidate, Heat, error_curve
from physopt.sweeping.tuning import toml_text


def write_race(
    heats: Sequence[Heat],
    standings: Sequence[Standing],
    best: RunConfig | None,
    remark: str,
    out: Path,
) -> list[Path]:
    """Write the files of a race to a folder; return their paths.

    best: the config of the best candidate, None if all failed. remark: the head of race.toml.
    """
    out.mkdir(parents=True, exist_ok=True)
    table, image = out / "race.csv", out / "race.png"
    runs_table(heats).to_csv(table, index=False)
    some = next(iter(heats[0].rows.values()))[0].config.problem
    metric = some.target[0] if some.target else "loss"
    plot_race(_curves(heats), standings, metric).savefig(image)
    if best is None:
        return [table, image]
    settings = out / "race.toml"
    settings.write_text(settings_text(best, remark), encoding="utf-8")
    return [settings, table, image]


def runs_table(heats: Sequence[Heat]) -> pd.DataFrame:
    """Return a row for each run of a race."""
    rows = [
        (number, *candidate, heat.seconds, row.config.settings.seed, row.status, error, row.reason)
        for number, heat in enumerate(heats, start=1)
        for candidate, of_one in heat.rows.items()
        for row, error in zip(of_one, heat.errors[candidate], strict=True)
    ]
    columns = ["round", "rule", "step_size", "seconds", "seed", "status", "error", "reason"]
    return pd.DataFrame(rows, columns=columns)


def settings_text(config: RunConfig, remark: str) -> str:
    """Return a config as TOML that `run` and `sweep` read, without budget and folder.

    The options are those that differ from the defaults.
    """
    left_out = {"steps", "seconds", "log_every", "seed", "out", "device", "figures"}
    record = flat_keys(config.record())
    tables: dict[str, list[str]] = {"": [], **{kind: [] for kind in KINDS}}
    for word in config.words():
        key = word.partition("=")[0]
        table, _, option = key.rpartition(".")
        if key in KINDS:
            tables[key].insert(0, f"name = {toml_text(record[key])}")
        elif key not in left_out:
            tables[table].append(f"{option} = {toml_text(_plain(record[key]))}")
    lines = [f"# {line}" for line in remark.splitlines()] + tables.pop("")
    for kind, entries in tables.items():
        lines += ["", f"[{kind}]", *entries]
    return "\n".join(lines) + "\n"


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def _curves(heats: Sequence[Heat]) -> pd.DataFrame:
    rows = [
        (number, heat.seconds, *candidate, row.config.settings.seed, time, error)
        for number, heat in enumerate(heats, start=1)
        for candidate, of_one in heat.rows.items()
        for row in of_one
        for time, error in error_curve(row)
    ]
    columns = ["round", "budget", "rule", "rate", "seed", "seconds", "error"]
    return pd.DataFrame(rows, columns=columns)


def labelled(candidate: Candidate) -> str:
    """Return a candidate in words: its rule and its step size."""
    return candidate.rule if candidate.rate is None else f"{candidate.rule} ({candidate.rate:g})"

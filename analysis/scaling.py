"""Scaling: what another method, a larger batch or another device gains."""

from collections.abc import Collection

import numpy as np
import pandas as pd

from physopt.analysis.fairness import comparable
from physopt.analysis.load import runs_of
from physopt.analysis.scores import PENALTY, penalised_times
from physopt.analysis.targets import hitting_times
from physopt.options import OptionError, suggest


def speedup(
    frame: pd.DataFrame,
    reference: str,
    axis: str = "seconds",
    *,
    compile_time: bool = False,
    per_decade: int = 5,
    penalty: float = PENALTY,
    allow: Collection[str] = (),
) -> pd.DataFrame:
    """Return how many times sooner than a reference method each other one reaches each target.

    Columns case, target, method, speedup: the ratio of penalised times (see `time_to_target`).
    Infinity where only the method reached the target, 0 where only the reference did; a target
    that neither reached has no row.

    Raises OptionError for an unknown reference, and as `comparable` does.
    """
    hits = hitting_times(
        comparable(frame, allow), axis, compile_time=compile_time, per_decade=per_decade
    )
    times = penalised_times(hits, penalty).rename("penalised").reset_index()
    known = times["method"].unique()
    if reference not in known:
        raise OptionError(object, "reference", reference, suggest(reference, known))
    of_reference = times[times["method"] == reference].set_index(["case", "target"])["penalised"]
    others = times[times["method"] != reference].set_index(["case", "target"])
    others = others.join(of_reference.rename("of_reference"), how="inner").reset_index()
    with np.errstate(invalid="ignore"):
        others["speedup"] = others["of_reference"] / others["penalised"]
    table = others.dropna(subset=["speedup"])[["case", "target", "method", "speedup"]]
    table = table.reset_index(drop=True)
    table.attrs = dict(hits.attrs)
    return table


def batch_scaling(
    frame: pd.DataFrame, axis: str = "seconds", *, allow: Collection[str] = (), **options: bool
) -> pd.DataFrame:
    """Return throughput and time to target of each rule against its batch size.

    Columns case, rule, batch_size, runs, updates_per_second, samples_per_second (medians over
    runs), target, reached and penalised (see `time_to_target`). One target a case: the hardest that
    half of its batch sizes and rules reached in most runs. Only rules with several batch sizes; a
    rule on several devices has one name for each.
    """
    kept = comparable(frame, allow)
    if kept["device"].nunique() > 1:
        kept = kept.assign(rule=kept["rule"] + " on " + kept["device"])
    return _scaling(kept, "batch_size", axis, **options)


def device_scaling(frame: pd.DataFrame, axis: str = "seconds", **options: bool) -> pd.DataFrame:
    """Return throughput and time to target of each rule against the device; as `batch_scaling`.

    A rule with several batch sizes has one row for each.
    """
    return _scaling(comparable(frame, ["devices", "tuning"]), "device", axis, **options)


def _scaling(kept: pd.DataFrame, by: str, axis: str, **options: bool) -> pd.DataFrame:
    keys = ["case", "rule", *dict.fromkeys(["batch_size", by])]
    others = [key for key in keys if key != by]
    several = kept.groupby(others)[by].transform("nunique") > 1
    kept = kept[several]
    columns = [*keys, "runs", "updates_per_second", "samples_per_second"]
    more = ["target", "reached", "penalised"]
    if kept.empty:
        return pd.DataFrame(columns=[*columns, *more])
    runs = runs_of(kept)
    runs["updates_per_second"] = (runs["step"] / runs["t_train"]).where(runs["t_train"] > 0)
    runs["samples_per_second"] = runs["updates_per_second"] * runs["batch_size"]
    grouped = runs.groupby(keys, sort=True)
    table = grouped[["updates_per_second", "samples_per_second"]].median()
    table.insert(0, "runs", grouped.size())
    hits = hitting_times(kept, axis, **options).merge(runs[["folder", *keys[1:]]], on="folder")
    groups = [*keys, "target"]
    reached = np.isfinite(hits["time"]).groupby([hits[key] for key in groups])
    scores = pd.DataFrame(
        {
            "runs": reached.size(),
            "reached": reached.sum(),
            "penalised": penalised_times(hits, by=groups),
        }
    ).reset_index()
    chosen = pd.concat([_hardest(group) for _, group in scores.groupby("case")])
    table = table.join(chosen.set_index(keys)[more]).reset_index()
    table.attrs = dict(kept.attrs)
    return table


def _hardest(scores: pd.DataFrame) -> pd.DataFrame:
    """Choose the hardest target that half of the groups reached in most of their runs."""
    usual = (2 * scores["reached"] > scores["runs"]).groupby(scores["target"]).mean()
    enough = usual[usual >= 0.5]
    target = min(enough.index) if len(enough) else scores["target"].max()
    return scores[scores["target"] == target]

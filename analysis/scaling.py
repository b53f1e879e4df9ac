"""Scaling: the gain from another method, a larger batch or another device, and its plots."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from physopt.analysis.comparison import Comparison, Runs
from physopt.analysis.costs import COSTS
from physopt.analysis.load import runs_of
from physopt.analysis.scores import hardest_target
from physopt.analysis.style import (
    case_axes,
    figure_note,
    method_styles,
    plain_log_ticks,
    shared_legend,
    styled,
)
from physopt.analysis.targets import hitting_times, penalised_times
from physopt.options import OptionError, suggest


def speedup(runs: Runs, reference: str, axis: str | None = None, **options: Any) -> pd.DataFrame:
    """Return the factor by which each method reaches each target sooner than a reference method.

    Columns case, target, method, speedup: the ratio of penalised times (see `time_to_target`).
    Infinity if only the method reached the target, 0 if only the reference did; a target that
    neither reached has no row. `options` are those of `Comparison`.

    Raises OptionError for an unknown reference, and as `comparable` does.
    """
    comparison = Comparison.of(runs, axis=axis, **options)
    times = penalised_times(comparison.hits, comparison.penalty).rename("penalised").reset_index()
    methods = times["method"].unique()
    if reference not in methods:
        raise OptionError(object, "reference", reference, suggest(reference, methods))
    of_reference = times[times["method"] == reference].set_index(["case", "target"])["penalised"]
    others = times[times["method"] != reference].set_index(["case", "target"])
    others = others.join(of_reference.rename("of_reference"), how="inner").reset_index()
    with np.errstate(invalid="ignore"):
        others["speedup"] = others["of_reference"] / others["penalised"]
    table = others.dropna(subset=["speedup"])[["case", "target", "method", "speedup"]]
    table = table.reset_index(drop=True)
    table.attrs = dict(comparison.runs.attrs)
    return table


def batch_scaling(runs: Runs, axis: str | None = None, **options: Any) -> pd.DataFrame:
    """Return throughput and time to target of each rule against its batch size.

    Columns case, rule, batch_size, runs, updates_per_second, samples_per_second (medians over
    runs), target, reached and penalised (see `time_to_target`). One target per case, see
    `hardest_target`. Only rules with several batch sizes; each device of a rule is a rule of its
    own. `options` are those of `Comparison`.
    """
    comparison = Comparison.of(runs, axis=axis, **options)
    kept = comparison.runs
    if kept["device"].nunique() > 1:
        kept = kept.assign(rule=kept["rule"] + " on " + kept["device"])
    return _scaling(comparison, kept, "batch_size")


def device_scaling(runs: Runs, axis: str | None = None, **options: Any) -> pd.DataFrame:
    """Return throughput and time to target of each rule against the device; as `batch_scaling`.

    A rule with several batch sizes has one row for each. Different devices and unequal tuning are
    always allowed.
    """
    comparison = Comparison.of(runs, axis=axis, **options)
    comparison = replace(comparison, allow={*comparison.allow, "devices", "tuning"})
    return _scaling(comparison, comparison.runs, "device")


def _scaling(comparison: Comparison, kept: pd.DataFrame, by: str) -> pd.DataFrame:
    keys = ["case", "rule", *dict.fromkeys(["batch_size", by])]
    others = [key for key in keys if key != by]
    several = kept.groupby(others)[by].transform("nunique") > 1
    kept = kept[several]
    columns = [*keys, "runs", "updates_per_second", "samples_per_second"]
    at_target = ["target", "reached", "penalised"]
    if kept.empty:
        return pd.DataFrame(columns=[*columns, *at_target])
    runs = runs_of(kept)
    runs["updates_per_second"] = (runs["step"] / runs["t_train"]).where(runs["t_train"] > 0)
    runs["samples_per_second"] = runs["updates_per_second"] * runs["batch_size"]
    grouped = runs.groupby(keys, sort=True)
    table = grouped[["updates_per_second", "samples_per_second"]].median()
    table.insert(0, "runs", grouped.size())
    hits = hitting_times(
        kept, comparison.axis, compile_time=comparison.compile_time,
        per_decade=comparison.per_decade,
    ).merge(runs[["folder", *keys[1:]]], on="folder")  # fmt: skip
    groups = [*keys, "target"]
    reached = np.isfinite(hits["time"]).groupby([hits[key] for key in groups])
    penalised = penalised_times(hits, comparison.penalty, by=groups)
    scores = pd.DataFrame(
        {"runs": reached.size(), "reached": reached.sum(), "penalised": penalised}
    ).reset_index()
    hardest = pd.concat([hardest_target(group) for _, group in scores.groupby("case")])
    table = table.join(hardest.set_index(keys)[at_target]).reset_index()
    table.attrs = dict(kept.attrs)
    return table


@styled
def plot_scaling(table: pd.DataFrame, axis: str = "seconds") -> Figure:
    """Draw a table of `batch_scaling`: throughput, and cost of a target, against batch size.

    A hollow mark is a batch size at which only some runs reached the target; without any there is
    no mark.
    """
    cases = list(table["case"].unique())
    figure, axes = case_axes(cases, rows=2)
    styles = method_styles(table["rule"])
    for case, (above, below) in zip(cases, axes.T, strict=False):
        of_case = table[table["case"] == case]
        for rule, group in of_case.groupby("rule", sort=True):
            style = styles[rule]
            above.plot(group["batch_size"], group["samples_per_second"], label=rule, **style)
            reached = group[np.isfinite(group["penalised"])]
            below.plot(reached["batch_size"], reached["penalised"], **{**style, "marker": ""})
            by_all = reached["reached"] == reached["runs"]
            for part, fill in ((reached[by_all], {}), (reached[~by_all], {"mfc": "white"})):
                below.plot(part["batch_size"], part["penalised"], **{**style, **fill, "ls": ""})
        above.set(xscale="log", yscale="log", title=case)
        below.set(xscale="log", yscale="log", xlabel="batch size (samples)")
        sizes = sorted(of_case["batch_size"].unique())
        for panel in (above, below):
            panel.set_xticks(sizes, [f"{size:g}" for size in sizes])
            panel.set_xticks([], minor=True)
        below.set_title(f"to reach {of_case['target'].iloc[0]:.3g}", fontweight="normal")
    axes[0, 0].set_ylabel("throughput (samples/s)")
    axes[1, 0].set_ylabel(COSTS[axis].label)
    shared_legend(figure, axes[0])
    figure_note(
        figure,
        "Above: median throughput. Below: mean over runs, a miss counting twice the largest "
        "budget; hollow: some runs missed.",
    )
    return figure


@styled
def plot_speedup(table: pd.DataFrame, reference: str, axis: str = "seconds") -> Figure:
    """Draw a table of `speedup`: the factor gained on the reference, by target.

    Infinity and 0 (one of the two never reached the target) are marks on the upper and lower edge.
    """
    cases = list(table["case"].unique())
    figure, axes = case_axes(cases, columns=3)
    styles = method_styles(table["method"])
    for case, panel in zip(cases, axes.flat, strict=False):
        for method, group in table[table["case"] == case].groupby("method", sort=True):
            style = styles[method]
            finite = group[np.isfinite(group["speedup"]) & (group["speedup"] > 0)]
            panel.plot(finite["target"], finite["speedup"], label=method, **style)
            for value, edge in ((np.inf, 1.0), (0.0, 0.0)):
                targets = group.loc[group["speedup"] == value, "target"]
                look = {**style, "ls": "", "transform": panel.get_xaxis_transform()}
                (line,) = panel.plot(targets, np.full(len(targets), edge), clip_on=False, **look)
                line.set_in_layout(False)
        panel.axhline(1, color="0.6", lw=0.9, zorder=0)
        panel.set(xscale="log", yscale="log", title=case, xlabel="target, harder to the right")
        panel.invert_xaxis()
        plain_log_ticks(panel)
    for row in axes:
        row[0].set_ylabel(f"{COSTS[axis].words}: {reference} / method")
    shared_legend(figure, axes.flat)
    figure_note(figure, "Ratio of penalised means over runs. Upper edge: only the method reached "
                f"the target; lower edge: only {reference}.")  # fmt: skip
    return figure

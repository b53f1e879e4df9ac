"""Scaling: the gain from another method, a larger batch or another device, and its plots."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from physopt.analysis import style
from physopt.analysis.comparison import Comparison, Runs
from physopt.analysis.costs import COSTS
from physopt.analysis.load import runs_of
from physopt.analysis.scores import hardest_target
from physopt.analysis.targets import penalised_times
from physopt.options import OptionError, suggest


def speedup(runs: Runs, reference: str, axis: str | None = None, **options: Any) -> pd.DataFrame:
    """Return the factor by which each method reaches each target sooner than a reference method.

    Columns case, target, method, speedup: the ratio of penalised times (see `time_to_target`).
    Infinity if only the method reached the target, 0 if only the reference did; a target that
    neither reached has no row. `options` are those of `Comparison`.

    Raises OptionError for an unknown reference, and as `comparable` does.
    """
    comparison = Comparison.of(runs, axis=axis, **options)
    times = penalised_times(comparison.hits, comparison.penalty).unstack("method")
    if reference not in times:
        raise OptionError(object, "reference", reference, suggest(reference, times.columns))
    with np.errstate(invalid="ignore"):
        gains = times.drop(columns=reference).rdiv(times[reference], axis=0)
    gains = gains.melt(value_name="speedup", ignore_index=False).dropna().reset_index()
    table = gains.sort_values(["case", "method", "target"], ignore_index=True)
    table = table[["case", "target", "method", "speedup"]]
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
    several = kept.groupby([key for key in keys if key != by])[by].transform("nunique") > 1
    kept = kept[several]
    rates, at_target = ["updates_per_second", "samples_per_second"], ["reached", "penalised"]
    if kept.empty:
        return pd.DataFrame(columns=[*keys, "runs", *rates, "target", *at_target])
    runs = runs_of(kept)
    runs["updates_per_second"] = (runs["step"] / runs["t_train"]).where(runs["t_train"] > 0)
    runs["samples_per_second"] = runs["updates_per_second"] * runs["batch_size"]
    grouped = runs.groupby(keys)
    table = grouped[rates].median()
    table.insert(0, "runs", grouped.size())
    hits = comparison.hits_of(kept).merge(runs[["folder", *keys[1:]]], on="folder")
    if hits.empty:  # no problem has a target, and no run improved on its initial error
        return table.assign(**dict.fromkeys(["target", *at_target], np.nan)).reset_index()
    hits["reached"] = np.isfinite(hits["time"])
    groups = [*keys, "target"]
    scores = hits.groupby(groups)["reached"].agg(runs="size", reached="sum")
    scores["penalised"] = penalised_times(hits, comparison.penalty, by=groups)
    cases = scores.reset_index().groupby("case")
    hardest = pd.concat([hardest_target(of_case) for _, of_case in cases])
    table = table.join(hardest.set_index(keys)[["target", *at_target]]).reset_index()
    table.attrs = dict(kept.attrs)
    return table


@style.styled
def plot_scaling(table: pd.DataFrame, axis: str = "seconds") -> Figure:
    """Draw a table of `batch_scaling`: throughput, and cost of a target, against batch size.

    A hollow mark is a batch size at which only some runs reached the target; without any there is
    no mark.
    """
    cases = list(table.groupby("case", sort=False))
    width = 3.5 * max(1, len(cases)) + 1.5
    figure = Figure(figsize=(width, 5.7), layout="constrained")
    axes = figure.subplots(2, max(1, len(cases)), squeeze=False)
    styles = style.method_styles(table["rule"])
    for (case, of_case), (above, below) in zip(cases, axes.T, strict=False):
        for rule, group in of_case.groupby("rule"):
            look = styles[rule]
            above.plot(group["batch_size"], group["samples_per_second"], label=rule, **look)
            reached = group[np.isfinite(group["penalised"])]
            below.plot(reached["batch_size"], reached["penalised"], **{**look, "marker": ""})
            by_all = reached["reached"] == reached["runs"]
            for part, fill in ((reached[by_all], {}), (reached[~by_all], {"mfc": "white"})):
                below.plot(part["batch_size"], part["penalised"], **{**look, **fill, "ls": ""})
        sizes = sorted(of_case["batch_size"].unique())
        for panel in (above, below):
            panel.set(xscale="log", yscale="log")
            style.plain_log_ticks(panel)
            panel.set_xticks(sizes, [f"{size:g}" for size in sizes])
            panel.set_xticks([], minor=True)
        above.set_title(case)
        below.set_xlabel("batch size (samples)")
        below.set_title(f"to reach {of_case['target'].iloc[0]:.3g}", fontweight="normal")
    axes[0, 0].set_ylabel("throughput (samples/s)")
    axes[1, 0].set_ylabel(COSTS[axis].label)
    style.shared_legend(figure)
    style.figure_note(
        figure,
        "Above: median throughput. Below: mean over runs, a miss counting twice the largest "
        "budget; hollow: some runs missed.",
    )
    return figure


@style.styled
def plot_speedup(table: pd.DataFrame, reference: str, axis: str = "seconds") -> Figure:
    """Draw a table of `speedup`: the factor gained on the reference, by target.

    Infinity and 0 (one of the two never reached the target) are marks on the upper and lower edge.
    """
    figure, panels = style.case_panels(table, columns=3)
    styles = style.method_styles(table["method"])
    for case, panel, of_case in panels:
        for method, group in of_case.groupby("method"):
            look = styles[method]
            finite = group[np.isfinite(group["speedup"]) & (group["speedup"] > 0)]
            panel.plot(finite["target"], finite["speedup"], label=method, **look)
            for value, edge in ((np.inf, 1.0), (0.0, 0.0)):
                targets = group.loc[group["speedup"] == value, "target"]
                at_edge = {**look, "ls": "", "transform": panel.get_xaxis_transform()}
                (line,) = panel.plot(targets, np.full(len(targets), edge), clip_on=False, **at_edge)
                line.set_in_layout(False)
        panel.axhline(1, color="0.6", lw=0.9, zorder=0)
        panel.set(xscale="log", yscale="log", title=case, xlabel="target, harder to the right")
        panel.invert_xaxis()
        style.plain_log_ticks(panel)
    for first_in_row in figure.axes[::3]:
        first_in_row.set_ylabel(f"{COSTS[axis].words}: {reference} / method")
    style.shared_legend(figure)
    edges = f"Upper edge: only the method reached the target; lower edge: only {reference}."
    style.figure_note(figure, f"Ratio of penalised means over runs. {edges}")
    return figure

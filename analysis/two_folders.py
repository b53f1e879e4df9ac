"""Two folders: two runs, or two folders of runs, with their differences and intervals."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import gmean

from physopt.analysis.comparison import Comparison, Runs
from physopt.analysis.costs import COSTS, cost_label
from physopt.analysis.errors import run_errors
from physopt.analysis.fairness import apart, check_devices
from physopt.analysis.plots import draw_line, uneven
from physopt.analysis.resampling import resample
from physopt.analysis.statistics import quantile, ratio_interval
from physopt.analysis.style import COLOURS, figure_note, plain_log_ticks, styled
from physopt.options import OptionError


def compare(runs: Runs, axis: str | None = None, **options: Any) -> pd.DataFrame:
    """Return the differences between two folders, of a frame of `load(A, B)`: a row per quantity.

    Columns case, first, second (methods), quantity, a, b, ratio, low, high, runs. The quantities of
    each case that both folders have: final error, cost of the hardest target that all runs of both
    reached, updates per second. a and b are geometric means over runs, ratio is b / a with its 95 %
    bootstrap interval, over pairs of seeds if all are shared; NaN if a side has one run. If each
    folder has one method on a case the two are compared, else methods of the same name.

    `options` are those of `Comparison`. Raises OptionError if the frame is not of two folders with
    a problem in common, and as `comparable` does.
    """
    comparison = Comparison.of(runs, axis=axis, **options)
    both = _two(comparison)
    rows = []
    for case, first, second in _pairs(both):
        a, b = _of(both[0], case, first), _of(both[1], case, second)
        for quantity, (left, right) in _quantities(a, b, comparison).items():
            keys = {"case": case, "first": first, "second": second, "quantity": quantity}
            rows.append({**keys, **_difference(left, right)})
    columns = ["case", "first", "second", "quantity", "a", "b", "ratio", "low", "high", "runs"]
    result = pd.DataFrame(rows, columns=columns)
    result.attrs["notes"] = list(dict.fromkeys(n for side in both for n in side.attrs["notes"]))
    return result


def _two(comparison: Comparison) -> list[pd.DataFrame]:
    """Return the comparable runs of each folder."""
    frame = comparison.frame
    sources = list(frame["source"].unique())
    if len(sources) != 2:
        reason = f"compare takes two folders with different runs, not {len(sources)}"
        raise OptionError(object, "folder", "", reason)
    both = [replace(comparison, frame=frame[frame["source"] == source]).runs for source in sources]
    # Each side may use one device and the two sides different ones.
    check_devices(pd.concat(both), comparison.allow)
    return both


def _of(frame: pd.DataFrame, case: str, method: str) -> pd.DataFrame:
    return frame[(frame["case"] == case) & (frame["method"] == method)]


def _pairs(both: list[pd.DataFrame]) -> list[tuple[str, str, str]]:
    methods = [side.groupby("case", sort=False)["method"].unique() for side in both]
    pairs = []
    for case in methods[0].index.intersection(methods[1].index, sort=False):
        first, second = methods[0][case], methods[1][case]
        if len(first) == len(second) == 1:
            pairs.append((str(case), str(first[0]), str(second[0])))
        else:
            pairs += [(str(case), str(m), str(m)) for m in first if m in second]
    if not pairs:
        there = " and ".join(", ".join(side.index) or "nothing finished" for side in methods)
        reason = f"they have no problem and method in common: {there}"
        raise OptionError(object, "folder", "", reason)
    return pairs


def _quantities(
    a: pd.DataFrame, b: pd.DataFrame, comparison: Comparison
) -> dict[str, tuple[pd.Series, pd.Series]]:
    """Return each quantity of both sides as a series over (seed, folder)."""
    keys = ["seed", "folder"]
    errors = [run_errors(side) for side in (a, b)]
    name = f"final {errors[0]['metric'].iloc[0]}"
    quantities = {name: tuple(side.set_index(keys)["final_error"] for side in errors)}
    hits = comparison.hits_of(pd.concat([a, b]))
    slowest = hits.groupby("target")["time"].max()
    reached = slowest[np.isfinite(slowest) & (slowest > 0)]
    if len(reached):
        target = reached.index.min()
        times = hits[hits["target"] == target].set_index(keys)["time"]
        own = [times[times.index.isin(side.set_index(keys).index)] for side in (a, b)]
        cost = COSTS[comparison.axis]
        quantities[f"{cost.words} to {target:.3g} ({cost.unit})"] = tuple(own)
    rates = [side.groupby(keys)[["step", "t_train"]].max() for side in (a, b)]
    if all((side["t_train"] > 0).all() and (side["step"] > 0).all() for side in rates):
        quantities["updates a second"] = tuple(side["step"] / side["t_train"] for side in rates)
    return quantities


def _difference(a: pd.Series, b: pd.Series) -> dict[str, object]:
    """Return geometric means, their ratio and its interval; medians if a run failed."""
    runs, low, high = f"{len(a)}, {len(b)}", np.nan, np.nan
    values = np.concatenate([a, b])
    if (np.isfinite(values) & (values > 0)).all():
        left, right = gmean(a), gmean(b)
        by_seed = [side.droplevel("folder").sort_index() for side in (a, b)]
        paired = by_seed[0].index.equals(by_seed[1].index) and by_seed[0].index.is_unique
        ratio, low, high = ratio_interval(*by_seed, paired=paired)
        runs = f"{len(a)} pairs" if paired and len(a) > 1 else runs
    else:
        left, right = quantile(a, 0.5), quantile(b, 0.5)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.divide(right, left)
    means = {"a": float(left), "b": float(right), "ratio": float(ratio)}
    return {**means, "low": low, "high": high, "runs": runs}


@styled
def plot_comparison(runs: Runs, axis: str | None = None, **options: Any) -> Figure:
    """Draw two folders side by side: for each pair of methods the curves, and the ratios b / a."""
    comparison = Comparison.of(runs, axis=axis, **options)
    table = compare(comparison)
    sources = dict(zip("AB", comparison.frame["source"].unique(), strict=True))
    looks = {"color": COLOURS[0], "ls": "-"}, {"color": COLOURS[1], "ls": "--"}
    pairs = list(table.groupby(["case", "first", "second"], sort=False))
    figure = Figure(figsize=(9.5, 2.7 * len(pairs) + 0.5), layout="constrained")
    axes = figure.subplots(len(pairs), 2, squeeze=False, width_ratios=(3, 2))
    for ((case, *methods), rows), (left, right) in zip(pairs, axes, strict=True):
        lines = []
        for (name, source), method, look in zip(sources.items(), methods, looks, strict=True):
            of_source = apart(comparison.frame[comparison.frame["source"] == source])
            line = resample(replace(comparison, frame=_of(of_source, case, method)))
            draw_line(left, line, line["median"], look, f"{name}: {method}")
            lines.append(line.assign(method=name))
        left.set(title=case, yscale="log", xscale="log" if uneven(pd.concat(lines)) else "linear")
        left.set_xlabel(cost_label(comparison.axis, comparison.compile_time))
        left.legend()
        plain_log_ticks(left)
        _ratios(right, rows)
    folders = "; ".join(f"{name} = {source}" for name, source in sources.items())
    note = ". Lines: medians over seeds; bands: quartiles; bars: 95 % bootstrap intervals."
    figure_note(figure, folders + note)
    return figure


def _ratios(panel: Axes, rows: pd.DataFrame) -> None:
    for place, row in enumerate(rows.itertuples()):
        if not np.isfinite(row.ratio) or row.ratio <= 0:
            panel.text(0.5, place, f"ratio {row.ratio:g}", transform=panel.get_yaxis_transform(),
                       ha="center", va="center", fontsize=8)  # fmt: skip
            continue
        panel.plot(row.ratio, place, "o", color="black", ms=5)
        if np.isfinite(row.low):
            panel.plot([row.low, row.high], [place, place], color="black", lw=1.8)
    panel.axvline(1, color="0.6", lw=0.9, zorder=0)
    panel.set_xscale("log")
    low, high = panel.get_xlim()
    panel.set_xlim(min(low, 0.5), max(high, 2))
    panel.set_yticks(range(len(rows)), rows["quantity"])
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.set_xlabel("B / A")
    plain_log_ticks(panel)

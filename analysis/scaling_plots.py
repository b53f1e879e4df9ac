"""Plots of scaling: throughput and cost against batch size, speedup against targets."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from physopt.analysis.costs import COSTS
from physopt.analysis.style import case_axes, figure_note, method_styles, shared_legend, styled


@styled
def plot_scaling(table: pd.DataFrame, axis: str = "seconds") -> Figure:
    """Draw a table of `batch_scaling`: samples a second, and cost of a target, by batch size.

    A hollow mark is a batch size at which only some runs reached the target; where none did there
    is none.
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
            whole = reached["reached"] == reached["runs"]
            for part, fill in ((reached[whole], {}), (reached[~whole], {"mfc": "white"})):
                below.plot(part["batch_size"], part["penalised"], **{**style, **fill, "ls": ""})
        above.set(xscale="log", yscale="log", title=case)
        below.set(xscale="log", yscale="log", xlabel="batch size (samples)")
        below.set_title(f"to reach {of_case['target'].iloc[0]:.3g}", fontweight="normal")
    axes[0, 0].set_ylabel("throughput (samples/s)")
    axes[1, 0].set_ylabel(COSTS[axis].label)
    shared_legend(figure, axes[0])
    figure_note(
        figure,
        "Above: median throughput. Below: mean over runs, a miss counting twice the largest "
        "budget; hollow where some runs missed.",
    )
    return figure


@styled
def plot_speedup(table: pd.DataFrame, reference: str, axis: str = "seconds") -> Figure:
    """Draw a table of `speedup`: how many times sooner than the reference, by target.

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
            for value, place in ((np.inf, 1.0), (0.0, 0.0)):
                edge = group.loc[group["speedup"] == value, "target"]
                look = {**style, "ls": "", "transform": panel.get_xaxis_transform()}
                (line,) = panel.plot(edge, np.full(len(edge), place), clip_on=False, **look)
                line.set_in_layout(False)
        panel.axhline(1, color="0.6", lw=0.9, zorder=0)
        panel.set(xscale="log", yscale="log", title=case, xlabel="target, harder to the right")
        panel.invert_xaxis()
    for row in axes:
        row[0].set_ylabel(f"{COSTS[axis].words}: {reference} / method")
    shared_legend(figure, axes.flat)
    figure_note(figure, "Ratio of penalised means over runs. On the upper edge only the method "
                f"reached the target, on the lower edge only {reference}.")  # fmt: skip
    return figure

"""Samples: the errors of single test samples with the best parameters of each run."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from physopt.analysis import style
from physopt.analysis.comparison import Comparison, Runs
from physopt.analysis.load import runs_of
from physopt.analysis.statistics import quantile
from physopt.analysis.targets import metric_column
from physopt.records import RunFolder
from physopt.records.samples import Unreadable, read_samples

QUANTILES = {"median": 0.5, "p90": 0.9, "p99": 0.99, "worst": 1.0}
"""Columns of `sample_quantiles`."""


def sample_errors(runs: Runs, metric: str | None = None, **options: Any) -> pd.DataFrame:
    """Return the error of each test sample of each run, with the run's best parameters.

    Columns case, method, seed, folder, metric, sample, error; `sample` counts the samples of the
    test set, which is the same for all runs on a case. The metric is by default that of the
    problem's target; the test loss if that is no metric of single samples. An error that is not a
    number is infinite. `attrs["missing"]` is {folder: reason} of the runs without such errors:
    they failed, were recorded before these errors were, or their file is damaged. `options` are
    those of `Comparison`.

    Raises OptionError as `comparable` does.
    """
    kept = Comparison.of(runs, **options).runs
    tables, missing = [], {}
    for _, of_case in kept.groupby("case", sort=False):
        samples: dict[str, dict[str, np.ndarray]] = {}
        for folder in of_case["folder"].unique():
            try:
                samples[folder] = read_samples(RunFolder(folder).results().path)
            except Unreadable as reason:
                missing[folder] = str(reason)
        name = metric or metric_column(of_case)
        if metric is None and not any(name in values for values in samples.values()):
            name = "test_loss"
        keys = runs_of(of_case).set_index("folder")[["case", "method", "seed"]]
        for folder, values in samples.items():
            if name not in values:
                missing[folder] = f"it has no errors of single samples called {name}"
                continue
            error = np.where(np.isnan(values[name]), np.inf, values[name]).astype(float)
            labels = {**keys.loc[folder].to_dict(), "folder": folder, "metric": name}
            tables.append(pd.DataFrame({**labels, "sample": np.arange(len(error)), "error": error}))
    columns = ["case", "method", "seed", "folder", "metric", "sample", "error"]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
    table.attrs = {"missing": missing, "notes": _notes(missing)}
    return table[columns]


def _notes(missing: dict[str, str]) -> list[str]:
    counts = pd.Series(missing, dtype=object).value_counts()
    return [
        f"Runs without errors of single samples: {n} ({reason})." for reason, n in counts.items()
    ]


def sample_quantiles(samples: pd.DataFrame) -> pd.DataFrame:
    """Return quantiles of a table of `sample_errors`: one row per case and method.

    Columns case, metric, method, runs, samples, median, p90, p99, worst; the samples of all runs
    are pooled.
    """
    rows = []
    for keys, group in samples.groupby(["case", "metric", "method"], sort=False):
        of_method = [float(quantile(group["error"], q)) for q in QUANTILES.values()]
        rows.append((*keys, group["folder"].nunique(), len(group), *of_method))
    columns = ["case", "metric", "method", "runs", "samples", *QUANTILES]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values(["case", "median"], kind="stable", ignore_index=True)


def tail(errors: pd.Series, points: int | None = None) -> pd.DataFrame:
    """Return the share of samples with at least an error, from the largest error on.

    Columns error, share: the k-th largest of n errors with share k / n. With `points`, about so
    many of them, equally spaced in log k. Infinite errors count and have no row.
    """
    ordered = np.sort(errors.to_numpy(float))[::-1]
    count = len(ordered)
    ranks = np.arange(1, count + 1)
    if points is not None and count > points:
        ranks = np.unique(np.geomspace(1, count, points).round().astype(int))
    table = pd.DataFrame({"error": ordered[ranks - 1], "share": ranks / count})
    return table[np.isfinite(table["error"])]


@style.styled
def plot_samples(samples: pd.DataFrame, columns: int = 3) -> Figure:
    """Draw a table of `sample_errors`: the share of samples with at least an error, by method.

    Both axes are logarithmic, so that rare large errors are visible.
    """
    figure, panels = style.case_panels(samples, columns)
    styles = style.method_styles(samples["method"], markers=False)
    for case, panel, of_case in panels:
        for method, group in of_case.groupby("method"):
            line = tail(group["error"])
            panel.step(line["error"], line["share"], label=method, where="pre", **styles[method])
        panel.set(xscale="log", yscale="log", title=case, ylim=(None, 1.2))
        panel.set_xlabel(f"{of_case['metric'].iloc[0]} of a test sample")
        panel.set_ylabel("share with at least this error")
        style.plain_log_ticks(panel)
    style.shared_legend(figure)
    style.figure_note(figure, "Samples of the test set, pooled over runs, best parameters.")
    return figure

"""Final errors: the test error of each run's best parameters."""

import numpy as np
import pandas as pd

from physopt.analysis.load import runs_of
from physopt.analysis.targets import metric_column, values_of
from physopt.records.columns import chosen_by


def run_errors(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the final error of each run: one row per run, with metric and final_error.

    It is the test error of the run's best parameters, selected on the validation set by the same
    metric; infinite if no evaluation is finite. A run that diverges late keeps its best error.
    """
    finals = runs_of(frame).copy()
    metrics = {case: metric_column(group) for case, group in frame.groupby("case")}
    finals["metric"] = finals["case"].map(metrics)
    error = best_rows(frame)["error_of_best"].reindex(finals["folder"]).fillna(np.inf)
    finals["final_error"] = error.to_numpy()
    return finals


def best_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the evaluation of each run's best parameters: its row, with index folder.

    The parameters are selected on the validation set by the metric of the case's target;
    `error_of_best` is its value on the test set. A run without a finite evaluation has no row.
    """
    if frame.empty:
        return frame.assign(error_of_best=np.nan).set_index("folder")
    best = []
    for _, group in frame.groupby("case", sort=False):
        metric = metric_column(group)
        validation = values_of(group, chosen_by(metric.removeprefix("test_")))
        usable = group.assign(error_of_best=values_of(group, metric), validation=validation)
        usable = usable.dropna(subset=["validation_loss", "validation", "error_of_best"])
        best.append(usable.loc[usable.groupby("folder")["validation"].idxmin()])
    return pd.concat(best).set_index("folder")

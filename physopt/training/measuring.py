"""Measuring: the numbers of held-out sets from those of their samples."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from physopt.options import OptionError
from physopt.problem import Batch, Measurements, MeasuresSet, Problem, Tree
from physopt.records.columns import measured_columns

LARGEST_GAP = 10.0
"""Ratio of validation and training loss beyond which a run remarks on overfitting."""


def measurements(problem: Problem, x: Tree, batch: Batch) -> Measurements:
    """Return the loss, the problem's metrics and the terms of set metrics of each sample.

    Raises OptionError if a metric is called loss, which is measured anyway, if a value is complex
    or is not one number per sample.
    """
    y = problem.simulate(x, batch)
    metrics = problem.metrics(x, y, batch)
    if "loss" in metrics:
        raise OptionError(object, "metric", "loss", "the loss is measured already; rename it")
    values = {"loss": problem.loss(y, batch), **metrics}
    terms = problem.set_terms(x, y, batch) if isinstance(problem, MeasuresSet) else {}
    for name, value in (*values.items(), *terms.items()):
        if np.iscomplexobj(value):
            raise OptionError(object, "metric", name, "must be real")
        if np.shape(value) != (len(batch),):
            reason = f"{name} has shape {np.shape(value)}, not [{len(batch)}]: one per sample"
            raise OptionError(object, "metric", name, reason)
    return Measurements(values, terms)


def set_columns(
    problem: Problem, measured: Measurements, sets: tuple[str, ...], info: Iterable[str] = ()
) -> dict[str, float]:
    """Return {column: number} of each held-out set: means over its samples, and its set metrics.

    measured: arrays of all sets, one after the other. info: the entries of a rule's info. Raises
    OptionError if two numbers would have one column.
    """
    of_sets = [set_metrics(problem, terms) for terms in _split(measured.terms, len(sets))]
    values = _split(measured.values, len(sets))
    numbers = {}
    columns = measured_columns(measured.values, sets, info, of_sets[0])
    for (name, part), column in columns.items():
        k = sets.index(part)
        is_mean = name in measured.values
        numbers[column] = float(np.mean(values[k][name])) if is_mean else of_sets[k][name]
    return numbers


def samples_of_test_sets(measured: Measurements, sets: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return {column: [size] float32} of the samples of every test set."""
    values = _split(measured.values, len(sets))
    columns = measured_columns(measured.values, sets)
    with np.errstate(over="ignore"):
        return {
            column: values[sets.index(part)][name].astype(np.float32)
            for (name, part), column in columns.items()
            if part != "validation"
        }


def overfitting(row: Mapping[str, Any], train_size: int | None) -> str | None:
    """Return a remark on a fixed training set whose loss is far below that of the validation set.

    row: of the curve. None without a fixed set, or if the losses are of one order of magnitude.
    """
    training, validation = row.get("train_loss"), row["validation_loss"]
    if train_size is None or not training or not validation > LARGEST_GAP * training:
        return None
    return (
        f"The validation loss is {validation / training:.3g} times the training loss: the training "
        f"set of {train_size} samples is overfitted. More samples, or redraw=200, may help."
    )


def _split(arrays: Mapping[str, ArrayLike], count: int) -> list[dict[str, np.ndarray]]:
    """Return the arrays of each of several sets of equal size, in float64."""
    whole = {name: np.asarray(array, np.float64) for name, array in arrays.items()}
    return [{name: np.split(a, count)[k] for name, a in whole.items()} for k in range(count)]


def set_metrics(problem: Problem, terms: Mapping[str, ArrayLike]) -> dict[str, float]:
    """Return the metrics of a set from the terms of its samples, {} if the problem has none.

    Raises OptionError for a metric that is no real number.
    """
    if not isinstance(problem, MeasuresSet):
        return {}
    with np.errstate(all="ignore"):
        metrics = problem.set_metrics({k: np.asarray(v, np.float64) for k, v in terms.items()})
    for name, value in metrics.items():
        if np.shape(value) or np.iscomplexobj(value):
            raise OptionError(object, "metric", name, "set_metrics must return real numbers")
    return {name: float(value) for name, value in metrics.items()}

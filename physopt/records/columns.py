"""Columns of a curve: physopt's own, and those of a problem's metrics and a rule's info.

A metric `error`, a mean over samples or of the whole set, gives `validation_error`, `error` (test
set) and, for a further test set `wide`, `error_wide`; the loss gives `validation_loss`, `test_loss`
and `test_wide_loss`.
"""

from collections.abc import Iterable

from physopt.options import OptionError

CLOCK = ("step", "t_train", "t_compile", "t_eval", "compile_cached")
"""Progress of a run and the seconds spent."""

INFO = (
    *("loss", "grad_norm", "update_norm", "updates"),
    *("n_simulate", "n_vjp", "n_invert", "n_factor"),
)
"""Entries of a rule's info with a meaning of their own."""

RESERVED: frozenset[str] = frozenset(
    (
        *(
            "run_id",
            "problem",
            "rule",
            "seed",
            "batch_size",
            "dtype",
            "device_kind",
            "device_count",
        ),
        *CLOCK,
        *("train_loss", "peak_bytes"),
        # Columns that `analysis.load` adds from the other records.
        *(
            "folder",
            "source",
            "run",
            "train_size",
            "redraw",
            "heldout_size",
            "log_every",
            "network",
            "start",
        ),
        *("stop_at_target", "status", "reason", "finished", "budget_steps", "budget_seconds"),
        "train_on",
        *("device", "case", "method", "target_metric", "target_value", "tuning_trials"),
        *("versions", "source_version", "timing", "blas_threads"),
    )
)
"""Names that neither a metric nor an entry of info may take."""


def measured_columns(
    names: Iterable[str],
    sets: Iterable[str],
    info: Iterable[str] = (),
    set_metrics: Iterable[str] = (),
) -> dict[tuple[str, str], str]:
    """Return {(name, set): column} of the loss and the metrics measured on held-out sets.

    info: the entries of a rule's info. set_metrics: metrics of whole sets. Raises OptionError if
    two of all these, or one of them and physopt itself, would write the same column, where the
    later would replace the earlier.
    """
    metrics, sets = sorted(set(names) - {"loss"}), list(sets)
    taken = set(RESERVED)
    columns: dict[tuple[str, str], str] = {}
    for name in ("loss", *metrics, *sorted(set_metrics)):
        for part in sets:
            column = _column(name, part)
            if column in taken or column in INFO:
                raise OptionError(object, "metric", name, f"there is a column {column}; rename it")
            columns[name, part] = column
            taken.add(column)
    for name in info:
        if name in taken:
            raise OptionError(object, "info", name, "there is a column of this name; rename it")
    return columns


def chosen_by(metric: str | None) -> str:
    """Return the column of a curve whose lowest value marks a run's best parameters.

    metric: that of the problem's own target, None for the loss. Selection uses the metric that is
    reported, on the validation set: a squared loss, which a few failures dominate, may prefer other
    parameters.
    """
    return _column(metric or "loss", "validation")


def _column(name: str, part: str) -> str:
    """Name the column of a metric on the validation set, the test set or a set test_NAME."""
    if part == "validation" or name == "loss":
        return f"{part}_{name}"
    return name + part.removeprefix("test")

"""Selection: which evaluation of a run marks its best parameters."""


def chosen_by(metric: str | None) -> str:
    """Return the column of a curve whose lowest value marks a run's best parameters.

    metric: that of the problem's own target, None for the loss. Selection uses the metric that is
    reported, on the validation set: a squared loss, which a few failures dominate, may prefer other
    parameters.
    """
    return f"validation_{metric or 'loss'}"

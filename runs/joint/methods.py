"""The methods, each as runs of physopt, and what they reach on every sample."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from cases import Case

import physopt
from physopt import Run
from physopt.optimizers.first_order import LBFGS, Adam
from physopt.optimizers.proxy import Proxy
from physopt.records.samples import read_samples

TOLERANCE = 1e-7
"""Decrease of the gradient, or relative length of a step, that ends the solve of a sample."""

MOST_STARTS = 64
"""Most starts of a sample."""


def solve(name: str, case: Case, out: Path) -> pd.DataFrame:
    """Run all methods on a case; return a row per method and sample.

    Columns: case, method, sample, loss, error (the metric of the problem's target), solved,
    evaluations (simulations of this sample, or of all divided by their number), seconds, starts.
    """
    common: dict[str, Any] = {"device": "cpu", "out": out, "figures": False}
    alone = partial(
        physopt.run, network="none", tolerance=TOLERANCE, steps=case.iterations,
        log_every=case.iterations, **common,
    )  # fmt: skip
    of_all = {"batch_size": case.samples, "heldout_size": case.samples}
    together = partial(
        physopt.run, case.problem, Adam(), steps=case.updates, log_every=None, **of_all, **common
    )
    joint = together(train_on="test")
    once = _numbers(alone(case.problem, LBFGS(), **of_all), case, alone=True)
    joint_numbers = _numbers(joint, case)
    frames = {"individual": once}
    starts = round(joint_numbers["evaluations"].mean() / once["evaluations"].mean())
    starts = min(max(starts, 1), MOST_STARTS)
    if repeated := case.repeated(starts):
        sizes = dict.fromkeys(of_all, starts * case.samples)
        frames["restarts"] = _best(_numbers(alone(repeated, LBFGS(), **sizes), case, alone=True))
        frames["proxy"] = _numbers(alone(case.problem, Proxy(), **of_all), case, alone=True)
    frames["joint"] = joint_numbers
    refined = alone(case.problem, LBFGS(), start=joint.folder, **of_all)
    frames["joint + refine"] = _after(joint_numbers, _numbers(refined, case, alone=True))
    frames["network, other samples"] = _numbers(together(), case)
    return pd.concat(
        [frame.assign(case=name, method=method) for method, frame in frames.items()]
    ).reset_index(names="sample")


def _numbers(run: Run, case: Case, *, alone: bool = False) -> pd.DataFrame:
    """Return the numbers of a run, a row per sample or per start of a sample.

    Solves of single samples include as many validation samples, whose cost is left out.
    """
    metric, value = case.problem.target or ("loss", 0.0)
    samples, last = read_samples(run.folder), run.curve.iloc[-1]
    losses = samples["test_loss"].astype(float)
    errors = losses if metric == "loss" else samples[metric].astype(float)
    share = 1 / (len(losses) * (2 if alone else 1))
    return pd.DataFrame(
        {
            "loss": losses,
            "error": errors,
            "solved": errors <= value,
            "evaluations": last.n_simulate * share,
            "seconds": last.t_train * share,
            "starts": 1,
        },
        index=np.arange(len(losses)) * case.samples // len(losses),
    )


def _best(starts: pd.DataFrame) -> pd.DataFrame:
    """Return the start of least loss of every sample, at the cost of all its starts."""
    of_sample = starts.fillna({"loss": np.inf}).groupby(level=0)
    best = of_sample.apply(lambda rows: rows.iloc[rows["loss"].argmin()])
    return best.assign(
        **{name: of_sample[name].sum() for name in ("evaluations", "seconds", "starts")}
    )


def _after(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Return the numbers of the second solve, at the cost of both."""
    costs = {name: first[name] + second[name] for name in ("evaluations", "seconds")}
    return second.assign(**costs)

"""The methods, each as runs of physopt, and what they reach on every sample."""

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


def solve(name: str, case: Case, out: Path) -> pd.DataFrame:
    """Run all methods on a case; return a row per method and sample.

    Columns: case, method, sample, loss, error (the metric of the problem's target), solved,
    evaluations (simulations of this sample, or of all divided by their number) and seconds.
    """
    alone: dict[str, Any] = {
        "network": "none", "batch_size": case.samples, "tolerance": TOLERANCE,
        "steps": case.iterations, "log_every": case.iterations, "heldout_size": case.samples,
        "device": "cpu", "out": out,
    }  # fmt: skip
    together: dict[str, Any] = {
        "batch_size": case.samples, "steps": case.updates, "log_every": None,
        "heldout_size": case.samples, "device": "cpu", "out": out,
    }  # fmt: skip
    problem, adam = case.problem, Adam()
    starts = [physopt.run(problem, LBFGS(), seed=k, **alone) for k in range(case.restarts)]
    each = [_numbers(run, case, alone=True) for run in starts]
    joint = physopt.run(problem, adam, train_on="test", **together)
    joint_numbers = _numbers(joint, case)
    refined = physopt.run(problem, LBFGS(), start=joint.folder, **alone)
    frames = {
        "individual": each[0],
        f"best of {case.restarts} starts": _best(each),
        "proxy": _numbers(physopt.run(problem, Proxy(), **alone), case, alone=True),
        "joint": joint_numbers,
        "joint + refine": _after(joint_numbers, _numbers(refined, case, alone=True)),
        "network, other samples": _numbers(physopt.run(problem, adam, **together), case),
    }
    return pd.concat(
        [frame.assign(case=name, method=method) for method, frame in frames.items()]
    ).reset_index(names="sample")


def _numbers(run: Run, case: Case, *, alone: bool = False) -> pd.DataFrame:
    """Return the numbers of a run, a row per sample.

    Solves of single samples include as many validation samples, whose cost is left out.
    """
    metric, value = case.problem.target or ("test_loss", 0.0)
    samples, last = read_samples(run.folder), run.curve.iloc[-1]
    share = 1 / (case.samples * (2 if alone else 1))
    errors = samples[metric].astype(float)
    return pd.DataFrame(
        {
            "loss": samples["test_loss"].astype(float),
            "error": errors,
            "solved": errors <= value,
            "evaluations": last.n_simulate * share,
            "seconds": last.t_train * share,
        }
    )


def _best(each: list[pd.DataFrame]) -> pd.DataFrame:
    """Return for every sample the start of least loss, at the cost of all."""
    losses = np.stack([frame["loss"] for frame in each])
    best = np.argmin(np.where(np.isfinite(losses), losses, np.inf), axis=0)
    rows = [each[start].loc[sample] for sample, start in enumerate(best)]
    costs = ["evaluations", "seconds"]
    total = sum((frame[costs] for frame in each[1:]), start=each[0][costs])
    frame = pd.DataFrame(rows).reset_index(drop=True)
    return frame.assign(**{name: total[name] for name in costs})


def _after(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Return the numbers of the second solve, at the cost of both."""
    costs = {name: first[name] + second[name] for name in ("evaluations", "seconds")}
    return second.assign(**costs)

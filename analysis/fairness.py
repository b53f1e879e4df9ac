"""Fairness: which runs may be compared with one another, and what has to be said beside."""

from collections.abc import Collection, Iterable

import pandas as pd

from physopt.analysis.load import UNKNOWN, runs_of
from physopt.options import OptionError, suggest

ALLOWANCES = {
    "devices": "compare runs on different kinds of devices, each kind as a method of its own",
    "versions": "pool runs of one method that were made with different versions of libraries",
    "tuning": "compare rules whose options were tuned with unequal numbers of trials",
}
TUNING_SEEDS = 1_000_000
"""Seeds from here on are those of tuning, which reports nothing."""

UNFINISHED = ("running", "interrupted", "damaged")
FAILED = ("diverged", "oom", "timeout", "error")


def comparable(frame: pd.DataFrame, allow: Collection[str] = ()) -> pd.DataFrame:
    """Return the runs that scores may be computed from; `attrs["notes"]` says what was done.

    Left out, and said: runs that are not finished or damaged, runs that a rule refused, trials of
    tuning, and of runs with the same settings and seed all but the newest. Timings of different
    kinds of devices are never pooled: with "devices" allowed, each kind makes a method of its own.

    Raises OptionError if kinds of devices are mixed, if runs of one method were made with different
    versions of jax, jaxlib, flax or optax, or if the rules of one problem were tuned with unequal
    numbers of trials, unless `allow` holds "devices", "versions" or "tuning".
    """
    for word in allow:
        if word not in ALLOWANCES:
            raise OptionError(object, "allow", word, suggest(word, ALLOWANCES))
    notes = [*frame.attrs.get("notes", ()), *_unfinished_notes(frame)]
    frame = _apart(frame, "devices" in allow, notes)
    kept = _newest(frame[~frame["status"].isin([*UNFINISHED, "skipped"])].copy(), notes)
    kept = _reporting(kept, notes)
    _check_versions(kept, "versions" in allow, notes)
    _check_tuning(kept, "tuning" in allow, notes)
    notes += [*_budget_notes(kept), *_missing_notes(kept, refused(frame))]
    kept.attrs["notes"] = list(dict.fromkeys(notes))
    return kept


def _unfinished_notes(frame: pd.DataFrame) -> list[str]:
    runs = runs_of(frame)
    notes = []
    left_out = runs[runs["status"].isin(UNFINISHED)]
    if len(left_out):
        counts = left_out["status"].value_counts()
        told = ", ".join(f"{count} {status}" for status, count in counts.items())
        notes.append(f"Left out because they are not finished: {told}.")
    skipped = runs[runs["status"] == "skipped"].drop_duplicates(["case", "method"])
    if len(skipped):
        told = _listed(zip(skipped["method"], skipped["case"], strict=True))
        notes.append(f"Refused by the rule, and counted as not solved: {told}.")
    return notes


def _apart(frame: pd.DataFrame, allowed: bool, notes: list[str]) -> pd.DataFrame:
    """Keep kinds of devices apart."""
    devices = _devices(frame)
    if len(devices) < 2:
        return frame
    if not allowed:
        reason = (
            f"these runs were timed on different devices ({', '.join(devices)}); choose those of "
            "one, or say allow=devices to show each as a method of its own"
        )
        raise OptionError(object, "allow", "", reason)
    notes.append(f"Several devices, each shown as a method of its own: {', '.join(devices)}.")
    return apart(frame)


def apart(frame: pd.DataFrame) -> pd.DataFrame:
    """Make each kind of device a method of its own, where there are several."""
    if len(_devices(frame)) < 2:
        return frame
    on_device = frame["method"] + " on " + frame["device"]
    return frame.assign(method=frame["method"].where(frame["device"] == UNKNOWN, on_device))


def _devices(frame: pd.DataFrame) -> list[str]:
    return sorted(set(frame["device"]) - {UNKNOWN})


def _newest(frame: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Keep the newest of the runs with the same settings and seed."""
    runs = runs_of(frame).sort_values("finished", kind="stable")
    keys = ["case", "method", "seed", "budget_steps", "budget_seconds"]
    newest = runs.drop_duplicates(keys, keep="last")
    if len(newest) < len(runs):
        count = len(runs) - len(newest)
        notes.append(f"Left out because a newer run repeats them: {count}.")
    return frame[frame["folder"].isin(newest["folder"])]


def _reporting(frame: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Leave out the trials of tuning where there are other runs beside them."""
    trial = frame["seed"] >= TUNING_SEEDS
    if trial.all() or not trial.any():
        return frame
    count = frame.loc[trial, "folder"].nunique()
    notes.append(f"Left out as trials of tuning (seeds from {TUNING_SEEDS} on): {count}.")
    return frame[~trial]


def _check_versions(frame: pd.DataFrame, allowed: bool, notes: list[str]) -> None:
    """Refuse to pool runs of one method that different versions of libraries made."""
    runs = runs_of(frame)
    runs = runs[runs["versions"] != UNKNOWN]
    counts = runs.groupby(["method", "case"], sort=False)["versions"].nunique()
    mixed = list(counts[counts > 1].index)
    if not mixed:
        return
    versions = runs.set_index(["method", "case"]).loc[mixed, "versions"].unique()
    reason = f"runs of {_listed(mixed)} were made with different versions ({'; '.join(versions)})"
    if not allowed:
        choice = "choose those of one, or give allow=versions to pool them"
        raise OptionError(object, "allow", "", f"{reason}; {choice}")
    notes.append(f"Different versions are pooled: {reason}.")


def _check_tuning(frame: pd.DataFrame, allowed: bool, notes: list[str]) -> None:
    trials = frame.groupby(["case", "rule"], sort=False)["tuning_trials"].agg(["min", "max"])
    trials = trials.groupby("case", sort=False).agg({"min": "min", "max": "max"})
    unequal = trials[trials["min"] < trials["max"]]
    if unequal.empty:
        return
    case, (low, high) = unequal.index[0], unequal.iloc[0]
    told = f"on {case} from {low:g} to {high:g} trials a rule"
    if not allowed:
        reason = (
            f"the rules were not tuned alike, {told}; tune each with the same number of trials, or "
            "say allow=tuning to compare them nevertheless"
        )
        raise OptionError(object, "allow", "", reason)
    notes.append(f"Unequal tuning, {told}: who was tuned more is favoured.")


def _budget_notes(frame: pd.DataFrame) -> list[str]:
    runs = runs_of(frame)
    notes = []
    budgets = runs.drop_duplicates(["case", "budget_steps", "budget_seconds"])
    uneven = budgets["case"].value_counts()
    uneven = [str(case) for case in runs["case"].unique() if uneven[case] > 1]
    if uneven:
        notes.append(
            f"Runs had different budgets on {', '.join(uneven)}: final errors are those of unequal "
            "efforts, times to targets are not."
        )
    return notes


def refused(frame: pd.DataFrame) -> set[tuple[str, str]]:
    """Return the (case, method) pairs in which the rule refused the problem."""
    skipped = frame[frame["status"] == "skipped"]
    return set(zip(skipped["case"], skipped["method"], strict=True))


def _missing_notes(frame: pd.DataFrame, known: set[tuple[str, str]]) -> list[str]:
    runs = runs_of(frame)
    methods, cases = runs["method"].unique(), runs["case"].unique()
    present = known | set(zip(runs["case"], runs["method"], strict=True))
    missing = [(m, c) for c in cases for m in methods if (c, m) not in present]
    if missing:
        return [f"No run, counted as not solved in profiles and ranks: {_listed(missing)}."]
    return []


def _listed(pairs: Iterable[tuple[str, str]], most: int = 6) -> str:
    """Write pairs of method and case; a long list is cut, and says so."""
    told = [f"{method} on {case}" for method, case in pairs]
    return ", ".join(told[:most]) + (f" and {len(told) - most} more" if len(told) > most else "")

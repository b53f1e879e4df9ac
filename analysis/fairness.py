"""Fairness: which runs may be compared, and the notes that a comparison needs."""

from collections.abc import Collection, Iterable
from itertools import product

import pandas as pd

from physopt.analysis.load import UNKNOWN, runs_of
from physopt.options import OptionError, suggest
from physopt.records.status import FINISHED, STATUSES

ALLOWANCES = {
    "devices": "compare runs on different kinds of devices, each kind as a method of its own",
    "versions": "pool runs of one method that were made with different versions of libraries",
    "tuning": "compare rules whose options were tuned with unequal numbers of trials",
    "train_on": "show runs with train_on=test, whose errors are those of their training samples",
}
TUNING_SEEDS = 1_000_000
"""Smallest seed of tuning trials, which are not reported."""

_STOPPED = (name for name, status in STATUSES.items() if not (status.finished or status.failed))
UNFINISHED = ("running", *_STOPPED, "damaged")


def comparable(frame: pd.DataFrame, allow: Collection[str] = ()) -> pd.DataFrame:
    """Return the runs that scores may be computed from; `attrs["notes"]` lists the exclusions.

    Left out, with a note: unfinished and damaged runs, runs that a rule refused, tuning trials, and
    of runs with the same settings and seed all but the newest. Timings on different kinds of
    devices are never pooled: with "devices" allowed, each kind makes a method of its own.

    Raises OptionError if kinds of devices are mixed, if a run trained on the samples that are
    scored, if runs of one method were made with different versions of jax, jaxlib, flax or optax,
    or if the rules of one problem were tuned with unequal numbers of trials, unless `allow`
    contains "devices", "train_on", "versions" or "tuning".
    """
    check_allowances(allow)
    notes = [*frame.attrs.get("notes", ()), *_unfinished_notes(frame)]
    notes += check_devices(frame, allow)
    frame = apart(frame)
    kept = frame[~frame["status"].isin([*UNFINISHED, "skipped"])]
    kept = _reporting(_newest(kept, notes), notes).copy()
    notes += _check_training_samples(kept, allow)
    notes += [*_check_versions(kept, allow), *_check_tuning(kept, allow)]
    notes += [*_timing_notes(kept), *_budget_notes(kept), *_missing_notes(kept, refused(frame))]
    kept.attrs["notes"] = list(dict.fromkeys(notes))
    return kept


def check_allowances(allow: Collection[str]) -> None:
    """Raise OptionError for a word that names no allowance."""
    for word in allow:
        if word not in ALLOWANCES:
            raise OptionError(object, "allow", word, suggest(word, ALLOWANCES))


def _unfinished_notes(frame: pd.DataFrame) -> list[str]:
    runs = runs_of(frame)
    notes = []
    counts = runs.loc[runs["status"].isin(UNFINISHED), "status"].value_counts()
    if len(counts):
        listed = ", ".join(f"{count} {status}" for status, count in counts.items())
        notes.append(f"Left out because they are not finished: {listed}.")
    skipped = runs[runs["status"] == "skipped"].drop_duplicates(["case", "method"])
    if len(skipped):
        listed = _listed(zip(skipped["method"], skipped["case"], strict=True))
        notes.append(f"Refused by the rule and counted as not solved: {listed}.")
    return notes


def _waived(word: str, allow: Collection[str], refusal: str, note: str) -> list[str]:
    """Return the note on a condition that is allowed; raise OptionError if it is not."""
    if word not in allow:
        raise OptionError(object, "allow", "", refusal)
    return [note]


def check_devices(frame: pd.DataFrame, allow: Collection[str]) -> list[str]:
    """Return a note if runs used several kinds of devices; raise OptionError unless allowed."""
    devices = _devices(frame)
    if len(devices) < 2:
        return []
    listed = ", ".join(devices)
    refusal = (
        f"these runs were timed on different devices ({listed}); select those of one, or give "
        "allow=devices to show each as a method of its own"
    )
    note = f"Several devices, each shown as a method of its own: {listed}."
    return _waived("devices", allow, refusal, note)


def apart(frame: pd.DataFrame) -> pd.DataFrame:
    """Make each kind of device a method of its own if there are several; methods that are stay."""
    if len(_devices(frame)) < 2:
        return frame
    suffix = (" on " + frame["device"]).where(frame["device"] != UNKNOWN, "")
    named = [m.endswith(end) for m, end in zip(frame["method"], suffix, strict=True)]
    return frame.assign(method=frame["method"].where(named, frame["method"] + suffix))


def _devices(frame: pd.DataFrame) -> list[str]:
    return sorted(set(frame["device"]) - {UNKNOWN})


def _newest(frame: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Keep the newest of the runs with the same settings and seed, a finished one if there is."""
    runs = runs_of(frame)
    runs = runs.assign(complete=runs["status"].isin(FINISHED))
    runs = runs.sort_values(["complete", "finished"], kind="stable")
    keys = ["case", "method", "seed", "budget_steps", "budget_seconds"]
    newest = runs.drop_duplicates(keys, keep="last")
    if older := len(runs) - len(newest):
        notes.append(f"Left out because a newer run repeats them: {older}.")
    return frame[frame["folder"].isin(newest["folder"])]


def _reporting(frame: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Leave out tuning trials if there are other runs."""
    trial = frame["seed"] >= TUNING_SEEDS
    if trial.all() or not trial.any():
        return frame
    count = frame.loc[trial, "folder"].nunique()
    notes.append(f"Left out as trials of tuning (seeds from {TUNING_SEEDS}): {count}.")
    return frame[~trial]


def _check_training_samples(frame: pd.DataFrame, allow: Collection[str]) -> list[str]:
    """Return a note if runs trained on the test set; raise OptionError unless allowed."""
    trained = frame[frame["train_on"] == "test"][["method", "case"]].drop_duplicates()
    if trained.empty:
        return []
    reason = (
        f"{_listed(trained.itertuples(index=False))} trained on the samples that are scored, so "
        "their errors are training errors, and those of other runs are test errors"
    )
    choice = "leave these runs out, or give allow=train_on to show each as a method of its own"
    note = f"No generalisation is measured: {reason}."
    return _waived("train_on", allow, f"{reason}; {choice}", note)


def _check_versions(frame: pd.DataFrame, allow: Collection[str]) -> list[str]:
    """Return a note if runs of one method were made with different versions of libraries."""
    runs = runs_of(frame[frame["versions"] != UNKNOWN])
    mixed = runs[runs.groupby(["method", "case"])["versions"].transform("nunique") > 1]
    if mixed.empty:
        return []
    pairs = mixed[["method", "case"]].drop_duplicates().itertuples(index=False)
    versions = "; ".join(mixed["versions"].unique())
    reason = f"runs of {_listed(pairs)} were made with different versions ({versions})"
    choice = "select those of one, or give allow=versions to pool them"
    note = f"Different versions are pooled: {reason}."
    return _waived("versions", allow, f"{reason}; {choice}", note)


def _check_tuning(frame: pd.DataFrame, allow: Collection[str]) -> list[str]:
    """Return a note if the rules of a problem were tuned with unequal numbers of trials."""
    trials = frame.groupby("case", sort=False)["tuning_trials"].agg(["min", "max"])
    unequal = trials[trials["min"] < trials["max"]]
    if unequal.empty:
        return []
    case, (low, high) = unequal.index[0], unequal.iloc[0]
    range_text = f"on {case} from {low:g} to {high:g} trials per rule"
    refusal = (
        f"the rules were tuned unequally, {range_text}; tune each with the same number of trials, "
        "or give allow=tuning to compare them nevertheless"
    )
    note = f"Unequal tuning, {range_text}: this favours rules with more trials."
    return _waived("tuning", allow, refusal, note)


def _timing_notes(frame: pd.DataFrame) -> list[str]:
    """Return notes on runs whose timings are unreliable, or used different numbers of threads."""
    runs = runs_of(frame)
    notes = []
    disturbed = runs[runs["timing"] != ""]
    if len(disturbed):
        texts = (
            f"{method} on {case} with seed {seed:g} ({timing})"
            for case, method, seed, timing in zip(
                *(disturbed[name] for name in ("case", "method", "seed", "timing")), strict=True
            )
        )
        notes.append(f"Timings are not reliable: {_joined(texts)}.")
    threads = sorted(set(runs["blas_threads"].dropna()))
    if len(threads) > 1:
        listed = ", ".join(f"{count:g}" for count in threads)
        notes.append(f"Runs were timed with different numbers of BLAS threads: {listed}.")
    return notes


def _budget_notes(frame: pd.DataFrame) -> list[str]:
    budgets = frame[["case", "budget_steps", "budget_seconds"]].drop_duplicates()
    uneven = ", ".join(budgets.loc[budgets["case"].duplicated(), "case"].unique())
    effect = "this affects final errors, not times to targets."
    return [f"Runs had different budgets on {uneven}: {effect}"] if uneven else []


def refused(frame: pd.DataFrame) -> set[tuple[str, str]]:
    """Return the (case, method) pairs for which the rule refused the problem."""
    skipped = frame[frame["status"] == "skipped"]
    return set(zip(skipped["case"], skipped["method"], strict=True))


def _missing_notes(frame: pd.DataFrame, known: set[tuple[str, str]]) -> list[str]:
    present = known | set(zip(frame["case"], frame["method"], strict=True))
    pairs = product(frame["case"].unique(), frame["method"].unique())
    missing = [(method, case) for case, method in pairs if (case, method) not in present]
    note = f"No run, counted as not solved in profiles and ranks: {_listed(missing)}."
    return [note] if missing else []


def _listed(pairs: Iterable[tuple[str, str]], most: int = 6) -> str:
    """Format pairs of method and case, at most `most` and the number of others."""
    return _joined((f"{method} on {case}" for method, case in pairs), most)


def _joined(words: Iterable[str], most: int = 6) -> str:
    texts = list(words)
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")

"""Synthetic records for tests of the analysis, in the format of a run."""

import json

import numpy as np


def write_run(
    root, problem, rule, seed, errors, *, times=None, status="ok", reason="", compile_seconds=0.0,
    batch_size=4, device_kind="cpu", target=("error", 0.1), options=None, name=None,
    tuning_trials=None, steps=None, finished="2026-01-01T00:00:00+00:00", log_every=10,
    samples=None,
):  # fmt: skip
    """Write a run whose metric `error` and losses have these values, one evaluation per second.

    An update simulates and pulls back each sample of the batch once. samples: the errors of single
    test samples, which the records of a run may lack.
    """
    name = name or f"{problem}-{rule}-{batch_size}-{seed}"
    folder = root / problem / rule.rpartition("/")[2] / name
    folder.mkdir(parents=True, exist_ok=True)
    times = range(len(errors)) if times is None else times
    config = {
        "problem": {"name": problem},
        "rule": {"name": rule, **(options or {})},
        "seed": seed,
        "batch_size": batch_size,
        "train_size": None,
        "heldout_size": 8,
        "steps": steps or log_every * (len(errors) - 1) or None,
        "seconds": None,
        "log_every": log_every,
        "network": "default",
        "dtype": "float32",
        "target": target and list(target),
    }
    config |= {"tuning_trials": tuning_trials} if tuning_trials else {}
    device = {"device_kind": device_kind, "device_count": 1}
    ending = {"status": status, "reason": reason, "time": finished, "pid": 1}
    rows = []
    for k, (time, error) in enumerate(zip(times, errors, strict=True)):
        calls = k * log_every * batch_size
        rows.append(
            {
                "run_id": name, "problem": problem, "rule": rule, "seed": seed,
                "batch_size": batch_size, **device,
                "dtype": "float32", "step": k * log_every, "t_train": float(time),
                "t_compile": compile_seconds if k else 0.0, "t_eval": 0.1 * k,
                "train_loss": None if k == 0 else error, "validation_loss": error,
                "test_loss": error, "validation_error": error, "error": error,
                "n_simulate": calls, "n_vjp": calls, "n_invert": 0, "n_factor": 0,
                "grad_norm": 1.0, "update_norm": 1.0, "peak_bytes": None,
            }
        )  # fmt: skip
    contents = {"config": config, "env": {**device, "jax": "0.10.2"}, "status": ending}
    for file, content in contents.items():
        (folder / f"{file}.json").write_text(json.dumps(content))
    lines = (json.dumps(row).replace("NaN", "null") + "\n" for row in rows)
    (folder / "curve.jsonl").write_text("".join(lines))
    if samples is not None:
        np.savez(folder / "test_metrics.npz", error=np.asarray(samples, np.float32))
    return folder


def at(table, target):
    """Return the rows of a table at one target, by method."""
    return table[np.isclose(table["target"], target)].set_index("method")

"""Design: a trained network applied to a user's own target, and refined without it."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from physopt.machine import devices
from physopt.options import OptionError
from physopt.problem import Batch, Designs, Draws, Problem, Refines, StatesTargets, Tree
from physopt.training.figure import draw_samples
from physopt.training.refinement import refine_and_measure
from physopt.training.run import Run


def target_statement(run: Run, target: Path) -> dict[str, str]:
    """Return how the problem of a run reads a user's target: units, ranges, repairs by name.

    Raises OptionError if the file is invalid.
    """
    problem = run.config.problem
    if not isinstance(problem, StatesTargets):
        return {}
    try:
        return problem.target_statement(target)
    except (OSError, ValueError) as error:
        raise OptionError(object, "file", target, str(error)) from None


def design(
    run: Run, target: Path, refine: int | None = None
) -> tuple[dict[str, float], list[Path]]:
    """Solve a user's target with a trained network, then refine the design.

    refine: effort of the refinement, 0 for none; None takes the problem's own.

    Returns the errors and the files written next to the target: the design NAME_design.npy, the
    network's own NAME_network.npy if it was refined, the errors and the statement of the target
    NAME_design.json, and a figure NAME_design.png. METRIC_refined is the error of a refined design,
    METRIC that of the network.
    Raises OptionError if the problem does not read targets or the file is invalid.
    """
    problem, settings = run.config.problem, run.config.settings
    if not isinstance(problem, Designs):
        reason = f"{type(problem).__name__} does not read targets from files"
        raise OptionError(object, "folder", run.folder, reason)
    effort = _effort(problem, refine)
    with devices.computing(devices.select(settings.device)[0], settings.dtype):
        try:
            batch = problem.read_target(target)
        except (OSError, ValueError) as error:
            raise OptionError(object, "file", target, str(error)) from None
        x = jax.tree.map(jax.numpy.asarray, run.predict(batch.inputs))
        # Outside jit every loop of a solver would be compiled by itself.
        measure = jax.jit(lambda x: problem.metrics(x, problem.simulate(x, batch), batch))
        errors = {k: float(v[0]) for k, v in measure(x).items()}
        refined = None
        if effort and problem.target is not None:
            improve = jax.jit(refine_and_measure, static_argnums=(0, 3))
            refined, error = improve(problem, x, batch, effort)
            errors[f"{problem.target[0]}_refined"] = float(error[0])
        files = _write(problem, target, batch, x, refined, errors)
    return errors, files


def _effort(problem: Problem, refine: int | None) -> int:
    if isinstance(problem, Refines):
        return problem.refine if refine is None else refine
    if refine:
        reason = f"{type(problem).__name__} does not refine designs"
        raise OptionError(object, "refine", refine, reason)
    return 0


def _write(
    problem: Designs, target: Path, batch: Batch, x: Tree, refined: Tree,
    errors: dict[str, float],
) -> list[Path]:  # fmt: skip
    """Write designs, errors and figure next to the target; return the files."""
    final = target.with_name(f"{target.stem}_design.npy")
    np.save(final, np.asarray(problem.design(x if refined is None else refined)[0]))
    files = [final]
    if refined is not None:
        files.append(target.with_name(f"{target.stem}_network.npy"))
        np.save(files[-1], np.asarray(problem.design(x)[0]))
    files.append(final.with_suffix(".json"))
    record: dict[str, Any] = dict(errors)
    if isinstance(problem, StatesTargets):
        record["target"] = problem.target_statement(target)
    files[-1].write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if isinstance(problem, Draws):
        figure = draw_samples(problem, x, batch, refined)
        files.append(final.with_suffix(".png"))
        figure.savefig(files[-1])
    return files

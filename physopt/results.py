"""Results: a run as seen from Python, while it is fresh or from its folder years later."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from physopt import devices, experiment
from physopt.checkpoints import Checkpoints
from physopt.config import RunConfig, from_record, make_config
from physopt.options import OptionError
from physopt.pairs import suited_options
from physopt.prepare import Setup, prepare
from physopt.problem import Designs, Draws, Problem, Tree
from physopt.progress import Display
from physopt.records import RunFolder
from physopt.registry import find
from physopt.rule import Parameters, UpdateRule
from physopt.train import initial_carry


@dataclass(frozen=True)
class Run:
    """A recorded run."""

    folder: Path
    config: RunConfig

    @property
    def status(self) -> dict[str, Any]:
        """How far the run came and how it ended: status, reason, step, t_train, ..."""
        return RunFolder(self.folder).status()

    @property
    def curve(self) -> pd.DataFrame:
        """One row per evaluation."""
        return pd.DataFrame(RunFolder(self.folder).curve())

    def best(self) -> tuple[Setup, Parameters]:
        """Return objective and data, and the best parameters, those that `chosen_by` names.

        Raises FileNotFoundError where no checkpoint was written yet.
        """
        checkpoints = Checkpoints(self.folder / "checkpoints")
        try:
            if checkpoints.latest() is None:
                raise FileNotFoundError(f"no checkpoint in {self.folder}")
            setup = prepare(self.config)
            carry = initial_carry(
                setup.rule, setup.objective, setup.params, setup.source, setup.key
            )
            return setup, checkpoints.restore(carry)[1]
        finally:
            checkpoints.close()

    def predict(self, inputs: Tree) -> Tree:
        """Return the unknowns x that the trained network predicts, inputs [batch, ...] -> x.

        Raises ValueError for a run with network=none, which has learnt nothing to predict with.
        """
        settings = self.config.settings
        if settings.network == "none":
            raise ValueError("a run with network=none solves its own samples only")
        with devices.computing(devices.select(settings.device)[0], settings.dtype):
            setup, params = self.best()
            inputs = devices.cast(jax.tree.map(jax.numpy.asarray, inputs), settings.dtype)
            return jax.tree.map(np.asarray, setup.predict(params, inputs))


def run(
    problem: str | Problem,
    rule: str | UpdateRule,
    *,
    display: Display | None = None,
    **settings: Any,
) -> Run:
    """Train with a rule on a problem; what `python -m physopt run` does.

    Both may be names or objects: `run("ldft2d", Adam(learning_rate=1e-2), seed=3, steps=200)`. A
    rule that is named has the options that suit the problem (`physopt.pairs`). The
    settings are those of `physopt.settings.Settings`. A run that was interrupted goes on; one that
    is finished is not run again, unless force=True.
    """
    physics = problem if isinstance(problem, Problem) else find("problem", problem)()
    scheme = rule if isinstance(rule, UpdateRule) else _suited(find("rule", rule), type(physics))
    config = make_config(physics, scheme, settings)
    return Run(experiment.begin(config, display).path, config)


def _suited(rule: type[UpdateRule], problem: type[Problem]) -> UpdateRule:
    return rule(**suited_options(problem, rule))


def resume(
    folder: Path | str,
    *,
    steps: int | None = None,
    seconds: float | None = None,
    display: Display | None = None,
) -> Run:
    """Go on with an interrupted run, or with a finished one up to a larger budget."""
    experiment.resume(folder, steps=steps, seconds=seconds, display=display)
    return load(folder)


def design(run: Run, target: Path) -> tuple[dict[str, float], list[Path]]:
    """Let a trained network answer to a user's target.

    Returns the errors of the design and the files written beside the target: the design as .npy and
    a picture of it. Raises OptionError where problem or file do not serve.
    """
    problem, settings = run.config.problem, run.config.settings
    if not isinstance(problem, Designs):
        reason = f"{type(problem).__name__} does not read targets from files"
        raise OptionError(object, "folder", run.folder, reason)
    with devices.computing(devices.select(settings.device)[0], settings.dtype):
        try:
            batch = problem.read_target(target)
        except (OSError, ValueError) as error:
            raise OptionError(object, "file", target, str(error)) from None
        x = jax.tree.map(jax.numpy.asarray, run.predict(batch.inputs))
        y = problem.simulate(x, batch)
        errors = {k: float(v[0]) for k, v in problem.metrics(x, y, batch).items()}
        files = [target.with_name(f"{target.stem}_design.npy")]
        np.save(files[0], np.asarray(problem.design(x)[0]))
        if isinstance(problem, Draws):
            files.append(files[0].with_suffix(".png"))
            problem.figure(x, y, batch).savefig(files[1])
    return errors, files


def load(folder: Path | str) -> Run:
    """Open a run from its folder.

    Raises OptionError, a ValueError, where there is none.
    """
    record = RunFolder(folder).read("config.json")
    if not record:
        raise OptionError(object, "folder", folder, "holds no run (no readable config.json)")
    return Run(Path(folder), from_record(record))

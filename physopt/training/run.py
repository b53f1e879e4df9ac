"""One run, from its config to its records, and its interface from Python.

begin   start or continue the run of a config       run     the same from names or objects
resume  continue the run in a folder                load    open the run in a folder
"""

import dataclasses
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from physopt.config import RunConfig
from physopt.config.presets import suited_options
from physopt.config.registry import Untrusted, find
from physopt.config.run_config import from_record, make_config
from physopt.machine import devices, threads
from physopt.machine.cache import keeping_programs
from physopt.machine.failures import own_words, without_callback_tracebacks
from physopt.machine.mesh import mesh_of
from physopt.machine.output import discarding_lost_output
from physopt.options import OptionError
from physopt.problem import Problem, Tree
from physopt.records import RunFolder
from physopt.records.checkpoints import Checkpoints
from physopt.records.environment import differences, environment
from physopt.records.folder import SOURCE
from physopt.records.status import FINISHED, failure_status
from physopt.records.units import seconds_text
from physopt.rule import Parameters, UpdateRule
from physopt.training import identity, warm_start
from physopt.training.display import Display, Quiet
from physopt.training.interrupt import Interrupt
from physopt.training.session import Outcome, Session
from physopt.training.setup import Setup, prepare
from physopt.training.source import SHORT, Source
from physopt.training.timing import MachineLoad


@dataclass(frozen=True)
class Run:
    """A recorded run."""

    folder: Path
    config: RunConfig

    @property
    def status(self) -> dict[str, Any]:
        """Progress and outcome of the run: status, reason, step, t_train, ..."""
        return RunFolder(self.folder).status()

    @property
    def curve(self) -> pd.DataFrame:
        """One row per evaluation."""
        return pd.DataFrame(RunFolder(self.folder).curve())

    def best(self) -> tuple[Setup, Parameters]:
        """Return the setup and the best parameters, selected by the metric of `chosen_by`.

        Raises FileNotFoundError if there is no checkpoint yet.
        """
        checkpoints = Checkpoints(self.folder / "checkpoints", read_only=True)
        try:
            if checkpoints.latest() is None:
                raise FileNotFoundError(f"no checkpoint in {self.folder}")
            setup = prepare(self.config)
            carry = setup.initial_carry()
            return setup, checkpoints.restore(carry)[1]
        finally:
            checkpoints.close()

    def predict(self, inputs: Tree) -> Tree:
        """Return the unknowns x that the trained network predicts, inputs [batch, ...] -> x.

        Raises ValueError for a run with network=none, which has no network.
        """
        settings = self.config.settings
        if settings.network == "none":
            raise ValueError("a run with network=none solves its own samples only")
        with devices.computing(devices.select(settings.device)[0], settings.dtype):
            setup, params = self.best()
            inputs = devices.cast(jax.tree.map(jax.numpy.asarray, inputs), settings.dtype)
            return jax.tree.map(np.asarray, setup.predict(params, inputs))


def begin(config: RunConfig, display: Display | None = None) -> Run:
    """Start the run of a config, or continue it if it was interrupted; a finished run is returned.

    Raises OptionError for settings that this machine does not support; later errors are recorded
    in the folder and raised.
    """
    identity.refuse_during_import(config)
    settings = config.settings
    selected = devices.select(settings.device, settings.devices)
    mesh_of(selected, settings.batch_size)  # refuses before a folder is made
    folder = RunFolder(identity.folder(config, selected[0].device_kind))
    if settings.start is not None:
        warm_start.network_of(config)
    display = display or Quiet()
    missing = identity.source_of_run(config).missing
    for reason in missing:
        display.remark(f"The run is made anew, whatever is recorded: {reason}")
    _execute(config, folder, selected, display, fresh=settings.force or bool(missing))
    return Run(folder.path, config)


def resume(
    folder: Path | str,
    *,
    steps: int | None = None,
    seconds: float | None = None,
    display: Display | None = None,
    debug: bool = False,
    trust: bool = False,
) -> Run:
    """Continue the run in a folder, with a larger budget if one is given.

    Raises OptionError if there is no run, or if it has spent more than the budget, and as `load`
    does.
    """
    config = load(folder, trust=trust).config
    # A second profile would replace the first.
    changes: dict[str, Any] = {"debug": debug, "profile": False}
    recorded = config.settings.steps, config.settings.seconds
    extended = (steps, seconds) not in ((None, None), recorded)
    if extended:
        _refuse_spent(RunFolder(folder), steps, seconds)
        changes |= {"steps": steps, "seconds": seconds}
    config = dataclasses.replace(config, settings=config.settings.replace(**changes))
    selected = devices.select(config.settings.device, config.settings.devices)
    _execute(config, RunFolder(folder), selected, display or Quiet(), extended=extended)
    return load(folder, trust=trust)


def _refuse_spent(folder: RunFolder, steps: int | None, seconds: float | None) -> None:
    """Raise OptionError if a run has spent more than a budget already."""
    status = folder.status()
    made, spent = status.get("step", 0), status.get("t_train", 0.0)
    if steps is not None and steps < made:
        raise OptionError(object, "steps", steps, f"{made} updates are made already")
    if seconds is not None and seconds < spent:
        reason = f"{seconds_text(spent)} of training are spent already"
        raise OptionError(object, "seconds", f"{seconds:g}", reason)


def _execute(
    config: RunConfig,
    folder: RunFolder,
    selected: tuple[devices.Device, ...],
    display: Display,
    *,
    fresh: bool = False,
    extended: bool = False,
) -> None:
    """Run the remaining part of a run, under its lock."""
    with (
        folder.held(),
        discarding_lost_output(),
        threads.blas_limited(config.settings.threads),
    ):
        if fresh or extended:
            folder.set_aside()
        if fresh:
            folder.clear()
        recorded = folder.read("env.json")
        source = identity.source_of_run(config)
        current = _environment(config, selected[0], source)
        if folder.status().get("status") in FINISHED and not extended:
            display.remark(f"This run is finished already: {folder.path}")
            display.remark(identity.unchanged(recorded, current))
            if config.settings.profile:
                display.remark("profile=true traces a run while it trains: add force=true")
            return
        if changed := differences(recorded, current):
            display.remark(f"The run is continued with {identity.changes_text(changed)}")
            before = {name: old for name, (old, _) in changed.items()}
            current["earlier"] = [*recorded.get("earlier", ()), before]
        if edited := source.edited():
            names = ", ".join(edited)
            display.remark(f"Edited after the import, and run as imported: {names}")
        with (
            devices.computing(selected[0], config.settings.dtype),
            keeping_programs(),
            nullcontext() if config.settings.debug else without_callback_tracebacks(),
            Interrupt() as interrupt,
        ):
            # The problem defines the target; readers of the records need it too.
            folder.write("config.json", {**config.record(), "target": config.problem.target})
            folder.write("env.json", current)
            for file, text in source.copies().items():
                folder.write_text(f"{SOURCE}/{file}", text)
            load = MachineLoad(folder, selected[0], display)
            folder.write_status("running", "", load_start=load.start)
            session = Session(config, folder, selected, display, interrupt)
            try:
                outcome = session.run()
            except BaseException as error:
                with suppress(OSError):  # a full disk; the error says more
                    folder.write_status(*_failure(error))
                raise
            finally:
                display.close()
            at_end = load.at_end()
            folder.write_status(*outcome, **at_end, phases=session.phases.seconds())
        if outcome.status in FINISHED:
            folder.discard_earlier()


def _failure(error: BaseException) -> Outcome:
    if isinstance(error, KeyboardInterrupt):
        return Outcome("interrupted", "Ctrl-C")
    words = own_words(error)
    return Outcome(failure_status(words), words)


def _environment(config: RunConfig, device: devices.Device, source: Source) -> dict[str, Any]:
    settings = config.settings
    return environment(
        device,
        device_count=settings.devices,
        dtype=settings.dtype,
        seed=settings.seed,
        blas_threads=threads.blas_threads(),
        source=source.digest()[:SHORT],
        sources=source.versions(),
    )


def run(
    problem: str | Problem,
    rule: str | UpdateRule,
    *,
    display: Display | None = None,
    **settings: Any,
) -> Run:
    """Train with a rule on a problem; what `python -m physopt run` does.

    Both may be names or objects: `run("ldft2d", Adam(learning_rate=1e-2), seed=3, steps=200)`. A
    rule given by name has the options that the problem declares for it (`rule_defaults`). The
    settings are those of `physopt.config.settings.Settings`. An interrupted run is continued; a
    finished one is not run again, unless force=True.
    """
    physics = problem if isinstance(problem, Problem) else find("problem", problem)()
    scheme = rule if isinstance(rule, UpdateRule) else _suited(find("rule", rule), type(physics))
    config = make_config(physics, scheme, settings)
    return begin(config, display)


def _suited(rule: type[UpdateRule], problem: type[Problem]) -> UpdateRule:
    return rule(**suited_options(problem, rule))


def load(folder: Path | str, *, trust: bool = False) -> Run:
    """Open a run from its folder.

    A problem or rule of the user's own has to be imported or named in this process already, unless
    `trust` is true: the records of a folder may come from anyone, and importing runs code.
    Raises OptionError, a ValueError, if there is no run or its config.json is damaged.
    """
    record, damage = RunFolder(folder).checked("config.json")
    if damage:
        raise OptionError(object, "folder", folder, f"holds no run that can be opened ({damage})")
    try:
        return Run(Path(folder), from_record(record, trust=trust))
    except OptionError as error:
        if isinstance(error, Untrusted) or not (copies := Path(folder, SOURCE)).is_dir():
            raise
        reason = f"{error.reason} (the source that ran is kept in {copies})"
        raise OptionError(error.owner, error.name, error.value, reason) from error

"""Experiment: one run, from its config to its records.

begin   make the run of a config, or go on with it     resume  go on with the run of a folder
"""

import dataclasses
from pathlib import Path
from typing import Any

from physopt import compiled, devices, parallel, start
from physopt.config import RunConfig, from_record
from physopt.interrupt import Interrupt
from physopt.options import OptionError
from physopt.progress import Display, Silent
from physopt.records import FINISHED, RunFolder
from physopt.session import Outcome, Session


def begin(config: RunConfig, display: Display | None = None) -> RunFolder:
    """Make the run of a config: begin it, go on with it, or find it finished.

    Raises OptionError for settings that this machine cannot serve; whatever goes wrong later is
    recorded in the folder and raised.
    """
    settings = config.settings
    chosen = devices.select(settings.device, settings.devices)
    parallel.mesh_of(chosen, settings.batch_size)  # refuses before a folder is made
    folder = RunFolder(config.folder(chosen[0].device_kind))
    if settings.start is not None:
        start.network_of(settings.start, config.problem, settings.network)
    return _execute(config, folder, chosen, display or Silent(), fresh=config.settings.force)


def resume(
    path: Path | str,
    *,
    steps: int | None = None,
    seconds: float | None = None,
    display: Display | None = None,
    debug: bool = False,
) -> RunFolder:
    """Go on with the run in a folder, with a larger budget if one is given.

    Raises OptionError where there is no run.
    """
    folder = RunFolder(path)
    record = folder.read("config.json")
    if not record:
        raise OptionError(object, "folder", path, "holds no run (no readable config.json)")
    config = from_record(record)
    # What is left of a run is no place for a second profile, which would replace the first.
    changes: dict[str, Any] = {"debug": debug, "profile": False}
    extended = steps is not None or seconds is not None
    if extended:
        changes |= {"steps": steps, "seconds": seconds}
    config = dataclasses.replace(config, settings=config.settings.replace(**changes))
    chosen = devices.select(config.settings.device, config.settings.devices)
    return _execute(config, folder, chosen, display or Silent(), extended=extended)


def _execute(
    config: RunConfig,
    folder: RunFolder,
    chosen: tuple[devices.Device, ...],
    display: Display,
    *,
    fresh: bool = False,
    extended: bool = False,
) -> RunFolder:
    """Run what is left to do of a run, under its lock."""
    with folder.held():
        if fresh:
            folder.clear()
        if folder.status().get("status") in FINISHED and not extended:
            display.note(f"This run is finished already: {folder.path}")
            if config.settings.profile:
                display.note("profile=true traces a run while it trains: add force=true")
            return folder
        with (
            devices.computing(chosen[0], config.settings.dtype),
            compiled.keeping_programs(),
            Interrupt() as interrupt,
        ):
            # What counts as solved is the problem's to say; those who read records need it too.
            folder.write("config.json", {**config.record(), "target": config.problem.target})
            folder.write("env.json", devices.environment(chosen[0], config.settings))
            folder.write_status("running", "")
            try:
                outcome = Session(config, folder, chosen, display, interrupt).run()
            except BaseException as error:
                folder.write_status(*_failure(error))
                raise
            finally:
                display.close()
            folder.write_status(*outcome)
    return folder


def _failure(error: BaseException) -> Outcome:
    if isinstance(error, KeyboardInterrupt):
        return Outcome("interrupted", "Ctrl-C")
    text = f"{type(error).__name__}: {error}"
    exhausted = isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text
    return Outcome("oom" if exhausted else "error", text)

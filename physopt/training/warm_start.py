"""Warm start: initialise a run with the best parameters of another run."""

from pathlib import Path
from typing import Any, NoReturn

import jax
from flax import nnx

from physopt.config import RunConfig
from physopt.config.run_config import network_names, recorded_options, recorded_settings
from physopt.config.settings import Settings
from physopt.objective import build
from physopt.options import OptionError, suggest
from physopt.problem import Problem
from physopt.records import RunFolder
from physopt.records.checkpoints import Checkpoints
from physopt.rule import Parameters


def identity(folder: Path) -> str:
    """Return a name of the best parameters of a run: its run_id and its step.

    Raises OptionError where the folder holds no run, or no checkpoint of it.
    """
    run = RunFolder(folder)
    if not run.exists():
        _refuse(folder, "holds no run (no config.json)")
    step = Checkpoints.latest_in(run.checkpoints)
    run_id = next(iter(run.curve()), {}).get("run_id")
    if step is None or run_id is None:
        _refuse(folder, "the run has no checkpoint yet")
    return f"{run_id}@{step}"


def network_of(config: RunConfig) -> str:
    """Return the name of the problem's network that matches the parameters of the run in `start`.

    This is the config's network, or that run's if the config has none. Raises OptionError with the
    first array that differs if the networks do not match, and Untrusted if the problem of that run
    is code that only the user may decide to run.
    """
    problem, network, folder = config.problem, config.settings.network, config.settings.start
    assert folder is not None
    theirs = settings_of(folder).network
    if theirs == "none":
        _refuse(folder, "is a run with network=none, which has no network")
    ours = theirs if network == "none" else network
    if ours not in network_names(problem):
        reason = f"{type(problem).__name__} has no network={ours}"
        _refuse(folder, f"{reason}; {suggest(ours, network_names(problem))}")
    other = recorded_options(_record(folder), "problem", trust=config.settings.trust)
    if theirs not in network_names(other):
        _refuse(folder, f"{type(other).__name__} has no network={theirs}, which it names")
    there, here = _shapes(other, theirs), _shapes(problem, ours)
    for name in sorted(there.keys() | here.keys()):
        if there.get(name) != here.get(name):
            shapes = [str(tree.get(name, "missing")) for tree in (there, here)]
            _refuse(folder, f"its network is another one: {name} is {shapes[0]} there, "
                    f"{shapes[1]} here")  # fmt: skip
    return ours


def settings_of(folder: Path) -> Settings:
    """Return the settings of a run; raise OptionError if its records are damaged."""
    return recorded_settings(_record(folder))


def restore(folder: Path, like: Parameters) -> Parameters:
    """Return the best parameters of a run, in the structure and the precision of `like`."""
    checkpoints = Checkpoints(RunFolder(folder).checkpoints, read_only=True)
    try:
        return checkpoints.best(like)
    finally:
        checkpoints.close()


def _shapes(problem: Problem, network: str) -> dict[str, tuple[int, ...]]:
    """Return {name: shape} of a network's parameters."""
    params = jax.eval_shape(lambda: nnx.to_pure_dict(build(problem, network, 0)[1]))
    leaves: list[tuple[Any, Any]] = jax.tree.leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="."): a.shape for path, a in leaves}


def _record(folder: Path) -> dict[str, Any]:
    record, damage = RunFolder(folder).checked("config.json")
    if damage:
        _refuse(folder, damage)
    return record


def _refuse(folder: Path, reason: str) -> NoReturn:
    raise OptionError(Settings, "start", folder, reason)

"""Checkpoints: the last state of training and the best parameters, saved together.

Both are in one checkpoint, so that they are consistent after a crash. Arrays are saved as a flat
list of leaves, independent of the structure of a rule's state; the run that restores a checkpoint
provides a carry with that structure. Arrays of size 0, which orbax refuses, are left out.
"""

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging


class Checkpoints:
    """The checkpoints of one run; only the newest is kept."""

    def __init__(self, folder: Path, *, read_only: bool = False):
        # orbax reports every save at level INFO, and a failed one, which it raises, as an ERROR.
        logging.set_verbosity(logging.FATAL)
        self._folder = folder
        options = ocp.CheckpointManagerOptions(
            max_to_keep=None if read_only else 1,
            enable_async_checkpointing=False,
            read_only=read_only,
        )
        self._manager = ocp.CheckpointManager(folder.resolve(), options=options)

    def save(self, step: int, carry: Any, best: Any, host: dict[str, Any]) -> None:
        """Save the carry, the best parameters and the host's state (JSON).

        A step that is already saved is skipped: training is a function of the step. Raises OSError
        if the disk is full; the checkpoint before stays.
        """
        if step in self._manager.all_steps():
            return
        args = ocp.args.Composite(
            last=ocp.args.StandardSave(_saved(jax.tree.leaves(carry))),
            best=ocp.args.StandardSave(_saved(jax.tree.leaves(best))),
            host=ocp.args.JsonSave(host),
        )
        with _operating_system_errors(self._folder):
            before, sys.unraisablehook = sys.unraisablehook, _without_closed_loops
            try:
                self._manager.save(step, args=args)
                sys.unraisablehook = before
            except Exception:
                for partial in self._folder.glob(f"{step}.orbax*"):  # its space may be the last
                    shutil.rmtree(partial, ignore_errors=True)
                raise

    def latest(self) -> int | None:
        """Return the step of the newest checkpoint."""
        return self._manager.latest_step()

    def restore(self, carry: Any) -> tuple[Any, Any, dict[str, Any]]:
        """Return (carry, best parameters, host); `carry` gives structure, shapes and types."""
        leaves, structure = jax.tree.flatten(carry)
        last = ocp.args.StandardRestore(_abstract(leaves))
        args = ocp.args.Composite(last=last, host=ocp.args.JsonRestore())
        with _operating_system_errors(self._folder):
            content = self._manager.restore(self.latest(), args=args)
        last_carry = jax.tree.unflatten(structure, _completed(content["last"], leaves))
        return last_carry, self.best(carry.params), content["host"]

    def best(self, params: Any) -> Any:
        """Return the best parameters; `params` gives structure, shapes and types."""
        leaves, structure = jax.tree.flatten(params)
        args = ocp.args.Composite(best=ocp.args.StandardRestore(_abstract(leaves)))
        with _operating_system_errors(self._folder):
            content = self._manager.restore(self.latest(), args=args)
        return jax.tree.unflatten(structure, _completed(content["best"], leaves))

    @staticmethod
    def latest_in(folder: Path) -> int | None:
        """Return the step of the newest checkpoint in a folder, None if there is none."""
        steps = [int(path.name) for path in folder.glob("*") if path.name.isdecimal()]
        return max(steps, default=None)

    def close(self) -> None:
        """Release the folder."""
        self._manager.close()


def _without_closed_loops(unraisable: "sys.UnraisableHookArgs") -> None:
    """Print an exception that cannot be raised, unless it only follows a failed save.

    TensorStore reports the arrays that end after the first failure to an event loop that orbax has
    closed, from threads of its own, perhaps after `save` has raised.
    """
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


@contextlib.contextmanager
def _operating_system_errors(folder: Path) -> Iterator[None]:
    """Raise an OSError of TensorStore as one: it arrives as a ValueError with a page of text."""
    try:
        yield
    except Exception as error:
        if number := re.search(r"os_error_code='(\d+)'", str(error)):
            code = int(number[1])
            raise OSError(code, os.strerror(code), str(folder)) from None
        raise


def _abstract(leaves: list[Any]) -> list[jax.ShapeDtypeStruct]:
    return [jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding) for a in _saved(leaves)]


def _saved(leaves: list[Any]) -> list[Any]:
    """Return the arrays that a checkpoint holds."""
    return [leaf for leaf in leaves if leaf.size]


def _completed(saved: list[Any], leaves: list[Any]) -> list[Any]:
    """Return the restored arrays with the empty ones in their places among `leaves`."""
    restored = iter(saved)
    return [next(restored) if leaf.size else leaf for leaf in leaves]

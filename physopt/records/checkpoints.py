"""Checkpoints: the last state of training and the best parameters, saved as one.

Both lie in one checkpoint, so that after a crash they always belong to the same moment. Arrays are
saved as a plain list of leaves: what a rule keeps in its state is its own affair, and the run that
reads a checkpoint has made a carry of the same structure anyway.
"""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging


class Checkpoints:
    """The checkpoints of one run; only the newest is kept."""

    def __init__(self, folder: Path):
        logging.set_verbosity(logging.ERROR)  # orbax reports every save at level INFO
        options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(folder.resolve(), options=options)

    def save(self, step: int, carry: Any, best: Any, host: dict[str, Any]) -> None:
        """Save the carry, the best parameters, and what the host remembers (JSON).

        A step that is saved already is left alone: training is a function of the step.
        """
        if step in self._manager.all_steps():
            return
        self._manager.save(
            step,
            args=ocp.args.Composite(
                last=ocp.args.StandardSave(jax.tree.leaves(carry)),
                best=ocp.args.StandardSave(jax.tree.leaves(best)),
                host=ocp.args.JsonSave(host),
            ),
        )

    def latest(self) -> int | None:
        """Return the step of the newest checkpoint."""
        return self._manager.latest_step()

    def restore(self, carry: Any) -> tuple[Any, Any, dict[str, Any]]:
        """Return (carry, best parameters, host); `carry` gives structure, shapes and types."""
        carry_leaves, structure = jax.tree.flatten(carry)
        best_leaves, best_structure = jax.tree.flatten(carry.params)
        content = self._manager.restore(
            self.latest(),
            args=ocp.args.Composite(
                last=ocp.args.StandardRestore(_abstract(carry_leaves)),
                best=ocp.args.StandardRestore(_abstract(best_leaves)),
                host=ocp.args.JsonRestore(),
            ),
        )
        last = jax.tree.unflatten(structure, content["last"])
        return last, jax.tree.unflatten(best_structure, content["best"]), content["host"]

    def best(self, params: Any) -> Any:
        """Return the best parameters alone; `params` gives structure, shapes and types."""
        leaves, structure = jax.tree.flatten(params)
        args = ocp.args.Composite(best=ocp.args.StandardRestore(_abstract(leaves)))
        content = self._manager.restore(self.latest(), args=args)
        return jax.tree.unflatten(structure, content["best"])

    @staticmethod
    def latest_in(folder: Path) -> int | None:
        """Return the step of the newest checkpoint in a folder, which need not be there."""
        steps = [int(path.name) for path in folder.glob("*") if path.name.isdigit()]
        return max(steps, default=None)

    def close(self) -> None:
        """Let go of the folder."""
        self._manager.close()


def _abstract(leaves: list[Any]) -> list[jax.ShapeDtypeStruct]:
    return [jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding) for a in leaves]

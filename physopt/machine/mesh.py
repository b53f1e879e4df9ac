"""Parallel: the batch of one run spread over several devices.

Parameters, the rule's state and keys are on every device, samples on one each. XLA divides the
network and the linear algebra by itself. The physics is divided explicitly: samples never see one
another, yet a solver that pools those of a batch (which of them is to go on?) would make all
devices talk in each of its steps.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from physopt.options import OptionError

T = TypeVar("T")

_BATCH = "batch"
_SAMPLES = PartitionSpec(_BATCH)


def mesh_of(devices: Sequence[Any], batch_size: int) -> Mesh | None:
    """Return the mesh over which a batch is spread, none for a single device.

    Raises OptionError where the devices cannot have equal parts of the batch.
    """
    count = len(devices)
    if count == 1:
        return None
    if batch_size % count:
        below, above = batch_size // count * count, (batch_size // count + 1) * count
        nearest = f"{below} or {above}" if below else f"{above}"
        reason = f"{count} devices need equal parts of it; {nearest} would do"
        raise OptionError(object, "batch_size", batch_size, reason)
    return Mesh(np.asarray(devices), (_BATCH,), axis_types=(AxisType.Auto,))


def replicated(tree: T, mesh: Mesh | None) -> T:
    """Put a pytree on every device."""
    return tree if mesh is None else jax.device_put(tree, everywhere(mesh))


def everywhere(mesh: Mesh) -> NamedSharding:
    """Return the sharding of what every device has a copy of."""
    return NamedSharding(mesh, PartitionSpec())


def divided(batch: T, mesh: Mesh | None) -> T:
    """Give each device its part of a batch, leaves [batch, ...]; inside jit."""
    if mesh is None:
        return batch
    return jax.lax.with_sharding_constraint(batch, NamedSharding(mesh, _SAMPLES))


def spread(function: Callable[..., T], mesh: Mesh | None, *arguments: Any) -> T:
    """Call a function of samples, each device with its part: leaves [batch, ...] in and out.

    A batch that cannot be divided (a single sample under vmap, a few for evaluation) stays whole.
    """
    size = jax.tree.leaves(arguments)[0].shape[0]
    if mesh is None or size % mesh.size:
        return function(*arguments)
    # Loops and solvers inside are each device's own, which is more than JAX can verify.
    parts = jax.shard_map(
        function, mesh=mesh, in_specs=_SAMPLES, out_specs=_SAMPLES, check_vma=False
    )
    return parts(*arguments)

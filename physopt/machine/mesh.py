"""Mesh: the batch of one run, sharded over several devices.

Parameters, the rule's state and keys are replicated, samples are sharded. XLA partitions the
network and the linear algebra automatically. The physics is partitioned explicitly: samples are
independent, but a solver that pools the samples of a batch, for example to select those that have
not converged, would otherwise communicate between devices in each of its steps.
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
    """Return the mesh over which a batch is sharded, None for a single device.

    Raises OptionError if the batch cannot be divided equally among the devices.
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
    """Replicate a pytree on every device."""
    return tree if mesh is None else jax.device_put(tree, everywhere(mesh))


def everywhere(mesh: Mesh) -> NamedSharding:
    """Return the sharding of replicated arrays."""
    return NamedSharding(mesh, PartitionSpec())


def divided(batch: T, mesh: Mesh | None) -> T:
    """Shard a batch, leaves [batch, ...], over the devices; inside jit."""
    if mesh is None:
        return batch
    return jax.lax.with_sharding_constraint(batch, NamedSharding(mesh, _SAMPLES))


def spread(function: Callable[..., T], mesh: Mesh | None, *arguments: Any) -> T:
    """Call a function of samples on each device's shard: leaves [batch, ...] in and out.

    A batch that does not divide evenly (a single sample under vmap, few in evaluation) is not
    sharded.
    """
    size = jax.tree.leaves(arguments)[0].shape[0]
    if mesh is None or size % mesh.size:
        return function(*arguments)
    # Loops and solvers inside run independently per device, which JAX cannot verify.
    parts = jax.shard_map(
        function, mesh=mesh, in_specs=_SAMPLES, out_specs=_SAMPLES, check_vma=False
    )
    return parts(*arguments)

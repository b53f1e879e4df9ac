"""Training batches and held-out sets as functions of the seed.

Keys. With k = key(seed), update s draws its batch from fold_in(k, 2 s) and its rule draws from
fold_in(k, 2 s + 1); everything else uses numbers above 2^31, so no two streams coincide. Hence
two rules with one seed see the same batches, and a resumed run continues its own.
"""

import dataclasses
from functools import partial
from typing import Protocol

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from physopt.machine.mesh import divided, spread
from physopt.numerics.keys import key_of
from physopt.problem import Batch, Problem

_INITIAL, _TRAINING_SET, _HELD_OUT = (2**31 + k for k in (1, 2, 3))


def batch_key(key: jax.Array, step: jax.Array) -> jax.Array:
    """Return the key from which the batch of an update is drawn."""
    return jax.random.fold_in(key, 2 * step)


def rule_key(key: jax.Array, step: jax.Array) -> jax.Array:
    """Return the key of a rule's own randomness in an update."""
    return jax.random.fold_in(key, 2 * step + 1)


def initial_key(key: jax.Array) -> jax.Array:
    """Return the key of a rule's initial state."""
    return jax.random.fold_in(key, _INITIAL)


class Source(Protocol):
    """Source of batches; a pytree, so that its data are arguments of the compiled program."""

    def draw(self, step: jax.Array) -> Batch:
        """Return the batch of an update."""
        ...


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["key"],
    meta_fields=["problem", "batch_size", "mesh"],
)
@dataclasses.dataclass(frozen=True)
class FreshSamples:
    """New samples in every batch."""

    key: jax.Array
    problem: Problem
    batch_size: int
    mesh: Mesh | None = None

    def draw(self, step: jax.Array) -> Batch:
        """Sample the physics anew."""
        keys = jax.random.split(batch_key(self.key, step), self.batch_size)
        return spread(self.problem.sample, self.mesh, keys)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["samples"],
    meta_fields=["batch_size", "mesh"],
)
@dataclasses.dataclass(frozen=True)
class TrainingSet:
    """A fixed set, visited in order and cyclically.

    Its samples are drawn independently, so their order needs no shuffle.
    """

    samples: Batch
    batch_size: int
    mesh: Mesh | None = None

    def draw(self, step: jax.Array) -> Batch:
        """Take the next `batch_size` samples."""
        size = len(self.samples)
        # The product step * batch_size could pass 2^31 in a long run; its remainder cannot.
        first = (step % size) * (self.batch_size % size) % size
        indices = (first + jnp.arange(self.batch_size)) % size
        return divided(jax.tree.map(lambda leaf: leaf[indices], self.samples), self.mesh)


@partial(jax.tree_util.register_dataclass, data_fields=["samples"], meta_fields=["mesh"])
@dataclasses.dataclass(frozen=True)
class SameSamples:
    """The same batch at every step: the samples whose x is optimised directly."""

    samples: Batch
    mesh: Mesh | None = None

    def draw(self, step: jax.Array) -> Batch:
        """Return all samples."""
        return divided(self.samples, self.mesh)


def training_source(
    problem: Problem,
    seed: int,
    batch_size: int,
    train_size: int | None,
    mesh: Mesh | None = None,
) -> Source:
    """Make the stream of training batches of a seed."""
    key = key_of(seed)
    if train_size is None:
        return FreshSamples(key, problem, batch_size, mesh)
    keys = jax.random.split(jax.random.fold_in(key, _TRAINING_SET), train_size)
    return TrainingSet(jax.jit(problem.sample)(keys), batch_size, mesh)


def stays_the_same(source: Source) -> bool:
    """Return whether a source gives the same batch in every update."""
    if isinstance(source, TrainingSet):
        return len(source.samples) == source.batch_size
    return isinstance(source, SameSamples)


def held_out_sets(problem: Problem) -> tuple[str, ...]:
    """Return the names of the sets in `held_out_samples`, in order."""
    return ("validation", "test", *(f"test_{name}" for name in problem.test_sets))


def held_out_samples(problem: Problem, size: int) -> Batch:
    """Make validation set, test set and the problem's further test sets, `size` samples each.

    They are concatenated into one batch, the same for every seed and rule; a smaller set is
    a prefix of a larger one.
    """
    key = jax.random.fold_in(key_of(0), _HELD_OUT)

    def keys(split: int) -> jax.Array:
        of_split = partial(jax.random.fold_in, jax.random.fold_in(key, split))
        return jax.vmap(of_split)(jnp.arange(size))

    sets = [jax.jit(problem.held_out)(jnp.concatenate([keys(0), keys(1)]))]
    for k, name in enumerate(problem.test_sets):
        sets.append(jax.jit(partial(problem.test_set, name))(keys(2 + k)))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *sets).at(1.0)

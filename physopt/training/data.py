"""Training batches and held-out sets as functions of the seed.

Keys. With k = key(seed), update s draws its batch from fold_in(k, 2 s) and its rule draws from
fold_in(k, 2 s + 1); everything else uses numbers above 2^31, so no two streams coincide. Hence
two rules with one seed see the same batches, and a resumed run continues its own.
"""

import dataclasses
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from physopt.machine.mesh import divided, spread
from physopt.numerics.keys import key_of
from physopt.objective import Objective
from physopt.problem import Adapts, Arranges, Batch, Problem
from physopt.rule import Parameters

_INITIAL, _TRAINING_SET, _HELD_OUT, _UNKNOWNS = (2**31 + k for k in (1, 2, 3, 4))


def batch_key(key: jax.Array, step: jax.Array) -> jax.Array:
    """Return the key from which the batch of an update is drawn."""
    return jax.random.fold_in(key, 2 * step)


def rule_key(key: jax.Array, step: jax.Array) -> jax.Array:
    """Return the key of a rule's own randomness in an update."""
    return jax.random.fold_in(key, 2 * step + 1)


def initial_key(key: jax.Array) -> jax.Array:
    """Return the key of a rule's initial state."""
    return jax.random.fold_in(key, _INITIAL)


def unknowns_keys(key: jax.Array, size: int) -> jax.Array:
    """Return the keys of random initial unknowns, [size]; those of fewer samples are a prefix."""
    key = jax.random.fold_in(key, _UNKNOWNS)
    return jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(size))


class Source(Protocol):
    """Source of batches; a pytree, so that its data are arguments of the compiled program."""

    def draw(self, step: jax.Array) -> Batch:
        """Return the batch of an update."""
        ...


def _samples(
    problem: Problem, key: jax.Array, positions: jax.Array, size: int, mesh: Mesh | None = None
) -> Batch:
    """Return the samples at some positions of a set of `size` that a key determines."""
    if isinstance(problem, Arranges):
        return spread(lambda some: problem.arrange(some, size, key), mesh, positions)
    return spread(problem.sample, mesh, jax.random.split(key, size)[positions])


def _window(step: jax.Array, batch_size: int, size: int) -> jax.Array:
    """Return the positions of an update's batch in a set that is visited cyclically."""
    # The product step * batch_size could pass 2^31 in a long run; its remainder cannot.
    first = (step % size) * (batch_size % size) % size
    return (first + jnp.arange(batch_size)) % size


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
        positions = jnp.arange(self.batch_size)
        key = batch_key(self.key, step)
        return _samples(self.problem, key, positions, self.batch_size, self.mesh)


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
        indices = _window(step, self.batch_size, len(self.samples))
        return divided(jax.tree.map(lambda leaf: leaf[indices], self.samples), self.mesh)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["key"],
    meta_fields=["problem", "batch_size", "size", "every", "mesh"],
)
@dataclasses.dataclass(frozen=True)
class RedrawnSet:
    """A set of `size` samples, visited cyclically, and drawn anew after `every` updates."""

    key: jax.Array
    problem: Problem
    batch_size: int
    size: int
    every: int
    mesh: Mesh | None = None

    def draw(self, step: jax.Array) -> Batch:
        """Sample the next `batch_size` positions of the current set."""
        key = jax.random.fold_in(self.key, step // self.every)
        positions = _window(step, self.batch_size, self.size)
        return _samples(self.problem, key, positions, self.size, self.mesh)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["key"],
    meta_fields=["problem", "batch_size", "size", "every", "mesh"],
)
@dataclasses.dataclass(frozen=True)
class AdaptedSet(RedrawnSet):
    """A redrawn set whose samples the problem places by the losses of candidates.

    The current set depends on the parameters at the last redraw: the carry keeps it. The first set
    is drawn as that of a `RedrawnSet`.
    """

    def first(self) -> Batch:
        """Return the whole first set."""
        key = jax.random.fold_in(self.key, 0)
        return _samples(self.problem, key, jnp.arange(self.size), self.size)

    def renewed(
        self, kept: Batch, objective: Objective, params: Parameters, step: jax.Array
    ) -> Batch:
        """Return the set of an update: the one kept, or a new one if a redraw is due."""
        problem = self.problem
        assert isinstance(problem, Adapts)

        def losses(candidates: Batch) -> jax.Array:
            return objective.losses(objective.predict(params, candidates.inputs), candidates)

        def redraw() -> Batch:
            key = jax.random.fold_in(self.key, step // self.every)
            return problem.adapted(self.size, key, losses)

        due = (step > 0) & (step % self.every == 0)
        return jax.lax.cond(due, redraw, lambda: kept)

    def window(self, kept: Batch, step: jax.Array) -> Batch:
        """Take the next `batch_size` samples of the set."""
        return TrainingSet(kept, self.batch_size, self.mesh).draw(step)


@partial(jax.tree_util.register_dataclass, data_fields=["samples"], meta_fields=["mesh"])
@dataclasses.dataclass(frozen=True)
class SameSamples:
    """The same batch at every step: the samples whose x is optimised directly."""

    samples: Batch
    mesh: Mesh | None = None

    def draw(self, step: jax.Array) -> Batch:
        """Return all samples."""
        return divided(self.samples, self.mesh)


def next_batch(
    source: Source, kept: Any, objective: Objective, params: Parameters, step: jax.Array
) -> tuple[Batch, Any]:
    """Return the batch of an update, and what the source keeps for the next one.

    `kept` is that of the previous update; before the first one it is `initially_kept`.
    """
    if not isinstance(source, AdaptedSet):
        return source.draw(step), kept
    kept = source.renewed(kept, objective, params, step)
    return source.window(kept, step), kept


def initially_kept(source: Source) -> Any:
    """Return what the carry keeps for a source: the set that was adapted last, () for others."""
    return jax.jit(source.first)() if isinstance(source, AdaptedSet) else ()


def training_source(
    problem: Problem,
    seed: int,
    batch_size: int,
    train_size: int | None,
    mesh: Mesh | None = None,
    redraw: int | None = None,
) -> Source:
    """Make the stream of training batches of a seed."""
    key = key_of(seed)
    if train_size is None:
        return FreshSamples(key, problem, batch_size, mesh)
    key = jax.random.fold_in(key, _TRAINING_SET)
    if redraw is None:
        draw = jax.jit(partial(_samples, problem), static_argnums=2)
        return TrainingSet(draw(key, jnp.arange(train_size), train_size), batch_size, mesh)
    is_adaptive = isinstance(problem, Adapts) and problem.adaptive
    kind = AdaptedSet if is_adaptive else RedrawnSet
    return kind(key, problem, batch_size, train_size, redraw, mesh)


def stays_the_same(source: Source) -> bool:
    """Return whether a source gives the same batch in every update, or until the next redraw."""
    if isinstance(source, TrainingSet):
        return len(source.samples) == source.batch_size
    if isinstance(source, RedrawnSet):
        return source.size == source.batch_size and source.every > 1
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


def scored_twice(held_out: Batch, size: int) -> Batch:
    """Return held-out sets of `size` samples with the test set in place of the validation set."""
    return jax.tree.map(
        lambda leaf: jnp.concatenate([leaf[size : 2 * size], leaf[size:]]), held_out
    )

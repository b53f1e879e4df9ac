"""Problem: the physics, which maps unknowns to observations.

A problem is a frozen dataclass whose fields are its options and whose methods are pure functions of
arrays. Everything has a leading axis `batch`, and samples are independent: a problem may be
vmapped, sharded and differentiated sample by sample. It does not depend on the update rule.

    x  unknowns (a porous matrix, a source field, a control signal), predicted by a network
    y  observations (an isotherm, a potential, an end state), y = simulate(x)
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from physopt.options import OptionError, Options

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Tree = Any  # an array, or a pytree of arrays


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """Samples: every leaf has the leading axis `batch`.

    inputs: of the network. target: the desired observations y*. extra: further data for the physics
    (an initial state, for example). progress: [batch], the fraction of the training budget spent,
    for annealing; set by the training loop, and 1 in evaluation. kind: [batch] int32, the term of
    the loss to which each sample belongs; () for a loss of one term.
    """

    inputs: Tree
    target: Tree
    extra: Tree = ()
    progress: Tree = ()
    kind: Tree = ()

    def at(self, progress: jax.Array | float) -> "Batch":
        """Return these samples at a progress in [0, 1]."""
        spent = jnp.broadcast_to(jnp.asarray(progress, jnp.float32), (len(self),))
        return dataclasses.replace(self, progress=spent)

    def __len__(self) -> int:
        return jax.tree.leaves((self.inputs, self.target))[0].shape[0]


class Problem(Options, ABC):
    """The interface of a physics. A subclass is a frozen dataclass; its fields are its options.

    `target` names a metric and the value below which the problem counts as solved. `defaults` are
    default settings of a run on this physics (batch_size, steps, ...), and `rule_defaults` default
    options of rules, {rule: {option: value}}, where a rule's own are far from suitable.

    `test_sets` name further test sets, drawn by `test_set` and reported separately, as
    test_NAME_loss and METRIC_NAME. `tiny` are options for tests of about a second. `drawn`: test
    samples that `figure` receives. `float64_inverse`: whether `invert` calculates in float64
    whatever the run's type, which a TPU cannot.

    A further network is a further method: `network=paper` selects `network_paper`.
    """

    key_prefix: ClassVar[str] = "problem."
    target: ClassVar[tuple[str, float] | None] = None
    defaults: ClassVar[Mapping[str, Any]] = {}
    rule_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    test_sets: ClassVar[tuple[str, ...]] = ()
    tiny: ClassVar[Mapping[str, Any]] = {}
    drawn: ClassVar[int] = 4
    float64_inverse: ClassVar[bool] = False

    @abstractmethod
    def sample(self, keys: jax.Array) -> Batch:
        """Draw one sample per key: keys [batch] -> Batch with leaves [batch, ...]."""

    def held_out(self, keys: jax.Array) -> Batch:
        """Draw validation and test samples; overridden if their targets need higher accuracy."""
        return self.sample(keys)

    def test_set(self, name: str, keys: jax.Array) -> Batch:
        """Draw the samples of a further test set, one of `test_sets`."""
        raise NotImplementedError(f"{type(self).__name__} has no test set {name}")

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make the network inputs [batch, ...] -> x [batch, ...].

        A problem without one is solved with network=none, from its own `initial_unknowns`.
        """
        name = type(self).__name__
        raise OptionError(object, "problem", name, "has neither network nor initial_unknowns")

    @abstractmethod
    def simulate(self, x: Tree, batch: Batch) -> Tree:
        """Solve the physics, y = P(x), differentiably: leaves [batch, ...] -> [batch, ...]."""

    def loss(self, y: Tree, batch: Batch) -> jax.Array:
        """Return the loss of each sample, 1/2 sum |y - y*|^2: [batch].

        The objective is its mean over the batch, for every problem and rule.
        """
        return sum(
            0.5 * jnp.sum(jnp.abs(a - b) ** 2, axis=tuple(range(1, a.ndim)))
            for a, b in zip(jax.tree.leaves(y), jax.tree.leaves(batch.target), strict=True)
        )  # type: ignore[return-value]

    def metrics(self, x: Tree, y: Tree, batch: Batch) -> dict[str, jax.Array]:
        """Return physical errors of each sample, {name: [batch]}, in addition to the loss."""
        return {}


class Measurements(NamedTuple):
    """What is measured of each sample of a batch, as {name: [batch]}."""

    values: dict[str, jax.Array]
    """The loss and the metrics."""
    terms: dict[str, jax.Array]
    """Terms of the metrics of whole sets, see `MeasuresSet`."""


@runtime_checkable
class MeasuresSet(Protocol):
    """A problem with metrics of a whole held-out set that are no means over its samples.

    They are computed in two steps, because the physics is evaluated in chunks whose fields are not
    kept: terms of each sample first, and the metrics of the set from these. For the relative L2
    error sqrt(sum_i |y_i - y_i*|^2 / sum_i |y_i*|^2) the terms are both squares:

        set_terms(x, y, batch) = {"error": |y - y*|^2, "size": |y*|^2}, each [batch]
        set_metrics(terms) = {"relative_l2": sqrt(sum error / sum size)}

    The metrics are recorded as those of `Problem.metrics` are, and `target` may name one.
    """

    def set_terms(self, x: Tree, y: Tree, batch: Batch) -> dict[str, jax.Array]:
        """Return the terms of each sample, {name: [batch]}."""
        ...

    def set_metrics(self, terms: dict[str, np.ndarray]) -> dict[str, float]:
        """Return the metrics of a set from the terms of its samples, {name: [size]} in float64.

        They must not depend on the order of the samples.
        """
        ...


@runtime_checkable
class Starts(Protocol):
    """A problem with its own initial unknowns for network=none."""

    def initial_unknowns(self, batch: Batch) -> Tree:
        """Return x0 [batch, ...], from which each sample is solved."""
        ...


@runtime_checkable
class DrawsUnknowns(Protocol):
    """A problem with random initial unknowns for network=none: each seed is another start."""

    def draw_unknowns(self, keys: jax.Array) -> Tree:
        """Draw x0 from a distribution of plausible unknowns: keys [batch] -> [batch, ...]."""
        ...


@runtime_checkable
class HasTerms(Protocol):
    """A problem whose loss has several terms: its samples have a `kind`, the number of their term.

    A term contributes the losses of its samples to the mean over a batch.
    """

    def terms(self) -> tuple[Any, ...]:
        """Return a description of each term; the first is the residual inside the domain."""
        ...


@runtime_checkable
class Arranges(Protocol):
    """A problem whose training samples are arranged together: evenly spaced points, for example."""

    def arrange(self, positions: jax.Array, size: int, key: jax.Array) -> Batch:
        """Return the samples at `positions` [batch] of a set of `size`; the key is the set's."""
        ...


@runtime_checkable
class Adapts(Protocol):
    """A problem that places the samples of a redrawn training set by the loss of candidates."""

    @property
    def adaptive(self) -> bool:
        """Whether it does so with its present options."""
        ...

    def adapted(self, size: int, key: jax.Array, losses: Callable[[Batch], jax.Array]) -> Batch:
        """Return a set of `size` samples; losses(candidates) [batch] are at the parameters."""
        ...


@runtime_checkable
class Linearizes(Protocol):
    """A problem that computes dy/dx at a lower cost than one vjp per component of y."""

    def linearize(self, x: Tree, batch: Batch) -> tuple[Tree, jax.Array]:
        """Return y and dy/dx [batch, *y.shape[1:], *x.shape[1:]]."""
        ...


@runtime_checkable
class Plans(Protocol):
    """A problem that computes its physics in one of several ways."""

    def plan(self) -> str | None:
        """Return how it is computed on the current platform, None where that is the usual way."""
        ...


@runtime_checkable
class Inverts(Protocol):
    """A problem with its own inverse solver."""

    def invert(self, x: Tree, batch: Batch) -> Tree:
        """Return P^-1(y* | x): x after a scale-invariant step towards a solution.

        Source: scale-invariant physics training, arXiv 2109.15048.
        """
        ...


@runtime_checkable
class EstimatesGradient(Protocol):
    """A problem that estimates dL/dx without backpropagation."""

    def estimate_gradient(self, x: Tree, batch: Batch, key: jax.Array) -> Tree:
        """Return dL/dx of the batch's mean loss, leaves like x."""
        ...


@runtime_checkable
class HasBaselines(Protocol):
    """A problem with solutions that need no training, as baselines for every result."""

    def baselines(self, held_out: Batch) -> dict[str, dict[str, float]]:
        """Return {method: {metric: mean over the samples}}."""
        ...


@runtime_checkable
class Designs(Protocol):
    """A problem whose trained network solves for a user's own target."""

    def read_target(self, path: Path) -> Batch:
        """Read a file into a batch of one sample. Raises ValueError if it cannot be read."""
        ...

    def design(self, x: Tree) -> jax.Array:
        """Return the structure to be built, [batch, ...], from the unknowns x."""
        ...


@runtime_checkable
class StatesTargets(Protocol):
    """A problem that states how it reads a user's target."""

    def target_statement(self, path: Path) -> dict[str, str]:
        """Return units, ranges and repairs by name. Raises ValueError as `read_target` does."""
        ...


@runtime_checkable
class Refines(Protocol):
    """A problem that improves unknowns without the network, for example by a search.

    The designs of a finished run are refined with an effort of `refine`, in a unit of the problem;
    0 refines nothing. The target's metric is then reported as METRIC_refined as well.
    """

    @property
    def refine(self) -> int:
        """Return the effort spent on the test samples of a run."""
        ...

    def refined(self, x: Tree, batch: Batch, effort: int) -> Tree:
        """Return unknowns that are no worse than x."""
        ...

    def refined_figure(self, x: Tree, refined: Tree, batch: Batch) -> "Figure":
        """Plot the first samples of a batch before and after."""
        ...


@runtime_checkable
class Draws(Protocol):
    """A problem that plots its solutions."""

    def figure(self, x: Tree, y: Tree, batch: Batch) -> "Figure":
        """Plot the first samples of a batch."""
        ...

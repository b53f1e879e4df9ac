"""A physics-informed network: the residuals of a differential equation at collocation points."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from physopt.networks import Dense
from physopt.networks.jet import Ansatz, Jet
from physopt.networks.unet import initialize
from physopt.options import NonNegativeFloat, OptionError, PositiveInt
from physopt.problem import Batch, Problem
from physopt.problems.fields import relative_l2
from physopt.problems.pinn.points import (
    Placement,
    counts,
    interleaved,
    lattice,
    on_faces,
    unit_points,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST_DENOMINATOR = 1000


class Term(NamedTuple):
    """A term of the loss: a residual on the interior of the domain, or on some faces of it."""

    share: float
    """Fraction of the samples; that of the first term is what the others leave."""

    weight: float = 1.0
    """Weight of the mean square of the residual."""

    faces: tuple[tuple[int, float], ...] = ()
    """Faces (axis, value) of the domain; () is the interior."""


@dataclasses.dataclass(frozen=True)
class PINN(Problem):
    """Base of the physics-informed problems. A sample is a collocation point p.

    The network returns the jet of u at p, x [batch, entries], and y [batch, 1] is the residual of
    the term k of the loss to which the sample belongs, times sqrt(weight_k / share_k); y* = 0.
    The mean loss of a batch is then 1/2 sum_k weight_k mean_k r^2, with the means over the samples
    of each term. Kinds are interleaved evenly, see `physopt.problems.pinn.points`.

    relative_l2 is sqrt(sum (u - u*)^2 / sum u*^2) over the interior points of a whole set, which
    are evenly spaced and the same for every seed.

    A subclass sets `coordinates`, `entries`, `domain`, and defines `terms`, `residuals` and
    `exact`; `offset`, `factor` and `features` give the form of u.
    """

    hidden: tuple[PositiveInt, ...] = (20, 20, 20)
    """Widths of the network's hidden layers, with tanh."""

    points: Placement = "lattice"
    """Interior points of the training set. random: uniform. lattice: evenly spaced, shifted at
    random. grid: midpoints of equal cells. graded: denser where the solution is steep. adaptive:
    random at first, and at each redraw those of many candidates that have large residuals."""

    candidates: PositiveInt = 10
    """Candidates for each interior point of an adaptive set."""

    uniform_part: NonNegativeFloat = 1.0
    """Constant c of the probability |r| / mean |r| + c with which a candidate is kept."""

    test_grid: tuple[PositiveInt, ...] = ()
    """Points along each axis of a further test set `grid`, ends included, as published errors are
    measured; 100 256, for example. Their product has to be heldout_size. (): no such set."""

    coordinates: ClassVar[str] = "tx"
    entries: ClassVar[tuple[str, ...]] = ()
    domain: ClassVar[tuple[tuple[float, float], ...]] = ()
    drawn: ClassVar[int] = 4096
    rule_defaults: ClassVar = {"lbfgs": {"memory_size": 50}}

    # --- what a subclass defines

    def terms(self) -> tuple[Term, ...]:
        """Return the terms of the loss, the interior first."""
        return (Term(1.0),)

    def residuals(self, u: Mapping[str, Array], points: Array) -> tuple[Array, ...]:
        """Return the residual of each term at points [batch, d], from the entries of the jet."""
        raise NotImplementedError

    def exact(self, points: Array) -> Array:
        """Return the solution at points [batch, d]: [batch]."""
        raise NotImplementedError

    def graded(self, unit: Array) -> Array:
        """Map evenly spaced unit points to those of points=graded."""
        return unit

    def features(self, points: Array) -> Array:
        """Return the inputs of the network: the coordinates, scaled to [-1, 1]."""
        low, high = self.box
        return 2 * (points - low) / (high - low) - 1

    def offset(self, points: Array) -> Array:
        """Return the part of u without parameters, [batch]."""
        return jnp.zeros_like(points[:, 0])

    def factor(self, points: Array) -> Array:
        """Return the factor of the network, [batch]: 0 where u is the offset."""
        return jnp.ones_like(points[:, 0])

    # --- the problem

    @property
    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest coordinates of the domain."""
        low, high = np.asarray(self.domain, np.float64).T
        return low, high

    @property
    def axes(self) -> int:
        """Number of coordinates."""
        return len(self.box[0])

    @property
    def shares(self) -> tuple[Fraction, ...]:
        """Fraction of the samples that belong to each term."""
        others = [
            Fraction(term.share).limit_denominator(LARGEST_DENOMINATOR) for term in self.terms()[1:]
        ]
        return (1 - sum(others, Fraction(0)), *others)

    @property
    def adaptive(self) -> bool:
        """Whether a redraw places points by their residuals."""
        return self.points == "adaptive"

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make the jet of u with a dense tanh network: points [batch, d] -> [batch, entries]."""
        inputs = jax.eval_shape(self.features, jnp.zeros((1, self.axes))).shape[1]
        dense = initialize(Dense((inputs, *self.hidden, 1), rngs), rngs, "glorot")
        return Jet(Ansatz(self, dense), self.coordinates, self.entries)

    def sample(self, keys: Array) -> Batch:
        """Draw independent points, each of a random term."""
        term_keys, point_keys = (
            jax.vmap(lambda k, i=i: jax.random.fold_in(k, i))(keys) for i in (0, 1)
        )
        bounds = np.cumsum([float(share) for share in self.shares])[:-1]
        kind = jnp.searchsorted(bounds, jax.vmap(jax.random.uniform)(term_keys), side="right")
        shape = (self.axes,)
        unit = jax.vmap(lambda key: jax.random.uniform(key, shape))(point_keys)
        return self._batch(self._placed(kind, [unit] * len(self.shares)), kind)

    def arrange(self, positions: Array, size: int, key: Array) -> Batch:
        """Place the points at some positions of a set of `size`."""
        kind, rank = interleaved(positions, self.shares)
        keys = jax.random.split(key, len(self.shares))
        units = []
        for k, (term, count) in enumerate(
            zip(self.terms(), counts(size, self.shares), strict=True)
        ):
            dimension = self.axes - bool(term.faces)
            kept = self.points in ("grid", *([] if k else ["random", "adaptive"]))
            placement: Placement = self.points if kept else "lattice"
            units.append(unit_points(placement, rank, count, dimension, keys[k]))
        return self._batch(self._placed(kind, units), kind)

    def adapted(self, size: int, key: Array, losses: Callable[[Batch], Array]) -> Batch:
        """Return a set whose interior points were kept with p ~ |r| / mean |r| + c, r the residual.

        Source: C. Wu et al., arXiv 2207.10289, with k = 1.
        """
        place, draw, choose = jax.random.split(key, 3)
        batch = self.arrange(jnp.arange(size), size, place)
        interior = np.flatnonzero(interleaved(np.arange(size), self.shares)[0] == 0)
        shape = (self.candidates * len(interior), self.axes)
        low, high = self.box
        points = low + (high - low) * jax.random.uniform(draw, shape)
        pool = self._batch(points, jnp.zeros(shape[0], int))
        residual = jnp.sqrt(losses(pool))
        mean = jnp.mean(residual)
        weight = residual / jnp.where(mean > 0, mean, 1) + self.uniform_part
        # The largest of log p + Gumbel noise are a sample without replacement.
        noise = jax.random.gumbel(choose, weight.shape, weight.dtype)
        _, kept = jax.lax.top_k(jnp.log(weight) + noise, len(interior))
        inputs = batch.inputs.at[interior].set(pool.inputs[kept])
        return dataclasses.replace(batch, inputs=inputs)

    def held_out(self, keys: Array) -> Batch:
        """Return an even lattice: the even ranks for validation, the odd ones for testing."""
        size = keys.shape[0] // 2
        kind, rank = interleaved(np.arange(keys.shape[0]) % max(size, 1), self.shares)
        rank = 2 * rank + (np.arange(keys.shape[0]) >= size)
        units = [
            jnp.asarray(lattice(rank, self.axes - bool(term.faces)), float) for term in self.terms()
        ]
        batch = self._batch(self._placed(jnp.asarray(kind), units, graded=False), kind)
        return dataclasses.replace(batch, extra=self.exact(batch.inputs))

    @property
    def test_sets(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The grid of `test_grid`."""
        return ("grid",) if self.test_grid else ()

    def test_set(self, name: str, keys: Array) -> Batch:
        """Return the points of `test_grid`, the last coordinate fastest.

        Raises OptionError if they are not as many as keys, or have another number of axes.
        """
        count, points = len(keys), self.test_grid
        if len(points) != self.axes or math.prod(points) != count:
            reason = f"needs {self.axes} numbers whose product is heldout_size={count}"
            raise OptionError(type(self), "test_grid", points, reason)
        lines = [np.linspace(low, high, n) for low, high, n in zip(*self.box, points, strict=True)]
        mesh = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(count, self.axes)
        batch = self._batch(jnp.asarray(mesh, float), jnp.zeros(count, int))
        return dataclasses.replace(batch, extra=self.exact(batch.inputs))

    def simulate(self, x: Array, batch: Batch) -> Array:
        """Return the weighted residuals: jets [batch, entries] -> [batch, 1]."""
        u = {entry: x[:, i] for i, entry in enumerate(self.entries)}
        residuals = self.residuals(u, batch.inputs)
        y = jnp.zeros_like(x[:, 0])
        for k, (residual, term, share) in enumerate(
            zip(residuals, self.terms(), self.shares, strict=True)
        ):
            y = jnp.where(batch.kind == k, float(term.weight / share) ** 0.5 * residual, y)
        return y[:, None]

    def metrics(self, x: Array, y: Array, batch: Batch) -> dict[str, Array]:
        """Return |u - u*|, of boundary points too."""
        return {"absolute_error": jnp.abs(x[:, 0] - self._solution(batch))}

    def set_terms(self, x: Array, y: Array, batch: Batch) -> dict[str, Array]:
        """Return (u - u*)^2 and u*^2, 0 on the boundary."""
        true, interior = self._solution(batch), batch.kind == 0
        error = x[:, 0] - true
        return {"error": jnp.where(interior, error**2, 0), "true": jnp.where(interior, true**2, 0)}

    def set_metrics(self, terms: dict[str, np.ndarray]) -> dict[str, float]:
        """Return the relative L2 error of u over a set."""
        return {"relative_l2": relative_l2(terms)}

    def figure(self, x: Any, y: Any, batch: Batch) -> "Figure":
        """Plot the solution, its error, and the residuals at the points."""
        from physopt.problems.pinn.picture import draw

        return draw(self, x, y, batch)

    # --- parts

    def _solution(self, batch: Batch) -> Any:
        """Return u* at the points: the batch's own, which held-out points have."""
        return self.exact(batch.inputs) if isinstance(batch.extra, tuple) else batch.extra

    def _batch(self, points: Any, kind: Any) -> Batch:
        kind = jnp.asarray(kind, jnp.int32)
        return Batch(points, jnp.zeros((points.shape[0], 1), points.dtype), kind=kind)

    def _placed(self, kind: Array, units: list[Array], graded: bool | None = None) -> Array:
        """Map the unit points of each term to the domain, and select by kind: [batch, d]."""
        low, high = self.box
        graded = self.points == "graded" if graded is None else graded
        interior = self.graded(units[0]) if graded else units[0]
        points: Any = low + (high - low) * interior
        for k, (term, unit) in enumerate(zip(self.terms()[1:], units[1:], strict=True), 1):
            face = on_faces(unit[:, : len(low) - 1], term.faces, low, high)
            points = jnp.where((kind == k)[:, None], face, points)
        return points

"""The problem `trap`: protocols of least work, with the exact optimum of every sample."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.polynomial.chebyshev import chebvander

from physopt.networks import Dense
from physopt.networks.unet import initialize
from physopt.numerics.jacobian import pushed_columns
from physopt.numerics.keys import normal
from physopt.numerics.linalg import HIGHEST
from physopt.numerics.steps import shortened
from physopt.options import Bounds, NonNegativeInt, OptionError, PositiveFloat, PositiveInt
from physopt.problem import Batch, Problem
from physopt.problems.trap.moments import Excess, excess, stage_times
from physopt.problems.trap.trajectories import step_times, works
from physopt.problems.trap.traps import TRAPS, HarmonicTrap

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def hats(part: np.ndarray, knots: int) -> np.ndarray:
    """Return the piecewise linear basis at parts [n] of the duration: [n, knots]."""
    grid = np.linspace(0, 1, knots)
    return np.stack([np.interp(part, grid, row) for row in np.eye(knots)], axis=1)


def chebyshev(part: np.ndarray, knots: int) -> np.ndarray:
    """Return the Chebyshev polynomials of degree below `knots` at parts [n]: [n, knots]."""
    return chebvander(2 * part - 1, knots - 1)


BASES = {"linear": hats, "chebyshev": chebyshev}


@dataclasses.dataclass(frozen=True)
class Trap(Problem):
    """Change a harmonic trap in a time t with the least mean work.

    A particle obeys dx = -dV/dx dtau + sqrt(2) dB in V = (x - lambda)^2 / 2 (moved from 0 to L) or
    V = lambda x^2 / 2 (stiffened from 1 to l), starting in equilibrium; units are kT, the mobility
    and the initial stiffness. The unknown x [batch, knots] is the protocol lambda(tau) inside
    (0, t); jumps at both ends are allowed, and cost work. Inputs [batch, 2] are the goal (L
    uniform in [1, 5], or l log-uniform in [1/5, 5]) and ln t.

    The loss is W - W*, with the exact least work W* of every sample. For both traps it is the sum
    of squares 1/2 |y - y*|^2, where y [batch, 2 steps + 1 or 2] holds the rates of a
    coordinate q of the mean or variance and its end value: see `physopt.problems.trap.traps`. A
    moved trap is linear, y = A x + c. With `trajectories` y [batch, trajectories] are works and the
    loss is mean(y) - W*, linear in y: for rules that take a gradient. excess_work is W - W* by
    moments in either case; protocol_error is the root mean square of lambda - lambda*.

    lambda* of a moved trap is linear in tau and in the span of either basis. That of a stiffened
    trap is not: its excess_work stays above a bound, which the baseline "optimum" comes close to.

    Source: T. Schmiedl, U. Seifert, doi 10.1103/PhysRevLett.98.108301; by automatic
    differentiation: M. C. Engel, J. A. Smith, M. P. Brenner, arXiv 2201.00098. Ranges of goals and
    durations are our own.
    """

    trap: Literal["moved", "stiffened"] = "moved"
    """What the control is: the position or the stiffness of the trap."""

    basis: Literal["linear", "chebyshev"] = "linear"
    """Piecewise linear with values at the knots, or coefficients of Chebyshev polynomials."""

    knots: Annotated[int, Bounds(2)] = 9
    """Numbers that describe a protocol."""

    shortest: PositiveFloat = 0.1
    """Shortest duration, in units of the trap's initial relaxation time."""

    longest: PositiveFloat = 10.0
    """Longest duration; durations are log-uniform."""

    trajectories: NonNegativeInt = 0
    """Trajectories per sample; their noise is drawn with the sample, so that every rule sees the
    same. 0: exact moments."""

    substeps: PositiveInt = 4
    """Time steps between two knots, each with two terms of the work."""

    hidden: tuple[PositiveInt, ...] = (16, 16)
    """Widths of the network's hidden layers."""

    target: ClassVar = ("excess_work", 1e-3)
    tiny: ClassVar = {"knots": 3, "hidden": (8,)}
    defaults: ClassVar = {"batch_size": 32, "steps": 2000, "log_every": 100}

    def __post_init__(self) -> None:
        """Check the range of durations."""
        super().__post_init__()
        if self.longest < self.shortest:
            reason = f"is shorter than shortest={self.shortest:g}"
            raise OptionError(type(self), "longest", self.longest, reason)

    @property
    def family(self) -> HarmonicTrap:
        """The trap's equations."""
        return TRAPS[self.trap]

    @property
    def steps(self) -> int:
        """Number of time steps."""
        return self.substeps * (self.knots - 1)

    def control(self, x: jax.Array, part: np.ndarray) -> jax.Array:
        """Return lambda [batch, n] at parts [n] of the duration."""
        basis = jnp.asarray(BASES[self.basis](part, self.knots), x.dtype)
        return jnp.matmul(x, basis.T, precision=HIGHEST)

    def represent(self, control: jax.Array, part: np.ndarray) -> jax.Array:
        """Return the x [batch, knots] nearest to lambda [batch, n] at parts [n]."""
        inverse = np.linalg.pinv(BASES[self.basis](part, self.knots))
        return jnp.matmul(control, jnp.asarray(inverse.T, control.dtype), precision=HIGHEST)

    def sample(self, keys: jax.Array) -> Batch:
        """Draw goals and durations; extra holds them, and the noise of trajectories."""
        goal, time = self._draw(keys)
        extra = {"goal": goal, "time": time}
        target = self._excess(jnp.zeros((len(keys), self.knots), goal.dtype), goal, time).optimal
        if self.trajectories:
            shape = (self.trajectories, self.steps + 1)
            extra["noise"] = jax.vmap(lambda key: normal(jax.random.fold_in(key, 1), shape))(keys)
            work = self.family.work(goal, time)
            target = jnp.broadcast_to(work[:, None], (len(keys), self.trajectories))
        inputs = jnp.stack([jnp.log(goal) if self.family.logarithmic else goal, jnp.log(time)], 1)
        return Batch(inputs=inputs, target=target, extra=extra)

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make a dense tanh network, goal and duration [batch, 2] -> protocol [batch, knots]."""
        return initialize(Dense((2, *self.hidden, self.knots), rngs), rngs, "glorot")

    def initial_unknowns(self, batch: Batch) -> jax.Array:
        """Return protocols linear from the initial control to the goal, without jumps."""
        part = np.linspace(0, 1, self.knots)
        goal, before = batch.extra["goal"][:, None], self.family.before
        return self.represent(before + (goal - before) * jnp.asarray(part, goal.dtype), part)

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return the terms of the excess work, or the work of each trajectory."""
        goal, time = batch.extra["goal"], batch.extra["time"]
        if not self.trajectories:
            return self._excess(x, goal, time).terms
        control = self.control(x, step_times(self.steps))
        return works(self.family, control, goal, time, batch.extra["noise"])

    def linearize(self, x: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Return y and dy/dx [batch, |y|, knots] by forward mode: knots are fewer than terms."""
        return pushed_columns(lambda x: self.simulate(x, batch), x)

    def loss(self, y: jax.Array, batch: Batch) -> jax.Array:
        """Return W - W* of each sample, [batch]; negative for some draws of trajectories."""
        if self.trajectories:
            return jnp.mean(y - batch.target, axis=1)
        return super().loss(y, batch)

    def invert(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return x after a Gauss-Newton step on the moments, [batch, knots].

        For a moved trap this is the optimum. The step is shortened where that lowers the work.
        """
        exact = dataclasses.replace(self, trajectories=0)
        goal, time = batch.extra["goal"], batch.extra["time"]
        terms = self._excess(x, goal, time)
        _, slope = exact.linearize(x, batch)
        residual = terms.optimal - terms.terms
        normal_matrix = jnp.einsum("bmi,bmj->bij", slope, slope, precision=HIGHEST)
        right = jnp.einsum("bmi,bm->bi", slope, residual, precision=HIGHEST)
        step = jnp.linalg.solve(normal_matrix, right[..., None])[..., 0]
        return shortened(x, step, lambda x: self._excess(x, goal, time).work(), (1, 0.5, 0.25, 0))

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return W - W* and the distance of the protocol from the optimal one."""
        goal, time = batch.extra["goal"], batch.extra["time"]
        part = step_times(self.steps)
        optimal = self.family.protocol(goal, time, jnp.asarray(part, x.dtype))
        error = self.control(x, part) - optimal
        return {
            "excess_work": self._excess(x, goal, time).work(),
            "protocol_error": jnp.sqrt(jnp.mean(error**2, axis=1)),
        }

    def baselines(self, held_out: Batch) -> dict[str, dict[str, float]]:
        """Return the errors of the linear protocol, and of the optimum in this basis."""
        goal, time = held_out.extra["goal"], held_out.extra["time"]
        part = np.linspace(0, 1, self.steps + 1)
        optimal = self.family.protocol(goal, time, jnp.asarray(part, goal.dtype))
        protocols = {
            "linear": self.initial_unknowns(held_out),
            "optimum": self.represent(optimal, part),
        }
        return {
            name: {k: float(jnp.mean(v)) for k, v in self.metrics(x, x, held_out).items()}
            for name, x in protocols.items()
        }

    def figure(self, x: jax.Array, y: jax.Array, batch: Batch) -> "Figure":
        """Draw protocols beside the optimal ones."""
        from physopt.problems.trap.picture import draw_protocols

        goal, time = batch.extra["goal"], batch.extra["time"]
        part = np.linspace(0, 1, 201)
        excesses = self._excess(x, goal, time).work()
        titles = [
            f"to {g:.2g} in {t:.2g}, W - W* = {e:.2g}"
            for g, t, e in zip(goal, time, excesses, strict=True)
        ]
        ends = jnp.stack([jnp.full_like(goal, self.family.before), goal], axis=1)
        optimal = self.family.protocol(goal, time, jnp.asarray(part, goal.dtype))
        return draw_protocols(part, self.control(x, part), optimal, ends, titles)

    def _draw(self, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Draw goals and durations, [batch] each."""
        uniform: Any = jax.vmap(lambda key: jax.random.uniform(key, (2,)))(keys)
        low, high = self.family.goals
        if self.family.logarithmic:
            goal = low * (high / low) ** uniform[:, 0]
        else:
            goal = low + (high - low) * uniform[:, 0]
        return goal, self.shortest * (self.longest / self.shortest) ** uniform[:, 1]

    def _excess(self, x: jax.Array, goal: jax.Array, time: jax.Array) -> Excess:
        """Return the terms of the excess work by moments."""
        return excess(self.family, self.control(x, stage_times(self.steps)), goal, time)

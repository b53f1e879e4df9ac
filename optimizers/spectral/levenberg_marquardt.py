"""Levenberg-Marquardt: damped least-squares steps on scaled columns of the Jacobian."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from physopt.machine.devices import memory_limit
from physopt.objective import Linearised, Objective
from physopt.optimizers.gain import decreases, ratio_of_decreases
from physopt.optimizers.scaled_model import (
    ScaledModel,
    explicit_model,
    jacobian_of,
    layerwise_model,
)
from physopt.optimizers.spectral.decomposition import Spectrum
from physopt.optimizers.spectral.sizes import factor_bytes, measure
from physopt.options import OptionError, PositiveFloat, PositiveInt
from physopt.problem import Batch, Linearizes
from physopt.rule import Info, Parameters, PlanError, State, UpdateRule, cost

QR_SIZE = 32
"""Largest min(n, P) for which solver=auto factorises J itself."""

FAILURES = 5
"""Updates in a row without an accepted step after which a run has converged."""


class MarquardtState(NamedTuple):
    """State between updates; all floating entries have the type of the parameters."""

    damping: jax.Array  # mu
    growth: jax.Array  # nu, factor on mu after the next failure
    scale: jax.Array  # [P], D
    failures: jax.Array  # int32, updates since the last accepted step


class Trials(NamedTuple):
    """State of the loop over trial steps."""

    step: jax.Array  # [P], the last one tried
    damping: jax.Array
    growth: jax.Array
    gain: jax.Array  # rho of the last trial, 0 after a failure
    accepted: jax.Array  # bool
    negligible: jax.Array  # bool: the step is below the rounding of theta
    unjudged: jax.Array  # bool: rounding hides whether the step lowers the loss
    tried: jax.Array  # int32, number of trials


@dataclasses.dataclass(frozen=True)
class LevenbergMarquardt(UpdateRule):
    """Levenberg-Marquardt with scaled columns, gain-ratio damping and trials that reuse A.

    The mean loss of b samples is L = 1/2 |r|^2 with r = sqrt(b) dL/dy, which is
    (y - y*) / sqrt(b) for the squared loss, and A = dr/dtheta = J / sqrt(b). An update is

        step = -D^-1 argmin_s |A D^-1 s - r|^2 + mu |s|^2,

    where D is the running maximum of the column norms of A, so that the units of the parameters
    do not matter, or one number for all (see `scaling`). With rho the decrease of the loss over
    that of its quadratic model, a step with rho > 0 is accepted and
    mu <- mu max(1/3, 1 - (2 rho - 1)^3), nu <- 2; otherwise mu <- mu nu, nu <- 2 nu, and the next
    step is tried with the same Jacobian. A step beyond the radius, or at which the physics fails,
    is not accepted.

    A run has converged after 5 updates in a row without an accepted step. info holds damping,
    accepted, trials and gain, the rho of the last trial.
    Source: J. More, Lecture Notes in Mathematics 630, 105 (1978), doi 10.1007/BFb0067700; H. B.
    Nielsen, Damping parameter in Marquardt's method, IMM-REP-1999-05, Technical University of
    Denmark.
    """

    damping: PositiveFloat = 1e-3
    """Initial mu, relative to D^2."""

    scaling: Literal["auto", "columns", "uniform"] = "auto"
    """D. columns: the norm of each column; uniform: the Frobenius norm of A for all; auto: uniform
    if a batch has fewer outputs than there are parameters, since column norms would then favour
    large changes of parameters with little effect on this batch."""

    trials: PositiveInt = 10
    """Largest number of trial steps per update."""

    radius: PositiveFloat | None = 10.0
    """Largest |D step| / |D theta|, which keeps a first step from leaving the range of the model;
    none sets no bound, and there is none at theta = 0."""

    solver: Literal["auto", "qr", "gram", "layers"] = "auto"
    """qr: factorises J itself and resolves singular values to rounding; gram: Cholesky
    factorisations of the smaller Gram matrix in float64, which resolve their squares, faster for
    large matrices; layers: as gram, with J J^T computed layer by layer instead of from J, and
    uniform scaling. auto: qr if outputs of a batch or parameters are at most 32, where it costs
    little; then layers for fewer outputs than parameters, and gram otherwise. For 129 parameters
    gram took a third of the time of qr and as many updates."""

    tunable: ClassVar = {"damping": (1e-6, 1e1)}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.solver == "layers" and self.scaling == "columns":
            reason = "solver=layers knows no columns; use scaling=auto"
            raise OptionError(type(self), "scaling", self.scaling, reason)

    def refuses(self, objective: Objective) -> str | None:
        """Refuse batch normalisation."""
        return objective.without_jacobians()

    def plan(self, objective: Objective, params: Parameters, batch: Batch) -> str:
        """Return solver and direction of differentiation.

        Raises PlanError if J does not fit into memory, or if y is complex.
        """
        outputs, size, itemsize, forward = _sizes(objective, params, batch)
        solver, limit = self._solver(outputs, size), memory_limit()
        small = min(outputs, size)
        if solver == "layers":
            needed = factor_bytes(measure(objective, params, batch, 1, limit, Spectrum()))
            what, way = "Gram matrix", "layer by layer, without J"
        else:
            wide = 3 * small**2 * (8 if solver == "gram" else itemsize)
            needed, what = 3 * outputs * size * itemsize + wide, "Jacobian"
            way = "which is computed by " + (
                "columns, in forward mode" if forward else "rows, in reverse mode"
            )
        if needed > limit:
            raise PlanError(
                f"the {what} of {outputs} outputs in {size} parameters needs "
                f"{needed / 1e9:.3g} GB of memory, more than {limit / 1e9:.3g}; use a smaller "
                "batch_size, or rule=gauss_newton with rule.method=krylov"
            )
        if solver == "layers":
            return f"Cholesky factorisations of J J^T [{outputs}, {outputs}], {way}"
        return f"{solver} of J [{outputs}, {size}], {way}"

    def init(self, objective: Objective, params: Parameters, key: jax.Array) -> State:
        """Return the initial damping and no column norms."""
        flat = ravel_pytree(params)[0]
        return MarquardtState(
            jnp.asarray(self.damping, flat.dtype), jnp.asarray(2, flat.dtype),
            jnp.zeros_like(flat), jnp.int32(0),
        )  # fmt: skip

    def update(
        self, objective: Objective, params: Parameters, state: State, batch: Batch, key: jax.Array
    ) -> tuple[Parameters, State, Info]:
        """Return the first trial step that lowers the loss, or zero."""
        # Accelerators round the operands of float32 products to 7 or 10 bits by default.
        with jax.default_matmul_precision("highest"):
            return self._update(objective, params, state, batch)

    def _update(
        self, objective: Objective, params: Parameters, state: MarquardtState, batch: Batch
    ) -> tuple[Parameters, State, Info]:
        flat, unravel = ravel_pytree(params)
        system = objective.linearised(params, batch)
        model = self._model(system, len(batch), state.scale)
        d = jnp.where(model.scale > 0, model.scale, 1)
        size = jnp.linalg.norm(d * flat)
        longest = jnp.where(size > 0, size, jnp.inf) * (self.radius or jnp.inf)

        hidden = jnp.finfo(flat.dtype).eps * system.loss  # a decrease that rounding hides

        def attempt(damping: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            step, change, length = model.solve(damping)
            pair = decreases(objective, system, batch, unravel(flat + step), change)
            gain = jnp.where(length <= longest, ratio_of_decreases(*pair), 0).astype(flat.dtype)
            return step, gain, pair[1] <= hidden

        end = self._search(attempt, flat, state, model.lowest)
        # If no damping lowers this batch's loss, the next batch starts from the present damping.
        damping = jnp.where(end.unjudged, state.damping, end.damping)
        growth = jnp.where(end.unjudged, state.growth, end.growth)
        failures = jnp.where(end.accepted, 0, state.failures + 1)
        step = jnp.where(end.accepted, end.step, 0)
        solver = self._solver(system.gradient.size, flat.size)
        info = {
            "loss": system.loss,
            "grad_norm": model.gradient_norm,
            "damping": damping,
            "accepted": end.accepted.astype(flat.dtype),
            # Not an integer: those are counts, which are summed over updates.
            "trials": end.tried.astype(flat.dtype),
            "gain": end.gain,
            **_cost(objective, len(batch), model.sweeps, end.tried, solver),
        }
        return unravel(step), MarquardtState(damping, growth, model.scale, failures), info

    def _model(self, system: Linearised, batch: int, scale: jax.Array) -> ScaledModel:
        outputs = system.gradient.size
        solver = self._solver(outputs, len(scale))
        if solver == "layers":
            return layerwise_model(system, batch, scale)
        narrow = outputs < len(scale)
        uniform = narrow if self.scaling == "auto" else self.scaling == "uniform"
        return explicit_model(system, batch, scale, solver, uniform)

    def _search(
        self,
        attempt: Callable[[jax.Array], tuple[jax.Array, jax.Array, jax.Array]],
        flat: jax.Array,
        state: MarquardtState,
        lowest: jax.Array,
    ) -> Trials:
        """Try steps until one is accepted or below the rounding of theta; adapt the damping.

        attempt: mu -> (step [P], rho, whether the predicted decrease is below rounding), with
        rho = 0 for a step that is not accepted.
        """
        highest = float(jnp.finfo(flat.dtype).eps) ** -2

        def trial(trials: Trials) -> Trials:
            step, gain, hidden = attempt(trials.damping)
            accepted = gain > 0
            negligible = ~accepted & jnp.all(flat + step == flat)
            factor = jnp.maximum(1 / 3, 1 - (2 * gain - 1) ** 3)
            damping = trials.damping * jnp.where(accepted, factor, trials.growth)
            return Trials(
                step, jnp.clip(damping, lowest, highest),
                jnp.where(accepted, 2, 2 * trials.growth), gain, accepted,
                negligible, negligible | hidden, trials.tried + 1,
            )  # fmt: skip

        def unfinished(trials: Trials) -> jax.Array:
            return ~trials.accepted & ~trials.negligible & (trials.tried < self.trials)

        zero, no = jnp.zeros((), flat.dtype), jnp.asarray(False)
        damping = jnp.maximum(state.damping, lowest)
        begin = Trials(jnp.zeros_like(flat), damping, state.growth, zero, no, no, no, jnp.int32(0))
        return jax.lax.while_loop(unfinished, trial, begin)

    def converged(self, state: State) -> jax.Array:
        """Return whether several updates in a row found no step that lowers the loss."""
        return state.failures >= FAILURES

    def remark(self, state: State, means: Mapping[str, float]) -> str | None:
        """Return how long no step was accepted."""
        return f"no step accepted for {n} updates" if (n := int(state.failures)) else None

    def _solver(self, outputs: int, size: int) -> Literal["qr", "gram", "layers"]:
        if self.solver != "auto":
            return self.solver
        if min(outputs, size) <= QR_SIZE:
            return "qr"
        return "layers" if outputs < size and self.scaling != "columns" else "gram"


def _sizes(objective: Objective, params: Parameters, batch: Batch) -> tuple[int, int, int, bool]:
    """Return n, P, bytes of a number and whether J is computed in forward mode."""
    modes = []

    def trace(params: Parameters, batch: Batch) -> jax.Array:
        j, forward = jacobian_of(objective.linearised(params, batch), len(batch))
        modes.append(forward)
        return j

    j = jax.eval_shape(trace, params, batch)
    return *j.shape, j.dtype.itemsize, modes[0]


def _cost(objective: Objective, batch: int, sweeps: int, trials: jax.Array, solver: str) -> Info:
    """Count a sweep of a sample per row or column of its Jacobian as a pullback.

    A problem with its own dy/dx is linearised once.
    """
    pulled = batch * (1 if isinstance(objective.problem, Linearizes) else sweeps)
    factor = trials + int(solver == "qr")
    return cost(simulate=batch * (1 + trials), vjp=pulled, factor=factor)

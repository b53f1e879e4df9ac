"""The spectral-power rule, of which half-inverse gradients and Gauss-Newton are special cases.

The mean loss of a batch of b samples is L = 1/2 |r|^2 with r = (y - y*) / sqrt(b), if l is the
squared loss; in general r = sqrt(b) dL/dy. With its Jacobian dr/dtheta = J / sqrt(b) = U S V^T,

    theta <- theta - eta V S^kappa U^T r,

which is gradient descent on L for kappa = 1 and the full Gauss-Newton step for kappa = -1 and
eta = 1. Copies of a sample change neither L nor this step: eta does not depend on b.

In terms of J = dy/dtheta and g = dL/dy the step is b^((1 - kappa) / 2) times that of J and g, which
`methods` and `directions` compute without forming V.
"""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from physopt.machine.devices import current_platform, memory_limit
from physopt.objective import Linearised, Objective
from physopt.optimizers.spectral.decomposition import Spectrum
from physopt.optimizers.spectral.diagnostics import (
    diagnostics,
    joined,
    remark,
    rounding_warning,
)
from physopt.optimizers.spectral.directions import Power, Solution
from physopt.optimizers.spectral.line_search import LineSearch, searched, step_lengths
from physopt.optimizers.spectral.methods import Plan, choose
from physopt.optimizers.spectral.options import SpectralOptions
from physopt.optimizers.spectral.sizes import measure
from physopt.optimizers.spectral.state import SpectralState, Trial, network_dtype
from physopt.optimizers.spectral.step_length import (
    FIRST_DAMPING,
    Pace,
    adapted_damping,
    adapted_length,
    best_multiple,
    first_pace,
    halved,
    shortened,
)
from physopt.optimizers.spectral.trust_region import HIGHEST, adapted_cutoff
from physopt.problem import Batch
from physopt.rule import Info, Parameters, PlanError, State, cost

GIGABYTE = 1e9

CUTOFF = 1e-5
"""tau of a step of fixed length, by default."""

ZERO_STEPS = 3
"""Line searches in a row without a lower loss after which a run has converged."""


@dataclasses.dataclass(frozen=True)
class SpectralPower(SpectralOptions):
    """A step along V S^kappa U^T r, with a free kappa.

    r = sqrt(b) dL/dy, and J / sqrt(b) = U S V^T is its Jacobian in theta, for a batch of b samples.
    """

    def refuses(self, objective: Objective) -> str | None:
        """Refuse batch normalisation, and float64 matrices on a device without float64."""
        if reason := objective.without_jacobians():
            return reason
        if current_platform() == "tpu" and self.gram_dtype == "float64":
            return "a TPU has no float64; use gram_dtype=float32 with tau or damping >= 1e-2"
        return None

    def plan(self, objective: Objective, params: Parameters, batch: Batch) -> str:
        """Return the method for a batch, the reason, its estimated cost and its rounding error.

        Raises PlanError if no method fits into memory, or if the physics lacks a derivative.
        """
        plan = self._plan(objective, params, batch)
        if reason := plan.refuses(objective, params, batch):
            raise PlanError(reason)
        return f"{plan}{self._rounding(objective, params)}"

    def _rounding(self, objective: Objective, params: Parameters) -> str:
        if self.absolute or self._adapts_damping(objective):
            return ""
        smallest = self.damping or self.cutoff(objective, params)
        return rounding_warning(smallest, network_dtype(params))

    def init(self, objective: Objective, params: Parameters, key: jax.Array) -> State:
        """Return no velocity, the initial damping, and the first length if it is adapted."""
        velocity = optax.tree.zeros_like(params) if self.momentum else ()
        dtype = network_dtype(params)
        plateau = self.plateau().init(jnp.ones((), dtype))
        pace, damping, varies = (), self.damping or 0.0, self._adapts_damping(objective)
        if self._adapts(objective):
            pace = first_pace(params, self.momentum, damped=varies)
        damping = jnp.asarray(FIRST_DAMPING if varies else damping, dtype)
        cutoff = jnp.asarray(self.cutoff(objective, params), dtype)
        return SpectralState(velocity, damping, cutoff, plateau, jnp.int32(0), pace)

    def _search(self, objective: Objective) -> LineSearch:
        """Return the line search on batches of an objective."""
        if self.line_search != "auto":
            return self.line_search
        alike = objective.same_batch and self._rate(objective) is None and not self.momentum
        return "grid" if alike else "none"

    def _rate(self, objective: Objective) -> float | None:
        """Return eta, None if it is adapted or searched for."""
        return self.learning_rate

    def _adapts(self, objective: Objective) -> bool:
        """Return whether each batch judges the length of the step before it."""
        return self._rate(objective) is None and self._search(objective) == "none"

    def _adapts_damping(self, objective: Objective) -> bool:
        """Return whether each batch judges the damping of the step before it."""
        return self._free() and self._adapts(objective)

    def _adapts_cutoff(self, objective: Objective) -> bool:
        """Return whether each line search judges the cutoff of its step."""
        return self._free() and self._search(objective) != "none"

    def _free(self) -> bool:
        """Return whether no option fixes the smallest singular value of a step."""
        return self.damping is None and self.tau is None and not self.absolute

    def update(
        self, objective: Objective, params: Parameters, state: State, batch: Batch, key: jax.Array
    ) -> tuple[Parameters, State, Info]:
        """Return the step and the spectrum it was made from.

        Raises PlanError if no method fits into memory.
        """
        plan = self._plan(objective, params, batch)
        with plan.precision():
            return self._update(plan, objective, params, state, batch)

    def _update(
        self, plan: Plan, objective: Objective, params: Parameters, state: State, batch: Batch
    ) -> tuple[Parameters, State, Info]:
        system = plan.linearised(objective, params, batch)
        factor = self.factor(batch.progress).astype(system.loss.dtype)
        factor, plateau = self.plateau().update(factor, state.plateau, value=system.loss)
        state, factor = state._replace(plateau=plateau), jnp.asarray(factor)
        state, length, spent = self._paced(objective, system, batch, state, factor)
        power = Power(
            self.kappa, self._tau(objective, params, state), self.absolute, self._damping(state),
            self.gram_dtype, split=_splits(state),
        )  # fmt: skip
        solution = plan.direction(system, power)
        # step = -eta(t) max(s)^beta V S^kappa U^T r, shortened to max_step_norm
        scale = -length * factor * self._prefactor(objective, solution, len(batch))
        scale *= self._shortening(scale, solution.direction)
        step = jax.tree.map(lambda d: scale.astype(d.dtype) * d, solution.direction)
        info = {"loss": system.loss, **diagnostics(solution), **plan.cost()}
        trial = Trial(step, scale, length, system, solution)
        step, state, more = self._judge(objective, state, batch, trial)
        # v <- momentum v + step
        if self.momentum:
            step = optax.tree.add_scale(step, self.momentum, state.velocity)
            state = state._replace(velocity=step)
        if isinstance(state.pace, Pace):
            state = state._replace(pace=state.pace._replace(last=step))
        return step, state, joined(joined(info, more), spent)

    def _paced(
        self, objective: Objective, system: Linearised, batch: Batch, state: SpectralState,
        factor: jax.Array,
    ) -> tuple[SpectralState, jax.Array | float, Info]:  # fmt: skip
        """Return the adapted damping, eta, and the cost of judging the last step."""
        if not isinstance(state.pace, Pace):
            return state, self._rate(objective) or 1.0, {}
        _, last, weak = state.pace
        gradient = system.pull(system.gradient)
        judged = partial(best_multiple, objective, system, gradient, batch, factor=factor)
        length = adapted_length(state.pace.length, judged(last))
        spent = cost(simulate=len(batch), vjp=len(batch))
        if isinstance(weak, tuple):
            return state, length, spent
        damping = adapted_damping(state.damping, judged(weak))
        info = {"damping": damping, **joined(spent, cost(simulate=len(batch)))}
        return state._replace(damping=damping), length, info

    def _plan(self, objective: Objective, params: Parameters, batch: Batch) -> Plan:
        limit = self.memory_limit * GIGABYTE if self.memory_limit else memory_limit()
        spectrum = self._spectrum(objective, self.cutoff(objective, params))
        size = measure(objective, params, batch, self.krylov_steps, limit, spectrum)
        return choose(size, self.method)

    def cutoff(self, objective: Objective, params: Parameters) -> float:
        """Return tau, or its default."""
        if self.tau is not None:
            return self.tau
        if self._search(objective) == "none":
            return CUTOFF
        size = sum(leaf.size for leaf in jax.tree.leaves(params))
        return (size * float(jnp.finfo(network_dtype(params)).eps)) ** 0.5

    def _tau(self, objective: Objective, params: Parameters, state: SpectralState) -> Any:
        return state.cutoff if self._adapts_cutoff(objective) else self.cutoff(objective, params)

    def _spectrum(self, objective: Objective, tau: float) -> Spectrum:
        varies = self._adapts_damping(objective)
        return Spectrum(
            self.decomposition, self.kappa, tau, self.absolute, self.damping or 0.0, varies,
            self.tolerance, self.gram_dtype, current_platform(),
        )  # fmt: skip

    def _damping(self, state: SpectralState) -> Any:
        return state.damping if _splits(state) else self.damping or 0.0

    def _prefactor(self, objective: Objective, solution: Solution, size: int) -> jax.Array:
        """Return max(s)^beta, times the factor between the step of r and that of g."""
        largest = solution.spectrum.largest
        beta = self.beta
        if beta is None:
            beta = 0.0 if self._rate(objective) else -(1 + self.kappa)
        natural = size ** ((1 - self.kappa - beta) / 2)
        return natural * jnp.where(largest > 0, largest, 1) ** beta

    def _shortening(self, scale: jax.Array, direction: Parameters) -> jax.Array:
        if self.max_step_norm is None:
            return jnp.ones_like(scale)
        norm = jnp.abs(scale) * optax.tree.norm(direction)
        return self.max_step_norm / jnp.maximum(norm, self.max_step_norm)

    def _judge(
        self, objective: Objective, state: SpectralState, batch: Batch, trial: Trial
    ) -> tuple[Parameters, SpectralState, Info]:
        """Return the step, at the length that a line search or its own batch gives it."""
        search = self._search(objective)
        if search == "none" and not isinstance(state.pace, Pace):
            return trial.step, state, {}
        step, scale, _, system, solution = trial

        def loss_at(length: jax.Array) -> jax.Array:
            return objective.trial(optax.tree.add_scale(system.params, length, step), batch)

        if isinstance(pace := state.pace, Pace):
            share, tried = halved(loss_at, system.loss)
            length, damping = shortened(jnp.asarray(trial.length), state.damping, share)
            pace = pace._replace(length=length)
            if _splits(state):
                weak = optax.tree.scale((share * scale).astype(length.dtype), solution.weak)
                # Not finite if the damping is too small for the precision of the Gram matrix.
                earlier = jax.tree.map(jnp.nan_to_num, pace.weak)
                pace = pace._replace(weak=optax.tree.add_scale(weak, self.momentum, earlier))
                state = state._replace(damping=damping)
            state = state._replace(pace=pace)
            info = {"step_size": share * trial.length}
        else:
            slope = scale * (system.gradient @ solution.response)
            lengths = step_lengths(self.kappa, network_dtype(step))
            share, tried = searched(search, loss_at, lengths, system.loss, slope)
            info = {"step_size": share}
            if self._adapts_cutoff(objective):
                change = scale.astype(solution.response.dtype) * solution.response
                curvature = objective.output_curvature(system.y, batch, change)
                lowest = self.cutoff(objective, system.params)
                cutoff = adapted_cutoff(state.cutoff, lowest, share, slope, curvature)
                state, info = state._replace(cutoff=cutoff), info | {"cutoff": state.cutoff}
        state = state._replace(rejected=jnp.where(share > 0, 0, state.rejected + 1))
        info |= cost(simulate=tried * len(batch))
        step = jax.tree.map(lambda leaf: share.astype(leaf.dtype) * leaf, step)
        return step, state, info

    def converged(self, state: State) -> jax.Array:
        """Return whether several line searches in a row found no lower loss, with any cutoff."""
        if isinstance(state.pace, Pace):  # other batches may do better
            return super().converged(state)
        enough = state.rejected >= ZERO_STEPS
        return enough & (state.cutoff >= HIGHEST) if self._free() else enough

    def remark(self, state: State, means: Mapping[str, float]) -> str | None:
        """Return how many directions were dropped, and how long no step was accepted."""
        return remark(int(state.rejected), means)


def _splits(state: SpectralState) -> bool:
    """Return whether the damping is adapted, by the weak part of each step."""
    return isinstance(state.pace, Pace) and state.pace.weak != ()

"""Gauss-Newton with an adaptive damping: the spectral power kappa = -1."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from physopt.objective import Objective
from physopt.optimizers.gain import gain_ratio
from physopt.optimizers.spectral.decomposition import Spectrum
from physopt.optimizers.spectral.levenberg_marquardt import (
    QR_SIZE,
    LevenbergMarquardt,
    MarquardtState,
)
from physopt.optimizers.spectral.rule import SpectralPower
from physopt.optimizers.spectral.state import SpectralState, Trial, network_dtype
from physopt.options import OptionError, PositiveFloat
from physopt.problem import Batch
from physopt.rule import Info, Parameters, State, cost

LOWEST, HIGHEST = 1e-7, 1e3
"""Range of the adaptive damping."""

UNDAMPED = 1e-20
"""Initial damping of the full step; rounding of J raises it."""

NEW_BATCH_RATE = 0.5
"""eta on new batches. With the full step `quantum` is at 2e-4 to 7e-4 after 600 updates of 16
samples, with half of it at 1e-8 to 3e-8; on `exp`, `burgers` and `poisson8` the error is 0.2 to 0.9
times as large, on `sin`, `oscillators` and `ldft2d` larger for some seeds and smaller for others.
With a third `oscillators` diverges: a short step keeps to the quadratic model, however low the
damping."""

REJECTIONS = 1 + math.ceil(math.log2(HIGHEST / LOWEST))
"""Rejected steps in a row after which a run has converged: doubled as often, the lowest damping
exceeds the highest."""


@dataclasses.dataclass(frozen=True)
class GaussNewton(SpectralPower):
    """Gauss-Newton: theta <- theta - eta b J^+ g, with the truncated or damped pseudo-inverse of J.

    g = dL/dy carries the 1/b of the mean over a batch of b samples, so that eta = 1 is the full
    step, which solves a linear least-squares problem at once, whatever the batch.

    adaptive, the default, sets the damping d after Levenberg and Marquardt: with rho the actual
    decrease of the batch's loss over that of its quadratic model, d is divided by 2 where
    rho > 3/4, multiplied by 2 where rho < 1/4, and a step that does not lower the loss is rejected.
    A run has converged after 35 rejected steps in a row. adaptive=false is the published rule, with
    the cutoff tau only; it diverges near a singular J unless it has a line search.

    With at most 32 parameters and no options it is `levenberg_marquardt` without initial damping,
    which factorises J itself, with scaled columns, and tries steps without a new J. A Gram matrix
    loses the singular values of J below 1e-7 of the largest, which fits of a few parameters need.
    For networks they are noise, and a Gram matrix, an approximation of its power or Krylov's method
    serve all powers of this family: hence the two bodies.
    Source: A. Bjorck, Numerical Methods for Least Squares Problems, SIAM 1996,
    doi 10.1137/1.9781611971484; D. Marquardt, SIAM J. 11, 431 (1963), doi 10.1137/0111030.
    """

    learning_rate: PositiveFloat | None = None
    """eta; 1 is the full step. none: 1/2 if every update has a new batch, whose noise the full step
    would fit, and 1 on a batch that stays the same or with adaptive=false."""

    kappa: float = -1.0
    adaptive: bool = True
    """Adapt the damping, starting from `damping`, or from 0.1 if that is 0."""

    tunable: ClassVar = {"learning_rate": (1e-2, 2.0), "tau": (1e-7, 1e-1)}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.adaptive:
            return
        for name, neutral in (("momentum", (0.0,)), ("line_search", ("none", "auto"))):
            if (value := getattr(self, name)) not in neutral:
                reason = f"adaptive damping judges single steps; use {name}={neutral[0]} or "
                raise OptionError(type(self), name, value, reason + "adaptive=false")

    def _few(self, params: Parameters) -> LevenbergMarquardt | None:
        """Return the rule that takes over for few parameters, None for many or with options."""
        size = sum(leaf.size for leaf in jax.tree.leaves(params))
        if size > QR_SIZE or dataclasses.asdict(self) != dataclasses.asdict(type(self)()):
            return None
        return LevenbergMarquardt(damping=UNDAMPED)

    def plan(self, objective: Objective, params: Parameters, batch: Batch) -> str:
        """Return the method for a batch, its reason and cost; raises PlanError if none fits."""
        rule = self._few(params)
        return (
            rule.plan(objective, params, batch) if rule else super().plan(objective, params, batch)
        )

    def init(self, objective: Objective, params: Parameters, key: jax.Array) -> State:
        """Return no velocity and the initial damping, or the state of `levenberg_marquardt`."""
        if rule := self._few(params):
            return rule.init(objective, params, key)
        state = super().init(objective, params, key)
        initial = (self.damping or 0.1) if self.adaptive else self.damping or 0.0
        return state._replace(damping=jnp.asarray(initial, network_dtype(params)))

    def update(
        self, objective: Objective, params: Parameters, state: State, batch: Batch, key: jax.Array
    ) -> tuple[Parameters, State, Info]:
        """Return the step; raises PlanError if no method fits into memory."""
        rule = self._few(params) or super()
        return rule.update(objective, params, state, batch, key)

    def _rate(self, objective: Objective) -> float:
        if self.learning_rate is not None:
            return self.learning_rate
        return NEW_BATCH_RATE if self.adaptive and not objective.same_batch else 1.0

    def _spectrum(self, objective: Objective, tau: float) -> Spectrum:
        spectrum = super()._spectrum(objective, tau)
        return spectrum._replace(damping=0.0, varies=True) if self.adaptive else spectrum

    def _damping(self, state: SpectralState) -> Any:
        return state.damping if self.adaptive else super()._damping(state)

    def _judge(
        self, objective: Objective, state: SpectralState, batch: Batch, trial: Trial
    ) -> tuple[Parameters, SpectralState, Info]:
        """Compare the loss after the step with its quadratic model; adapt the damping."""
        if not self.adaptive:
            return super()._judge(objective, state, batch, trial)
        step, scale, _, system, solution = trial
        tried = optax.apply_updates(system.params, step)
        change = scale.astype(solution.response.dtype) * solution.response
        rho = gain_ratio(objective, system, batch, tried, change)
        lower = rho > 0
        factor = jnp.where(rho > 0.75, 0.5, jnp.where(rho < 0.25, 2.0, 1.0))
        damping = jnp.clip(state.damping * factor.astype(state.damping.dtype), LOWEST, HIGHEST)
        rejected = jnp.where(lower, 0, state.rejected + 1)
        step = jax.tree.map(lambda leaf: jnp.where(lower, leaf, jnp.zeros_like(leaf)), step)
        more = {"damping": damping, "accepted": lower.astype(damping.dtype)}
        spent = cost(simulate=len(batch))
        return step, state._replace(damping=damping, rejected=rejected), {**more, **spent}

    def converged(self, state: State) -> jax.Array:
        """Return whether no damping between the lowest and the highest lowers the loss."""
        if isinstance(state, MarquardtState):
            return LevenbergMarquardt().converged(state)
        return state.rejected >= REJECTIONS if self.adaptive else super().converged(state)

    def remark(self, state: State, means: Mapping[str, float]) -> str | None:
        """Return how many directions were dropped, and how long no step was accepted."""
        few = isinstance(state, MarquardtState)
        return (LevenbergMarquardt() if few else super()).remark(state, means)

"""SPRING: damped minimum-norm steps, corrected by a momentum that keeps to the residuals."""

import dataclasses
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from physopt.machine.devices import current_platform, memory_limit
from physopt.objective import Linearised, Objective
from physopt.optimizers.products import with_products
from physopt.optimizers.schedules import Scheduled
from physopt.optimizers.spectral.decomposition import Spectrum
from physopt.optimizers.spectral.directions import Power
from physopt.optimizers.spectral.methods import Choice, Plan, choose
from physopt.optimizers.spectral.sizes import measure
from physopt.options import Decay, PositiveFloat
from physopt.problem import Batch
from physopt.rule import Info, Parameters, State


class SpringState(NamedTuple):
    """State between updates."""

    direction: Parameters  # of the last update
    plateau: Any  # of the schedule that follows the loss


@dataclasses.dataclass(frozen=True)
class Spring(Scheduled):
    """SPRING: a momentum that minimum-norm steps correct where it contradicts the residuals.

    With r = sqrt(b) dL/dy [n] for a batch of b samples and A = J / sqrt(b) its Jacobian,

        d <- mu d + A^T (A A^T + lambda I)^-1 (r - mu A d),  theta <- theta - t d,

    which minimises |A d - r|^2 + lambda |d - mu d_last|^2. t = eta, or less where a step would be
    longer than sqrt(C). For mu = 0 it is the damped Gauss-Newton step (energy natural gradient by
    the Woodbury identity). The kernel A A^T [n, n] comes from the inputs and derivatives of dense
    layers without J, which suits many parameters, P > n; the matrix A^T A is taken if it is
    smaller. Directions of earlier batches are kept, so that new samples in each update help.

    JAX has it only inside packages for variational Monte Carlo.
    Source: G. Goldshlager, N. Abrahamsen, L. Lin, arXiv 2401.10190; for PINNs A. Guzman-Cordero et
    al., arXiv 2505.12149.
    """

    learning_rate: PositiveFloat = 0.1
    """eta; 1 is the full step, which solves a linear least-squares problem of one batch."""

    momentum: Decay = 0.99
    """mu; it needs a product with J, 0 does not."""

    damping: PositiveFloat = 1e-6
    """lambda, relative to the largest eigenvalue of A A^T."""

    norm_constraint: PositiveFloat | None = 1e-3
    """C, the square of the largest norm of a step; none sets no bound."""

    method: Choice = "auto"
    """How the kernel is computed, as for gauss_newton."""

    gram_dtype: Literal["float64", "float32"] = "float64"
    """Type of the kernel and its decomposition, whatever the run's; float32 needs a damping of
    1e-4 or more."""

    tunable: ClassVar = {"learning_rate": (1e-3, 1.0), "damping": (1e-10, 1e-2)}

    def refuses(self, objective: Objective) -> str | None:
        """Refuse batch normalisation, and float64 matrices on a device without float64."""
        if reason := objective.without_jacobians():
            return reason
        if current_platform() == "tpu" and self.gram_dtype == "float64":
            return "a TPU has no float64; use gram_dtype=float32 with damping >= 1e-4"
        return None

    def plan(self, objective: Objective, params: Parameters, batch: Batch) -> str:
        """Return how the kernel is computed; raises PlanError if nothing fits into memory."""
        return str(self._plan(objective, params, batch))

    def init(self, objective: Objective, params: Parameters, key: jax.Array) -> State:
        """Return no direction."""
        one = jnp.ones((), jnp.result_type(*jax.tree.leaves(params)))
        return SpringState(optax.tree.zeros_like(params), self.plateau().init(one))

    def update(
        self, objective: Objective, params: Parameters, state: State, batch: Batch, key: jax.Array
    ) -> tuple[Parameters, State, Info]:
        """Return a step along the corrected momentum."""
        plan = self._plan(objective, params, batch)
        with plan.precision():
            return self._update(plan, objective, params, state, batch)

    def _update(
        self, plan: Plan, objective: Objective, params: Parameters, state: SpringState, batch: Batch
    ) -> tuple[Parameters, State, Info]:
        system, size = plan.linearised(objective, params, batch), len(batch)
        spent = plan.cost()
        remaining = system
        if self.momentum:
            # In terms of g = r / sqrt(b): g - mu J d / b.
            response = with_products(objective, params, batch)[1](state.direction)
            gradient = system.gradient - self.momentum / size * response
            remaining = system._replace(gradient=gradient)
            spent["n_simulate"] += size
        direction = self._minimum_norm(plan, remaining)
        direction = jax.tree.map(
            lambda last, new: self.momentum * last + size * new, state.direction, direction
        )
        factor = self.factor(batch.progress).astype(system.loss.dtype)
        factor, plateau = self.plateau().update(factor, state.plateau, value=system.loss)
        length = self.learning_rate * jnp.asarray(factor)
        if self.norm_constraint is not None:
            norm = optax.tree.norm(direction)
            longest = self.norm_constraint**0.5 / jnp.where(norm > 0, norm, 1)
            length = jnp.minimum(length, longest)
        info = {
            "loss": system.loss,
            "grad_norm": optax.tree.norm(system.pull(system.gradient)),
            "length": length,
            **spent,
        }
        step = jax.tree.map(lambda leaf: -length.astype(leaf.dtype) * leaf, direction)
        return step, SpringState(direction, plateau), info

    def _minimum_norm(self, plan: Plan, system: Linearised) -> Parameters:
        """Return J^T (J J^T + lambda max(J J^T) I)^-1 g."""
        power = Power(-1.0, 0.0, False, self._relative, self.gram_dtype)
        return plan.direction(system, power).direction

    @property
    def _relative(self) -> float:
        """Damping of singular values."""
        return self.damping**0.5

    def _plan(self, objective: Objective, params: Parameters, batch: Batch) -> Plan:
        spectrum = Spectrum(
            kappa=-1.0, tau=0.0, damping=self._relative, dtype=self.gram_dtype,
            platform=current_platform(),
        )  # fmt: skip
        size = measure(objective, params, batch, None, memory_limit(), spectrum)
        return choose(size, self.method)

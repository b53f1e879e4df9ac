"""Burgers' equation under control: find forces that move one velocity field to another."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from physopt.numerics.jacobian import pulled_rows
from physopt.numerics.linalg import HIGHEST
from physopt.numerics.steps import shortened
from physopt.numerics.time_kernel import Kernel
from physopt.numerics.trajectory import integrate
from physopt.options import NonNegativeFloat, NonNegativeInt, PositiveFloat
from physopt.problem import Batch
from physopt.problems.burgers import randomized
from physopt.problems.burgers.scenes import Scenes
from physopt.problems.burgers.scheme import advance_in, kernel_for
from physopt.problems.fields import relative_l2, squared_norms

EndState = Callable[[jax.Array, jax.Array], jax.Array]
"""Forces [batch, steps, n], initial fields [batch, n] -> end states [batch, n]."""


@dataclasses.dataclass(frozen=True)
class Burgers(Scenes):
    """Control a velocity field by forces: u_{i+1} = advance(u_i) + F_i, i = 0 ... steps - 1.

    `advance` is a step of du/dt + u du/ds = viscosity d^2u/ds^2 with unit spacing and unit time
    step. The unknown x [batch, steps, n] is F; the end state u_N should equal u* with little force:
    loss 1/2 |u_N - u*|^2 + alpha/2 sum F^2, written as a sum of squares with y = (u_N, sqrt(alpha)
    F) and y* = (u*, 0), [batch, 1 + steps, n]. force_l1 = sum |F|, force_half_l2 = 1/2 sum F^2,
    final_error = |u_N - u*| of a sample, and final_relative_l2 = sqrt(sum |u_N - u*|^2 / sum
    |u*|^2) over a set of them. The target fields result from a force constant in time.

    With `jerk`, the loss has the term jerk/2 sum (F_{i+1} - F_i)^2, and y further steps - 1 fields
    sqrt(jerk) (F_{i+1} - F_i).

    force_l1 is the metric of the source's table. It hardly distinguishes the optimum from a force
    in the last step only, whereas force_half_l2 is 0.11 for the former and 3.9 for the latter,
    which is among the baselines.

    Source: P. Holl, V. Koltun, N. Thuerey, "Learning to control PDEs with differentiable physics",
    ICLR 2020, arXiv 2001.07457, section 6.
    """

    alpha: PositiveFloat = 0.01
    """Weight of the force in the loss."""

    jerk: NonNegativeFloat = 0.0
    """Weight of changes of the force from step to step; the source has a tenth of alpha."""

    closed: bool = False
    """Replace the last force of x by the one that meets the target exactly, as in the source; the
    loss is then that of the forces alone."""

    halvings: NonNegativeInt = 6
    """Number of halvings of the inverse step: the length out of 1, 1/2, ... 2^-halvings with the
    least loss is taken."""

    # The loss, since meeting the target or saving force is trivial by itself.
    target: ClassVar = ("loss", 0.01)
    defaults: ClassVar = {"batch_size": 16, "steps": 1000, "log_every": 50}

    def sample(self, keys: jax.Array) -> Batch:
        """Draw initial and target fields: inputs [batch, n, 2]; extra is the initial field."""
        frames = self.trajectories(keys)
        start, wanted = frames[:, 0], frames[:, -1]
        fields = self.steps + (self.steps - 1 if self.jerk else 0)
        effort = jnp.zeros((len(keys), fields, self.cells), frames.dtype)
        target = jnp.concatenate([wanted[:, None], effort], axis=1)
        return Batch(inputs=jnp.stack([start, wanted], axis=-1), target=target, extra=start)

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return end state, scaled forces and, with jerk, their changes: [batch, fields, n]."""
        return self._observed(x, batch, self._end)

    def simulate_randomized(
        self, x: jax.Array, batch: Batch, key: jax.Array, fraction: float
    ) -> jax.Array:
        """Return `simulate`, with a derivative from a random part of the cells of every step."""
        end = partial(randomized.end_state, viscosity=self.viscosity, key=key, fraction=fraction)
        return self._observed(x, batch, end)

    def invert(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return the minimum of the loss, linearised about x: [batch, steps, n].

        With B = du_N/dF, and the penalties of the forces as F^T M F, the Gauss-Newton step is
        F' = M^-1 B^T (B M^-1 B^T + 1)^-1 (B F + u* - u_N), a system of the size of the end state.
        It removes the component of F in the null space of B, which F + M^-1 B^T (...) would keep.
        Where fronts form the linear model holds only locally: the step to F' is shortened to the
        best of a few lengths, which is cheap compared with B.

        If closed, u_N is the end state without a last force, and the last force is the difference
        G to u*. With c = jerk / (alpha + jerk) its penalties alpha |G|^2 + jerk |G - F_{N-1}|^2 are
        (alpha + jerk) |G - c F_{N-1}|^2 + alpha c |F_{N-1}|^2, a loss of the form above.
        """
        free = x.at[:, -1].set(0) if self.closed else x
        end, slope = self._linearize_end(free, batch.extra)
        if self.closed:
            slope = slope.at[:, :, -1].set(0)
        # A GPU's default precision would perturb the normal equations by 1e-3.
        product = partial(jnp.einsum, precision=HIGHEST)
        gap = product("bmik,bik->bm", slope, free) + batch.target[:, 0] - end
        weight, form = self._penalties()
        if self.closed:
            share = self.jerk / weight
            slope = slope.at[:, :, -2].add(share * jnp.eye(self.cells, dtype=x.dtype))
        weighted = product("ij,bmjk->bmik", jnp.asarray(np.linalg.inv(form), x.dtype), slope)
        system = product("bmik,bnik->bmn", slope, weighted)
        system += jnp.eye(self.cells, dtype=x.dtype) / weight
        multipliers = jnp.linalg.solve(system, gap[..., None])[..., 0]
        step = product("bmik,bm->bik", weighted, multipliers) - free
        lengths = tuple(0.5**k for k in range(self.halvings + 1))
        x = shortened(free, step, lambda x: self.loss(self.simulate(x, batch), batch), lengths)
        return self._close(x, batch, self._end) if self.closed else x

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return the force in two norms, and the distance of the end state from the target."""
        force = y[:, 1 : self.steps + 1] / self.alpha**0.5
        return {
            "force_l1": jnp.sum(jnp.abs(force), axis=(1, 2)),
            "force_half_l2": 0.5 * jnp.sum(force**2, axis=(1, 2)),
            "final_error": jnp.linalg.norm(y[:, 0] - batch.target[:, 0], axis=-1),
        }

    def set_terms(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return the squared norms of u_N - u* and of u*."""
        wanted = batch.target[:, 0]
        return squared_norms(y[:, 0] - wanted, wanted)

    def set_metrics(self, terms: dict[str, np.ndarray]) -> dict[str, float]:
        """Return the relative L2 error of the end state over a set."""
        return {"final_relative_l2": relative_l2(terms)}

    def baselines(self, held_out: Batch) -> dict[str, dict[str, float]]:
        """Evaluate a force in the last step alone, which meets the target."""
        closed = dataclasses.replace(self, closed=True)
        x = jnp.zeros((len(held_out), self.steps, self.cells), held_out.extra.dtype)
        metrics = closed.metrics(x, closed.simulate(x, held_out), held_out)
        means = {name: float(jnp.mean(value)) for name, value in metrics.items()}
        return {"closing_force": means}

    def _observed(self, x: jax.Array, batch: Batch, reached: EndState) -> jax.Array:
        if self.closed:
            x, end = self._close(x, batch, reached), batch.target[:, 0]
        else:
            end = reached(x, batch.extra)
        fields = [end[:, None], self.alpha**0.5 * x]
        if self.jerk:
            fields.append(self.jerk**0.5 * jnp.diff(x, axis=1))
        return jnp.concatenate(fields, axis=1)

    def _penalties(self) -> tuple[float, np.ndarray]:
        """Return the weight of the difference to u* and M [steps, steps], as in `invert`."""
        changes = np.diff(np.eye(self.steps), axis=0)
        if self.closed:
            changes = changes[:-1]
        form = self.alpha * np.eye(self.steps) + self.jerk * changes.T @ changes
        if not self.closed:
            return 1.0, form
        weight = self.alpha + self.jerk
        form[-2, -2] += self.alpha * self.jerk / weight
        return weight, form

    def _close(self, x: jax.Array, batch: Batch, reached: EndState) -> jax.Array:
        """Replace the last force by the one that meets the target: [batch, steps, n]."""
        gap = batch.target[:, 0] - reached(x.at[:, -1].set(0), batch.extra)
        return x.at[:, -1].set(gap)

    def _end(self, forces: jax.Array, start: jax.Array) -> jax.Array:
        """Return the end state: [batch, steps, n], [batch, n] -> [batch, n]."""
        return end_state(forces, start, self.viscosity, kernel_for(self.cells))

    def _linearize_end(self, forces: jax.Array, start: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the end state and its Jacobian in the forces, [batch, n, steps, n]."""
        end, vjp = jax.vjp(lambda forces: self._end(forces, start), forces)
        return end, pulled_rows(lambda rows: vjp(rows)[0], end)


def end_state(
    forces: jax.Array, start: jax.Array, viscosity: float, kernel: Kernel | None
) -> jax.Array:
    """Return the end state [batch, n] under forces [batch, steps, n] from a state [batch, n]."""
    advanced = advance_in(kernel)

    def step(u: jax.Array, force: jax.Array) -> tuple[jax.Array, None]:
        return advanced(u, viscosity) + force, None

    return integrate(step, start, jnp.swapaxes(forces, 0, 1), kernel)[0]

"""KFAC: Gauss-Newton steps with one Kronecker product of two small matrices for each layer."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from physopt.numerics.dense_layers import DenseLayers
from physopt.objective import Linearised, Objective
from physopt.optimizers.gain import gain_ratio
from physopt.optimizers.layer_blocks import Blocks, find_blocks, preconditioned
from physopt.optimizers.products import product_cost, with_products
from physopt.options import Decay, PositiveFloat
from physopt.problem import Batch
from physopt.rule import Info, Parameters, State, UpdateRule, cost

SHORT = 0.05
"""Length t below which the damping rises."""


class KFACState(NamedTuple):
    """State between updates."""

    age: Array  # int32, updates made
    damping: Array  # relative to the mean eigenvalue of the blocks
    blocks: Blocks  # running means


@dataclasses.dataclass(frozen=True)
class KFAC(UpdateRule):
    """KFAC for least squares: the Gauss-Newton matrix of a layer as a Kronecker product.

    For a dense layer z = W a, with a extended by 1 for a bias and D = dy/dz through the physics,
    the block of J^T J / b that belongs to W is approximated by

        E[a a^T] (x) E[D^T D] = A (x) B,

    means over a batch of b samples, and running means over updates: the past has the weight
    min(1 - 1/k, decay) in update k. This is exact for one linear layer and a linear physics.
    With lambda = `damping` times the mean eigenvalue of all blocks, and pi^2 the mean eigenvalue
    of A over that of B,

        direction = (A + pi sqrt(lambda) I)^-1 dL/dW (B + sqrt(lambda) / pi I)^-1,

    and the step v = -t direction minimises L + dL/dtheta v + |J v|^2 / (2 b) + lambda |v|^2 / 2.
    With rho the decrease of the loss over that of its quadratic model, the damping is multiplied
    by 2/3 if rho > 3/4 and t > 0.1, and by 3/2 if rho < 1/4 or t < 0.05: a short t shows that the
    blocks without damping misjudge the curvature along the direction. A step that does not lower
    the loss of the batch is rejected. A layer that acts on several positions, or is used several
    times, takes them as independent. Other parameters (normalisation, a bias that is added at
    several positions at once) have a block without approximation for each array.

    info holds damping, gain (rho), accepted and length (t). kfac-jax, the only library, needs
    networks and losses that are registered with it and has no physics between them.
    Source: J. Martens, R. Grosse, arXiv 1503.05671; for differential equations F. Dangel,
    J. Mueller, M. Zeinhofer, arXiv 2405.15603.
    """

    learning_rate: PositiveFloat = 1.0
    """Factor on t; 1 is the minimum of the quadratic model."""

    damping: PositiveFloat = 1e-2
    """Initial lambda, relative to the mean eigenvalue of the blocks."""

    decay: Decay = 0.95
    """Largest weight of the past in the running means of the blocks."""

    tunable: ClassVar = {"learning_rate": (1e-2, 1.0), "damping": (1e-6, 1e1)}

    def refuses(self, objective: Objective) -> str | None:
        """Refuse batch normalisation."""
        return objective.without_jacobians()

    def plan(self, objective: Objective, params: Parameters, batch: Batch) -> str:
        """Return the blocks; raises PlanError for large parameters outside of dense layers."""
        blocks = jax.eval_shape(_blocks, objective, params, batch)
        names = [f"{len(a)} x {len(b)}" for a, b in blocks.layers]
        others = f", and {len(blocks.others)} exact ones" if blocks.others else ""
        return f"blocks of dense layers: {', '.join(names) or 'none'}{others}"

    def init(self, objective: Objective, params: Parameters, key: jax.Array) -> State:
        """Return empty blocks. Raises PlanError as `plan` does."""
        sample = objective.problem.sample
        batch = jax.eval_shape(lambda: sample(jax.random.split(jax.random.key(0), 2)).at(0.0))
        shapes = jax.eval_shape(_blocks, objective, params, batch)
        blocks = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        dtype = jnp.result_type(*jax.tree.leaves(params))
        return KFACState(jnp.int32(0), jnp.asarray(self.damping, dtype), blocks)

    def update(
        self, objective: Objective, params: Parameters, state: State, batch: Batch, key: jax.Array
    ) -> tuple[Parameters, State, Info]:
        """Return the step along the preconditioned gradient, or zero."""
        # Accelerators round the operands of float32 products to 7 or 10 bits by default.
        with jax.default_matmul_precision("highest"):
            return self._update(objective, params, state, batch)

    def _update(
        self, objective: Objective, params: Parameters, state: KFACState, batch: Batch
    ) -> tuple[Parameters, State, Info]:
        system, push = with_products(objective, params, batch)
        dense, blocks = find_blocks(system)
        age = (state.age + 1).astype(state.damping.dtype)
        past = jnp.minimum(1 - 1 / age, self.decay)
        blocks = jax.tree.map(lambda a, b: past * a + (1 - past) * b, state.blocks, blocks)
        mean = blocks.trace() / sum(leaf.size for leaf in jax.tree.leaves(params))
        damping = state.damping * jnp.where(mean > 0, mean, 1)
        gradient = system.pull(system.gradient)
        direction = preconditioned(dense, blocks, gradient, damping)
        # The minimum of the quadratic model along the direction
        response = push(direction)
        curvature = response @ response / len(batch)
        curvature += damping * optax.tree.norm(direction, squared=True)
        slope = jnp.asarray(optax.tree.vdot(gradient, direction))
        length = self.learning_rate * slope / jnp.where(curvature > 0, curvature, 1)
        step = optax.tree.scale(-length, direction)
        trial = optax.apply_updates(params, step)
        gain = gain_ratio(objective, system, batch, trial, -length * response)
        step = jax.tree.map(lambda leaf: jnp.where(gain > 0, leaf, jnp.zeros_like(leaf)), step)
        worse, better = (gain < 0.25) | (length < SHORT), (gain > 0.75) & (length > 2 * SHORT)
        factor = jnp.where(worse, 3 / 2, jnp.where(better, 2 / 3, 1))
        adapted = jnp.clip(state.damping * factor.astype(past.dtype), 1e-10, 1e10)
        info = {
            "loss": system.loss,
            "grad_norm": optax.tree.norm(gradient),
            "damping": adapted,
            "gain": gain,
            "accepted": (gain > 0).astype(system.loss.dtype),
            "length": length,
            **_cost(objective, system, batch, dense),
        }
        return step, KFACState(state.age + 1, adapted, blocks), info


def _blocks(objective: Objective, params: Parameters, batch: Batch) -> Blocks:
    return find_blocks(with_products(objective, params, batch)[0])[1]


def _cost(objective: Objective, system: Linearised, batch: Batch, dense: DenseLayers) -> Info:
    """Count the derivatives of all outputs as pullbacks, unless dy/dx replaces the physics."""
    spent = product_cost(objective, system, batch, 1)
    rows = system.gradient.size if system.samples is batch else 0
    factor = 2 * len(dense.layers) + len(dense.explicit)
    more = cost(simulate=len(batch), vjp=rows, factor=factor)
    return {name: spent[name] + more[name] for name in spent}

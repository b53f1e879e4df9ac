"""Objective: a problem and a network as one function of the parameters. What a rule sees.

    parameters theta --predict--> x --simulate--> y --loss--> L = mean over the batch

It is a pytree. Its data is the network's state that is not a parameter (batch statistics); problem
and network graph are static, so that jit compiles one program for one problem.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from physopt.machine.mesh import spread
from physopt.numerics.gram import jacobian, layerwise_gram
from physopt.numerics.keys import key_of
from physopt.numerics.linalg import damped_solve
from physopt.numerics.steps import shortened
from physopt.problem import Batch, Inverts, Linearizes, Problem, Tree
from physopt.rule import Parameters

LENGTHS = (1.0, 0.5, 0.25, 0.125, 0.0)
"""Fractions of the damped Gauss-Newton step that the generic inverse step tries; 0 stays."""


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["rest"],
    meta_fields=["problem", "graphdef", "parameter_count", "mesh"],
)
@dataclasses.dataclass(frozen=True)
class Objective:
    """L(theta) = mean_i l(simulate(network(c_i; theta)), y_i*) and its pieces."""

    problem: Problem
    graphdef: Any  # the network without its arrays
    rest: Any  # the network's arrays that are not parameters
    parameter_count: int = 0  # P; with network=none that of one sample
    mesh: Mesh | None = None  # the devices over which a batch is spread

    def predict(self, params: Parameters, inputs: Tree, *, train: bool = True) -> Tree:
        """Evaluate the network, inputs [batch, ...] -> x [batch, ...]."""
        model = nnx.merge(self.graphdef, params, self.rest, copy=True)
        if not train:
            model.eval()
        return model(inputs)

    def mean_loss(self, x: Tree, batch: Batch) -> jax.Array:
        """Return the mean loss over the batch at given unknowns x."""
        return jnp.mean(self.losses(x, batch))

    def losses(self, x: Tree, batch: Batch) -> jax.Array:
        """Return the loss of each sample at given unknowns x, [batch]."""
        return spread(
            lambda x, batch: self.problem.loss(self.problem.simulate(x, batch), batch),
            self.mesh, x, batch,
        )  # fmt: skip

    def value(self, params: Parameters, batch: Batch) -> jax.Array:
        """Return the objective L(theta) on a batch."""
        return self.mean_loss(self.predict(params, batch.inputs), batch)

    def outputs(self, params: Parameters, batch: Batch) -> Tree:
        """Return the observations y(theta), leaves [batch, ...]."""
        x = self.predict(params, batch.inputs)
        return spread(self.problem.simulate, self.mesh, x, batch)

    def output_gradient(self, y: Tree, batch: Batch) -> tuple[jax.Array, Tree]:
        """Return L and dL/dy, leaves like y; both carry the 1/batch of the mean."""
        return jax.value_and_grad(lambda y: jnp.mean(self.problem.loss(y, batch)))(y)

    def pullback(self, params: Parameters, batch: Batch, cotangent: Tree) -> Parameters:
        """Pull a cotangent in x back through the network: dL/dx -> dL/dtheta."""
        _, vjp = jax.vjp(lambda p: self.predict(p, batch.inputs), params)
        return vjp(cotangent)[0]

    def linearize(self, x: Tree, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Return y [batch, |y|] and A = dy/dx [batch, |y|, |x|], both flattened per sample.

        The problem's own Jacobian where it has one; otherwise one vjp of the whole batch per
        component of y, because samples are independent.
        """
        return spread(self._linearize, self.mesh, x, batch)

    def _linearize(self, x: Tree, batch: Batch) -> tuple[jax.Array, jax.Array]:
        if isinstance(self.problem, Linearizes):
            y, slope = self.problem.linearize(x, batch)
            y = flatten(y)
            return y, slope.reshape(*y.shape, -1)
        y, vjp = jax.vjp(lambda x: self.problem.simulate(x, batch), x)
        unravel = _unflatten(y)
        flat = flatten(y)
        rows = jnp.eye(flat.shape[1], dtype=flat.dtype)

        def row(cotangent: jax.Array) -> jax.Array:
            (gradient,) = vjp(unravel(jnp.broadcast_to(cotangent, flat.shape)))
            return flatten(gradient)

        return flat, jax.vmap(row, out_axes=1)(rows)

    def invert(self, x: Tree, batch: Batch, damping: float = 1e-2) -> Tree:
        """Return P^-1(y* | x), x after one step of the problem's inverse solver.

        A problem without one gets the damped Gauss-Newton step on its loss,
        x - A^T (A A^T + damping tr(A A^T)/|y| I)^-1 dl/dy with A = dy/dx, shortened for each sample
        to the best of LENGTHS, since where the physics bends the linear model holds nearby only.
        It is dl/dy and not y - y*, because a loss may ignore part of y (a global phase of a wave
        function).
        """
        if isinstance(self.problem, Inverts):
            return spread(self.problem.invert, self.mesh, x, batch)
        y, slope = self.linearize(x, batch)
        _, gradient = self.output_gradient(_unflatten(self._observations(x, batch))(y), batch)
        step = damped_solve(slope, len(batch) * flatten(gradient), damping)
        losses = partial(self.losses, batch=batch)
        return shortened(x, _unflatten(x)(-step), losses, LENGTHS)

    def jacobian_rows(self, params: Parameters, batch: Batch) -> jax.Array:
        """Return J = dy/dtheta of every sample, [batch, |y|, P]."""
        return jacobian(self._sample_outputs, params, batch)

    def gram(self, params: Parameters, batch: Batch, dtype: Any = None) -> jax.Array:
        """Return G = J J^T of all outputs of the batch, [batch |y|, batch |y|], without J."""
        return layerwise_gram(self._sample_outputs, params, batch, dtype=dtype)

    def refresh(self, params: Parameters, batch: Batch) -> "Objective":
        """Return the objective with batch statistics measured on `batch`, for evaluation."""
        model = nnx.merge(self.graphdef, params, self.rest, copy=True)
        model(batch.inputs)
        return dataclasses.replace(self, rest=nnx.split(model, nnx.Param, ...)[2])

    def has_batch_statistics(self) -> bool:
        """Say whether batch normalisation couples the samples."""
        variables = jax.tree.leaves(self.rest, is_leaf=lambda v: isinstance(v, nnx.Variable))
        return any(isinstance(variable, nnx.BatchStat) for variable in variables)

    def _sample_outputs(self, params: Parameters, sample: Batch) -> jax.Array:
        """Return y of one sample, flat: [|y|]. The batch axis is kept inside: a group norm without
        one would normalise over the wrong axes without a word.
        """
        one = jax.tree.map(lambda leaf: leaf[None], sample)
        return flatten(self.outputs(params, one))[0]

    def _observations(self, x: Tree, batch: Batch) -> Tree:
        return jax.eval_shape(self.problem.simulate, x, batch)


def build(
    problem: Problem, network: str, seed: int, mesh: Mesh | None = None
) -> tuple[Objective, Parameters]:
    """Make a problem's network from a seed; return the objective and the initial parameters.

    `network` is "default" or the NAME of a method `network_NAME` of the problem.
    """
    make = problem.network if network == "default" else getattr(problem, f"network_{network}")
    graphdef, params, rest = nnx.split(make(nnx.Rngs(key_of(seed))), nnx.Param, ...)
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    return Objective(problem, graphdef, rest, count, mesh), params


def flatten(tree: Tree) -> jax.Array:
    """Join the leaves [batch, ...] of a pytree into one array [batch, size]."""
    leaves = jax.tree.leaves(tree)
    return jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)


def _unflatten(like: Tree):
    """Return the inverse of `flatten` for trees shaped like `like`."""
    leaves, structure = jax.tree.flatten(like)
    sizes = [leaf.size // leaf.shape[0] for leaf in leaves]

    def unflatten(flat: jax.Array) -> Tree:
        parts, start = [], 0
        for leaf, size in zip(leaves, sizes, strict=True):
            parts.append(flat[:, start : start + size].reshape(-1, *leaf.shape[1:]))
            start += size
        return jax.tree.unflatten(structure, parts)

    return unflatten

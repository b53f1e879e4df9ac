"""Objective: a problem and a network as one function of the parameters, and its derivatives.

    parameters theta --network--> x --physics--> y --loss--> L = mean over the batch

This is all that an update rule sees of a problem: each function and its derivative.

    network  predict(theta, inputs) -> x            pullback(theta, batch, dL/dx) -> dL/dtheta
    physics  problem.simulate(x, batch) -> y        linearize(x, batch) -> y, A = dy/dx
                                                    invert(x, batch) -> x nearer to the target
    loss     losses(x, batch), mean_loss(x, batch)  output_gradient(y, batch) -> L, dL/dy
    all      value(theta, batch) -> L               jax.grad(objective.value)
             outputs(theta, batch) -> y             linearised(theta, batch) -> J = dy/dtheta

An objective is a pytree. Its data is the network's state that is not a parameter (batch
statistics); problem and network graph are static, so that jit compiles one program per problem.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.sharding import Mesh

from physopt.machine.devices import widest_float
from physopt.machine.mesh import spread
from physopt.numerics.conflict import agreed_step
from physopt.numerics.gram import explicit_gram, jacobian, layerwise_gram
from physopt.numerics.jacobian import pulled_rows
from physopt.numerics.keys import key_of
from physopt.numerics.linalg import HIGHEST
from physopt.numerics.steps import shortened
from physopt.numerics.trials import failing_as_nan, lost_if_nan
from physopt.problem import Batch, Inverts, Linearizes, Problem, Tree
from physopt.rule import Parameters, PlanError

LENGTHS = (1.0, 0.5, 0.25, 0.125, 0.0)
"""Step lengths tried by the generic inverse step, as fractions of the damped Gauss-Newton step."""

BLOCK_BYTES = 2**28
"""Bytes of rows of J that are differentiated at a time."""


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["rest"],
    meta_fields=["problem", "graphdef", "parameter_count", "mesh", "same_batch"],
)
@dataclasses.dataclass(frozen=True)
class Objective:
    """L(theta) = mean_i l(simulate(network(c_i; theta)), y_i*), its parts and their derivatives."""

    problem: Problem
    graphdef: Any  # the network without its arrays
    rest: Any  # the network's arrays that are not parameters
    parameter_count: int = 0  # P; with network=none that of one sample
    mesh: Mesh | None = None  # the devices over which a batch is spread
    same_batch: bool = False  # every update of a run has the same batch, until it is redrawn

    # --- functions of the parameters

    def predict(self, params: Parameters, inputs: Tree, *, train: bool = True) -> Tree:
        """Evaluate the network: inputs [batch, ...] -> x [batch, ...]."""
        model = nnx.merge(self.graphdef, params, self.rest, copy=True)
        if not train:
            model.eval()
        return model(inputs)

    def outputs(self, params: Parameters, batch: Batch) -> Tree:
        """Return the observations y(theta), leaves [batch, ...]."""
        x = self.predict(params, batch.inputs)
        return spread(self.problem.simulate, self.mesh, x, batch)

    def value(self, params: Parameters, batch: Batch) -> Array:
        """Return the objective L(theta) on a batch."""
        return self.mean_loss(self.predict(params, batch.inputs), batch)

    def trial(self, params: Parameters, batch: Batch) -> Array:
        """Return L(theta) at parameters that may be rejected; infinite if the physics fails."""
        with failing_as_nan():
            return lost_if_nan(self.value(params, batch))

    def pullback(self, params: Parameters, batch: Batch, cotangent: Tree) -> Parameters:
        """Pull a cotangent of x back through the network: dL/dx -> dL/dtheta."""
        _, vjp = jax.vjp(lambda p: self.predict(p, batch.inputs), params)
        return vjp(cotangent)[0]

    def term_gradients(
        self, params: Parameters, batch: Batch, terms: int
    ) -> tuple[Array, Parameters]:
        """Return L_k [terms] and dL_k/dtheta, leaves [terms, ...], of the terms of the loss.

        L_k is the part of the mean that samples of kind k contribute, so that L = sum_k L_k.
        """
        losses, vjp = jax.vjp(lambda p: self.losses(self.predict(p, batch.inputs), batch), params)
        weights = (batch.kind == jnp.arange(terms)[:, None]).astype(losses.dtype) / len(batch)
        values = jnp.matmul(weights, losses, precision=HIGHEST)
        return values, jax.vmap(lambda weight: vjp(weight)[0])(weights)

    def linearised(
        self, params: Parameters, batch: Batch, slope: bool | None = None
    ) -> "Linearised":
        """Linearise the outputs in the parameters: y(theta + v) ~ y + J v.

        With `slope`, J = A dx/dtheta with the A = dy/dx of `linearize`, so that the physics is
        linearised once and never pulled back again. None: if the problem has its own `linearize`.
        """
        y: Tree = None
        samples: Any = batch
        outputs: Callable[[Parameters, Any], Tree] = self.outputs
        if isinstance(self.problem, Linearizes) if slope is None else slope:
            x = self.predict(params, batch.inputs)
            flat, slopes = self.linearize(x, batch)
            y = unflatten(flat, self.output_shapes(x, batch))
            samples, outputs = (batch.inputs, slopes), self._slope_times_x
        value, vjp = jax.vjp(lambda p: outputs(p, samples), params)
        y = value if y is None else y
        loss, gradient = self.output_gradient(y, batch)
        return Linearised(
            y, loss, flatten(gradient).ravel(), params, samples, outputs,
            lambda c: vjp(unflatten(c, value))[0],
        )  # fmt: skip

    def _slope_times_x(self, params: Parameters, samples: tuple[Tree, Array]) -> Array:
        """Return A x(theta) [batch, |y|] for samples (inputs, A)."""
        inputs, slopes = samples
        x = flatten(self.predict(params, inputs))
        return jnp.einsum("bmk,bk->bm", slopes, x, precision=HIGHEST)

    # --- functions of x and y

    def losses(self, x: Tree, batch: Batch) -> Array:
        """Return the loss of each sample at given unknowns x, [batch]."""
        return spread(
            lambda x, batch: self.problem.loss(self.problem.simulate(x, batch), batch),
            self.mesh, x, batch,
        )  # fmt: skip

    def mean_loss(self, x: Tree, batch: Batch) -> Array:
        """Return the mean loss over the batch at given unknowns x."""
        return jnp.mean(self.losses(x, batch))

    def output_shapes(self, x: Tree, batch: Batch) -> Tree:
        """Return shapes and types of y at unknowns x, without simulating."""
        return jax.eval_shape(self.problem.simulate, x, batch)

    def output_gradient(self, y: Tree, batch: Batch) -> tuple[Array, Tree]:
        """Return L and dL/dy, leaves like y; both carry the 1/batch of the mean."""
        return jax.value_and_grad(lambda y: jnp.mean(self.problem.loss(y, batch)))(y)

    def output_curvature(self, y: Tree, batch: Batch, change: Array) -> Array:
        """Return v^T (d^2 L/dy^2) v for a change v of the outputs, [n]."""

        def gradient(y: Tree) -> Tree:
            return self.output_gradient(y, batch)[1]

        _, product = jax.jvp(gradient, (y,), (unflatten(change, y),))
        return change @ flatten(product).ravel()

    def linearize(self, x: Tree, batch: Batch) -> tuple[Array, Array]:
        """Return y [batch, |y|] and A = dy/dx [batch, |y|, |x|], both flattened per sample.

        A is the problem's own if it has one; otherwise it costs one vjp of the whole batch per
        component of y.
        """
        return spread(self._linearize, self.mesh, x, batch)

    def _linearize(self, x: Tree, batch: Batch) -> tuple[Array, Array]:
        if isinstance(self.problem, Linearizes):
            y, slope = self.problem.linearize(x, batch)
            y = flatten(y)
            return y, slope.reshape(*y.shape, -1)
        y, vjp = jax.vjp(lambda x: self.problem.simulate(x, batch), x)
        flat = flatten(y)
        return flat, pulled_rows(lambda rows: flatten(vjp(unflatten(rows, y))[0]), flat)

    def invert(self, x: Tree, batch: Batch, damping: float | None = None) -> Tree:
        """Return P^-1(y* | x): x after one step of the problem's inverse solver.

        Without one, the damped Gauss-Newton step on the loss,
        x - A^T (A A^T + damping tr(A A^T)/|y| I)^-1 dl/dy with A = dy/dx, shortened for each sample
        to the best of LENGTHS, because the linear model holds nearby only. It uses dl/dy and not
        y - y*, because a loss may ignore part of y (a global phase of a wave function). Without a
        damping the conflict of a batch's steps decides it (`physopt.numerics.conflict`).

        A sample for which the solver fails is NaN.
        """
        with failing_as_nan():
            if isinstance(self.problem, Inverts):
                return spread(self.problem.invert, self.mesh, x, batch)
            flat, slope = self.linearize(x, batch)
            _, gradient = self.output_gradient(unflatten(flat, self.output_shapes(x, batch)), batch)
            residual = len(batch) * flatten(gradient)
            step = agreed_step(slope, residual, damping, widest_float())
            losses = partial(self.losses, batch=batch)
            return shortened(x, unflatten(-step, x), losses, LENGTHS)

    # --- batch normalisation

    def refresh(self, params: Parameters, batch: Batch) -> "Objective":
        """Return the objective with batch statistics measured on `batch`, for evaluation."""
        model = nnx.merge(self.graphdef, params, self.rest, copy=True)
        model(batch.inputs)
        return dataclasses.replace(self, rest=nnx.split(model, nnx.Param, ...)[2])

    def without_jacobians(self) -> str | None:
        """Return why samples have no Jacobians of their own, None if they have."""
        if not self.has_batch_statistics():
            return None
        return (
            "batch normalisation couples the samples of a batch, so that none has a Jacobian "
            "of its own; use normalization=group"
        )

    def has_batch_statistics(self) -> bool:
        """Return whether batch normalisation couples the samples."""
        variables = jax.tree.leaves(self.rest, is_leaf=lambda v: isinstance(v, nnx.Variable))
        return any(isinstance(variable, nnx.BatchStat) for variable in variables)


class Linearised(NamedTuple):
    """The outputs at given parameters, and their derivative J = dy/dtheta [n, P], n = batch |y|."""

    y: Tree  # leaves [batch, ...]
    loss: Array  # L
    gradient: Array  # dL/dy [n], with the 1/batch of the mean
    params: Parameters
    samples: Any  # leaves [batch, ...]
    outputs: Callable[[Parameters, Any], Tree]  # (params, samples) -> y, up to a constant
    pull: Callable[[Array], Parameters]  # c [n] -> J^T c

    def forward(self) -> Callable[[Parameters], Array]:
        """Return the function v -> J v [n], linearised once. Needs forward differentiation."""

        def values(params: Parameters) -> Array:
            return flatten(self.outputs(params, self.samples)).ravel()

        return jax.linearize(values, self.params)[1]

    def rows(self, samples: Any = None) -> Array:
        """Return J [n, P], or those of its rows that belong to `samples`."""
        samples = self.samples if samples is None else samples
        j = jacobian(self.sample_outputs, self.params, samples, block=self._block())
        return j.reshape(-1, j.shape[-1])

    def gram(self, dtype: Any = None, *, layerwise: bool = True) -> Array:
        """Return J J^T [n, n] in `dtype`, float64 by default: layer by layer, or from the rows."""
        arguments = self.sample_outputs, self.params, self.samples
        if layerwise:
            return layerwise_gram(*arguments, dtype=dtype)
        return explicit_gram(*arguments, dtype=dtype, block=self._block())

    def sample_outputs(self, params: Parameters, sample: Any) -> Array:
        """Return y of one sample, [|y|]. The network sees a batch of one: a group norm without a
        batch axis would silently normalise over the wrong axes.
        """
        alone = jax.tree.map(lambda leaf: leaf[None], sample)
        return flatten(self.outputs(params, alone))[0]

    def _block(self) -> int | None:
        """Return the number of samples that are differentiated at a time, None for all."""
        entries = sum(leaf.size for leaf in jax.tree.leaves(self.params))
        batch = jax.tree.leaves(self.samples)[0].shape[0]
        bytes_per_sample = entries * self.gradient.dtype.itemsize * self.gradient.size // batch
        block = max(1, BLOCK_BYTES // max(1, bytes_per_sample))
        return block if block < batch else None


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


def flatten(tree: Tree) -> Array:
    """Join the leaves [batch, ...] of a pytree into one array [batch, size].

    Raises PlanError for complex leaves: linear algebra on them would use half of the derivatives.
    """
    leaves = jax.tree.leaves(tree)
    if any(jnp.issubdtype(leaf.dtype, jnp.complexfloating) for leaf in leaves):
        raise PlanError("y is complex; return its real and imaginary part as two real arrays")
    return jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)


def unflatten(flat: Array, like: Tree) -> Tree:
    """Undo `flatten` for a tree of shapes like `like`: a rearrangement's transpose inverts it."""
    shape = jax.eval_shape(flatten, like)
    (tree,) = jax.linear_transpose(flatten, like)(flat.reshape(shape.shape).astype(shape.dtype))
    return tree

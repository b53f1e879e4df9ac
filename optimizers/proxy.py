"""Proxy: descent on a learned, smooth model of the loss, then on the loss itself."""

import dataclasses
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from physopt.numerics.keys import normal
from physopt.numerics.linalg import HIGHEST
from physopt.objective import Objective
from physopt.optimizers.first_order.named import LBFGS
from physopt.options import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from physopt.problem import Batch
from physopt.rule import Info, Parameters, State, UpdateRule

REGION = 3.0
"""The proxy is minimised within this many standard deviations of the samples, per parameter."""

LARGEST = 4096
"""Most parameters for which a proxy is fitted."""

Weights = list[tuple[jax.Array, jax.Array]]


class ProxyState(NamedTuple):
    """State between updates."""

    fresh: jax.Array  # bool: no proxy has been fitted
    refinement: Any  # state of L-BFGS


@dataclasses.dataclass(frozen=True)
class Proxy(UpdateRule):
    """A network f fitted to samples of the loss L, minimised in its place; L-BFGS on L follows.

    The first update evaluates L at `samples` points X, normal about the parameters, and fits f by
    Adam to

        mean w (f(X + a) - L(X) - b)^2 + flatness mean |df/dX|^2,   w ~ exp(-emphasis L(X)),

    with fresh noise a and b in every step, X in units of `radius` and L standardised. It then moves
    to a minimum of f, by L-BFGS from the parameters. This update and all others make a step of
    L-BFGS on L. For few unknowns: network=none gives every sample a proxy of its own.

    Source: thesis of P. M. Holl, TUM 2024, section 4.4; G. Goyal et al., arXiv 2501.16573. Both fit
    the loss and regularise by noise, by weights and by flatness; sizes are this project's own.
    """

    samples: PositiveInt = 64
    """Points at which the loss is evaluated to fit the proxy."""

    radius: PositiveFloat = 1.0
    """Standard deviation of the points about the parameters, in units of the unknowns."""

    hidden: tuple[PositiveInt, ...] = (32, 32)
    """Widths of the proxy's hidden layers, with tanh."""

    fit_steps: PositiveInt = 400
    """Updates of the fit, by Adam on all points."""

    fit_rate: PositiveFloat = 1e-2
    """Adam's learning rate at first; it falls to 0 as a cosine."""

    input_noise: NonNegativeFloat = 0.0
    """Standard deviation of the noise a on the points, in units of `radius`."""

    loss_noise: NonNegativeFloat = 0.0
    """Standard deviation of the noise b on the standardised losses."""

    emphasis: NonNegativeFloat = 1.0
    """Weight of low losses over high ones."""

    flatness: NonNegativeFloat = 1e-3
    """Weight of the proxy's squared gradient."""

    descent_steps: NonNegativeInt = 30
    """Updates of L-BFGS on the proxy."""

    tunable: ClassVar = {"radius": (0.1, 10.0), "flatness": (1e-5, 1e-1)}

    def refuses(self, objective: Objective) -> str | None:
        """Refuse many parameters, which no number of samples covers."""
        count = objective.parameter_count
        if count <= LARGEST:
            return None
        return f"a proxy of {count} parameters cannot be fitted; use network=none or fewer unknowns"

    def init(self, objective: Objective, params: Parameters, key: jax.Array) -> State:
        """Return the state of L-BFGS, and that there is no proxy."""
        return ProxyState(jnp.asarray(True), LBFGS().init(objective, params, key))

    def update(
        self, objective: Objective, params: Parameters, state: State, batch: Batch, key: jax.Array
    ) -> tuple[Parameters, State, Info]:
        """Return the move to the proxy's minimum, in the first update, and a step of L-BFGS."""
        flat, unravel = ravel_pytree(params)

        def loss_of(flat: jax.Array) -> jax.Array:
            return objective.trial(unravel(flat), batch).astype(flat.dtype)

        def minimised(_: Any) -> tuple[jax.Array, jax.Array]:
            return self._minimum(loss_of, flat, key)

        start, before = _once(state.fresh, minimised, (flat, jnp.zeros((), flat.dtype)))
        step, refinement, info = LBFGS().update(
            objective, unravel(start), state.refinement, batch, key
        )
        updates = optax.tree.add(unravel(start - flat), step)
        loss = jnp.where(state.fresh, before, info["loss"]).astype(info["loss"].dtype)
        extra = jnp.where(state.fresh, len(batch) * (self.samples + 2), 0)
        info |= {"loss": loss, "n_simulate": info["n_simulate"] + extra.astype(jnp.int32)}
        return updates, ProxyState(jnp.asarray(False), refinement), info

    def _minimum(
        self, loss_of: Callable[[jax.Array], jax.Array], flat: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Return the minimum of a proxy [d] and the loss at the parameters.

        It returns the parameters themselves if the loss at the minimum is not finite.
        """
        of_points, of_fit = jax.random.split(key)
        points = normal(of_points, (self.samples, flat.size), flat.dtype)
        losses = jax.vmap(loss_of)(flat + self.radius * points)
        before = loss_of(flat)
        weights = self._fit(points, losses, of_fit)
        z = _descended(partial(_proxy, weights), jnp.zeros_like(flat), self.descent_steps)
        moved = flat + self.radius * jnp.clip(z, -REGION, REGION)
        return jnp.where(jnp.isfinite(loss_of(moved)), moved, flat), before

    def _fit(self, points: jax.Array, losses: jax.Array, key: jax.Array) -> Weights:
        """Return the weights of the proxy of standardised losses."""
        losses = _standardised(losses)
        importance = jax.nn.softmax(-self.emphasis * losses)
        of_weights, of_noise = jax.random.split(key)
        sizes = (points.shape[1], *self.hidden, 1)
        weights = _weights(of_weights, sizes, points.dtype)
        optimizer = optax.adam(optax.cosine_decay_schedule(self.fit_rate, self.fit_steps))

        def error(weights: Weights, key: jax.Array) -> jax.Array:
            a, b = (normal(k, s.shape, s.dtype) for k, s in zip(
                jax.random.split(key), (points, losses), strict=True))  # fmt: skip
            noisy = points + self.input_noise * a
            f, slope = jax.vmap(jax.value_and_grad(partial(_proxy, weights)))(noisy)
            misfit = jnp.sum(importance * (f - losses - self.loss_noise * b) ** 2)
            return misfit + self.flatness * jnp.mean(jnp.sum(slope**2, axis=1))

        def step(k: jax.Array, state: tuple[Weights, Any]) -> tuple[Weights, Any]:
            weights, inner = state
            gradient = jax.grad(error)(weights, jax.random.fold_in(of_noise, k))
            updates, inner = optimizer.update(gradient, inner, weights)
            return optax.apply_updates(weights, updates), inner  # type: ignore[return-value]

        return jax.lax.fori_loop(0, self.fit_steps, step, (weights, optimizer.init(weights)))[0]


def _once(first: jax.Array, function: Callable[[Any], Any], otherwise: Any) -> Any:
    """Return function(otherwise) if `first`, else `otherwise`.

    A loop, because a condition that is vmapped, as with network=none, would evaluate both.
    """

    def body(state: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
        return jnp.zeros_like(state[0]), function(state[1])

    return jax.lax.while_loop(lambda state: state[0], body, (first, otherwise))[1]


def _standardised(losses: jax.Array) -> jax.Array:
    """Return losses of zero mean and unit deviation; those that are not finite get the largest."""
    finite = jnp.isfinite(losses)
    losses = jnp.where(finite, losses, jnp.max(jnp.where(finite, losses, -jnp.inf)))
    losses = jnp.where(jnp.isfinite(losses), losses, 0.0)  # none is finite
    centred = losses - jnp.mean(losses)
    deviation = jnp.sqrt(jnp.mean(centred**2))
    return centred / jnp.where(deviation > 0, deviation, 1.0)


def _weights(key: jax.Array, sizes: tuple[int, ...], dtype: Any) -> Weights:
    """Draw the weights of a dense network, normal with variance 1 / inputs."""
    pairs = list(itertools.pairwise(sizes))
    keys = jax.random.split(key, len(pairs))
    return [
        (normal(k, (m, n), dtype) / m**0.5, jnp.zeros(n, dtype))
        for k, (m, n) in zip(keys, pairs, strict=True)
    ]


def _proxy(weights: Weights, z: jax.Array) -> jax.Array:
    """Return f(z), [] for z [d]."""
    for matrix, bias in weights[:-1]:
        z = jnp.tanh(jnp.matmul(z, matrix, precision=HIGHEST) + bias)
    matrix, bias = weights[-1]
    return (jnp.matmul(z, matrix, precision=HIGHEST) + bias)[0]


def _descended(f: Callable[[jax.Array], jax.Array], z: jax.Array, steps: int) -> jax.Array:
    """Return z after steps of L-BFGS on f."""
    optimizer = optax.lbfgs()

    def step(_: jax.Array, state: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
        z, inner = state
        value, gradient = jax.value_and_grad(f)(z)
        updates, inner = optimizer.update(
            gradient, inner, z, value=value, grad=gradient, value_fn=f
        )
        return optax.apply_updates(z, updates), inner  # type: ignore[return-value]

    return jax.lax.fori_loop(0, steps, step, (z, optimizer.init(z)))[0]

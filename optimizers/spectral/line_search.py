"""Line searches of the spectral family: a step length among powers of two."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from physopt.machine.devices import current_platform

LineSearch = Literal["auto", "none", "grid", "armijo"]

LENGTHS = 32
"""Number of step lengths, from the largest down by factors of two."""

AT_ONCE = 8
"""Step lengths whose losses an accelerator evaluates together, which bounds the memory. One by one
they take half the time on a CPU, which the samples of a batch keep busy."""

DECREASE = 1e-4
"""Fraction of the linear decrease that Armijo's condition requires."""


def step_lengths(kappa: float, dtype: DTypeLike) -> Array:
    """Return the step lengths [32], descending from 1 for kappa = -1 and from 16 otherwise.

    The full Gauss-Newton step solves the linear model; a step of another power has no such scale.
    """
    largest = 0 if kappa == -1 else 4
    return jnp.asarray(2.0 ** (largest - np.arange(LENGTHS)), dtype)


def searched(
    kind: LineSearch, loss_at: Callable[[Array], Array], lengths: Array, loss: Array, slope: Array
) -> tuple[Array, Array]:
    """Return a step length, 0 if none is good enough, and the number of losses evaluated.

    grid: the length of the lowest loss, if it is lower than `loss`. armijo: the largest length a
    with loss_at(a) <= loss + 1e-4 a slope and loss_at(a) < loss, where the slope is
    d loss_at / da at 0.
    """
    if kind == "grid":
        at_once = None if current_platform() == "cpu" else AT_ONCE
        losses = jax.lax.map(loss_at, lengths, batch_size=at_once)
        best = jnp.argmin(losses)
        return jnp.where(losses[best] < loss, lengths[best], 0), jnp.int32(len(lengths))

    def refused(trial: tuple[Array, Array]) -> Array:
        index, value = trial
        return ~((value <= loss + DECREASE * lengths[index] * slope) & (value < loss))

    def shorter(trial: tuple[Array, Array]) -> tuple[Array, Array]:
        index = trial[0] + 1
        return index, loss_at(lengths[index])

    def unfinished(trial: tuple[Array, Array]) -> Array:
        return refused(trial) & (trial[0] < len(lengths) - 1)

    begin = jnp.int32(0), loss_at(lengths[0])
    end = jax.lax.while_loop(unfinished, shorter, begin)
    return jnp.where(refused(end), 0, lengths[end[0]]), end[0] + 1

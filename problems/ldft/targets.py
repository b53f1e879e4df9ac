"""Target isotherms: procedural ones, and those of simulated random matrices.

Procedural targets cover all monotone curves, most of which are unreachable; simulated targets are
reachable by construction.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from physopt.numerics.keys import normal
from physopt.problems.ldft.inverse import IsothermAndJacobian, inverse_step
from physopt.problems.ldft.relaxation import binary
from physopt.problems.ldft.swarm import swarm_matrices

STEP_PROBABILITY = 0.2
LOG_INCREMENT_SCALE = 4.0
POROSITIES = (0.1, 0.95)

Texture = Literal["white", "correlated", "slits", "blocks"]
Optimiser = Literal["gauss_newton", "swarm"]


def procedural_target(key: jax.Array, points: int) -> jax.Array:
    """Draw a monotone curve from 0 to 1 at h = 1/points ... 1: [points].

    With probability 0.2 a unit step at a uniformly random humidity. Otherwise the curve passes
    through an anchor: value a ~ U(0, 1) at index int(points u), u ~ U(.05, .95); below and above
    it the increments are proportional to exp(N(0, 4^2)), summing to a and to 1 - a.

    Source: H. Liu et al., npj Computational Materials 9, 121 (2023).
    """
    kind, place, height, position, noise = jax.random.split(key, 5)
    index = jnp.arange(points)
    step = jnp.where(index >= jax.random.randint(place, (), 0, points), 1.0, 0.0)
    anchor = jnp.floor(points * jax.random.uniform(position, minval=0.05, maxval=0.95))
    # At least one increment on either side, even with few points.
    below = index < jnp.clip(anchor, 1, points - 1)
    logits = LOG_INCREMENT_SCALE * jax.random.normal(noise, (points,))
    value = jax.random.uniform(height)
    increments = value * jax.nn.softmax(jnp.where(below, logits, -jnp.inf))
    increments += (1 - value) * jax.nn.softmax(jnp.where(below, -jnp.inf, logits))
    anchored = jnp.minimum(jnp.cumsum(increments), 1.0)
    return jnp.where(jax.random.bernoulli(kind, STEP_PROBABILITY), step, anchored)


def procedural_loop(key: jax.Array, points: int) -> jax.Array:
    """Draw a hysteresis loop: adsorption at h = 1/points ... 1, then desorption back to 0:
    [2 points].

    The desorption branch is the maximum of two procedural curves, since a pore empties at a lower
    humidity than it fills at; adsorption is their minimum. The branches meet at h = 1 and h = 0.
    """
    one, other = (procedural_target(k, points) for k in jax.random.split(key))
    back = jnp.maximum(one, other)[-2::-1]
    return jnp.concatenate([jnp.minimum(one, other), back, jnp.zeros(1)])


def random_matrix(
    key: jax.Array, shape: tuple[int, ...], textures: Sequence[Texture] | None = None
) -> jax.Array:
    """Draw a binary matrix of pores (1) and solid (0): a random field above a threshold.

    The porosity is U(.1, .95), exact to one site. The field is white noise, noise smoothed over
    a random length, noise along a single axis (slits), or noise that is constant on blocks;
    `textures` restricts the selection, None allows all.
    """
    texture, porosity, field_key = jax.random.split(key, 3)
    kinds = [TEXTURES[name] for name in textures or TEXTURES]
    weights = np.asarray([weight for _, weight in kinds])
    kind = jax.random.choice(texture, len(kinds), p=jnp.asarray(weights / weights.sum()))
    field = jax.lax.switch(kind, [lambda k, f=f: f(k, shape) for f, _ in kinds], field_key)
    sites = int(np.prod(shape))
    fraction = jax.random.uniform(porosity, minval=POROSITIES[0], maxval=POROSITIES[1])
    pores = jnp.clip(jnp.round(fraction * sites), 1, sites).astype(int)
    threshold = jnp.sort(field.ravel())[sites - pores]
    return jnp.where(field >= threshold, 1.0, 0.0)


def _white(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return normal(key, shape)


def _correlated(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Smooth noise by a periodic Gaussian of length U(.5, 3) sites."""
    length_key, noise = jax.random.split(key)
    length = jax.random.uniform(length_key, minval=0.5, maxval=3.0)
    waves = np.meshgrid(*(2 * np.pi * np.fft.fftfreq(n) for n in shape), indexing="ij")
    squared = sum(wave**2 for wave in waves)
    damping = jnp.exp(-(length**2) * jnp.asarray(squared) / 8)
    return jnp.fft.ifftn(damping * jnp.fft.fftn(_white(noise, shape))).real


def _slits(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Vary along a random axis; weak noise makes all values distinct."""
    axis_key, noise, trace = jax.random.split(key, 3)
    axis = jax.random.randint(axis_key, (), 0, len(shape))
    profile = jax.random.normal(noise, (max(shape),))
    along = [
        profile[: shape[a]].reshape([-1 if b == a else 1 for b in range(len(shape))])
        for a in range(len(shape))
    ]
    field = jnp.stack([jnp.broadcast_to(a, shape) for a in along])[axis]
    return field + 1e-3 * _white(trace, shape)


def _blocks(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Be constant on blocks with sides of 2 to 5; weak noise makes all values distinct."""
    side_key, noise, trace = jax.random.split(key, 3)
    side = jax.random.randint(side_key, (), 2, 6)
    coarse = _white(noise, shape)
    index = jnp.ix_(*(jnp.arange(n) // side for n in shape))
    return coarse[index] + 1e-3 * _white(trace, shape)


TEXTURES: dict[Texture, tuple[Callable[[jax.Array, tuple[int, ...]], jax.Array], float]] = {
    "white": (_white, 0.35),
    "correlated": (_correlated, 0.35),
    "slits": (_slits, 0.15),
    "blocks": (_blocks, 0.15),
}
"""The random fields and their probabilities."""


def optimised_matrices(
    random: jax.Array,
    selected: jax.Array,
    keys: jax.Array,
    target: jax.Array,
    physics: IsothermAndJacobian,
    optimiser: Optimiser = "gauss_newton",
) -> jax.Array:
    """Replace the selected matrices by rounded results of an optimisation.

    random [batch, *lattice], selected [batch] bool, keys [batch] for the start, target
    [batch, points] the isotherm it aims at. Only the textures matter, which no random field has:
    the isotherms of the returned matrices are used, however close they are to `target`.
    """
    mask = selected.reshape(-1, *(1,) * (random.ndim - 1))

    def masked(eta: jax.Array) -> tuple[jax.Array, jax.Array]:
        return physics(eta * mask)  # a matrix without pores is free for the solver

    designed = OPTIMISERS[optimiser](keys, target, masked, random.shape[1:])
    pores = jnp.sum(designed, axis=tuple(range(1, random.ndim)), keepdims=True)
    return jnp.where(mask & (pores > 0), designed, random)


def _gauss_newton(
    keys: jax.Array, target: jax.Array, physics: IsothermAndJacobian, shape: tuple[int, ...]
) -> jax.Array:
    noise = jax.vmap(lambda key: normal(key, shape))(keys)
    return binary(inverse_step(noise, target, physics, iterations=4, damping=1e-2))


def _swarm(
    keys: jax.Array, target: jax.Array, physics: IsothermAndJacobian, shape: tuple[int, ...]
) -> jax.Array:
    # The compiler removes the Jacobian, which is not used.
    return swarm_matrices(keys, target, lambda eta: physics(eta)[0], shape)


OPTIMISERS = {"gauss_newton": _gauss_newton, "swarm": _swarm}
"""Optimisations of matrices: keys, target, physics, shape of the lattice -> binary matrices."""

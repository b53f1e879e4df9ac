"""Discrete inverse solver: flips of sites of a binary matrix, predicted by its Jacobian.

At a binary matrix dy/deta predicts the effect of every flip. A trial flips the few sites that
together have the least predicted error, and is kept if the error falls. The number of flips follows
the success of the trials, as the radius of a trust region does.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax import Array

from physopt.problems.ldft.isotherm import IsothermOptions, isotherm_and_jacobian
from physopt.problems.ldft.losses import continuity_change, continuity_penalty

FIRST_FLIPS = 8
"""Number of sites that the first trial flips at most."""

MOST_FLIPS = 32
"""Largest number of sites that one trial flips."""

PAIRED = 32
"""Number of sites, those of the least predicted error, for which a partner is searched."""

CAUTION = 0.2
"""Predicted error added to a flip per unit of its mean |dy/deta|: predictions of large effects are
the least accurate. A measured effect needs no caution."""


class _Search(NamedTuple):
    pores: Array
    """Matrices of the least error yet [batch, sites]."""
    y: Array
    """Their isotherms [batch, points]."""
    slope: Array
    """Their dy/deta [batch, points, sites]; measured columns are secants."""
    measured: Array
    """Sites of which a rejected trial has measured the effect [batch, sites], bool."""
    error: Array
    """Their errors [batch]."""
    limit: Array
    """Number of sites that the next trial flips at most [batch], int32."""
    tabu: Array
    """Sites that were flipped alone, and that began a pair, since the last success
    [2, batch, sites], bool."""


def refine_matrices(
    pores: Array,
    target: Array,
    *,
    trials: int = 60,
    continuity: float = 0.0,
    **options: Unpack[IsothermOptions],
) -> Array:
    """Improve binary matrices by flips of sites, towards target isotherms y*.

    Minimises mean_h |y - y*| + continuity R for each matrix, R the phase-continuity penalty of
    `losses.continuity_penalty`. The result is never worse than `pores`.

    Args:
        pores: binary matrices, [batch, n, n] or [batch, n, n, n], 1 pore and 0 solid.
        target: isotherms y* at the humidities of the options [batch, points].
        trials: isotherms with Jacobians that are computed for each matrix.
        continuity: weight of the penalty.
        options: those of `isotherm`.

    Returns:
        Binary matrices, of the shape and type of `pores`.

    Raises:
        ValueError: as `isotherm`.
    """
    physics = partial(isotherm_and_jacobian, **options)
    return flip_sites(pores, target, physics, trials, continuity)


def flip_sites(
    pores: Array,
    target: Array,
    physics: Callable[[Array], tuple[Array, Array]],
    trials: int,
    continuity: float = 0.0,
    *,
    other: Array | None = None,
    least_gain: float = 0.0,
) -> Array:
    """Return matrices after trials of flips; `physics` returns y and dy/deta of matrices.

    other: further matrices, from which the search starts where they have the smaller error.
    least_gain: decrease of the error from which on a trial is a success. With the solver's error
    as `least_gain` the result is not worse than `pores` for a more accurate solver either.

    Where no single flip helps, the exchange of a pore and a solid or another pair may: trials of
    one and of two flips take turns. A rejected flip of one site has measured its effect. The
    measured effect replaces the predicted one until the site or a neighbour is flipped.
    """
    shape = pores.shape
    rows = pores.reshape(len(pores), -1)

    def evaluate(rows: Array) -> tuple[Array, Array, Array]:
        matrices = rows.reshape(shape)
        y, slope = physics(matrices)
        error = jnp.mean(jnp.abs(y - target), axis=1)
        if continuity:
            error += continuity * continuity_penalty(matrices)
        return y, slope.reshape(*y.shape, -1), error

    def penalty_after(rows: Array) -> Array | float:
        if not continuity:
            return 0.0
        matrices = rows.reshape(shape)
        change = continuity_change(matrices).reshape(rows.shape)
        return continuity * (continuity_penalty(matrices)[:, None] + change)

    # The first trials evaluate the matrices to start from.
    starts = jnp.stack([rows, rows if other is None else other.reshape(rows.shape)])
    given = 1 if other is None else 2

    def trial(index: Array, now: _Search) -> _Search:
        flips, first = _best_flips(now, target, penalty_after)
        flips = jnp.where(index < given, starts[jnp.minimum(index, 1)] != now.pores, flips)
        count = jnp.sum(flips, axis=1, keepdims=True)
        candidate = jnp.where(flips, 1 - now.pores, now.pores)
        y, slope, error = evaluate(candidate)
        better = (error < now.error - least_gain)[:, None]
        secant = (y - now.y)[:, :, None] * _signs(now.pores)[:, None]
        new = flips & (count == 1) & ~better
        measured = (now.measured | new) & ~(better & _neighbourhood(flips, shape))
        slope = jnp.where((better & ~measured)[:, None], slope, now.slope)
        rejected = jnp.where(count > 2, count // 2, 3 - jnp.minimum(now.limit[:, None], 2))
        limit = jnp.where(better, jnp.minimum(2 * count, MOST_FLIPS), rejected)[:, 0]
        begun = jnp.stack([first & (count == 1), first & (count <= 2) & (now.limit > 1)[:, None]])
        return _Search(
            jnp.where(better, candidate, now.pores),
            jnp.where(better, y, now.y),
            jnp.where(new[:, None], secant, slope),
            measured,
            jnp.where(better[:, 0], error, now.error),
            jnp.where(index < given, FIRST_FLIPS, limit).astype(jnp.int32),
            (now.tabu | begun) & ~better & (index >= given),
        )

    none = jnp.zeros(rows.shape, bool)
    start = _Search(
        rows,
        jnp.zeros_like(target, rows.dtype),
        jnp.zeros((*target.shape, rows.shape[1]), rows.dtype),
        none,
        jnp.full(len(rows), jnp.inf, rows.dtype),
        jnp.zeros(len(rows), jnp.int32),
        jnp.stack([none, none]),
    )
    # One loop for the evaluation and the trials: the simulator is compiled once.
    return jax.lax.fori_loop(0, trials + given, trial, start).pores.reshape(shape)


def _neighbourhood(flips: Array, shape: tuple[int, ...]) -> Array:
    """Return the flipped sites and their neighbours, [batch, sites]."""
    lattice = flips.reshape(shape)
    reached = lattice
    for axis in range(1, len(shape)):
        reached |= jnp.roll(lattice, 1, axis) | jnp.roll(lattice, -1, axis)
    return reached.reshape(flips.shape)


def flipped_unknowns(x: Array, pores: Array, margin: float) -> Array:
    """Return x with the signs of a binary matrix: `margin` beyond zero where a sign changes."""
    goal = jnp.where(pores > 0, margin, -margin).astype(x.dtype)
    return jnp.where((x > 0) == (pores > 0), x, goal)


def _signs(pores: Array) -> Array:
    """Return the change of eta by a flip: 1 adds a pore, -1 removes one."""
    return 1 - 2 * pores


class _Prediction(NamedTuple):
    """Errors after flips, predicted by the linear model."""

    pores: Array
    effects: Array
    """Change of y by the flip of each site [batch, points, sites]."""
    caution: Array
    """Term added to the error after the flip of each site [batch, sites]."""
    penalty_after: Callable[[Array], Array | float]
    """Penalty of matrices after one more flip, rows [batch, sites] -> [batch, sites]."""

    def error_after(self, residual: Array, flips: Array) -> Array:
        """Return the error after one flip beyond `flips` [batch, sites], infinite at these.

        residual: the predicted y - y* after `flips`.
        """
        after = jnp.mean(jnp.abs(residual[:, :, None] + self.effects), axis=1) + self.caution
        after += self.penalty_after(jnp.where(flips, 1 - self.pores, self.pores))
        return jnp.where(flips, jnp.inf, after)

    def effect(self, site: Array) -> Array:
        """Return the change of y by the flip of one site of each matrix [batch, points]."""
        return jnp.take_along_axis(self.effects, site[:, None, None], axis=2)[:, :, 0]


def _best_flips(
    now: _Search, target: Array, penalty_after: Callable[[Array], Array | float]
) -> tuple[Array, Array]:
    """Select up to `limit` sites whose flips together have the least predicted error.

    Returns the sites and the first of them, masks [batch, sites]. One site or pair is selected even
    if it is not predicted to help.
    """
    effects = now.slope * _signs(now.pores)[:, None]
    caution = CAUTION * jnp.mean(jnp.abs(effects), axis=1) * ~now.measured
    prediction = _Prediction(now.pores, effects, caution, penalty_after)
    paired = (now.limit == 2)[:, None]
    pair = _best_pair(prediction, now.y - target, now.tabu[1])
    group = _greedy_group(prediction, now, target)
    return jnp.where(paired, pair[0], group[0]), jnp.where(paired, pair[1], group[1])


def _greedy_group(prediction: _Prediction, now: _Search, target: Array) -> tuple[Array, Array]:
    """Add the best site to those selected while that reduces the predicted error."""
    sites = jnp.arange(now.pores.shape[1])

    def add_site(state: tuple[Array, ...]) -> tuple[Array, ...]:
        count, flips, first, residual, error, _ = state
        after = prediction.error_after(residual, flips)
        after = jnp.where(now.tabu[0] & (count == 0), jnp.inf, after)
        site, least = jnp.argmin(after, axis=1), jnp.min(after, axis=1)
        # A sample that adds nothing now adds nothing later: its sites stay as they are.
        added = (count < now.limit) & ((least < error) | (count == 0))
        new = added[:, None] & (sites == site[:, None])
        return (
            count + 1,
            flips | new,
            jnp.where(count == 0, new, first),
            jnp.where(added[:, None], residual + prediction.effect(site), residual),
            jnp.where(added, least, error),
            added,
        )

    none = jnp.zeros(now.pores.shape, bool)
    start = jnp.int32(0), none, none, now.y - target, now.error, now.limit > 0
    end = jax.lax.while_loop(lambda state: state[5].any(), add_site, start)
    return end[1], end[2]


def _best_pair(prediction: _Prediction, residual: Array, tabu: Array) -> tuple[Array, Array]:
    """Search the best partner of each of the PAIRED best single sites."""
    sites = jnp.arange(tabu.shape[1])
    singles = prediction.error_after(residual, tabu)
    firsts = jax.lax.top_k(-singles, min(PAIRED, len(sites)))[1].T

    def best_partner(site: Array) -> tuple[Array, Array]:
        first = sites == site[:, None]
        after = prediction.error_after(residual + prediction.effect(site), first)
        after += jnp.take_along_axis(prediction.caution, site[:, None], axis=1)
        after = jnp.where(tabu, jnp.inf, after)
        return jnp.min(after, axis=1), jnp.argmin(after, axis=1)

    errors, partners = jax.lax.map(best_partner, firsts)
    best = jnp.argmin(errors, axis=0)[None]
    first = sites == jnp.take_along_axis(firsts, best, axis=0).T
    return first | (sites == jnp.take_along_axis(partners, best, axis=0).T), first

"""Discrete inverse solver: flips of sites of a binary matrix, predicted by its Jacobian.

At a binary matrix dy/deta predicts the effect of every flip. A trial flips the few sites that
together have the least predicted error, and is kept if the error falls. The number of flips follows
the success of the trials, as the radius of a trust region does.
"""

from collections.abc import Callable
from functools import partial
from typing import Unpack

import jax
import jax.numpy as jnp
from jax import Array

from physopt.problems.ldft.flip_selection import Search, best_flips, signs
from physopt.problems.ldft.isotherm import IsothermOptions, isotherm_and_jacobian
from physopt.problems.ldft.losses import continuity_change, continuity_penalty

FIRST_FLIPS = 8
"""Number of sites that the first trial flips at most."""

MOST_FLIPS = 32
"""Largest number of sites that one trial flips."""

TOGETHER = 4
"""Trials of some matrices before others are selected."""


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
    others: tuple[Array, ...] = (),
    least_gain: float = 0.0,
    enough: float = 0.0,
) -> Array:
    """Return matrices after trials of flips; `physics` returns y and dy/deta of matrices.

    others: further matrices, from which the search starts where they have the smaller error.
    least_gain: decrease of the error from which on a trial is a success. With the solver's error
    as `least_gain` the result is not worse than `pores` for a more accurate solver either.
    enough: error at which the search of a matrix ends. A quarter of the batch is then searched at
    a time, those with the fewest trials, so that the others receive the remaining trials.

    Where no single flip helps, the exchange of a pore and a solid or another pair may: trials of
    one and of two flips take turns. A rejected flip of one site has measured its effect. The
    measured effect replaces the predicted one until the site or a neighbour is flipped.
    """
    batch, shape = len(pores), pores.shape[1:]
    starts = jnp.stack([matrix.reshape(batch, -1) for matrix in (pores, *others)], axis=1)
    width = share_of(batch) if enough else batch
    search = partial(_trial, shape, physics, continuity, least_gain)
    # Starts are evaluated by the first trials: the simulator is compiled once.
    total = -(-batch * (trials + starts.shape[1]) // width)

    def unfinished(now: Search) -> Array:
        return ~(now.error <= enough) | (now.spent < starts.shape[1])

    def search_some(state: tuple[Array, Search]) -> tuple[Array, Search]:
        count, now = state
        order = jnp.where(unfinished(now), now.spent, now.spent + total)
        some = jax.lax.top_k(-order, width)[1]
        part = jax.tree.map(lambda leaf: leaf[some], (starts, target, now))
        steps = jnp.minimum(TOGETHER, total - count)
        after = jax.lax.fori_loop(0, steps, lambda _, part: (*part[:2], search(*part)), part)[2]
        return count + steps, jax.tree.map(lambda leaf, new: leaf.at[some].set(new), now, after)

    def remaining(state: tuple[Array, Search]) -> Array:
        return (state[0] < total) & unfinished(state[1]).any()

    start = jnp.int32(0), _first_search(starts[:, 0], target)
    return jax.lax.while_loop(remaining, search_some, start)[1].pores.reshape(pores.shape)


def share_of(batch: int) -> int:
    """Return the number of matrices, a quarter of a batch, that are solved at a time."""
    return -(-batch // 4)


def _first_search(rows: Array, target: Array) -> Search:
    none = jnp.zeros(rows.shape, bool)
    count = jnp.zeros(len(rows), jnp.int32)
    return Search(
        rows,
        jnp.zeros_like(target, rows.dtype),
        jnp.zeros((*target.shape, rows.shape[1]), rows.dtype),
        none,
        jnp.full(len(rows), jnp.inf, rows.dtype),
        count,
        jnp.stack([none, none], axis=1),
        count,
    )


def _trial(
    shape: tuple[int, ...],
    physics: Callable[[Array], tuple[Array, Array]],
    continuity: float,
    least_gain: float,
    starts: Array,
    target: Array,
    now: Search,
) -> Search:
    """Evaluate the next matrix of `starts` [batch, starts, sites] or the most promising flips."""

    def penalty(rows: Array) -> Array:
        if not continuity:
            return jnp.zeros(len(rows), rows.dtype)
        return continuity * continuity_penalty(rows.reshape(-1, *shape))

    def penalty_after(rows: Array) -> Array | float:
        if not continuity:
            return 0.0
        change = continuity_change(rows.reshape(-1, *shape)).reshape(rows.shape)
        return penalty(rows)[:, None] + continuity * change

    flips, first = best_flips(now, target, penalty_after)
    begins = (now.spent < starts.shape[1])[:, None]
    place = jnp.minimum(now.spent, starts.shape[1] - 1)[:, None, None]
    given = jnp.take_along_axis(starts, place, axis=1)[:, 0]
    flips = jnp.where(begins, given != now.pores, flips)
    count = jnp.sum(flips, axis=1, keepdims=True)
    candidate = jnp.where(flips, 1 - now.pores, now.pores)
    y, slope = physics(candidate.reshape(-1, *shape))
    slope = slope.reshape(*y.shape, -1)
    error = jnp.mean(jnp.abs(y - target), axis=1) + penalty(candidate)
    better = (error < now.error - least_gain)[:, None]
    secant = (y - now.y)[:, :, None] * signs(now.pores)[:, None]
    new = flips & (count == 1) & ~better
    measured = (now.measured | new) & ~(better & _neighbourhood(flips, shape))
    slope = jnp.where((better & ~measured)[:, None], slope, now.slope)
    rejected = jnp.where(count > 2, count // 2, 3 - jnp.minimum(now.limit[:, None], 2))
    limit = jnp.where(better, jnp.minimum(2 * count, MOST_FLIPS), rejected)
    begun = [first & (count == 1), first & (count <= 2) & (now.limit > 1)[:, None]]
    tabu = (now.tabu | jnp.stack(begun, axis=1)) & ~(better | begins)[:, None]
    return Search(
        jnp.where(better, candidate, now.pores),
        jnp.where(better, y, now.y),
        jnp.where(new[:, None], secant, slope),
        measured,
        jnp.where(better[:, 0], error, now.error),
        jnp.where(begins, FIRST_FLIPS, limit)[:, 0].astype(jnp.int32),
        tabu,
        now.spent + 1,
    )


def _neighbourhood(flips: Array, shape: tuple[int, ...]) -> Array:
    """Return the flipped sites and their neighbours, [batch, sites]."""
    lattice = flips.reshape(-1, *shape)
    reached = lattice
    for axis in range(1, lattice.ndim):
        reached |= jnp.roll(lattice, 1, axis) | jnp.roll(lattice, -1, axis)
    return reached.reshape(flips.shape)


def flipped_unknowns(x: Array, pores: Array, margin: float) -> Array:
    """Return x with the signs of a binary matrix: `margin` beyond zero where a sign changes."""
    goal = jnp.where(pores > 0, margin, -margin).astype(x.dtype)
    return jnp.where((x > 0) == (pores > 0), x, goal)

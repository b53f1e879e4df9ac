"""Selection of flips of sites by the linear model of the isotherm."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

PAIRED = 32
"""Number of sites, those of the least predicted error, for which a partner is searched."""

CAUTION = 0.2
"""Predicted error added to a flip per unit of its mean |dy/deta|: predictions of large effects are
the least accurate. A measured effect needs no caution."""


class Search(NamedTuple):
    """State of the search from each matrix of a batch."""

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
    [batch, 2, sites], bool."""
    spent: Array
    """Trials made [batch], int32."""


def signs(pores: Array) -> Array:
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


def best_flips(
    now: Search, target: Array, penalty_after: Callable[[Array], Array | float]
) -> tuple[Array, Array]:
    """Select up to `limit` sites whose flips together have the least predicted error.

    Returns the sites and the first of them, masks [batch, sites]. One site or pair is selected even
    if it is not predicted to help.
    """
    effects = now.slope * signs(now.pores)[:, None]
    caution = CAUTION * jnp.mean(jnp.abs(effects), axis=1) * ~now.measured
    prediction = _Prediction(now.pores, effects, caution, penalty_after)
    paired = (now.limit == 2)[:, None]
    pair = _best_pair(prediction, now.y - target, now.tabu[:, 1])
    group = _greedy_group(prediction, now, target)
    return jnp.where(paired, pair[0], group[0]), jnp.where(paired, pair[1], group[1])


def _greedy_group(prediction: _Prediction, now: Search, target: Array) -> tuple[Array, Array]:
    """Add the best site to those selected while that reduces the predicted error."""
    sites = jnp.arange(now.pores.shape[1])

    def add_site(state: tuple[Array, ...]) -> tuple[Array, ...]:
        count, flips, first, residual, error, _ = state
        after = prediction.error_after(residual, flips)
        after = jnp.where(now.tabu[:, 0] & (count == 0), jnp.inf, after)
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

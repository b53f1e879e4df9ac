"""Diagnostics of the spectral family: the entries of info, and the remark on the end of a run."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from physopt.optimizers.spectral.directions import Solution
from physopt.rule import Info

ROUNDING_ERROR = 1e-3
"""Relative error of the smallest singular values kept above which the plan warns."""


def diagnostics(solution: Solution) -> Info:
    """Return the scalars of a direction that the curve records.

    dropped: directions of J below the cutoff or the noise of the Gram matrix.
    """
    spectrum = solution.spectrum
    size = sum(leaf.size for leaf in jax.tree.leaves(solution.direction))
    # Not an integer: those are counts, which are summed over updates.
    rank = spectrum.rank.astype(solution.gradient_norm.dtype)
    return {
        "grad_norm": solution.gradient_norm,
        "cosine": solution.cosine,
        "rank": rank,
        "dropped": min(spectrum.coefficients.size, size) - rank,
        "smallest": spectrum.smallest,
        "largest": spectrum.largest,
        **{f"quartile_{i + 1}": value for i, value in enumerate(spectrum.quartiles)},
        **solution.extra,
    }


def joined(info: Info, more: Info) -> Info:
    """Merge two infos; entries of both are added."""
    both = {name: info[name] + more[name] for name in info.keys() & more.keys()}
    return {**info, **more, **both}


def remark(rejected: int, means: Mapping[str, float]) -> str | None:
    """Return the remark on the end of a run.

    rejected: updates since the last accepted step; means: of info since the last evaluation.
    """
    parts = []
    if rejected:
        parts.append(f"no step accepted for {rejected} updates")
    rank, dropped = means.get("rank", 0.0), means.get("dropped", 0.0)
    if dropped >= 0.5:  # not if the rank is unknown, NaN
        parts.append(f"{dropped:.0f} of {rank + dropped:.0f} directions below the noise or cutoff")
    return "; ".join(parts) or None


def rounding_warning(smallest: float, dtype: DTypeLike) -> str:
    """Warn if a precision does not resolve singular values of `smallest` times the largest.

    Rounding perturbs J by eps max(s), hence singular values s near tau max(s) by eps / tau.
    """
    error = float(jnp.finfo(dtype).eps) / max(smallest, 1e-12)
    if error < ROUNDING_ERROR:
        return ""
    return (
        f". Warning: {dtype} resolves singular values of {smallest:g} of the largest "
        f"to {100 * min(error, 1):.2g} % only; a larger tau or dtype=float64 helps"
    )

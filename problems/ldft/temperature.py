"""Isotherms at a temperature per matrix, and the isosteric heat of sorption.

In the variables rho' = b rho and eta' = b eta, b = w_ff / kT, the mean-field equation on a lattice
of d dimensions is that of a fluid with b = 1,

    rho'_i = eta'_i sigmoid(ln h - d + d (2 y - 1) b + sum_j rho'_j - y sum_j eta'_j),

y = w_mf / w_ff: the temperature scales the pore fractions and shifts the chemical potential of the
whole matrix by d (2 y - 1) (b - 1). One solver therefore serves all temperatures of a batch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.core import Tracer
from jax.typing import ArrayLike

from physopt.problems.ldft.equilibrium import Settings, equilibrium, filling_jacobian
from physopt.problems.ldft.isotherm import IsothermOptions, per_pore, solver_settings
from physopt.problems.ldft.lattice import BOLTZMANN_CONSTANT, WATER

SMALLEST = 1e-6
"""Distance from 0 and 1 to which uptakes are clipped before their logarithm is taken."""


class _Reduced(NamedTuple):
    """Matrices in the variables in which the coupling is 1."""

    settings: Settings
    rows: Array
    """b eta in storage order [batch, sites]."""
    shift: Array
    """Shift of the chemical potential, in units of kT, [batch, 1]."""
    scale: Array
    """b [batch, 1]."""


def isotherm_at(pores: Array, temperatures: Array, **options: Unpack[IsothermOptions]) -> Array:
    """Uptake y(h) of porous matrices, each at its own temperature; see `isotherm`.

    The relative humidity h is the vapour pressure over that of saturation at the same temperature.
    The derivative is that with respect to the pore fractions; no derivative with respect to the
    temperature is propagated.

    Args:
        pores: pore fractions eta in [0, 1], [batch, n, n] or [batch, n, n, n].
        temperatures: temperatures in K, [batch].
        options: those of `isotherm`. The temperature of `fluid` is not used; the tolerance is that
            of b rho, b = 2 T_c / (d T), which is 2.2 in 2D and 1.4 in 3D at room temperature.

    Returns:
        y [batch, points], with desorption [batch, 2 points].

    Raises:
        ValueError: as `isotherm`; temperatures of another shape, or not positive.
    """
    reduced = _reduced(pores, temperatures, options)
    state = equilibrium(reduced.settings, False, reduced.rows, reduced.shift)
    return per_pore(state.filling, reduced.rows.sum(-1, keepdims=True))


def isotherm_at_and_jacobian(
    pores: Array, temperatures: Array, **options: Unpack[IsothermOptions]
) -> tuple[Array, Array]:
    """Uptake y [batch, points] and dy/deta [batch, points, *lattice]; see `isotherm_at`."""
    settings, rows, shift, scale = _reduced(pores, temperatures, options)
    state = equilibrium(settings, False, rows, shift)
    total = rows.sum(-1, keepdims=True)
    uptake = per_pore(state.filling, total)
    activity = settings.activity(rows.dtype)
    response = filling_jacobian(settings, rows, state.density, activity, shift)
    jacobian = scale[..., None] * per_pore(response - uptake[..., None], total[..., None])
    return uptake, settings.lattice.unflatten(jacobian)


def _reduced(pores: Array, temperatures: ArrayLike, options: IsothermOptions) -> _Reduced:
    pores, temperatures = jnp.asarray(pores), jnp.asarray(temperatures)
    fluid, dimensions = options.get("fluid", WATER), options["dimensions"]
    unit = 2 * fluid.critical_temperature / dimensions  # the temperature at which b = 1
    reference = IsothermOptions({**options, "fluid": replace(fluid, temperature=unit)})
    settings = solver_settings(pores, **reference)
    if temperatures.shape != pores.shape[:1]:
        raise ValueError(f"temperatures must be {pores.shape[:1]}, got {temperatures.shape}")
    if not isinstance(temperatures, Tracer) and not np.all(np.asarray(temperatures) > 0):
        raise ValueError("temperatures must be positive")
    scale = lax.stop_gradient(unit / temperatures.astype(pores.dtype))[:, None]
    shift = dimensions * (2 * fluid.interaction_ratio - 1) * (scale - 1)
    return _Reduced(settings, scale * settings.lattice.flatten(pores), shift, scale)


def isosteric_heat(
    uptake: Array, temperatures: Array, humidities: ArrayLike, loadings: ArrayLike
) -> Array:
    """Net isosteric heat of sorption q in kcal/mol from isotherms at two temperatures.

    The equation of Clausius and Clapeyron between T_1 and T_2 at equal uptake,

        q = -k d ln h / d(1/T) = k T_1 T_2 / (T_2 - T_1) (ln h_2 - ln h_1),

    is the heat released over that of condensation, 2 k T_c in this model, because h is relative to
    saturation. ln h is interpolated linearly in ln(y / (1 - y)), which is exact for equal sites
    without interaction; a loading that an isotherm does not reach counts as reached at its first
    or last humidity.

    Args:
        uptake: isotherms of adsorption [batch, 2, points], without the point at h = 0.
        temperatures: T_1 and T_2 in K [batch, 2], which must differ.
        humidities: relative humidities [points].
        loadings: uptakes at which q is evaluated [n].

    Returns:
        q [batch, n].
    """
    logarithms, loadings = (jnp.asarray(a, uptake.dtype) for a in (np.log(humidities), loadings))

    def logit(y: Array) -> Array:
        y = jnp.clip(y, SMALLEST, 1 - SMALLEST)
        return jnp.log(y / (1 - y))

    def at_loadings(curve: Array) -> Array:
        return jnp.interp(logit(loadings), logit(curve), logarithms)

    log_humidity = jax.vmap(jax.vmap(at_loadings))(uptake)
    inverse = 1 / temperatures
    slope = (log_humidity[:, 1] - log_humidity[:, 0]) / (inverse[:, 1] - inverse[:, 0])[:, None]
    return -BOLTZMANN_CONSTANT * slope

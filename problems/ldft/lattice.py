"""The lattice fluid: constants, mean-field equation and grand potential.

Water in a porous matrix on a periodic square or cubic lattice, in the mean-field lattice density
functional theory of H. Liu et al., npj Computational Materials 9, 121 (2023).
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import reduce

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

BOLTZMANN_CONSTANT = 0.0019872041
"""Boltzmann constant in kcal/(mol K)."""


@dataclass(frozen=True)
class Fluid:
    """Lattice fluid with nearest-neighbour attraction; energies in kcal/mol, temperatures in K.

    The mean-field critical temperature T_c determines the attraction on a lattice with c neighbours
    per site: w_ff = 4 k T_c / c and mu_sat = -2 k T_c. interaction_ratio is w_mf / w_ff, the
    attraction by a solid site over that by a filled one; above 1/2 the solid is hydrophilic.
    The defaults are water at room temperature.
    """

    temperature: float = 298.0
    critical_temperature: float = 647.0
    interaction_ratio: float = 1.5

    @property
    def thermal_energy(self) -> float:
        """Thermal energy kT in kcal/mol."""
        return BOLTZMANN_CONSTANT * self.temperature

    @property
    def saturation_potential(self) -> float:
        """Chemical potential at saturation, mu_sat = -2 k T_c, in kcal/mol."""
        return -2.0 * BOLTZMANN_CONSTANT * self.critical_temperature

    def fluid_attraction(self, dimensions: int) -> float:
        """Energy of a pair of filled neighbour sites, w_ff = 4 k T_c / (2 d), in kcal/mol."""
        return 2.0 * BOLTZMANN_CONSTANT * self.critical_temperature / dimensions

    def solid_attraction(self, dimensions: int) -> float:
        """Energy of a filled site next to a solid one, w_mf, in kcal/mol."""
        return self.interaction_ratio * self.fluid_attraction(dimensions)

    def coupling(self, dimensions: int) -> float:
        """Dimensionless attraction w_ff / kT."""
        return self.fluid_attraction(dimensions) / self.thermal_energy

    def chemical_potential(self, humidity: ArrayLike) -> Array:
        """Chemical potential mu_sat + kT ln h in kcal/mol; -inf at h = 0."""
        return self.saturation_potential + self.thermal_energy * jnp.log(humidity)


WATER = Fluid()


def neighbour_sum(x: Array, dimensions: int) -> Array:
    """Sum over the 2 d nearest neighbours on a periodic lattice: the last d axes of x."""
    axes = range(-dimensions, 0)
    return reduce(operator.add, (jnp.roll(x, shift, a) for a in axes for shift in (1, -1)))


def matrix_field(pores: Array, dimensions: int, fluid: Fluid) -> Array:
    """Dimensionless attraction by the solid, beta w_mf sum_j (1 - eta_j): [..., n, n]."""
    strength = fluid.interaction_ratio * fluid.coupling(dimensions)
    return strength * neighbour_sum(1 - pores, dimensions)


def log_activity(humidity: ArrayLike, fluid: Fluid) -> Array:
    """Dimensionless chemical potential beta mu = ln h - 2 T_c / T; -inf at h = 0."""
    return jnp.log(humidity) - 2.0 * fluid.critical_temperature / fluid.temperature


def sweep(density: Array, pores: Array, field: Array, dimensions: int, fluid: Fluid) -> Array:
    """One plain (Picard) sweep of the mean-field equation; density, pores and field [..., n, n].

    rho_i <- eta_i sigmoid(v_i),  v_i = field_i + beta w_ff sum_j rho_j, with the field the sum of
    `matrix_field` and `log_activity`.
    """
    attraction = fluid.coupling(dimensions) * neighbour_sum(density, dimensions)
    return pores * jax.nn.sigmoid(field + attraction)


def grand_potential(
    density: Array,
    pores: Array,
    humidity: ArrayLike,
    *,
    dimensions: int,
    fluid: Fluid = WATER,
    occupancy: bool = False,
) -> Array:
    """Grand potential Omega of a density profile, in kcal/mol, summed over the lattice.

    Omega = kT sum_i [rho ln rho + (eta - rho) ln(eta - rho) - eta ln eta]
            - w_ff sum_<ij> rho_i rho_j - w_mf sum_i rho_i sum_j (1 - eta_j) - mu sum_i rho_i

    with each pair <ij> counted once. It is evaluated in the occupancy s = rho / eta, where the
    bracket is eta [s ln s + (1 - s) ln(1 - s)]: finite, with finite derivatives in s and eta, at
    solid sites. It decreases along plain sweeps and is stationary in s at a fixed point.

    Args:
        density: water density rho [..., n, n] or [..., n, n, n], 0 <= rho <= eta; or the
            occupancy s itself, in [0, 1], with occupancy=True: the form to differentiate.
        pores: pore fractions eta in [0, 1], of the same shape.
        humidity: relative humidity h > 0, broadcast against the leading axes.
        dimensions: 2 or 3, the number of lattice axes.
        fluid: temperatures and attraction.
        occupancy: whether `density` holds s = rho / eta.

    Returns:
        Omega [...].

    Source: H. Liu et al., npj Computational Materials 9, 121 (2023).
    """
    axes = tuple(range(-dimensions, 0))
    if occupancy:
        filling, density = density, density * pores
    else:
        filling = density / jnp.where(pores > 0, pores, 1)
    # x ln x is 0 at x = 0; the inner where keeps its derivative finite there.
    entropy = sum(x * jnp.log(jnp.where(x > 0, x, 1)) for x in (filling, 1 - filling))
    pair = fluid.fluid_attraction(dimensions) * neighbour_sum(density, dimensions) / 2
    solid = fluid.solid_attraction(dimensions) * neighbour_sum(1 - pores, dimensions)
    ideal = fluid.thermal_energy * (pores * entropy).sum(axes)
    potential = fluid.chemical_potential(humidity)
    return ideal - (density * (pair + solid)).sum(axes) - potential * density.sum(axes)

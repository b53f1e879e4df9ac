"""The problem `ldft_mixture`: design by the isotherms of two vapours that compete for the pores."""

import dataclasses
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp

from physopt.options import Bounds, NonNegativeFloat, OptionError, PositiveFloat
from physopt.problems.ldft.mixture import Mixture, Settings, uptake, uptake_and_jacobian
from physopt.problems.ldft.paired import PairedDesign, PairLabels
from physopt.problems.ldft.tolerances import Tolerances

LARGEST_SHARE = 0.8
"""Largest share of a component in the vapour."""


@dataclasses.dataclass(frozen=True)
class LDFTMixture(PairedDesign):
    """Inverse design of porous matrices by the isotherms of two components of a vapour.

    rho_ai = eta_i exp(v_ai) / (1 + sum_c exp(v_ci)) with
    v_ai = beta (mu_a + sum_c w_ac sum_j rho_cj + w_am sum_j (1 - eta_j)), along a path of
    proportional relative pressures h_1 = s h, h_2 = (1 - s) h at h = 1/points, ..., 1. The share s
    of each sample is uniform in [0.2, 0.8] and an input of the network. y [batch, 2 points] holds
    y_1(h), then y_2(h), y_a = sum_i rho_ai / sum_i eta_i; targets are those of random matrices.
    area_percent is 100 mean |y - y*|; composition_percent is 100 mean_h |z - z*|, z =
    y_1 / (y_1 + y_2) the share of the first component in the pores. Each point is reached from the
    one before, starting from an empty matrix. The lattice has an even side.

    Source: the outlook of H. Liu et al., npj Computational Materials 9, 121 (2023). The components,
    water and ethanol by their critical temperatures, and all ratios are our own choice.
    """

    temperature: PositiveFloat = 298.0
    """Temperature in kelvin."""

    critical_temperatures: tuple[PositiveFloat, PositiveFloat] = (647.0, 514.0)
    """Critical temperatures of the pure components, in kelvin."""

    interaction_ratios: tuple[NonNegativeFloat, NonNegativeFloat] = (1.5, 1.2)
    """Attraction of each component by the solid over that by its own kind, w_am / w_aa."""

    mixing: NonNegativeFloat = 1.0
    """Attraction between unlike components over the geometric mean, w_12 / sqrt(w_11 w_22)."""

    size: Annotated[int, Bounds(2)] = 10
    """Sites along each side of the lattice, an even number."""

    target: ClassVar = ("area_percent", 3.0)
    conditions: ClassVar[int] = 1
    derived_metric: ClassVar = ("composition_percent", 100.0)
    labels: ClassVar = PairLabels(
        ("component 1", "component 2"),
        "uptake per pore volume",
        "share of component 1 in the pores",
        "relative pressure",
    )

    def __post_init__(self) -> None:
        """Check the side of the lattice."""
        super().__post_init__()
        if self.size % 2:
            reason = "must be even: sweeps need a chequerboard"
            raise OptionError(type(self), "size", self.size, reason)

    def pressures(self, conditions: jax.Array) -> jax.Array:
        """Return relative pressures [batch, points, 2] of conditions u in [-1, 1], [batch, 1]."""
        first = 0.5 + (LARGEST_SHARE - 0.5) * conditions
        shares = jnp.concatenate([first, 1 - first], axis=1)
        return shares[:, None] * jnp.asarray(self.humidities, conditions.dtype)[:, None]

    def isotherms(self, eta: jax.Array, conditions: jax.Array, tolerances: Tolerances) -> jax.Array:
        """Return y [batch, 2, points]."""
        y = uptake(self._settings(tolerances), eta, self.pressures(conditions))
        return jnp.moveaxis(y, 2, 1)

    def isotherms_and_jacobian(
        self, eta: jax.Array, conditions: jax.Array, tolerances: Tolerances
    ) -> tuple[jax.Array, jax.Array]:
        """Return y [batch, 2, points] and dy/deta [batch, 2, points, *lattice]."""
        settings = self._settings(tolerances)
        y, slope = uptake_and_jacobian(settings, eta, self.pressures(conditions))
        return jnp.moveaxis(y, 2, 1), jnp.moveaxis(slope, 2, 1)

    def derived(self, y: jax.Array, conditions: jax.Array) -> jax.Array:
        """Return the share of the first component in the pores, [batch, points]; 1/2 if empty."""
        total = y.sum(axis=1)
        return jnp.where(total > 0, y[:, 0] / jnp.where(total > 0, total, 1), 0.5)

    def captions(self, conditions: jax.Array) -> list[str]:
        """Return the share of the first component in each vapour in words."""
        first = 50 + 100 * (LARGEST_SHARE - 0.5) * conditions[:, 0]
        return [f"{share:.0f} % of 1 in the vapour" for share in first]

    def _settings(self, tolerances: Tolerances) -> Settings:
        mixture = Mixture(
            self.temperature, self.critical_temperatures, self.interaction_ratios, self.mixing
        )
        return Settings(self.dimensions, mixture, *tolerances)

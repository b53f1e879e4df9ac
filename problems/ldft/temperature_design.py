"""The problem `ldft_temperature`: design by isotherms at two temperatures, an input per sample."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from physopt.options import NonNegativeFloat, OptionError, PositiveFloat
from physopt.problems.ldft.isotherm import IsothermOptions
from physopt.problems.ldft.lattice import Fluid
from physopt.problems.ldft.paired import PairedDesign, PairLabels
from physopt.problems.ldft.temperature import isosteric_heat, isotherm_at, isotherm_at_and_jacobian
from physopt.problems.ldft.tolerances import Tolerances


@dataclasses.dataclass(frozen=True)
class LDFTTemperature(PairedDesign):
    """Inverse design of porous matrices by their sorption isotherms at two temperatures.

    rho_i = eta_i sigmoid((mu(h, T) + w_ff sum_j rho_j + w_mf sum_j (1 - eta_j)) / kT) at the
    temperatures T_1 < T_2 of each sample, both inputs of the network: T_1 is uniform in the lowest
    third of a range, T_2 in the highest. y [batch, 2 points] holds y(h, T_1), then y(h, T_2); the
    targets are those of random matrices. area_percent is 100 mean |y - y*|. heat_error is
    mean |q - q*| in kcal/mol at uptakes 0.1, ..., 0.9, with the net isosteric heat of sorption
    q = -k (d ln h / d(1/T)) at constant uptake, by the equation of Clausius and Clapeyron.

    Source: the outlook of H. Liu et al., npj Computational Materials 9, 121 (2023), for the lattice
    fluid; the range of temperatures is our own choice.
    """

    lowest_temperature: PositiveFloat = 280.0
    """Lowest temperature in kelvin."""

    highest_temperature: PositiveFloat = 340.0
    """Highest temperature in kelvin."""

    critical_temperature: PositiveFloat = 647.0
    """Critical temperature of the bulk fluid, in kelvin."""

    interaction_ratio: NonNegativeFloat = 1.5
    """Attraction of the solid over that of the fluid, w_mf / w_ff."""

    target: ClassVar = ("area_percent", 3.0)
    conditions: ClassVar[int] = 2
    derived_metric: ClassVar = ("heat_error", 1.0)
    labels: ClassVar = PairLabels(
        ("lower temperature", "higher temperature"),
        "water per pore volume",
        "net isosteric heat (kcal/mol)",
        "water per pore volume",
    )

    def __post_init__(self) -> None:
        """Check the range of temperatures."""
        super().__post_init__()
        if self.highest_temperature <= self.lowest_temperature:
            reason = f"must exceed lowest_temperature={self.lowest_temperature:g}"
            value = self.highest_temperature
            raise OptionError(type(self), "highest_temperature", value, reason)

    @property
    def derived_at(self) -> np.ndarray:
        """Uptakes at which isosteric heats are compared, 0.1, ..., 0.9."""
        return np.arange(1, 10) / 10

    def temperatures(self, conditions: jax.Array) -> jax.Array:
        """Return T_1 and T_2 in K of conditions u in [-1, 1], [batch, 2]."""
        lowest, width = self.lowest_temperature, self.highest_temperature - self.lowest_temperature
        centre = lowest + width * jnp.asarray([1 / 6, 5 / 6], conditions.dtype)
        return centre + width / 6 * conditions

    def isotherms(self, eta: jax.Array, conditions: jax.Array, tolerances: Tolerances) -> jax.Array:
        """Return y [batch, 2, points]."""
        matrices, temperatures = self._twice(eta, conditions)
        y = isotherm_at(matrices, temperatures, **self._options(tolerances))
        return y.reshape(len(eta), 2, -1)

    def isotherms_and_jacobian(
        self, eta: jax.Array, conditions: jax.Array, tolerances: Tolerances
    ) -> tuple[jax.Array, jax.Array]:
        """Return y [batch, 2, points] and dy/deta [batch, 2, points, *lattice]."""
        matrices, temperatures = self._twice(eta, conditions)
        options = self._options(tolerances)
        results = isotherm_at_and_jacobian(matrices, temperatures, **options)
        y, slope = (a.reshape(len(eta), 2, *a.shape[1:]) for a in results)
        return y, slope

    def derived(self, y: jax.Array, conditions: jax.Array) -> jax.Array:
        """Return the net isosteric heat at `derived_at` in kcal/mol, [batch, 9]."""
        return isosteric_heat(y, self.temperatures(conditions), self.humidities, self.derived_at)

    def captions(self, conditions: jax.Array) -> list[str]:
        """Return the temperatures of each sample in words."""
        return [f"{low:.0f} K and {high:.0f} K" for low, high in self.temperatures(conditions)]

    def _twice(self, eta: jax.Array, conditions: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.repeat(eta, 2, axis=0), self.temperatures(conditions).ravel()

    def _options(self, tolerances: Tolerances) -> IsothermOptions:
        return {
            "dimensions": self.dimensions,
            "spacing": 1 / self.points,
            "fluid": Fluid(
                critical_temperature=self.critical_temperature,
                interaction_ratio=self.interaction_ratio,
            ),
            "tolerance": tolerances.density,
            "linear_tolerance": tolerances.linear,
        }

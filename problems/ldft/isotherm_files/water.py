"""Saturation pressure of water."""

import math

CRITICAL_TEMPERATURE, CRITICAL_PRESSURE = 647.096, 22.064e6  # K, Pa
RANGE = (273.15, 373.15)  # K


def saturation_pressure(temperature: float) -> float:
    """Return the saturation pressure of liquid water in Pa at a temperature in K.

    ln(p/pc) = (Tc/T) (a1 t + a2 t^1.5 + a3 t^3 + a4 t^3.5 + a5 t^4 + a6 t^7.5), t = 1 - T/Tc.

    Raises ValueError outside 273.15 to 373.15 K.
    Source: W. Wagner, A. Pruss, J. Phys. Chem. Ref. Data 22, 783 (1993).
    """
    if not RANGE[0] <= temperature <= RANGE[1]:
        known = f"it is known from {RANGE[0]} to {RANGE[1]} K"
        raise ValueError(f"no saturation pressure of water at {temperature:g} K: {known}")
    t = 1 - temperature / CRITICAL_TEMPERATURE
    series = (
        -7.85951783 * t
        + 1.84408259 * t**1.5
        - 11.7866497 * t**3
        + 22.6807411 * t**3.5
        - 15.9618719 * t**4
        + 1.80122502 * t**7.5
    )
    return CRITICAL_PRESSURE * math.exp(series * CRITICAL_TEMPERATURE / temperature)

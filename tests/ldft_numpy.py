"""Lattice density functional theory in plain NumPy, float64: the reference of the tests.

A direct implementation of the equations, one matrix and one humidity at a time, independent of the
simulator's code and optimisations.
"""

import numpy as np

BOLTZMANN = 0.0019872041  # kcal/(mol K)


def neighbours(x):
    """Sum over nearest neighbours of a periodic lattice."""
    total = np.zeros_like(x)
    for axis in range(x.ndim):
        total += np.roll(x, 1, axis) + np.roll(x, -1, axis)
    return total


def relax(rho, eta, humidity, temperature=298.0, ratio=1.5, critical=647.0, tolerance=1e-13):
    """Plain sweeps until the mean change is below the tolerance."""
    kt = BOLTZMANN * temperature
    w_ff = 4 * BOLTZMANN * critical / (2 * eta.ndim)
    mu = -2 * BOLTZMANN * critical + (kt * np.log(humidity) if humidity > 0 else -np.inf)
    constant = mu + ratio * w_ff * neighbours(1 - eta)
    for _ in range(200_000):
        new = eta / (1 + np.exp(-(constant + w_ff * neighbours(rho)) / kt))
        change = np.abs(new - rho).mean()
        rho = new
        if change < tolerance:
            return rho
    raise RuntimeError("not converged")


def isotherm(eta, humidities, desorption=False, **physics):
    """Uptake of one matrix: humidities in sequence, each from the density of the previous one."""
    eta = np.asarray(eta, float)
    total = eta.sum()
    points = list(humidities)
    if desorption:
        points += [*points[-2::-1], 0.0]
    rho, uptake = np.zeros_like(eta), []
    for humidity in points:
        rho = relax(rho, eta, humidity, **physics)
        uptake.append(rho.sum() / total if total > 0 else 0.0)
    return np.array(uptake)

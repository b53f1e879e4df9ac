"""Levenberg-Marquardt on the nonlinear regression sets of NIST StRD, beside MINPACK's.

Data, starts and certified parameters: National Institute of Standards and Technology, Statistical
Reference Datasets, https://www.itl.nist.gov/div898/strd/ (public domain).
"""

import dataclasses
import json
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.optimize import least_squares

from physopt import Batch, Problem
from physopt.optimizers.levenberg_marquardt import LevenbergMarquardt
from physopt.training.per_sample import PerSample, build_unknowns

SETS = json.loads((Path(__file__).parents[1] / "data" / "nist_strd.json").read_text())
UPDATES = 1000
DIGITS = 4.0


def saturating(b, x, m):
    return b[0] * (1 - m.exp(-b[1] * x))


def decaying(b, x, m):
    return m.exp(-b[0] * x) / (b[1] + b[2] * x)


def exponentials(b, x, m):
    return sum(b[i] * m.exp(-b[i + 1] * x) for i in (0, 2, 4))


def peaks(b, x, m):
    bells = (b[i] * m.exp(-((x - b[i + 1]) ** 2) / b[i + 2] ** 2) for i in (2, 5))
    return b[0] * m.exp(-b[1] * x) + sum(bells)


def quadratics(b, x, m):
    return (b[0] + b[1] * x + b[2] * x**2) / (1 + b[3] * x + b[4] * x**2)


def cubics(b, x, m):
    above = b[0] + b[1] * x + b[2] * x**2 + b[3] * x**3
    return above / (1 + b[4] * x + b[5] * x**2 + b[6] * x**3)


def cycles(b, x, m):
    def cycle(period, cosine, sine):
        phase = 2 * np.pi * x / period
        return cosine * m.cos(phase) + sine * m.sin(phase)

    return b[0] + cycle(12, b[1], b[2]) + cycle(b[3], b[4], b[5]) + cycle(b[6], b[7], b[8])


MODELS = {
    "Bennett5": lambda b, x, m: b[0] * (b[1] + x) ** (-1 / b[2]),
    "BoxBOD": saturating,
    "Chwirut1": decaying,
    "Chwirut2": decaying,
    "DanWood": lambda b, x, m: b[0] * x ** b[1],
    "ENSO": cycles,
    "Eckerle4": lambda b, x, m: b[0] / b[1] * m.exp(-0.5 * ((x - b[2]) / b[1]) ** 2),
    "Gauss1": peaks,
    "Gauss2": peaks,
    "Gauss3": peaks,
    "Hahn1": cubics,
    "Kirby2": quadratics,
    "Lanczos1": exponentials,
    "Lanczos2": exponentials,
    "Lanczos3": exponentials,
    "MGH09": lambda b, x, m: b[0] * (x**2 + x * b[1]) / (x**2 + x * b[2] + b[3]),
    "MGH10": lambda b, x, m: b[0] * m.exp(b[1] / (x + b[2])),
    "MGH17": lambda b, x, m: b[0] + b[1] * m.exp(-x * b[3]) + b[2] * m.exp(-x * b[4]),
    "Misra1a": saturating,
    "Misra1b": lambda b, x, m: b[0] * (1 - (1 + b[1] * x / 2) ** -2.0),
    "Misra1c": lambda b, x, m: b[0] * (1 - (1 + 2 * b[1] * x) ** -0.5),
    "Misra1d": lambda b, x, m: b[0] * b[1] * x / (1 + b[1] * x),
    "Nelson": lambda b, x, m: b[0] - b[1] * x[0] * m.exp(-b[2] * x[1]),
    "Rat42": lambda b, x, m: b[0] / (1 + m.exp(b[1] - b[2] * x)),
    "Rat43": lambda b, x, m: b[0] / (1 + m.exp(b[1] - b[2] * x)) ** (1 / b[3]),
    "Roszman1": lambda b, x, m: b[0] - b[1] * x - m.arctan(b[2] / (x - b[3])) / np.pi,
    "Thurber": cubics,
}
"""y(b, x), with m = numpy or jax.numpy; of Nelson, log y."""


def observed(name):
    """Return x, y, both starts and the certified parameters."""
    data = {key: np.asarray(value, float) for key, value in SETS[name].items()}
    x = data["x"] if len(data["x"]) > 1 else data["x"][0]
    y = np.log(data["y"]) if name == "Nelson" else data["y"]
    return x, y, data["starts"], data["certified"]


@dataclasses.dataclass(frozen=True)
class Regression(Problem):
    """One data set; a sample is a start, and its unknowns are the parameters b."""

    name: str = "Misra1a"

    def sample(self, keys):
        _, y, starts, _ = observed(self.name)
        return Batch(jnp.asarray(starts), jnp.asarray(np.tile(y, (len(starts), 1))))

    def simulate(self, x, batch):
        points = jnp.asarray(observed(self.name)[0])
        return jax.vmap(lambda b: MODELS[self.name](b, points, jnp))(x)


def solve(name, rule=LevenbergMarquardt()):
    """Return the parameters [start, P] at which the rule has converged, and the updates made."""
    problem, every = Regression(name), PerSample(rule)
    batch = problem.sample(None).at(0.0)
    objective, params = build_unknowns(problem, batch.inputs)
    key = jax.random.key(0)

    def body(carry):
        params, state, count = carry
        updates, state, _ = every.update(objective, params, state, batch, key)
        return optax.apply_updates(params, updates), state, count + 1

    def unfinished(carry):
        return ~every.converged(carry[1]) & (carry[2] < UPDATES)

    begin = (params, every.init(objective, params, key), 0)
    params, _, count = jax.jit(lambda carry: jax.lax.while_loop(unfinished, body, carry))(begin)
    return np.asarray(objective.predict(params, batch.inputs)), int(count)


def reference(name):
    """Return the parameters [start, P] of MINPACK's Levenberg-Marquardt."""
    x, y, starts, _ = observed(name)

    def residual(b):
        value = MODELS[name](b, x, np) - y
        return np.where(np.isfinite(value), value, 1e100)

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return np.array([
            least_squares(
                residual, start, method="lm", x_scale="jac", max_nfev=20_000,
                ftol=1e-14, xtol=1e-14, gtol=1e-14,
            ).x
            for start in starts
        ])  # fmt: skip


def digits(name, parameters):
    """Return the number of certified digits of the least accurate parameter, [start]."""
    certified = observed(name)[3]
    with np.errstate(all="ignore"):
        return -np.log10(np.max(np.abs(parameters / certified - 1), axis=1) + 1e-16)


def test_nist_data_sets():
    with jax.enable_x64(True):
        ours = {name: digits(name, solve(name)[0]) for name in MODELS}
    minpack = {name: digits(name, reference(name)) for name in MODELS}
    assert set(MODELS) == set(SETS)
    certified = sum(np.sum(value >= DIGITS) for value in ours.values())
    failed = {name: value for name, value in ours.items() if np.any(value < DIGITS)}
    assert certified >= 50, failed
    assert certified >= sum(np.sum(value >= DIGITS) for value in minpack.values()) - 1, failed

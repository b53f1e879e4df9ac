"""Levenberg-Marquardt on the nonlinear regression sets of NIST StRD, beside MINPACK's.

Data, starts and certified parameters: National Institute of Standards and Technology, Statistical
Reference Datasets, https://www.itl.nist.gov/div898/strd/ (public domain).
"""

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.optimize import least_squares

from physopt import Batch, Problem
from physopt.optimizers.levenberg_marquardt import LevenbergMarquardt
from physopt.training.per_sample import build_unknowns

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
    """A model whose unknowns are its parameters b; extra holds x and the weights of the points."""

    model: str = "Misra1a"

    def sample(self, keys):
        raise NotImplementedError

    def simulate(self, x, batch):
        points, weights = batch.extra
        return weights * jax.vmap(partial(MODELS[self.model], m=jnp))(x, points)


def padded(name, start, size):
    """Return a batch of one start, with points of weight 0 up to a size."""
    x, y, starts, _ = observed(name)
    missing = size - len(y)
    x, y = (np.pad(v, [(0, 0)] * (v.ndim - 1) + [(0, missing)], mode="edge") for v in (x, y))
    weights = (np.arange(size) < size - missing).astype(float)
    arrays = starts[start], weights * y, (x, weights)
    return Batch(*jax.tree.map(lambda v: jnp.asarray(v)[None], arrays)).at(0.0)


def solve(model):
    """Return {name: (parameters [start, P], updates [start])} where the rule has converged.

    Data sets with one model share a program.
    """
    problem, rule, key = Regression(model), LevenbergMarquardt(), jax.random.key(0)
    names = [name for name in MODELS if MODELS[name] is MODELS[model]]
    size = max(len(SETS[name]["y"]) for name in names)

    def body(carry):
        objective, params, state, batch, count = carry
        updates, state, _ = rule.update(objective, params, state, batch, key)
        return objective, optax.apply_updates(params, updates), state, batch, count + 1

    def unfinished(carry):
        return ~rule.converged(carry[2]) & (carry[4] < UPDATES)

    run = jax.jit(lambda carry: jax.lax.while_loop(unfinished, body, carry))

    def one(name, start):
        batch = padded(name, start, size)
        objective, params = build_unknowns(problem, batch.inputs)
        _, params, _, _, count = run(
            (objective, params, rule.init(objective, params, key), batch, 0)
        )
        return np.asarray(jax.tree.leaves(params)[0][0]), int(count)

    ends = {name: zip(*(one(name, start) for start in range(2)), strict=True) for name in names}
    return {name: tuple(map(np.array, end)) for name, end in ends.items()}


def reference(name):
    """Return the parameters [start, P] of MINPACK's Levenberg-Marquardt with exact derivatives."""
    x, y, starts, _ = observed(name)

    def residual(b):
        value = MODELS[name](b, x, np) - y
        return np.where(np.isfinite(value), value, 1e100)

    def derivative(b):  # by complex steps
        steps = b + 1e-100j * np.eye(len(b))
        columns = np.stack([MODELS[name](step, x, np).imag / 1e-100 for step in steps], axis=1)
        return np.where(np.isfinite(columns), columns, 0)

    options: dict[str, Any] = {"jac": derivative, "method": "lm", "x_scale": "jac"}
    tolerances = dict.fromkeys(("ftol", "xtol", "gtol"), 1e-14)
    with np.errstate(all="ignore"):
        return np.array([
            least_squares(residual, start, max_nfev=20_000, **options, **tolerances).x
            for start in starts
        ])  # fmt: skip


def digits(name, parameters):
    """Return the number of certified digits of the least accurate parameter, [start]."""
    certified = observed(name)[3]
    with np.errstate(all="ignore"):
        return -np.log10(np.max(np.abs(parameters / certified - 1), axis=1) + 1e-16)


def test_nist_data_sets():
    assert set(MODELS) == set(SETS)
    models = {model: name for name, model in reversed(MODELS.items())}
    with jax.enable_x64(True):
        solved = {k: v for name in models.values() for k, v in solve(name).items()}
    ours = {name: digits(name, solved[name][0]) for name in MODELS}
    minpack = {name: digits(name, reference(name)) for name in MODELS}
    certified, of_minpack = (
        sum(np.sum(value >= DIGITS) for value in each.values()) for each in (ours, minpack)
    )
    failed = {name: value for name, value in ours.items() if np.any(value < DIGITS)}
    assert certified >= 50, failed
    assert certified >= of_minpack - 1, (of_minpack, failed)

"""Nonlinear regression sets of NIST StRD, as problems without a network.

Data, starts and certified parameters: National Institute of Standards and Technology, Statistical
Reference Datasets, https://www.itl.nist.gov/div898/strd/ (public domain).
"""

import dataclasses
import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from physopt import Batch, Problem

SETS = json.loads((Path(__file__).parent / "data" / "nist_strd.json").read_text())


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


def digits(name, parameters):
    """Return the number of certified digits of the least accurate parameter, [start]."""
    certified = observed(name)[3]
    with np.errstate(all="ignore"):
        return -np.log10(np.max(np.abs(parameters / certified - 1), axis=1) + 1e-16)

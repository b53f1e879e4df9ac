"""The relative L2 error over a set, the figure of merit of the field problems."""

from functools import partial

import jax
import numpy as np
import pytest

from physopt.config.registry import find
from physopt.objective import build
from physopt.training.measuring import measurements, set_metrics

CASES = {
    "poisson": ("x_relative_l2", lambda x, y, batch: (x, batch.extra)),
    "heat": ("x_relative_l2", lambda x, y, batch: (x, batch.extra)),
    "burgers": ("final_relative_l2", lambda x, y, batch: (y[:, 0], batch.target[:, 0])),
    "burgers_supervised": ("force_relative_l2", lambda x, y, batch: (x, batch.target)),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_norm_of_the_error_over_the_norm_of_the_truth(name):
    metric, fields = CASES[name]
    cls = find("problem", name)
    problem = cls(**cls.tiny)
    batch = problem.sample(jax.random.split(jax.random.key(0), 5)).at(1.0)
    objective, params = build(problem, "default", 0)
    x = jax.jit(objective.predict)(params, batch.inputs)
    field, true = (np.asarray(a, np.float64) for a in fields(x, problem.simulate(x, batch), batch))
    expected = np.sqrt(np.sum((field - true) ** 2) / np.sum(true**2))
    measured = jax.device_get(jax.jit(partial(measurements, problem))(x, batch))
    assert set_metrics(problem, measured.terms)[metric] == pytest.approx(expected, rel=1e-5)

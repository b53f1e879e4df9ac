"""Half-inverse gradients on LDFT by hand, runs/by_hand.py, against physopt's own.

Both get the same initial parameters and the same batches, in float64. They share no code: by_hand
uses plain sweeps, a dense linear solve and a singular value decomposition; physopt uses
extrapolated red-black sweeps, conjugate gradients and a Gram matrix.

Tolerance. An error dJ of the Jacobian changes the direction f(J) g, with f(s) = s^(-1/2) for
s >= tau max(s) and 0 below, by at most

    |dJ| |g| max over i, j of |f(s_i) - f(s_j)| / |s_i - s_j|,

largest across the cutoff. The bound is computed from the singular values of each update. physopt
solves the density to an estimated mean error of 1e-13 and its linear response to a relative
residual of 1e-10, so |dJ| <= 1e-9 max(s) leaves a factor of ten for the condition of that solve.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import physopt
from physopt.optimizers.spectral import HalfInverse
from physopt.problems.ldft.named import LDFT2D

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "runs"))

import by_hand  # noqa: E402

UPDATES, TAU, RATE, JACOBIAN_ERROR = 4, 0.1, 0.5, 1e-9
BOUND, MOMENTUM = 0.05, 0.9
CASES = {
    "plain": ({}, optax.scale(-RATE)),
    "bounded, with momentum": (
        {"max_step_norm": BOUND, "momentum": MOMENTUM},
        optax.chain(
            optax.scale(-RATE), optax.clip_by_global_norm(BOUND), optax.trace(MOMENTUM)
        ),
    ),
}


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(params=CASES)
def case(request, tmp_path):
    """Return a recorded run of physopt and the same optimiser in terms of optax."""
    options, optimizer = CASES[request.param]
    run = physopt.run(
        LDFT2D(size=4, hidden=(8,), tolerance=1e-13), HalfInverse(learning_rate=RATE, tau=TAU, **options),
        steps=UPDATES, log_every=1, batch_size=2, heldout_size=2, dtype="float64", out=tmp_path,
    )  # fmt: skip
    return run, optimizer


def plain(params):
    """Return physopt's parameters as by_hand has them."""
    layers = params["dense"]["layers"]
    return [(layers[k]["kernel"][...], layers[k]["bias"][...]) for k in (0, 1)]


def flat(params):
    return np.asarray(ravel_pytree(params)[0])


def sensitivity(params, targets, progress):
    """Return the bound of the module's docstring for |dJ| = max(s), and the direction's norm."""
    theta, unravel = ravel_pytree(params)

    def outputs(theta):
        return jnp.stack(
            [by_hand.isotherm(by_hand.matrix(unravel(theta), y, progress)) for y in targets]
        )

    jacobian = np.asarray(jax.jacrev(outputs)(theta)).reshape(targets.size, -1)
    g = np.asarray(outputs(theta) - targets).ravel() / len(targets)
    s = np.linalg.svd(jacobian, compute_uv=False)
    f = np.where(s >= TAU * s[0], s, np.inf) ** -0.5
    gaps = np.abs(s[:, None] - s) + np.where(f[:, None] == f, np.inf, 0)
    return s[0] * np.linalg.norm(g) * np.max(np.abs(f[:, None] - f) / gaps)


@pytest.mark.usefixtures("x64")
def test_directions_agree(case):
    """Both start each update from the parameters that physopt has reached."""
    run, _ = case
    setup, _ = run.best()
    params, state = setup.params, setup.rule.init(setup.objective, setup.params, setup.key)
    rule = HalfInverse(learning_rate=RATE, tau=TAU)
    update, compared = jax.jit(setup.rule.update), jax.jit(rule.update)
    for step in range(UPDATES):
        batch = setup.source.draw(jnp.int32(step)).at(step / UPDATES)
        found = compared(setup.objective, params, state, batch, setup.key)[0]
        arguments = plain(params), batch.target, step / UPDATES
        loss, direction = by_hand.half_inverse(*arguments, TAU)
        error = np.linalg.norm(flat(plain(found)) / -RATE - flat(direction))
        print(step, error, JACOBIAN_ERROR * sensitivity(*arguments), np.linalg.norm(flat(direction)))
        assert error <= JACOBIAN_ERROR * sensitivity(*arguments)
        steps, state, _ = update(setup.objective, params, state, batch, setup.key)
        params = optax.apply_updates(params, steps)


@pytest.mark.usefixtures("x64")
def test_a_run_agrees(case):
    run, optimizer = case
    setup, _ = run.best()
    params = plain(setup.params)
    state = optimizer.init(params)
    for step, row in enumerate(run.curve.iloc[1:].itertuples()):
        targets = setup.source.draw(jnp.int32(step)).target
        loss, direction = by_hand.half_inverse(params, targets, step / UPDATES, TAU)
        updates, state = optimizer.update(direction, state)
        params = optax.apply_updates(params, updates)
        print(row.train_loss/loss-1, row.update_norm/ optax.tree.norm(updates)-1)
    assert 0

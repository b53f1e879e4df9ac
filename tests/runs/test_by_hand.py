"""Half-inverse gradients on LDFT by hand, runs/by_hand.py, against physopt's own.

Both get the same initial parameters and the same batches, in float64. They share no code: by_hand
uses plain sweeps, a dense linear solve and a singular value decomposition; physopt uses
extrapolated red-black sweeps, conjugate gradients and a Gram matrix.

Tolerance. An error dJ of the Jacobian changes the direction f(J) r, with f(s) = s^(-1/2) for
s >= tau max(s) and 0 below, by at most

    |dJ| |r| max over i, j of |f(s_i) - f(s_j)| / |s_i - s_j|,

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

from physopt.machine.devices import cast
from physopt.objective import build
from physopt.optimizers.spectral import HalfInverse
from physopt.problems.ldft.named import LDFT2D
from physopt.training.data import training_source
from physopt.training.loop import compile_program, initial_carry

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "runs"))

import by_hand

UPDATES, RATE, TAU, LARGEST_STEP, MOMENTUM = 4, 0.3, 0.1, 0.05, 0.9
JACOBIAN_ERROR = 1e-9


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def by_hand_parameters(params):
    """Return physopt's parameters in by_hand's structure."""
    layers = params["dense"]["layers"]
    return [(jnp.copy(layers[k]["kernel"][...]), jnp.copy(layers[k]["bias"][...])) for k in (0, 1)]


def norm(tree):
    return float(optax.tree.norm(tree))


@jax.jit
def residual_and_jacobian(params, targets, progress):
    """Return r = (y - y*) / sqrt(b) [n] and dr/dtheta [n, P], by differentiating all at once."""
    theta, unravel = ravel_pytree(params)

    def residual(theta):
        predict = jax.vmap(lambda y: by_hand.isotherm(by_hand.matrix(unravel(theta), y, progress)))
        return (predict(targets) - targets).ravel() / len(targets) ** 0.5

    return residual(theta), jax.jacrev(residual)(theta)


def error_bound(params, targets, progress):
    """Return the bound of the module's docstring on the error of the direction."""
    r, jacobian = map(np.asarray, residual_and_jacobian(params, targets, progress))
    s = np.linalg.svd(jacobian, compute_uv=False)
    f = np.where(s >= TAU * s[0], s, np.inf) ** -0.5
    differences, gaps = np.abs(f[:, None] - f), np.abs(s[:, None] - s)
    largest = np.max(differences[differences > 0] / gaps[differences > 0])
    return JACOBIAN_ERROR * s[0] * np.linalg.norm(r) * largest


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("options", "largest_step", "momentum"),
    [
        ({}, np.inf, 0.0),
        ({"max_step_norm": LARGEST_STEP, "momentum": MOMENTUM}, LARGEST_STEP, MOMENTUM),
    ],
    ids=["plain", "bounded with momentum"],
)
def test_physopt_makes_the_same_updates(options, largest_step, momentum):
    problem = LDFT2D(size=4, hidden=(8,), targets="simulated", tolerance=1e-13)
    rule = HalfInverse(learning_rate=RATE, tau=TAU, **options)
    objective, params = cast(build(problem, "default", 0), "float64")
    source, key = training_source(problem, 0, 2, None), jax.random.key(0)
    carry = initial_carry(rule, objective, params, source, key)
    program = compile_program(rule, objective, carry, source, key)

    optimizer = optax.chain(
        optax.scale(-RATE), optax.clip_by_global_norm(largest_step), optax.trace(momentum)
    )
    state, bound, total_loss = optimizer.init(by_hand_parameters(params)), 0.0, 0.0
    for step in range(UPDATES):
        before = by_hand_parameters(carry.params)
        carry = program.call(carry, (1 / UPDATES, 0.0), 1)
        update = jax.tree.map(jnp.subtract, by_hand_parameters(carry.params), before)

        targets = source.draw(jnp.int32(step)).target
        loss, direction = by_hand.half_inverse(before, targets, step / UPDATES, TAU)
        expected, state = optimizer.update(direction, state)
        # A bound on the step does not enlarge an error; momentum adds those of earlier steps.
        bound = momentum * bound + RATE * error_bound(before, targets, step / UPDATES)
        assert bound < 1e-5 * norm(expected), "the tolerance is far below the update"
        assert norm(jax.tree.map(jnp.subtract, update, expected)) < bound
        total_loss += float(loss)
        np.testing.assert_allclose(carry.sums["loss"], total_loss, rtol=1e-11)


@pytest.mark.usefixtures("x64")
def test_training_reduces_the_error():
    options = {"size": 6, "hidden": 32, "steps": 30}
    untrained = by_hand.train(**{**options, "steps": 1}, learning_rate=1e-9)
    assert by_hand.train(**options) < 0.7 * untrained

"""Half-inverse gradients and Gauss-Newton against NumPy's singular value decomposition of J.

The reference builds J in float64 from the whole objective, independently of the library's methods.
Tolerances. A singular value s is determined by a float64 Gram matrix to 2e-16 (max(s) / s)^2; the
smallest one kept in these tests is 1e-3 max(s), which gives 2e-10; the bound is 1e-6. A float32
network rounds J by 6e-8 max(s), hence s by 6e-5, and directions by a multiple of that: 1e-3.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.flatten_util import ravel_pytree
from tiny import Tiny

from physopt.machine.devices import cast
from physopt.objective import build, flatten
from physopt.optimizers.spectral import GaussNewton, HalfInverse, SpectralPower
from physopt.optimizers.spectral.directions import Power, by_layers, by_rows
from physopt.optimizers.spectral.gauss_newton import HIGHEST, LOWEST, REJECTIONS
from physopt.training.per_sample import PerSample, build_unknowns

BATCH, TAU = 8, 1e-3
HALF_INVERSE = HalfInverse(tau=TAU, learning_rate=1.0)


@dataclasses.dataclass(frozen=True)
class Curved(Tiny):
    """y_k = s_k x_k + 0.3 sin(x_(k-1)): a nonlinear physics whose components are coupled."""

    size: int = 4

    def simulate(self, x, batch):
        return super().simulate(x, batch) + 0.3 * jnp.sin(jnp.roll(x, 1, axis=-1))


@dataclasses.dataclass(frozen=True)
class Sloped(Curved):
    """The same physics with a Jacobian of its own."""

    def linearize(self, x, batch):
        scales = jnp.diag(self.scales(x.dtype))
        behind = jnp.roll(jnp.eye(self.size, dtype=x.dtype), -1, axis=1)  # x_(k-1) in row k
        return self.simulate(x, batch), scales + 0.3 * behind * jnp.cos(x)[:, None, :]


def case(problem, dtype="float64", batch=BATCH):
    objective, params = build(problem, "default", seed=0)
    samples = problem.sample(jax.random.split(jax.random.key(1), batch)).at(0.0)
    return objective, *cast((params, samples), dtype)


def update(rule, objective, params, batch, state=None):
    state = rule.init(objective, params, jax.random.key(0)) if state is None else state
    return jax.jit(rule.update)(objective, params, state, batch, jax.random.key(0))


def flat(tree):
    return np.asarray(ravel_pytree(tree)[0], np.float64)


def reference(objective, params, batch):
    """Return J / sqrt(b) [n, P] and r = sqrt(b) dL/dy [n] in float64."""
    with jax.enable_x64(True):
        params, batch = cast((params, batch), "float64")
        vector, unravel = ravel_pytree(params)

        def outputs(vector):
            return flatten(objective.outputs(unravel(vector), batch)).ravel()

        _, g = objective.output_gradient(objective.outputs(params, batch), batch)
        root = np.sqrt(len(batch))
        return np.asarray(jax.jacrev(outputs)(vector)) / root, root * np.asarray(flatten(g).ravel())


def powered(j, r, kappa, tau=TAU, damping=0.0):
    """V f(S) U^T r with f the power cut off at tau max(s), or damped."""
    u, s, vt = np.linalg.svd(j, full_matrices=False)
    weights = np.where(s >= tau * s[0], s, np.inf) ** kappa
    if damping:
        weights = s * (s**2 + (damping * s[0]) ** 2) ** ((kappa - 1) / 2)
    return vt.T @ (weights * (u.T @ r))


def error(actual, expected):
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


METHODS = ["layerwise", "physics", "rows", "columns", "krylov"]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("problem", [Curved(), Sloped()], ids=["simulated", "linearized"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_the_direction(problem, method):
    arguments = case(problem)
    rule = HalfInverse(tau=TAU, method=method, krylov_steps=100, learning_rate=0.7)
    updates, _, info = update(rule, *arguments)
    expected = powered(*reference(*arguments), kappa=-0.5)
    assert error(flat(updates), -0.7 * expected) < 1e-6
    if problem == Sloped() and method != "layerwise":
        assert info["n_vjp"] == BATCH, "the physics is linearised once and never pulled back"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rule", [HALF_INVERSE, GaussNewton(tau=TAU, adaptive=False)])
def test_a_float32_network_keeps_the_direction(rule, method):
    arguments = case(Curved(), "float32")
    updates, _, _ = update(rule.replace(method=method, krylov_steps=100), *arguments)
    assert error(flat(updates), -powered(*reference(*arguments), rule.kappa)) < 1e-3


@pytest.mark.usefixtures("x64")
def test_kappa_1_is_the_gradient():
    objective, params, batch = case(Curved())
    updates, _, info = update(
        SpectralPower(kappa=1.0, tau=0.0, learning_rate=1.0), objective, params, batch
    )
    gradient = flat(jax.grad(objective.value)(params, batch))
    assert error(-flat(updates), gradient) < 1e-12
    np.testing.assert_allclose(info["cosine"], 1.0, rtol=1e-10)
    np.testing.assert_allclose(info["grad_norm"], np.linalg.norm(gradient), rtol=1e-10)


@pytest.mark.usefixtures("x64")
def test_kappa_minus_1_is_least_squares():
    arguments = case(Curved())
    updates, _, _ = update(GaussNewton(tau=TAU, adaptive=False), *arguments)
    j, r = reference(*arguments)
    # lstsq drops s <= rcond max(s), and its result has the least norm: the pseudo-inverse.
    assert error(-flat(updates), np.linalg.lstsq(j, r, rcond=TAU)[0]) < 1e-6


@pytest.mark.usefixtures("x64")
def test_options_of_the_spectrum():
    arguments = case(Curved())
    j, r = reference(*arguments)
    s = np.linalg.svd(j, compute_uv=False)
    rule = HALF_INVERSE
    updates, _, info = update(rule, *arguments)
    kept = s[s >= TAU * s[0]]
    assert int(info["rank"]) == len(kept)
    root = np.sqrt(BATCH)  # info and an absolute cutoff refer to J itself
    extremes = root * kept[[0, -1]]
    np.testing.assert_allclose([info["largest"], info["smallest"]], extremes, rtol=1e-6)
    direction, gradient = -flat(updates), j.T @ r
    cosine = direction @ gradient / np.linalg.norm(direction) / np.linalg.norm(gradient)
    np.testing.assert_allclose(info["cosine"], cosine, rtol=1e-8)

    damped, _, _ = update(rule.replace(damping=0.05), *arguments)
    assert error(-flat(damped), powered(j, r, -0.5, damping=0.05)) < 1e-8
    # Between the 9th and 10th singular value, so that rounding does not matter.
    cutoff = float(np.sqrt(s[8] * s[9]))
    absolute, _, info = update(rule.replace(tau=root * cutoff, absolute=True, beta=0.5), *arguments)
    assert int(info["rank"]) == 9
    expected = s[0] ** 0.5 * powered(j, r, -0.5, tau=cutoff / s[0])
    assert error(-flat(absolute), expected) < 1e-8


@pytest.mark.usefixtures("x64")
def test_momentum_bound_and_schedule():
    objective, params, batch = case(Curved())
    fixed = HalfInverse(learning_rate=0.05)
    plain, _, _ = update(fixed, objective, params, batch)
    size = np.linalg.norm(flat(plain))
    bounded = fixed.replace(max_step_norm=float(size) / 4, momentum=0.5)
    first, state, _ = update(bounded, objective, params, batch)
    second, _, _ = update(bounded, objective, params, batch, state)
    assert error(flat(first), flat(plain) / 4) < 1e-12
    assert error(flat(second), 1.5 * flat(plain) / 4) < 1e-12
    halfway, _, _ = update(fixed.replace(schedule="cosine"), objective, params, batch.at(0.5))
    assert error(flat(halfway), flat(plain) / 2) < 1e-7  # progress is float32


@pytest.mark.usefixtures("x64")
def test_pieces_of_rows_change_nothing():
    objective, params, batch = case(Curved())
    system = objective.linearised(params, batch, slope=False)
    power = Power(-0.5, TAU, False, 0.0, "float64")
    whole, pieces, layers = (
        flat(jax.jit(partial(way, system, power))().direction)
        for way in (by_rows, partial(by_rows, pieces=4), by_layers)
    )
    assert error(pieces, whole) < 1e-9
    assert error(layers, whole) < 1e-9


def test_gauss_newton_solves_a_linear_problem_in_one_step():
    problem = Tiny()
    batch = problem.sample(jax.random.split(jax.random.key(1), BATCH)).at(0.0)
    objective, x = build_unknowns(problem, jnp.zeros((BATCH, 3)))
    rule = PerSample(GaussNewton(adaptive=False))
    updates, _, _ = update(rule, objective, x, batch)
    solved = objective.predict(jax.tree.map(jnp.add, x, updates), batch.inputs)
    # Condition 10 in float32.
    np.testing.assert_allclose(problem.simulate(solved, batch), batch.target, atol=1e-5)


def test_adaptive_damping_trusts_a_model_that_is_right():
    problem = Tiny()
    batch = problem.sample(jax.random.split(jax.random.key(1), BATCH)).at(0.0)
    objective, x = build_unknowns(problem, jnp.zeros((BATCH, 3)))
    rule = PerSample(GaussNewton(adaptive=True, damping=0.2))
    _, state, info = update(rule, objective, x, batch)
    # The physics is linear and the loss quadratic: actual and predicted decrease are the same.
    np.testing.assert_allclose(state.state.damping, 0.1, rtol=1e-6)
    assert info["accepted"] == 1.0


def test_adaptive_damping_refuses_a_step_that_does_not_help():
    objective, params, batch = case(Curved(), "float32")
    rule = GaussNewton(adaptive=True, damping=0.01, learning_rate=1e4)
    updates, state, info = update(rule, objective, params, batch)
    assert not flat(updates).any()
    np.testing.assert_allclose(state.damping, 0.02, rtol=1e-6)
    assert state.rejected == 1
    assert 2.0**REJECTIONS * LOWEST > HIGHEST, "every damping has been tried"
    assert not rule.converged(state._replace(rejected=jnp.int32(REJECTIONS - 1)))
    assert rule.converged(state._replace(rejected=jnp.int32(REJECTIONS)))
    assert info["n_simulate"] == 3 * BATCH, "outputs, Gram matrix, and the loss after the step"
    with pytest.raises(ValueError, match="momentum"):
        GaussNewton(adaptive=True, momentum=0.9)


@dataclasses.dataclass(frozen=True)
class RankOne(Tiny):
    """Every output is the same sum."""

    def simulate(self, x, batch):
        return jnp.broadcast_to(jnp.sum(x, axis=-1, keepdims=True), x.shape)


@pytest.mark.parametrize("method", METHODS)
def test_a_jacobian_of_rank_one(method):
    objective, x = build_unknowns(RankOne(), jnp.zeros((1, 3)))
    batch = RankOne().sample(jax.random.split(jax.random.key(1), 1)).at(0.0)
    updates, _, info = update(GaussNewton(method=method, adaptive=False), objective, x, batch)
    # Each x takes a third of the mean of the targets.
    np.testing.assert_allclose(flat(updates), np.full(3, jnp.mean(batch.target) / 3), rtol=1e-5)
    assert info["rank"] == 1


@dataclasses.dataclass(frozen=True)
class Dead(Tiny):
    """A physics that does not respond."""

    def simulate(self, x, batch):
        return 0 * x


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "rule", [GaussNewton(adaptive=True), HalfInverse(absolute=True, beta=-1, max_step_norm=1.0)]
)
def test_a_jacobian_of_zero(rule, method):
    objective, x = build_unknowns(Dead(), jnp.zeros((1, 3)))
    batch = Dead().sample(jax.random.split(jax.random.key(1), 1)).at(0.0)
    updates, _, info = update(rule.replace(method=method), objective, x, batch)
    assert not flat(updates).any()
    assert all(np.isfinite(value) for value in info.values())


def test_batch_normalisation_is_refused():
    objective, _ = build(Tiny(normalization="batch"), "default", seed=0)
    reason = HalfInverse().refuses(objective)
    assert reason is not None
    assert "couples" in reason
    assert HalfInverse().refuses(build(Tiny(normalization="group"), "default", seed=0)[0]) is None


@pytest.mark.usefixtures("x64")
def test_the_krylov_method_is_as_exact_as_the_choice_takes_it_to_be():
    arguments = case(Sloped(), batch=16)  # n = 64 is more than the 30 steps
    rule = HalfInverse(damping=0.2)
    assert rule.plan(*arguments).startswith("krylov")
    direction, exact = (
        flat(update(rule.replace(method=m), *arguments)[0]) for m in ("auto", "rows")
    )
    assert error(direction, exact) < 1e-4
    # Without damping it may be inexact, and the change over the last steps shows it.
    few = rule.replace(damping=0.0, method="krylov", krylov_steps=8)
    updates, _, info = update(few, *arguments)
    missing = error(flat(updates), flat(update(few.replace(method="rows"), *arguments)[0]))
    assert missing > 1e-2
    assert info["krylov_change"] > missing / 10


def test_the_plan_states_method_size_limit_and_rounding():
    objective, params, batch = case(Sloped(), "float32")
    text = HalfInverse(memory_limit=1.0).plan(objective, params, batch)
    assert text.startswith("physics: ")
    assert "n = 32 outputs (8 x 4)" in text
    assert "limit 1 GB" in text
    fixed = HalfInverse(learning_rate=0.1).plan(objective, params, batch)
    assert "float32 resolves singular values of 1e-05 of the largest to 1.2 % only" in fixed
    assert "Warning" not in text
    assert "Warning" not in str(HalfInverse(tau=1e-3).plan(objective, params, batch))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("kappa", "beta"), [(1, 0), (-0.5, 0), (-0.5, -0.5), (-1, 0)])
def test_copies_of_the_samples_do_not_change_a_step(kappa, beta):
    """L is a mean: a batch that holds every sample three times has the same minimum and slope."""
    rule = SpectralPower(kappa=kappa, beta=beta, tau=TAU)
    objective, params, batch = case(Curved())
    copies = jax.tree.map(lambda leaf: jnp.tile(leaf, (3,) + (1,) * (leaf.ndim - 1)), batch)
    once, _, _ = update(rule, objective, params, batch)
    thrice, _, _ = update(rule, objective, params, copies)
    assert error(flat(thrice), flat(once)) < 1e-6


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("batch", [1, 4, 16])
def test_the_full_gauss_newton_step_solves_a_linear_least_squares_problem(batch):
    """Fewer outputs than parameters: a step of 1 in a network that is linear in its last layer."""

    @dataclasses.dataclass(frozen=True)
    class LastLayer(Tiny):
        def network(self, rngs):
            return nnx.Linear(self.size, self.size, rngs=rngs)

    objective, params, samples = case(LastLayer(size=20), batch=batch)
    updates, _, _ = update(GaussNewton(tau=1e-9, adaptive=False), objective, params, samples)
    solved = jax.tree.map(jnp.add, params, updates)
    assert objective.value(solved, samples) < 1e-12 * objective.value(params, samples)

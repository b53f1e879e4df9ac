"""Updates of an inverse Hessian: published formulas, secant equation, an independent library."""

import jax
import jax.numpy as jnp
import lineax
import numpy as np
import pytest
from optimistix import FunctionInfo

from physopt.numerics.inverse_hessian import updated

FORMULAS = ("ssbroyden", "ssbfgs", "bfgs")


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def library():
    """Import ssbroyden-optimistix, which switches JAX to float64 for the whole process."""
    before = jax.config.values["jax_enable_x64"]
    imported = pytest.importorskip("ssbroyden_optimistix")
    jax.config.update("jax_enable_x64", before)
    return imported


def case(seed, stretch=1.0):
    """Return a random H, and a step and a change of the gradient with y.s > 0."""
    rng = np.random.default_rng(seed)
    root, curvature = rng.normal(size=(2, 6, 6))
    h = root @ root.T + 0.1 * np.eye(6)
    s = rng.normal(size=6)
    y = stretch * (curvature @ curvature.T + 0.1 * np.eye(6)) @ s
    return h, s, y


def ours(h, s, y, formula):
    h, s, y, curvature = (jnp.asarray(v) for v in (h, s, y, s @ np.linalg.solve(h, s)))
    return np.asarray(updated(h, s, y, curvature, formula))


def published(h, s, y):
    """Equations 13 to 23 of arXiv 2405.04230, with B = H^-1 in place of step lengths."""
    size = len(s)
    rho, hy = 1 / (y @ s), h @ y
    b, hk = rho * (s @ np.linalg.solve(h, s)), rho * (y @ hy)
    a = b * hk - 1
    c = np.sqrt(a / (1 + a))
    minus = min(1.0, hk * (1 - c))
    theta = max((minus - 1) / a, min(1 / minus, (1 - b) / b))
    sigma = 1 + theta * a
    power = abs(sigma) ** (1 / (1 - size))
    first = min(1.0, 1 / b)
    tau = min(first * power, sigma) if theta <= 0 else first * min(power, 1 / theta)
    phi = (1 - theta) / (1 + a * theta)
    v = s * rho - hy / (y @ hy)
    inner = h - np.outer(hy, hy) / (y @ hy) + phi * (y @ hy) * np.outer(v, v)
    return inner / tau + rho * np.outer(s, s)


def scaled_bfgs(h, s, y, tau):
    """The textbook form (I - rho s y^T) H (I - rho y s^T) / tau + rho s s^T."""
    rho = 1 / (y @ s)
    left = np.eye(len(s)) - rho * np.outer(s, y)
    return left @ (h / tau) @ left.T + rho * np.outer(s, s)


@pytest.mark.parametrize("stretch", [1e-3, 1.0, 1e3])
def test_the_formulas_are_the_published_ones(stretch):
    for seed in range(5):
        h, s, y = case(seed, stretch)
        tau = min(1, (y @ s) / (s @ np.linalg.solve(h, s)))
        expected = published(h, s, y), scaled_bfgs(h, s, y, tau), scaled_bfgs(h, s, y, 1)
        for formula, matrix in zip(FORMULAS, expected, strict=True):
            error = np.linalg.norm(ours(h, s, y, formula) - matrix) / np.linalg.norm(matrix)
            assert error < 1e-9, (formula, seed)


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("stretch", [1e-6, 1.0, 1e6])
def test_the_secant_equation_holds_and_h_stays_positive_definite(formula, stretch):
    for seed in range(5):
        h, s, y = case(seed, stretch)
        after = ours(h, s, y, formula)
        rounding = np.linalg.norm(after) * np.linalg.norm(y)
        assert np.linalg.norm(after @ y - s) < 1e-10 * rounding
        np.testing.assert_array_equal(after, after.T)
        assert np.linalg.eigvalsh(after)[0] > 0


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_pair_without_positive_curvature_leaves_h(formula):
    h, s, y = case(0)
    for change in (-y, 0 * y, np.nan * y):
        np.testing.assert_array_equal(ours(h, s, change, formula), h)


@pytest.mark.parametrize("formula", FORMULAS)
def test_an_exact_inverse_hessian_stays(formula):
    """b = h = 1 and A = 0, whose sign is a matter of rounding."""
    for seed in range(5):
        h, s, _ = case(seed)
        y = np.linalg.solve(h, s)
        np.testing.assert_allclose(ours(h, s, y, formula), h, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("formula", FORMULAS[:2])
def test_steps_on_rosenbrock_give_the_matrices_of_ssbroyden_optimistix(library, formula):
    names = {"ssbroyden": "SSBroyden", "ssbfgs": "SSBFGS"}
    solver = getattr(library, names[formula])(
        rtol=1e-8, atol=1e-8, alpha="search", initial_scaling=False
    )

    @jax.jit
    def loss(x):
        return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    gradient = jax.jit(jax.grad(loss))
    x = jnp.asarray(np.resize([-1.2, 1.0], 6))
    info, state = solver.init_hessian(x, jnp.zeros(()), gradient(x))
    _, state = solver.update_hessian(  # as in their first iteration, which makes no step
        x, x, info, FunctionInfo.EvalGrad(jnp.zeros(()), gradient(x)), state, jnp.ones(())
    )
    h = jnp.eye(6)
    for _ in range(12):
        g = gradient(x)
        length = next(2.0**-k for k in range(40) if loss(x - 2.0**-k * h @ g) < loss(x))
        step = -length * (h @ g)
        after = gradient(x + step)
        evaluated = FunctionInfo.EvalGrad(jnp.zeros(()), after)
        info, state = solver.update_hessian(
            x, x + step, info, evaluated, state, jnp.asarray(length)
        )
        h = updated(h, step, after - g, -length * (step @ g), formula)
        operator = info.hessian_inv
        assert isinstance(operator, lineax.AbstractLinearOperator)
        theirs = operator.as_matrix()
        assert np.linalg.norm(h - theirs) < 1e-9 * np.linalg.norm(theirs)
        x = x + step

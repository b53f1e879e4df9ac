"""Updates with a rational power: against eigenvectors, in the plan, and in the records.

Eigenvectors are compared with NumPy's singular value decomposition in `test_spectral`, and the
rational power in `numerics/test_shifted`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from physopt.machine.devices import cast, programs_for
from physopt.numerics.shifted import resolution
from physopt.objective import build
from physopt.optimizers.spectral import GaussNewton, HalfInverse, SpectralPower
from physopt.optimizers.spectral.decomposition import (
    Spectrum,
    factorisations,
    operations,
    share,
    shifted_power,
)
from physopt.problems.poisson8 import Poisson8
from physopt.rule import PlanError

RATIONAL = HalfInverse(decomposition="rational", tau=1e-4)


def case(dtype="float32", batch=4, hidden=(16,)):
    problem = Poisson8(size=4, hidden=hidden)
    objective, params = build(problem, "default", seed=0)
    samples = problem.sample(jax.random.split(jax.random.key(1), batch)).at(0.0)
    return objective, *cast((params, samples), dtype)


def update(rule, objective, params, batch):
    key = jax.random.key(0)
    state = rule.init(objective, params, key)
    return jax.jit(rule.update)(objective, params, state, batch, key)


def flat(tree):
    return np.asarray(ravel_pytree(tree)[0], np.float64)


def error(actual, expected):
    return np.linalg.norm(flat(actual) - flat(expected)) / np.linalg.norm(flat(expected))


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("method", "rule"),
    [
        ("layerwise", RATIONAL),
        ("layerwise", RATIONAL.replace(tolerance=1e-5)),
        ("rows", RATIONAL.replace(damping=0.1)),
        # With two hidden units there are fewer parameters than outputs, and J^T J is singular.
        ("columns", RATIONAL.replace(damping=0.1)),
    ],
)
def test_the_direction_is_that_of_eigenvectors(rule, method):
    columns = {"hidden": (2,), "batch": 16} if method == "columns" else {}
    arguments = case("float64", **columns)
    rule = rule.replace(method=method)
    step, _, info = update(rule, *arguments)
    exact, _, expected = update(rule.replace(decomposition="eigh"), *arguments)
    assert 0 < error(step, exact) < rule.tolerance
    assert info["eigendecomposed"] == 0
    np.testing.assert_allclose(info["largest"], expected["largest"], rtol=1e-6)
    np.testing.assert_allclose(info["cosine"], expected["cosine"], rtol=2 * rule.tolerance)
    assert info["n_factor"] > expected["n_factor"] == 1


@pytest.mark.usefixtures("x64")
def test_a_singular_value_below_the_cutoff_takes_eigenvectors():
    arguments = case("float64")
    step, _, info = update(RATIONAL.replace(tau=0.2), *arguments)
    exact, _, expected = update(RATIONAL.replace(tau=0.2, decomposition="eigh"), *arguments)
    assert info["eigendecomposed"] == 1
    assert info["rank"] == expected["rank"] < 64
    assert error(step, exact) < 1e-12


def test_adaptive_damping_takes_the_same_course():
    """kappa = -1 is one shifted solve, exact for every damping."""
    rule = GaussNewton(decomposition="rational")
    objective, params, batch = case()
    damping, key = [], jax.random.key(0)
    for each in (rule, rule.replace(decomposition="eigh")):
        theta, state = params, each.init(objective, params, key)
        make_step = jax.jit(each.update)
        for _ in range(6):
            step, state, info = make_step(objective, theta, state, batch, key)
            theta = jax.tree.map(jnp.add, theta, step)
            damping.append(float(info["damping"]))
            assert ("eigendecomposed" in info) == (each is rule)
    assert damping[:6] == damping[6:]
    assert len(set(damping)) > 1


def test_the_plan_states_error_cost_and_exception():
    text = RATIONAL.plan(*case())
    assert "powers by 10 shifted Cholesky factorisations (direction error below 0.001, " in text
    assert "or by an eigendecomposition if a singular value is below the cutoff" in text
    assert "below rounding noise" in RATIONAL.replace(damping=0.1).plan(*case())
    assert "powers by an eigendecomposition" in HalfInverse().plan(*case())


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (RATIONAL.replace(absolute=True), "absolute cutoff"),
        (SpectralPower(kappa=-2.0, decomposition="rational"), r"kappa=-2 is outside \[-1, 1\]"),
    ],
)
def test_powers_without_an_approximation(rule, reason):
    with pytest.raises(PlanError, match=reason):
        rule.plan(*case())
    assert "eigendecomposition" in rule.replace(decomposition="auto").plan(*case())


def test_the_choice_by_platform_and_size():
    for platform, smallest in (("cpu", 2048), ("gpu", 512)):
        spectrum = Spectrum(platform=platform)
        for n in (256, smallest, 16384):
            shifted = shifted_power(spectrum, n)
            assert (shifted is not None) == (n >= smallest)
            exact = operations(spectrum._replace(decomposition="eigh"), n)
            assert operations(spectrum, n) <= exact == 10 * n**3
            if shifted:
                assert shifted.together == (platform == "gpu")
                assert shifted.rational.least == pytest.approx(1e-10)
                assert shifted.rational.error < 1e-3
                assert share(spectrum, n, shifted) < 1
    gpu = Spectrum(platform="gpu")
    counts = []
    # A damping of 0.2 needs a few terms only, and kappa = -1 a single one.
    for spectrum in (gpu, gpu._replace(damping=0.2), gpu._replace(kappa=-1.0)):
        shifted = shifted_power(spectrum, 4096)
        assert shifted is not None
        counts.append(factorisations(shifted))
        if spectrum is gpu:  # an update on an H100 took 28.8 ms in place of 127.3 ms
            assert share(gpu, 4096, shifted) == pytest.approx(28.8 / 127.3, rel=0.2)
    assert counts == [11, 4, 2]
    # No time was measured on a TPU, which gets the approximation on request.
    assert shifted_power(Spectrum(platform="tpu", dtype="float32", tau=1e-2), 4096) is None


def test_the_interval_ends_at_the_resolution_of_the_factorisation():
    shifted = shifted_power(Spectrum("rational", tau=1e-9), 4096)
    assert shifted is not None
    assert shifted.rational.least == resolution(4096, np.float64)


@pytest.mark.parametrize(("method", "precise"), [("layerwise", True), ("krylov", False)])
def test_products_keep_full_precision_on_accelerators(method, precise):
    """By default a GPU rounds operands of float32 products to 10 bits, a TPU to 7."""
    objective, params, batch = case("float32")
    rule = RATIONAL.replace(method=method)
    with programs_for("gpu"):
        state = rule.init(objective, params, jax.random.key(0))
        traced = jax.jit(rule.update).trace(objective, params, state, batch, jax.random.key(0))
    products = [line for line in traced.lower().as_text().splitlines() if "dot_general" in line]
    rough = [line for line in products if "HIGHEST" not in line]
    assert products
    assert (not rough) == precise

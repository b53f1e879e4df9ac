"""Isotherms at a temperature per matrix: known isotherms and heats, derivatives, the problem."""

from functools import partial

import jax
import jax.numpy as jnp
import ldft_numpy
import numpy as np
import pytest

from physopt.options import OptionError
from physopt.problems.ldft.lattice import Fluid
from physopt.problems.ldft.method import Method
from physopt.problems.ldft.temperature import isosteric_heat, isotherm_at, isotherm_at_and_jacobian
from physopt.problems.ldft.temperature_design import LDFTTemperature
from physopt.problems.ldft.tolerances import Tolerances

K_TC = ldft_numpy.BOLTZMANN * 647
HUMIDITIES = (1e-7, 0.3, 0.6, 1.0)


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


@partial(jax.jit, static_argnames=("dimensions", "humidities", "fluid", "method"))
def solved(
    pores, temperatures, dimensions, humidities=HUMIDITIES, fluid=None, method: Method = "auto"
):
    return isotherm_at_and_jacobian(
        *(pores, temperatures),
        dimensions=dimensions,
        humidities=humidities,
        fluid=fluid or Fluid(),
        tolerance=1e-12,
        method=method,
    )


@pytest.mark.parametrize(("dimensions", "side"), [(2, 6), (2, 5), (3, 4)])
def test_every_matrix_has_its_own_temperature(double, dimensions, side):
    rng = np.random.default_rng(0)
    pores = rng.uniform(size=(3,) + (side,) * dimensions)
    pores[1] = pores[1] > 0.4
    temperatures = np.array([260.0, 298.0, 350.0])
    y, _ = solved(jnp.asarray(pores), jnp.asarray(temperatures), dimensions)
    for eta, temperature, curve in zip(pores, temperatures, y, strict=True):
        expected = ldft_numpy.isotherm(eta, HUMIDITIES, temperature=temperature)
        np.testing.assert_allclose(curve, expected, atol=1e-10)
    # Henry's law: a lone molecule has the energy of its solid neighbours, y_w = 1.5.
    coupling = (2 * 647 / dimensions / temperatures).reshape(-1, *(1,) * dimensions)
    solid = np.stack([ldft_numpy.neighbours(1 - eta) for eta in pores])
    boltzmann = np.exp(1.5 * coupling * solid - dimensions * coupling)
    axes = tuple(range(1, pores.ndim))
    slope = (pores * boltzmann).sum(axes) / pores.sum(axes)
    np.testing.assert_allclose(y[:, 0] / HUMIDITIES[0], slope, rtol=1e-3)


def test_isosteric_heats_in_closed_form(double):
    """Independent sites have one heat, a uniform fluid one that is linear in its density."""
    humidities = tuple(np.arange(1, 101) / 100)
    # Above the critical temperature a uniform fluid is never of two phases, and half full at h = 1.
    cases = [
        ("single", 0.6, (280.0, 330.0), [0.1, 0.3, 0.5]),
        ("full", 1.5, (700.0, 760.0), [0.1, 0.2, 0.35]),
    ]
    for kind, ratio, temperatures, loadings in cases:
        pores = jnp.ones((2, 2, 2)) if kind == "full" else jnp.zeros((2, 4, 4)).at[:, 1, 2].set(1)
        fluid = Fluid(interaction_ratio=ratio)
        y, _ = solved(pores, jnp.asarray(temperatures), 2, humidities, fluid)
        at = jnp.asarray(loadings)
        heat = isosteric_heat(y[None], jnp.asarray([temperatures]), np.array(humidities), at)[0]
        # ln h = logit(s) + 2 T_c / T - 4 y T_c / T, and the same with s in place of y.
        expected = 2 * K_TC * (2 * (ratio if kind == "single" else np.array(loadings)) - 1)
        # Interpolation between 100 points is exact for the single site.
        bound = 1e-9 if kind == "single" else 1e-3
        np.testing.assert_allclose(heat, expected + np.zeros(3), atol=bound * K_TC)
    # One degree apart the formula is the derivative - k d ln h / d(1/T) at constant uptake.
    humid, step = 0.4, 0.5

    def density(humidity, temperature):
        s = 0.1
        for _ in range(400):
            s = 1 / (1 + np.exp(-(np.log(humidity) - 2 * 647 / temperature * (1 - 2 * s))))
        return s

    by_temperature = (density(humid, 730 + step) - density(humid, 730 - step)) / (2 * step)
    by_humidity = (density(humid * 1.001, 730) - density(humid / 1.001, 730)) / 2 / np.log(1.001)
    heat = -ldft_numpy.BOLTZMANN * 730**2 * by_temperature / by_humidity
    np.testing.assert_allclose(heat, 2 * K_TC * (2 * density(humid, 730) - 1), rtol=1e-4)


def test_derivatives_at_several_temperatures(double):
    rng = np.random.default_rng(1)
    pores = rng.uniform(size=(3, 6, 6))
    pores[2] = 0
    direction = jnp.asarray(rng.normal(size=pores.shape)).at[2].set(0)
    temperatures = jnp.array([270.0, 300.0, 340.0])
    y, jacobian = solved(jnp.asarray(pores), temperatures, 2)
    weights = jnp.asarray(rng.normal(size=y.shape))

    def weighted(pores):
        options = {"dimensions": 2, "humidities": HUMIDITIES, "tolerance": 1e-12}
        return (isotherm_at(pores, temperatures, **options) * weights).sum()

    gradient = jax.jit(jax.grad(weighted))(jnp.asarray(pores))
    # Linear systems are solved to 1e-10.
    by_rows = jnp.einsum("bk,bkij->bij", weights, jacobian)
    np.testing.assert_allclose(by_rows, gradient, atol=1e-8)
    moved = [solved(pores + sign * 1e-5 * direction, temperatures, 2)[0] for sign in (1, -1)]
    difference = (moved[0] - moved[1]) / 2e-5
    along = jnp.einsum("bkij,bij->bk", jacobian, direction)
    np.testing.assert_allclose(along, difference, atol=1e-6 * float(abs(difference).max()))
    assert (gradient[2] == 0).all()


def test_kernels_and_vmap_take_temperatures(double):
    rng = np.random.default_rng(2)
    pores = jnp.asarray(rng.uniform(size=(4, 4, 4)))
    temperatures = jnp.array([270.0, 300.0, 340.0, 290.0])
    loops = solved(pores, temperatures, 2)
    jax.tree.map(
        partial(np.testing.assert_allclose, atol=1e-10),
        solved(pores, temperatures, 2, method="kernels"),
        loops,
    )

    def of_one(pores, temperature):
        options = {"dimensions": 2, "humidities": HUMIDITIES, "tolerance": 1e-12}
        return isotherm_at(pores[None], temperature[None], **options)[0]

    for axes, temperature in (((0, 0), temperatures), ((0, None), temperatures[0])):
        mapped = jax.jit(jax.vmap(of_one, axes))(pores, temperature)
        whole = solved(pores, jnp.broadcast_to(temperature, 4), 2)[0]
        np.testing.assert_allclose(mapped, whole, atol=1e-10)


def test_wrong_temperatures_are_refused():
    pores = jnp.ones((2, 4, 4))
    with pytest.raises(ValueError, match="temperatures must be"):
        isotherm_at(pores, jnp.ones(3), dimensions=2)
    with pytest.raises(ValueError, match="positive"):
        isotherm_at(pores, jnp.array([300.0, 0.0]), dimensions=2)
    with pytest.raises(OptionError, match="must exceed"):
        LDFTTemperature(highest_temperature=270.0)


def test_the_matrix_behind_a_target_has_no_error():
    problem = LDFTTemperature(**LDFTTemperature.tiny, relaxation="relaxed")
    keys = jax.random.split(jax.random.key(0), 6)
    batch = problem.held_out(keys).at(1.0)
    matrices, conditions = problem._draw(keys)
    low, high = problem.temperatures(conditions).T
    assert (low >= 280).all()
    assert (high <= 340).all()
    assert (high - low >= 20).all()
    metrics = jax.jit(problem.metrics)(2 * matrices - 1, batch.target, batch)
    # float32: 1e-6 in the density, and ln h between points whose uptakes differ by 1e-4 or more.
    np.testing.assert_allclose(metrics["area_percent"], 0, atol=1e-3)
    np.testing.assert_allclose(metrics["heat_error"], 0, atol=2e-2)
    tight = Tolerances(1e-6, 1e-5)
    swapped = problem.isotherms(matrices, conditions, tight)[:, ::-1].reshape(6, -1)
    assert (jnp.abs(swapped - batch.target).max(1) > 5e-4).all()

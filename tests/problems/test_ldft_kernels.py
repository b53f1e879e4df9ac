"""The LDFT kernels: the loops' results in Pallas' interpreter, and modules that Triton accepts."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from triton_modules import triton_modules

from physopt.machine.devices import programs_for
from physopt.problems.ldft import isotherm, isotherm_and_jacobian
from physopt.problems.ldft.equilibrium import equilibrium, filling_jacobian
from physopt.problems.ldft.isotherm import solver_settings
from physopt.problems.ldft.kernels.slots import tables
from physopt.problems.ldft.method import Method
from physopt.problems.ldft.named import LDFT2D
from physopt.problems.ldft.sublattices import Sublattices

HUMIDITIES = (0.2, 0.4, 0.6, 0.8, 1.0)
REFERENCE = np.load(Path(__file__).parent.parent / "data" / "ldft_reference.npz")


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


def matrices(side, dimensions, batch=2):
    """Pore fractions between 0 and 1, a binary and a relaxed matrix."""
    pores = np.random.default_rng(side).uniform(size=(batch,) + (side,) * dimensions)
    pores[0] = pores[0] > 0.4
    return jnp.asarray(pores)


# Even and odd sides, and colours whose number of sites is a power of two or not.
@pytest.mark.parametrize(("dimensions", "side"), [(2, 4), (2, 6), (2, 5), (3, 3), (3, 4)])
def test_every_slot_sees_its_neighbours(dimensions, side):
    sites, neighbours = tables(Sublattices(side, dimensions))
    elements = sites.ravel()
    assert sorted(elements[elements >= 0]) == list(range(side**dimensions))
    values = np.random.default_rng(0).normal(size=(side,) * dimensions)
    row = np.where(elements >= 0, values.ravel()[elements], 0)
    shifts = [np.roll(values, s, a) for a in range(dimensions) for s in (1, -1)]
    expected = np.sum(shifts, axis=0)
    around = row[neighbours].sum(1).ravel()
    np.testing.assert_allclose(around[elements >= 0], expected.ravel()[elements[elements >= 0]])
    assert (around[elements < 0] == 0).all()


def evaluated(method, pores, dimensions, cotangent, change):
    """Values, densities, convergence, Jacobian, reverse and forward mode, all by one method."""
    options = {
        "dimensions": dimensions,
        "humidities": HUMIDITIES,
        "desorption": True,
        "method": method,
    }

    def both(pores):
        return isotherm(pores, return_density=True, **options)

    def everything(pores):
        (uptake, density), pull = jax.vjp(both, pores)
        _, pushed = jax.jvp(both, (pores,), (change,))
        _, jacobian = isotherm_and_jacobian(pores, **options)
        _, convergence = isotherm(pores, return_convergence=True, **options)
        return uptake, density, convergence.unconverged, pull(cotangent), pushed, jacobian

    return jax.jit(everything)(pores)


# Two colours with padding, and one colour.
@pytest.mark.parametrize(("dimensions", "side"), [(2, 6), (3, 3)])
def test_kernels_agree_with_the_loops(double, dimensions, side):
    pores = matrices(side, dimensions)
    rng = np.random.default_rng(1)
    shape = (len(pores), 2 * len(HUMIDITIES))
    cotangent = (
        jnp.asarray(rng.normal(size=shape)),
        jnp.asarray(rng.normal(size=shape + pores.shape[1:])),
    )
    change = jnp.asarray(rng.normal(size=pores.shape))
    loops = evaluated("loops", pores, dimensions, cotangent, change)
    kernels = evaluated("kernels", pores, dimensions, cotangent, change)
    # Both stop within 1e-10 of the fixed point in the mean; a density is off by up to the number of
    # sites more, and the derivative multiplies that by the response, below 1e2 here.
    tolerances = (1e-8, 1e-8, 0, 1e-5, 1e-5, 1e-6)
    for one, other, tolerance in zip(loops, kernels, tolerances, strict=True):
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            np.testing.assert_allclose(b, a, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("interpreted", [False, True])
def test_runs_of_humidities_change_nothing(double, interpreted):
    pores = matrices(4, 2, batch=3)
    method = "kernels" if interpreted else "loops"
    settings = solver_settings(pores, dimensions=2, spacing=0.1, desorption=True, method=method)
    rows = settings.lattice.flatten(pores)
    results, sweeps = [], []
    # One point a run, runs of four and a shorter one, a whole branch a run.
    for runs in (30, 7, 1):
        schedule = replace(settings.schedule, runs=runs)
        state = jax.jit(partial(equilibrium, replace(settings, schedule=schedule), False))(rows)
        results.append(state.filling)
        sweeps.append(int(state.sweeps.sum()))
        assert (state.error <= settings.schedule.tolerance).all()
    np.testing.assert_allclose(results[1], results[0], rtol=0, atol=1e-8)
    np.testing.assert_allclose(results[2], results[0], rtol=0, atol=1e-8)
    assert sweeps[2] < sweeps[1] < sweeps[0]


def test_reference_data_with_kernels(double):
    pores = jnp.asarray(REFERENCE["pores_2d"][:1], float)
    uptake = isotherm(
        pores, dimensions=2, humidities=(0.25, 0.5, 1.0), tolerance=1e-10, method="kernels"
    )
    np.testing.assert_allclose(uptake, REFERENCE["isotherm_2d"][:1, [10, 20, 40]], atol=1e-7)


def test_kernels_under_vmap_and_with_nan():
    pores = matrices(4, 2, batch=3).astype(jnp.float32)

    def one(pores, method: Method = "kernels"):
        return isotherm(pores[None], dimensions=2, humidities=(0.5, 1.0), method=method)[0]

    values = jax.jit(jax.vmap(one))(pores.at[1, 0, 0].set(jnp.nan))
    assert jnp.isnan(values[1]).all()
    expected = jax.vmap(partial(one, method="loops"))(pores)
    np.testing.assert_allclose(values[::2], expected[::2], atol=1e-5)
    # One density, several cotangents.
    slopes = jax.jacrev(one)(pores[0])
    expected = jax.jacrev(partial(one, method="loops"))(pores[0])
    np.testing.assert_allclose(slopes, expected, atol=1e-4)


def test_lattices_that_do_not_fit_take_the_loops():
    def warps(side, dtype):
        with programs_for("gpu"):
            settings = solver_settings(jnp.ones((1, side, side), dtype), dimensions=2)
        return settings.kernel and settings.kernel.warps

    # 200, 4050 and 4232 sites a colour; a program holds 4096 in float32.
    assert [warps(side, jnp.float32) for side in (20, 90, 92)] == [4, 16, None]
    with jax.enable_x64(True):
        assert [warps(side, jnp.float64) for side in (20, 64, 66)] == [4, 16, None]
    assert LDFT2D().plan() is None  # on a CPU
    with programs_for("gpu"):
        assert "4 warps" in str(LDFT2D().plan())
        assert "8464 sites in float32 do not fit a kernel" in str(LDFT2D(size=92).plan())
    with pytest.raises(ValueError, match="does not fit a kernel; use 'loops'"):
        isotherm(jnp.ones((1, 92, 92)), dimensions=2, method="kernels")
    with pytest.raises(ValueError, match="method is"):
        isotherm(jnp.ones((1, 4, 4)), dimensions=2, method="fast")  # type: ignore[arg-type]


# An even side in two dimensions and in three, and an odd one.
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize(("dimensions", "side"), [(2, 20), (2, 21), (3, 10)])
def test_modules_pass_triton_verification(monkeypatch, dimensions, side, dtype):
    def program(pores):
        settings = solver_settings(pores, dimensions=dimensions, desorption=True)
        rows = settings.lattice.flatten(pores)
        state = equilibrium(settings, False, rows)
        return filling_jacobian(settings, rows, state.density, settings.activity(dtype))

    with jax.enable_x64(dtype == jnp.float64), programs_for("gpu"):
        shape = jax.ShapeDtypeStruct((2,) + (side,) * dimensions, dtype)
        modules = triton_modules(program, shape, monkeypatch=monkeypatch)
    # Adsorption, desorption and the response.
    assert len(modules) == 3

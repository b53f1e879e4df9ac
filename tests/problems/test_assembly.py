"""Self-assembly: reactions, yields against another solver's, order, conservation, fits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from physopt.problem import Batch
from physopt.problems.assembly import Assembly, AssemblyFit, Complex, yields
from physopt.problems.assembly.kinetics import output_times, rosenbrock, time_grid

REFERENCES = {
    # ln k by size class: yields in % at 0.1, 1, 10, 100, 1000 s and 100 uM, by LSODA at 1e-8
    (1, 1): (63.35, 67.57, 69.33, 82.41, 99.92),
    (0.1, 1): (69.05, 96.35, 99.63, 99.96, 100),
    (0.01, 1): (21.01, 74.61, 96.74, 99.66, 99.97),
    (1, 1, 1): (22.12, 22.39, 23.16, 30.28, 57.89),
    (0.01, 1, 1): (32.74, 85.13, 98.31, 99.83, 99.98),
    (0.01, 0.1, 1): (19.17, 83.95, 98.38, 99.84, 99.98),
}


@pytest.mark.parametrize(("size", "species", "reactions"), [(3, 7, 6), (4, 15, 22)])
def test_reactions_add_one_subunit_and_keep_all(size, species, reactions):
    kind = Complex(size)
    assert len(kind.species) == species
    assert len(kind.reactions) == reactions
    assert list(kind.species[-1]) == list(range(size))
    sizes = np.array([len(s) for s in kind.species])
    np.testing.assert_array_equal(sizes @ kind.stoichiometry, 0)
    for subset, subunit, product in kind.reactions:
        assert kind.species[subset] | kind.species[subunit] == kind.species[product]
    assert set(kind.bonds) == set(range(1, size))


@pytest.mark.parametrize("size", [3, 4])
def test_yields_are_those_of_another_solver(size):
    """To 0.03 points: the table's digits and 12 steps a decade."""
    rates = [rates for rates in REFERENCES if len(rates) == size - 1]
    stop, concentration = jnp.full(3, 1000.0), jnp.full(3, 100.0)
    solve = jax.jit(lambda x: yields(Complex(size), x, concentration, stop, 4.0))
    observed = 100 * np.asarray(solve(np.log(np.array(rates, np.float32))))
    np.testing.assert_allclose(observed, [REFERENCES[r] for r in rates], atol=0.03)


def test_unequal_times_and_concentrations_agree_with_an_implicit_solver_of_scipy():
    kind, log_rates, concentration, stop, span = Complex(3), np.log([0.3, 4.0]), 37.0, 5.0, 1.5
    subset, subunit, product = kind.reactions.T
    on = np.exp(log_rates)[kind.bonds - 1]
    off = on * 1e6 * np.exp(-20.0 * kind.bonds)

    def slope(t, c):
        return kind.stoichiometry @ (on * c[subset] * c[subunit] - off * c[product])

    start = [concentration * (len(s) == 1) for s in kind.species]
    reference = solve_ivp(slope, (0, stop), start, method="BDF", rtol=1e-9, atol=1e-10,
                          t_eval=output_times(stop, span))  # fmt: skip
    arguments = (np.array(a, np.float32) for a in ([log_rates], [concentration], [stop]))
    observed = jax.jit(lambda x, c, t: yields(kind, x, c, t, span))(*arguments)
    np.testing.assert_allclose(observed[0], reference.y[-1] / concentration, atol=3e-4)


def test_a_step_is_of_order_three_and_damps_what_is_stiff():
    with jax.enable_x64(True):

        def decay(steps):  # c' = -c^3 from 1: c(1) = 3^(-1/2)
            def advance(c, _):
                jacobian = jnp.diag(-3 * c**2)
                return rosenbrock(lambda c: -(c**3), jacobian, c, jnp.asarray(1 / steps)), None

            return float(jax.lax.scan(advance, jnp.ones(1), None, length=steps)[0][0])

        errors = np.array([abs(decay(steps) - 3**-0.5) for steps in (8, 16, 32)])
        stiff = rosenbrock(
            lambda c: -1e9 * c, jnp.full((1, 1), -1e9), jnp.ones(1), jnp.asarray(1.0)
        )
    assert np.log2(errors[:-1] / errors[1:]) == pytest.approx(3, abs=0.2)
    assert abs(float(stiff[0])) < 1e-8


def test_the_grid_of_time_ends_at_the_outputs():
    for span in (0.3, 1.0, 4.0):
        steps, outputs = time_grid(span)
        ends = np.cumsum(steps)[outputs]
        np.testing.assert_allclose(ends, output_times(1.0, span), rtol=1e-12)
        assert outputs[-1] == len(steps) - 1


def test_gradient_through_float64_agrees_with_central_differences():
    """In float32 too, where the solve and its derivative are those of float64."""
    problem, x = Assembly(subunits=3), np.array([[-3.0, 0.5], [-1.0, -2.0]])
    extra = np.array([[100.0, 10.0], [50.0, 300.0]])
    batch, direction = Batch(extra, np.ones((2, 9)), extra), np.array([[1.0, -0.4], [0.3, 0.8]])

    def loss(x, batch):
        return problem.loss(problem.simulate(x, batch), batch).sum()

    both = jax.jit(jax.value_and_grad(loss))
    with jax.enable_x64(True):
        ahead, behind = (both(x + h * direction, batch)[0] for h in (1e-4, -1e-4))
        wide = np.asarray(both(x, batch)[1])
        difference = np.asarray(ahead - behind) / 2e-4
    assert np.sum(wide * direction) == pytest.approx(float(difference), rel=1e-5)
    narrow = both(*jax.tree.map(np.float32, (x, batch)))[1]
    np.testing.assert_allclose(narrow, wide, rtol=1e-4)


def test_rates_beyond_their_bounds_are_penalised_and_remain_finite():
    problem = Assembly(subunits=3)
    batch = jax.jit(problem.sample)(jax.random.split(jax.random.key(0), 2))
    x = np.array([[50.0, -50.0], [0.0, -1.0]], np.float32)
    y = np.asarray(jax.jit(problem.simulate)(x, batch))
    assert np.isfinite(y).all()
    high, low = np.log(problem.fastest), np.log(problem.slowest)
    np.testing.assert_allclose(y[0, 5:], [50 - high, 0, 0, low + 50], rtol=1e-5)
    np.testing.assert_array_equal(y[1, 5:], 0)


def test_a_fit_has_the_given_curves_at_the_true_rates_only():
    problem = AssemblyFit()
    batch = jax.jit(problem.sample)(jax.random.split(jax.random.key(0), 4))
    assert batch.target.shape == (4, 15)

    @jax.jit
    def measure(x):
        return problem.metrics(x, problem.simulate(x, batch), batch)

    true, away = measure(batch.extra), measure(batch.extra + 0.3)
    np.testing.assert_allclose(true["absolute_error"], 0, atol=1e-5)
    assert (np.asarray(away["absolute_error"]) > 1e-3).all()
    np.testing.assert_allclose(away["rate_error"], 0.3, rtol=1e-5)

"""Spectral powers and damped solves against NumPy's float64 singular value decomposition.

Tolerances. With eps = 2e-16 and smallest kept singular value sigma (largest 1), an eigenvalue
sigma^2 of the Gram matrix has a relative error of eps / sigma^2, and so has the result for the
powers that amplify small components most; the tests allow ten times that bound.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from numerics.references import spectral_power

from physopt.numerics.linalg import damped_solve, gram_power

EPS = 2.2e-16
SHAPES = [(6, 15), (15, 6), (8, 8)]


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def matrix(n, size, singular_values, seed=0):
    """Return a random [n, size] matrix with the given singular values, the others zero."""
    rng = np.random.default_rng(seed)
    k = len(singular_values)
    u, v = (np.linalg.qr(rng.normal(size=(rows, k)))[0] for rows in (n, size))
    return u * singular_values @ v.T


def vector(n, seed=1):
    return np.random.default_rng(seed).normal(size=n)


def reference(jacobian, g, kappa, rcond=0.0, damping=None):
    """Return V f(S) U^T g by NumPy, in float64."""
    j = np.asarray(jacobian, np.float64)
    u, s, vt = np.linalg.svd(j, full_matrices=False)
    if damping is None:
        weights = np.where(s > rcond * s[0], s, np.inf) ** kappa if kappa < 0 else s**kappa
    else:
        weights = s * (s**2 + (damping * s[0]) ** 2) ** ((kappa - 1) / 2)
    return vt.T @ (weights * (u.T @ np.asarray(g, np.float64)))


def error(result, expected):
    result, expected = (np.asarray(a, np.float64) for a in (result, expected))
    return np.linalg.norm(result - expected) / np.linalg.norm(expected)


@pytest.mark.usefixtures("x64")
class TestFloat64:
    @pytest.mark.parametrize(("n", "size"), SHAPES)
    @pytest.mark.parametrize("kappa", [-1.0, -0.5, 0.5, 1.0])
    def test_powers_of_a_matrix_of_full_rank(self, n, size, kappa):
        j, g = matrix(n, size, np.linspace(1, 0.1, min(n, size))), vector(n)
        assert error(spectral_power(j, g, kappa), reference(j, g, kappa)) < 10 * EPS / 0.1**2

    @pytest.mark.parametrize(("n", "size"), SHAPES)
    def test_ill_conditioned(self, n, size):
        j, g = matrix(n, size, np.logspace(0, -4, min(n, size))), vector(n)
        assert error(spectral_power(j, g), reference(j, g, -0.5)) < 10 * EPS / 1e-4**2

    @pytest.mark.parametrize(("n", "size"), SHAPES)
    def test_cutoff_drops_exactly_the_components_below_it(self, n, size):
        s = np.logspace(0, -5, 6)  # 1, 1e-1, ..., 1e-5; the cutoff keeps the first three
        j, g = matrix(n, size, s), vector(n)
        expected = reference(j, g, -0.5, rcond=3e-3)
        assert error(spectral_power(j, g, rcond=3e-3), expected) < 10 * EPS / 1e-2**2
        assert error(reference(j, g, -0.5, rcond=3e-4), expected) > 0.1

    @pytest.mark.parametrize(("n", "size"), SHAPES)
    @pytest.mark.parametrize("kappa", [-1.0, -0.5])
    def test_damping_takes_the_place_of_the_cutoff(self, n, size, kappa):
        j, g = matrix(n, size, np.logspace(0, -4, 6)), vector(n)
        result = spectral_power(j, g, kappa, rcond=0.5, damping=1e-2)
        # Damping bounds the amplification by its own size.
        assert error(result, reference(j, g, kappa, damping=1e-2)) < 10 * EPS / 1e-2**2

    @pytest.mark.parametrize(("n", "size"), SHAPES)
    def test_power_one_is_the_gradient_of_any_matrix(self, n, size):
        j, g = matrix(n, size, [1.0, 1e-3, 1e-9]), vector(n)
        # Nothing is amplified: only the eigenvectors' orthogonality, a few eps, enters.
        assert error(spectral_power(j, g, kappa=1.0, rcond=0.0), j.T @ g) < 20 * EPS

    @pytest.mark.parametrize(("n", "size"), SHAPES)
    def test_power_minus_one_is_the_least_squares_solution(self, n, size):
        j, g = matrix(n, size, np.linspace(1, 0.1, min(n, size))), vector(n)
        expected = np.linalg.lstsq(j, g)[0]
        assert error(spectral_power(j, g, kappa=-1.0), expected) < 10 * EPS / 0.1**2

    @pytest.mark.parametrize(("n", "size"), [*SHAPES, (300, 400)])
    def test_rounding_noise_does_not_count_as_singular_values(self, n, size):
        # Three zero or hundreds of zero eigenvalues come out as +-eps; inverted they would give
        # 1e8 times the answer. Without a cutoff of ours NumPy's would be 1e-15, so it gets one.
        j, g = matrix(n, size, [1.0, 0.5, 0.1]), vector(n)
        expected = np.linalg.pinv(j, rcond=1e-10) @ g
        assert error(spectral_power(j, g, kappa=-1.0, rcond=0.0), expected) < 1e-11
        # Damping does not bring the noise back; delta^2 = 1e-14 changes the rest by 1e-14 / 0.1^2.
        assert error(spectral_power(j, g, kappa=-1.0, damping=1e-7), expected) < 1e-11

    @pytest.mark.parametrize(("n", "size"), SHAPES)
    @pytest.mark.parametrize("damping", [0.0, 1e-3])
    def test_rank_one(self, n, size, damping):
        u, v, g = vector(n, 2), vector(size, 3), vector(n)
        s = np.linalg.norm(u) * np.linalg.norm(v)
        expected = v * (u @ g) * s**-1.5  # V s^(-1/2) U^T g, v and u not normalised
        expected /= (1 + damping**2) ** 0.75
        assert error(spectral_power(np.outer(u, v), g, damping=damping), expected) < 1e-13

    @pytest.mark.parametrize(("n", "size"), SHAPES)
    def test_scaling_the_jacobian_scales_the_result_by_its_power(self, n, size):
        j, g = matrix(n, size, np.linspace(1, 0.1, min(n, size))), vector(n)
        result, scaled = spectral_power(j, g, -0.5), spectral_power(1e-30 * j, g, -0.5)
        # Squares of 1e-30 stay above the smallest float64, 1e-308: nothing is lost.
        assert error(scaled, 1e15 * np.asarray(result)) < 1e-12

    def test_gram_form_agrees_and_reports_what_it_kept(self):
        j, g = matrix(6, 15, np.logspace(0, -5, 6)), vector(6)
        result = gram_power(j @ j.T, g, rcond=3e-3)
        assert error(j.T @ result.coefficients, spectral_power(j, g, rcond=3e-3)) < 1e-11
        assert int(result.rank) == 3
        # s is the root of an eigenvalue known to eps: relative error eps / s^2 / 2.
        assert float(result.smallest) == pytest.approx(1e-2, rel=10 * EPS / 1e-4)
        assert float(result.largest) == pytest.approx(1.0, rel=10 * EPS)

    def test_gram_form_without_a_cutoff_reports_the_numerical_rank(self):
        j, g = matrix(8, 15, [1.0, 0.5, 1e-4]), vector(8)
        gram = j @ j.T
        for result in (gram_power(gram, g, damping=1e-2), gram_power(gram, g, 1.0, rcond=0.0)):
            assert int(result.rank) == 3
            assert float(result.smallest) == pytest.approx(1e-4, rel=10 * EPS / 1e-8)

    @pytest.mark.parametrize(("n", "size"), SHAPES)
    def test_reverse_derivatives(self, n, size):
        j, g = matrix(n, size, np.linspace(1, 0.5, min(n, size))), vector(n)

        def function(j, g, kappa):
            return jnp.sum(jnp.sin(spectral_power(j, g, kappa)))

        # Central differences in float64 with the step of 1e-6 err by 1e-10; 1e-6 leaves room for
        # the derivatives' size.
        check_grads(function, (j, g, -0.5), 1, ["rev"], 1e-6, 1e-6, 1e-6)

    @pytest.mark.parametrize(("m", "k"), SHAPES)
    @pytest.mark.parametrize("damping", [0.0, 1e-3, 10.0])
    def test_damped_solve(self, m, k, damping):
        a = np.stack([s * matrix(m, k, np.linspace(1, 0.1, min(m, k)), s) for s in (1, 2, 3)])
        r = np.stack([vector(m, seed) for seed in range(3)])
        for solution, a_i, r_i in zip(damped_solve(a, r, damping), a, r, strict=True):
            gram = a_i @ a_i.T
            shifted = gram + damping * np.trace(gram) / m * np.eye(m)
            inverse = np.linalg.pinv(shifted, rcond=1e-10)  # singular for m > k undamped
            assert error(solution, a_i.T @ inverse @ r_i) < 10 * EPS / 0.1**4

    def test_damped_solve_takes_any_number_of_batch_axes(self):
        rng = np.random.default_rng(0)
        a, r = jnp.asarray(rng.normal(size=(2, 3, 4, 5))), jnp.asarray(rng.normal(size=(2, 3, 4)))
        flat = damped_solve(a.reshape(6, 4, 5), r.reshape(6, 4))
        np.testing.assert_allclose(damped_solve(a, r).reshape(6, 5), flat, rtol=1e-12)
        np.testing.assert_allclose(damped_solve(a[1, 2], r[1, 2]), flat[5], rtol=1e-12)


class TestFloat32Program:
    """64-bit types off, as in a training run; the functions use float64 inside."""

    # Singular values down to 3e-4 keep well above float32's rounding of J (6e-8) and below what a
    # float32 Gram matrix resolves (3e-4 before any accumulated error).
    j = matrix(24, 60, np.logspace(0, -3.5, 24)).astype(np.float32)
    g = vector(24).astype(np.float32)
    expected = reference(j, g, -0.5)

    @pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
    def test_float64_inside_succeeds_where_float32_fails(self, wrap):
        result = wrap(spectral_power)(self.j, self.g)
        assert result.dtype == jnp.float32
        assert error(result, self.expected) < 1e-6  # the float32 rounding of the result
        with pytest.warns(UserWarning, match="1e-2"):
            coarse = spectral_power(self.j, self.g, dtype=jnp.float32)
        assert error(coarse, self.expected) > 1e-2

    def test_float64_gram_crosses_the_border_of_a_float32_program(self):
        @jax.jit
        def update(j, g):
            with jax.enable_x64(True):
                wide = jax.lax.convert_element_type(j, np.float64)
                gram = wide @ wide.T
            return j.T @ gram_power(gram, g).coefficients

        # c is larger than J^T c by up to max(s)/min(s), so its float32 rounding and that of the
        # product weigh 6e-8 * 3e3; the requirement is 1e-3.
        assert error(update(self.j, self.g), self.expected) < 1e-3

    def test_float32_gram_is_refused_its_noise(self):
        coarse = self.j @ self.j.T
        with pytest.warns(UserWarning, match="1e-2"):
            result = gram_power(coarse, self.g)
        # Components below 8 sqrt(eps) = 2.8e-3 of the largest one are noise there.
        s = np.linalg.svd(self.j, compute_uv=False)
        assert int(result.rank) == np.sum(s > 2.8e-3 * s[0])

    def test_vmap_scan_and_jit_change_nothing(self):
        js = np.stack([self.j, 2 * self.j, self.j[::-1]])
        one_by_one = np.stack([spectral_power(j, self.g) for j in js])
        batched = jax.jit(jax.vmap(spectral_power, (0, None)))(js, self.g)
        _, scanned = jax.lax.scan(lambda c, j: (c, spectral_power(j, self.g)), 0.0, js)
        # Results agree to the rounding to float32; float64 differences stay far below.
        for other in (batched, scanned):
            assert error(other, one_by_one) < 1e-6

    @pytest.mark.filterwarnings("error")  # JAX warns where it truncates float64 to float32
    def test_transforms_of_programs_that_are_already_traced(self):
        # vmap of a jitted function or of a scan, and derivatives of these, are made from the
        # traced float64 operations, after the function that enabled float64 returned.
        js, gs = np.stack([self.j, self.j[::-1]]), np.stack([self.g, 2 * self.g])

        def repeated(j, g):
            return jax.lax.scan(lambda c, _: (c, spectral_power(j, c)), g, None, 2)[1][1]

        def total(j, g):
            return jnp.sum(jax.jit(repeated)(j, g))

        expected = np.stack([[spectral_power(j, g) for g in gs] for j in js])
        mapped = jax.vmap(jax.vmap(jax.jit(repeated), (None, 0)), (0, None))
        assert error(mapped(js, gs), expected) < 1e-6
        gradients = jax.jit(jax.vmap(jax.grad(total, 1)))(js, gs)
        # The result is linear in g: its derivative along g is the result itself.
        along = np.sum(np.asarray(gradients, np.float64) * gs, 1)
        sums = np.sum(expected[[0, 1], [0, 1]], 1, dtype=np.float64)
        assert error(along, sums) < 1e-4  # float32 sums of terms of either sign

    @pytest.mark.filterwarnings("error")
    def test_reverse_derivatives_in_a_float32_program(self):
        j, g = matrix(5, 9, np.linspace(1, 0.5, 5)), vector(5)

        def function(j, g):
            return jnp.sum(jnp.sin(spectral_power(j, g)))

        with jax.enable_x64(True):
            expected = jax.grad(function, (0, 1))(jnp.asarray(j), jnp.asarray(g))
        single = j.astype(np.float32), g.astype(np.float32)
        for transform in (lambda f: f, jax.jit):
            result = transform(jax.grad(function, (0, 1)))(*single)
            for r, e in zip(result, expected, strict=True):
                assert r.dtype == jnp.float32
                assert error(r, e) < 1e-5  # inputs and outputs are rounded at 6e-8

    def test_derivative_through_vmapped_damped_solve(self):
        rng = np.random.default_rng(0)
        a = rng.normal(size=(4, 3, 5)).astype(np.float32)
        r = rng.normal(size=(4, 3)).astype(np.float32)
        gradient = jax.jit(jax.grad(lambda r: jnp.sum(jax.vmap(damped_solve)(a, r))))(r)
        # The solve is linear in r: its gradient is the transposed matrix times ones.
        for g_i, a_i in zip(gradient, a.astype(np.float64), strict=True):
            gram = a_i @ a_i.T
            matrix_i = a_i.T @ np.linalg.inv(gram + 1e-3 * np.trace(gram) / 3 * np.eye(3))
            assert error(g_i, matrix_i.T @ np.ones(5)) < 1e-6

    @pytest.mark.parametrize(("n", "size"), SHAPES)
    @pytest.mark.parametrize("damping", [0.0, 1e-3])
    def test_zero_jacobian_gives_zero(self, n, size, damping):
        zero, g = jnp.zeros((n, size)), jnp.ones(n)
        assert not np.any(spectral_power(zero, g, damping=damping))
        assert not np.any(damped_solve(zero, g, damping))
        with jax.enable_x64(True):
            result = gram_power(np.zeros((n, n)), g, damping=damping)
        assert not any(np.any(part) for part in result)

    def test_not_a_number_stays_visible(self):
        assert np.all(np.isnan(spectral_power(self.j * np.nan, self.g)))

    def test_the_setting_of_64_bit_types_is_left_alone(self):
        spectral_power(self.j, self.g)
        assert jnp.asarray(np.ones(1)).dtype == jnp.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gram_power(np.ones((3, 3)), np.ones(2)), r"\[n, n\]"),
        (lambda: gram_power(np.ones(3), np.ones(3)), r"\[n, n\]"),
        (lambda: gram_power(np.ones((2, 3)), np.ones(2)), r"\[n, n\]"),
        (lambda: damped_solve(np.ones((4, 2, 3)), np.ones((4, 3))), r"\[\.\.\., K, N\]"),
        (lambda: gram_power(np.ones((2, 2)), np.ones(2), rcond=-1.0), "negative"),
        (lambda: damped_solve(np.ones((2, 3)), np.ones(2), -1.0), "negative"),
        (lambda: gram_power(1j * np.ones((2, 2)), np.ones(2)), "complex"),
    ],
)
def test_errors_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("kappa", [-1.0, -0.5])
def test_a_vanishing_jacobian_has_no_coefficients_that_overflow(kappa):
    """s^(kappa - 1) of s = 1e-26 is beyond float32: such components are dropped, others kept."""
    scales, rank = np.array([1.0, 1e-3, 1e-26]), {}
    with jax.enable_x64(True):
        for factor in (1.0, 1e-26):
            gram = jnp.asarray(np.diag((factor * scales) ** 2))
            for dtype in (np.float32, np.float64):
                result = gram_power(gram, jnp.ones(3, dtype), kappa, rcond=0.0)
                rank[factor, np.finfo(dtype).bits] = int(result.rank)
                kept = np.arange(3) < int(result.rank)
                expected = np.where(kept, (factor * scales) ** (kappa - 1), 0)
                np.testing.assert_allclose(result.coefficients, expected, rtol=1e-6)
    assert rank == {(1.0, 32): 2, (1.0, 64): 2, (1e-26, 32): 0, (1e-26, 64): 2}

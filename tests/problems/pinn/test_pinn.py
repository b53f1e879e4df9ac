"""Physics-informed problems: residuals of exact solutions, terms and their weights, points."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from physopt.config.registry import find
from physopt.networks.jet import entry_key, nested_jets
from physopt.options import OptionError
from physopt.problem import Batch
from physopt.problems import PROBLEMS
from physopt.problems.pinn.points import counts, grid, interleaved, lattice, on_faces
from physopt.training.data import held_out_samples, held_out_sets

KEY = jax.random.key(0)
NAMES = [name for name in PROBLEMS if name.startswith("pinn_")]
REFERENCES = {"pinn_allen_cahn": (1024, 1e-7), "pinn_kdv": (512, 1e-5)}
"""{problem without a closed solution: (modes, residual that the interpolated reference leaves)}.

Derivatives of a series amplify its error: by k^3 = 5e8 times 0.022^2 in the dispersion of kdv.
"""


def formulations():
    for name in NAMES:
        for boundary in ("hard", "soft"):
            if name == "pinn_poisson_nd":
                for solution in ("cos", "sin", "harmonic") if boundary == "soft" else ():
                    yield name, {"dimension": 4, "solution": solution}
            else:
                yield name, {"boundary": boundary}


def problem_of(name, **options):
    cls = find("problem", name)
    return cls(**{**cls.tiny, "points": "random", **options})


def arranged(problem, size, first=0, last=None):
    positions = jnp.arange(first, size if last is None else last)
    return jax.jit(lambda positions: problem.arrange(positions, size, KEY))(positions)


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(("name", "options"), list(formulations()))
def test_the_exact_solution_has_no_residual(name, options):
    """The jet of u*, by nested differentiation, in place of the network's."""
    if name in REFERENCES:
        options = {**options, "modes": REFERENCES[name][0]}
    problem = problem_of(name, **options)

    @jax.jit
    def residuals(batch):
        keys = [entry_key(entry, problem.coordinates) for entry in problem.entries]
        jets = nested_jets(problem.exact, batch.inputs, keys)
        return problem.simulate(jnp.stack([jets[key] for key in keys], axis=1), batch)

    batch = arranged(problem, 48)
    assert len(np.unique(batch.kind)) == len(problem.terms())
    # Rounding, times the size of the terms: nu u_xx reaches 100 in Burgers' shock.
    _, tolerance = REFERENCES.get(name, (0, 1e-12 if name != "pinn_burgers" else 1e-10))
    assert np.max(np.abs(residuals(batch))) < tolerance


@pytest.mark.parametrize("name", [n for n, o in formulations() if o.get("boundary") == "hard"])
def test_a_hard_form_has_the_boundary_values_for_any_parameters(name):
    """The faces are those of the soft form's terms; u there is that of the exact solution."""
    hard, soft = (problem_of(name, boundary=boundary) for boundary in ("hard", "soft"))
    batch = arranged(soft, 64)
    points = batch.inputs[np.asarray(batch.kind) > 0]
    jet = hard.network(nnx.Rngs(5))
    assert len(points) > 4

    @jax.jit
    def values(points):
        return jet(points)[:, 0], hard.offset(points), soft.exact(points)

    u, offset, exact = values(points)
    # Of a network in float32: its factor vanishes, or is the rounding of an end of the domain.
    np.testing.assert_allclose(u, offset, atol=1e-15)
    np.testing.assert_allclose(u, exact, atol=1e-6 if name in REFERENCES else 1e-14)


@pytest.mark.parametrize("shares", [(0.875, 0.125), (15 / 17, 2 / 17), (0.75, 1 / 12, 1 / 6)])
def test_kinds_are_interleaved_with_exact_counts_in_every_window(shares):
    fractions = tuple(Fraction(share).limit_denominator(100) for share in shares)
    period = np.lcm.reduce([f.denominator for f in fractions])
    kind, rank = interleaved(np.arange(40 * period), fractions)
    for k, share in enumerate(fractions):
        np.testing.assert_array_equal(rank[kind == k], np.arange(np.sum(kind == k)))
        of_kind = np.convolve(kind == k, np.ones(period, int), "valid")
        # The third kind is spread evenly over what the second one leaves, not over positions.
        assert np.ptp(of_kind) <= (0 if k < 2 and len(shares) == 2 else 1)
        assert counts(40 * period, fractions)[k] == 40 * period * share
    traced = jax.jit(lambda positions: interleaved(positions, fractions))
    np.testing.assert_array_equal(traced(jnp.arange(90)), interleaved(np.arange(90), fractions))


def test_a_part_of_a_set_is_the_same_alone():
    """Thus a set that is spread over devices is the set of one device."""
    for placement in ("random", "lattice", "grid"):
        problem = problem_of("pinn_poisson", points=placement, boundary_share=1 / 17)
        whole, part = arranged(problem, 68), arranged(problem, 68, 17, 51)  # 64 inside
        for a, b in zip(jax.tree.leaves(part), jax.tree.leaves(whole), strict=True):
            np.testing.assert_array_equal(a, b[17:51])


def test_the_mean_loss_is_the_weighted_sum_of_the_means_of_its_terms():
    problem = problem_of("pinn_heat", initial_weight=3.0, edge_weight=0.5, boundary_share=0.25)
    batch = arranged(problem, 96)
    x = jax.random.normal(jax.random.key(1), (96, len(problem.entries)))

    @jax.jit
    def residuals_and_losses(x, batch):
        u = dict(zip(problem.entries, x.T, strict=True))
        losses = problem.loss(problem.simulate(x, batch), batch)
        return problem.residuals(u, batch.inputs), losses

    residuals, losses = residuals_and_losses(x, batch)
    kind = np.asarray(batch.kind)
    means = [np.mean(np.square(r)[kind == k]) for k, r in enumerate(residuals)]
    np.testing.assert_allclose(np.mean(losses), 0.5 * np.dot([1.0, 3.0, 0.5], means), rtol=1e-14)


def test_points_on_the_grid_are_midpoints_of_cells_and_edges():
    problem = problem_of("pinn_poisson", points="grid")
    batch = arranged(problem, 1020)
    kind, points = np.asarray(batch.kind), np.asarray(batch.inputs)
    middle = (np.arange(30) + 0.5) / 30
    expected = np.stack(np.meshgrid(middle, middle, indexing="ij"), axis=-1).reshape(-1, 2)
    np.testing.assert_allclose(points[kind == 0], expected, atol=1e-15)
    edge = points[kind == 1].reshape(4, 30, 2)
    for side, (axis, value) in zip(edge, [(0, 0), (0, 1), (1, 0), (1, 1)], strict=True):
        np.testing.assert_array_equal(side[:, axis], value)
        np.testing.assert_allclose(side[:, 1 - axis], middle, atol=1e-13)
    with pytest.raises(OptionError, match="900 or 961"):
        grid(np.arange(940), 940, 2)


def test_the_faces_of_a_cube_are_hit_equally_often():
    low, high = np.array([0.0, -1.0, 2.0]), np.array([1.0, 1.0, 5.0])
    faces = tuple((axis, end) for axis in range(3) for end in (low[axis], high[axis]))
    unit = jnp.asarray(lattice(np.arange(6000), 2))
    points = np.asarray(on_faces(unit, faces, low, high))
    assert np.all((points >= low) & (points <= high))
    for axis, end in faces:
        assert abs(np.sum(points[:, axis] == end) - 1000) < 20
        inside = np.delete(points[points[:, axis] == end], axis, axis=1)
        centre = np.delete((low + high) / 2, axis)
        np.testing.assert_allclose(inside.mean(axis=0), centre, atol=0.05)


def test_held_out_points_are_an_even_lattice_that_integrates_accurately():
    """The mean of u*^2 is 1/4; 1024 random points would be off by 4 %."""
    problem = problem_of("pinn_poisson", boundary="hard")
    held_out = jax.jit(problem.held_out)
    small, large = (held_out(jax.random.split(KEY, 2 * n)) for n in (64, 1024))
    np.testing.assert_array_equal(small.inputs[:64], large.inputs[:64])
    np.testing.assert_array_equal(small.inputs[64:], large.inputs[1024:1088])
    np.testing.assert_allclose(np.mean(large.extra[1024:] ** 2), 0.25, rtol=0.01)
    distances = np.linalg.norm(large.inputs[:1024, None] - large.inputs[None, 1024:], axis=-1)
    assert distances.min() > 0.2 / 32, "no test point is a validation point"


def test_the_further_test_set_is_a_grid_with_its_ends():
    problem = problem_of("pinn_heat", test_grid=(3, 4))
    held_out = held_out_samples(problem, 12)
    expected = [[t, x] for t in (0, 0.5, 1) for x in (0, 1 / 3, 2 / 3, 1)]
    np.testing.assert_allclose(held_out.inputs[24:], expected, atol=1e-15)
    np.testing.assert_allclose(held_out.extra[24:], problem.exact(held_out.inputs[24:]), rtol=1e-14)
    assert held_out_sets(problem) == ("validation", "test", "test_grid")
    with pytest.raises(OptionError, match="product is heldout_size=16"):
        held_out_samples(problem, 16)


def test_the_relative_error_is_that_of_the_interior_points():
    problem = problem_of("pinn_poisson")
    batch = jax.jit(problem.held_out)(jax.random.split(KEY, 128))
    x = jax.random.normal(jax.random.key(1), (128, 2))
    terms = jax.tree.map(np.asarray, problem.set_terms(x, problem.simulate(x, batch), batch))
    inside, true = np.asarray(batch.kind) == 0, np.asarray(batch.extra)
    error = np.asarray(x)[:, 0] - true
    expected = np.linalg.norm(error[inside]) / np.linalg.norm(true[inside])
    assert 0 < inside.sum() < 128
    np.testing.assert_allclose(problem.set_metrics(terms)["relative_l2"], expected, rtol=1e-14)


def test_adaptive_points_follow_the_residual():
    """|r| is 1 left of the middle and 0 right of it, so p ~ 3 : 1, with c = 1 and a mean of 1/2."""
    problem = problem_of("pinn_poisson", points="adaptive", candidates=50)

    def losses(batch: Batch) -> jax.Array:
        return 0.5 * (batch.inputs[:, 0] < 0.5).astype(float)

    size = 1700
    batch = jax.jit(lambda key: problem.adapted(size, key, losses))(KEY)
    inside = np.asarray(batch.kind) == 0
    assert inside.sum() == 1500
    left = np.mean(np.asarray(batch.inputs)[inside, 0] < 0.5)
    # Standard deviation sqrt(0.75 0.25 / 1500) = 0.011; 2 % of the candidates are taken away.
    assert abs(left - 0.75) < 0.04
    assert len(np.unique(np.asarray(batch.inputs)[inside], axis=0)) == 1500, "no replacement"
    edge = np.asarray(batch.inputs)[~inside]
    assert np.all(np.any((edge == 0) | (edge == 1), axis=1))


def test_graded_points_are_dense_in_the_shock():
    problem = problem_of("pinn_burgers", points="graded")
    x = np.asarray(arranged(problem, 1000).inputs)[:, 1]
    # The inverse of x = sinh(6 s) / sinh(6) gives the fraction with |x| < 0.01.
    expected = np.arcsinh(0.01 * np.sinh(6)) / 6
    assert abs(np.mean(np.abs(x) < 0.01) - expected) < 0.01

"""Spring networks: closed forms, invariances, and the bias of gradients from two states."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physopt.options import OptionError
from physopt.problems.springs import Springs, SpringsElastic, response
from physopt.problems.springs.elastic import UNIFORM, poisson_ratios, under_strain
from physopt.problems.springs.graph import Graph, boundary_bonds, triangular
from physopt.problems.springs.response import Network

SIZE = 4
free_state = jax.jit(response.free_state)
nudged_gradient = jax.jit(response.nudged_gradient)
coupled_gradient = jax.jit(response.coupled_gradient)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def tensor(graph, stiffness):
    """Return the elastic tensor of a periodic network."""
    state = free_state(under_strain(graph, stiffness.dtype), stiffness)
    return np.asarray(state.T * stiffness @ state) / graph.area


def chain(stiffness, outputs):
    """A chain in one dimension: one end is held, the other is pulled by 1."""
    bonds = len(stiffness)
    extensions = np.zeros((bonds, bonds - 1))
    inner = np.arange(bonds - 1)
    extensions[inner, inner], extensions[inner + 1, inner] = 1, -1
    imposed = np.zeros(bonds)
    imposed[-1] = 1
    return Network(*map(jnp.asarray, (extensions, imposed, np.eye(bonds)[outputs])))


@pytest.fixture(scope="module")
def allostery():
    """A small network in float64: problem, batch, x, dL/dx and dL/dk of each sample."""
    with jax.enable_x64(True):
        problem = Springs(size=SIZE, targets=3)
        batch = problem.sample(jax.random.split(jax.random.key(0), 2))
        batch = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), batch)
        x = jnp.asarray(0.5 * normal(1, 2, len(problem.graph().ends)))

        def loss(x):
            return jnp.mean(problem.loss(problem.simulate(x, batch), batch))

        return problem, batch, x, jax.jit(jax.grad(loss))(x)


def relative(a, b):
    return float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b))


# --- closed forms


def test_springs_of_a_chain_share_an_extension_by_their_compliance():
    with jax.enable_x64(True):
        k = jnp.asarray(np.exp(normal(0, 6)))
        np.testing.assert_allclose(
            free_state(chain(k, [0]), k), (1 / k) / jnp.sum(1 / k), rtol=1e-12
        )


def test_a_nudged_chain_follows_from_springs_in_parallel():
    """A nudge on one bond is a second spring at its side, here with the target for its length."""
    with jax.enable_x64(True):
        k, target = jnp.asarray(np.exp(normal(1, 4))), 0.6
        system, nudges = chain(k, [2]), (0.3, -0.2)

        def state(nudge):
            """Return the extensions under the tension T that all bonds share."""
            pull = nudge * jnp.eye(4)[2]
            # T = k_b e_b + pull_b (e_b - target), sum_b e_b = 1
            tension = (1 - jnp.sum(pull * target / (k + pull))) / jnp.sum(1 / (k + pull))
            return (tension + pull * target) / (k + pull)

        expected = (state(nudges[0]) ** 2 - state(nudges[1]) ** 2) / (2 * (nudges[0] - nudges[1]))
        actual = nudged_gradient(system, k, jnp.asarray([target]), nudges)
        np.testing.assert_allclose(actual, expected, atol=1e-14)


def test_equal_springs_on_a_triangular_lattice_are_isotropic():
    with jax.enable_x64(True):
        graph = triangular(SIZE, 0.0, 0, periodic=True)
        actual = tensor(graph, jnp.full(3 * SIZE**2, 2.0))
    np.testing.assert_allclose(actual, 2 * UNIFORM, atol=1e-13)
    # lambda = mu: C_11 = lambda + 2 mu, C_12 = lambda, C_33 = mu, and a Poisson ratio of 1/3.
    np.testing.assert_allclose(UNIFORM[0, 0] - UNIFORM[0, 1], 2 * UNIFORM[2, 2])
    np.testing.assert_allclose(poisson_ratios(UNIFORM), 1 / 3, rtol=1e-6)


def test_a_lattice_with_one_stiffness_per_direction_deforms_affinely():
    """Every node is a centre of symmetry, so no node moves: C is the sum of n n n n."""
    with jax.enable_x64(True):
        graph, k = triangular(SIZE, 0.0, 0, periodic=True), np.array([0.3, 1.0, 4.0])
        actual = tensor(graph, jnp.repeat(jnp.asarray(k), SIZE**2))
    angle = np.pi / 3 * np.arange(3)
    strain = np.stack([np.cos(angle) ** 2, np.sin(angle) ** 2, np.cos(angle) * np.sin(angle)])
    np.testing.assert_allclose(actual, strain * k @ strain.T * 2 / np.sqrt(3), atol=1e-13)


# --- invariances


def test_the_elastic_tensor_turns_with_the_network_and_is_below_the_affine_bound():
    angle = 0.7
    c, s = np.cos(angle), np.sin(angle)
    rotation = np.array([[c, -s], [s, c]])
    # Strains (xx, yy, 2 xy) in the network's frame from those in the fixed frame.
    strain = np.array([[c * c, s * s, c * s], [s * s, c * c, -c * s],
                       [-2 * c * s, 2 * c * s, c * c - s * s]])  # fmt: skip
    with jax.enable_x64(True):
        graph = triangular(SIZE, 0.2, 0, periodic=True)
        k = jnp.asarray(np.exp(normal(2, 3 * SIZE**2)))
        turned = Graph(graph.positions @ rotation.T, graph.ends, graph.vectors @ rotation.T,
                       graph.area)  # fmt: skip
        still = tensor(graph, k)
        np.testing.assert_allclose(tensor(turned, k), strain.T @ still @ strain, atol=1e-12)
        affine = under_strain(graph, k.dtype).imposed
        above = np.asarray(affine.T * k @ affine) / graph.area - still
    np.testing.assert_allclose(still, still.T, atol=1e-13)
    assert np.linalg.eigvalsh(above).min() > 0.01  # all nodes of a disordered network move
    assert np.linalg.eigvalsh(still).min() > 0.01


def test_strains_depend_on_ratios_of_stiffness_alone(allostery):
    problem, batch, x, _ = allostery
    with jax.enable_x64(True):
        _, slope = jax.jit(problem.linearize)(x, batch)
        # Euler's theorem for degree 0, sum_b k_b dy/dk_b = 0, with dk/dx = k log R (1 - tanh^2 x).
        of_logarithm = slope / (1 - jnp.tanh(x) ** 2)[:, None]
        assert float(jnp.abs(of_logarithm.sum(-1)).max()) < 1e-13
        assert float(jnp.abs(of_logarithm).max()) > 1e-3


def test_the_source_has_unit_strain_and_every_free_node_is_in_balance(allostery):
    problem, batch, x, _ = allostery
    with jax.enable_x64(True):
        graph, (source, targets) = problem.graph(), problem.ports()
        extension = np.asarray(problem.states(x))
        stiffness = np.asarray(problem.stiffness(x))
        assert stiffness.min() > 0.1
        assert stiffness.max() < 10
        np.testing.assert_allclose(extension[:, source], graph.lengths[source])
        y = problem.simulate(x, batch)
        np.testing.assert_allclose(y, extension[:, targets] / graph.lengths[targets], atol=1e-15)
        force = (stiffness * extension @ graph.extensions()).reshape(2, -1, 2)
        held = graph.ends[source]
        np.testing.assert_allclose(np.delete(force, held, axis=1), 0, atol=1e-13)
        # Without outer forces: no torque of the clamped pair, only a tension along the source.
        across = force[:, held[0]] @ np.array([[0, -1], [1, 0]]) @ graph.vectors[source]
        np.testing.assert_allclose(across, 0, atol=1e-13)


def test_ports_are_bonds_on_the_boundary_that_a_network_can_stretch():
    graph = triangular(8, 0.2, 3, periodic=False)
    bonds = boundary_bonds(graph)
    # 4 (8 - 1) sides, and two at each of the two acute corners are left out.
    assert len(bonds) == 28 - 4
    middle = graph.positions[graph.ends[bonds[0]]].mean(axis=0)
    assert middle[1] < 0.25
    assert abs(middle[0] - graph.positions[:, 0].mean()) < 0.75
    source, targets = Springs(targets=5).ports()
    assert len({source, *targets}) == 6
    assert len(graph.ends) == 3 * 64 - 4 * 8 + 1


# --- gradients


@pytest.mark.parametrize(
    "problem",
    [Springs(size=SIZE, targets=2), SpringsElastic(size=SIZE),
     SpringsElastic(size=SIZE, observable="poisson_ratio")],
    ids=["allostery", "tensor", "poisson_ratio"],
)  # fmt: skip
def test_gradient_and_jacobian_agree_with_differences(problem):
    with jax.enable_x64(True):
        batch = problem.sample(jax.random.split(jax.random.key(0), 2))
        x = jnp.asarray(0.5 * normal(3, *problem.initial_unknowns(batch).shape))
        simulate = jax.jit(partial(problem.simulate, batch=batch))
        y, slope = jax.jit(problem.linearize)(x, batch)
        step, direction = 1e-5, jnp.asarray(normal(4, *x.shape))
        ahead, behind = (simulate(x + sign * step * direction) for sign in (1, -1))
        np.testing.assert_allclose(y, simulate(x), atol=1e-13)
        moved = jnp.einsum("byk,bk->by", slope, direction)
        # The third derivative times step^2, and rounding errors of 1e-16 / step.
        np.testing.assert_allclose(moved, (ahead - behind) / (2 * step), atol=1e-8)
        weight = jnp.asarray(normal(5, *y.shape))
        gradient = jax.jit(jax.grad(lambda x: jnp.sum(weight * problem.simulate(x, batch))))(x)
        pulled = jnp.einsum("byk,by->bk", slope, weight)
        np.testing.assert_allclose(gradient, pulled, atol=1e-12)


def test_wanted_elasticity_has_a_solution():
    problem = SpringsElastic(size=SIZE)
    batch = problem.sample(jax.random.split(jax.random.key(0), 8))
    stable = np.zeros((8, 3, 3))
    for k, (i, j) in enumerate(((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))):
        stable[:, i, j] = stable[:, j, i] = batch.target[:, k]
    assert np.linalg.eigvalsh(stable).min() > 0
    with pytest.raises(OptionError, match="even size"):
        SpringsElastic(size=5)


# --- equilibrium propagation and coupled learning


def test_equilibrium_propagation_has_a_bias_of_second_order_if_symmetric(allostery):
    problem, batch, x, gradient = allostery
    with jax.enable_x64(True):
        estimate = jax.jit(problem.estimate_gradient_equilibrium, static_argnums=3)
        errors = [relative(estimate(x, batch, None, nudge), gradient) for nudge in (2e-2, 1e-2)]
        # Rounding does not limit a small nudge, and an unstable one is reported.
        assert relative(estimate(x, batch, None, 1e-8), gradient) < 1e-11
        assert bool(jnp.isnan(estimate(x, batch, None, 1e3)).all())
    assert 1e-8 < errors[1] < 1e-2
    # The next terms of the bias are nudge / stiffness of the outputs, some per cent, smaller.
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)


def test_a_one_sided_nudge_has_a_bias_of_first_order(allostery):
    problem, batch, x, _ = allostery
    with jax.enable_x64(True):
        system, k = problem.system(x.dtype), problem.stiffness(x)[0]

        def loss(k):
            return 0.5 * jnp.sum((system.outputs @ free_state(system, k) - batch.target[0]) ** 2)

        exact = jax.jit(jax.grad(loss))(k)
        one, half, both = (
            relative(nudged_gradient(system, k, batch.target[0], nudges), exact)
            for nudges in ((1e-2, 0.0), (5e-3, 0.0), (1e-2, -1e-2))
        )
    assert one / half == pytest.approx(2, rel=0.05)
    assert both < 0.1 * one


def test_coupled_learning_weighs_misfits_by_the_stiffness_of_the_outputs(allostery):
    """Against the gradient of 1/2 (y - y*)^T S (y - y*) with S held, found by columns of K^-1."""
    problem, batch, x, _ = allostery
    with jax.enable_x64(True):
        system, k, target = problem.system(x.dtype), problem.stiffness(x)[0], batch.target[0]
        to_outputs = system.outputs @ system.extensions
        matrix = system.extensions.T @ (k[:, None] * system.extensions)
        weight = jnp.linalg.inv(to_outputs @ jnp.linalg.inv(matrix) @ to_outputs.T)

        def loss(k):
            misfit = system.outputs @ free_state(system, k) - target
            return 0.5 * misfit @ weight @ misfit

        expected = jax.jit(jax.grad(loss))(k)
        errors = [relative(coupled_gradient(system, k, target, nudge), expected)
                  for nudge in (1e-2, 5e-3, 1e-9)]  # fmt: skip
        # At nudge = 1 the clamped state has the wanted outputs: e_C^2 = e^2 + 2 estimate.
        free = free_state(system, k)
        squared = free**2 + 2 * coupled_gradient(system, k, target, 1.0)
        # Bonds at a corner are never stretched: rounding may leave a negative square.
        reached = system.outputs @ jnp.sqrt(jnp.maximum(squared, 0))
        np.testing.assert_allclose(reached, jnp.abs(target), rtol=1e-10)
    assert errors[0] / errors[1] == pytest.approx(2, rel=1e-3)  # linear in the nudge
    assert errors[2] < 1e-7


def test_the_figure_shows_both_networks_and_the_outputs():
    for problem in (Springs(**Springs.tiny), SpringsElastic(**SpringsElastic.tiny)):
        batch = problem.sample(jax.random.split(jax.random.key(0), 2))
        x = jnp.ones_like(problem.initial_unknowns(batch))
        figure = problem.figure(x, problem.simulate(x, batch), batch)
        before, after = (figure.axes[k].collections[-1].get_linewidth() for k in (0, 2))
        np.testing.assert_allclose(before, 1.3)
        np.testing.assert_allclose(after, 1.3 * np.sqrt(10 ** np.tanh(1)), rtol=1e-5)

"""Randomised gradients: unbiased, exact with everything kept, and smaller in memory."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from physopt.objective import build
from physopt.optimizers.first_order import Adam
from physopt.optimizers.randomized import Randomized
from physopt.problems.burgers import Burgers
from physopt.problems.heat import Heat
from physopt.problems.oscillators import Oscillators
from physopt.problems.quantum import QuantumDipole

BATCH, DRAWS = 3, 400
PROBLEMS = [
    Oscillators(steps=6, time_step=0.5),
    QuantumDipole(points=4, steps=5),
    Burgers(cells=8, steps=4),
    Burgers(cells=8, steps=4, closed=True, jerk=0.001),
]
NAMES = ["oscillators", "quantum", "burgers", "closed"]


def gradients(problem, dtype):
    """Return y, dL/dx and the function (key, fraction) -> estimate of dL/dx, y."""
    batch = problem.sample(jax.random.split(jax.random.key(0), BATCH)).at(0.0)
    objective, params = build(problem, "default", 0)
    x = objective.predict(params, batch.inputs).astype(dtype)
    x = x + 0.3 * jax.random.normal(jax.random.key(1), x.shape, dtype)
    batch = jax.tree.map(lambda leaf: leaf.astype(dtype), batch)

    def loss(x, simulate, *options):
        y = simulate(x, batch, *options)
        return jnp.mean(problem.loss(y, batch)), y

    exact, y = jax.jit(jax.grad(lambda x: loss(x, problem.simulate), has_aux=True))(x)

    def estimate(key, fraction):
        return jax.grad(lambda x: loss(x, problem.simulate_randomized, key, fraction),
                        has_aux=True)(x)  # fmt: skip

    return y, exact, estimate


@pytest.mark.parametrize("problem", PROBLEMS, ids=NAMES)
def test_the_mean_over_keys_is_the_gradient(problem):
    with jax.enable_x64(True):
        y, exact, estimate = gradients(problem, jnp.float64)
        keys = jax.random.split(jax.random.key(2), DRAWS)
        drawn, simulated = jax.jit(jax.vmap(lambda key: estimate(key, 0.4)))(keys)
        np.testing.assert_allclose(simulated, np.broadcast_to(y, simulated.shape), atol=1e-12)
        variance = np.sum(np.var(drawn, axis=0, ddof=1))
        # The squared error of a mean of independent draws has the expectation variance / draws.
        assert np.sum((drawn.mean(0) - exact) ** 2) < 3 * variance / DRAWS
        assert variance > 1e-6 * np.sum(exact**2)
        if not isinstance(problem, Burgers):  # which draws with weights, not one of each
            whole, _ = jax.jit(lambda key: estimate(key, 1.0))(keys[0])
            np.testing.assert_allclose(whole, exact, atol=1e-12)


@pytest.mark.parametrize(
    "problem",
    [QuantumDipole(steps=96), Oscillators(steps=96), Burgers(cells=32, steps=32)],
    ids=["quantum", "oscillators", "burgers"],
)
def test_compiled_memory_falls_with_the_fraction(problem):
    """The temporary memory of the compiled gradient, of which the trajectory is nearly all."""
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 128))
    batch = jax.eval_shape(problem.sample, keys)
    network = problem.network(nnx.Rngs(0))
    x = jax.eval_shape(lambda batch: network(batch.inputs), batch)

    def temporary_bytes(simulate):
        def loss(x, batch, key):
            return jnp.mean(problem.loss(simulate(x, batch, key), batch))

        program = jax.jit(jax.grad(loss)).lower(x, batch, jax.random.key(0)).compile()
        analysis = program.memory_analysis()
        assert analysis
        return analysis.temp_size_in_bytes

    whole = temporary_bytes(lambda x, batch, key: problem.simulate(x, batch))
    parts = [
        temporary_bytes(partial(problem.simulate_randomized, fraction=fraction))
        for fraction in (0.5, 0.1)
    ]
    # Arrays of the size of x remain, whatever the fraction.
    rest = parts[1] - (parts[0] - parts[1]) / 4
    assert parts[1] - rest < (whole - rest) / 5
    assert parts[1] < 0.5 * whole


def test_the_rule_makes_the_step_of_adam_with_everything_kept():
    problem = Oscillators(steps=6, hidden=(4,))
    objective, params = build(problem, "default", 0)
    batch = problem.sample(jax.random.split(jax.random.key(0), BATCH)).at(0.0)
    steps = []
    for rule in (Randomized(fraction=1.0), Adam()):
        state = rule.init(objective, params, jax.random.key(1))
        steps.append(jax.jit(rule.update)(objective, params, state, batch, jax.random.key(2)))
    (ours, _, info), (theirs, _, expected) = steps
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), ours, theirs)
    assert {k: int(info[k]) for k in ("n_simulate", "n_vjp")} == {
        k: int(expected[k]) for k in ("n_simulate", "n_vjp")
    }


def test_linear_physics_keeps_no_activations_and_is_refused():
    """Diffusion with constant coefficients: reverse mode keeps nothing that has a batch."""
    problem = Heat(size=8, levels=1)
    batch = problem.sample(jax.random.split(jax.random.key(0), 7))
    _, pull = jax.vjp(lambda x: problem.simulate(x, batch), batch.extra)
    assert all(7 not in jnp.shape(leaf) for leaf in jax.tree.leaves(pull))
    assert "simulate_randomized" in str(Randomized().refuses(build(problem, "default", 0)[0]))

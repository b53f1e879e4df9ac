"""Scale-invariant physics training and rules with estimated gradients: their cotangents."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from tiny import Tiny

from physopt.objective import build
from physopt.optimizers.estimated import CoupledLearning, EquilibriumPropagation, Subsampled
from physopt.optimizers.first_order import SGD, Adam
from physopt.optimizers.randomized import Randomized
from physopt.optimizers.sip import SIP
from physopt.training.per_sample import build_unknowns

BATCH = 8
SIP_SGD = SIP(optimizer="sgd", learning_rate=0.1)


def case(problem):
    objective, params = build(problem, "default", seed=0)
    return objective, params, problem.sample(jax.random.split(jax.random.key(1), BATCH)).at(0.0)


def update(rule, objective, params, batch):
    state = rule.init(objective, params, jax.random.key(0))
    return jax.jit(rule.update)(objective, params, state, batch, jax.random.key(0))


def flat(tree):
    return np.asarray(ravel_pytree(tree)[0])


@dataclasses.dataclass(frozen=True)
class Descending(Tiny):
    """Its inverse step is that of gradient descent, x - dl/dx for each sample."""

    def invert(self, x, batch):
        return x - jax.grad(lambda x: jnp.sum(self.loss(self.simulate(x, batch), batch)))(x)


@dataclasses.dataclass(frozen=True)
class Solved(Tiny):
    """Solves exactly; the physics is scaled as a whole, and the same x solves it at any scale."""

    scale: float = 1.0

    def sample(self, keys):
        batch = super().sample(keys)
        return dataclasses.replace(batch, target=self.scale * batch.target)

    def simulate(self, x, batch):
        return self.scale * super().simulate(x, batch)

    def invert(self, x, batch):
        return batch.target / (self.scale * self.scales(x.dtype))


def test_the_step_of_gradient_descent_in_x_gives_the_gradient():
    """With U = -dL/dx SIP is gradient descent in theta."""
    actual = update(SIP_SGD, *case(Descending()))
    expected = update(SGD(learning_rate=0.1, momentum=0.0), *case(Descending()))
    np.testing.assert_allclose(flat(actual[0]), flat(expected[0]), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(actual[2]["loss"], expected[2]["loss"], rtol=1e-6)
    assert actual[2]["own_solver"] == 1.0


def test_the_scale_of_the_physics_does_not_matter():
    """The same x solves the problem at every scale; the gradient grows with its square."""
    one, hundred = Solved(), Solved(scale=100.0)
    steps = [flat(update(SIP_SGD, *case(problem))[0]) for problem in (one, hundred)]
    np.testing.assert_allclose(*steps, rtol=1e-4, atol=1e-7)
    descent = SGD(learning_rate=0.1, momentum=0.0)
    gradients = [flat(update(descent, *case(problem))[0]) for problem in (one, hundred)]
    np.testing.assert_allclose(gradients[1], 1e4 * gradients[0], rtol=1e-3, atol=1e-3)


def test_an_exact_inverse_without_a_network_solves_in_one_step():
    problem = Solved(scale=30.0)
    _, _, batch = case(problem)
    objective, x = build_unknowns(problem, jnp.zeros((BATCH, 3)))
    # The mean loss has 1/batch, which this learning rate undoes.
    updates, _, info = update(SIP_SGD.replace(learning_rate=BATCH), objective, x, batch)
    after = objective.value(optax.apply_updates(x, updates), batch)
    assert after < 1e-10 * info["loss"]


def test_many_steps_for_one_solve_are_a_regression():
    """repeat = k is k steps of the optimiser towards the same x~, and costs one solve."""
    objective, params, batch = case(Solved())
    updates, _, info = update(SIP_SGD.replace(repeat=5), objective, params, batch)
    assert info["n_invert"] == BATCH
    goal, theta = Solved().invert(batch.inputs, batch), params

    def proxy(theta):
        return jnp.mean(0.5 * jnp.sum((objective.predict(theta, batch.inputs) - goal) ** 2, -1))

    for _ in range(5):
        theta = optax.tree.add_scale(theta, -0.1, jax.grad(proxy)(theta))
    expected = flat(optax.tree.sub(theta, params))
    np.testing.assert_allclose(flat(updates), expected, rtol=1e-3, atol=1e-6)


def test_a_problem_without_solver_gets_the_generic_step():
    objective, params, batch = case(Tiny())
    rule = SIP_SGD.replace(inner=3)
    _, _, info = update(rule, objective, params, batch)
    assert info["own_solver"] == 0.0
    assert "generic" in rule.plan(objective, params, batch)
    assert "own" in rule.plan(*case(Solved()))
    # Per sample and iteration: one step, and one vjp for each of the 3 outputs.
    assert (info["n_invert"], info["n_vjp"]) == (3 * BATCH, 9 * BATCH)
    x = objective.predict(params, batch.inputs)
    goals = [x]
    for _ in range(3):
        goals.append(objective.invert(goals[-1], batch))
    np.testing.assert_allclose(
        info["proxy_loss"], 0.5 * jnp.mean(jnp.sum((x - goals[3]) ** 2, -1)), rtol=1e-5
    )
    losses = [objective.mean_loss(goal, batch) for goal in goals]
    assert losses == sorted(losses, reverse=True)


def test_a_line_search_sees_the_proxy_loss():
    """On the true loss, which has another gradient, the line search would find no step."""
    objective, params, batch = case(Solved(scale=100.0))
    rule = SIP(optimizer="lbfgs", learning_rate=1.0)
    updates, _, before = update(rule, objective, params, batch)
    _, _, after = update(rule, objective, optax.apply_updates(params, updates), batch)
    assert after["proxy_loss"] < before["proxy_loss"]


@dataclasses.dataclass(frozen=True)
class Estimating(Tiny):
    """Its estimates are the gradient times the option that it gets."""

    def estimate_gradient_equilibrium(self, x, batch, key, nudge):
        return jax.tree.map(lambda g: nudge * g, self._gradient(x, batch))

    def estimate_gradient_coupled(self, x, batch, key, nudge):
        return self.estimate_gradient_equilibrium(x, batch, key, nudge)

    def estimate_gradient_subsampled(self, x, batch, key, fraction):
        keep = jax.random.bernoulli(key, fraction)
        return jnp.where(keep, self._gradient(x, batch) / fraction, 0)

    def _gradient(self, x, batch):
        return jax.grad(lambda x: jnp.mean(self.loss(self.simulate(x, batch), batch)))(x)


@dataclasses.dataclass(frozen=True)
class Single(Tiny):
    """Has a single estimator, without options."""

    def estimate_gradient(self, x, batch, key):
        return jax.grad(lambda x: jnp.mean(self.loss(self.simulate(x, batch), batch)))(x)


@pytest.mark.parametrize(
    ("rule", "problem", "pulled"),
    [
        (EquilibriumPropagation(nudge=1.0), Estimating(), 0),
        (CoupledLearning(nudge=1.0), Estimating(), 0),
        (Subsampled(fraction=1.0), Estimating(), BATCH),
        (Randomized(fraction=1.0), Estimating(), BATCH),
        (EquilibriumPropagation(), Single(), 0),
        (Subsampled(fraction=0.25), Single(), BATCH / 4),
    ],
)
def test_an_exact_estimate_gives_adam(rule, problem, pulled):
    actual, _, info = update(rule, *case(problem))
    expected, _, _ = update(Adam(), *case(problem))
    np.testing.assert_allclose(flat(actual), flat(expected), rtol=1e-4, atol=1e-7)
    assert info["n_vjp"] == pulled


def test_options_reach_the_estimator():
    objective, params, batch = case(Estimating())
    norms = [
        update(rule, objective, params, batch)[2]["grad_norm"]
        for rule in (EquilibriumPropagation(nudge=1.0), EquilibriumPropagation(nudge=0.25))
    ]
    np.testing.assert_allclose(norms[1], 0.25 * norms[0], rtol=1e-5)


def test_problems_without_estimates_are_refused():
    objective, _, _ = case(Tiny())
    assert "estimate_gradient_equilibrium" in str(EquilibriumPropagation().refuses(objective))
    assert "estimate_gradient_subsampled" in str(Subsampled().refuses(objective))
    assert "simulate_randomized" in str(Randomized().refuses(objective))
    assert Randomized().refuses(case(Estimating())[0]) is None

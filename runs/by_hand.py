"""Half-inverse gradients on the inverse design of porous matrices: one file, no framework.

    python runs/by_hand.py      about a minute on two CPU cores

A dense network reads a water sorption isotherm y*(h) and predicts a porous matrix eta with that
isotherm. The physics is a mean-field lattice density functional theory on a periodic square
lattice. The water density rho in [0, eta] at relative humidity h is the least fixed point of

    rho_i = eta_i sigmoid(ln h - 2 b + b sum_j rho_j + b r sum_j (1 - eta_j)),

where j runs over the four neighbours of i, and y(h) = sum_i rho_i / sum_i eta_i. The
loss of a batch of b targets is L = 1/2 |r|^2 with r = (y - y*) / sqrt(b) [outputs of the batch].
With its Jacobian dr/dtheta = U S V^T [outputs of the batch, parameters], the update is

    theta <- theta - learning_rate V S^(-1/2) U^T r.

Everything runs in float64. tests/runs/test_by_hand.py checks that physopt makes the same updates.

Sources: H. Liu et al., npj Computational Materials 9, 121 (2023); P. Schnell, P. Holl, N. Thuerey,
arXiv:2203.10131 (ICLR 2022).
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

HUMIDITIES = np.arange(1, 41) / 40
COUPLING = 647.0 / 298.0  # b: critical temperature of water over room temperature
RATIO = 1.5  # r: attraction of water by a solid site over that by a full one
TOLERANCE = 1e-11  # largest change of the density in the last sweep


# --- The physics: one matrix eta [n, n], one humidity h


def neighbour_sum(x):
    """Return the sum over the four nearest neighbours of each site."""
    return sum(jnp.roll(x, shift, axis) for axis in (0, 1) for shift in (1, -1))


def sweep(rho, eta, h):
    """Return the right-hand side of the equation for rho."""
    attraction = COUPLING * (neighbour_sum(rho) + RATIO * neighbour_sum(1 - eta))
    return eta * jax.nn.sigmoid(jnp.log(h) - 2 * COUPLING + attraction)


def uptake(eta, h):
    """Return y(h), differentiable by the implicit function theorem.

    Sweeps find the fixed point. One Newton step from it changes rho by rounding only, and has the
    derivative of the fixed point in eta, (I - d sweep/d rho)^-1 d sweep/d eta.
    """
    constant = jax.lax.stop_gradient(eta)
    rho, _ = jax.lax.while_loop(
        lambda state: jnp.max(jnp.abs(state[0] - state[1])) > TOLERANCE,
        lambda state: (sweep(state[0], constant, h), state[0]),
        (sweep(0 * constant, constant, h), 0 * constant),
    )
    response = jax.jacobian(sweep)(rho, constant, h).reshape(eta.size, eta.size)
    newton = jnp.linalg.solve(jnp.eye(eta.size) - response, (sweep(rho, eta, h) - rho).ravel())
    return jnp.sum(rho.ravel() + newton) / jnp.sum(eta)


def isotherm(eta):
    """Return y at all humidities [40]."""
    return jax.vmap(uptake, in_axes=(None, 0))(eta, HUMIDITIES)


# --- The samples


def random_target(key, size):
    """Draw the isotherm of a random matrix, whose porosity is uniform in [0.1, 0.95]."""
    porosity_key, field_key = jax.random.split(key)
    porosity = jax.random.uniform(porosity_key, minval=0.1, maxval=0.95)
    field = jax.random.uniform(field_key, (size, size))
    return isotherm(jnp.where(field <= jnp.quantile(field, porosity), 1.0, 0.0))


# --- The network


def initial_parameters(key, size, hidden):
    """Draw LeCun-normal weights; a last bias of N(0, 1) makes the sites differ from the start."""
    first_key, last_key, bias_key = jax.random.split(key, 3)
    points, sites = HUMIDITIES.size, size**2
    first = jax.random.normal(first_key, (points, hidden)) / points**0.5
    last = jax.random.normal(last_key, (hidden, sites)) / hidden**0.5
    return [(first, jnp.zeros(hidden)), (last, jax.random.normal(bias_key, sites))]


def matrix(params, target, progress):
    """Predict eta [n, n] = sigmoid(k x); x is the network's output for a target isotherm [40].

    k rises from 1 to 8 with the progress in [0, 1] of the training. From 60 % on eta is rounded,
    with the derivative of the sigmoid.
    """
    (weights, bias), (last_weights, last_bias) = params
    x = jax.nn.gelu((2 * target - 1) @ weights + bias) @ last_weights + last_bias
    eta = jax.nn.sigmoid(8 ** jnp.minimum(1, 1.5 * progress) * x)
    eta += jax.lax.stop_gradient(jnp.where(progress >= 0.6, jnp.round(eta) - eta, 0))
    return eta.reshape(round(eta.size**0.5), -1)


# --- The update


@jax.jit
def half_inverse(params, targets, progress, tau):
    """Return L = 1/2 |r|^2 for targets [batch, 40], and V S^(-1/2) U^T r.

    Singular values below tau times the largest one are dropped.
    """
    theta, unravel = ravel_pytree(params)

    def output(theta, target, h):
        return uptake(matrix(unravel(theta), target, progress), h)

    over_humidities = jax.vmap(jax.value_and_grad(output), in_axes=(None, None, 0))
    y, jacobian = jax.vmap(over_humidities, in_axes=(None, 0, None))(theta, targets, HUMIDITIES)
    root = len(targets) ** 0.5
    residual = (y - targets).ravel() / root
    jacobian = jacobian.reshape(residual.size, theta.size) / root
    u, s, vt = jnp.linalg.svd(jacobian, full_matrices=False)
    weights = jnp.where(s >= tau * s[0], s, jnp.inf) ** -0.5
    return 0.5 * residual @ residual, unravel(vt.T @ (weights * (u.T @ residual)))


def train(size=8, hidden=64, batch=4, steps=60, tau=0.1, learning_rate=0.35, seed=0):
    """Train, and return the mean area error 100 mean_h |y - y*| of 32 rounded matrices."""
    key = jax.random.key(seed)
    params = initial_parameters(key, size, hidden)
    schedule = optax.cosine_decay_schedule(learning_rate, steps)
    optimizer = optax.chain(
        optax.scale_by_learning_rate(schedule), optax.clip_by_global_norm(0.1), optax.trace(0.9)
    )
    state = optimizer.init(params)
    sample = jax.jit(jax.vmap(lambda key: random_target(key, size)))
    test = sample(jax.random.split(jax.random.fold_in(key, steps), 32))

    @jax.jit
    def error(params):
        y = jax.vmap(lambda target: isotherm(matrix(params, target, progress=1.0)))(test)
        return 100 * jnp.mean(jnp.abs(y - test))

    for step in range(steps):
        keys = jax.random.split(jax.random.fold_in(key, step), batch)
        loss, direction = half_inverse(params, sample(keys), step / steps, tau)
        updates, state = optimizer.update(direction, state)
        params = optax.apply_updates(params, updates)
        if step % 10 == 0:
            print(f"step {step}: loss {loss:.2e}, area error {error(params):.2f} %", flush=True)
    return float(error(params))


if __name__ == "__main__":
    with jax.enable_x64(True):
        print(f"area error after training: {train():.2f} %")

"""Linear response of a spring network, and its states with nudged or clamped outputs.

With displacements s of the free degrees of freedom, extensions e = A s + e_0 of the bonds, e_0
those imposed by clamped inputs, and stiffnesses k, the energy is

    E(s, k) = 1/2 sum_b k_b e_b^2,   K s = -A^T k e_0 at its minimum,   K = A^T diag(k) A.

Outputs are y = C e. All functions take one sample and are vmapped over a batch: A [bonds, free],
C [outputs, bonds], k, e_0 [bonds].
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_factor, cho_solve, solve

from physopt.numerics.linalg import HIGHEST


class Network(NamedTuple):
    """A spring network with a clamped input: the arrays of the module's equations."""

    extensions: jax.Array
    """A [bonds, free]"""
    imposed: jax.Array
    """e_0 [bonds], or [bonds, loads] for several inputs"""
    outputs: jax.Array
    """C [outputs, bonds]"""


def product(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return a b without the rounded operands of a GPU or TPU."""
    return jnp.matmul(a, b, precision=HIGHEST)


def stiffness_matrix(extensions: jax.Array, stiffness: jax.Array) -> jax.Array:
    """Return K = A^T diag(k) A, [free, free]."""
    return product(extensions.T * stiffness, extensions)


def free_state(network: Network, stiffness: jax.Array) -> jax.Array:
    """Return the extensions at the minimum of the energy, shaped like e_0.

    The derivative is that of the linear system; a singular K gives NaN.
    """
    matrix = stiffness_matrix(network.extensions, stiffness)
    force = product(network.extensions.T * stiffness, network.imposed)
    return network.imposed - product(network.extensions, solve(matrix, force, assume_a="pos"))


def state_and_response(network: Network, stiffness: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return e [bonds] and the extensions due to unit forces on the outputs [bonds, outputs].

    The latter are A K^-1 A^T C^T; one factorisation gives both.
    """
    matrix = stiffness_matrix(network.extensions, stiffness)
    sources = jnp.concatenate([(stiffness * network.imposed)[:, None], network.outputs.T], axis=1)
    force = product(network.extensions.T, sources)
    moved = product(network.extensions, solve(matrix, force, assume_a="pos"))
    return network.imposed - moved[:, 0], moved[:, 1:]


def nudged_gradient(
    network: Network, stiffness: jax.Array, target: jax.Array, nudges: tuple[float, float]
) -> jax.Array:
    """Return dL/dk [bonds] by equilibrium propagation between the states at two nudges.

    dE/dk_b = e_b^2 / 2, so the estimate is (e_1^2 - e_2^2) / (2 (nudge_1 - nudge_2)). Its error is
    of the order of the larger nudge, and of its square for the nudges b and -b. With
    L = 1/2 |y - y*|^2, a nudge adds springs of stiffness b that pull the outputs to their targets:

        K_b = K + b (C A)^T C A,   K_b (s_b - s) = -b (C A)^T (y - y*).

    The differences s_b - s are solved for, because subtracting two states loses their digits at a
    small nudge. A negative nudge that makes the energy unbounded gives NaN.

    Source: B. Scellier, Y. Bengio, Front. Comput. Neurosci. 11, 24 (2017),
    doi 10.3389/fncom.2017.00024; the symmetric difference: A. Laborieux et al., arXiv 2006.03824.
    """
    pair = jnp.stack([jnp.asarray(nudge, stiffness.dtype) for nudge in nudges])
    to_outputs = product(network.outputs, network.extensions)
    matrix = stiffness_matrix(network.extensions, stiffness)
    added = jnp.insert(pair, 0, 0)[:, None, None] * product(to_outputs.T, to_outputs)
    # One call for all three: on a CPU with few cores, XLA's concurrent LAPACK calls can deadlock.
    factors, _ = cho_factor(matrix + added, lower=True)
    force = product(network.extensions.T, stiffness * network.imposed)
    free = network.imposed - product(network.extensions, cho_solve((factors[0], True), force))
    pull = product(to_outputs.T, target - product(network.outputs, free))
    moved = jax.vmap(lambda factor: cho_solve((factor, True), pull))(factors[1:])
    first, second = pair[:, None] * product(moved, network.extensions.T)
    return (first - second) / (pair[0] - pair[1]) * (free + 0.5 * (first + second))


def coupled_gradient(
    network: Network, stiffness: jax.Array, target: jax.Array, nudge: float
) -> jax.Array:
    """Return the contrast of coupled learning, (e_C^2 - e^2) / (2 nudge) [bonds].

    In the clamped state e_C the outputs are held at y + nudge (y* - y). In the limit of a small
    nudge this is dL/dk with S (y - y*) in place of y - y*, where S = (C A K^-1 A^T C^T)^-1 is the
    stiffness that the network opposes to its outputs: stiff outputs get larger weights.

    Source: M. Stern, D. Hexner, J. W. Rocks, A. J. Liu, Phys. Rev. X 11, 021045 (2021),
    doi 10.1103/PhysRevX.11.021045.
    """
    free, response = state_and_response(network, stiffness)
    misfit = product(network.outputs, free) - target
    compliance = product(network.outputs, response)
    slope = -product(response, solve(compliance, misfit, assume_a="pos"))
    return slope * (free + 0.5 * nudge * slope)

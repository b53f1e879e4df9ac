"""Bias of equilibrium propagation and coupled learning in the nudge, on the problem `springs`.

    python runs/springs_bias.py

Prints, for random stiffnesses in float64, the median over samples of |g - dL/dk| / |dL/dk| for
one-sided and symmetric nudges, of the cosine between coupled learning's step and dL/dk, and of the
step's change from its own limit at a small nudge. It takes about 10 s on one CPU core.
"""

from functools import partial

import jax
import jax.numpy as jnp

from physopt.problems.springs import Springs
from physopt.problems.springs.response import coupled_gradient, free_state, nudged_gradient

NUDGES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
SAMPLES = 64
LIMIT = 1e-9
"""A nudge whose bias is below that of all others by orders of magnitude."""


def relative(estimate: jax.Array, exact: jax.Array) -> jax.Array:
    """Return |estimate - exact| / |exact|, [batch]."""
    return jnp.linalg.norm(estimate - exact, axis=1) / jnp.linalg.norm(exact, axis=1)


def main() -> None:
    """Print the table."""
    problem = Springs()
    batch = problem.sample(jax.random.split(jax.random.key(0), SAMPLES))
    x = jax.random.normal(jax.random.key(1), (SAMPLES, len(problem.graph().ends)))
    system, stiffness = problem.system(x.dtype), problem.stiffness(x)

    def loss(stiffness: jax.Array, target: jax.Array) -> jax.Array:
        return 0.5 * jnp.sum((system.outputs @ free_state(system, stiffness) - target) ** 2)

    # The nudge is an argument: each estimate is compiled once.
    @jax.jit
    def nudged(nudges: tuple[float, float]) -> jax.Array:
        return jax.vmap(partial(nudged_gradient, system, nudges=nudges))(stiffness, batch.target)

    @jax.jit
    def coupled(nudge: float) -> jax.Array:
        return jax.vmap(partial(coupled_gradient, system, nudge=nudge))(stiffness, batch.target)

    exact = jax.jit(jax.vmap(jax.grad(loss)))(stiffness, batch.target).block_until_ready()
    limit = coupled(LIMIT).block_until_ready()
    print("| nudge | one-sided | symmetric | coupled: cosine | coupled: change from its limit |")
    print("| --- | --- | --- | --- | --- |")
    for nudge in NUDGES:
        one = nudged((nudge, 0.0)).block_until_ready()
        both = nudged((nudge, -nudge)).block_until_ready()
        step = coupled(nudge).block_until_ready()
        norms = jnp.linalg.norm(step, axis=1) * jnp.linalg.norm(exact, axis=1)
        cosine = jnp.sum(step * exact, axis=1) / norms
        columns = relative(one, exact), relative(both, exact), cosine, relative(step, limit)
        print(f"| {nudge:g} |", " | ".join(f"{jnp.median(c):.2e}" for c in columns), "|")


if __name__ == "__main__":
    with jax.enable_x64(True):
        main()

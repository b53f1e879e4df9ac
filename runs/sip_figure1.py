"""Paths to the solution of y = (x_1, x_2^2) from one start, by three methods.

    python runs/sip_figure1.py

Draws gradient descent, Newton's method and the exact inversion in x and in y, and writes
runs/results/sip_figure1.png. The problem is also an example for authors of rules, in twenty lines:

    python -m physopt run problem=runs/sip_figure1.py:Square rule=sip network=none

Source: figure 1 of P. Holl, V. Koltun, N. Thuerey, arXiv 2109.15048; start, target and step sizes
are our own.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from physopt import Batch, Problem


@dataclasses.dataclass(frozen=True)
class Square(Problem):
    """Solve y = (x_1, x_2^2): x, y and y* [batch, 2], y* from U[0, 1]^2, all x from (2, 2)."""

    target: ClassVar = ("x_error", 1e-3)
    defaults: ClassVar = {"batch_size": 16, "heldout_size": 16, "steps": 100}

    def sample(self, keys: jax.Array) -> Batch:
        """Draw y*."""
        y = jax.vmap(lambda key: jax.random.uniform(key, (2,)))(keys)
        return Batch(inputs=y, target=y)

    def initial_unknowns(self, batch: Batch) -> jax.Array:
        """Start at (2, 2)."""
        return jnp.full_like(batch.target, 2.0)

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Square the second component."""
        return x * jnp.stack([jnp.ones_like(x[:, 0]), x[:, 1]], axis=1)

    def invert(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return the solution on the side of x."""
        first, second = batch.target.T
        return jnp.stack([first, jnp.where(x[:, 1] < 0, -1, 1) * jnp.sqrt(second)], axis=1)

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return the distance to the solution."""
        return {"x_error": jnp.linalg.norm(x - self.invert(x, batch), axis=1)}


def methods(batch: Batch) -> dict[str, Callable[[jax.Array], jax.Array]]:
    """Return the step x -> x of each method for a batch of one."""
    problem = Square()

    def loss(x: jax.Array) -> jax.Array:
        return problem.loss(problem.simulate(x[None], batch), batch)[0]

    def descent(x: jax.Array) -> jax.Array:
        return x - 0.05 * jax.grad(loss)(x)

    def newton(x: jax.Array) -> jax.Array:
        return x - jnp.linalg.solve(jax.hessian(loss)(x), jax.grad(loss)(x))

    def inversion(x: jax.Array) -> jax.Array:
        return problem.invert(x[None], batch)[0]

    return {"gradient descent": descent, "Newton": newton, "inversion": inversion}


def path(step: Callable[[jax.Array], jax.Array], start: jax.Array, steps: int) -> np.ndarray:
    """Return the iterates from a start, [steps + 1, 2]."""
    _, later = jax.lax.scan(lambda x, _: (step(x), step(x)), start, length=steps)
    return np.concatenate([start[None], later])


def main() -> None:
    """Draw the paths."""
    target = jnp.asarray([[0.25, 0.25]])
    batch = Batch(target, target)
    figure = Figure(figsize=(8, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (name, step), marker in zip(methods(batch).items(), "osD", strict=True):
        x = path(step, Square().initial_unknowns(batch)[0], 40)
        y = np.asarray(Square().simulate(jnp.asarray(x), batch))
        for axes, points in ((left, x), (right, y)):
            axes.plot(*points.T, marker=marker, markersize=4, label=name)
    for axes, letter in ((left, "x"), (right, "y")):
        axes.set(xlabel=f"{letter}$_1$", ylabel=f"{letter}$_2$")
    left.legend()
    file = Path(__file__).parent / "results" / "sip_figure1.png"
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file, dpi=150)
    print(file)


if __name__ == "__main__":
    main()

"""Paths to the solution of y = (x_1, x_2^2) from one start, by three methods.

    python runs/sip_figure1.py

Draws gradient descent, Newton's method and the exact inversion in x and in y, over level lines of
the loss, and writes runs/sip_figure1.png. Descent is fast along x_2, whose observation has the
larger slope, and slow along x_1: 40 steps do not reach the solution. Newton's method solves the
linear component in one step and halves the error of the other, far from the solution. The inversion
needs one step. The problem is also an example for authors of rules, in twenty lines:

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

COLOURS = ("#0072b2", "#e69f00", "#009e73")


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


def draw() -> Figure:
    """Draw the paths in x and in y, with level lines of the loss."""
    target = jnp.asarray([[0.25, 0.25]])
    batch, problem = Batch(target, target), Square()
    start = problem.initial_unknowns(batch)
    solution = problem.invert(start, batch)
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    spaces = (
        (left, "x", 2.2, lambda x: x),
        (right, "y", 4.4, lambda x: problem.simulate(x, batch)),
    )
    paths = {name: path(step, start[0], 40) for name, step in methods(batch).items()}
    for axes, letter, largest, to_space in spaces:
        points = jnp.stack(jnp.meshgrid(*[jnp.linspace(0, largest, 101)] * 2), -1).reshape(-1, 2)
        y = problem.simulate(points, batch) if letter == "x" else points
        loss = problem.loss(y, Batch(points, jnp.broadcast_to(target, points.shape)))
        grid = [np.asarray(a).reshape(101, 101) for a in (*points.T, loss)]
        axes.contour(*grid, levels=np.geomspace(0.01, 10, 10), colors="#cccccc", linewidths=0.6)
        for (name, x), marker, colour in zip(paths.items(), "osD", COLOURS, strict=True):
            points = np.asarray(to_space(jnp.asarray(x)))
            axes.plot(*points.T, marker=marker, markersize=4, color=colour, label=name)
        axes.plot(*np.asarray(to_space(solution))[0], "*", color="black", ms=13, zorder=3,
                  label="solution")  # fmt: skip
        axes.set(xlabel=f"{letter}$_1$", ylabel=f"{letter}$_2$", xlim=(0, largest),
                 ylim=(0, largest), aspect="equal")  # fmt: skip
    left.set_title("unknowns x", fontsize=10)
    right.set_title("observations y = (x$_1$, x$_2^2$)", fontsize=10)
    left.legend(fontsize=8, loc="upper left", framealpha=1)
    return figure


def main() -> None:
    """Write the figure."""
    file = Path(__file__).with_suffix(".png")
    draw().savefig(file, dpi=120)
    print(file)


if __name__ == "__main__":
    main()

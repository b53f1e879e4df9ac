"""The exponential: the smallest problem whose gradients vanish for most of its solutions."""

import dataclasses
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from physopt.networks import Dense
from physopt.networks.unet import initialize
from physopt.options import NonNegativeFloat, PositiveFloat, PositiveInt
from physopt.problem import Batch, Problem


@dataclasses.dataclass(frozen=True)
class Exponential(Problem):
    """Invert y = e^x for x drawn from U[-12, 0].

    x, y and y* [batch, 1]. Loss 1/2 (y - y*)^2: its gradient (e^x - y*) e^x nearly vanishes below
    x = -3, so that gradients train the upper end only. x_error is |x - true x|.

    Source: P. Holl, V. Koltun, N. Thuerey, arXiv 2109.15048, figure 2.
    """

    inverse: Literal["newton", "sign"] = "newton"
    """Inverse step. newton: along -gradient by |gradient / second derivative|, damped and limited;
    sign: by 1 towards the true x, which must be known (the source's figure)."""

    damping: NonNegativeFloat = 0.0
    """Damping of the Newton step, added to the second derivative."""

    largest_step: PositiveFloat = 1.0
    """Bound on the Newton step; the second derivative vanishes at e^x = y*/2."""

    hidden: tuple[PositiveInt, ...] = (16, 64, 16)
    """Widths of the network's hidden layers."""

    target: ClassVar = ("x_error", 0.5)
    defaults: ClassVar = {"batch_size": 100, "steps": 10000, "log_every": 500}

    def sample(self, keys: jax.Array) -> Batch:
        """Draw y* [batch, 1]; extra holds the true x."""
        draw = jax.vmap(lambda key: jax.random.uniform(key, (1,), minval=-12.0, maxval=0.0))
        x = draw(keys)
        return Batch(inputs=jnp.exp(x), target=jnp.exp(x), extra=x)

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make a dense sigmoid network [batch, 1] -> [batch, 1]."""
        sizes = (1, *self.hidden, 1)
        return initialize(Dense(sizes, rngs, activation="sigmoid"), rngs, "torch")

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return e^x."""
        return jnp.exp(x)

    def invert(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return x after one step of the selected inverse: [batch, 1].

        Newton's step is -sign(g) min(|g| / (|h| + damping), largest_step), with the gradient
        g = (e^x - y*) e^x and the second derivative h = (2 e^x - y*) e^x.
        """
        if self.inverse == "sign":
            return x + jnp.sign(batch.extra - x)
        y = jnp.exp(x)
        g, h = (y - batch.target) * y, (2 * y - batch.target) * y
        bound = jnp.abs(h) + self.damping
        size = jnp.abs(g) / jnp.where(bound > 0, bound, 1)
        limited = jnp.where(bound > 0, jnp.minimum(size, self.largest_step), self.largest_step)
        return x - jnp.sign(y - batch.target) * limited

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return |x - true x|."""
        return {"x_error": jnp.abs(x - batch.extra)[:, 0]}

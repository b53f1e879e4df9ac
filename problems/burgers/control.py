"""Burgers' equation under control: find forces that lead one velocity field to another."""

import dataclasses
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from physopt.networks import Dense, Normalization
from physopt.options import Bounds, NonNegativeInt, PositiveFloat, PositiveInt
from physopt.problem import Batch, Problem
from physopt.unet import UNet, initialize


@dataclasses.dataclass(frozen=True)
class Burgers(Problem):
    """Control a velocity field by forces: u_{i+1} = advance(u_i) + F_i, i = 0 ... steps - 1.

    `advance` is a step of du/dt + u du/ds = viscosity d^2u/ds^2 with unit spacing and unit time
    step. The unknown x [batch, steps, n] is F; the end state u_N is to be u*, with little force:
    loss 1/2 |u_N - u*|^2 + alpha/2 sum F^2, written as a sum of squares with y = (u_N, sqrt(alpha)
    F) and y* = (u*, 0), [batch, 1 + steps, n]. force_l1 = sum |F|, force_half_l2 = 1/2 sum F^2,
    final_error = |u_N - u*|. The fields to be reached come from a force constant in time.

    force_l1 is that of the source's table; it hardly tells a force in the last step alone from the
    optimum, while force_half_l2 falls from 3.9 to 0.11.

    Source: P. Holl, V. Koltun, N. Thuerey, "Learning to control PDEs with differentiable physics",
    ICLR 2020, section 6.
    """

    cells: Annotated[int, Bounds(4)] = 32
    """Cells of the velocity field."""

    steps: Annotated[int, Bounds(2)] = 32
    """Time steps, each with a force of its own."""

    viscosity: Annotated[float, Bounds(0, 0.5)] = 0.1
    """In cells squared per step; the explicit scheme is unstable above 0.5."""

    alpha: PositiveFloat = 0.01
    """Weight of the force in the loss."""

    halvings: NonNegativeInt = 6
    """Of the inverse step: its length 1, 1/2, ... 2^-halvings is the one with the least loss."""

    hidden: tuple[PositiveInt, ...] = (128, 128)
    """Widths of the default network's hidden layers."""

    levels: PositiveInt = 5
    """Resolutions of the U-net of network=cfe; each halves the grid."""

    filters: PositiveInt = 16
    """Channels of the U-net of network=cfe."""

    normalization: Normalization = "group"
    """Of the U-net of network=cfe; group or none, because it is evaluated many times in a row."""

    # The loss, because the end alone can be met, and force alone be spared, trivially.
    target: ClassVar = ("loss", 0.01)
    tiny: ClassVar = {"cells": 8, "steps": 4, "hidden": (16,), "levels": 2, "filters": 4}
    defaults: ClassVar = {"batch_size": 16, "steps": 1000, "log_every": 50}

    def sample(self, keys: jax.Array) -> Batch:
        """Draw initial and wanted fields: inputs [batch, n, 2]; extra is the initial one."""
        start, drive, mirrored = jax.vmap(lambda key: random_scene(key, self.cells))(keys)

        def step(u: jax.Array, _) -> tuple[jax.Array, None]:
            return advance(u + drive, self.viscosity), None

        wanted, _ = jax.lax.scan(step, start, length=self.steps)
        start, wanted = (jnp.where(mirrored[:, None], -u[:, ::-1], u) for u in (start, wanted))
        effort = jnp.zeros((len(keys), self.steps, self.cells))
        target = jnp.concatenate([wanted[:, None], effort], axis=1)
        return Batch(inputs=jnp.stack([start, wanted], axis=-1), target=target, extra=start)

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make a dense network, initial and wanted field -> all forces."""
        return DirectForce(self, rngs)

    def network_cfe(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make a chain of control force estimators, which sees each state before the next force."""
        return ControlForceEstimator(self, rngs)

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return end state and scaled forces: [batch, steps, n] -> [batch, 1 + steps, n]."""
        end = self._end(x, batch.extra)
        return jnp.concatenate([end[:, None], self.alpha**0.5 * x], axis=1)

    def invert(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return the minimum of the loss, linearised about x: [batch, steps, n].

        With B = du_N/dF, the Gauss-Newton step F' = B^T (B B^T + alpha)^-1 (B F + u* - u_N), a
        system in the end state alone. It shrinks what B does not see of F, which F + B^T (...)
        would keep. Where fronts form the linear model is valid nearby only: the step to F' is
        shortened to the best of a few lengths, which costs little beside B.
        """
        end, slope = self._linearize_end(x, batch.extra)
        gap = jnp.einsum("bmik,bik->bm", slope, x) + batch.target[:, 0] - end
        system = jnp.einsum("bmik,bnik->bmn", slope, slope)
        system += self.alpha * jnp.eye(self.cells, dtype=x.dtype)
        weights = jnp.linalg.solve(system, gap[..., None])[..., 0]
        return self._shortened(x, jnp.einsum("bmik,bm->bik", slope, weights) - x, batch)

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return the force in two norms, and the distance from the wanted end."""
        return {
            "force_l1": jnp.sum(jnp.abs(x), axis=(1, 2)),
            "force_half_l2": 0.5 * jnp.sum(x**2, axis=(1, 2)),
            "final_error": jnp.linalg.norm(y[:, 0] - batch.target[:, 0], axis=-1),
        }

    def _shortened(self, x: jax.Array, step: jax.Array, batch: Batch) -> jax.Array:
        """Return x + length * step with each sample's best length: [batch, steps, n]."""

        def loss(length: jax.Array) -> jax.Array:
            return self.loss(self.simulate(x + length * step, batch), batch)

        lengths = jnp.asarray(0.5 ** np.arange(self.halvings + 1), x.dtype)
        best = lengths[jnp.argmin(jax.vmap(loss)(lengths), axis=0)]
        return x + best[:, None, None] * step

    def _end(self, forces: jax.Array, start: jax.Array) -> jax.Array:
        """Return the end state: [batch, steps, n], [batch, n] -> [batch, n]."""

        def step(u: jax.Array, force: jax.Array) -> tuple[jax.Array, None]:
            return advance(u, self.viscosity) + force, None

        end, _ = jax.lax.scan(step, start, jnp.swapaxes(forces, 0, 1))
        return end

    def _linearize_end(self, forces: jax.Array, start: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the end state and its derivative in the forces, [batch, n, steps, n]."""
        end, vjp = jax.vjp(lambda forces: self._end(forces, start), forces)

        def row(cotangent: jax.Array) -> jax.Array:
            return vjp(jnp.broadcast_to(cotangent, end.shape))[0]

        return end, jax.vmap(row, out_axes=1)(jnp.eye(self.cells, dtype=end.dtype))


def advance(u: jax.Array, viscosity: float) -> jax.Array:
    """Advance velocities [batch, n] by a step: semi-Lagrangian advection, then explicit diffusion.

    Advection takes the value at s - u, interpolated linearly, with s - u kept inside the grid;
    the diffusion has no flux through the ends.
    """
    last = u.shape[-1] - 1
    place = jnp.clip(jnp.arange(last + 1) - u, 0, last)
    left = jnp.clip(jnp.floor(place).astype(int), 0, last - 1)
    below, above = (jnp.take_along_axis(u, index, axis=-1) for index in (left, left + 1))
    advected = below + (above - below) * (place - left)
    padded = jnp.pad(advected, ((0, 0), (1, 1)), mode="edge")
    return advected + viscosity * (padded[:, 2:] + padded[:, :-2] - 2 * advected)


def random_scene(key: jax.Array, cells: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Draw an initial field [n], a driving force [n], and whether the scene is mirrored.

    On z in [0, 1]: a Gaussian of width U(.05, .15) and height U(0, 3) at U(.2, .4), and one of
    height U(-3, 0) at U(.6, .8), which run into each other; the force is a Gaussian of width
    U(.1, .4) and height U(-.05, .05) at U(.4, .6). Every other scene is mirrored, s -> -s, u -> -u.
    """
    shape_key, coin = jax.random.split(key)
    #        left: height, place, width   right: the same   force: the same
    lower = [0.0, 0.2, 0.05, -3.0, 0.6, 0.05, -0.05, 0.4, 0.1]
    upper = [3.0, 0.4, 0.15, 0.0, 0.8, 0.15, 0.05, 0.6, 0.4]
    drawn = jax.random.uniform(
        shape_key, (9,), minval=jnp.asarray(lower), maxval=jnp.asarray(upper)
    )
    height, place, width = drawn.reshape(3, 3).T[:, :, None]
    z = jnp.asarray(np.linspace(0, 1, cells), drawn.dtype)
    left, right, force = height * jnp.exp(-(((z - place) / width) ** 2) / 2)
    return left + right, force, jax.random.bernoulli(coin)


class DirectForce(nnx.Module):
    """Dense network, initial and wanted field [batch, n, 2] -> forces [batch, steps, n]."""

    def __init__(self, problem: Burgers, rngs: nnx.Rngs):
        sizes = (2 * problem.cells, *problem.hidden, problem.steps * problem.cells)
        self.dense = initialize(Dense(sizes, rngs, activation="relu"), rngs, "torch")
        self.steps = problem.steps

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Evaluate the network."""
        changes = self.dense(inputs.reshape(inputs.shape[0], -1))
        return changes.reshape(inputs.shape[0], self.steps, -1) / self.steps


class ControlForceEstimator(nnx.Module):
    """Chain of forces, initial and wanted field [batch, n, 2] -> forces [batch, steps, n].

    One U-net gives the force of every step from the state there, the wanted field and the time.
    The last force closes the gap, so that the end is met exactly. The U-net's unit is that of
    `DirectForce`.

    Source: ICLR 2020 paper named above; its network has other layers.
    """

    def __init__(self, problem: Burgers, rngs: nnx.Rngs):
        options = (problem.levels, problem.filters, problem.normalization)
        self.unet = UNet(3, 1, rngs, *options, dimensions=1)
        self.steps, self.viscosity = problem.steps, problem.viscosity

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Evaluate the chain, with the physics in it."""
        start, wanted = inputs[..., 0], inputs[..., 1]

        def step(u: jax.Array, time: jax.Array) -> tuple[jax.Array, jax.Array]:
            clock = jnp.broadcast_to(time, u.shape)
            force = self.unet(jnp.stack([u, wanted, clock], axis=-1))[..., 0] / self.steps
            return advance(u, self.viscosity) + force, force

        times = jnp.asarray(np.arange(self.steps - 1) / self.steps, start.dtype)
        before, forces = jax.lax.scan(step, start, times)
        closing = wanted - advance(before, self.viscosity)
        return jnp.concatenate([jnp.swapaxes(forces, 0, 1), closing[:, None]], axis=1)

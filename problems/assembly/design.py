"""The problem `assembly`: growth rates of high yield, for a given concentration and time."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from physopt.networks import Dense
from physopt.networks.unet import initialize
from physopt.options import PositiveFloat, PositiveInt
from physopt.problem import Batch, Problem
from physopt.problems.assembly.kinetics import OUTPUTS, Complex, output_times, yields

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CONCENTRATIONS, STOPS = (20.0, 500.0), (1.0, 1000.0)
"""Ranges of the concentration of each subunit in uM and of the time in s, log-uniform."""

MARGIN = 1.0
"""The kinetics see ln k at most this far outside of its bounds."""


@dataclasses.dataclass(frozen=True)
class Assembly(Problem):
    """Assemble as many complexes of 3 or 4 subunits as possible within a time.

    The unknown x [batch, subunits - 1] is ln k_s in 1/(uM s), of the reactions that add a subunit
    to s = 1, 2, ... others; K_eq is fixed, so that the off rates follow (see
    `physopt.problems.assembly.kinetics`). Inputs [batch, 2] are ln(c / 100 uM) and ln(t / 1 s) of
    the concentration c of each subunit and the time t. If all steps are equally fast, subunits
    are used up by fragments that cannot grow for decades; slow nucleation avoids the trap, but
    takes time.

    y [batch, 5 + 2 (subunits - 1)] are the yields, the share of subunits in complexes, at 5
    log-spaced times from 10^-span t to t, with y* = 1, then the excesses of x beyond its bounds,
    with y* = 0. Loss 1/2 |y - y*|^2. unassembled is 1 - yield at t. Squares of five yields, and
    penalties in ln k, are our own: the source minimises minus the yield at t.

    Source: S. Jhaveri et al., PNAS 121 (2024); program github.com/mjohn218/KineticAssembly_AD.
    """

    subunits: Literal[3, 4] = 4
    """Subunits of the complex; all are in contact."""

    span: PositiveFloat = 1.0
    """Decades between the first and the last of the 5 times."""

    slowest: PositiveFloat = 1e-4
    """Lower bound of the rates, in 1/(uM s)."""

    fastest: PositiveFloat = 10.0
    """Upper bound of the rates, in 1/(uM s)."""

    hidden: tuple[PositiveInt, ...] = (16, 16)
    """Widths of the network's hidden layers."""

    target: ClassVar = ("unassembled", 0.05)
    tiny: ClassVar = {"subunits": 3, "hidden": (8,)}
    defaults: ClassVar = {"batch_size": 16, "steps": 500, "log_every": 25, "heldout_size": 64}

    def sample(self, keys: jax.Array) -> Batch:
        """Draw concentrations and times; extra holds both, [batch, 2]."""
        uniform = jax.vmap(lambda key: jax.random.uniform(key, (2,)))(keys)
        low, high = (np.log(ends) for ends in zip(CONCENTRATIONS, STOPS, strict=True))
        logs = jnp.asarray(low, uniform.dtype) + jnp.asarray(high - low, uniform.dtype) * uniform
        reference = jnp.asarray([np.log(100.0), 0.0], uniform.dtype)
        rates = self.subunits - 1
        target = np.concatenate([np.ones(OUTPUTS), np.zeros(2 * rates)])
        return Batch(
            inputs=logs - reference,
            target=jnp.broadcast_to(jnp.asarray(target, uniform.dtype), (len(keys), target.size)),
            extra=jnp.exp(logs),
        )

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make a dense tanh network, concentration and time [batch, 2] -> ln k."""
        return initialize(Dense((2, *self.hidden, self.subunits - 1), rngs), rngs, "glorot")

    def initial_unknowns(self, batch: Batch) -> jax.Array:
        """Return k = 1/(uM s) for all reactions."""
        return jnp.zeros((len(batch), self.subunits - 1), batch.extra.dtype)

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return yields and excesses: [batch, subunits - 1] -> [batch, 5 + 2 (subunits - 1)]."""
        low, high = np.log(self.slowest), np.log(self.fastest)
        inside = jnp.clip(x, low - MARGIN, high + MARGIN)
        concentration, stop = batch.extra.T
        observed = yields(Complex(self.subunits), inside, concentration, stop, self.span)
        return jnp.concatenate([observed, jax.nn.relu(x - high), jax.nn.relu(low - x)], axis=1)

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return the share of subunits outside of complexes at the last time."""
        return {"unassembled": 1 - y[:, OUTPUTS - 1]}

    def baselines(self, held_out: Batch) -> dict[str, dict[str, float]]:
        """Return the errors with k = 1/(uM s) for all reactions."""
        x = self.initial_unknowns(held_out)
        y = jax.jit(self.simulate)(x, held_out)
        errors = self.metrics(x, y, held_out)
        return {"equal rates": {name: float(jnp.mean(error)) for name, error in errors.items()}}

    def figure(self, x: jax.Array, y: jax.Array, batch: Batch) -> "Figure":
        """Draw yields against time, with those of equal rates."""
        from physopt.problems.assembly.picture import draw_yields

        equal = jax.jit(self.simulate)(self.initial_unknowns(batch), batch)
        titles = []
        for log_rates, (concentration, stop) in zip(np.asarray(x), batch.extra, strict=True):
            rates = ", ".join(f"{rate:.2g}" for rate in np.exp(log_rates))
            titles.append(f"{concentration:.0f} uM, {stop:.0f} s\nk = {rates} /(uM s)")
        times = np.stack([output_times(float(stop), self.span) for stop in batch.extra[:, 1]])
        curves = {"achieved": y[:, :OUTPUTS], "equal rates": equal[:, :OUTPUTS]}
        return draw_yields(times, curves, titles)

"""The problem `assembly_fit`: growth rates from curves of the yield."""

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

STOP, SPAN = 1000.0, 4.0
"""Last time in s, and decades to the first: yields at 0.1, 1, 10, 100 and 1000 s."""

BOUNDS = (np.log(1e-3), np.log(3.0))
"""ln k of the samples is uniform between these."""

MARGIN = 3.0
"""The kinetics see ln k at most this far outside of BOUNDS."""


@dataclasses.dataclass(frozen=True)
class AssemblyFit(Problem):
    """Find the rates of self-assembly from yields at several concentrations.

    The unknown x [batch, subunits - 1] is ln k_s in 1/(uM s) as in `assembly`. y and y* [batch, 5
    n] are the yields at 0.1, 1, 10, 100 and 1000 s for each of n concentrations; y*, which is also
    the input, is that of rates drawn log-uniformly from [1e-3, 3]/(uM s). Loss 1/2 |y - y*|^2;
    absolute_error is sum |y - y*|, rate_error the mean of |ln k - ln k*|. Rates of late steps
    hardly change the yields where nucleation is slow.

    Source: S. Jhaveri et al., PNAS 121 (2024); program github.com/mjohn218/KineticAssembly_AD.
    Ranges and concentrations are our own.
    """

    subunits: Literal[3, 4] = 3
    """Subunits of the complex; all are in contact."""

    concentrations: tuple[PositiveFloat, ...] = (20.0, 100.0, 500.0)
    """Concentrations of each subunit in uM, one curve each."""

    hidden: tuple[PositiveInt, ...] = (32, 32)
    """Widths of the network's hidden layers."""

    target: ClassVar = ("absolute_error", 0.05)
    tiny: ClassVar = {"hidden": (8,), "concentrations": (100.0,)}
    defaults: ClassVar = {"batch_size": 16, "steps": 500, "log_every": 25, "heldout_size": 64}

    def sample(self, keys: jax.Array) -> Batch:
        """Draw rates, and return their yields; extra holds ln k*."""
        rates = self.subunits - 1
        uniform = jax.vmap(lambda key: jax.random.uniform(key, (rates,)))(keys)
        low, high = BOUNDS
        log_rates = low + (high - low) * uniform
        curves = self._yields(log_rates)
        return Batch(inputs=curves, target=curves, extra=log_rates)

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make a dense tanh network, yields [batch, 5 n] -> ln k [batch, subunits - 1]."""
        sizes = (OUTPUTS * len(self.concentrations), *self.hidden, self.subunits - 1)
        return initialize(Dense(sizes, rngs), rngs, "glorot")

    def initial_unknowns(self, batch: Batch) -> jax.Array:
        """Return the middle of the range of ln k."""
        return jnp.full_like(batch.extra, np.mean(BOUNDS))

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return the yields: [batch, subunits - 1] -> [batch, 5 n]."""
        return self._yields(jnp.clip(x, BOUNDS[0] - MARGIN, BOUNDS[1] + MARGIN))

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return the sum of absolute errors of the yields, and the error of the rates."""
        return {
            "absolute_error": jnp.sum(jnp.abs(y - batch.target), axis=1),
            "rate_error": jnp.mean(jnp.abs(x - batch.extra), axis=1),
        }

    def figure(self, x: jax.Array, y: jax.Array, batch: Batch) -> "Figure":
        """Draw the curves of the first concentration beside those that were given."""
        from physopt.problems.assembly.picture import draw_yields

        titles = [
            "\n".join(
                f"{name} = {', '.join(f'{rate:.2g}' for rate in np.exp(log_rates))} /(uM s)"
                for name, log_rates in (("k", own), ("k*", true))
            )
            for own, true in zip(np.asarray(x), np.asarray(batch.extra), strict=True)
        ]
        times = np.broadcast_to(output_times(STOP, SPAN), (len(titles), OUTPUTS))
        curves = {"fitted": y[:, :OUTPUTS], "given": batch.target[:, :OUTPUTS]}
        return draw_yields(times, curves, titles)

    def _yields(self, log_rates: jax.Array) -> jax.Array:
        """Return the yields at all concentrations, [batch, 5 n]."""
        batch, count = len(log_rates), len(self.concentrations)
        concentration = jnp.tile(jnp.asarray(self.concentrations, log_rates.dtype), batch)
        stop = jnp.full_like(concentration, STOP)
        repeated = jnp.repeat(log_rates, count, axis=0)
        curves = yields(Complex(self.subunits), repeated, concentration, stop, SPAN)
        return curves.reshape(batch, count * OUTPUTS)

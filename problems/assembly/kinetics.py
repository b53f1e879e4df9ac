"""Mass-action kinetics of self-assembly by single subunits.

n distinct subunits, each in contact with all others, form a complex. Species are the non-empty
subsets of the subunits; a reaction adds a subunit to a subset of s others and closes s bonds:

    S + i <-> S u {i},  on rate k_s [1/(uM s)], off rate k_s C0 exp(s dG) [1/s], C0 = 1e6 uM.

The equilibrium is fixed, the rates decide how soon it is reached. Rates of a complex differ by
orders of magnitude, so that the equations are stiff; their solutions are smooth in the logarithm of
time. An L-stable Rosenbrock method solves them in float64, with steps of constant ratio.

Source: S. Jhaveri et al., PNAS 121 (2024); program github.com/mjohn218/KineticAssembly_AD.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np

from physopt.machine.devices import widest_float
from physopt.numerics.float64 import evaluated_in

STANDARD = 1e6
"""Standard concentration C0 = 1 M in uM."""

BOND = -20.0
"""Free energy dG of a bond in kT."""

OUTPUTS = 5
"""Times at which the yield is observed."""

DECADES = 8
"""Decades of time before the last output that are resolved; all before is one step."""

STEPS_PER_DECADE = 12
"""Steps of time in a decade: yields are exact to about 1e-4."""


@dataclass(frozen=True)
class Complex:
    """Species and reactions of a complex of `size` subunits."""

    size: int

    @cached_property
    def species(self) -> list[frozenset[int]]:
        """Non-empty subsets by size; single subunits first, the complex last."""
        subunits = range(self.size)
        return [frozenset(s) for k in range(1, self.size + 1) for s in combinations(subunits, k)]

    @cached_property
    def reactions(self) -> np.ndarray:
        """Indices of subset, added subunit and product, [reactions, 3]."""
        index = {subset: k for k, subset in enumerate(self.species)}
        rows = {
            (index[subset], index[frozenset([i])], index[subset | {i}])
            for subset in self.species
            for i in set(range(self.size)) - subset
            if len(subset) > 1 or min(subset) < i  # a pair of subunits reacts once
        }
        return np.array(sorted(rows))

    @cached_property
    def bonds(self) -> np.ndarray:
        """Bonds that each reaction closes, [reactions]: the size of its subset, too."""
        return np.array([len(self.species[subset]) for subset in self.reactions[:, 0]])

    @cached_property
    def stoichiometry(self) -> np.ndarray:
        """Change of each species by each reaction, [species, reactions]."""
        change = np.zeros((len(self.species), len(self.reactions)))
        for column, (subset, subunit, product) in enumerate(self.reactions):
            change[subset, column] -= 1
            change[subunit, column] -= 1
            change[product, column] += 1
        return change


def output_times(stop: float, span: float) -> np.ndarray:
    """Return 5 log-spaced times from 10^-span stop to stop, [5]."""
    return stop * 10 ** (-span * np.linspace(1, 0, OUTPUTS))


def time_grid(span: float, per_decade: int = STEPS_PER_DECADE) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps of time in units of the last, and the indices of those before outputs."""
    between = max(1, round(per_decade * span / (OUTPUTS - 1)))
    before = max(1, round(per_decade * (DECADES - span)))
    early = np.linspace(-DECADES, -span, before + 1)
    late = np.linspace(-span, 0, (OUTPUTS - 1) * between + 1)[1:]
    ends = 10.0 ** np.concatenate([early, late])
    return np.diff(ends, prepend=0.0), before + between * np.arange(OUTPUTS)


def yields(
    kind: Complex,
    log_rates: jax.Array,
    concentration: jax.Array,
    stop: jax.Array,
    span: float,
    per_decade: int = STEPS_PER_DECADE,
) -> jax.Array:
    """Return the share of subunits in complexes at the times of `output_times`: [batch, 5].

    log_rates [batch, size - 1] are ln k_s; concentration [batch] of each subunit at time 0, in uM;
    stop [batch] in s. Solved in float64, and in float32 on a TPU.
    """

    def solve_all(log_rates: jax.Array, concentration: jax.Array, stop: jax.Array) -> jax.Array:
        of_one = partial(_solve, kind, span=span, per_decade=per_decade)
        with jax.default_matmul_precision("highest"):
            return jax.vmap(of_one)(log_rates, concentration, stop)

    evaluate = evaluated_in(solve_all)
    return evaluate(widest_float(), log_rates.dtype, log_rates, concentration, stop)


def _solve(
    kind: Complex,
    log_rates: jax.Array,
    concentration: jax.Array,
    stop: jax.Array,
    *,
    span: float,
    per_decade: int,
) -> jax.Array:
    """Solve one sample, with concentrations and times in units of the first and the last."""
    dtype = log_rates.dtype
    change, subset, subunit, product = (
        jnp.asarray(matrix, dtype)
        for matrix in (kind.stoichiometry, *(np.eye(len(kind.species))[kind.reactions.T]))
    )
    rate = jnp.exp(log_rates)[kind.bonds - 1] * stop
    on, off = rate * concentration, rate * jnp.asarray(STANDARD * np.exp(BOND * kind.bonds), dtype)

    def slope(c: jax.Array) -> jax.Array:
        return change @ (on * (subset @ c) * (subunit @ c) - off * (product @ c))

    def jacobian(c: jax.Array) -> jax.Array:
        forward = (subset @ c)[:, None] * subunit + (subunit @ c)[:, None] * subset
        return change @ (on[:, None] * forward - off[:, None] * product)

    def advance(c: jax.Array, step: jax.Array) -> tuple[jax.Array, jax.Array]:
        after = rosenbrock(slope, jacobian(c), c, step)
        return after, after[-1]

    single = np.array([len(subset) == 1 for subset in kind.species])
    steps, outputs = time_grid(span, per_decade)
    _, complexes = jax.lax.scan(advance, jnp.asarray(single, dtype), jnp.asarray(steps, dtype))
    return complexes[outputs]


def rosenbrock(
    slope: Callable[[jax.Array], jax.Array], jacobian: jax.Array, c: jax.Array, step: jax.Array
) -> jax.Array:
    """Return c after a step of Rodas3: four stages, order 3, L-stable, one factorisation.

    Source: A. Sandu et al., Atmos. Environ. 31, 3459 (1997), doi 10.1016/S1352-2310(97)83212-8.
    """
    inverse = jnp.linalg.inv(2 / step * jnp.eye(len(c), dtype=c.dtype) - jacobian)
    first = inverse @ slope(c)
    second = inverse @ (slope(c) + 4 / step * first)
    third = inverse @ (slope(c + 2 * first) + (first - second) / step)
    moved = c + 2 * first + third
    fourth = inverse @ (slope(moved) + (first - second - 8 / 3 * third) / step)
    return moved + fourth

"""Methods for a spectral-power update: a table with their estimated costs, and the choice of one.

Estimates count floating-point operations and bytes of arrays. They are rough, but the costs that
are compared differ by powers of n. A new method is a function like those in `directions` and an
entry of METHODS.
"""

import contextlib
import math
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import jax

from physopt.numerics.modes import no_forward_mode
from physopt.numerics.shifted import ShiftedPower
from physopt.objective import Linearised, Objective
from physopt.optimizers.spectral.decomposition import (
    describe,
    factorisations,
    operations,
    shifted_power,
    unsuitable,
)
from physopt.optimizers.spectral.directions import Power, Solution, by_columns, by_layers, by_rows
from physopt.optimizers.spectral.krylov import by_krylov
from physopt.optimizers.spectral.sizes import (
    Size,
    factor_bytes,
    layer_operations,
    pulled_samples,
    row_bytes,
    row_pieces,
    sweep_operations,
)
from physopt.problem import Batch
from physopt.rule import Info, Parameters, PlanError, cost

Name = Literal["layerwise", "physics", "rows", "columns", "krylov"]
Choice = Literal["auto", "layerwise", "physics", "rows", "columns", "krylov"]
Direction = Callable[[Linearised, Power], Solution]

EXACT_OPERATIONS = {"cpu": 1e13, "gpu": 1e14, "tpu": 1e14}
"""Most operations of an update that is chosen automatically, if not by Krylov's method: more take
minutes on a CPU, tens of seconds on an accelerator."""

KRYLOV_ERROR = 1e-4
"""Relative error below which the Krylov method counts as exact."""


class Method(NamedTuple):
    """A way to compute the direction, with estimates of its operations and bytes."""

    name: Name
    summary: str
    operations: Callable[[Size], float]
    bytes: Callable[[Size], float]
    direction: Callable[[Size], Direction]
    decomposed: Callable[[Size], int]  # size of the Gram matrix, 0 without one
    forward: bool = False  # needs products J v, hence forward differentiation of the physics


METHODS = (
    Method(
        "layerwise",
        "J J^T from the inputs and derivatives of dense layers, without J",
        lambda s: sweep_operations(s, s.n, s.n) + layer_operations(s) + operations(s.spectrum, s.n),
        factor_bytes,
        lambda _: by_layers,
        lambda s: s.n,
    ),
    Method(
        "physics",
        "J J^T from dense layers, with dy/dx in place of the physics",
        lambda s: (
            sweep_operations(s, s.n, pulled_samples(s, s.n))
            + layer_operations(s)
            + operations(s.spectrum, s.n)
        ),
        lambda s: factor_bytes(s) + 2 * s.n * s.unknowns * s.itemsize,
        lambda _: by_layers,
        lambda s: s.n,
    ),
    Method(
        "rows",
        "J J^T from the rows of J",
        lambda s: (
            sweep_operations(s, row_pieces(s) * s.n, pulled_samples(s, row_pieces(s) * s.n))
            + 2.0 * s.n**2 * s.parameters
            + operations(s.spectrum, s.n)
        ),
        lambda s: row_bytes(s, row_pieces(s)),
        lambda s: partial(by_rows, pieces=row_pieces(s)),
        lambda s: s.n,
    ),
    Method(
        "columns",
        "J^T J from J",
        lambda s: (
            sweep_operations(s, s.n, pulled_samples(s, s.n))
            + 2.0 * s.n * s.parameters**2
            + operations(s.spectrum, s.parameters)
        ),
        lambda s: 2 * (s.itemsize + 8) * s.n * s.parameters + 40 * s.parameters**2,
        lambda _: by_columns,
        lambda s: s.parameters,
    ),
    Method(
        "krylov",
        "an approximation from products with J and its transpose",
        lambda s: (
            sweep_operations(s, 2 * s.steps * s.batch, pulled_samples(s, 2 * s.steps * s.batch))
            + 4.0 * s.steps**2 * s.n
        ),
        lambda s: 4 * (s.steps * s.n + 4 * s.parameters) * s.itemsize,
        lambda s: partial(by_krylov, steps=s.steps),
        lambda _: 0,
        forward=True,
    ),
)


class Plan(NamedTuple):
    """The method chosen for a size, and the reason."""

    method: Method
    size: Size
    reason: str
    shifted: ShiftedPower | None  # in place of an eigendecomposition

    def __str__(self) -> str:
        s, m = self.size, self.method
        n = m.decomposed(s)
        power = f"; {describe(s.spectrum, n, self.shifted)}" if n else ""
        return (
            f"{m.name}: {m.summary}{power}; {self.reason}. "
            f"n = {s.n} outputs ({s.batch} x {s.outputs}), P = {s.parameters} parameters, "
            f"{_estimate(m, s)}, limit {_si(s.limit)}B"
        )

    def solve(
        self, objective: Objective, params: Parameters, batch: Batch, power: Power
    ) -> tuple[Linearised, Solution]:
        """Linearise the outputs and compute the direction."""
        system = self.linearised(objective, params, batch)
        return system, self.direction(system, power)

    def linearised(self, objective: Objective, params: Parameters, batch: Batch) -> Linearised:
        """Linearise the outputs."""
        return objective.linearised(params, batch, slope=self._slope)

    def direction(self, system: Linearised, power: Power) -> Solution:
        """Compute the direction for the dL/dy that a system holds."""
        return self.method.direction(self.size)(system, power._replace(shifted=self.shifted))

    def precision(self) -> contextlib.AbstractContextManager[object]:
        """Context of an update: accelerators round the operands of float32 products to 7 or 10 bits
        by default, which hides all singular values below about 1e-3 of the largest.
        """
        if self.method.decomposed(self.size):
            return jax.default_matmul_precision("highest")
        return contextlib.nullcontext()  # Krylov's method approximates the largest ones

    def cost(self) -> Info:
        """Count what a direction costs."""
        s, name = self.size, self.method.name
        products = {"krylov": 2 * s.steps * s.batch, "rows": row_pieces(s) * s.n}.get(name, s.n)
        factor = factorisations(self.shifted) if self.shifted else int(name != "krylov")
        if self._slope:  # the physics is only linearised
            return cost(simulate=s.batch, vjp=pulled_samples(s, s.n), factor=factor)
        return cost(simulate=2 * s.batch, vjp=products + s.batch, factor=factor)

    def refuses(self, objective: Objective, params: Parameters, batch: Batch) -> str | None:
        """Return why the physics does not allow the method, None if it does."""
        if self._slope or not self.method.forward:
            return None
        if no_forward_mode(lambda p: objective.outputs(p, batch), params) is None:
            return None
        return (
            f"method={self.method.name} needs forward differentiation, which this physics lacks, "
            "or the problem's own linearize"
        )

    @property
    def _slope(self) -> bool:
        """Whether dy/dx stands for the physics."""
        name = self.method.name
        return name == "physics" or (self.size.linearizes and name != "layerwise")


def choose(size: Size, method: Choice) -> Plan:
    """Choose the cheapest exact method within the limits, or Krylov's if there is none; a rational
    power counts as exact.

    Raises PlanError if the requested method, or every method, needs more memory than the limit.
    """
    fitting = [m for m in METHODS if m.bytes(size) <= size.limit]
    if method != "auto":
        requested = {m.name: m for m in METHODS}[method]
        if requested not in fitting:
            need = f"needs {_si(requested.bytes(size))}B of {_si(size.limit)}B for n = {size.n}"
            raise PlanError(f"method={method} {need}; lower batch_size or raise memory_limit")
        return _plan(requested, size, "as requested")
    most = EXACT_OPERATIONS.get(size.spectrum.platform, EXACT_OPERATIONS["cpu"])
    exact = [
        m
        for m in fitting
        if m.operations(size) <= most and (m.name != "krylov" or _converges(size))
    ]
    if exact:
        best = min(exact, key=lambda m: m.operations(size))
        others = [f"{m.name} {_si(m.operations(size))}flop" for m in exact if m is not best]
        alternatives = f" (others: {', '.join(others)})" if others else ""
        return _plan(best, size, "the cheapest method that fits" + alternatives)
    if METHODS[-1] in fitting:
        return _plan(METHODS[-1], size, "no exact method fits into memory and time")
    raise PlanError(f"no method fits into {_si(size.limit)}B for n = {size.n}; lower batch_size")


def _plan(method: Method, size: Size, reason: str) -> Plan:
    """Add the approximation of the power, if the method needs one.

    Raises PlanError if the one that is requested does not exist.
    """
    n, spectrum = method.decomposed(size), size.spectrum
    if not n:
        return Plan(method, size, reason, None)
    if spectrum.decomposition == "rational" and (problem := unsuitable(spectrum)):
        raise PlanError(f"decomposition=rational: {problem}; use decomposition=eigh")
    shifted = shifted_power(spectrum, n)
    if shifted and shifted.together:
        factors = 8.0 * factorisations(shifted) * n**2
        shifted = shifted._replace(together=method.bytes(size) + factors <= size.limit)
    return Plan(method, size, reason, shifted)


def _converges(size: Size) -> bool:
    """Return whether the Krylov method is known to reach KRYLOV_ERROR.

    With damping d, J J^T + d^2 max(s)^2 has a condition number of at most c = 1 + 1/d^2, and the
    error falls by a factor of (sqrt(c) + 1) / (sqrt(c) - 1) or more per step. A physics without its
    own dy/dx would need forward differentiation, which not every physics supports.
    """
    damping = size.spectrum.damping
    if not (size.linearizes and damping > 0):
        return False
    root = math.sqrt(1 + damping**-2)
    return 2 * ((root - 1) / (root + 1)) ** size.steps <= KRYLOV_ERROR


def _estimate(method: Method, size: Size) -> str:
    return f"about {_si(method.operations(size))}flop and {_si(method.bytes(size))}B"


def _si(value: float) -> str:
    for factor, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g} {letter}"
    return f"{value:.3g} "

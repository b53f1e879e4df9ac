"""Options of the spectral-power family."""

import dataclasses
from typing import Annotated, ClassVar, Literal

from physopt.optimizers.schedules import Scheduled
from physopt.optimizers.spectral.decomposition import Decomposition
from physopt.optimizers.spectral.line_search import LineSearch
from physopt.optimizers.spectral.methods import Choice
from physopt.options import (
    Bounds,
    Decay,
    NonNegativeFloat,
    OptionError,
    PositiveFloat,
    PositiveInt,
)


@dataclasses.dataclass(frozen=True)
class SpectralOptions(Scheduled):
    """Options of a step along V S^kappa U^T r.

    r = sqrt(b) dL/dy, and J / sqrt(b) = U S V^T is its Jacobian in theta, for a batch of b samples.
    """

    learning_rate: PositiveFloat | None = None
    """eta, relative to r and J / sqrt(b): it is the same for every batch size. none: adapted to the
    loss of the next batch, or by a line search if the batch stays the same."""

    kappa: float = -0.5
    """Power of the singular values."""

    tau: NonNegativeFloat | None = None
    """Singular values s < tau max(s) are dropped. none: no cutoff but the damping if that is
    adapted, 1e-5 otherwise; with a line search at first sqrt(P eps) for P parameters of precision
    eps, 1.7e-7 for 129 in float64, and higher after steps that have to be shortened much. sqrt(P
    eps) is the rounding of J^T J, and the directions below are noise: on a physics-informed network
    a step with 1e-6 stalls early, and one with 1e-10 is so long in them that no length lowers the
    loss."""

    absolute: bool = False
    """Whether tau is a singular value of J itself instead of a fraction of the largest."""

    damping: NonNegativeFloat | None = None
    """A positive d replaces the cutoff tau by the smooth weights
    s (s^2 + d^2 max(s)^2)^((kappa - 1)/2). none: adapted to the loss of the next batch, as the
    length of steps is, unless learning_rate or tau is set or batches stay the same; then 0."""

    beta: float | None = None
    """Power of the largest singular value of J / sqrt(b) that multiplies the step. none: 0 with a
    learning rate, and -(1 + kappa) without one, with which eta has no unit."""

    momentum: Decay = 0.0
    """Weight of earlier steps, v <- momentum v + step."""

    max_step_norm: PositiveFloat | None = None
    """Largest norm of a step, before momentum; none sets no bound."""

    line_search: LineSearch = "auto"
    """Factor of each step, a power of two from 1 (kappa = -1) or 16 (other powers) down to 2^-31 of
    that. grid: the one with the lowest loss of the batch; armijo: the largest one with a sufficient
    decrease; auto: grid without a learning rate on a batch that stays the same, none otherwise. If
    no length lowers the loss the step is zero; three in a row end the run as converged."""

    method: Choice = "auto"
    """How the direction is computed: auto chooses by cost and memory. layerwise and physics: a Gram
    matrix without J; rows and columns: a Gram matrix from J; krylov: iteratively, for many outputs
    or a large damping; it needs forward differentiation of a physics without its own dy/dx."""

    decomposition: Decomposition = "auto"
    """How the power of a Gram matrix is computed. eigh: exactly, by eigenvectors; rational: by
    shifted Cholesky factorisations with an error up to tolerance, or by eigenvectors if a singular
    value is below the cutoff; auto: the faster one, rational for n above 500 on a GPU and 1,500 on
    a CPU, or less with damping. The column eigendecomposed is the share of updates by eigenvectors.
    """

    tolerance: Annotated[float, Bounds(1e-5, 1e-1)] = 1e-3
    """Relative error of the direction allowed to a rational approximation."""

    krylov_steps: PositiveInt | None = None
    """Products with J and with J^T per update with method=krylov. none: 30, or 8 for samples of
    more than 1,000 outputs."""

    memory_limit: PositiveFloat | None = None
    """Gigabytes that the matrices of an update may take; none takes 70 % of the memory."""

    gram_dtype: Literal["float64", "float32"] = "float64"
    """Type of Gram matrices and their decomposition, whatever the run's; float32 suffices for
    tau >= 1e-2."""

    tunable: ClassVar = {"learning_rate": (1e-3, 2.0), "tau": (1e-7, 1e-1)}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.momentum and self.line_search not in ("auto", "none"):
            reason = "a line search judges single steps; use momentum=0"
            raise OptionError(type(self), "momentum", self.momentum, reason)

"""Energy natural gradient: Gauss-Newton with a cutoff and a line search on a grid."""

import dataclasses
from typing import ClassVar

from physopt.optimizers.spectral.line_search import LineSearch
from physopt.optimizers.spectral.rule import SpectralPower
from physopt.options import PositiveFloat


@dataclasses.dataclass(frozen=True)
class EnergyNaturalGradient(SpectralPower):
    """Energy natural gradient: theta <- theta - a J^+ r, with the best of 32 lengths a.

    For a loss 1/2 |r|^2 it is Gauss-Newton with the pseudo-inverse of the Jacobian J of r, whose
    singular values below tau of the largest are dropped. a is the power of two from 1 down to 2^-31
    with the lowest loss of the batch. tau begins at sqrt(P eps), what least squares on the P x P
    Gram matrix resolves, and adapts: it is four times as high after a step that had to be shortened
    to a sixteenth, and falls again. tau=1e-7 or the like keeps it, as the published rule does,
    which stalls on some seeds and where the problem is not nearly linear.
    Source: J. Muller, M. Zeinhofer, arXiv 2302.13163 (ICML 2023).
    """

    learning_rate: PositiveFloat = 1.0
    """Factor of all lengths."""

    kappa: float = -1.0
    line_search: LineSearch = "grid"

    tunable: ClassVar = {"tau": (1e-9, 1e-5)}

"""Rules that apply a power of the singular values of dy/dtheta: half-inverse and Gauss-Newton.

`rule` is what they share, `half_inverse` and `gauss_newton` are the two rules. A direction is
computed by one of the `methods`: exactly (`directions`) or approximately (`krylov`). For few
parameters Gauss-Newton is `levenberg_marquardt` without initial damping.
"""

from physopt.optimizers.spectral.energy_natural import (
    EnergyNaturalGradient as EnergyNaturalGradient,
)
from physopt.optimizers.spectral.gauss_newton import GaussNewton as GaussNewton
from physopt.optimizers.spectral.half_inverse import HalfInverse as HalfInverse
from physopt.optimizers.spectral.levenberg_marquardt import (
    LevenbergMarquardt as LevenbergMarquardt,
)
from physopt.optimizers.spectral.rule import SpectralPower as SpectralPower

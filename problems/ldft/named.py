"""The inverse-design problems by name: square lattice, cubic lattice, and hysteresis.

The target of each is the error that the source reports for its networks on its own test set.
"""

import dataclasses
from typing import Annotated, ClassVar, Literal

from physopt.options import Bounds
from physopt.problems.ldft.design import InverseDesign


@dataclasses.dataclass(frozen=True)
class LDFT2D(InverseDesign):
    """Inverse design of porous matrices on a square lattice, by their sorption isotherm.

    rho_i = eta_i sigmoid(beta (mu(h) + w_ff sum_j rho_j + w_mf sum_j (1 - eta_j))) at each of 40
    humidities; y(h) = sum rho / sum eta; loss 1/2 sum_h (y - y*)^2. The unknown x [batch, n, n] is
    the pre-activation of a binary matrix. area_percent is 100 mean_h |y - y*|.

    Source: H. Liu et al., npj Computational Materials 9, 121 (2023).
    """

    dimensions: ClassVar[int] = 2
    target: ClassVar = ("area_percent", 3.3)
    defaults: ClassVar = {"batch_size": 8, "steps": 1000, "log_every": 50, "heldout_size": 64}


@dataclasses.dataclass(frozen=True)
class LDFT3D(InverseDesign):
    """Inverse design of porous matrices on a cubic lattice, by their sorption isotherm.

    As ldft2d, with x [batch, n, n, n] and six neighbours a site.

    Source: H. Liu et al., npj Computational Materials 9, 121 (2023).
    """

    size: Annotated[int, Bounds(2)] = 10

    dimensions: ClassVar[int] = 3
    target: ClassVar = ("area_percent", 2.93)
    defaults: ClassVar = {"batch_size": 8, "steps": 600, "log_every": 150, "heldout_size": 64}


@dataclasses.dataclass(frozen=True)
class LDFTHysteresis(InverseDesign):
    """Inverse design of porous matrices by their full hysteresis loop.

    As ldft2d or ldft3d, with y [batch, 2 points]: adsorption at h = 1/points ... 1, then desorption
    from there back to 0, each branch on its own metastable states.

    Source: H. Liu et al., npj Computational Materials 9, 121 (2023).
    """

    dimensions: Literal[2, 3] = 2  # type: ignore[misc]
    """Dimensions of the lattice; a cubic one of 20^3 sites is large, so set the size too."""

    desorption: ClassVar[bool] = True
    target: ClassVar = ("area_percent", 4.7)
    defaults: ClassVar = {"batch_size": 8, "steps": 600, "log_every": 50, "heldout_size": 64}

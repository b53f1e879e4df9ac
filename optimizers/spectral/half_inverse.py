"""Half-inverse gradients: the spectral power kappa = -1/2."""

import dataclasses

from physopt.optimizers.spectral.rule import SpectralPower


@dataclasses.dataclass(frozen=True)
class HalfInverse(SpectralPower):
    """Half-inverse gradients: theta <- theta - eta V S^(-1/2) U^T g.

    Half-way between gradient descent (kappa = 1) and Gauss-Newton (kappa = -1), in logarithms of
    the singular values s of J = dy/dtheta [n, P]: directions in which outputs hardly respond catch
    up without the full inverse's blow-up. Costs one Gram matrix, its decomposition, of order n^3
    with n = batch |y|, and one vector-Jacobian product: smaller batches are much cheaper.
    Source: P. Schnell, P. Holl, N. Thuerey, arXiv 2203.10131 (ICLR 2022).
    """

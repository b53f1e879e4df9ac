"""Half-inverse gradients: the spectral power kappa = -1/2."""

import dataclasses

from physopt.optimizers.spectral.rule import SpectralPower


@dataclasses.dataclass(frozen=True)
class HalfInverse(SpectralPower):
    """Half-inverse gradients: theta <- theta - eta V S^(-1/2) U^T r.

    r = sqrt(b) dL/dy is the residual of the mean loss of b samples, and U S V^T its Jacobian
    J / sqrt(b) [n, P], with J = dy/dtheta. Directions in which outputs hardly respond, which
    gradient descent (S^1) leaves behind, catch up without the blow-up of the full inverse (S^-1).
    Costs one Gram matrix, its decomposition, of order n^3 with n = b |y|, and one vector-Jacobian
    product: smaller batches are much cheaper. Without a learning rate the loss of the next batch
    adapts the length of steps and their damping, see `step_length`.
    Source: P. Schnell, P. Holl, N. Thuerey, arXiv 2203.10131 (ICLR 2022).
    """

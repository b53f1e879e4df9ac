"""The optimisers of optax with a class of their own, which names their options and their source.

Options that a class does not name have optax's defaults.
"""

import dataclasses
from typing import ClassVar

import optax

from physopt.optimizers.first_order.rule import Factor, FirstOrder
from physopt.options import Decay, NonNegativeFloat, PositiveFloat, PositiveInt


@dataclasses.dataclass(frozen=True)
class SGD(FirstOrder):
    """Gradient descent, with momentum as an option.

    v <- momentum v + g, theta <- theta - eta v. Source: B. T. Polyak, 1964,
    doi 10.1016/0041-5553(64)90137-5; Nesterov's form evaluates one step ahead.
    """

    learning_rate: PositiveFloat = 1e-2
    momentum: Decay = 0.9
    nesterov: bool = False

    # The first step eta |g| is a length in the parameters, independent of the units of the loss.
    tunable: ClassVar = {"learning_rate": (1e-4, 1e1)}
    tunable_per: ClassVar = {"learning_rate": "grad_norm"}

    def transformation(self, factor: Factor = 1.0) -> optax.GradientTransformation:
        """Return optax.sgd."""
        return optax.sgd(factor * self.learning_rate, self.momentum or None, self.nesterov)


@dataclasses.dataclass(frozen=True)
class Adam(FirstOrder):
    """Adam: the gradient's running mean over the root of its running mean square.

    m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g^2, theta <- theta - eta m^ / (sqrt(v^) + eps),
    with ^ for the correction of the zero start. Source: D. P. Kingma, J. Ba, arXiv 1412.6980.
    """

    learning_rate: PositiveFloat = 1e-3
    b1: Decay = 0.9
    b2: Decay = 0.999
    eps: PositiveFloat = 1e-8

    def transformation(self, factor: Factor = 1.0) -> optax.GradientTransformation:
        """Return optax.adam."""
        return optax.adam(factor * self.learning_rate, self.b1, self.b2, self.eps)


@dataclasses.dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: theta shrinks by eta weight_decay theta.

    Source: I. Loshchilov, F. Hutter, arXiv 1711.05101.
    """

    weight_decay: NonNegativeFloat = 1e-4

    def transformation(self, factor: Factor = 1.0) -> optax.GradientTransformation:
        """Return optax.adamw."""
        rate = factor * self.learning_rate
        return optax.adamw(rate, self.b1, self.b2, self.eps, weight_decay=self.weight_decay)


@dataclasses.dataclass(frozen=True)
class RMSProp(FirstOrder):
    """RMSprop: g / sqrt(v + eps) with v the running mean square of g.

    Source: T. Tieleman, G. Hinton, Coursera lecture 6.5, 2012.
    """

    learning_rate: PositiveFloat = 1e-3
    decay: Decay = 0.9
    eps: PositiveFloat = 1e-8
    momentum: Decay = 0.0

    def transformation(self, factor: Factor = 1.0) -> optax.GradientTransformation:
        """Return optax.rmsprop."""
        rate, momentum = factor * self.learning_rate, self.momentum or None
        return optax.rmsprop(rate, self.decay, self.eps, momentum=momentum)


@dataclasses.dataclass(frozen=True)
class Adagrad(FirstOrder):
    """Adagrad: g over the root of the sum of all earlier squares.

    Source: J. Duchi, E. Hazan, Y. Singer, JMLR 12, 2121 (2011).
    """

    learning_rate: PositiveFloat = 1e-2
    eps: PositiveFloat = 1e-7

    def transformation(self, factor: Factor = 1.0) -> optax.GradientTransformation:
        """Return optax.adagrad."""
        return optax.adagrad(factor * self.learning_rate, eps=self.eps)


@dataclasses.dataclass(frozen=True)
class Adadelta(FirstOrder):
    """Adadelta: g times the ratio of the running root mean squares of updates and gradients.

    Source: M. D. Zeiler, arXiv 1212.5701.
    """

    learning_rate: PositiveFloat = 1.0
    rho: Decay = 0.9
    eps: PositiveFloat = 1e-6

    tunable: ClassVar = {"learning_rate": (1e-2, 1e1)}

    def transformation(self, factor: Factor = 1.0) -> optax.GradientTransformation:
        """Return optax.adadelta."""
        return optax.adadelta(factor * self.learning_rate, self.rho, self.eps)


@dataclasses.dataclass(frozen=True)
class Lion(FirstOrder):
    """Lion: the sign of an interpolation of momentum and gradient.

    Source: X. Chen et al., arXiv 2302.06675.
    """

    learning_rate: PositiveFloat = 1e-4
    b1: Decay = 0.9
    b2: Decay = 0.99
    weight_decay: NonNegativeFloat = 1e-3

    def transformation(self, factor: Factor = 1.0) -> optax.GradientTransformation:
        """Return optax.lion."""
        rate = factor * self.learning_rate
        return optax.lion(rate, self.b1, self.b2, weight_decay=self.weight_decay)


@dataclasses.dataclass(frozen=True)
class Muon(FirstOrder):
    """Muon: the momentum of each weight matrix, made nearly orthogonal; Adam on all else.

    Source: K. Jordan et al., kellerjordan.github.io/posts/muon, 2024.
    """

    learning_rate: PositiveFloat = 1e-2
    beta: Decay = 0.95
    weight_decay: NonNegativeFloat = 0.0

    def transformation(self, factor: Factor = 1.0) -> optax.GradientTransformation:
        """Return optax.contrib.muon."""
        rate = factor * self.learning_rate
        return optax.contrib.muon(
            rate, beta=self.beta, weight_decay=self.weight_decay, adam_learning_rate=rate
        )


@dataclasses.dataclass(frozen=True)
class LBFGS(FirstOrder):
    """Limited-memory BFGS with a zoom line search on the same batch.

    d = -H g with H built from the last `memory_size` pairs of steps and gradient changes. The
    gradient is recomputed for each update, because the line search ends with that of the previous
    batch. Source: D. C. Liu, J. Nocedal, Math. Program. 45, 503 (1989).
    """

    memory_size: PositiveInt = 10
    line_search_steps: PositiveInt = 20

    tunable: ClassVar = {}

    def transformation(self, factor: Factor = 1.0) -> optax.GradientTransformation:
        """Return optax.lbfgs; the factor multiplies the step that the line search found."""
        search = optax.scale_by_zoom_linesearch(
            self.line_search_steps, initial_guess_strategy="one"
        )
        optimizer = optax.lbfgs(None, self.memory_size, linesearch=search)
        return optax.chain(optimizer, optax.scale(factor))

"""First-order rules: an optax optimiser on the gradient through the physics.

The update of each is theta <- theta - eta(t) direction(dL/dtheta). The classes below differ only in
the optimiser; its options are optax's own. eta(t) = learning_rate times the factor of `schedule`,
where t is the fraction spent of the run's budget, in updates or in seconds.
"""

import dataclasses
import difflib
from abc import abstractmethod
from typing import Any, ClassVar

import jax
import optax

from physopt.objective import Objective
from physopt.optimizers.schedules import Scheduled
from physopt.options import NonNegativeFloat, OptionError, PositiveFloat, PositiveInt, UnitFloat
from physopt.problem import Batch, Tree
from physopt.rule import Info, Parameters, State, cost


@dataclasses.dataclass(frozen=True)
class FirstOrder(Scheduled):
    """A cotangent dL/dx, pulled back through the network, and an optax optimiser."""

    clip_norm: PositiveFloat | None = None
    """Largest norm of the gradient that the optimiser gets; none sets no bound."""

    tunable: ClassVar = {"learning_rate": (1e-5, 1e-1)}

    @abstractmethod
    def transformation(self) -> optax.GradientTransformation:
        """Return the optax optimiser, its learning rate included."""

    def init(self, objective: Objective, params: Parameters, key: jax.Array) -> State:
        """Return the optimiser's state."""
        return self._chain().init(params)

    def update(
        self, objective: Objective, params: Parameters, state: State, batch: Batch, key: jax.Array
    ) -> tuple[Parameters, State, Info]:
        """Return the optimiser's step on dL/dtheta = (dx/dtheta)^T dL/dx."""
        x = objective.predict(params, batch.inputs)
        loss, cotangent, spent = self.cotangent(objective, x, batch, key)
        gradient = objective.pullback(params, batch, cotangent)
        updates, state = self._chain().update(
            gradient, state, params, value=loss, grad=gradient,
            value_fn=lambda p: objective.trial(p, batch),
        )  # fmt: skip
        # Every optimiser here is linear in its learning rate, so the factor can be applied last.
        updates = optax.tree.scale(self.factor(batch.progress), updates)
        info = {"loss": loss, "grad_norm": optax.tree.norm(gradient)}
        return updates, state, {**info, **self._with_line_search(spent, state, len(batch))}

    def cotangent(
        self, objective: Objective, x: Tree, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, Tree, Info]:
        """Return L, dL/dx and their cost, by backpropagation through the physics."""
        loss, gradient = jax.value_and_grad(objective.mean_loss)(x, batch)
        return loss, gradient, cost(simulate=len(batch), vjp=len(batch))

    def _chain(self) -> optax.GradientTransformationExtraArgs:
        parts = [self.transformation(), self.plateau()]
        if self.clip_norm is not None:
            parts.insert(0, optax.clip_by_global_norm(self.clip_norm))
        return optax.with_extra_args_support(optax.chain(*parts))

    @staticmethod
    def _with_line_search(spent: Info, state: Any, size: int) -> Info:
        """Add the evaluations of a line search, each a value and a gradient of the batch."""
        trials = optax.tree.get(state, "num_linesearch_steps")
        if trials is None:
            return spent
        extra = cost(simulate=trials * size, vjp=trials * size)
        return {name: spent[name] + extra[name] for name in spent}


@dataclasses.dataclass(frozen=True)
class SGD(FirstOrder):
    """Gradient descent, with momentum as an option.

    v <- momentum v + g, theta <- theta - eta v. Source: B. T. Polyak, 1964,
    doi 10.1016/0041-5553(64)90137-5; Nesterov's form evaluates one step ahead.
    """

    learning_rate: PositiveFloat = 1e-2
    momentum: UnitFloat = 0.9
    nesterov: bool = False

    # The first step eta |g| is a length in the parameters, independent of the units of the loss.
    tunable: ClassVar = {"learning_rate": (1e-4, 1e1)}
    tunable_per: ClassVar = {"learning_rate": "grad_norm"}

    def transformation(self) -> optax.GradientTransformation:
        """Return optax.sgd."""
        return optax.sgd(self.learning_rate, self.momentum or None, self.nesterov)


@dataclasses.dataclass(frozen=True)
class Adam(FirstOrder):
    """Adam: the gradient's running mean over the root of its running mean square.

    m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g^2, theta <- theta - eta m^ / (sqrt(v^) + eps),
    with ^ for the correction of the zero start. Source: D. P. Kingma, J. Ba, arXiv 1412.6980.
    """

    learning_rate: PositiveFloat = 1e-3
    b1: UnitFloat = 0.9
    b2: UnitFloat = 0.999
    eps: PositiveFloat = 1e-8

    def transformation(self) -> optax.GradientTransformation:
        """Return optax.adam."""
        return optax.adam(self.learning_rate, self.b1, self.b2, self.eps)


@dataclasses.dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: theta shrinks by eta weight_decay theta.

    Source: I. Loshchilov, F. Hutter, arXiv 1711.05101.
    """

    weight_decay: NonNegativeFloat = 1e-4

    def transformation(self) -> optax.GradientTransformation:
        """Return optax.adamw."""
        return optax.adamw(
            self.learning_rate, self.b1, self.b2, self.eps, weight_decay=self.weight_decay
        )


@dataclasses.dataclass(frozen=True)
class RMSProp(FirstOrder):
    """RMSprop: g / sqrt(v + eps) with v the running mean square of g.

    Source: T. Tieleman, G. Hinton, Coursera lecture 6.5, 2012.
    """

    learning_rate: PositiveFloat = 1e-3
    decay: UnitFloat = 0.9
    eps: PositiveFloat = 1e-8
    momentum: UnitFloat = 0.0

    def transformation(self) -> optax.GradientTransformation:
        """Return optax.rmsprop."""
        momentum = self.momentum or None
        return optax.rmsprop(self.learning_rate, self.decay, self.eps, momentum=momentum)


@dataclasses.dataclass(frozen=True)
class Adagrad(FirstOrder):
    """Adagrad: g over the root of the sum of all earlier squares.

    Source: J. Duchi, E. Hazan, Y. Singer, JMLR 12, 2121 (2011).
    """

    learning_rate: PositiveFloat = 1e-2
    eps: PositiveFloat = 1e-7

    def transformation(self) -> optax.GradientTransformation:
        """Return optax.adagrad."""
        return optax.adagrad(self.learning_rate, eps=self.eps)


@dataclasses.dataclass(frozen=True)
class Adadelta(FirstOrder):
    """Adadelta: g times the ratio of the running root mean squares of updates and gradients.

    Source: M. D. Zeiler, arXiv 1212.5701.
    """

    learning_rate: PositiveFloat = 1.0
    rho: UnitFloat = 0.9
    eps: PositiveFloat = 1e-6

    tunable: ClassVar = {"learning_rate": (1e-2, 1e1)}

    def transformation(self) -> optax.GradientTransformation:
        """Return optax.adadelta."""
        return optax.adadelta(self.learning_rate, self.rho, self.eps)


@dataclasses.dataclass(frozen=True)
class Lion(FirstOrder):
    """Lion: the sign of an interpolation of momentum and gradient.

    Source: X. Chen et al., arXiv 2302.06675.
    """

    learning_rate: PositiveFloat = 1e-4
    b1: UnitFloat = 0.9
    b2: UnitFloat = 0.99
    weight_decay: NonNegativeFloat = 1e-3

    def transformation(self) -> optax.GradientTransformation:
        """Return optax.lion."""
        return optax.lion(self.learning_rate, self.b1, self.b2, weight_decay=self.weight_decay)


@dataclasses.dataclass(frozen=True)
class Muon(FirstOrder):
    """Muon: the momentum of each weight matrix, made nearly orthogonal; Adam on all else.

    Source: K. Jordan et al., kellerjordan.github.io/posts/muon, 2024.
    """

    learning_rate: PositiveFloat = 1e-2
    beta: UnitFloat = 0.95
    weight_decay: NonNegativeFloat = 0.0

    def transformation(self) -> optax.GradientTransformation:
        """Return optax.contrib.muon."""
        return optax.contrib.muon(
            self.learning_rate, beta=self.beta, weight_decay=self.weight_decay,
            adam_learning_rate=self.learning_rate,
        )  # fmt: skip


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

    def transformation(self) -> optax.GradientTransformation:
        """Return optax.lbfgs."""
        search = optax.scale_by_zoom_linesearch(
            self.line_search_steps, initial_guess_strategy="one"
        )
        return optax.lbfgs(None, self.memory_size, linesearch=search)


@dataclasses.dataclass(frozen=True)
class AnyOptax(FirstOrder):
    """Any optimiser of optax or optax.contrib by name, with its default options.

    rule=optax rule.optimizer=nadam rule.learning_rate=1e-3
    """

    optimizer: str = "nadam"
    learning_rate: PositiveFloat = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self._constructor() is None:
            names = [n for module in (optax, optax.contrib) for n in dir(module) if n[0].islower()]
            nearest = difflib.get_close_matches(self.optimizer, names, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else "see optax's documentation"
            reason = f"neither optax nor optax.contrib has it; {hint}"
            raise OptionError(type(self), "optimizer", self.optimizer, reason)

    def transformation(self) -> optax.GradientTransformation:
        """Return the named optimiser."""
        return self._constructor()(self.learning_rate)

    def _constructor(self) -> Any:
        return getattr(optax, self.optimizer, None) or getattr(optax.contrib, self.optimizer, None)

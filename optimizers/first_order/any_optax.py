"""AnyOptax: any optimiser of optax or optax.contrib as a rule, with its options.

The options differ from one optimiser to the next. Every optimiser therefore has a class of its own,
a subclass of AnyOptax whose fields are the arguments of the optimiser's constructor, which is made
when the optimiser is first named: reading, recording and tuning of options need nothing else.
"""

import dataclasses
import functools
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from physopt.objective import Objective
from physopt.optimizers.first_order.constructors import (
    Make,
    NoOptimizer,
    Traits,
    find,
    scalar_options,
    traits,
)
from physopt.optimizers.first_order.rule import Factor, FirstOrder
from physopt.options import OptionError, annotations, suggest
from physopt.problem import Batch
from physopt.rule import Info, Parameters, State, cost

_SMALLEST_FACTOR = 1e-8
_TUNED = 100.0


@dataclasses.dataclass(frozen=True)
class AnyOptax(FirstOrder):
    """Any optimiser of optax or optax.contrib by name, with its own options and their defaults.

    rule=optax rule.optimizer=prodigy rule.weight_decay=1e-2
    AnyOptax(optimizer="prodigy", weight_decay=1e-2)

    The options are the numbers, words and lists of them that the optimiser's constructor takes;
    `run rule=optax rule.optimizer=NAME --help` lists them. Masks, types and functions keep optax's
    defaults. learning_rate is 1e-3 where optax requires one, and 1 where its default is None, which
    stands for unscaled updates (adadelta, adafactor, lbfgs).

    The schedule multiplies the learning rate, as a schedule of optax would: it counts in the state
    of optimisers that are not linear in it (prodigy, schedule_free_adamw). It multiplies the steps
    where the learning rate does not scale them (rprop, lbfgs, polyak_sgd). Schedule-free optimisers
    are evaluated at optax.contrib.schedule_free_eval_params.
    """

    optimizer: str = "nadam"
    """Name of an optimiser of optax or optax.contrib; it decides which options there are."""

    if TYPE_CHECKING:
        learning_rate: float = 1e-3  # a field where the optimiser has one

        def __init__(self, **options: Any) -> None:
            """Take the rule's own options and the optimiser's, by name."""

    _general: ClassVar[type["AnyOptax"] | None] = None
    """The class from which the class of an optimiser was made; None for AnyOptax itself."""
    _make: ClassVar[Make]
    """The constructor of the optimiser."""
    _arguments: ClassVar[tuple[str, ...]] = ()
    """Its arguments that are options of the rule."""

    @classmethod
    def class_for(cls, given: Mapping[str, Any]) -> type[Self]:
        """Return the class of the optimiser that is given, or of the default one.

        Raises OptionError if optax has no such optimiser.
        """
        name = given.get("optimizer", cls.optimizer)
        if not isinstance(name, str):
            raise OptionError(cls, "optimizer", name, "must be a word")
        if cls._general is not None and name == cls.optimizer:
            return cls
        return _class_of(cls._general or cls, name)  # type: ignore[return-value]

    def __new__(cls, *_: Any, **options: Any) -> Self:
        """Make an instance of the optimiser's class; raises OptionError for unknown options."""
        variant = cls.class_for(options)
        if not issubclass(variant, cls):  # Python would not initialise the instance
            reason = f"this is the class of {cls.optimizer}; replace() changes the optimiser"
            raise OptionError(cls, "optimizer", options["optimizer"], reason)
        known = annotations(variant)
        for name, value in options.items():
            if name not in known:
                reason = f"{variant.optimizer} has no such option; {suggest(name, known)}"
                raise OptionError(cls, name, value, reason)
        for field in dataclasses.fields(variant):
            if field.default is dataclasses.MISSING and field.name not in options:
                raise OptionError(cls, field.name, "", f"is required by {variant.optimizer}")
        return super().__new__(variant)

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            self._traits()
        except NoOptimizer as error:
            raise OptionError(type(self), "optimizer", self.optimizer, str(error)) from None

    def __reduce__(self) -> Any:
        return functools.partial(self._general or type(self), **self.as_dict()), ()

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some options changed.

        Another optimiser keeps the options that differ from the defaults of this one.
        """
        if changes.get("optimizer", self.optimizer) == self.optimizer:
            return super().replace(**changes)
        kept = {
            field.name: value
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != field.default
        }
        return type(self).class_for(changes)(**{**kept, **changes})

    def transformation(self, factor: Factor = 1.0) -> optax.GradientTransformation:
        """Return the named optimiser."""
        options = self._options()
        if self._traits().reads_rate:
            # prodigy and dadapt_adamw divide by sums of the rate, which 0 would make 0/0.
            options["learning_rate"] *= jnp.maximum(factor, _SMALLEST_FACTOR)
            return self._make(**options)
        return optax.chain(self._make(**options), optax.scale(factor))

    def update(
        self, objective: Objective, params: Parameters, state: State, batch: Batch, key: jax.Array
    ) -> tuple[Parameters, State, Info]:
        """Return the optimiser's step, and the cost of its second derivatives if it takes any."""
        updates, after, info = super().update(objective, params, state, batch, key)
        if self._traits().evaluates_curvature:
            count = optax.tree.get(state.optimizer, "count", 0)
            due = count % getattr(self, "update_interval", 1) == 0
            samples = jnp.where(due, 2 * len(batch), 0)  # of the gradient, and of its derivative
            spent = cost(simulate=samples, vjp=samples)
            info |= {name: info[name] + extra for name, extra in spent.items()}
        return updates, after, info

    def evaluated(self, params: Parameters, state: State) -> Parameters:
        """Return the average of a schedule-free optimiser, the parameters of any other."""
        for part in jax.tree.leaves(state, is_leaf=_is_schedule_free):
            if _is_schedule_free(part):
                return optax.contrib.schedule_free_eval_params(part, params)
        return params

    def _traits(self) -> Traits:
        # Floats do not change how an update is traced: at their defaults one trace serves them all.
        options = self._options()
        for name, (_, default) in scalar_options(self._make).items():
            if isinstance(default, float) and isinstance(options.get(name), float):
                options[name] = default
        return traits(self._make, tuple(options.items()))

    def _options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._arguments}


@functools.cache
def _class_of(general: type[AnyOptax], name: str) -> type[AnyOptax]:
    """Return the subclass of a rule that has the options of one optimiser."""
    try:
        make = find(name)
    except NoOptimizer as error:
        raise OptionError(general, "optimizer", name, str(error)) from None
    # Other than the default, the optimiser has to be named to find this class again.
    named = {"named": name != general.optimizer}
    fields: list[Any] = [("optimizer", str, dataclasses.field(default=name, metadata=named))]
    # An option with the name of one of the rule's own attributes cannot be set.
    options = {k: option for k, option in scalar_options(make).items() if not hasattr(general, k)}
    for option, (hint, default) in options.items():
        default = dataclasses.MISSING if default is inspect.Parameter.empty else default
        fields.append((option, hint, dataclasses.field(default=default)))
    tunable = {k: v for k, v in general.tunable.items() if k != "learning_rate"}
    rate = options["learning_rate"].default if "learning_rate" in options else None
    if rate is not None:
        tunable["learning_rate"] = (rate / _TUNED, rate * _TUNED)
    namespace = {
        "__doc__": general.__doc__,
        "__qualname__": general.__qualname__,
        "_general": general,
        "_make": staticmethod(make),
        "_arguments": tuple(options),
        "tunable": tunable,
        "defined_at": general.defined_at,
    }
    cls = dataclasses.make_dataclass(
        general.__name__, fields, bases=(general,), namespace=namespace, frozen=True, kw_only=True
    )
    # From Python 3.12 on make_dataclass overrides the namespace's entry with the calling module.
    cls.__module__ = general.__module__
    return cls


def _is_schedule_free(part: Any) -> bool:
    return isinstance(part, optax.contrib.ScheduleFreeState)

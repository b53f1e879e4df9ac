"""Constructors: the optimisers of optax and optax.contrib, and their options, read from optax.

An optimiser is a function that returns a gradient transformation and has a learning rate. Losses,
schedules, wrappers around another optimiser and parts of optimisers are refused with a reason. A
part has no learning rate, or is called `scale_by_...`; most parts (`clip`, `scale_by_adam`) follow
the gradient and would increase the loss.
"""

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib

from physopt.options import PositiveFloat, suggest

Make = Callable[..., Any]  # returns an optax.GradientTransformation

REQUIRED_RATE = 1e-3
"""Learning rate of an optimiser that requires one."""
UNSCALED_RATE = 1.0
"""Learning rate where optax's default is None, which leaves updates as they are: those of adadelta
would go uphill."""

_TRANSFORMATIONS = (optax.GradientTransformation, optax.GradientTransformationExtraArgs)
_RATES = {inspect.Parameter.empty: REQUIRED_RATE, None: UNSCALED_RATE}
_PART = "scale_by_"


class NoOptimizer(ValueError):
    """A name of optax that cannot be a rule's optimiser; the message is the reason."""


class Option(NamedTuple):
    """An option of an optimiser: its annotation and its default, `inspect.Parameter.empty` if
    it is required."""

    hint: Any
    default: Any


class Traits(NamedTuple):
    """Properties of an optimiser's update."""

    reads_rate: bool
    """The learning rate scales the update; not if only the initial state depends on it, or if a
    line search follows."""
    evaluates_curvature: bool
    """The update calls `obj_fn`, of which it takes second derivatives."""


@functools.cache
def optimizers() -> dict[str, Make]:
    """Return all optimisers of optax and optax.contrib by name."""
    made = {}
    for name in public_members():
        try:
            made[name] = find(name)
        except NoOptimizer:
            continue
    return made


@functools.cache
def public_members() -> Mapping[str, Any]:
    """Return what optax and optax.contrib offer by name, without their modules."""
    members = {**vars(optax.contrib), **vars(optax)}
    return {
        name: member
        for name, member in sorted(members.items())
        if not name.startswith("_") and not inspect.ismodule(member)
    }


def find(name: str) -> Make:
    """Return the constructor of an optimiser by name; raises NoOptimizer with the reason."""
    if name not in public_members():
        raise NoOptimizer(f"neither optax nor optax.contrib has it; {suggest(name, optimizers())}")
    make = public_members()[name]
    if not callable(make) or get_origin(make) is not None or isinstance(make, type):
        raise NoOptimizer("is a type or a value of optax, not an optimiser")
    parameters = _parameters(make)
    returned = inspect.signature(make).return_annotation
    inner = [p.name for p in parameters.values() if _is_needed(p) and _holds_optimizer(p)]
    if inner:
        reason = f"wraps another optimiser: it needs {' and '.join(inner)}"
        raise NoOptimizer(f"{reason}, which cannot be given as an option")
    has_rate = not {"learning_rate", "max_learning_rate"}.isdisjoint(parameters)
    if returned not in (*_TRANSFORMATIONS, *([inspect.Signature.empty] if has_rate else [])):
        takes = ", ".join(parameters) or "nothing"
        raise NoOptimizer(f"is no optimiser, but a function of {takes}: a loss, a schedule, a tool")
    if not has_rate or name.startswith(_PART):
        whole = name.removeprefix(_PART)
        example = whole if whole != name and whole in public_members() else "adam"
        raise NoOptimizer(
            "is a building block of optimisers, whose updates need not descend; "
            f"name an optimiser, such as {example}"
        )
    options = scalar_options(make)
    missing = [p.name for p in parameters.values() if _is_needed(p) and p.name not in options]
    if missing:
        raise NoOptimizer(f"needs {' and '.join(missing)}, which cannot be given as an option")
    return make


@functools.cache
def scalar_options(make: Make) -> Mapping[str, Option]:
    """Return the options of a constructor that are numbers, words, truth values or lists of them.

    Masks, types, functions and inner optimisers are none and keep optax's defaults.
    """
    options = {}
    for name, parameter in _parameters(make).items():
        hint = _hint(parameter)
        if hint is None:
            continue
        default = parameter.default
        if name == "learning_rate":
            hint = PositiveFloat
            default = _RATES.get(default, default)
        options[name] = Option(hint, default)
    return options


@functools.cache
def traits(make: Make, options: tuple[tuple[str, Any], ...]) -> Traits:
    """Trace an update of a small tree of parameters, and return its properties.

    Nothing is computed, so that no device is touched. Raises NoOptimizer, with optax's reason,
    where the update fails or changes the shapes or the types of its state.
    """
    curvature = []

    def loss(params: Any, obj_fn: Any = None) -> jax.Array:
        return 0.5 * optax.tree.norm(params, squared=True)

    def curved(params: Any) -> jax.Array:
        curvature.append(True)
        return loss(params)

    def update(rate: jax.Array, params: Any, state: Any) -> Any:
        given = dict(options)
        if "learning_rate" in given:
            given["learning_rate"] = rate
        optimizer = optax.with_extra_args_support(make(**given))
        value, gradient = jax.value_and_grad(loss)(params)
        return optimizer.update(
            gradient, state, params, value=value, grad=gradient, value_fn=loss, obj_fn=curved
        )

    params = {"matrix": _float(2, 3), "vector": _float(3)}
    try:
        state = jax.eval_shape(lambda params: make(**dict(options)).init(params), params)
        program, after = jax.make_jaxpr(update, return_shape=True)(_float(), params, state)
    except Exception as error:  # whatever a constructor raises
        line = next(iter(str(error).strip().splitlines()), "")
        raise NoOptimizer(f"optax refuses it: {line or type(error).__name__}") from error
    if _shapes(after) != _shapes((params, state)):
        raise NoOptimizer("its update changes the shapes or the types of its state")
    rate, equations = program.jaxpr.invars[0], program.jaxpr.eqns
    reads_rate = any(variable is rate for step in equations for variable in step.invars)
    reads_rate &= optax.tree.get(state, "num_linesearch_steps") is None
    return Traits(reads_rate, bool(curvature))


def _parameters(make: Any) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(make).parameters
    try:
        hints = typing.get_type_hints(make)
    except (NameError, TypeError):  # a name that optax imports for type checkers only
        hints = {}
    return {
        name: parameter.replace(annotation=hints.get(name, parameter.annotation))
        for name, parameter in parameters.items()
    }


def _is_needed(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty


def _holds_optimizer(parameter: inspect.Parameter) -> bool:
    def holds(hint: Any) -> bool:
        parts = hint if isinstance(hint, list) else get_args(hint)  # Callable[[...], ...]
        return hint in _TRANSFORMATIONS or any(map(holds, parts))

    return holds(parameter.annotation)


def _hint(parameter: inspect.Parameter) -> Any:
    """Return the annotation of a scalar option, None for anything else."""
    default, annotation = parameter.default, parameter.annotation
    members = _members(annotation)
    if isinstance(default, bool | int | float | str | tuple):
        hint = _hint_of_value(default, annotation)
        return hint | None if hint is not None and NoneType in members else hint
    if default is not None and default is not parameter.empty:
        return None
    if not all(map(_is_number, members)):
        return None
    number = int if members <= {NoneType, int} else int | float
    return number if default is parameter.empty else number | None


def _hint_of_value(value: Any, annotation: Any) -> Any:
    if isinstance(value, tuple):
        parts = get_args(annotation) if get_origin(annotation) is tuple else ()
        parts = parts if len(parts) == len(value) else (None,) * len(value)
        hints = tuple(_hint_of_value(v, part) for v, part in zip(value, parts, strict=True))
        return None if None in hints else tuple[hints]
    if isinstance(value, str) and get_origin(annotation) is Literal:
        return annotation
    return type(value) if isinstance(value, bool | int | float | str) else None


def _members(annotation: Any) -> set[Any]:
    if get_origin(annotation) in (Union, UnionType):
        return set(get_args(annotation))
    return {annotation}


def _is_number(member: Any) -> bool:
    """Return whether a member of a union is a number, or the schedule of one."""
    if get_origin(member) is not None:
        return get_origin(member) is Callable
    return isinstance(member, type) and issubclass(
        member, int | float | complex | NoneType | np.generic | np.ndarray | jax.Array
    )


def _float(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def _shapes(tree: Any) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(leaf.shape, leaf.dtype) for leaf in leaves]

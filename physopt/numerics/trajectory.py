"""Time integration of independent lanes: a scan whose GPU form is one kernel.

`integrate` is `lax.scan` for a step of one lane, vmapped over lanes. XLA runs a scan on a GPU as a
few kernels per step, each of which takes longer to launch than to compute; `time_kernel` loops over
time inside one launch. That form is a primitive `lane_scan` with derivatives of the same form:

    ds_{k+1} = A_k ds_k + B_k dx_k          tangent: scans the linearised step forwards
    l_k = A_k^T l_{k+1}, B_k^T l_{k+1}      adjoint: scans the transposed step backwards

with A_k, B_k evaluated from the stored states s_k. A vmapped scan has more lanes. Hence jit, vmap,
forward and reverse mode compose to any depth.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
from jax import Array, lax
from jax.interpreters import ad, batching, mlir

from physopt.numerics.time_kernel import Kernel, launch, split, wide_types

Step = Callable[[Any, Any], tuple[Any, Any]]  # (state, input) -> (state, output), of one lane


def integrate(
    step: Step, initial: Any, inputs: Any, kernel: Kernel | None, length: int | None = None
) -> tuple[Any, Any]:
    """Return the final state and all outputs of `step(state, input) -> (state, output)`.

    initial: pytree of states, leaves [lanes, ...]. inputs: pytree, leaves [length, lanes, ...], as
    are the outputs; `step` takes and returns the same trees for one lane. None, for no inputs,
    needs a length.
    kernel: None for `lax.scan`. In a kernel, the step must not close over arrays, its arrays must
    be real and floating with sizes that are powers of two, and its operations elementwise,
    broadcasts and reductions.
    """
    if kernel is None:
        return lax.scan(jax.vmap(step), initial, inputs, length)
    state, treedef = jax.tree.flatten((initial, inputs))
    states = treedef.children()[0].num_leaves
    length = state[states].shape[0] if length is None else length
    avals = [_lane(a, 1) for a in state[:states]] + [_lane(a, 2) for a in state[states:]]
    closed, shape = jax.make_jaxpr(
        lambda *leaves: step(*treedef.unflatten(leaves)), return_shape=True
    )(*avals)
    results = _lane_scan.bind(
        *state, step=closed, states=states, length=length, reverse=False, kernel=kernel
    )
    return jax.tree.unflatten(jax.tree.structure(shape), results)


# --- the primitive: (*initial [lanes, ...], *inputs [length, lanes, ...]) -> (*final, *outputs)

_lane_scan = jex.Primitive("lane_scan")
_lane_scan.multiple_results = True


def _bind(
    function: Callable[..., Sequence[Any]], initial: Sequence[Any], inputs: Sequence[Any],
    **params: Any,
) -> list[Array]:  # fmt: skip
    """Scan a step given as a function of flat arguments."""
    avals = [*(_lane(a, 1) for a in initial), *(_lane(a, 2) for a in inputs)]
    with wide_types(avals):
        step = jax.make_jaxpr(function)(*avals)
    return _lane_scan.bind(*initial, *inputs, step=step, states=len(initial), **params)


def _lane(array: Any, leading: int) -> jax.ShapeDtypeStruct:
    """Return shape and type of one lane at one time."""
    return jax.ShapeDtypeStruct(array.shape[leading:], array.dtype)


@_lane_scan.def_abstract_eval
def _shapes(*avals: Any, step: Any, states: int, length: int, **_: Any) -> list[Any]:
    lanes = avals[0].shape[0]
    leading = [(lanes,)] * states + [(length, lanes)] * (len(step.out_avals) - states)
    return [
        aval.update(shape=(*axes, *aval.shape), weak_type=False)
        for axes, aval in zip(leading, step.out_avals, strict=True)
    ]


def _differentiate(
    primals: Sequence[Array], tangents: Sequence[Any], *, step: Any, states: int, **params: Any
) -> tuple[list[Array], list[Array]]:
    """Store the states before each step, and scan the tangent step along them."""
    evaluate, count = jex.jaxpr_as_fun(step), len(primals)
    changes = [ad.instantiate_zeros(tangent) for tangent in tangents]

    def storing(*arguments: Array) -> list[Array]:
        return [*evaluate(*arguments), *arguments[:states]]

    def tangent(*arguments: Array) -> Sequence[Array]:
        moves, rest = arguments[:states], arguments[states:]
        return jax.jvp(evaluate, rest[:count], (*moves, *rest[count:]))[1]

    results = _bind(storing, primals[:states], primals[states:], **params)
    results, trajectory = results[:-states], results[-states:]
    inputs = (*trajectory, *primals[states:], *changes[states:])
    return results, _bind(tangent, changes[:states], inputs, **params)


def _transpose(
    cotangents: Sequence[Any], *arguments: Any, step: Any, states: int, reverse: bool, **params: Any
) -> list[Array | None]:
    """Scan the transposed step in the opposite direction.

    A step that is transposed is a tangent step: linear in the whole state and in some inputs.
    """
    evaluate = jex.jaxpr_as_fun(step)
    unknown = [ad.is_undefined_primal(argument) for argument in arguments]
    linear = [k for k in range(len(arguments)) if k < states or unknown[k]]
    fixed = [k for k in range(len(arguments)) if k not in linear]
    adjoints = [ad.instantiate_zeros(cotangent) for cotangent in cotangents]

    def transposed(*given: Array) -> Sequence[Array]:
        later, known, outputs = split(given, states, len(fixed))

        def apply(*vectors: Array) -> Sequence[Array]:
            merged = dict(zip([*linear, *fixed], [*vectors, *known], strict=True))
            return evaluate(*(merged[k] for k in range(len(merged))))

        shapes = [step.in_avals[k] for k in linear]
        return jax.linear_transpose(apply, *shapes)([*later, *outputs])

    inputs = [*(arguments[k] for k in fixed), *adjoints[states:]]
    results = _bind(transposed, adjoints[:states], inputs, reverse=not reverse, **params)
    returned = dict(zip(linear, results, strict=True))
    return [returned[k] if unknown[k] else None for k in range(len(arguments))]


def _batch(
    arguments: Sequence[Array], axes: Sequence[Any], *, states: int, **params: Any
) -> tuple[list[Array], list[int]]:
    """Make the batch part of the lanes."""
    mapped = ((a, axis) for a, axis in zip(arguments, axes, strict=True) if axis is not None)
    size = next(a.shape[axis] for a, axis in mapped)

    def merged(a: Array, axis: int | None, lane: int) -> Array:
        if axis is None:
            a, axis = jnp.broadcast_to(a, (size, *a.shape)), 0
        a = jnp.moveaxis(a, axis, lane)
        return a.reshape(*a.shape[:lane], size * a.shape[lane + 1], *a.shape[lane + 2 :])

    def separate(a: Array, lane: int) -> Array:
        return a.reshape(*a.shape[:lane], size, a.shape[lane] // size, *a.shape[lane + 1 :])

    flat = [
        merged(a, axis, 0 if k < states else 1)
        for k, (a, axis) in enumerate(zip(arguments, axes, strict=True))
    ]
    results = _lane_scan.bind(*flat, states=states, **params)
    lanes = [0 if k < states else 1 for k in range(len(results))]
    return [separate(a, lane) for a, lane in zip(results, lanes, strict=True)], lanes


def _run(*arguments: Array, step: Any, **params: Any) -> list[Array]:
    with wide_types([*step.in_avals, *step.out_avals]):
        return launch(*arguments, step=step, **params)


def _lower(context: Any, *arguments: Any, step: Any, **params: Any) -> Any:
    with wide_types([*step.in_avals, *step.out_avals]):
        lower = mlir.lower_fun(partial(launch, step=step, **params), multiple_results=True)
        return lower(context, *arguments)


_lane_scan.def_impl(_run)
ad.primitive_jvps[_lane_scan] = _differentiate
ad.primitive_transposes[_lane_scan] = _transpose
batching.primitive_batchers[_lane_scan] = _batch
mlir.register_lowering(_lane_scan, _lower)

"""Time integration of independent lanes: a scan whose GPU form is one kernel.

`integrate` is `lax.scan` for a step of one lane, vmapped over lanes. XLA runs a scan on a GPU as a
few kernels per step, each of which takes longer to launch than to compute. The kernel here keeps
the state of a lane in registers and loops over time inside one launch.

The kernel form is a primitive `lane_scan` whose derivatives are of the same form:

    ds_{k+1} = A_k ds_k + B_k dx_k          tangent: scans the linearised step forwards
    l_k = A_k^T l_{k+1}, B_k^T l_{k+1}      adjoint: scans the transposed step backwards

with A_k, B_k evaluated from the stored states s_k. A vmapped scan has more lanes. Hence jit, vmap,
forward and reverse mode compose to any depth.
"""

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.interpreters import ad, batching, mlir

Step = Callable[[Any, Any], tuple[Any, Any]]  # (state, input) -> (state, output), of one lane


@dataclasses.dataclass(frozen=True)
class Kernel:
    """Layout of the GPU kernel."""

    lanes: int = 32
    """Lanes of a program, a power of two; one for steps with arrays, which every thread shares."""

    warps: int = 1
    """Warps of 32 threads of a program."""

    ahead: int = 8
    """Number of inputs up to which those of the next step are loaded during a step, which hides
    the latency of memory; more take too many registers."""

    interpret: bool = False
    """Run the kernel as XLA operations on any platform, for tests."""


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
    with _wide_types(avals):
        step = jax.make_jaxpr(function)(*avals)
    return _lane_scan.bind(*initial, *inputs, step=step, states=len(initial), **params)


def _lane(array: Any, leading: int) -> jax.ShapeDtypeStruct:
    """Return shape and type of one lane at one time."""
    return jax.ShapeDtypeStruct(array.shape[leading:], array.dtype)


def _wide_types(avals: Sequence[Any]) -> Any:
    """Context in which steps with 64-bit types can be traced, whatever JAX's setting."""
    wide = any(aval.dtype.itemsize > 4 for aval in avals)
    return jax.enable_x64(True) if wide else contextlib.nullcontext()


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
        later, known, outputs = _split(given, states, len(fixed))

        def apply(*vectors: Array) -> Sequence[Array]:
            merged = dict(zip([*linear, *fixed], [*vectors, *known], strict=True))
            return evaluate(*(merged[k] for k in range(len(merged))))

        shapes = [step.in_avals[k] for k in linear]
        return jax.linear_transpose(apply, *shapes)([*later, *outputs])

    inputs = [*(arguments[k] for k in fixed), *adjoints[states:]]
    results = _bind(transposed, adjoints[:states], inputs, reverse=not reverse, **params)
    returned = dict(zip(linear, results, strict=True))
    return [returned[k] if unknown[k] else None for k in range(len(arguments))]


def _split(items: Sequence[Any], *sizes: int) -> list[Sequence[Any]]:
    """Split into pieces of the given sizes and the rest."""
    bounds = [0, *np.cumsum(sizes).tolist(), len(items)]
    return [items[i:j] for i, j in itertools.pairwise(bounds)]


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


# --- the kernel


def _kernel(
    *refs: Any, step: Any, states: int, length: int, reverse: bool, ahead: bool, lanes: int
) -> None:
    """Integrate the lanes of one program."""
    count = len(step.in_avals)
    initial, inputs, final, outputs = _split(refs, states, count - states, states)
    advance, lane = jex.jaxpr_as_fun(step), (0,)
    if lanes > 1:
        advance, lane = jax.vmap(advance), ()

    def row(k: Array) -> Array:
        return length - 1 - k if reverse else k

    def loaded(k: Array) -> tuple[Array, ...]:
        return tuple(ref[row(k), *lane] for ref in inputs)

    def body(k: Array, carry: tuple[tuple[Array, ...], tuple[Array, ...]]) -> Any:
        state, current = carry
        following = loaded(jnp.minimum(k + 1, length - 1)) if ahead else ()
        results = advance(*state, *(current if ahead else loaded(k)))
        for ref, value in zip(outputs, results[states:], strict=True):
            ref[row(k), *lane] = value
        return tuple(results[:states]), following

    start = tuple(ref[*lane, ...] for ref in initial), loaded(np.int32(0)) if ahead else ()
    end, _ = lax.fori_loop(np.int32(0), np.int32(length), body, start)
    for ref, value in zip(final, end, strict=True):
        ref[*lane, ...] = value


def _run(
    *arguments: Array, step: Any, states: int, length: int, reverse: bool, kernel: Kernel
) -> list[Array]:
    """Run the kernel, one program for each block of lanes."""
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    lanes = arguments[0].shape[0]
    block = min(kernel.lanes, 1 << (lanes - 1).bit_length())
    programs = -(-lanes // block)

    def spec(aval: Any, timed: bool) -> Any:
        rest = (0,) * len(aval.shape)
        if timed:
            return pl.BlockSpec((length, block, *aval.shape), lambda i: (0, i, *rest))
        return pl.BlockSpec((block, *aval.shape), lambda i: (i, *rest))

    def shape(aval: Any, timed: bool) -> Any:
        leading = (length, programs * block) if timed else (programs * block,)
        return jax.ShapeDtypeStruct((*leading, *aval.shape), aval.dtype)

    def padded(a: Array, axis: int) -> Array:
        # Copies of the last lane, at which any step can be evaluated.
        widths = [(0, 0)] * a.ndim
        widths[axis] = (0, programs * block - lanes)
        return jnp.pad(a, widths, mode="edge") if programs * block > lanes else a

    inputs = [(aval, k >= states) for k, aval in enumerate(step.in_avals)]
    outputs = [(aval, k >= states) for k, aval in enumerate(step.out_avals)]
    parameters = triton.CompilerParams(num_warps=kernel.warps, num_stages=1)
    ahead = len(step.in_avals) - states <= kernel.ahead
    program = partial(
        _kernel, step=step, states=states, length=length, reverse=reverse, ahead=ahead, lanes=block
    )
    results = pl.pallas_call(
        program,
        grid=(programs,),
        in_specs=[spec(*each) for each in inputs],
        out_specs=[spec(*each) for each in outputs],
        out_shape=[shape(*each) for each in outputs],
        interpret=kernel.interpret,
        compiler_params=None if kernel.interpret else parameters,
    )(*(padded(a, int(timed)) for a, (_, timed) in zip(arguments, inputs, strict=True)))
    return [
        lax.slice_in_dim(a, 0, lanes, axis=int(timed))
        for a, (_, timed) in zip(results, outputs, strict=True)
    ]


def _run_in_its_types(*arguments: Array, step: Any, **params: Any) -> list[Array]:
    with _wide_types([*step.in_avals, *step.out_avals]):
        return _run(*arguments, step=step, **params)


def _lower(context: Any, *arguments: Any, step: Any, **params: Any) -> Any:
    with _wide_types([*step.in_avals, *step.out_avals]):
        lower = mlir.lower_fun(partial(_run, step=step, **params), multiple_results=True)
        return lower(context, *arguments)


_lane_scan.def_impl(_run_in_its_types)
ad.primitive_jvps[_lane_scan] = _differentiate
ad.primitive_transposes[_lane_scan] = _transpose
batching.primitive_batchers[_lane_scan] = _batch
mlir.register_lowering(_lane_scan, _lower)

"""GPU kernel that integrates independent lanes over time.

A program holds the state of its lanes in registers, reads the inputs of a step, applies the step
and writes its outputs. Programs are written in Pallas and compiled by Triton.
"""

import contextlib
import dataclasses
import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np
from jax import Array, lax


@dataclasses.dataclass(frozen=True)
class Kernel:
    """Layout of the kernel."""

    lanes: int = 32
    """Lanes of a program, a power of two. With one lane the threads share the arrays of a step, or
    repeat the same operations on scalars: that wastes threads, but compiles ten times faster."""

    warps: int = 1
    """Warps of 32 threads of a program."""

    ahead: int = 8
    """Number of inputs up to which those of the next step are loaded during a step, which hides
    the latency of memory; more take too many registers."""

    interpret: bool = False
    """Run the kernel as XLA operations on any platform, for tests."""


def wide_types(avals: Sequence[Any]) -> contextlib.AbstractContextManager[Any]:
    """Context in which steps with 64-bit types can be traced, whatever JAX's setting."""
    wide = any(aval.dtype.itemsize > 4 for aval in avals)
    return jax.enable_x64(True) if wide else contextlib.nullcontext()


def split(items: Sequence[Any], *sizes: int) -> list[Sequence[Any]]:
    """Split into pieces of the given sizes and the rest."""
    bounds = [0, *np.cumsum(sizes).tolist(), len(items)]
    return [items[i:j] for i, j in itertools.pairwise(bounds)]


def launch(
    *arguments: Array, step: Any, states: int, length: int, reverse: bool, kernel: Kernel
) -> list[Array]:
    """Scan a step over time, one program for each block of lanes.

    arguments: `states` initial states [lanes, ...], then inputs [length, lanes, ...]. step: jaxpr
    of (*states, *inputs) -> (*states, *outputs) for one lane. reverse: begin with the last input.
    Returns the final states and the outputs.
    """
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    lanes = arguments[0].shape[0]
    block = min(kernel.lanes, 1 << (lanes - 1).bit_length())
    programs = -(-lanes // block)

    def time(k: int) -> tuple[int, ...]:
        return (length,) if k >= states else ()

    def spec(k: int, lane: Any) -> pl.BlockSpec:
        before, after = (0,) * len(time(k)), (0,) * len(lane.shape)
        return pl.BlockSpec((*time(k), block, *lane.shape), lambda i: (*before, i, *after))

    def shape(k: int, lane: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((*time(k), programs * block, *lane.shape), lane.dtype)

    def padded(k: int, array: Array) -> Array:
        # Copies of the last lane, at which any step can be evaluated.
        widths = [(0, 0)] * array.ndim
        widths[len(time(k))] = (0, programs * block - lanes)
        return jnp.pad(array, widths, mode="edge") if programs * block > lanes else array

    program = partial(
        _program,
        step=step,
        states=states,
        length=length,
        reverse=reverse,
        ahead=len(arguments) - states <= kernel.ahead,
        lanes=block,
    )
    parameters = triton.CompilerParams(num_warps=kernel.warps, num_stages=1)
    results = pl.pallas_call(
        program,
        grid=(programs,),
        in_specs=[spec(*each) for each in enumerate(step.in_avals)],
        out_specs=[spec(*each) for each in enumerate(step.out_avals)],
        out_shape=[shape(*each) for each in enumerate(step.out_avals)],
        interpret=kernel.interpret,
        compiler_params=None if kernel.interpret else parameters,
    )(*(padded(*each) for each in enumerate(arguments)))
    return [lax.slice_in_dim(array, 0, lanes, axis=len(time(k))) for k, array in enumerate(results)]


def _program(
    *refs: Any, step: Any, states: int, length: int, reverse: bool, ahead: bool, lanes: int
) -> None:
    """Integrate the lanes of one program."""
    count = len(step.in_avals)
    initial, inputs, final, outputs = split(refs, states, count - states, states)
    advance, lane = jex.jaxpr_as_fun(step), (0,)
    if lanes > 1:
        advance, lane = jax.vmap(advance), ()

    def row(k: Any) -> Any:
        return length - 1 - k if reverse else k

    def loaded(k: Any) -> tuple[Array, ...]:
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

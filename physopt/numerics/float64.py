"""float64 inside float32 programs, under any transformation.

64-bit types stay off in a float32 run. A function that needs float64 enables them while it is
traced (`jax.enable_x64`); `lax.convert_element_type` casts its arguments and results, whatever the
setting. jit, vmap and scan of such a function work directly. But JAX transforms a program that is
already traced (vmap of a jitted function or of a scan, any derivative) after 64-bit types are off
again: it then creates float32 values among the float64 ones and fails. A function made here has its
own rules for vmap and reverse mode, which enable 64-bit types again.
"""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.custom_batching import custom_vmap
from jax.typing import DTypeLike


def evaluated_in(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `evaluate(dtype, result, *arguments)`, which casts the arguments of `function` to
    `dtype` and its results to `result`.

    Arguments and results are pytrees of real floating arrays; `function` must not close over
    arrays. vmap, scan and reverse mode may be nested to any depth; forward mode is not supported.
    """

    @partial(jax.jit, static_argnums=(0, 1))
    def inside(dtype: np.dtype, result: np.dtype, *arguments: Any) -> Any:
        return _cast(function(*_cast(arguments, dtype)), result)

    def evaluate(dtype: DTypeLike, result: DTypeLike, *arguments: Any) -> Any:
        widened = partial(inside, np.dtype(dtype), np.dtype(result))

        def transposed(arguments: tuple[Any, ...], cotangent: Any) -> Any:
            return jax.vjp(widened, *arguments)[1](cotangent)

        primal, pullback = _with_wide_types(widened, dtype), _with_wide_types(transposed, dtype)
        call = jax.custom_vjp(lambda *arguments: primal(*arguments))
        call.defvjp(lambda *arguments: (primal(*arguments), arguments), pullback)
        return call(*arguments)

    return evaluate


def _with_wide_types(function: Callable[..., Any], dtype: DTypeLike) -> Callable[..., Any]:
    """Return `function`, traced and batched with 64-bit types on if dtype is one of them."""

    @custom_vmap
    def call(*arguments: Any) -> Any:
        wide = np.dtype(dtype).itemsize > 4
        with jax.enable_x64(True) if wide else contextlib.nullcontext():
            return function(*arguments)

    @call.def_vmap
    def batch(size: int, batched: Any, *arguments: Any) -> tuple[Any, Any]:
        axes = jax.tree.map(lambda mapped: 0 if mapped else None, tuple(batched))
        mapped = jax.vmap(function, in_axes=axes, axis_size=size)
        result = _with_wide_types(mapped, dtype)(*arguments)
        return result, jax.tree.map(lambda _: True, result)

    return call


def _cast(tree: Any, dtype: np.dtype) -> Any:
    return jax.tree.map(lambda leaf: lax.convert_element_type(leaf, dtype), tree)


def real_array(value: Any) -> Array:
    """Return an array of real floating numbers; raises ValueError for complex ones."""
    array = jnp.asarray(value)
    if jnp.iscomplexobj(array):
        raise ValueError(
            "complex arrays are not supported: split them into real and imaginary parts"
        )
    floating = jnp.issubdtype(array.dtype, jnp.floating)
    return array if floating else lax.convert_element_type(array, jnp.result_type(float))

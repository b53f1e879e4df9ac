"""Test programs for the layerwise Gram matrix, one for each way to use a parameter."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def normal(seed, *shape):
    """Return random numbers scaled like a layer's weights."""
    return np.random.default_rng(seed).normal(size=shape) / np.sqrt(shape[0])


@dataclasses.dataclass(frozen=True)
class Case:
    """Outputs of one sample, and the expected treatment of each leaf, by names."""

    outputs: Callable[[Any, Any], Any]
    params: Any
    samples: Any
    layerwise: set[str]
    explicit: set[str]
    unused: set[str] = dataclasses.field(default_factory=set)


def plain(outputs, params, samples, layerwise="", explicit="", unused=""):
    """Return a case with a flat dict of parameters named by single letters."""
    return Case(outputs, params, samples, set(layerwise), set(explicit), set(unused))


def weights(**shapes):
    return {name: normal(ord(name), *shape) for name, shape in shapes.items()}


X = normal(0, 5, 3)  # samples of 3 numbers
SEQUENCE = normal(0, 5, 4, 3)  # samples of 4 positions with 3 numbers


def network_case(model, samples, layerwise, explicit):
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    params = jax.tree.map(lambda a: np.asarray(a, np.float64) + 0.1, params)  # no zero biases

    def outputs(params, sample):
        return nnx.merge(graphdef, params, rest, copy=True)(sample[None])[0]

    return Case(outputs, params, samples, layerwise, explicit)


class Convolutional(nnx.Module):
    def __init__(self, rngs):
        self.convolution = nnx.Conv(2, 3, (3,), rngs=rngs)
        self.dense = nnx.Linear(12, 2, rngs=rngs)

    def __call__(self, x):
        return self.dense(nnx.relu(self.convolution(x)).reshape(x.shape[0], -1))


def mlp():
    r = nnx.Rngs(0)
    layers = nnx.Linear(3, 8, rngs=r), jax.nn.gelu, nnx.Linear(8, 8, rngs=r), jax.nn.relu
    model = nnx.Sequential(*layers, nnx.Linear(8, 2, rngs=r))
    names = {f"['layers'][{i}]['{kind}']" for i in (0, 2, 4) for kind in ("kernel", "bias")}
    return network_case(model, X, names, set())


def group_norm():
    r = nnx.Rngs(0)
    layers = nnx.Linear(3, 8, rngs=r), nnx.GroupNorm(8, num_groups=2, rngs=r), jax.nn.silu
    model = nnx.Sequential(*layers, nnx.Linear(8, 2, rngs=r))
    names = {f"['layers'][{i}]['{kind}']" for i in (0, 3) for kind in ("kernel", "bias")}
    return network_case(model, X, names, {f"['layers'][1]['{k}']" for k in ("scale", "bias")})


def convolution():
    names = [
        {f"['{layer}']['{k}']" for k in ("kernel", "bias")} for layer in ("dense", "convolution")
    ]
    return network_case(Convolutional(nnx.Rngs(0)), normal(0, 5, 4, 2), *names)


def shared_weights():
    def outputs(p, x):
        return jnp.tanh(jnp.tanh(x @ p["w"]) @ p["w"] + p["b"]) @ p["v"]

    return plain(outputs, weights(w=(3, 3), b=(3,), v=(3, 2)), X, "wbv")


def shared_layer():
    def outputs(p, x):
        for _ in range(2):
            x = jnp.tanh(x @ p["w"] + p["b"])
        return x

    return plain(outputs, weights(w=(3, 3), b=(3,)), X, "wb")


def shared_over_samples_and_positions():
    # One product of T = 4 positions and one of a single position.
    def outputs(p, x):
        return jnp.tanh(jnp.sin(x @ p["w"]).sum(0)) + x[0] @ p["w"] + p["b"]

    return plain(outputs, weights(w=(3, 5), b=(5,)), SEQUENCE, "w", "b")


def two_biases_of_one_kernel():
    def outputs(p, x):
        return jnp.tanh(x @ p["w"] + p["b"]) + jnp.sin(x @ p["w"] + p["c"])

    return plain(outputs, weights(w=(3, 2), b=(2,), c=(2,)), X, "wb", "c")


def shared_through_a_cast():
    def outputs(p, x):
        half = p["w"].astype(jnp.float32).astype(jnp.float64)
        return jnp.tanh(x @ p["w"]) @ p["v"] + jnp.tanh(x @ half) @ p["v"]

    return plain(outputs, weights(w=(3, 4), v=(4, 2)), X, "v", "w")


def tied_by_transposition():
    return plain(lambda p, x: jnp.tanh(x @ p["w"]) @ p["w"].T, weights(w=(3, 4)), X, "", "w")


def regularised():
    # w is used by a product and again elsewhere; v is an output itself.
    def outputs(p, x):
        return {"y": jnp.tanh(x @ p["w"]) @ p["v"], "norm": jnp.sum(p["w"] ** 2), "v": p["v"]}

    return plain(outputs, weights(w=(3, 4), v=(4, 2)), X, "", "wv")


def unused():
    return plain(lambda p, x: jnp.sin(x @ p["w"]), weights(w=(3, 2), b=(2,)), X, "w", "", "b")


def unused_all():
    return plain(lambda p, x: jnp.sin(x), weights(w=(3, 2)), X, "", "", "w")


def few_positions():
    # T = 4, T^2 < in: pairs of positions. The bias has one element for four of z.
    def outputs(p, x):
        wide = jnp.concatenate([jnp.sin(k * x) for k in range(1, 8)], axis=1)
        return jnp.sum(jnp.tanh(wide @ p["w"] + p["b"]) @ p["v"], 0)

    return plain(outputs, weights(w=(21, 5), b=(5,), v=(5, 2)), SEQUENCE, "wv", "b")


def many_positions():
    # T = 4, T^2 > in: rows of J, block by block.
    def outputs(p, x):
        return jnp.sum(jnp.tanh(jnp.tanh(x @ p["w"]) @ p["v"]), 0)

    return plain(outputs, weights(w=(3, 5), v=(5, 2)), SEQUENCE, "wv")


def left_operand():
    def outputs(p, x):
        return p["v"] @ jnp.tanh(p["w"] @ x + p["b"])

    return plain(outputs, weights(w=(4, 3), b=(4,), v=(2, 4)), X, "wbv")


def bias_of_a_batch_of_one():
    return plain(
        lambda p, x: jnp.tanh(x[None] @ p["w"] + p["b"]), weights(w=(3, 2), b=(2,)), X, "wb"
    )


def left_operand_over_positions():
    def outputs(p, x):
        return jnp.tanh(p["w"] @ jnp.sin(x).T)[:, 1:].sum(1)

    return plain(outputs, weights(w=(5, 3)), SEQUENCE, "w")


def left_and_right_few_positions():
    def outputs(p, x):
        wide = jnp.concatenate([jnp.sin(k * x) for k in range(1, 8)], axis=1)
        return jnp.tanh(p["w"] @ wide.T).sum(1)

    return plain(outputs, weights(w=(5, 21)), SEQUENCE, "w")


def several_contracted_axes():
    def outputs(p, x):
        return jnp.einsum("ti,oit->o", x, p["w"]) ** 2

    return plain(outputs, weights(w=(2, 3, 4)), SEQUENCE, "w")


def no_contracted_axis():
    return plain(lambda p, x: jnp.sin(jnp.tensordot(x, p["w"], 0)), weights(w=(2,)), X, "w")


def transposed_and_reshaped():
    return plain(lambda p, x: jnp.tanh(x @ p["w"].reshape(4, 3).T), weights(w=(12,)), X, "w")


def product_seen_twice():
    # dy/dz of the product has a part that is not in dy/db.
    def outputs(p, x):
        z = x @ p["w"]
        return jnp.tanh(z + p["b"]) + z**2

    return plain(outputs, weights(w=(3, 2), b=(2,)), X, "w", "b")


def bias_of_a_shared_kernel():
    def outputs(p, x):
        return jnp.tanh(x @ p["w"] + p["b"]) + jnp.sin(x @ p["w"])

    return plain(outputs, weights(w=(3, 2), b=(2,)), X, "wb")


def bias_shared():
    def outputs(p, x):
        return jnp.tanh(jnp.tanh(x @ p["w"] + p["b"]) @ p["v"] + p["b"])

    return plain(outputs, weights(w=(3, 3), b=(3,), v=(3, 3)), X, "wv", "b")


def subtracted_bias():
    def outputs(p, x):
        return jnp.tanh(x @ p["w"] - p["b"])

    return plain(outputs, weights(w=(3, 3), b=(3,)), X, "w", "b")


def one_bias_for_each_position():
    # T = 4 and as many biases as products: dy/db = dy/dz, but not summed over positions.
    def outputs(p, x):
        return jnp.sum(jnp.tanh(x @ p["w"] + p["b"]), 0)

    return plain(outputs, weights(w=(3, 5), b=(4, 5)), SEQUENCE, "w", "b")


def parameters_are_the_output():
    # No network: x itself is optimised.
    return plain(lambda p, x: p["w"], weights(w=(3, 2)), X, "", "w")


def product_of_two_parameters():
    return plain(lambda p, x: x @ (p["u"] @ p["v"]), weights(u=(3, 2), v=(2, 4)), X, "", "uv")


def batched_product():
    def outputs(p, x):
        return jnp.einsum("ti,tio->to", x, p["w"])

    return plain(outputs, weights(w=(4, 3, 2)), SEQUENCE, "", "w")


def calls():
    @jax.jit
    def dense(w, b, x):
        return jnp.tanh(x @ w + b)

    @jax.checkpoint
    def last(v, x):
        return jnp.sin(x @ v)

    # The same jitted function twice: one jaxpr, two places.
    def outputs(p, x):
        return last(p["v"], dense(p["u"], p["c"], dense(p["w"], p["b"], x)))

    return plain(outputs, weights(w=(3, 3), b=(3,), u=(3, 3), c=(3,), v=(3, 2)), X, "wbucv")


def scanned_layers():
    def outputs(p, x):
        x, _ = jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x @ p["u"], p["w"])
        return jax.lax.fori_loop(0, 2, lambda _, x: jnp.tanh(x @ p["v"]), x)

    return plain(outputs, weights(u=(3, 4), w=(2, 4, 4), v=(4, 4)), X, "u", "wv")


def simulator_with_loop_branch_and_own_rule():
    @jax.custom_vjp
    def halved(x):
        return x

    # A derivative that differs from the body's: it must be used.
    halved.defvjp(lambda x: (x, None), lambda _, ct: (0.5 * ct,))

    def outputs(p, x):
        x = halved(jnp.tanh(x @ p["w"] + p["b"]))
        x, _ = jax.lax.scan(lambda x, _: (x + 0.1 * jnp.sin(x[::-1]), None), x, None, 5)
        x = jax.lax.cond(x[0] > 0, jnp.sin, jnp.cos, x)
        return jnp.linalg.solve(jnp.eye(4) + 0.1 * jnp.outer(x, x), x)

    return plain(outputs, weights(w=(3, 4), b=(4,)), X, "wb")


def parameter_in_own_rule():
    @jax.custom_vjp
    def dense(w, x):
        return x @ w

    dense.defvjp(lambda w, x: (x @ w, (w, x)), lambda r, ct: (2 * jnp.outer(r[1], ct), r[0] @ ct))
    return plain(
        lambda p, x: dense(p["v"], jnp.tanh(dense(p["w"], x))),
        weights(w=(3, 4), v=(4, 2)),
        X,
        "",
        "wv",
    )


def stopped_gradients():
    def outputs(p, x):
        return jax.lax.stop_gradient(x @ p["w"]) + jnp.tanh(
            x @ jax.lax.stop_gradient(p["v"]) + p["b"]
        )

    return plain(outputs, weights(w=(3, 2), v=(3, 2), b=(2,)), X, "w", "vb")


def mixed_samples_and_outputs():
    def outputs(p, sample):
        z = jnp.tanh(sample["x"] @ p["w"])
        draw = jax.random.normal(sample["key"], z.shape)
        return {"b": z * draw, "a": z[sample["index"]], "c": (jnp.outer(z, z), z @ p["v"])}

    keys = jax.random.split(jax.random.key(0), 5)
    samples = {"x": X, "key": keys, "index": np.arange(5) % 4}
    return plain(outputs, weights(w=(3, 4), v=(4, 3)), samples, "wv")


CASES = [
    mlp, group_norm, convolution, shared_weights, shared_layer, shared_over_samples_and_positions,
    two_biases_of_one_kernel, shared_through_a_cast, tied_by_transposition, regularised, unused,
    unused_all, few_positions, many_positions, left_operand, bias_of_a_batch_of_one,
    left_operand_over_positions, left_and_right_few_positions, several_contracted_axes,
    no_contracted_axis, transposed_and_reshaped, product_seen_twice, bias_of_a_shared_kernel,
    bias_shared, subtracted_bias, one_bias_for_each_position, parameters_are_the_output,
    product_of_two_parameters, batched_product, calls, scanned_layers,
    simulator_with_loop_branch_and_own_rule, parameter_in_own_rule, stopped_gradients,
    mixed_samples_and_outputs,
]  # fmt: skip

"""Time and memory of the layerwise Gram matrix, of J J^T from J, and of a singular value
decomposition of J, for a 64-256-256-64 network.

    python tests/benchmarks/bench_gram.py [--batch 32] [--svd-batch 4] [--rounds 5]

The candidates take turns within a round, so that a loaded machine slows all of them alike; medians
and their ratios are printed. The decomposition needs minutes at batch 32, hence its own batch size,
at which all candidates are measured again. Memory is XLA's own account of temporary buffers, which
leaves out LAPACK's workspace.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from physopt.numerics.gram import explicit_gram, jacobian, layerwise_gram

SIZES = (64, 256, 256, 64)


def outputs(params: list[tuple[jax.Array, jax.Array]], x: jax.Array) -> jax.Array:
    """A dense network with tanh between its layers."""
    *hidden, (w, b) = params
    for weight, bias in hidden:
        x = jnp.tanh(x @ weight + bias)
    return x @ w + b


def make_inputs(batch: int) -> tuple[Any, jax.Array]:
    """Random parameters of the network and a batch of its inputs."""
    rng = np.random.default_rng(0)
    params = [
        (rng.normal(size=(i, o)) / np.sqrt(i), 0.1 * rng.normal(size=o))
        for i, o in itertools.pairwise(SIZES)
    ]
    to_single = (params, rng.normal(size=(batch, SIZES[0])))
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), to_single)


def singular_values(params: Any, samples: jax.Array) -> Any:
    """The decomposition of J that the spectral power is defined by, in float32."""
    rows = jacobian(outputs, params, samples)
    return jnp.linalg.svd(rows.reshape(-1, rows.shape[-1]), full_matrices=False)


CANDIDATES: dict[str, Callable[[Any, jax.Array], Any]] = {
    "layerwise, float64": lambda p, s: layerwise_gram(outputs, p, s),
    "layerwise, float32": lambda p, s: layerwise_gram(outputs, p, s, jnp.float32),
    "J J^T, float64": lambda p, s: explicit_gram(outputs, p, s),
    "J J^T, float32": lambda p, s: explicit_gram(outputs, p, s, jnp.float32),
    "SVD of J, float32": singular_values,
}


def temporary_megabytes(compiled: Any) -> float:
    """Temporary buffers of a compiled function, NaN where XLA does not report them."""
    analysis = compiled.memory_analysis()
    return analysis.temp_size_in_bytes / 1e6 if analysis else float("nan")


def measure(names: list[str], batch: int, rounds: int) -> None:
    """Print medians over interleaved rounds, ratios to the first candidate, and memory."""
    arguments = make_inputs(batch)
    compiled = {name: jax.jit(CANDIDATES[name]).lower(*arguments).compile() for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        for name, function in compiled.items():
            start = time.perf_counter()
            jax.block_until_ready(function(*arguments))
            if turn:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    print(f"\nbatch {batch}, n = {batch * SIZES[-1]}, {jax.devices()[0].device_kind}")
    print(f"{'':20}{'median s':>10}{'ratio':>8}{'temporary MB':>14}{'ratio':>8}")
    memory = {name: temporary_megabytes(c) for name, c in compiled.items()}
    first = names[0]
    for name in names:
        median = statistics.median(seconds[name])
        ratio = median / statistics.median(seconds[first])
        megabytes = f"{memory[name]:14.0f}{memory[name] / memory[first]:8.1f}"
        print(f"{name:20}{median:10.4f}{ratio:8.1f}{megabytes}")


def main() -> None:
    """Measure at both batch sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--svd-batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    names = list(CANDIDATES)
    measure(names, options.svd_batch, options.rounds)
    measure(names[:-1], options.batch, options.rounds)


if __name__ == "__main__":
    main()

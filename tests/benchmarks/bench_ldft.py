"""Sorption isotherms: speed against plain sweeps and a C program, memory against unrolling.

    python tests/benchmarks/bench_ldft.py [--rounds 5] [--skip-c]

The candidates take turns within a round, so that a loaded machine slows all of them alike; medians
and their ratios are printed. Set the cores from outside, `taskset -c 0 python ...` for one of them.
Memory is XLA's own account of temporary buffers. Matrices are near-binary: thresholded random
fields with the values moved by a few hundredths, the hard case of an annealed design.
"""

import argparse
import ctypes
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from physopt.problems.ldft import Fluid, isotherm, isotherm_and_jacobian
from physopt.problems.ldft.lattice import log_activity, matrix_field

HUMIDITIES = np.arange(1, 41) / 40


def near_binary(batch: int, side: int, dimensions: int, seed: int = 0) -> jax.Array:
    """Half uncorrelated, half blurred random fields, thresholded at porosities of 0.1 to 0.95."""
    rng = np.random.default_rng(seed)
    matrices = []
    for index in range(batch):
        field = rng.normal(size=(side,) * dimensions)
        for axis in range(dimensions if index % 2 else 0):
            field = field + np.roll(field, 1, axis) + np.roll(field, -1, axis)
        matrices.append(field >= np.quantile(field, rng.uniform(0.05, 0.9)))
    noise = 0.03 * rng.normal(size=(batch,) + (side,) * dimensions)
    return jnp.asarray(np.clip(matrices + noise, 0, 1), jnp.float32)


def plain_isotherm(pores: jax.Array, tolerance: float) -> tuple[jax.Array, jax.Array]:
    """A batched loop of plain sweeps, each humidity from the one before: uptake and sweeps."""
    dimensions, fluid = pores.ndim - 1, Fluid()
    axes = tuple(range(dimensions))
    solid = jnp.moveaxis(matrix_field(pores, dimensions, fluid), 0, -1)
    eta, coupling = jnp.moveaxis(pores, 0, -1), fluid.coupling(dimensions)

    def point(density: jax.Array, activity: jax.Array) -> tuple[jax.Array, Any]:
        def body(state: tuple) -> tuple:
            rho, _, previous, count, spent = state
            around = sum(jnp.roll(rho, shift, axis) for axis in axes for shift in (1, -1))
            new = eta * jax.nn.sigmoid(solid + activity + coupling * around)
            delta = jnp.abs(new - rho).mean(axes)
            ratio = jnp.clip(delta / jnp.maximum(previous, 1e-30), 1 / 3, 1 - 1e-6)
            error = jnp.where(delta < jnp.finfo(delta.dtype).eps, 0, delta * ratio / (1 - ratio))
            return new, error, delta, count + 1, spent + (error > tolerance)

        lanes = jnp.zeros(pores.shape[0], pores.dtype)
        start = (density, lanes + 1, lanes + 1, 0, jnp.ones(lanes.shape, int))
        running = lambda s: (s[1] > tolerance).any() & (s[3] < 20_000)  # noqa: E731
        density, _, _, _, spent = lax.while_loop(running, body, start)
        return density, (density.sum(axes) / eta.sum(axes), spent)

    activity = log_activity(jnp.asarray(HUMIDITIES, pores.dtype), fluid)
    _, (uptake, spent) = lax.scan(point, jnp.zeros_like(eta), activity)
    return uptake.T, spent.T


C_SOURCE = r"""
#include <math.h>
#include <stdlib.h>
static inline float density(float pore, float field, float beta_w, float around) {
  return pore / (1 + expf(-(field + beta_w * around)));
}
/* Plain sweeps of one square matrix after another, float32, 40 humidities in turn. */
void isotherms(const float *pores, float *uptake, int batch, int n, float beta_w, float ratio,
               const float *activity, float tolerance) {
  int sites = n * n;
  float *rho = malloc(4 * sites), *next = malloc(4 * sites), *solid = malloc(4 * sites);
  for (int m = 0; m < batch; m++) {
    const float *eta = pores + m * sites;
    float total = 0;
    for (int i = 0; i < n; i++) {
      int up = (i + n - 1) % n * n, down = (i + 1) % n * n;
      for (int j = 0; j < n; j++) {
        int left = (j + n - 1) % n, right = (j + 1) % n;
        float around = eta[up + j] + eta[down + j] + eta[i * n + left] + eta[i * n + right];
        solid[i * n + j] = ratio * beta_w * (4 - around);
        rho[i * n + j] = 0;
        total += eta[i * n + j];
      }
    }
    for (int k = 0; k < 40; k++) {
      float previous = 1;
      for (int count = 0; count < 20000; count++) {
        float delta = 0;
        for (int i = 0; i < n; i++) {
          const float *up = rho + (i + n - 1) % n * n, *down = rho + (i + 1) % n * n;
          const float *row = rho + i * n, *h = solid + i * n, *e = eta + i * n;
          float *out = next + i * n;
          for (int j = 1; j < n - 1; j++)
            out[j] = density(e[j], h[j] + activity[k], beta_w,
                             up[j] + down[j] + row[j-1] + row[j+1]);
          int l = n - 1;
          out[0] = density(e[0], h[0] + activity[k], beta_w, up[0] + down[0] + row[l] + row[1]);
          out[l] = density(e[l], h[l] + activity[k], beta_w, up[l] + down[l] + row[l-1] + row[0]);
          for (int j = 0; j < n; j++) delta += fabsf(out[j] - row[j]);
        }
        float *swap = rho; rho = next; next = swap;
        delta /= sites;
        float r = delta / (previous > 1e-30f ? previous : 1e-30f);
        r = r < 1.f / 3 ? 1.f / 3 : r > 1 - 1e-6f ? 1 - 1e-6f : r;
        previous = delta;
        if (delta < 1.2e-7f || delta * r / (1 - r) <= tolerance) break;
      }
      float sum = 0;
      for (int s = 0; s < sites; s++) sum += rho[s];
      uptake[m * 40 + k] = sum / total;
    }
  }
  free(rho); free(next); free(solid);
}
"""


def c_program() -> Callable[[np.ndarray, float], np.ndarray]:
    """The conventional program, compiled with all optimisation."""
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "ldft.c", Path(folder) / "ldft.so"
        source.write_text(C_SOURCE)
        flags = ["-O3", "-march=native", "-ffast-math", "-shared", "-fPIC"]
        subprocess.run(["gcc", *flags, str(source), "-o", str(library), "-lm"], check=True)
        function = ctypes.CDLL(str(library)).isotherms
    pointer = np.ctypeslib.ndpointer(np.float32, flags="C")
    number = ctypes.c_float
    function.argtypes = [
        pointer, pointer, ctypes.c_int, ctypes.c_int, number, number, pointer, number,
    ]  # fmt: skip
    fluid = Fluid()
    activity = np.asarray(log_activity(jnp.asarray(HUMIDITIES, jnp.float32), fluid))

    def run(pores: np.ndarray, tolerance: float) -> np.ndarray:
        uptake = np.empty((len(pores), 40), np.float32)
        side, strength = pores.shape[1], fluid.coupling(2)
        ratio = fluid.interaction_ratio
        function(pores, uptake, len(pores), side, strength, ratio, activity, tolerance)
        return uptake

    return run


def interleaved(candidates: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each candidate, the candidates taking turns."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for call in candidates.values():
        jax.block_until_ready(call())
    for _ in range(rounds):
        for name, call in candidates.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def show(quantity: str, value: float, goal: str) -> None:
    print(f"{quantity:64s} {value:9.2f}   goal {goal}")


def forward_throughput(dimensions: int, side: int, rounds: int, with_c: bool) -> None:
    """The fast solver against plain sweeps to the same tolerance, batch 64."""
    pores, tolerance = near_binary(64, side, dimensions), 1e-6
    fast = jax.jit(
        partial(isotherm, dimensions=dimensions, tolerance=tolerance, return_convergence=True)
    )
    plain = jax.jit(partial(plain_isotherm, tolerance=tolerance))
    candidates = {"fast": lambda: fast(pores), "plain": lambda: plain(pores)}
    if with_c and dimensions == 2:
        program, raw = c_program(), np.asarray(pores)
        candidates["C"] = lambda: program(raw, tolerance)
    seconds = interleaved(candidates, rounds)
    (uptake, convergence), (expected, spent) = fast(pores), plain(pores)
    label = f"{dimensions}D {side}, batch 64"
    show(f"{label}: isotherms/s", 64 / seconds["fast"], "-")
    show(f"{label}: throughput over plain sweeps", seconds["plain"] / seconds["fast"], ">= 4")
    own = convergence.sweeps.mean()
    show(
        f"{label}: plain sweeps run over red-black ones", float(spent.max(0).mean() / own), ">= 2.5"
    )
    show(f"{label}: plain sweeps needed over red-black ones", float(spent.mean() / own), "-")
    show(
        f"{label}: points that differ by > 1e-3", float((abs(uptake - expected) > 1e-3).sum()), "-"
    )
    if "C" in seconds:
        show(f"{label}: throughput over C", seconds["C"] / seconds["fast"], "-")


def sweeps_in_double_precision(dimensions: int, side: int) -> None:
    """Sweeps that each point needs by itself, at 1e-10."""
    with jax.enable_x64(True):
        pores = near_binary(32, side, dimensions).astype(jnp.float64)
        _, spent = jax.jit(partial(plain_isotherm, tolerance=1e-10))(pores)
        _, convergence = isotherm(pores, dimensions=dimensions, return_convergence=True)
        ratio = float(spent.mean() / convergence.sweeps.mean())
    label = f"{dimensions}D {side}, float64"
    show(f"{label}: plain sweeps needed over red-black ones", ratio, ">= 2.5")


def gradients(dimensions: int, side: int, rounds: int) -> None:
    """Implicit against unrolled gradient, and the Jacobian against one gradient, batch 8."""
    pores = near_binary(8, side, dimensions)
    cotangent = jnp.asarray(np.random.default_rng(1).normal(size=(8, 40)), jnp.float32)

    def gradient(p: jax.Array, mode: Any) -> Any:
        loss = lambda p: (cotangent * isotherm(p, dimensions=dimensions, gradient=mode)).sum()  # noqa: E731
        return jax.value_and_grad(loss)(p)

    implicit = jax.jit(partial(gradient, mode="implicit"))
    unrolled = jax.jit(partial(gradient, mode="unrolled"))
    whole = jax.jit(partial(isotherm_and_jacobian, dimensions=dimensions))
    loose = {"tolerance": 3e-5, "linear_tolerance": 1e-3}
    training = jax.jit(partial(isotherm_and_jacobian, dimensions=dimensions, **loose))
    both = {"implicit": lambda: implicit(pores), "unrolled": lambda: unrolled(pores)}
    seconds = interleaved(both, rounds)
    # Apart from the unrolled program, whose arrays leave nothing of others in the caches: whatever
    # follows it would look slower than what does not.
    passes = {
        "one gradient": lambda: implicit(pores),
        "jacobian": lambda: whole(pores),
        "training": lambda: training(pores),
    }
    seconds |= interleaved(passes, 3 * rounds)
    label = f"{dimensions}D {side}, batch 8"
    goal = ">= 8" if side**dimensions <= 1000 else ">= 3"
    show(
        f"{label}: unrolled over implicit gradient", seconds["unrolled"] / seconds["implicit"], goal
    )
    show(
        f"{label}: Jacobian over one gradient",
        seconds["jacobian"] / seconds["one gradient"],
        "<= 1.2",
    )
    show(f"{label}: uptake and Jacobian at 3e-5, ms", 1e3 * seconds["training"], "<= 30 / 80")


def memory(dimensions: int, side: int) -> None:
    """Temporary memory of forward and gradient, batch 8."""
    shape = jax.ShapeDtypeStruct((8,) + (side,) * dimensions, jnp.float32)

    def temporary(mode: Any) -> int:
        loss = lambda p: isotherm(p, dimensions=dimensions, gradient=mode).sum()  # noqa: E731
        compiled = jax.jit(jax.grad(loss)).lower(shape).compile()
        analysis = compiled.memory_analysis()
        assert analysis is not None
        return analysis.temp_size_in_bytes

    sizes = {mode: temporary(mode) for mode in ("implicit", "remat", "unrolled")}
    label = f"{dimensions}D {side}, batch 8"
    show(f"{label}: implicit memory, MB", sizes["implicit"] / 1e6, "< 500")
    show(f"{label}: unrolled over implicit memory", sizes["unrolled"] / sizes["implicit"], ">= 100")
    show(f"{label}: remat over implicit memory", sizes["remat"] / sizes["implicit"], "-")


def main() -> None:
    parser = argparse.ArgumentParser(description="LDFT speed and memory")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--skip-c", action="store_true")
    options = parser.parse_args()
    with_c = not options.skip_c and shutil.which("gcc") is not None
    for dimensions, side in ((2, 20), (3, 10)):
        forward_throughput(dimensions, side, options.rounds, with_c)
        sweeps_in_double_precision(dimensions, side)
    for dimensions, side in ((2, 20), (3, 10), (2, 40)):
        gradients(dimensions, side, options.rounds)
    for dimensions, side in ((2, 20), (2, 64), (3, 10), (3, 20), (3, 40)):
        memory(dimensions, side)


if __name__ == "__main__":
    main()

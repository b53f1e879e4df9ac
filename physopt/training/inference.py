"""Inference time of a trained network."""

import time

import jax

from physopt.training.run import Run


def seconds_of_inference(run: Run, size: int = 100, repeats: int = 5) -> float:
    """Return the seconds that the best network takes for a sample: the least time of a batch.

    The batch has `size` samples of its own and is predicted `repeats` times, after compilation.
    Raises FileNotFoundError if there is no checkpoint yet.
    """
    setup, params = run.best()
    inputs = run.config.problem.sample(jax.random.split(jax.random.key(0), size)).inputs
    predict = jax.jit(setup.predict)
    jax.block_until_ready(predict(params, inputs))
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        jax.block_until_ready(predict(params, inputs))
        times.append(time.perf_counter() - begun)
    return min(times) / size

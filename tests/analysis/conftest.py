"""Runs and a report that several test files share."""

import math

import numpy as np
import pytest
from analysis_records import write_run
from browser import open_browser
from PIL import Image

from physopt.analysis import load
from physopt.cli import main

HOSTILE = "<script>window.stolen = 1</script>"


@pytest.fixture
def race(tmp_path):
    """One case, targets 10^(k/5) from 0.1 to 0.63: fast reaches 0.1 at 2 s and 4 s, slow at 8 s in
    one of two runs, never stays at 1; 10 s is the largest time of a run."""
    write_run(tmp_path, "a", "fast", 0, [1, 0.5, 0.1, 0.1])
    write_run(tmp_path, "a", "fast", 1, [1, 0.5, 0.1, 0.1], times=[0, 2, 4, 6])
    write_run(tmp_path, "a", "slow", 0, [1, 0.5, 0.1], times=[0, 4, 8])
    write_run(tmp_path, "a", "slow", 1, [1, 0.5, 0.5], times=[0, 4, 10])
    write_run(tmp_path, "a", "never", 0, [1, 1, 1])
    write_run(tmp_path, "a", "never", 1, [1, 2, math.nan], status="diverged")
    return load(tmp_path)


@pytest.fixture(scope="module")
def mixed_results(tmp_path_factory):
    """Runs of all kinds: three methods, a divergence, out of memory, a refusal, markup in names."""
    root = tmp_path_factory.mktemp("runs")
    for seed in range(3):
        fall = [10.0 ** -(0.1 * k) * (1 + 0.05 * seed) for k in range(12)]
        # A method with a heavy tail beside one without.
        heavy, light = np.random.default_rng(seed).lognormal(-5, [[2.5], [0.6]], (2, 64))
        write_run(root, "oscillators", "adam", seed, fall, compile_seconds=1.0, samples=light)
        write_run(root, "oscillators", "hig", seed, [f**1.5 for f in fall],
                  times=[3.0 * k for k in range(12)], compile_seconds=9.0,
                  samples=heavy)  # fmt: skip
        for batch_size in (8, 16):
            write_run(root, "toy", "adam", seed, fall, batch_size=batch_size)
    write_run(root, "oscillators", "sgd", 0, [1.0, 2.0, float("nan")], status="diverged",
              reason=f"loss is nan {HOSTILE}")  # fmt: skip
    write_run(root, "oscillators", "sgd", 1, [1.0], status="oom", reason="RESOURCE_EXHAUSTED")
    write_run(root, "toy", "sip", 0, [], status="skipped", reason="no inverse solver")
    write_run(root, "toy", HOSTILE.replace("/", "|"), 0, [1.0, 0.5], name="<b>&amp;")
    figure = root / "oscillators" / "hig" / "oscillators-hig-4-0" / "figure.png"
    Image.fromarray(np.full((400, 1600, 3), 127, np.uint8)).save(figure)
    return root


@pytest.fixture(scope="module")
def page(mixed_results):
    out = mixed_results / "report.html"
    assert main(["report", str(mixed_results)]) == 0
    return out


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    driven = open_browser(tmp_path_factory.mktemp("profile"))
    yield driven
    driven.quit()

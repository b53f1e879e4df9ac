"""What all tests share."""

import os
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from nightly import nightly_cases

HERE = Path(__file__).resolve().parent

# Tests compile much and compute little: without LLVM's optimisations they take half the time, and
# without the code generator of JAX 0.10 for fused operations a third of that. Later versions have
# no other. The operations and their order stay those of a user's run. Two processes fill two cores:
# splitting a program for parallel compilation would only cost.
_FLAGS = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
if version("jaxlib").startswith("0.10."):
    _FLAGS += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", _FLAGS)

# Test processes, and the runs that they start, share what they compile, apart from a user's own
# programs. The first process of a session makes the folder; its workers inherit the variable.
_OWN = None
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _OWN = tempfile.mkdtemp(prefix="physopt-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _OWN
    os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(2 * 10**9)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.3"


def pytest_unconfigure() -> None:
    """Remove the folder of compiled programs."""
    if _OWN is not None:
        shutil.rmtree(_OWN, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the nightly tests, before pytest selects by marks."""
    tests = defaultdict(list)
    for item in items:
        file = item.path.relative_to(HERE).as_posix()
        tests[f"{file}::{item.nodeid.partition('::')[2].partition('[')[0]}"].append(item)
    for name, slices in nightly_cases().items():
        for item in (item for part in slices for item in tests.get(name, [])[part]):
            item.add_marker(pytest.mark.nightly)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Fail a test file that leaves JAX in float64, in which the tests after it would run."""
    yield
    ends = nextitem is None or nextitem.path != item.path
    if ends and (jax := sys.modules.get("jax")) and jax.config.values["jax_enable_x64"]:
        jax.config.update("jax_enable_x64", False)
        pytest.fail(f"{item.path.name} leaves JAX in float64")

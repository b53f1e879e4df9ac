"""Environment: the versions, the device and the precision that a run computed with."""

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

LIBRARIES = ("jax", "jaxlib", "flax", "optax")
"""Libraries that compute: numbers of different versions are comparable, not equal."""

_JAX_SETTINGS = (
    "threefry_partitionable",
    "default_prng_impl",
    "default_matmul_precision",
    "numpy_dtype_promotion",
    "random_seed_offset",
    "softmax_custom_jvp",
    "high_dynamic_range_gumbel",
)


def jax_settings() -> dict[str, Any]:
    """Return the settings of JAX that change numbers, as they are in this context.

    Precision is not among them: each run sets it by its `dtype`.
    """
    import jax  # not above: those who read records need no JAX

    values = {name: getattr(jax.config, f"jax_{name}", None) for name in _JAX_SETTINGS}
    return {k: getattr(v, "value", v) for k, v in values.items()}  # some are enumerations


def environment(
    device: Any,
    *,
    device_count: int,
    dtype: str,
    seed: int,
    blas_threads: int,
    source: str,
    sources: Mapping[str, str],
) -> dict[str, Any]:
    """Return the content of env.json: what a run computes with, without the name of the host.

    source, sources: short hashes of the code that runs, of all of it and of each file.
    """
    from physopt.numerics.keys import IMPLEMENTATION

    commit, dirty = _git_state()
    settings = jax_settings()
    return {
        **{name: _version(name) for name in ("physopt", *LIBRARIES, "numpy")},
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device_kind": device.device_kind,
        "device_count": device_count,
        "driver": device.client.platform_version,
        "cpu_count": os.cpu_count(),
        "cpu_threads": os.environ.get("NPROC"),  # XLA's limit on them, where one is set
        "blas_threads": blas_threads,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "dtype": dtype,
        "matmul_precision": settings.pop("default_matmul_precision"),
        "enable_x64": dtype == "float64",
        "key_implementation": IMPLEMENTATION,
        **settings,
        "git_commit": commit,
        "git_dirty": dirty,
        "seed": seed,
        "source": source,
        "sources": dict(sources),
    }


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return {name: (old, new)} of what differs between two env.json and can change numbers.

    What the old one does not record is not compared.
    """
    old, new = _comparable(old), _comparable(new)
    return {name: (old[name], new.get(name)) for name in old if old[name] != new.get(name)}


def _comparable(environment: Mapping[str, Any]) -> dict[str, Any]:
    names = (
        *LIBRARIES,
        "device_kind",
        "blas_threads",
        "matmul_precision",
        "xla_flags",
        *_JAX_SETTINGS,
    )
    sources = environment.get("sources", {})
    return {
        **{name: environment[name] for name in names if name in environment},
        **{f"source of {file}": version for file, version in sources.items()},
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git_state() -> tuple[str | None, bool | None]:
    """Return the commit of physopt's source, and whether files differ from it."""

    def git(*arguments: str) -> str:
        folder = Path(__file__).resolve().parent.parent.parent
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), git("status", "--porcelain") != ""
    except (OSError, subprocess.CalledProcessError):  # an installed copy, or no git
        return None, None

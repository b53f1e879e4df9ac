"""Computed references on disk, so that the next process need not compute them again.

The file's name is a hash of the function, the text of its modules and its arguments: a changed
program never reads what another one wrote. Files are complete or absent, and a missing, damaged or
unwritable one only costs time; the folder may be deleted.
"""

import contextlib
import functools
import hashlib
import inspect
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from physopt.machine.cache import user_cache

SHORTEST_SECONDS = 0.5
"""Arrays that are computed faster are not stored."""


def folder() -> Path:
    """Return the folder of the references, beside the compiled programs."""
    return user_cache() / "references"


def stored(compute: Callable[..., np.ndarray], *used: Any) -> Callable[..., np.ndarray]:
    """Return `compute` with its results on disk; keyed by its arguments, which have a short repr.

    used: modules or functions on which the result depends besides the module of `compute`.
    """

    @functools.wraps(compute)
    def read_or_computed(*arguments: Any) -> np.ndarray:
        file = _file(compute, used, arguments)
        if file is None:
            return compute(*arguments)
        with contextlib.suppress(OSError, ValueError, EOFError):
            return np.load(file, allow_pickle=False)
        start = time.perf_counter()
        result = compute(*arguments)
        if time.perf_counter() - start > SHORTEST_SECONDS:
            with contextlib.suppress(OSError):
                _write(file, result)
        return result

    return read_or_computed


def _file(
    compute: Callable[..., Any], used: tuple[Any, ...], arguments: tuple[Any, ...]
) -> Path | None:
    """Return the file of a result; None if a source text, with its constants, is unknown."""
    parts = [compute.__module__, compute.__qualname__, np.__version__, repr(arguments)]
    try:
        parts += [inspect.getsource(part) for part in (inspect.getmodule(compute), *used)]  # type: ignore[arg-type]
    except (OSError, TypeError):
        return None
    name = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
    return folder() / f"{name}.npy"


def _write(file: Path, result: np.ndarray) -> None:
    """Write an array under another name, and rename it when it is complete."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(suffix=".part", dir=file.parent)
    try:
        with open(descriptor, "wb") as part:
            np.save(part, result, allow_pickle=False)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise

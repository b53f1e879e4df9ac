"""Cache of compiled programs on disk, so that a second run of the same shapes starts faster.

This is JAX's persistent compilation cache with its own folder and bounds. A folder set with
JAX_COMPILATION_CACHE_DIR takes precedence, and JAX_ENABLE_COMPILATION_CACHE=false disables the
cache. Only the owner should have write access to the folder: its contents are executed.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

LARGEST_BYTES = 2 * 10**9
"""Above this size the least recently used programs are deleted."""

SHORTEST_SECONDS = 0.01
"""Programs that compile faster are not stored, since reading them takes as long. A run compiles
dozens of small programs, mainly for a network's initial parameters: a second in total."""

_EVENTS = "/jax/compilation_cache/cache_"


def cache_folder() -> Path:
    """Return the folder of the cache."""
    if given := os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return Path(given)
    return user_cache() / "compiled"


def user_cache() -> Path:
    """Return the folder of everything that can be computed again."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "physopt"


@contextlib.contextmanager
def _configured(settings: Mapping[str, Any]) -> Iterator[None]:
    """Context that changes settings of JAX, and restores them on exit."""
    before = {name: jax.config.values[name] for name in settings}
    try:
        for name, value in settings.items():
            jax.config.update(name, value)
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


@contextlib.contextmanager
def keeping_programs() -> Iterator[None]:
    """Context that stores compiled programs, unless JAX has a cache already."""
    if jax.config.values["jax_compilation_cache_dir"]:
        yield
        return
    settings = {
        "jax_compilation_cache_dir": str(cache_folder()),
        "jax_compilation_cache_max_size": LARGEST_BYTES,
        "jax_persistent_cache_min_compile_time_secs": SHORTEST_SECONDS,
    }
    try:
        with _configured(settings):
            # JAX reads the settings once, at the first compilation.
            compilation_cache.reset_cache()
            yield
    finally:
        compilation_cache.reset_cache()


class Seen:
    """Counts of programs read from the cache (hits) and compiled (misses)."""

    def __init__(self) -> None:
        self.hits, self.misses = 0, 0

    @property
    def all_kept(self) -> bool:
        """Whether no program above the time limit had to be compiled."""
        return self.hits > 0 and self.misses == 0

    def __call__(self, event: str, **_: Any) -> None:
        """Count an event of JAX's monitoring."""
        self.hits += event == f"{_EVENTS}hits"
        self.misses += event == f"{_EVENTS}misses"


@contextlib.contextmanager
def watching() -> Iterator[Seen]:
    """Context that counts cache hits and compilations."""
    seen = Seen()
    jax.monitoring.register_event_listener(seen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_listener(seen)


def with_own_lines(wanted: bool = True) -> contextlib.AbstractContextManager[None]:
    """Context in which the cache matches only programs compiled from the same source lines.

    A cached program contains the source lines of its first compilation, which may have moved.
    """
    name = "jax_compilation_cache_include_metadata_in_key"
    return _configured({name: True} if wanted else {})


def kept_bytes() -> int:
    """Return the size of the cache in bytes."""
    size = 0
    with contextlib.suppress(OSError):
        for file in os.scandir(cache_folder()):
            with contextlib.suppress(OSError):  # another process has deleted it meanwhile
                size += file.stat().st_size if file.is_file() else 0
    return size

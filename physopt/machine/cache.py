"""Compiled programs kept on disk, so that a second run of the same shapes begins sooner.

This is JAX's persistent compilation cache with a folder and bounds of its own. A folder that is set
in JAX's way (JAX_COMPILATION_CACHE_DIR) is left as it is, and JAX_ENABLE_COMPILATION_CACHE=false
keeps nothing. Only the owner should be able to write there: what it holds is run.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LARGEST_BYTES = 2 * 10**9
"""Above this the programs unused for longest are dropped."""

SHORTEST_SECONDS = 0.01
"""Programs that compile faster are not kept: to read them would take as long. A run compiles dozens
of small ones, for a network's initial parameters above all, which take a second together."""

_EVENTS = "/jax/compilation_cache/cache_"


def cache_folder() -> Path:
    """Return the folder of kept programs."""
    if given := os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "physopt" / "compiled"


@contextlib.contextmanager
def keeping_programs() -> Iterator[None]:
    """Keep what is compiled inside; JAX's own settings return afterwards."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    if jax.config.values["jax_compilation_cache_dir"]:
        yield
        return
    wanted = {
        "jax_compilation_cache_dir": str(cache_folder()),
        "jax_compilation_cache_max_size": LARGEST_BYTES,
        "jax_persistent_cache_min_compile_time_secs": SHORTEST_SECONDS,
    }
    before = {name: jax.config.values[name] for name in wanted}
    try:
        for name, value in wanted.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()  # JAX decides once, at its first compilation
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()


class Seen:
    """Programs that were found in the folder, and programs that were compiled."""

    def __init__(self) -> None:
        self.hits, self.misses = 0, 0

    @property
    def all_kept(self) -> bool:
        """Whether nothing worth keeping had to be compiled."""
        return self.hits > 0 and self.misses == 0

    def __call__(self, event: str, **_: Any) -> None:
        """Take an event of JAX's monitoring."""
        self.hits += event == f"{_EVENTS}hits"
        self.misses += event == f"{_EVENTS}misses"


@contextlib.contextmanager
def watching() -> Iterator[Seen]:
    """Count the programs that are found and compiled inside."""
    import jax

    seen = Seen()
    jax.monitoring.register_event_listener(seen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_listener(seen)


@contextlib.contextmanager
def with_own_lines(wanted: bool = True) -> Iterator[None]:
    """Find only programs inside that were compiled from the very source lines that ask for them.

    A kept program tells the lines of whoever compiled it first, which may have moved since.
    """
    import jax

    name = "jax_compilation_cache_include_metadata_in_key"
    before = jax.config.values[name]
    try:
        jax.config.update(name, wanted or before)
        yield
    finally:
        jax.config.update(name, before)


def kept_bytes() -> int:
    """Return how much the folder holds."""
    folder = cache_folder()
    files = folder.iterdir() if folder.is_dir() else ()
    return sum(file.stat().st_size for file in files if file.is_file())

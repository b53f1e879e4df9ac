"""Failures: exceptions in the words of the code that raised them.

An exception of host code that a compiled program calls (`pure_callback`, `equinox.error_if`)
arrives as an exception of JAX, whose text is a traceback through JAX.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_TRACEBACK = "Traceback (most recent call last):"


def own_words(error: BaseException) -> str:
    """Return the type and the message of an exception in one line.

    For an exception of host code in a compiled program these are the host code's own.
    """
    text = f"{type(error).__name__}: {error}"
    _, marker, traceback = text.rpartition(_TRACEBACK)
    if marker:
        unindented = [line for line in traceback.splitlines() if line.strip() and line[0] != " "]
        text = unindented[0].lstrip("_") if unindented else text
    return " ".join(text.split())


@contextmanager
def without_callback_tracebacks() -> Iterator[None]:
    """Keep JAX from logging the traceback of a failed callback; the exception is raised anyway."""

    def unrelated(record: logging.LogRecord) -> bool:
        return "callback failed" not in record.getMessage()

    logger = logging.getLogger("jax._src.callback")
    logger.addFilter(unrelated)
    try:
        yield
    finally:
        logger.removeFilter(unrelated)

"""Failures: exceptions in the words of the code that raised them.

An exception of host code that a compiled program calls (`pure_callback`, `equinox.error_if`)
arrives as an exception of JAX, whose text is a traceback through JAX.
"""

import logging
import os
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_TRACEBACK = "Traceback (most recent call last):"

_HERE = Path(__file__).resolve().parent.parent
_LIBRARIES = tuple({sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib")})

# What JAX says of these takes a paragraph, names a line of physopt, and leaves out what to do.
_CURES = {
    "TracerBoolConversionError": "`if`, `while` and `and` cannot depend on an array that is being "
    "traced; use jnp.where, jax.lax.cond or jax.lax.while_loop",
    "TracerArrayConversionError": "NumPy cannot compute with an array that is being traced; use "
    "jax.numpy, or wrap code that is not JAX by jax.pure_callback with a derivative of its own",
    "ConcretizationTypeError": "float(), int() and .item() cannot take an array that is being "
    "traced; compute with the array itself",
    "TracerIntegerConversionError": "a size or an index in Python cannot depend on an array that "
    "is being traced; index by jnp.take or jax.lax.dynamic_slice",
    "NonConcreteBooleanIndexError": "a mask cannot select a number of entries that depends on an "
    "array that is being traced; use jnp.where",
    "UnexpectedTracerError": "an array of a trace is kept beyond it, in an attribute or a global "
    "variable; return it instead",
}


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


def explained(error: BaseException) -> str:
    """Return an exception in one line: its words or the cure, and the line of the user's file."""
    cure = _CURES.get(type(error).__name__)
    text = f"{type(error).__name__}: {cure}" if cure else own_words(error)
    place = _user_line(error)
    return f"{text} ({place})" if place else text


def _user_line(error: BaseException) -> str | None:
    """Return the innermost line of a traceback outside physopt and installed libraries."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        file = Path(frame.f_code.co_filename)
        if not file.is_absolute() or str(file).startswith(_LIBRARIES):
            continue
        with suppress(OSError):
            if _HERE in file.resolve().parents or _HERE.parent in file.resolve().parents[:2]:
                continue
            return f"{os.path.relpath(file)}, line {line}, in {frame.f_code.co_name}"
    return None


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

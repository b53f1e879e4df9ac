"""Output: a program goes on when what it prints can no longer be written."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any


class Discarding:
    """A text stream that discards its text once writing to it has failed.

    The reader of a pipe may close it (`| head -1`), a terminal may vanish, the disk of a log file
    may be full: none of them is a reason to lose the work that is reported. `error` is the first
    failure.
    """

    def __init__(self, stream: Any):
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Write the text, or discard it."""
        with self._discarding():
            self._stream.write(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write the lines, or discard them."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the stream."""
        with self._discarding():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _discarding(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = self.error or error
            null = open(os.devnull, "w")  # noqa: SIM115, the stream from now on
            # The text that is still buffered is discarded when Python closes the stream at exit.
            with contextlib.suppress(OSError):
                os.dup2(null.fileno(), self._stream.fileno())
            self._stream = null


@contextlib.contextmanager
def discarding_lost_output() -> Iterator[tuple[Discarding, ...]]:
    """Context in which a failure to print raises nothing; yields standard output and error."""
    with contextlib.ExitStack() as stack:
        streams = []
        for stream, redirected in (
            (sys.stdout, contextlib.redirect_stdout),
            (sys.stderr, contextlib.redirect_stderr),
        ):
            if stream is not None:
                streams.append(Discarding(stream))
                stack.enter_context(redirected(streams[-1]))
        yield tuple(streams)
        for stream in streams:
            stream.flush()

"""Orphan: a run that a sweep started ends with the process that watches over it.

Nobody would hold it to its time limit otherwise, and it would keep its lock for ever. So does the
program by which Parsl reaches its workers.
"""

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

PARENT = "PHYSOPT_PARENT"
"""Environment variable with the process id of the one that watches."""

_PR_SET_PDEATHSIG = 1


def begin_run() -> None:
    """Tie a run to the process that watches over it; do nothing where a person started the run."""
    if PARENT in os.environ:
        end_with_parent()
        with contextlib.suppress(OSError):  # where memory runs out the kernel ends runs, not sweeps
            Path("/proc/self/oom_score_adj").write_text("1000")


def end_with_parent() -> None:
    """End this process when its parent does, the one named by PHYSOPT_PARENT."""
    named = os.environ.pop(PARENT, None)
    if named is None:
        return
    parent = int(named)
    if sys.platform == "linux":  # the kernel sees to it, even while compiled code is running
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it ended before we asked
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if (
    __name__ == "__main__"
):  # python -m physopt.machine.parent PROGRAM ...: that program ends with its parent
    end_with_parent()
    os.execvp(sys.argv[1], sys.argv[1:])

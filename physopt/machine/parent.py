"""Parent: end a process when its supervisor ends.

A run that outlived its supervisor would have no time limit and would keep its lock. Parsl's
interchange is tied to the sweep in the same way: `python -m physopt.machine.parent PROGRAM ...`.
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
"""Environment variable with the process id of the supervisor."""

_PR_SET_PDEATHSIG = 1


def begin_run() -> None:
    """Tie a run to its supervisor, if it has one."""
    if PARENT in os.environ:
        end_with_parent()
        # If memory runs out, the kernel kills runs before the supervisor.
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")


def end_with_parent() -> None:
    """Arrange that this process ends with its parent, if PHYSOPT_PARENT names the parent."""
    if PARENT not in os.environ:
        return
    parent = int(os.environ.pop(PARENT))
    if sys.platform == "linux":  # the kernel kills it, even while compiled code is running
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # the parent has ended already
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    end_with_parent()
    os.execvp(sys.argv[1], sys.argv[1:])

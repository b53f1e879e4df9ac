"""Rules that do what no rule should, each in its own way; plug-ins given as file.py:Class."""

import dataclasses
import os
import resource
import signal
import time
from pathlib import Path

import jax
from tiny import Descent


@dataclasses.dataclass(frozen=True)
class Fault(Descent):
    """Calls `act` on the host in every update."""

    def act(self):
        raise NotImplementedError

    def update(self, objective, params, state, batch, key):
        updates, state, info = super().update(objective, params, state, batch, key)

        def call(loss):
            self.act()
            return loss

        return updates, state, {**info, "loss": jax.pure_callback(call, info["loss"], info["loss"])}


@dataclasses.dataclass(frozen=True)
class Stubborn(Fault):
    """Sleeps without end and ignores SIGTERM."""

    def act(self):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        while True:
            time.sleep(60)


@dataclasses.dataclass(frozen=True)
class Hoarder(Fault):
    """Allocates without end, in an address space of half a gigabyte more than it has."""

    def act(self):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + 2**29
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        hoard = []
        while True:
            hoard.append(bytearray(2**26))


@dataclasses.dataclass(frozen=True)
class Killed(Fault):
    """Is killed from outside."""

    def act(self):
        os.kill(os.getpid(), signal.SIGKILL)


@dataclasses.dataclass(frozen=True)
class FullDisk(Fault):
    """Finds no space left for anything while the file `full` is there."""

    full: str = ""

    def act(self):
        if Path(self.full).exists():
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


@dataclasses.dataclass(frozen=True)
class Noted(Fault):
    """Writes a line for every update that it makes, and takes its time."""

    notes: str = ""
    learning_rate: float = 0.1

    def act(self):
        with open(self.notes, "a") as file:
            file.write(f"{self.learning_rate:g}\n")
        time.sleep(0.02)

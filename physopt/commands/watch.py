"""Command watch: the runs below a folder while they train, in the browser or in the terminal."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from physopt.commands import Command, plain_help
from physopt.commands.scores import names_folder, write_report_of
from physopt.config.parse import flat_arguments
from physopt.config.text import from_text
from physopt.options import Bounds, OptionError, Options, PositiveFloat

if TYPE_CHECKING:
    from physopt.analysis.watch.feed import Feed

_LOOK_SECONDS = 0.25
_QUIET_SECONDS = 15.0
"""Seconds without a running run after which all runs have ended."""

_PAUSE = 20.0
"""Pause after reading the records, in units of the time that it took: runs need the processor."""

_PLAIN_HEIGHT = 60


@dataclass(frozen=True)
class WatchOptions(Options):
    """How runs are watched."""

    text: bool = False
    """Draw in the terminal instead of the browser."""

    port: Annotated[int, Bounds(0, 65535)] = 0
    """Port of the page, for this machine only; 0 takes a free one."""

    every: PositiveFloat = 2.0
    """Seconds between two looks at the records; more if reading them takes long."""

    end: bool = False
    """End when all runs have ended, instead of with Ctrl-C."""

    axis: Literal["seconds", "updates", "calls"] = "seconds"
    """Cost that the terminal and the report show progress against; the page offers all."""

    out: Path | None = None
    """File of the report; none writes report.html to FOLDER, or to the working directory if that
    folder is read-only."""

    debug: bool = False
    """Show the traceback of an error."""


class Watcher:
    """Reads the records when that is due, and writes the report when all runs have ended."""

    def __init__(self, feed: "Feed", options: WatchOptions, interrupted: Callable[[], bool]):
        self._feed, self._options, self._interrupted = feed, options, interrupted
        self._due = self._last_active = -math.inf
        self._was_active = False
        self._reported = -1  # version of the feed

    def look(self) -> bool:
        """Read the records if that is due; return whether the watch goes on."""
        from physopt.sweeping.lease import sweep_is_alive

        if self._interrupted():
            return False
        now = time.monotonic()
        if now < self._due:
            return True
        self._feed.poll()
        self._due = now + max(self._options.every, _PAUSE * (time.monotonic() - now))
        if self._feed.active or sweep_is_alive(self._feed.root):
            self._last_active, self._was_active = now, True
        if self._feed.frame.empty or now - self._last_active < _QUIET_SECONDS:
            return True
        if self._was_active:
            self._was_active = False
            self.report()
        return not self._options.end

    def report(self) -> None:
        """Write the report unless nothing has changed since the last one, or there is no run."""
        from physopt import analysis

        if self._feed.frame.empty or self._feed.version == self._reported:
            return
        comparison = analysis.Comparison(analysis.load(self._feed.root), self._options.axis)
        out = write_report_of(comparison, self._feed.root, self._options.out)
        self._feed.say(f"report: {out.absolute()}")
        self._reported = self._feed.version


def _watch(words: list[str]) -> int:
    folders = [word for word in words if names_folder(word)]
    options = from_text(WatchOptions, flat_arguments([w for w in words if w not in folders]))
    if len(folders) > 1:
        raise OptionError(object, "argument", folders[1], "watch takes one folder")
    root = Path(*folders or ["runs/results"])
    if root.exists() and not root.is_dir():
        raise OptionError(object, "folder", root, "is no folder")
    from physopt.analysis.watch.feed import Feed
    from physopt.training.interrupt import Interrupt

    feed = Feed(root)
    feed.poll()
    print(feed.counts(), flush=True)
    with Interrupt() as interrupt:
        watcher = Watcher(feed, options, interrupt.requested)
        if options.text or not asyncio.run(_in_browser(watcher, feed, options.port)):
            _in_terminal(watcher, feed, options.axis)
    watcher.report()
    return 0


async def _in_browser(watcher: Watcher, feed: "Feed", port: int) -> bool:
    """Serve the page as long as the watch lasts; return False if there can be none."""
    try:
        from physopt.analysis.watch.server import page_server

        server, url = page_server(feed, port)
    except (ImportError, OSError) as error:
        print(f"no page in the browser ({error}): drawing here", flush=True)
        return False
    print(f"page   {url}\nCtrl-C ends the watch and writes the report", flush=True)
    try:
        while watcher.look():
            await asyncio.sleep(_LOOK_SECONDS)
    finally:
        server.stop()
    return True


def _in_terminal(watcher: Watcher, feed: "Feed", axis: str) -> None:
    from rich.live import Live

    from physopt.analysis.watch.text import text_view
    from physopt.training.display import console

    screen, shown = console(), -1
    height = screen.height if screen.is_terminal else _PLAIN_HEIGHT
    with Live(console=screen, auto_refresh=False) as live:
        going = True
        while going:
            going = watcher.look()
            if shown != feed.version:
                shown = feed.version
                live.update(text_view(feed, axis, screen.width, height), refresh=True)
            if going:
                time.sleep(_LOOK_SECONDS)


_USAGE = "watch [FOLDER] [key=value ...]"
WATCH = Command(
    _USAGE,
    "show runs and sweeps while they train, in the browser or the terminal",
    _watch,
    plain_help(
        _USAGE,
        """
        Show all runs below FOLDER (default: runs/results) while they train: their curves, a chart
        for each problem or, for a single problem, for each rule too; what each run does, and the
        pictures of its designs as they are drawn. Start it before, during or after the runs, in a
        terminal of its own.

        python -m physopt watch
        python -m physopt watch runs/results/ldft2d text=true
        python -m physopt watch port=5006

        The page is served to this machine only, at a URL with a secret token, which is printed. To
        see it from another machine, choose a port and forward it: ssh -L 5006:localhost:5006 HOST.
        When all runs have ended, and with Ctrl-C, the page of `report` is written, which opens
        without this command.
        """,
        WatchOptions,
    ),
    WatchOptions,
)

"""Records: the files that a run leaves, and the meaning of its status."""

from physopt.records.folder import RunFolder, find_runs
from physopt.records.record import Record

__all__ = ["Record", "RunFolder", "find_runs"]

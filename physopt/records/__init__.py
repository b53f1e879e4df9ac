"""Records: the files that a run leaves, and the meaning of its status."""

from physopt.records.folder import RunFolder, find_runs

__all__ = ["RunFolder", "find_runs"]

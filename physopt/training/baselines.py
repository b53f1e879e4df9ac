"""Baselines: the test errors of methods that do not train, recorded beside a run."""

import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from physopt.config import RunConfig
from physopt.problem import Batch, HasBaselines
from physopt.records.folder import RunFolder
from physopt.training.identity import fingerprint, parent_folder

FILE = "baselines.json"


def record_baselines(
    config: RunConfig, folder: RunFolder, samples: Batch, note: Callable[[str], None]
) -> None:
    """Record the baselines of a problem on the test samples, if it has baselines.

    They depend only on problem and test set: runs below out/problem share one computation.
    """
    problem = config.problem
    if not isinstance(problem, HasBaselines):
        return
    shared = _shared(config, folder)
    kept = RunFolder(shared.parent).read(shared.name, like=FILE) if shared else {}
    if kept:
        folder.write(FILE, kept)
        return
    note("computing the baselines of the test set")
    baselines = problem.baselines(samples)
    folder.write(FILE, baselines)
    if shared:
        with contextlib.suppress(OSError):  # other runs compute them again
            RunFolder(shared.parent).write(shared.name, baselines)


def _shared(config: RunConfig, folder: RunFolder) -> Path | None:
    """Return the file that the runs of a problem share.

    None if the source of the baselines, which may have changed, is unknown, and for a run that was
    moved: it writes to its own folder alone.
    """
    parent, source = parent_folder(config), fingerprint(type(config.problem))
    if source is None or parent.resolve() != folder.path.parent.resolve():
        return None
    content = [config.problem.as_dict(), config.settings.heldout_size, source]
    name = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
    return parent.parent / "baselines" / f"{name}.json"

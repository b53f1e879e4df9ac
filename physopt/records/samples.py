"""Samples: the errors of each test sample with a run's best parameters, in test_metrics.npz.

The file is a zip archive of NumPy arrays [size] in float32, without pickles, readable by
`numpy.load`. An array has the name of the column of the curve whose mean it resolves: `test_loss`,
the metrics, and those of further test sets. METRIC_refined, of problems that refine designs without
the network, is in no curve. The file is written when a run has finished.
"""

import io
import zipfile
from pathlib import Path

import numpy as np

from physopt.records.folder import RunFolder
from physopt.records.reading import LARGEST_BYTES, Damaged, file_bytes

TEST_METRICS = "test_metrics.npz"


class Unreadable(ValueError):
    """The reason for which the samples of a run cannot be read."""


def write_samples(folder: RunFolder, samples: dict[str, np.ndarray]) -> None:
    """Replace the samples of a run atomically: {column: [size]}."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:  # np.savez takes no array called `file`
        for name, values in samples.items():
            array = io.BytesIO()
            np.lib.format.write_array(array, values, allow_pickle=False)
            archive.writestr(f"{name}.npy", array.getvalue())
    folder.write_bytes(TEST_METRICS, content.getvalue())


def remove_samples(folder: RunFolder) -> None:
    """Remove the samples of a run that is continued: its best parameters may change."""
    (folder.path / TEST_METRICS).unlink(missing_ok=True)


def read_samples(folder: Path | str) -> dict[str, np.ndarray]:
    """Return the samples of the run in a folder, {column: [size]}.

    Raises Unreadable if the run has none or the file is damaged.
    """
    path = Path(folder, TEST_METRICS)
    try:
        with zipfile.ZipFile(io.BytesIO(file_bytes(path))) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > LARGEST_BYTES:
                raise Unreadable(f"{TEST_METRICS} is larger than it should be")
            names = archive.namelist()
            samples = {name.removesuffix(".npy"): _array(archive.read(name)) for name in names}
    except Damaged as damaged:
        raise Unreadable(f"{TEST_METRICS} {damaged}") from None
    except Unreadable:
        raise
    except Exception as error:  # zipfile and NumPy raise many for a damaged file
        raise Unreadable(f"{TEST_METRICS} cannot be read: {error}") from None
    if len({values.size for values in samples.values()}) != 1:
        raise Unreadable(f"{TEST_METRICS} holds no arrays of one size")
    return samples


def _array(content: bytes) -> np.ndarray:
    """Return an array of an archive; raise Unreadable unless it is [size] of real numbers."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise Unreadable(f"{TEST_METRICS} has an unknown format")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    values = content[file.tell() :]
    if dtype.kind != "f" or shape != (len(values) // dtype.itemsize,) or not shape[0]:
        raise Unreadable(f"{TEST_METRICS} holds something else than lists of real numbers")
    return np.frombuffer(values, dtype)

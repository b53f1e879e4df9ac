"""The errors of single samples: what is written is read back, and damage is a reason."""

import io
import os
import zipfile

import numpy as np
import pytest

from physopt.records.folder import RunFolder
from physopt.records.samples import (
    TEST_METRICS,
    Unreadable,
    read_samples,
    remove_samples,
    write_samples,
)

VALUES = np.array([0.5, np.nan, np.inf, 1e-30], np.float32)


def test_samples_are_read_back_bit_for_bit_under_any_name(tmp_path):
    names = ("test_loss", "file", "a/b", "../c", "µ", "error.npy")
    written = {name: VALUES + np.float32(k) for k, name in enumerate(names)}
    write_samples(RunFolder(tmp_path), written)
    samples = read_samples(tmp_path)
    assert list(samples) == list(names)
    for name, values in written.items():
        np.testing.assert_array_equal(samples[name], values)
    assert os.listdir(tmp_path) == [TEST_METRICS]
    with np.load(tmp_path / TEST_METRICS, allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["test_loss"], VALUES)
    remove_samples(RunFolder(tmp_path))
    remove_samples(RunFolder(tmp_path))
    assert not os.listdir(tmp_path)


def test_a_write_that_fails_keeps_the_earlier_file(tmp_path, monkeypatch):
    write_samples(RunFolder(tmp_path), {"test_loss": VALUES})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_samples(RunFolder(tmp_path), {"test_loss": VALUES + 1})
    np.testing.assert_array_equal(read_samples(tmp_path)["test_loss"], VALUES)
    assert os.listdir(tmp_path) == [TEST_METRICS]


def saved(**arrays):
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def bomb():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("error.npy", bytes(2**28 + 1))
    return content.getvalue()


def claiming(shape):
    """Return a file whose array claims a shape that its bytes do not have."""
    array = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        array, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("error.npy", array.getvalue() + bytes(16))
    return content.getvalue()


DAMAGED = {
    "empty": b"",
    "text": b"nonsense",
    "no arrays": saved(),
    "an object": saved(error=np.array([{}], object)),
    "texts": saved(error=np.array(["a"])),
    "integers": saved(error=np.arange(4)),
    "a matrix": saved(error=np.ones((2, 2))),
    "a number": saved(error=np.float32(1)),
    "no samples": saved(error=np.zeros(0)),
    "two sizes": saved(error=np.ones(2), test_loss=np.ones(3)),
    "huge": claiming((10**15,)),
    "negative": claiming((-4,)),
    "expanding": bomb(),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_another_content_is_refused_with_a_reason(tmp_path, kind):
    (tmp_path / TEST_METRICS).write_bytes(DAMAGED[kind])
    with pytest.raises(Unreadable, match=TEST_METRICS):
        read_samples(tmp_path)


def test_what_is_no_file_is_refused_without_waiting(tmp_path):
    with pytest.raises(Unreadable, match="is missing"):
        read_samples(tmp_path)
    os.mkfifo(tmp_path / TEST_METRICS)
    with pytest.raises(Unreadable, match="not a regular file"):
        read_samples(tmp_path)
    os.unlink(tmp_path / TEST_METRICS)
    (tmp_path / TEST_METRICS).mkdir()
    with pytest.raises(Unreadable, match="not a regular file"):
        read_samples(tmp_path)


def test_mutated_files_are_read_or_refused(tmp_path):
    write_samples(RunFolder(tmp_path), {"test_loss": VALUES, "error": VALUES})
    file, random = tmp_path / TEST_METRICS, np.random.default_rng(0)
    whole = file.read_bytes()
    refused = 0
    for _ in range(400):
        mutated = bytearray(whole)
        for place in random.integers(0, len(whole), random.integers(1, 4)):
            mutated[place] = random.integers(0, 256)
        file.write_bytes(mutated[: random.integers(1, len(whole) + 1)] if random.random() < 0.2
                         else mutated)  # fmt: skip
        try:
            samples = read_samples(tmp_path)
        except Unreadable:
            refused += 1
        else:
            assert {values.shape for values in samples.values()} == {VALUES.shape}
    assert refused > 200, "the archive has checksums"

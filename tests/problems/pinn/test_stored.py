"""References on disk: the same numbers, never those of another program, harmless if damaged."""

import numpy as np
import pytest

from physopt.problems.pinn import stored, trajectory


@pytest.fixture
def calls(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(stored, "SHORTEST_SECONDS", 0.0)
    return []


def counted(calls, *used):
    def squares(count):
        calls.append(count)
        return np.arange(count) ** 2 + 1j

    return stored.stored(squares, *used)


def test_a_reference_is_computed_once_and_returned_unchanged(calls):
    results = [counted(calls)(count) for count in (5, 5, 6, 5)]
    assert calls == [5, 6]
    for result in (results[1], results[3]):
        np.testing.assert_array_equal(result, results[0])
        assert result.dtype == results[0].dtype
    counted(calls, trajectory)(5)
    assert calls == [5, 6, 5], "another source is another reference"


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"text"])
def test_a_damaged_file_is_replaced(calls, content):
    counted(calls)(5)
    (file,) = stored.folder().iterdir()
    file.write_bytes(content)
    np.testing.assert_array_equal(counted(calls)(5), np.arange(5) ** 2 + 1j)
    assert calls == [5, 5]
    counted(calls)(5)
    assert calls == [5, 5]


def test_a_folder_that_cannot_be_written_costs_only_time(calls):
    stored.folder().parent.mkdir()
    stored.folder().write_text("a file in its place")
    assert len(counted(calls)(5)) == len(counted(calls)(5)) == 5
    assert calls == [5, 5]

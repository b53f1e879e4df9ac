"""Films: fields that change in time, as an animated GIF and in a report."""

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image, ImageSequence

from physopt.analysis.report import _film
from physopt.training.film import FRAME, GAP, LAST, MARGIN, write_film


@pytest.fixture
def path(tmp_path):
    """A film of two samples with 3 x 4 cells at three times."""
    fields = np.linspace(0, 1, 2 * 3 * 3 * 4).reshape(2, 3, 3, 4)
    write_film(tmp_path / "film.gif", {"target": fields, "reached": 1 - fields})
    return tmp_path / "film.gif"


def test_a_film_shows_every_value_at_its_place_and_time(path):
    fields = np.linspace(0, 1, 2 * 3 * 3 * 4).reshape(2, 3, 3, 4)
    zoom = 32  # of the smaller side to 96 pixels
    with Image.open(path) as film:
        frames = [(f.convert("RGB"), f.info["duration"]) for f in ImageSequence.Iterator(film)]
    assert [duration for _, duration in frames] == [FRAME, FRAME, LAST]
    for time, (frame, _) in enumerate(frames):
        pixels = np.asarray(frame)
        for row, values in enumerate((fields, 1 - fields)):
            for sample in range(2):
                for x, y in ((0, 0), (2, 0), (1, 3)):  # the first axis right, the second up
                    left = MARGIN + sample * (3 * zoom + GAP) + x * zoom
                    top = GAP + row * (4 * zoom + GAP) + (3 - y) * zoom
                    expected = colormaps["viridis"](values[sample, time, x, y], bytes=True)[:3]
                    actual = pixels[top + zoom // 2, left + zoom // 2].astype(int)
                    # 254 instead of 256 shades.
                    assert np.abs(actual - np.asarray(expected, int)).max() <= 4


def test_a_report_holds_a_film_as_it_is_and_no_other_file(path):
    assert str(_film(path)).startswith("data:image/webp;base64,")
    assert _film(path.with_name("none.gif")) is None
    path.write_bytes(path.read_bytes()[:100])
    assert _film(path) is None
    Image.new("RGB", (4, 4)).save(path, "PNG")
    assert _film(path) is None
    Image.new("P", (1000, 1000)).save(path, "GIF")  # as many pixels as 100 frames may not have
    assert _film(path) is None

"""The look of figures: styles, legends, ticks, and maps of memory."""

import math

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from analysis_records import write_run
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from physopt import analysis
from physopt.analysis.style import COLOURS, method_styles, plain_log_ticks


def test_styles_differ_and_colours_are_visible_in_grey():
    styles = method_styles([f"rule{k}" for k in range(30)])
    looks = {(s["color"], s["ls"]) for s in styles.values()}
    assert len(looks) == 30
    greys = [np.dot(to_rgb(colour), (0.299, 0.587, 0.114)) for colour in COLOURS]
    assert max(greys) < 0.75, "every colour is visible on white paper"


def test_drawing_does_not_change_matplotlibs_settings(tmp_path):
    write_run(tmp_path, "a", "adam", 0, [1.0, 0.1])
    before = dict(mpl.rcParams)
    analysis.curves(analysis.load(tmp_path))
    assert dict(mpl.rcParams) == before


def test_feasibility_map_shows_what_fits():
    rows = [
        {"problem": "ldft3d", "size": size, "batch": batch, "mode": mode, "device": "cpu",
         "bytes": size * batch * 2**30, "fits": size * batch < 20}
        for size in (5, 10) for batch in (1, 4) for mode in ("implicit", "unrolled")
    ]  # fmt: skip
    figure = analysis.feasibility_map(pd.DataFrame(rows[:-1]), limit=19.5 * 2**30)
    assert "fits into 19.5 GiB" in figure.get_supxlabel()
    titles = [panel.get_title(loc="left") for panel in figure.axes]
    assert titles == ["ldft3d · implicit · cpu", "ldft3d · unrolled · cpu"]
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["5", "× 20", "10", "× 40"]
    assert len(figure.axes[1].texts) == 3, "a cell without a row stays empty"


def test_feasibility_map_shows_predicted_and_measured_memory_in_one_unit():
    table = pd.DataFrame(
        {"problem": "p", "size": 10, "batch": [1, 8, 64, 512], "mode": "-", "device": "cpu",
         "bytes": [2**18, 2**21, 2**24, 2**32], "fits": [True, True, True, False],
         "measured_bytes": [np.nan, 1.5 * 2**21, 1.01 * 2**25, np.nan]}
    )  # fmt: skip
    figure = analysis.feasibility_map(table, limit=2.0**25, size_option="rule.rank")
    texts = [text.get_text() for text in figure.axes[0].texts]
    # Beyond the limit the program was stopped: the measured memory is a lower bound.
    assert texts == ["0.25", "2", "3", "16", "> 32.3", "× 4,096"]
    assert "in MiB" in figure.get_supxlabel()
    assert figure.axes[0].get_ylabel() == "rule.rank"


def test_a_legend_has_methods_then_ends_and_the_target(tmp_path):
    write_run(tmp_path, "a", "sgd", 0, [1.0, 2.0, math.nan], status="diverged")
    write_run(tmp_path, "b", "adam", 0, [1.0, 0.1, 0.01])
    figure = analysis.curves(analysis.load(tmp_path))
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["adam", "sgd", "diverged", "target"]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ((2.5, 6.5), ["3", "4", "5", "6"]),
        ((0.07, 3.0), ["0.1", "0.2", "0.5", "1", "2"]),
        ((900.0, 30000.0), ["1000", "2000", "5000", "10000", "20000"]),
    ],
)
def test_ticks_of_few_decades_have_plain_numbers(limits, expected):
    panel = Figure().subplots()
    panel.set(xscale="log", xlim=limits)
    plain_log_ticks(panel)
    labels = {}
    for formatter, places in (
        (panel.xaxis.get_major_formatter(), panel.xaxis.get_majorticklocs()),
        (panel.xaxis.get_minor_formatter(), panel.xaxis.get_minorticklocs()),
    ):
        shown = [place for place in places if limits[0] <= place <= limits[1]]
        labels |= dict(zip(shown, formatter.format_ticks(shown), strict=True))
    assert [labels[place] for place in sorted(labels)] == expected

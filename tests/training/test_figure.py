"""The training figure has one panel per recorded quantity, and no empty ones."""

import numpy as np
import pytest

from physopt.training.figure import draw_training


def rows(**more):
    return [
        {"step": step, "train_loss": 1.0 / step if step else None, "test_loss": 3.0,
         "validation_loss": 2.0 / (step + 1), **(more if step else {})}
        for step in (0, 10, 20)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "panels"),
    [
        ({}, ["loss"]),
        ({"update_norm": 0.1, "grad_norm": None}, ["loss", "norm"]),
        (
            {"update_norm": 0.1, "grad_norm": 1.0, "largest": 9.0, "smallest": 0.0, "rank": 3.0,
             "quartile_1": 0.0, "quartile_2": 1.0, "quartile_3": 2.0},
            ["loss", "norm", "singular values of dy/dθ"],
        ),
        (  # a rational power leaves most of the spectrum unknown
            {"update_norm": 0.1, "grad_norm": 1.0, "largest": 9.0, "smallest": None, "rank": None,
             "quartile_1": None, "quartile_2": None, "quartile_3": None},
            ["loss", "norm", "singular values of dy/dθ"],
        ),
    ],
)  # fmt: skip
def test_recorded_quantities_have_panels(more, panels):
    figure = draw_training(rows(**more), "a, b")
    assert [axes.get_ylabel() for axes in figure.axes] == panels
    for axes in figure.axes:
        for line in axes.lines:
            assert np.size(line.get_xdata()) > 0


def test_nonpositive_values_are_drawn_on_a_linear_axis():
    figure = draw_training(rows(update_norm=0.0), "a, b")
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "linear"]


def test_a_run_that_diverged_before_its_first_update_has_a_figure():
    assert len(draw_training([{"step": 0, "validation_loss": None}], "a, b").axes) == 1

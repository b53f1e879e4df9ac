"""The training figure has one panel per recorded quantity, and no empty ones."""

import io

import numpy as np
import pytest
from tiny import Descent, Tiny

import physopt
from physopt.training.figure import draw_training

RUN = {"run_id": "0123", "problem": "a", "rule": "b", "seed": 3}


def rows(**more):
    return [
        {**RUN, "step": step, "t_train": 0.1 * step, "test_loss": 3.0,
         "train_loss": 1.0 / step if step else None,
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
    figure = draw_training(rows(**more))
    assert [axes.get_ylabel() for axes in figure.axes] == panels
    for axes in figure.axes:
        for line in axes.lines:
            assert np.size(line.get_xdata()) > 0


def test_nonpositive_values_are_drawn_on_a_linear_axis():
    figure = draw_training(rows(update_norm=0.0))
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "linear"]


def test_a_run_that_diverged_before_its_first_update_has_a_figure():
    assert len(draw_training([{**RUN, "step": 0, "validation_loss": None}]).axes) == 1


def test_the_metric_of_the_target_has_a_panel_with_its_value():
    figure = draw_training(rows(validation_error=0.2, error=0.3), ("error", 0.05))
    _, metric = figure.axes
    assert metric.get_ylabel() == "error"
    names = [line.get_label() for line in metric.lines]
    assert names == ["validation", "test", "target 0.05"]
    np.testing.assert_array_equal(metric.lines[-1].get_ydata(), 0.05)


def test_the_title_names_the_run_and_the_upper_axis_its_seconds():
    figure = draw_training(rows())
    assert figure.get_suptitle() == "b on a, seed 3, run 0123"
    figure.savefig(io.BytesIO())
    (upper,) = figure.axes[0].child_axes
    assert upper.get_xlabel() == "training time (s)"
    np.testing.assert_allclose(figure.axes[0].get_xlim(), (0, 20))
    np.testing.assert_allclose(upper.get_xlim(), (0, 2))


def test_a_run_without_figures_draws_none_and_is_the_same_run(tmp_path):
    settings = {"steps": 2, "log_every": 1, "out": tmp_path}
    run = physopt.run(Tiny(), Descent(), figures=False, **settings)
    assert run.status["status"] == "ok"
    assert not list(run.folder.glob("*.png"))
    assert physopt.run(Tiny(), Descent(), figures=True, **settings).folder == run.folder

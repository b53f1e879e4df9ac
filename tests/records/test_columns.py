"""Columns of a curve: what two sources would write is refused."""

import dataclasses

import jax.numpy as jnp
import pytest
from analysis_records import write_run
from tiny import Descent, Tiny

import physopt
from physopt.analysis import load
from physopt.checking import check
from physopt.options import OptionError
from physopt.records.columns import INFO, RESERVED, chosen_by, measured_columns
from physopt.rule import COUNTS

SETS = ("validation", "test", "test_wide")


def named(cls, name):
    """Return a problem or a rule that returns a further number of this name."""

    @dataclasses.dataclass(frozen=True)
    class Named(cls):
        def metrics(self, x, y, batch):
            return {**super().metrics(x, y, batch), name: jnp.full(len(batch), 7.0)}

        def update(self, *arguments):
            updates, state, info = super().update(*arguments)
            return updates, state, {**info, name: jnp.float32(7)}

    return Named()


def test_every_measured_number_has_a_column_of_its_own():
    columns = measured_columns(("loss", "error", "angle"), SETS, ("grad_norm", "rank"))
    assert list(columns.values()) == [
        *("validation_loss", "test_loss", "test_wide_loss"),
        *("validation_angle", "angle", "angle_wide"),
        *("validation_error", "error", "error_wide"),
    ]
    assert columns["error", "validation"] == chosen_by("error")
    assert columns["loss", "validation"] == chosen_by(None)


@pytest.mark.parametrize(
    ("metrics", "info"),
    [
        *(((name,), ()) for name in ("seed", "step", "status", "grad_norm", "test_loss")),
        (("error", "error_wide"), ()),
        (("error", "validation_error"), ()),
        (("error",), ("error",)),
        (("error",), ("error_wide",)),
        *(((), (name,)) for name in ("seed", "t_train", "validation_loss", "method")),
    ],
)
def test_two_sources_of_one_column_are_refused(metrics, info):
    with pytest.raises(OptionError, match="rename it"):
        measured_columns(("loss", *metrics), SETS, info)


def test_all_columns_that_physopt_writes_are_reserved(tmp_path):
    run = physopt.run(Tiny(), Descent(), out=tmp_path / "real")
    own = set(RESERVED) | set(INFO)
    assert set(COUNTS) <= own
    assert set(run.curve.columns) <= own | set(measured_columns(("loss", "error"), SETS).values())
    write_run(tmp_path / "written", "ldft2d", "adam", 3, [1.0], options={"learning_rate": 0.01})
    for frame in (load(run.folder), load(tmp_path / "written")):
        added = {name for name in frame.columns if "." not in name}
        assert added <= own | {"validation_loss", "test_loss", "validation_error", "error"}


@pytest.mark.parametrize("name", ["loss", "error", "seed", "test_loss", "error_wide", "grad_norm"])
def test_a_set_metric_may_not_take_the_column_of_another_number(name):
    columns = measured_columns(("loss", "error"), SETS, (), ("relative_l2",))
    assert columns["relative_l2", "test_wide"] == "relative_l2_wide"
    with pytest.raises(OptionError, match="rename it"):
        measured_columns(("loss", "error"), SETS, (), (name,))
    with pytest.raises(OptionError, match="rename it"):
        measured_columns(("loss", "error"), SETS, ("relative_l2_wide",), ("relative_l2",))


@pytest.mark.parametrize("name", ["loss", "test_loss", "t_train", "update_norm"])
def test_run_and_check_refuse_a_metric_with_the_name_of_a_column(tmp_path, name):
    with pytest.raises(OptionError, match=f"metric={name}"):
        physopt.run(named(Tiny, name), Descent(), out=tmp_path)
    failures = [finding for finding in check(named(Tiny, name)) if not finding.passed]
    assert any("loss and metrics" in f.claim and "rename it" in f.detail for f in failures)


@pytest.mark.parametrize("name", ["seed", "error", "t_train", "device"])
def test_a_run_refuses_an_entry_of_info_with_the_name_of_a_column(tmp_path, name):
    with pytest.raises(OptionError, match=f"info={name}"):
        physopt.run(Tiny(), named(Descent, name), out=tmp_path)

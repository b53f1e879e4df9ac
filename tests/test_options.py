"""Options: one canonical form for every value, and one clear error for what does not fit."""

import dataclasses
import json
from typing import Annotated, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from physopt.options import Bounds, OptionError, Options, PositiveFloat, PositiveInt, UnitFloat


@dataclasses.dataclass(frozen=True)
class Example(Options):
    count: PositiveInt = 1
    rate: PositiveFloat | None = None
    share: UnitFloat = 0.5
    widths: tuple[PositiveInt, ...] = (8,)
    kind: Literal["a", "b"] = "a"
    flag: bool = False
    size: Annotated[int, Bounds(2, 10)] = 4


def test_values_take_one_form_whatever_they_were_given_as():
    given_loosely = Example(rate=1, widths=[8, np.int64(4)], count=np.int32(3), flag=np.True_)  # type: ignore[arg-type]
    exactly = Example(rate=1.0, widths=(8, 4), count=3, flag=True)
    assert given_loosely == exactly
    assert hash(given_loosely) == hash(exactly)
    assert type(given_loosely.rate) is float
    assert type(given_loosely.count) is int


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("count", 0, "at least 1"),
        ("count", 1.5, "whole number"),
        ("count", True, "finite number"),
        ("rate", 0.0, "greater than 0"),
        ("rate", float("nan"), "finite number"),
        ("rate", float("inf"), "finite number"),
        ("share", 1.1, "at most 1"),
        ("widths", [8, 0], "at least 1"),
        ("widths", 8, "list"),
        ("widths", "8", "list"),
        ("kind", "c", "one of a, b"),
        ("flag", 1, "true or false"),
        ("size", 11, "at most 10"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(name, value, reason):
    with pytest.raises(OptionError, match=reason) as caught:
        Example(**{name: value})
    assert caught.value.name == name
    assert caught.value.owner is Example


def test_replace_checks_again():
    with pytest.raises(OptionError):
        Example().replace(count=-1)


@given(
    st.integers(1, 10**9),
    st.one_of(st.none(), st.floats(1e-300, 1e300)),
    st.lists(st.integers(1, 99), max_size=4),
)
def test_options_survive_json_exactly(count, rate, widths):
    before = Example(count=count, rate=rate, widths=tuple(widths))
    assert Example(**json.loads(json.dumps(before.as_dict()))) == before


def test_a_class_without_the_decorator_is_told_so():
    class Forgotten(Options):
        count: int = 1

    with pytest.raises(TypeError, match="dataclass"):
        Forgotten()

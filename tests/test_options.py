"""Options: one canonical form for every value, and one clear error for what does not fit."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from physopt.config.text import from_text, value_text
from physopt.options import (
    Bounds,
    Decay,
    OptionError,
    Options,
    PositiveFloat,
    PositiveInt,
    UnitFloat,
)


@dataclasses.dataclass(frozen=True)
class Example(Options):
    count: PositiveInt = 1
    rate: PositiveFloat | None = None
    share: UnitFloat = 0.5
    decay: Decay = 0.9
    any_count: int = 0
    widths: tuple[PositiveInt, ...] = (8,)
    kind: Literal["a", "b"] = "a"
    flag: bool = False
    size: Annotated[int, Bounds(2, 10)] = 4
    device: Literal["cpu", "gpu"] | None = None
    file: Path | None = None
    label: str | None = None
    corner: tuple[int, float] = (0, 0.0)
    limit: Literal["auto"] | PositiveFloat = "auto"


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
        ("decay", 1.0, "less than 1"),
        ("count", 10**23, "at most"),
        ("count", 2**31, "at most 2147483647"),
        ("any_count", 10**23, "at most"),
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


@given(
    st.builds(
        Example,
        count=st.integers(1, 2**31 - 1),
        rate=st.none() | st.floats(1e-300, 1e300),
        share=st.floats(0, 1),
        widths=st.lists(st.integers(1, 99), max_size=4),
        kind=st.sampled_from("ab"),
        flag=st.booleans(),
        size=st.integers(2, 10),
        device=st.sampled_from(["cpu", "gpu", None]),
        file=st.sampled_from([None, Path("a b"), Path("[x],y=1")]),
        label=st.sampled_from([None, "", "true", "1", "[a]"]),
        corner=st.tuples(
            st.integers(1 - 2**32, 2**32 - 1), st.floats(allow_nan=False, allow_infinity=False)
        ),
        limit=st.sampled_from(["auto", 0.5]),
    )
)
def test_options_survive_being_typed_exactly(before):
    texts = {name: value_text(value) for name, value in before.as_dict().items()}
    assert from_text(Example, texts) == before


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("count", "1e3", 1000),
        ("rate", "none", None),
        ("rate", "None", None),
        ("rate", "2", 2.0),
        ("widths", "[]", ()),
        ("widths", "[ 8, 4 ]", (8, 4)),
        ("widths", "8,4", (8, 4)),
        ("widths", "8", (8,)),
        ("flag", "True", True),
        ("device", "none", None),
        ("limit", "3", 3.0),
        ("corner", "[1,2]", (1, 2.0)),
    ],
)
def test_text_is_read_by_the_annotation(name, text, value):
    read = getattr(from_text(Example, {name: text}), name)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("count", "0", "must be at least 1"),
        ("count", "1.5", "must be a whole number"),
        ("count", "many", "must be a whole number"),
        ("count", "nan", "must be a finite number"),
        ("count", "", "a value is missing"),
        ("widths", "", "a value is missing"),
        ("rate", "fast", "must be a finite number or none"),
        ("rate", "-1", "must be greater than 0 or none"),
        ("rate", "inf", "must be a finite number or none"),
        ("share", "none", "must be a finite number"),
        ("widths", "[8,0]", "must be at least 1"),
        ("widths", "[8,x]", "must be a whole number"),
        ("corner", "[1]", "must have 2 entries"),
        ("kind", "c", "known: a, b"),
        ("device", "gpus", "did you mean gpu?"),
        ("device", "x", "known: cpu, gpu, none"),
        ("flag", "yes", "must be true or false"),
        ("limit", "auo", "did you mean auto? or must be a finite number"),
        ("cuont", "1", "unknown key; did you mean count?"),
    ],
)
def test_a_text_that_does_not_fit_is_refused_as_it_was_typed(name, text, reason):
    with pytest.raises(OptionError) as caught:
        from_text(Example, {name: text})
    assert (caught.value.owner, caught.value.name, caught.value.value) == (Example, name, text)
    assert caught.value.reason == reason


def test_an_option_without_a_default_is_required_and_one_of_another_type_is_left_to_python():
    @dataclasses.dataclass(frozen=True)
    class Needy(Options):
        count: int
        table: dict[str, int] = dataclasses.field(default_factory=dict)

    with pytest.raises(OptionError, match="count=: is required"):
        from_text(Needy, {})
    assert from_text(Needy, {}, count=2) == from_text(Needy, {"count": "2"}) == Needy(2)
    assert from_text(Needy, {"count": "3"}, count=2) == Needy(3)
    with pytest.raises(OptionError, match="only from Python"):
        from_text(Needy, {"count": "2", "table": "{}"})


def test_a_class_without_the_decorator_is_told_so():
    class Forgotten(Options):
        count: int = 1

    with pytest.raises(TypeError, match="dataclass"):
        Forgotten()

"""Text: values of options as they are typed, read by the annotations of an option class.

A list is written [a,b] or a,b, an empty one [], None is none, True is true.
"""

import contextlib
import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import MISSING
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from physopt.options import (
    DoesNotFit,
    OptionError,
    Options,
    annotations,
    canonical,
    first_fit,
    suggest,
)

T = TypeVar("T")


def from_text(cls: type[T], texts: Mapping[str, str], **defaults: Any) -> T:
    """Return an instance of an option class from {option: text}.

    `defaults` take the place of the class's own. Raises OptionError, with the nearest option or
    value, for what does not fit.
    """
    if issubclass(cls, Options):
        cls = cls.class_for(texts)
    values = {**defaults, **read_texts(cls, texts)}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if field.name not in values and field.default is field.default_factory is MISSING:
            raise OptionError(cls, field.name, "", "is required")
    return cls(**values)


def read_texts(cls: type, texts: Mapping[str, str]) -> dict[str, Any]:
    """Return {option: value} from {option: text}; raise OptionError for what does not fit."""
    hints, values = annotations(cls), {}
    for name, text in texts.items():
        if name not in hints:
            raise OptionError(cls, name, text, f"unknown key; {suggest(name, hints)}")
        try:
            values[name] = _read(text, hints[name])
        except DoesNotFit as refused:
            raise OptionError(cls, name, text, str(refused)) from None
    return values


def value_text(value: Any) -> str:
    """Return a value as it would be typed, the inverse of from_text."""
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(value_text, value)) + "]"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value)


def split_values(text: str) -> list[str]:
    """Split at the commas outside brackets: "1,2" -> 1 and 2; "[1,2],[3]" -> [1,2] and [3]."""
    values, depth = [""], 0
    for character in text:
        depth += (character == "[") - (character == "]")
        if character == "," and depth == 0:
            values.append("")
        else:
            values[-1] += character
    return [value.strip() for value in values]


def _read(text: str, hint: Any) -> Any:
    """Return the value that a text stands for under an annotation, in canonical form."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return canonical(_read(text, arguments[0]), hint)
    if origin in (Union, UnionType):
        return _read_union(text, arguments)
    if origin is Literal:
        return _read_choice(text, arguments)
    if not text and hint is not str:
        raise DoesNotFit("a value is missing")
    if origin is tuple:
        return _read_tuple(text, arguments)
    if hint is bool:
        return canonical({"true": True, "false": False}.get(text.lower()), bool)
    if hint in (int, float):
        return canonical(_number(text, hint), hint)
    if hint in (str, Path):
        return hint(text)
    raise DoesNotFit("cannot be given as text, only from Python")


def _read_union(text: str, hints: tuple[Any, ...]) -> Any:
    if NoneType in hints and text in ("none", "None"):
        return None
    if all(get_origin(hint) is Literal or hint is NoneType for hint in hints):
        return _read_choice(text, [value for hint in hints for value in get_args(hint) or (None,)])
    return first_fit(text, hints, _read)


def _read_choice(text: str, choices: Iterable[Any]) -> Any:
    values = {value_text(choice): choice for choice in choices}
    if text not in values:
        raise DoesNotFit(suggest(text, values))
    return values[text]


def _read_tuple(text: str, hints: tuple[Any, ...]) -> tuple[Any, ...]:
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1].strip()
    items = split_values(text) if text else []
    if len(hints) == 2 and hints[1] is Ellipsis:
        hints = hints[:1] * len(items)
    if len(items) != len(hints):
        raise DoesNotFit(f"must have {len(hints)} entries")
    return tuple(map(_read, items, hints))


def _number(text: str, hint: type) -> float:
    for read in (int, float):
        with contextlib.suppress(ValueError):
            return read(text)
    raise DoesNotFit("must be a whole number" if hint is int else "must be a finite number")

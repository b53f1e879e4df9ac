"""Which columns of a table hold the axis, the content and the branch of an isotherm."""

from collections.abc import Sequence
from dataclasses import dataclass

from physopt.problems.ldft.isotherm_files.headings import Heading


@dataclass(frozen=True)
class Pair:
    """Columns of the axis and of the content, and the branch if the pair holds one only."""

    axis: int
    content: int
    desorption: bool | None = None


@dataclass(frozen=True)
class Columns:
    """The columns of an isotherm: one pair, or one for each branch."""

    pairs: tuple[Pair, ...]
    headings: tuple[Heading, ...]
    saturation: int | None = None
    branch: int | None = None
    alternatives: tuple[int, ...] = ()  # contents that may repeat that of the first pair


class Incomplete(ValueError):
    """Headings that do not name both an axis and a content."""


def columns(headings: Sequence[Heading]) -> Columns:
    """Assign the columns of a table by their headings.

    Raises Incomplete if an axis or a content is missing, ValueError if several columns could be
    meant.
    """
    axes = _axes(headings)
    contents = [k for k, h in enumerate(headings) if h.quantity == "content"]
    if not axes or not contents:
        masses = [h.text for h in headings if h.is_mass]
        if axes and masses:
            raise Incomplete(
                f"column '{masses[0]}' is the mass of the sample with its water; the content is "
                "needed, relative to the dry mass"
            )
        raise Incomplete("no heading names both a relative humidity and a water content")
    wet = [headings[k].text for k in contents if _is_wet_basis(headings[k].text)]
    if wet:
        raise ValueError(
            f"column '{wet[0]}' is on a wet basis; the content is needed relative to the dry mass"
        )
    pairs = _pairs(headings, axes, contents)
    first = headings[pairs[0].axis]
    return Columns(
        pairs,
        tuple(headings),
        _saturation(headings, first),
        next((k for k, h in enumerate(headings) if h.quantity == "branch"), None),
        tuple(k for k in contents if len(pairs) == 1 and k != pairs[0].content),
    )


def _axes(headings: Sequence[Heading]) -> list[int]:
    """Return the columns of the humidity, measured before nominal, or else of the pressure."""
    relative = [k for k, h in enumerate(headings) if h.quantity == "relative"]
    axes = relative or [k for k, h in enumerate(headings) if h.quantity == "pressure"]
    best = max((headings[k].rank for k in axes), default=1)
    return [k for k in axes if headings[k].rank == best]


def _pairs(
    headings: Sequence[Heading], axes: Sequence[int], contents: Sequence[int]
) -> tuple[Pair, ...]:
    names = ", ".join(f"'{headings[k].text}'" for k in (*axes, *contents))
    if len(axes) == 1:
        up = [k for k in contents if headings[k].desorption is False]
        down = [k for k in contents if headings[k].desorption]
        if len(up) == len(down) == 1:
            return (Pair(axes[0], up[0], False), Pair(axes[0], down[0], True))
        return (Pair(axes[0], contents[0]),)
    if len(axes) == len(contents) == 2:
        pairs = tuple(
            Pair(axis, content, _branch_of(headings[axis], headings[content]))
            for axis, content in zip(axes, contents, strict=True)
        )
        if sorted(str(pair.desorption) for pair in pairs) == ["False", "True"]:
            return pairs
    raise ValueError(
        f"the columns {names} leave open which hold the isotherm: keep one humidity and one "
        "content, or name the branches 'adsorption' and 'desorption'"
    )


def _branch_of(*headings: Heading) -> bool | None:
    named = {h.desorption for h in headings if h.desorption is not None}
    return named.pop() if len(named) == 1 else None


def _saturation(headings: Sequence[Heading], axis: Heading) -> int | None:
    candidates = [k for k, h in enumerate(headings) if h.quantity == "saturation"]
    if axis.quantity != "pressure" or not candidates:
        return None
    if len(candidates) > 1:
        raise ValueError(f"two columns of saturation pressures: '{headings[candidates[1]].text}'")
    return candidates[0]


def _is_wet_basis(text: str) -> bool:
    words = text.lower()
    return "wet basis" in words or "w.b." in words or "(wb)" in words

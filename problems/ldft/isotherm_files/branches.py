"""Branches of an isotherm: adsorption, and desorption from its turning point."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRIFT = 0.005
"""Largest step of the relative humidity against the direction of a branch."""
SPREAD = 0.05
"""Largest difference, relative to the maximum, of contents measured at one humidity."""


@dataclass(frozen=True)
class Branch:
    """One branch: humidity [n], strictly rising, and content [n]."""

    humidity: np.ndarray
    content: np.ndarray


@dataclass(frozen=True)
class Branches:
    """Both branches of an isotherm, and what was repaired."""

    adsorption: Branch
    desorption: Branch | None
    repairs: tuple[str, ...]


def split(
    humidity: np.ndarray,
    content: np.ndarray,
    desorption: np.ndarray | None,
    places: Sequence[str],
) -> Branches:
    """Split points [n] into branches, by their labels or at the largest humidity.

    Points at the same humidity, and points that step back by at most DRIFT, are averaged; their
    contents may differ by SPREAD of the maximum. A turning point that stands twice belongs to both
    branches. Desorption begins at the last point of adsorption.

    Raises ValueError, with the place of the point, where a branch turns back by more.
    """
    if desorption is None:
        up, down = _at_turning_point(humidity)
    else:
        up, down = np.flatnonzero(~desorption), np.flatnonzero(desorption)
        if not len(up):
            raise ValueError("the file names no point of the adsorption branch")
    rising = _merged(up, humidity, content, places)
    adsorption = rising.branch
    if not len(down):
        return Branches(adsorption, None, _sentences([("adsorption", rising)]))
    falling = _merged(down, humidity, content, places)
    after = falling.branch
    if adsorption.humidity[-1] > after.humidity[-1]:
        after = Branch(
            np.append(after.humidity, adsorption.humidity[-1]),
            np.append(after.content, adsorption.content[-1]),
        )
    return Branches(
        adsorption, after, _sentences([("adsorption", rising), ("desorption", falling)])
    )


def _at_turning_point(humidity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of rising and of falling points."""
    indices = np.arange(len(humidity))
    top = int(np.argmax(humidity))
    if humidity[top:].min() >= humidity[top] - DRIFT:
        return indices, indices[:0]
    return indices[: top + 1], indices[top + 1 :]


@dataclass(frozen=True)
class _Merged:
    """A branch whose steps back are averaged."""

    branch: Branch
    averaged: int  # points that were averaged
    largest_step: float  # back


def _merged(
    indices: np.ndarray, humidity: np.ndarray, content: np.ndarray, places: Sequence[str]
) -> _Merged:
    """Average neighbours until the humidities rise: pool adjacent violators."""
    if humidity[indices[-1]] < humidity[indices[0]]:
        indices = indices[::-1]
    groups: list[list[int]] = []
    largest_step = 0.0
    for index in indices.tolist():
        group = [index]
        while groups and humidity[groups[-1]].mean() >= humidity[group].mean():
            group = groups.pop() + group
        step = float(humidity[group].max() - humidity[index])
        if step > DRIFT:
            raise ValueError(
                f"{places[index]}: the relative humidity turns back by {step:.3g} (at most {DRIFT}"
                " is drift): humidities must change in one direction along each branch"
            )
        spread = np.ptp(content[group]) / content.max()
        if spread > SPREAD:
            raise ValueError(
                f"{places[index]}: the content differs by {100 * spread:.2g} % of the maximum from "
                "one at the same humidity before: humidities must change in one direction along "
                "each branch"
            )
        largest_step = max(largest_step, step)
        groups.append(group)
    branch = Branch(
        np.array([humidity[group].mean() for group in groups]),
        np.array([content[group].mean() for group in groups]),
    )
    averaged = sum(len(group) for group in groups if len(group) > 1)
    return _Merged(branch, averaged, largest_step)


def _sentences(merged: Sequence[tuple[str, _Merged]]) -> tuple[str, ...]:
    return tuple(
        f"{name}: {points.averaged} points averaged that repeat a humidity or step back by at most "
        f"{points.largest_step:.2g}"
        for name, points in merged
        if points.averaged
    )

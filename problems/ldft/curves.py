"""A user's own isotherm, read from a table."""

from pathlib import Path

import numpy as np
import pandas as pd


def read_isotherm(path: Path | str, points: int, desorption: bool) -> np.ndarray:
    """Read a measured isotherm and interpolate it to h = 1/points ... 1: [length].

    The table has a row per point: relative humidity, water content, with or without a header.
    Humidities are per cent if any exceeds 1; contents are divided by their maximum if it exceeds 1.
    For a hysteresis loop the rows rise in humidity and then fall.

    Raises ValueError if the table is not an isotherm.
    """
    table = pd.read_csv(path, header=None, comment="#", sep=None, engine="python")
    numbers = table.apply(pd.to_numeric, errors="coerce")
    if len(numbers) and numbers.iloc[0].isna().any():
        numbers = numbers.iloc[1:]  # a header
    if numbers.shape[1] != 2 or len(numbers) < 2 or numbers.isna().to_numpy().any():
        raise ValueError("expected two columns of numbers: relative humidity, water content")
    humidity, content = numbers.to_numpy(np.float64).T
    humidity = humidity / 100 if humidity.max() > 1 else humidity
    content = content / content.max() if content.max() > 1 else content
    if humidity.min() < 0 or humidity.max() > 1 or content.min() < 0:
        raise ValueError("humidity must lie in [0, 1] or [0, 100] %, water content must not be < 0")
    top = int(np.argmax(humidity))
    grid = np.arange(1, points + 1) / points
    up = _interpolate(humidity[: top + 1], content[: top + 1], grid)
    if not desorption:
        if top != len(humidity) - 1:
            raise ValueError("humidities must rise; a loop is for problem=ldft_hysteresis")
        return up
    if top == len(humidity) - 1:
        raise ValueError("a hysteresis loop needs rows of falling humidity after the rising ones")
    down = _interpolate(humidity[: top - 1 : -1] if top else humidity[::-1],
                        content[: top - 1 : -1] if top else content[::-1], grid)  # fmt: skip
    return np.concatenate([up, down[-2::-1], [0.0]])


def _interpolate(humidity: np.ndarray, content: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Interpolate linearly, with zero content at h = 0 if the table does not contain it."""
    if np.any(np.diff(humidity) <= 0):
        raise ValueError("humidities must change in one direction along each branch")
    if humidity[0] > 0:
        humidity, content = np.insert(humidity, 0, 0.0), np.insert(content, 0, 0.0)
    return np.interp(grid, humidity, content)

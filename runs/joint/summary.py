"""Table and figure of the comparison, from the numbers of every sample."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

COLOURS = ("#b0b0b0", "#777777", "#cc79a7", "#0072b2", "#009e73", "#e69f00")


def write_numbers(new: pd.DataFrame, path: Path) -> None:
    """Write the numbers of all samples; rows of other cases stay."""
    if path.is_file():
        old = read_numbers(path)
        new = pd.concat([old[~old["case"].isin(new["case"])], new])
    path.parent.mkdir(parents=True, exist_ok=True)
    new.to_csv(path, index=False, float_format="%.6g")


def read_numbers(path: Path) -> pd.DataFrame:
    """Return the numbers of all samples, of `methods.solve`."""
    return pd.read_csv(path)


def write(numbers: pd.DataFrame, folder: Path) -> None:
    """Write table.md and fractions.png."""
    text = table(numbers)
    (folder / "table.md").write_text(text + "\n", encoding="utf-8")
    draw(numbers).savefig(folder / "fractions.png")
    print(text)


def table(numbers: pd.DataFrame) -> str:
    """Return a table in Markdown: a row per case and method.

    better: fraction of samples whose loss is lower than that of the individual solve.
    """
    lines = [
        "| case | samples | method | solved | 95 % interval | median loss | mean loss | "
        "better than individual | evaluations a sample | seconds a sample |",
        "|" + " --- |" * 10,
    ]
    for case, of_case in numbers.groupby("case", sort=False):
        alone = of_case[of_case["method"] == "individual"].set_index("sample")["loss"]
        for method, rows in of_case.groupby("method", sort=False):
            loss, solved = rows.set_index("sample")["loss"], rows["solved"]
            low, high = interval(int(solved.sum()), len(solved))
            better = "" if method == "individual" else f"{np.mean(loss < alone):.0%}"
            cost = f"{rows['evaluations'].mean():.0f} | {rows['seconds'].mean():.2g}"
            lines.append(
                f"| {case} | {len(rows)} | {method} | {solved.mean():.0%} | {low:.0%} to {high:.0%}"
                f" | {loss.median():.3g} | {loss.mean():.3g} | {better} | {cost} |"
            )
    return "\n".join(lines)


def interval(successes: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's interval of a fraction.

    Source: E. B. Wilson, J. Am. Stat. Assoc. 22, 209 (1927).
    """
    p, scale = successes / count, 1 + z**2 / count
    centre = (p + z**2 / (2 * count)) / scale
    half = z / scale * np.sqrt(p * (1 - p) / count + z**2 / (4 * count**2))
    return float(centre - half), float(centre + half)


def draw(numbers: pd.DataFrame) -> Figure:
    """Draw the fraction of solved samples of every case and method, with its interval."""
    cases, methods = numbers["case"].unique(), numbers["method"].unique()
    figure = Figure(figsize=(1.9 * len(cases) + 0.8, 3.6), dpi=130, layout="constrained")
    axis = figure.subplots()
    width = 0.84 / len(methods)
    for k, (method, colour) in enumerate(zip(methods, COLOURS, strict=False)):
        places, values, errors = [], [], []
        for place, case in enumerate(cases):
            solved = numbers[(numbers["case"] == case) & (numbers["method"] == method)]["solved"]
            if solved.empty:  # not run
                continue
            low, high = interval(int(solved.sum()), len(solved))
            places.append(place + (k - (len(methods) - 1) / 2) * width)
            values.append(solved.mean())
            errors.append((solved.mean() - low, high - solved.mean()))
        bars = np.maximum(np.reshape(errors, (-1, 2)).T, 0)
        axis.bar(places, values, width, yerr=bars, color=colour, label=method, ecolor="#222222",
                 error_kw={"lw": 0.8})  # fmt: skip
    axis.set_xticks(range(len(cases)), cases, fontsize=8)
    axis.set_ylabel("fraction of samples solved")
    axis.set_ylim(0, 1.02)
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    return figure

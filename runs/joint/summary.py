"""Table and figure of the comparison, from the numbers of every sample."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

METHODS = {
    "individual": "#b0b0b0",
    "restarts": "#777777",
    "proxy": "#009e73",
    "joint": "#cc79a7",
    "joint + refine": "#0072b2",
    "network, other samples": "#e69f00",
}
"""Methods in the order of table and figure, with their colours."""


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
        for method in METHODS:
            rows = of_case[of_case["method"] == method]
            if rows.empty:
                reason = absence(of_case, method)
                lines.append(f"| {case} | {len(alone)} | {method} | {reason} |" + " |" * 6)
                continue
            loss, solved = rows.set_index("sample")["loss"], rows["solved"]
            low, high = interval(int(solved.sum()), len(solved))
            better = "" if method == "individual" else f"{np.mean(loss < alone):.0%}"
            cost = f"{rows['evaluations'].mean():.0f} | {rows['seconds'].mean():.2g}"
            starts = int(rows["starts"].iloc[0])
            name = f"best of {starts} starts" if method == "restarts" else method
            lines.append(
                f"| {case} | {len(rows)} | {name} | {solved.mean():.0%} | {low:.0%} to {high:.0%}"
                f" | {loss.median():.3g} | {loss.mean():.3g} | {better} | {cost} |"
            )
    return "\n".join(lines)


def absence(of_case: pd.DataFrame, method: str) -> str:
    """Return why a case has no numbers of a method."""
    complete = "network, other samples" in set(of_case["method"])  # the last method to be run
    return "one start" if complete and method in ("restarts", "proxy") else "not run"


def interval(successes: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's interval of a fraction.

    Source: E. B. Wilson, J. Am. Stat. Assoc. 22, 209 (1927).
    """
    p, scale = successes / count, 1 + z**2 / count
    centre = (p + z**2 / (2 * count)) / scale
    half = z / scale * np.sqrt(p * (1 - p) / count + z**2 / (4 * count**2))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def draw(numbers: pd.DataFrame) -> Figure:
    """Draw the fraction of solved samples of every case and method, with its interval."""
    cases = numbers["case"].unique()
    figure = Figure(figsize=(1.35 * len(cases) + 0.8, 3.8), dpi=110, layout="constrained")
    axis = figure.subplots()
    width = 0.84 / len(METHODS)
    for k, (method, colour) in enumerate(METHODS.items()):
        places, values, errors = [], [], []
        for number, case in enumerate(cases):
            place = number + (k - (len(METHODS) - 1) / 2) * width
            rows = numbers[(numbers["case"] == case) & (numbers["method"] == method)]
            solved = rows["solved"]
            if solved.empty:
                reason = absence(numbers[numbers["case"] == case], method)
                axis.text(place, 0.015, reason, rotation=90, ha="center", va="bottom",
                          fontsize=6, color=colour)  # fmt: skip
                continue
            low, high = interval(int(solved.sum()), len(solved))
            places.append(place)
            if method == "restarts":
                starts = int(rows["starts"].iloc[0])
                axis.text(place, solved.mean() / 2, f"{starts} starts", rotation=90, ha="center",
                          va="center", fontsize=6, color="white")  # fmt: skip
            values.append(solved.mean())
            errors.append((solved.mean() - low, high - solved.mean()))
        bars = np.maximum(np.reshape(errors, (-1, 2)).T, 0)
        name = "best of restarts" if method == "restarts" else method
        axis.bar(places, values, width, yerr=bars, color=colour, label=name, ecolor="#222222",
                 error_kw={"lw": 0.8})  # fmt: skip
    axis.set_xticks(range(len(cases)), [_label(case) for case in cases], fontsize=8)
    axis.set_xlim(-0.5, len(cases) - 0.5)
    axis.set_ylabel("fraction of samples solved")
    axis.set_ylim(0, 1.02)
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    return figure


def _label(case: str) -> str:
    """Return the name of a case in two lines: the problem, and the number of samples."""
    problem, _, samples = case.rpartition("_")
    return f"{problem}\n{samples} samples" if samples.isdigit() else case

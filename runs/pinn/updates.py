"""Updates until pinn_poisson reaches errors of 1e-4 and 1e-6, beside reference numbers.

The references were measured with independent programs (NumPy and SciPy around a compiled loss and
gradient) on the same 900 + 120 points and the same network, started from normal instead of uniform
weights. A count within a factor of 3 agrees; final errors scatter more.

    python runs/pinn/updates.py            # writes updates.md beside this file; about ten minutes
"""

import argparse
from pathlib import Path

import physopt

SEEDS = (0, 1, 2)
LEVELS = (1e-4, 1e-6)
STRIDE = 10

REFERENCES: dict[str, tuple[int, dict[float, tuple[int, ...]]]] = {
    "ssbroyden": (6000, {1e-4: (495, 485, 656), 1e-6: (1679, 2297, 2798)}),
    "levenberg_marquardt": (2000, {1e-4: (267, 192, 215), 1e-6: (1153, 1010, 722)}),
    "engd": (200, {1e-4: (61, 79, 53), 1e-6: (73, 79, 53)}),
    "hig": (2000, {1e-4: (116, 80, 104), 1e-6: (1521, 613, 774)}),
    "lbfgs": (6000, {1e-4: (2839, 1535, 2098)}),
}
"""{rule: (largest number of updates, {error: updates of three seeds})}."""


def updates(rule: str, steps: int, out: Path) -> list[dict[float, int | None]]:
    """Return the updates of each seed to each error, None if it is not reached."""
    counts = []
    for seed in SEEDS:
        run = physopt.run(
            "pinn_poisson", rule, seed=seed, steps=steps, log_every=STRIDE, stop_at_target=True,
            out=out,
        )  # fmt: skip
        curve = run.curve
        first = {level: curve.step[curve.relative_l2 <= level] for level in LEVELS}
        counts.append({k: int(s.iloc[0]) if len(s) else None for k, s in first.items()})
    return counts


def table(out: Path) -> str:
    """Return a table of the updates, their references and the ratio of the medians."""
    lines = [
        "| rule | error | updates, seeds 0 to 2 | reference | ratio of medians |",
        "| --- | --- | --- | --- | --- |",
    ]
    for rule, (steps, references) in REFERENCES.items():
        counts = updates(rule, steps, out)
        for level, reference in references.items():
            own = [count[level] for count in counts]
            shown = ", ".join("never" if n is None else str(n) for n in own)
            ratio = _median([steps if n is None else n for n in own]) / _median(list(reference))
            expected = ", ".join(map(str, reference))
            lines.append(f"| {rule} | {level:g} | {shown} | {expected} | {ratio:.2f} |")
    return "\n".join(lines) + "\n"


def _median(values: list[int]) -> int:
    return sorted(values)[len(values) // 2]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/results"), help="folder of the runs")
    text = table(parser.parse_args().out)
    note = f"Counted every {STRIDE} updates. Written by runs/pinn/updates.py.\n"
    Path(__file__).with_name("updates.md").write_text(f"{text}\n{note}", encoding="utf-8")
    print(text)

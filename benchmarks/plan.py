"""What `mpigd plan` predicts, beside what a fit then takes, on 1 and 2 ranks.

    ./run.sh setup && .venv/bin/python benchmarks/plan.py [SCALE]

The plan is made once, by one rank, from a short measurement; then the fits run. Data files are made with plain h5py in
a temporary directory, and are in memory when they are read. Writes benchmarks/plan.md. SCALE (default 1) multiplies
the numbers of rows.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from machine import describe

HERE = Path(__file__).resolve().parent
RUN = HERE.parent / "run.sh"
RANKS, REPEATS = (1, 2), 3
CASES = {
    "logistic, tall: 1,500,000 × 50 (600 MB)": (1_500_000, 50, ["--loss", "logistic"]),
    "logistic, wide: 50,000 × 1,000 (400 MB)": (50_000, 1_000, ["--loss", "logistic"]),
    "squared, wide: the same": (50_000, 1_000, ["--loss", "squared"]),
}
AT_ONCE = 1 << 22  # numbers


def make(path: Path, rows: int, columns: int) -> None:
    """Normal columns, and classes that they tell apart roughly."""
    rng = np.random.default_rng(0)
    direction = rng.standard_normal(columns) / columns**0.5
    with h5py.File(path, "w") as file:
        X, y = file.create_dataset("X", (rows, columns), "f8"), file.create_dataset("y", (rows,), "f8")
        step = max(AT_ONCE // columns, 1)
        for first in range(0, rows, step):
            some = rng.standard_normal((min(step, rows - first), columns))
            X[first : first + len(some)] = some
            y[first : first + len(some)] = some @ direction + rng.standard_normal(len(some)) > 0.0


def mpigd(ranks: int, directory: Path, *arguments: object) -> dict[str, Any]:
    """What a command prints with --json."""
    command = [str(RUN), "-n", str(ranks), *map(str, arguments), "--json"]
    done = subprocess.run(command, check=True, cwd=directory, capture_output=True, text=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def fitted(ranks: int, directory: Path, *arguments: object) -> dict[str, float]:
    """Medians of some fits, after one that may have to compile."""
    runs = [mpigd(ranks, directory, "train", *arguments, "--run-dir", "run") for _ in range(REPEATS + 1)][1:]
    keys = ("read_seconds", "compute_seconds", "comm_seconds", "seconds", "passes")
    return {key: statistics.median(run[key] for run in runs) for key in keys}


def rows_of(directory: Path, name: str, options: list[str]) -> Iterator[str]:
    """Rows of the table: one for each number of ranks."""
    plan = mpigd(1, directory, "plan", "data.h5", *options, "--ranks", RANKS[-1])
    forecasts = {some["ranks"]: some for some in plan["forecasts"]}
    for ranks in RANKS:
        foreseen, real = forecasts[ranks], fitted(ranks, directory, "data.h5", *options)
        pairs = (
            (foreseen["read_seconds"], real["read_seconds"]),
            (foreseen["passes"], real["passes"]),
            (foreseen["pass_seconds"], (real["seconds"] - real["read_seconds"]) / (real["passes"] + 1.0)),
            (foreseen["seconds"], real["seconds"]),
        )
        shown = (f"{a:.3g} / {b:.3g} = {a / b:.2f}" for a, b in pairs)
        yield f"| {name} | {plan['solver']} | {ranks} | {' | '.join(shown)} |"


def main(scale: float = 1.0) -> None:
    """Measure, print, write the table."""
    head = "| | solver | ranks | read, s | passes | a pass, s | in all, s |"
    lines = [head, "| --- " * 7 + "|"]
    print("\n".join(lines))
    with tempfile.TemporaryDirectory() as place:
        directory, made = Path(place), (0, 0)
        for name, (rows, columns, options) in CASES.items():
            if made != (rows, columns):
                make(directory / "data.h5", max(int(rows * scale), 1000), columns)
                os.sync()  # or the plan would be made while the file is on its way to the disk
                made = rows, columns
            for line in rows_of(directory, name, options):
                lines.append(line)
                print(line, flush=True)
    text = (
        "# Plans and fits\n\n"
        f"Machine: {describe()}. Predicted / measured = ratio. The plan was made once, by one rank; fits are medians "
        f"of {REPEATS}, the file being in memory. A pass is what a fit takes after reading, over its passes and the "
        "one that standardises; start-up is in neither. `benchmarks/plan.py` makes this table.\n\n"
    )
    (HERE / "plan.md").write_text(text + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))

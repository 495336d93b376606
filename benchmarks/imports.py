"""What a rank imports before a job begins, and what rank 0 imports beside it to parse and draw.

    ./run.sh setup
    .venv/bin/python benchmarks/imports.py [REPEATS]

Each import in a process of its own, files in the page cache; medians, less those of a process that imports nothing.
Prints a table and writes benchmarks/imports.md.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from machine import describe

HERE = Path(__file__).resolve().parent
WHAT = {
    "NumPy, h5py and mpi4py alone": "import numpy, h5py; from mpi4py import MPI",
    "any rank of `train`": "import mpigd.train",
    "any rank of `tune`": "import mpigd.tune",
    "any rank of `predict`": "import mpigd.predict",
    "rank 0 of `train`": "import mpigd.train, mpigd.arguments, mpigd.console",
    "Numba, which no rank imports once kernels are compiled": "import numba",
}


def seconds(code: str) -> float:
    """Of a process that runs it."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - begin


def main(repeats: int = 11) -> None:
    """Measure and write the table."""
    found: dict[str, list[float]] = {name: [] for name in WHAT}
    for turn in range(repeats + 1):
        nothing = seconds("pass")
        for name, code in WHAT.items():
            spent = seconds(code) - nothing
            if turn:  # the first one fills the page cache
                found[name].append(spent)
    lines = [
        "# Imports",
        "",
        f"{describe()}. Made by benchmarks/imports.py; medians of {repeats}.",
        "",
        "| | seconds |",
        "| --- | --- |",
        *(f"| {name} | {statistics.median(times):.2f} |" for name, times in found.items()),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    (HERE / "imports.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

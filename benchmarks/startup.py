"""What starting mpigd costs beside starting MPI, Numba and h5py alone.

    ./run.sh setup && .venv/bin/python benchmarks/startup.py [RANKS] [REPEATS]

Runs in pairs, one after the other: the main job on a warm cache, less the time that its two fits took by
their own record; and a program that only imports mpi4py.MPI, numba and h5py. Prints the median of the ratio
and writes benchmarks/startup.md.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
from machine import describe

HERE = Path(__file__).resolve().parent
RUN = HERE.parent / "run.sh"
IMPORTS = "from mpi4py import MPI; import numba, h5py"


def seconds(command: list[str], **options: object) -> float:
    """Wall time of a command that has to succeed."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    return time.perf_counter() - begin


def fit_seconds(run: Path) -> float:
    """What the fits of the main job took after the data had been read."""
    total = 0.0
    for model in run.glob("*/model.h5"):
        with h5py.File(model) as file:
            result = json.loads(file.attrs["result"])
        total += result["seconds"] - result["read_seconds"]
    return total


def main_job(ranks: int, **environment: str) -> float:
    """Start-up of the main job in seconds: all but its fits."""
    with tempfile.TemporaryDirectory() as directory:
        job = seconds([str(RUN), "-n", str(ranks)], cwd=directory, env={**os.environ, **environment})
        [run] = (Path(directory) / "runs").iterdir()
        return job - fit_seconds(run)


def cold(ranks: int) -> float:
    """The same with no kernel in the cache."""
    with tempfile.TemporaryDirectory() as directory:
        return main_job(ranks, MPIGD_CACHE_DIR=directory)


def pair(ranks: int) -> tuple[float, float]:
    """Start-up of the main job and of the imports alone, in seconds."""
    return main_job(ranks), seconds([str(RUN), "-n", str(ranks), "--python", "-c", IMPORTS])


def main(ranks: int = 8, repeats: int = 7) -> None:
    """Measure, print, write the table."""
    pair(ranks)  # the first fills the compile cache
    pairs = [pair(ranks) for _ in range(repeats)]
    job, imports = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratios = [a / b for a, b in pairs]
    compiling = statistics.median(cold(ranks) for _ in range(3))
    text = (
        f"# Start-up, {ranks} ranks\n\n"
        f"Machine: {describe()}. Medians of {repeats} pairs; seconds.\n\n"
        "| | seconds |\n| --- | --- |\n"
        f"| main job, less its fits, warm cache | {job:.2f} |\n"
        f"| `{IMPORTS}` | {imports:.2f} |\n"
        f"| ratio, median of pairs | {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |\n"
        f"| main job, less its fits, empty cache (median of 3) | {compiling:.2f} |\n"
    )
    print(text)
    (HERE / "startup.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

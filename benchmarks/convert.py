"""CSV to HDF5 beside reading the same CSV into memory, and beside pandas with h5py, and dask.

    ./run.sh setup && .venv/bin/pip install -e '.[convert]' pandas 'dask[dataframe]'
    .venv/bin/python benchmarks/convert.py [RANKS] [MEGABYTES] [REPEATS]

In turn, so that all see the same machine: `pyarrow.csv.read_csv` with as many threads as there are ranks, which stores
nothing; mpigd convert, its own seconds, from opening the file to the output on disk; the same into memory (/dev/shm);
pandas.read_csv with its default parser and h5py; dask's read_csv and to_hdf5, with as many threads. Prints medians and
writes benchmarks/convert.md.
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

import numpy as np
from machine import describe

HERE = Path(__file__).resolve().parent
RUN = HERE.parent / "run.sh"
COLUMNS = 20
READ = """
import sys, time, pyarrow, pyarrow.csv
pyarrow.set_cpu_count(int(sys.argv[2]))
begin = time.perf_counter()
pyarrow.csv.read_csv(sys.argv[1])
print(time.perf_counter() - begin)
"""
PANDAS = """
import sys, time, h5py, pandas
begin = time.perf_counter()
frame = pandas.read_csv(sys.argv[1])
with h5py.File(sys.argv[2], "w") as file:
    file["X"], file["y"] = frame.iloc[:, :-1].to_numpy(), frame.iloc[:, -1].to_numpy()
print(time.perf_counter() - begin)
"""
DASK = """
import sys, time, dask, dask.array, dask.dataframe
begin = time.perf_counter()
with dask.config.set(scheduler="threads", num_workers=int(sys.argv[3])):
    table = dask.dataframe.read_csv(sys.argv[1]).to_dask_array(lengths=True)
    dask.array.to_hdf5(sys.argv[2], {"/X": table[:, :-1], "/y": table[:, -1]})
print(time.perf_counter() - begin)
"""


def make(path: Path, megabytes: int) -> None:
    """Write a table of random doubles with all their digits."""
    from pyarrow import csv, table

    rng = np.random.default_rng(0)
    rows = megabytes * 1_000_000 // (COLUMNS * 20)
    csv.write_csv(table({f"c{j}": rng.standard_normal(rows) for j in range(COLUMNS)}), path)


def script(code: str, *arguments: object) -> float:
    """The seconds that a script prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def convert(source: Path, output: Path, ranks: int) -> float:
    """The seconds that a conversion took by its own clock."""
    command = [str(RUN), "-n", str(ranks), "convert", str(source), str(output), "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    output.unlink()
    return float(json.loads(done.stdout)["seconds"])


def main(ranks: int = 2, megabytes: int = 300, repeats: int = 7) -> None:
    """Measure, print, write the table."""
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory(dir=shared_memory()) as fast:
        source, output = Path(name, "table.csv"), Path(name, "table.h5")
        make(source, megabytes)
        size = source.stat().st_size / 1e6
        jobs = {
            f"pyarrow.csv.read_csv, {ranks} threads, nothing stored": lambda: script(READ, source, ranks),
            f"mpigd convert, {ranks} ranks, to disk": lambda: convert(source, output, ranks),
            f"mpigd convert, {ranks} ranks, to memory": lambda: convert(source, Path(fast, "table.h5"), ranks),
            "pandas.read_csv and h5py, to disk": lambda: script(PANDAS, source, output),
            f"dask, {ranks} threads, to disk": lambda: script(DASK, source, output, ranks),
        }
        seconds: dict[str, list[float]] = {job: [] for job in jobs}
        for _ in range(repeats):
            for job, run in jobs.items():
                seconds[job].append(run())
    first = next(iter(seconds.values()))
    lines = []
    for job, own in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(first, own, strict=True))
        middle = statistics.median(own)
        lines.append(
            f"| {job} | {middle:.2f} ({min(own):.2f} to {max(own):.2f}) | {size / middle:.0f} | {ratio:.2f} |\n"
        )
    text = (
        f"# CSV to HDF5\n\nMachine: {describe()}; load {os.getloadavg()[0]:.1f} when it ended.\n"
        f"{size:.0f} MB of doubles in {COLUMNS} columns, in the page cache. "
        f"Medians of {repeats} rounds (least to most).\n\n"
        "| | seconds | MB/s | speed beside the first, median of rounds |\n| --- | --- | --- | --- |\n" + "".join(lines)
    )
    print(text)
    (HERE / "convert.md").write_text(text, encoding="utf-8")


def shared_memory() -> str | None:
    """A directory in memory, where there is one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


if __name__ == "__main__":
    begin = time.perf_counter()
    main(*map(int, sys.argv[1:]))
    print(f"took {time.perf_counter() - begin:.0f} s")

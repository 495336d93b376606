"""A file that does not fit in the memory of its ranks, fitted: memory and time, beside merely reading it.

    ./run.sh setup
    .venv/bin/python benchmarks/streaming.py [GIBIBYTES] [MEMORY]

So that the page cache holds no more than a part of the file, the rest of the machine's memory is taken by a process
that does nothing else. Reading is by as many processes as there are ranks, each its half, once more than is timed.
Prints a table and writes benchmarks/streaming.md. Takes about ten minutes.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import h5py
from machine import describe

HERE = Path(__file__).resolve().parent
RUN, RANKS, COLUMNS = HERE.parent / "run.sh", 2, 28
LEFT = 2 << 30  # bytes of memory that the page cache and the rest of the system have


def hold(amount: int, ready: Any) -> None:
    """Take memory and keep it."""
    held = bytearray(amount)
    for place in range(0, amount, 4096):
        held[place] = 1
    ready.set()
    threading.Event().wait()


def read(path: Path, offset: int, length: int, barrier: Any, seconds: Any) -> None:
    """Read a part of a file, 32 MiB at a time."""
    buffer, file = bytearray(32 << 20), os.open(path, os.O_RDONLY)
    os.posix_fadvise(file, offset, length, os.POSIX_FADV_SEQUENTIAL)
    barrier.wait()
    begin, done = time.perf_counter(), 0
    while done < length:
        done += os.preadv(file, [memoryview(buffer)[: min(len(buffer), length - done)]], offset + done)
    seconds.put(time.perf_counter() - begin)


def reading(path: Path) -> float:
    """Seconds until all processes have read their parts of X."""
    with h5py.File(path) as file:
        offset, size = file["X"].id.get_offset(), file["X"].id.get_storage_size()
    barrier, seconds = multiprocessing.Barrier(RANKS), multiprocessing.Queue()
    part = size // RANKS
    readers = [
        multiprocessing.Process(target=read, args=(path, offset + k * part, part, barrier, seconds))
        for k in range(RANKS)
    ]
    for reader in readers:
        reader.start()
    found = [seconds.get() for _ in readers]
    for reader in readers:
        reader.join()
    return max(found)


def fit(path: Path, memory: str, run: Path) -> tuple[dict[str, Any], float]:
    """A fit, and the most memory that a rank has held."""
    command = [str(RUN), "-n", str(RANKS), "train", str(path), "--loss", "logistic", "--l2", "1e-4"]
    command += ["--memory", memory, "--run-dir", str(run), "--json"]
    job = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    peak: dict[str, int] = {}
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.2):
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    if str(run) in (process / "cmdline").read_text() and "mpigd" in (process / "cmdline").read_text():
                        status = (process / "status").read_text()
                        peak[process.name] = int(status.split("VmHWM:")[1].split()[0]) << 10
                except (OSError, IndexError):
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    out, _ = job.communicate()
    stop.set()
    watcher.join()
    return json.loads(out), max(peak.values()) / 2**30


def main(gibibytes: float = 12.0, memory: str = "1GiB") -> None:
    """Measure, print, write the table."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        path = Path(scratch) / "data.h5"
        rows = int(gibibytes * 2**30) // (4 * COLUMNS)
        small = path.with_name("small.h5")
        for out, count in ((small, 1_000_000), (path, rows)):
            make = [str(RUN), "-n", str(RANKS), "generate", str(out), "--rows", str(count), "--columns", str(COLUMNS)]
            subprocess.run([*make, "--dtype", "float32", "--loss", "logistic"], check=True, stdout=subprocess.DEVNULL)
        fit(small, "256MiB", Path(scratch) / "small")  # kernels are compiled
        os.sync()
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        ready = multiprocessing.Event()
        amount = total - LEFT - RANKS * (5 << 28)
        ballast = multiprocessing.Process(target=hold, args=(amount, ready), daemon=True)
        ballast.start()
        ready.wait()
        reading(path)
        once = statistics.median(reading(path) for _ in range(2))
        told, peak = fit(path, memory, Path(scratch) / "run")
        again = reading(path)
        ballast.terminate()
        passes = told["passes"] + told["setup_passes"]
        mean = (once + again) / 2.0
        # Reading itself is a pass, and columns are measured in another.
        reads = passes + 2.0
        lines = [
            "# Streaming",
            "",
            f"Machine: {describe()}. {gibibytes:g} GiB, {rows:,} × {COLUMNS} float32, {RANKS} ranks, "
            f"--memory {memory}; {amount / 2**30:.1f} GiB of memory were taken by another process.",
            "",
            "| | |",
            "| --- | --- |",
            f"| merely reading the file once | {once:.1f} s before the fit, {again:.1f} s after it |",
            f"| fit, {told['solver']}, {told['passes']:g} passes, and two to read and measure columns | "
            f"{told['seconds']:.1f} s |",
            f"| fit / (reading × {reads:g}) | {told['seconds'] / (mean * reads):.2f} |",
            f"| most memory of a rank | {peak:.2f} GiB |",
        ]
        print("\n".join(lines))
        (HERE / "streaming.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]), *sys.argv[2:3])

"""How things are timed on several ranks: in turn, between barriers, several times, medians of ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import mpigd_kernels as kernels
import numpy as np

from mpigd.comm import Comm

MEGABYTES = 400  # of a slice, at least
REPEATS = 7
ROWS, BLOCK = 64, 4096  # of a tile, of a block


class Table:
    """Rows of a table, printed on rank 0 as they come."""

    def __init__(self, comm: Comm, title: str, *head: str) -> None:
        self._comm = comm
        self.lines = [f"## {title}", "", f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
        self._show(*self.lines)

    def add(self, *cells: object) -> None:
        """One row; floats with two decimals."""
        shown = [f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in cells]
        self.lines.append(f"| {' | '.join(shown)} |")
        self._show(self.lines[-1])

    def _show(self, *lines: str) -> None:
        if self._comm.rank == 0:
            print("\n".join(lines), flush=True)


def timed(comm: Comm, action: Callable[[], object]) -> float:
    """Seconds until the last rank has done it."""
    comm.leave()
    begin = time.perf_counter()
    action()
    return float(comm.max(np.array([time.perf_counter() - begin]))[0])


def compare(comm: Comm, *actions: Callable[[], object], repeats: int = REPEATS) -> list[float]:
    """Median seconds of the first action, then the median ratio of each to the first."""
    for action in actions:
        action()
    times = [[timed(comm, action) for action in actions] for _ in range(repeats)]
    ratios = [statistics.median(t[i] / t[0] for t in times) for i in range(1, len(actions))]
    return [statistics.median(t[0] for t in times), *ratios]


def make_slice(
    comm: Comm,
    dtype: str,
    d: int,
    work: str = "float64",
    threads: int = 1,
    outputs: int = 1,
    megabytes: float = MEGABYTES,
) -> kernels.DenseSlice:
    """A slice of `megabytes` of random numbers, in whole blocks; y are 0 and 1, or class numbers."""
    rng = np.random.default_rng(comm.rank)
    count = max(int(megabytes * 10**6) // (np.dtype(dtype).itemsize * d * ROWS) // ROWS, 1) * ROWS
    tiles = kernels.aligned((count, d, ROWS), dtype)
    some = rng.random(1 << 20) if tiles.dtype.kind == "f" else rng.integers(0, 100, 1 << 20)
    flat, some = tiles.reshape(-1), some.astype(dtype)
    for start in range(0, len(flat), len(some)):
        flat[start : start + len(some)] = some[: len(flat) - start]
    y = rng.integers(0, max(outputs, 2), (count, 1, ROWS)).astype(np.float32)
    none = np.zeros((0, 1, ROWS), np.float32)
    return kernels.DenseSlice(count * ROWS, BLOCK, y, none, none, kernels.Computing(np.dtype(work), threads), tiles)

"""A full gradient pass beside merely reading the same bytes, and beside numpy's two products.

    ./run.sh -n 1 --python benchmarks/kernels.py
    ./run.sh -n 2 --python benchmarks/kernels.py

Every rank has its own slice of at least MEGABYTES; the three are timed in turn, between barriers, several
times; figures are medians of the times and of the ratios. Prints a table and writes
benchmarks/kernels-N.md, N being the number of ranks.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import mpigd_kernels as kernels
import numba
import numpy as np
from machine import describe

from mpigd.comm import Comm

MEGABYTES = 400
REPEATS = 7
COLUMNS = (13, 28, 64, 128, 512, 2000)
# The losses that are measured, and how numpy computes their derivative.
NUMPY_RESIDUAL: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "squared": lambda eta, y: eta - y,
    "huber": lambda eta, y: np.clip(eta - y, -1.0, 1.0),
    "logistic": lambda eta, y: 1 / (1 + np.exp(-eta)) - y,
    "poisson": lambda eta, y: np.exp(eta) - y,
}
DTYPES = (np.float32, np.float64)


@numba.njit(fastmath=True)
def read(flat: np.ndarray) -> float:
    """Sum everything with as many accumulators as the compiler likes: the fastest way to read it."""
    total = flat.dtype.type(0)
    for i in range(flat.shape[0]):
        total += flat[i]
    return total


def timed(comm: Comm, action: Callable[[], object]) -> float:
    """Seconds until the last rank has done it."""
    comm.leave()
    begin = time.perf_counter()
    action()
    return float(comm.max(np.array([time.perf_counter() - begin]))[0])


def measure(comm: Comm, loss: kernels.Loss, dtype: type, d: int) -> tuple[float, float, float]:
    """Median seconds of a read; median ratios of the pass to the read, and of numpy's products to the pass."""
    rng = np.random.default_rng(comm.rank)
    rows = kernels.tile_rows(4096)
    count = MEGABYTES * 10**6 // (np.dtype(dtype).itemsize * d * rows)
    tiles = rng.random((count, d, rows), dtype=dtype)
    n = count * rows
    y = rng.integers(0, 2, (count, rows)).astype(float)
    none = np.zeros((0, rows))
    coef, intercept = rng.standard_normal((d, 1)) / d, np.zeros(1)
    scratch, lanes = (np.empty(shape) for shape in kernels.work_shapes(d, 1, rows))
    gradient, sums = np.empty((d + 1, 1)), np.empty(2)
    X, theta, target = tiles.reshape(n, d), coef[:, 0].astype(dtype), y.reshape(-1).astype(dtype)

    def gradient_pass() -> None:
        kernels.value_gradient(
            loss.tile, 1.0, 1.0, tiles, n, y, none, none, coef, intercept, scratch, lanes, gradient, sums
        )

    def numpy_products() -> None:
        X.T @ NUMPY_RESIDUAL[loss.name](X @ theta, target)

    actions = (lambda: read(tiles.reshape(-1)), gradient_pass, numpy_products)
    for action in actions:
        action()
    times = [[timed(comm, action) for action in actions] for _ in range(REPEATS)]
    return (
        statistics.median(t[0] for t in times),
        statistics.median(t[1] / t[0] for t in times),
        statistics.median(t[2] / t[1] for t in times),
    )


def main() -> None:
    """Measure all, print on rank 0, write the table."""
    comm = Comm.world()
    lines = [
        f"# Kernels, {comm.size} rank(s)",
        "",
        f"Machine: {describe()}. At least {MEGABYTES} MB a rank, medians of {REPEATS} rounds.",
        "",
        "| loss | type | columns | read, GB/s a rank | pass / read | numpy's products / pass |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in NUMPY_RESIDUAL:
        for dtype in DTYPES:
            for d in COLUMNS:
                seconds, ratio, against_numpy = measure(comm, kernels.LOSSES[name], dtype, d)
                rate = MEGABYTES / 1e3 / seconds
                lines.append(f"| {name} | {np.dtype(dtype)} | {d} | {rate:.1f} | {ratio:.2f} | {against_numpy:.1f} |")
                if comm.rank == 0:
                    print(lines[-1], file=sys.stderr, flush=True)
    if comm.rank == 0:
        text = "\n".join(lines) + "\n"
        print(text)
        (Path(__file__).parent / f"kernels-{comm.size}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

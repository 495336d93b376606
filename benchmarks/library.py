"""Kernels of libmpigd beside those that are compiled when they are wanted: how fast they are, and what a start saves.

    cmake -B build && cmake --build build && .venv/bin/python benchmarks/library.py [LIBRARY] [REPEATS]

Kernels run in a process of each kind in turn, on the same rows, which fit no cache. Prints and writes
benchmarks/library.md.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mpigd_kernels as kernels
import numpy as np
from machine import describe

HERE = Path(__file__).resolve().parent
LIBRARY = HERE.parent / "build" / "libmpigd" / "libmpigd_kernels.so.1"
BYTES = 1 << 27  # of X
TURNS = 7  # of a kernel in a process
FIT = ("-m", "mpigd", "train", str(HERE.parent / "data" / "breast_cancer.h5"), "--loss", "logistic", "--quiet")


def dense(kind: str, d: int, loss: str, outputs: int = 1) -> tuple[kernels.DenseSlice, kernels.At]:
    """Rows of random numbers, and where a loss is evaluated."""
    n = BYTES // (d * np.dtype(kind).itemsize) // 4096 * 4096
    rng = np.random.default_rng(0)
    some = rng.integers(-3, 4, (64, d, 64)).astype(kind)
    tiles = kernels.aligned((n // 64, d, 64), kind)
    for start in range(0, len(tiles), 64):
        tiles[start : start + 64] = some[: len(tiles) - start]
    none = np.zeros((0, 1, 64))
    y = rng.integers(0, max(outputs, 2), (n // 64, 1, 64)).astype(float)
    rows = kernels.DenseSlice(n, 4096, y, none, none, kernels.Computing(), tiles=tiles)
    return rows, kernels.At(kernels.LOSSES[loss], 0.01 * rng.standard_normal((d, outputs)), np.zeros(outputs))


def sparse(d: int, stored: int) -> tuple[kernels.SparseSlice, kernels.At]:
    """Sparse rows of so many numbers each."""
    n, rng = BYTES // (12 * stored) // 4096 * 4096, np.random.default_rng(0)
    values, columns = rng.standard_normal(n * stored), rng.integers(0, d, n * stored).astype(np.int32)
    none, starts = np.zeros((0, 1, 64)), np.arange(0, n * stored + 1, stored)
    y = rng.integers(0, 2, (n // 64, 1, 64)).astype(float)
    fields = {"values": values, "columns": columns, "starts": starts, "columns_count": d}
    rows = kernels.SparseSlice(n, 4096, y, none, none, kernels.Computing(), **fields)
    return rows, kernels.At(kernels.LOSSES["logistic"], 0.01 * rng.standard_normal((d, 1)), np.zeros(1))


def cases() -> Iterator[tuple[str, Callable[[], object]]]:
    """What is measured: a name, and one pass."""
    for kind, d in (("float32", 28), ("float32", 1000), ("float64", 28), ("float16", 28), ("int8", 28), ("uint8", 28)):
        rows, at = dense(kind, d, "logistic")
        yield f"gradient, logistic, {kind}, {d} columns", lambda rows=rows, at=at: rows.value_gradient(at)
    for loss in ("squared", "probit", "poisson"):
        rows, at = dense("float32", 28, loss)
        yield f"gradient, {loss}, float32, 28 columns", lambda rows=rows, at=at: rows.value_gradient(at)
    rows, at = dense("float32", 784, "softmax", 10)
    yield "gradient, softmax of 10, float32, 784 columns", lambda: rows.value_gradient(at)
    rows2, at2 = dense("float32", 28, "logistic")
    direction = np.ones((28, 1))
    yield "Hessian, logistic, float32, 28 columns", lambda: rows2.second_order(at2)
    yield "Hessian product, logistic, float32, 28 columns", lambda: rows2.hessian_product(at2, direction, np.ones(1))
    yield "predictor, float32, 28 columns", lambda: rows2.linear_predictor(at2.coef, at2.intercept)
    yield "moments of columns, float32, 28 columns", lambda: rows2.column_moments(np.zeros(28))
    rows3, at3 = sparse(10_000, 50)
    yield "gradient, logistic, sparse, 50 of 10000 columns", lambda: rows3.value_gradient(at3)


def measure() -> dict[str, float]:
    """Seconds of a pass, the least of several."""
    found = {}
    for name, work in cases():
        work()
        seconds = []
        for _ in range(TURNS):
            begin = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - begin)
        found[name] = min(seconds)
    return found


def apart(library: str) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "measure"]
    done = subprocess.run(command, env={**os.environ, "MPIGD_KERNELS": library}, stdout=subprocess.PIPE, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def start(**variables: str) -> float:
    """Wall time of a small fit, all of the process."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        subprocess.run(
            [sys.executable, *FIT], env={**os.environ, **variables}, cwd=folder, stdout=subprocess.DEVNULL, check=True
        )
        return time.perf_counter() - begin


def cold(**variables: str) -> float:
    """The same with no kernel in the cache."""
    with tempfile.TemporaryDirectory() as cache:
        return start(MPIGD_CACHE_DIR=cache, **variables)


def main(library: Path = LIBRARY, repeats: int = 3) -> None:
    """Measure, print, write the table."""
    library = library.resolve()
    jit, aot = [], []
    for _ in range(repeats):
        jit.append(apart("jit"))
        aot.append(apart(str(library)))
    lines = []
    for name in jit[0]:
        one, other = (min(each[name] for each in found) for found in (jit, aot))
        lines.append(f"| {name} | {1e3 * one:.1f} | {1e3 * other:.1f} | {one / other:.2f} |")
    start(MPIGD_KERNELS="jit")
    starts = {
        "compiled when wanted, empty cache": [cold(MPIGD_KERNELS="jit") for _ in range(3)],
        "compiled when wanted, in the cache": [start(MPIGD_KERNELS="jit") for _ in range(9)],
        "libmpigd_kernels, empty cache": [cold(MPIGD_KERNELS=str(library)) for _ in range(9)],
    }
    text = (
        "# Kernels ahead of time\n\n"
        f"Machine: {describe()}. `benchmarks/library.py`.\n\n"
        f"One pass over {BYTES >> 20} MiB of rows, milliseconds, least of {TURNS * repeats} in {repeats} processes "
        "of each kind, in turn; one thread, all arithmetic in double precision.\n\n"
        "| kernel | compiled when wanted | libmpigd_kernels | its speed |\n| --- | --- | --- | --- |\n"
        + "\n".join(lines)
        + "\n\nA fit of 569 rows in one process, from its start to its end; medians.\n\n"
        "| kernels | seconds |\n| --- | --- |\n"
        + "\n".join(f"| {name} | {statistics.median(found):.2f} |" for name, found in starts.items())
        + "\n"
    )
    print(text)
    (HERE / "library.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["measure"]:
        print(json.dumps(measure()))
    else:
        main(*(Path(value) for value in sys.argv[1:2]), *map(int, sys.argv[2:3]))

"""Operations on slices beside merely reading the same bytes, and beside what numpy and scipy take.

    ./run.sh setup && .venv/bin/pip install matplotlib
    ./run.sh -n 1 --python benchmarks/kernels.py [losses operations columns sparse memory]
    ./run.sh -n 2 --python benchmarks/kernels.py

Every rank has its own slice of at least MEGABYTES. What is compared is timed in turn, between barriers, several
times; figures are medians of the ratios. Prints tables and writes benchmarks/kernels-N.md and a roofline picture
kernels-N.svg, N being the number of ranks. With names of parts only those are measured, and only printed.
"""

from __future__ import annotations

import statistics
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import mpigd_kernels as kernels
import numba
import numpy as np
from machine import describe
from measure import MEGABYTES, REPEATS, ROWS, Table, compare, make_slice
from scipy import sparse

from mpigd.comm import Comm
from mpigd.storage import block_rows

COLUMNS = (13, 28, 64, 128, 512, 2000)
DTYPES = ("float32", "float64", "float16", "uint8")
MAIN = ("squared", "logistic", "poisson", "huber")
SCALAR = [name for name, loss in kernels.LOSSES.items() if not loss.coupled]
MOST = 64 << 20  # bytes that a pass may take beside the slice


@numba.njit(fastmath=True, nogil=True)
def read(flat: np.ndarray) -> float:
    """Sum everything with as many accumulators as the compiler likes: the fastest way to read it."""
    total = flat.dtype.type(0)
    for i in range(flat.shape[0]):
        total += flat[i]
    return total


def point(loss: kernels.Loss, d: int, outputs: int = 1) -> kernels.At:
    """Small coefficients, so that eta is about as large as in a fit."""
    parameter = loss.parameter.default if loss.parameter else 0.0
    return kernels.At(
        loss, np.random.default_rng(0).standard_normal((d, outputs)) / d, np.zeros(outputs), parameter, 0.1
    )


def as_words(tiles: np.ndarray) -> np.ndarray:
    """The bytes of tiles in a type that numba sums at the speed of memory."""
    flat = tiles.reshape(-1)
    return flat if flat.itemsize >= 4 else flat[: len(flat) // 8 * 8].view(np.int64)


def numpy_products(tiles: np.ndarray, outputs: int) -> Callable[[], np.ndarray]:
    """What numpy would do with as many numbers: X' (X theta), without the loss between."""
    X = tiles.reshape(-1, tiles.shape[1])
    theta = np.ones((X.shape[1], outputs), X.dtype)
    theta = theta if outputs > 1 else theta[:, 0]
    return lambda: X.T @ (X @ theta)


def losses(comm: Comm, roofline: list[tuple[str, int, float, float]]) -> Iterator[Table]:
    """The gradient of every loss in every type; of float32 and float64 beside numpy's products."""
    for dtype in DTYPES:
        table = Table(
            comm,
            f"Value and gradient, {dtype} columns, float64 arithmetic: pass / read",
            "columns",
            "read, GB/s a rank",
            "numpy's two products / squared",
            *SCALAR,
        )
        for d in COLUMNS:
            rows = make_slice(comm, dtype, d)
            words, seconds, ratios = as_words(rows.tiles), [], []
            against: float | str = "-"
            for name in SCALAR:
                gradient = partial(rows.value_gradient, point(kernels.LOSSES[name], d))
                found = compare(comm, partial(read, words), gradient)
                seconds.append(found[0])
                ratios.append(found[1])
                rate = 4 * rows.n * d / (found[0] * found[1]) / 1e9
                roofline.append((f"{name} {dtype}", d, 4 / rows.tiles.itemsize, rate))
                if name == "squared" and dtype in ("float32", "float64"):
                    against = compare(comm, gradient, numpy_products(rows.tiles, 1))[1]
            table.add(d, rows.tiles.nbytes / statistics.median(seconds) / 1e9, against, *ratios)
        yield table


def operations(comm: Comm) -> Iterator[Table]:
    """Other operations, other ways of computing."""
    table = Table(
        comm,
        "Operations on float32 columns, logistic: pass / read",
        *("columns", "value", "gradient", "gradient, curvature kept", "Hessian product, kept", "anew"),
        *("X'SX with value and gradient", "predictor", "row norms", "moments"),
    )
    logistic = kernels.LOSSES["logistic"]
    for d in (28, 128, 512):
        rows, at = make_slice(comm, "float32", d), point(logistic, d)
        kept, zero = rows.curvature(1), np.zeros(d)
        table.add(
            d,
            *compare(
                comm,
                partial(read, as_words(rows.tiles)),
                partial(rows.value, at),
                partial(rows.value_gradient, at),
                partial(rows.value_gradient, at, kept),
                partial(rows.hessian_product, at, at.coef, at.intercept, kept),
                partial(rows.hessian_product, at, at.coef, at.intercept),
                partial(rows.second_order, at),
                partial(rows.linear_predictor, at.coef, at.intercept),
                partial(rows.largest_row_norm, zero, zero + 1.0),
                partial(rows.column_moments, zero),
            )[1:],
        )
    yield table
    table = Table(
        comm,
        "Value and gradient, float32 columns, float32 arithmetic and threads: pass / read",
        *("columns", *MAIN, "numpy's two products / squared", "squared, 2 threads / 1 thread"),
    )
    for d in COLUMNS:
        rows = make_slice(comm, "float32", d, "float32")
        some = [partial(rows.value_gradient, point(kernels.LOSSES[n], d)) for n in MAIN]
        ratios = compare(comm, partial(read, as_words(rows.tiles)), *some)[1:]
        against = compare(comm, some[0], numpy_products(rows.tiles, 1))[1]
        rows = make_slice(comm, "float32", d)
        both = make_slice(comm, "float32", d, threads=2)
        squared = point(kernels.LOSSES["squared"], d)
        threads = compare(comm, partial(rows.value_gradient, squared), partial(both.value_gradient, squared))[1]
        table.add(d, *ratios, against, threads)
    yield table


def product_rate(comm: Comm) -> float:
    """Gflop/s of numpy's float32 matrix product, of one rank while all work."""
    a, b = np.ones((2000, 2000), np.float32), np.ones((2000, 2000), np.float32)
    return 2 * 2000**3 / compare(comm, partial(np.matmul, a, b))[0] / 1e9


def columns(comm: Comm) -> Iterator[Table]:
    """Softmax, and several outputs, beside the rate of a matrix product."""
    peak = product_rate(comm)
    table = Table(
        comm,
        f"Several columns of theta, 784 columns of float32; numpy's float32 product does {peak:.0f} Gflop/s a rank",
        *("loss", "K", "arithmetic", "Gflop/s a rank", "part of the product's", "pass / read"),
        "numpy's two products / pass",
    )
    for name, outputs in (("softmax", 10), ("squared", 4), ("squared", 16)):
        for work in ("float64", "float32"):
            rows = make_slice(comm, "float32", 784, work, outputs=outputs)
            at = point(kernels.LOSSES[name], 784, outputs)
            seconds, ratio = compare(comm, partial(read, as_words(rows.tiles)), partial(rows.value_gradient, at))
            rate = 4 * rows.n * 784 * outputs / (seconds * ratio) / 1e9
            against = compare(comm, partial(rows.value_gradient, at), numpy_products(rows.tiles, outputs))[1]
            table.add(name, outputs, work, f"{rate:.0f}", rate / peak, ratio, against)
    yield table


def sparse_rows(comm: Comm) -> Iterator[Table]:
    """Sparse rows beside scipy.sparse's two products, of the same types."""
    table = Table(
        comm,
        "Sparse rows: value and gradient of logistic loss",
        *("numbers a row", "columns", "types", "pass / read of numbers and indices", "scipy's two products / pass"),
    )
    for each, d in ((10, 100_000), (75, 10_000), (75, 100_000)):
        for dtype, index in (("float32", "int32"), ("float64", "int64")):
            rng = np.random.default_rng(comm.rank)
            width = np.dtype(dtype).itemsize + np.dtype(index).itemsize
            n = MEGABYTES * 10**6 // (width * each) // 4096 * 4096
            place = rng.integers(0, d // each, (n, each), dtype=index) + np.arange(each, dtype=index) * (d // each)
            values = rng.random(n * each).astype(dtype)
            starts = np.arange(n + 1, dtype=np.int64) * each
            y = rng.integers(0, 2, (n // ROWS, 1, ROWS)).astype(np.float32)
            none = np.zeros((0, 1, ROWS), np.float32)
            block = block_rows(n, d, n * each)
            rows = kernels.SparseSlice(
                n, block, y, none, none, kernels.Computing(), values, place.reshape(-1), starts, d
            )
            X = sparse.csr_array((values, place.reshape(-1), starts.astype(index)), (n, d))
            w = np.ones(d, dtype)

            def both(X: Any = X, w: np.ndarray = w) -> np.ndarray:
                product: np.ndarray = X.T @ (X @ w)
                return product

            def read_both(values: np.ndarray = values, place: np.ndarray = place) -> None:
                read(values)
                read(place.reshape(-1))

            gradient = partial(rows.value_gradient, point(kernels.LOSSES["logistic"], d))
            ratio = compare(comm, read_both, gradient)[1]
            table.add(each, d, f"{dtype}, {index}", ratio, compare(comm, gradient, both)[1])
    yield table


def memory(comm: Comm) -> Iterator[Table]:
    """What passes take beside the slice: the most that numpy holds at any time meanwhile."""
    table = Table(comm, "Memory beside the slice, MB", "columns", "logistic", "softmax, K = 10", "X'SX")
    for d in (28, 2000):
        cells = []
        for name, outputs in (("logistic", 1), ("softmax", 10), ("X'SX", 1)):
            rows = make_slice(comm, "float32", d, outputs=outputs)
            at = point(kernels.LOSSES["logistic" if outputs == 1 else "softmax"], d, outputs)
            operation = rows.second_order if name == "X'SX" else rows.value_gradient
            operation(at)  # the first may compile
            tracemalloc.start()
            operation(at)
            more = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            cells.append(more / 1e6)
            if more > MOST:
                print(f"{name} at {d} columns takes {more / 1e6:.0f} MB beside the slice", file=sys.stderr)
        table.add(d, *cells)
    yield table


def draw(path: Path, found: list[tuple[str, int, float, float]], bandwidth: float, peak: float) -> None:
    """The roofline picture (S. Williams, A. Waterman, D. Patterson, CACM 52, 2009, p. 65) of all gradients."""
    from matplotlib.figure import Figure

    figure = Figure((8, 5), layout="constrained")
    axes = figure.add_subplot()
    intensity = np.array([0.2, 64.0])
    axes.loglog(intensity, np.minimum(intensity * bandwidth, peak), color="black", label="limits of this machine")
    for dtype, marker in zip(DTYPES, "osd^", strict=True):
        for name, color in zip(MAIN, ("C0", "C1", "C2", "C3"), strict=True):
            points = [(x * (1 + 0.02 * i), rate) for i, (n, _, x, rate) in enumerate(found) if n == f"{name} {dtype}"]
            shown = [rate for _, rate in points]
            x = 4 / np.dtype(dtype).itemsize
            axes.plot([x] * len(shown), shown, marker, color=color, alpha=0.6, label=f"{name}, {dtype}")
    axes.set_xlabel("arithmetic of the two products, flop for a byte of X")
    axes.set_ylabel("Gflop/s a rank")
    axes.set_title(f"Value and gradient, {min(COLUMNS)} to {max(COLUMNS)} columns")
    axes.legend(fontsize="x-small", ncols=2)
    axes.grid(visible=True, which="both", alpha=0.2)
    figure.savefig(path)


def main() -> None:
    """Measure, print on rank 0, write the tables and the picture."""
    comm = Comm.world()
    roofline: list[tuple[str, int, float, float]] = []
    parts: dict[str, Callable[[], Iterator[Table]]] = {
        "losses": lambda: losses(comm, roofline),
        "operations": lambda: operations(comm),
        "columns": lambda: columns(comm),
        "sparse": lambda: sparse_rows(comm),
        "memory": lambda: memory(comm),
    }
    chosen = sys.argv[1:] or ["memory", *(part for part in parts if part != "memory")]
    tables = [table for part in chosen for table in parts[part]()]
    rows = make_slice(comm, "float32", 128)
    bandwidth = rows.tiles.nbytes / compare(comm, partial(read, as_words(rows.tiles)))[0] / 1e9
    peak = product_rate(comm)
    if comm.rank > 0 or sys.argv[1:]:
        return
    head = (
        f"# Kernels, {comm.size} rank(s)\n\nMachine: {describe()}. At least {MEGABYTES} MB a rank, medians of "
        f"{REPEATS} rounds. Read is a vectorised sum of the same bytes in the same round, on all ranks at once.\n\n"
        f"![roofline](kernels-{comm.size}.svg)\n\n"
    )
    here = Path(__file__).parent
    text = head + "\n\n".join("\n".join(table.lines) for table in tables) + "\n"
    (here / f"kernels-{comm.size}.md").write_text(text, encoding="utf-8")
    draw(here / f"kernels-{comm.size}.svg", roofline, bandwidth, peak)


if __name__ == "__main__":
    main()

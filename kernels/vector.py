"""Lanes for kernels: one cache line of numbers at a time, explicitly, so that no order of additions ever changes.

Lanes are eight doubles or sixteen floats, as the working array that an operation is given says. LLVM maps them to
whatever registers a processor has (two of 256 bits, four of 128), lane by lane: so results do not depend on the
width of the hardware, nor on what an optimiser would dare to reorder. Stored types are widened as they are loaded.

In Python, without Numba, the same functions work on numpy arrays.
"""

from __future__ import annotations

import ctypes
import math
import os
from functools import cache
from typing import Any

import numpy as np


@cache
def processor() -> tuple[str, str]:
    """Name and features, as LLVM writes them, of the processor that kernels are compiled for.

    It is the one that runs them, or as NUMBA_CPU_NAME and NUMBA_CPU_FEATURES say, as for Numba. Results are the same.
    """
    import llvmlite.binding as llvm

    name = os.environ.get("NUMBA_CPU_NAME") or "host"
    features = "" if name != "host" else str(llvm.get_host_cpu_features().flatten())
    features = os.environ.get("NUMBA_CPU_FEATURES", features)
    if "+avx512f" in features:  # one set of lanes in one register: LLVM would take two of 256 bits on some processors
        features += ",-prefer-256-bit"
    return (llvm.get_host_cpu_name() if name == "host" else name), features


def converts_half_floats() -> bool:
    """Whether the processor has instructions for half floats."""
    import llvmlite.binding as llvm

    return "+f16c" in processor()[1] or not llvm.get_process_triple().startswith("x86_64")


LINE = 64  # bytes of a cache line, and of one set of lanes
AHEAD = 4096  # bytes: how far before its use a cache line is asked for; measured with benchmarks/kernels.py
# Sets of lanes that stay in registers while others are multiplied, and of how many outputs at most. No sum depends on
# it: it says only which sums are formed side by side. These are for 16 registers of half a line; where kernels are
# compiled, those of the processor take their place.
ACCUMULATORS = OUTPUTS = 6


def room() -> dict[str, int]:
    """ACCUMULATORS and OUTPUTS for the processor that kernels are compiled for; it may have 32 registers of a line."""
    accumulators = 24 if "+avx512f" in processor()[1] else ACCUMULATORS
    return {"ACCUMULATORS": accumulators, "OUTPUTS": min(accumulators, 12)}


def address_of(array: np.ndarray) -> int:
    """Where the memory of an array begins; four times as fast as asking the array."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array.data))
    except (TypeError, ValueError):  # read-only, or empty
        return int(array.ctypes.data)


def aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """A new array whose first element begins a cache line, as every set of lanes in it then does; not initialised.

    numpy aligns to 16 bytes; loads that straddle two lines cost a kernel a third of its speed in cache.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + LINE, np.uint8)
    start = -address_of(memory) % LINE
    return np.ndarray(shape, dtype, memory.data, start)


def lanes_of(work: Any) -> int:
    """How many numbers of the working array's type make one set of lanes: 8 or 16."""
    return LINE // int(work.itemsize)


def load(array: Any, j: int, i: int, work: Any) -> Any:
    """Elements array[j, i …] of a C-contiguous (n, m) array as lanes of the type of `work`; no bounds are checked."""
    return array[j, i : i + lanes_of(work)].astype(work.dtype)


def store(array: Any, j: int, i: int, value: Any) -> None:
    """Write lanes to array[j, i …], an array of their own type."""
    array[j, i : i + len(value)] = value


def side_of(array: Any) -> int:
    """Rows and columns of the squares in which `turn` takes numbers of the array's type."""
    return min(LINE // int(array.itemsize), 16)


def turn(rows: Any, i: int, j: int, to: Any, k: int, lane: int, total: Any) -> Any:
    """Copy a square of rows (n, d), from row i and column j on, to rows k … of to (m, lanes), from a lane on, turned.

    Of tiles (T, d, lanes) the rows are numbered through. What is written may go past the cache, see `publish`. Returns
    total, eight doubles: no numbers any more if some of the square are not finite.
    """
    side = side_of(rows)
    square = rows[i : i + side, j : j + side]
    to.reshape(-1, to.shape[-1])[k : k + side, lane : lane + side] = square.T
    return total if np.isfinite(square).all() else np.full(8, np.nan)


def publish() -> None:
    """Have other threads see what was written past the cache."""


def accumulate(array: Any, j: int, i: int, value: Any) -> None:
    """Add lanes to array[j, i …], float64."""
    array[j, i : i + len(value)] += value


def splat(value: float, work: Any) -> Any:
    """The same number in all lanes."""
    return np.full(lanes_of(work), value, work.dtype)


def fma(a: float, b: float, c: float) -> float:
    """Compute a * b + c, rounded once; in Python a stand-in that rounds twice."""
    return a * b + c


def fma_lanes(a: Any, b: Any, c: Any) -> Any:
    """Compute a * b + c, lane by lane, each rounded once; in Python a stand-in that rounds twice."""
    return a * b + c


def sum_lanes(value: Any) -> float:
    """The sum of the lanes in double precision, in a fixed order: halves are added until one is left."""
    value = np.asarray(value, np.float64)
    while len(value) > 1:
        half = len(value) // 2
        value = value[:half] + value[half:]
    return float(value[0])


def prefetch(array: Any, j: int, i: int, work: Any, distance: int) -> None:
    """Ask for the cache lines of two sets of lanes `distance` bytes after array[j, i]; they need not exist."""


def load_some(array: Any, m: int, count: int, work: Any) -> Any:
    """Elements array[m : m + count] of an array (n,) as lanes of the type of `work`, the rest zero."""
    value = np.zeros(lanes_of(work), work.dtype)
    value[:count] = array[m : m + count]
    return value


def gather_some(table: Any, k: int, index: Any, m: int, count: int) -> Any:
    """Elements table[index[m : m + count], k] of a C-contiguous (n, K) array as lanes of its type, the rest zero."""
    value = np.zeros(lanes_of(table), table.dtype)
    value[:count] = table[index[m : m + count], k]
    return value


def scatter_add(table: Any, k: int, index: Any, m: int, value: Any) -> None:
    """Add lanes to table[index[m …], k] one after the other."""
    for i, v in enumerate(value):
        table[index[m + i], k] += v


def add_combinations(
    x: Any, first: int, last: int, coef: Any, k: int, count: int, eta: Any, ahead: Any, row: int, halves: int
) -> None:
    """Add columns first … last - 1 of x (d, rows), times coef (d, P), to `count` outputs from k on of eta (P, rows).

    count : at most OUTPUTS; they meet the rows of as many sets of lanes as there are registers for. Every sum goes
    through the columns in turn. With k = 0 memory is asked for on the way: from row `row` of the tiles `ahead` on, as
    many halves of these columns, in the order of addresses.
    """
    eta[k : k + count] += coef[first:last, k : k + count].T @ x[first:last].astype(eta.dtype)


def add_inner_products(x: Any, j: int, right: Any, k: int, count: int, products: Any) -> None:
    """Add columns from j on of x times `count` outputs from k on of right, over all their rows, to products (d, K).

    x (T, d, rows), right (T K, rows) : tiles.  products : float64.
    count : at most OUTPUTS; they meet ACCUMULATORS // count columns, or fewer where x ends. Lanes run across rows.
    Every sum goes through the rows of a lane in turn and then through the lanes in the order of `sum_lanes`, in the
    type of right; it is widened as it leaves.
    """
    outputs, columns = products.shape[1], slice(j, j + ACCUMULATORS // count)
    for t, tile in enumerate(x):
        some = right[t * outputs + k : t * outputs + k + count]
        products[columns, k : k + count] += tile[columns].astype(right.dtype) @ some.T

"""Compile kernels, or load them from the cache, before ranks depend on them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from mpigd_kernels.gradient import linear_predictor, value_gradient
from mpigd_kernels.losses import SQUARED
from mpigd_kernels.moments import column_moments, largest_row_norm
from mpigd_kernels.tiles import LANES, fill_tiles, gather_rows
from numba.core.registry import cpu_target


def start_compiler() -> None:
    """Load Numba's tables of types and functions, which its first call to any kernel needs (0.3 s)."""
    cpu_target.typing_context.refresh()
    cpu_target.target_context.refresh()


def compile_kernels(dtype: np.dtype, names: Iterable[str]) -> None:
    """Call the named kernels once on an empty slice of the given dtype (float32 or float64).

    The first process on a machine compiles them and writes Numba's on-disk cache; later ones load it.
    """
    tiles = np.zeros((0, 1, LANES), dtype)
    rows = np.zeros((0, LANES))
    picked = np.zeros(0, np.int64)
    coef, intercept, scratch = np.zeros((1, 1)), np.zeros(1), np.zeros((2, LANES))
    gradient, sums, column, lanes = np.zeros((2, 1)), np.zeros(2), np.zeros(1), np.zeros(LANES)
    calls = {
        "fill_tiles": lambda: fill_tiles(np.zeros((0, 1), dtype), 0, tiles),
        "gather_rows": lambda: gather_rows(tiles, rows, rows, rows, picked, tiles.copy(), rows, rows, rows),
        "value_gradient": lambda: value_gradient(
            SQUARED, tiles, 0, rows, rows, rows, coef, intercept, scratch, gradient, sums
        ),
        "linear_predictor": lambda: linear_predictor(tiles, 0, rows, coef, intercept, scratch[:1], np.zeros((0, 1))),
        "column_moments": lambda: column_moments(tiles, 0, rows, column, column.copy(), column.copy(), column.copy()),
        "largest_row_norm": lambda: largest_row_norm(tiles, 0, rows, column, column, lanes),
    }
    for name in names:
        calls[name]()

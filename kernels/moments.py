"""Sums over rows that standardisation and step sizes need."""

from __future__ import annotations

import numpy as np
from mpigd_kernels.native import Floats1, Floats2, Tiles, kernel


@kernel
def column_moments(
    tiles: Tiles, n: int, weight: Floats2, shift: Floats1, total: Floats1, first: Floats1, second: Floats1
) -> None:
    """Weighted sums of (x - shift) and (x - shift)^2 of each column.

    shift (d,) : the point about which the sums are taken.
    total (1,), first (d,), second (d,) : receive sum w, sum w (x - shift), sum w (x - shift)^2.
    """
    count, d, rows = tiles.shape
    total[0] = 0.0
    first[:] = 0.0
    second[:] = 0.0
    for t in range(count):
        real = min(rows, n - t * rows)
        for i in range(real):
            total[0] += weight[t, i] if weight.shape[0] else 1.0
        for j in range(d):
            a, b = 0.0, 0.0
            for i in range(real):
                w = weight[t, i] if weight.shape[0] else 1.0
                x = np.float64(tiles[t, j, i]) - shift[j]
                a += w * x
                b += w * x * x
            first[j] += a
            second[j] += b


@kernel
def largest_row_norm(
    tiles: Tiles, n: int, weight: Floats2, mean: Floats1, scale: Floats1, scratch: Floats1, largest: Floats1
) -> None:
    """Largest squared norm of (x - mean) / scale over the n rows of positive weight; 0 for no rows.

    mean, scale (d,) : float64.  scratch (rows,) : float64, overwritten.  largest (1,) : receives the result.
    """
    count, d, rows = tiles.shape
    largest[0] = 0.0
    for t in range(count):
        scratch[:] = 0.0
        for j in range(d):
            for i in range(rows):
                z = (np.float64(tiles[t, j, i]) - mean[j]) / scale[j]
                scratch[i] += z * z
        for i in range(min(rows, n - t * rows)):
            if weight.shape[0] == 0 or weight[t, i] > 0.0:
                largest[0] = max(largest[0], scratch[i])

"""Sums over rows that standardisation and step sizes need."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, error_model="numpy")
def column_moments(tiles, n, weight, shift, total, first, second):
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


@njit(cache=True, error_model="numpy")
def largest_row_norm(tiles, n, weight, mean, scale, scratch):
    """Largest squared norm of (x - mean) / scale over the n rows of positive weight; 0 for no rows.

    mean, scale (d,) : float64.  scratch (rows,) : float64, overwritten.
    """
    count, d, rows = tiles.shape
    largest = 0.0
    for t in range(count):
        scratch[:] = 0.0
        for j in range(d):
            for i in range(rows):
                z = (np.float64(tiles[t, j, i]) - mean[j]) / scale[j]
                scratch[i] += z * z
        for i in range(min(rows, n - t * rows)):
            if weight.shape[0] == 0 or weight[t, i] > 0.0:
                largest = max(largest, scratch[i])
    return largest

"""Value and gradient of the data term in one read of X.

Both halves of the work, eta = X coef and gradient = X' residual, run over the same tile while it is in
cache.
"""

from __future__ import annotations

import numpy as np
from mpigd_kernels.losses import SOFTMAX, SQUARED, logistic, softmax, squared
from mpigd_kernels.native import Floats1, Floats2, Tiles, inline, kernel


@inline
def tile_predictor(tiles, t, offset, coef, intercept, eta):
    """eta[k, i] = intercept[k] + offset[t, i] + sum_j tiles[t, j, i] coef[j, k], columns in order.

    A row's sum is a fixed sequence over columns, so its bits do not depend on the vector width.
    """
    _, d, rows = tiles.shape
    for k in range(eta.shape[0]):
        for i in range(rows):
            eta[k, i] = intercept[k]
        if offset.shape[0]:
            for i in range(rows):
                eta[k, i] += offset[t, i]
    for j in range(d):
        for k in range(eta.shape[0]):
            c = coef[j, k]
            for i in range(rows):
                eta[k, i] += np.float64(tiles[t, j, i]) * c


@inline
def column_dot(x, r):
    """Sum of x[i] r[i] in four fixed lanes, for a length that is a multiple of four."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    for i in range(0, r.shape[0], 4):
        a += np.float64(x[i]) * r[i]
        b += np.float64(x[i + 1]) * r[i + 1]
        c += np.float64(x[i + 2]) * r[i + 2]
        d += np.float64(x[i + 3]) * r[i + 3]
    return (a + c) + (b + d)


@inline
def tile_loss(code, eta, y, value):
    """Loss of every row of a tile into value; eta (K, rows) becomes its derivative."""
    if code == SOFTMAX:
        softmax(eta, y, value)
        return
    row = eta[0]
    if code == SQUARED:
        for i in range(row.shape[0]):
            v, first, _ = squared(row[i], y[i])
            value[i] = v
            row[i] = first
    else:
        for i in range(row.shape[0]):
            v, first, _ = logistic(row[i], y[i])
            value[i] = v
            row[i] = first


@kernel
def value_gradient(
    code: int,
    tiles: Tiles,
    n: int,
    y: Floats2,
    weight: Floats2,
    offset: Floats2,
    coef: Floats2,
    intercept: Floats1,
    scratch: Floats2,
    gradient: Floats2,
    sums: Floats1,
) -> None:
    """Add up the weighted loss of n rows and its gradient.

    code : integer code of the loss.
    tiles, n, y, weight, offset : a tiled slice, see the package's docstring.
    coef (d, K), intercept (K,) : float64, on the scale of the stored columns.
    scratch (K + 1, rows) : float64, overwritten.
    gradient (d + 1, K) : receives sum_i w_i dloss_i / d(coef); its last row that of the intercept.
    sums (2,) : receives sum_i w_i loss_i and sum_i w_i.
    """
    count, d, rows = tiles.shape
    outputs = coef.shape[1]
    eta, value = scratch[:outputs], scratch[outputs]
    gradient[:] = 0.0
    sums[:] = 0.0
    for t in range(count):
        tile_predictor(tiles, t, offset, coef, intercept, eta)
        tile_loss(code, eta, y[t], value)
        real = min(rows, n - t * rows)
        total = 0.0
        for i in range(rows):
            w = 0.0
            if i < real:
                w = weight[t, i] if weight.shape[0] else 1.0
            # A row of weight zero contributes nothing even where its loss is not finite.
            total += w * value[i] if w != 0.0 else 0.0
            sums[1] += w
            for k in range(outputs):
                eta[k, i] = w * eta[k, i] if w != 0.0 else 0.0
        sums[0] += total
        for j in range(d):
            for k in range(outputs):
                gradient[j, k] += column_dot(tiles[t, j], eta[k])
        for k in range(outputs):
            for i in range(rows):
                gradient[d, k] += eta[k, i]


@kernel
def linear_predictor(
    tiles: Tiles, n: int, offset: Floats2, coef: Floats2, intercept: Floats1, scratch: Floats2, out: Floats2
) -> None:
    """Write eta of n rows to out (n, K), float64; arguments as in `value_gradient`, scratch (K, rows)."""
    count, _, rows = tiles.shape
    for t in range(count):
        tile_predictor(tiles, t, offset, coef, intercept, scratch)
        for i in range(min(rows, n - t * rows)):
            for k in range(out.shape[1]):
                out[t * rows + i, k] = scratch[k, i]

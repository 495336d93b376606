"""Value and gradient of the data term in one read of X.

Two halves share each tile: eta = X coef, and gradient = X' residual, between which the loss stands. They are
pipelined: while the gradient of one tile is added up from the cache, the predictor of the next is computed
as it comes from memory, so that arithmetic and memory traffic overlap. Without that a pass takes the sum of both.
"""

from __future__ import annotations

from mpigd_kernels.native import Floats1, Floats2, Function, Tiles, inline, kernel
from mpigd_kernels.vector import fma8, load8, prefetch16, splat8, store8, sum8


@inline
def tile_step(tiles, t, following, coef, intercept, offset, residual, eta, lanes):
    """Add X' residual of tile t to lanes, and put the linear predictor of tile `following` into eta.

    residual, eta : (K, rows).  lanes ((d + 1) K [+ …], 8) : partial sums; row j K + k is that of coef[j, k].

    A row's predictor is a fixed sequence over columns, and a lane's sum one over rows: neither depends on the
    vector width of the processor.
    """
    _, d, rows = tiles.shape
    outputs = residual.shape[0]
    x, ahead = tiles[t], tiles[following]
    pairs = d // 2 * 2
    for k in range(outputs):
        start = splat8(intercept[k])
        total = load8(lanes, d * outputs + k, 0)
        one = splat8(1.0)
        for i in range(0, rows, 8):
            store8(eta, k, i, start)
            total = fma8(load8(residual, k, i), one, total)
        store8(lanes, d * outputs + k, 0, total)
        if offset.shape[0]:
            for i in range(0, rows, 8):
                store8(eta, k, i, fma8(load8(offset, following, i), one, start))
    for j in range(0, pairs, 2):
        for k in range(outputs):
            c0, c1 = splat8(coef[j, k]), splat8(coef[j + 1, k])
            g0, g1 = load8(lanes, j * outputs + k, 0), load8(lanes, (j + 1) * outputs + k, 0)
            for i in range(0, rows, 16):
                if k == 0:
                    prefetch16(ahead, j, i)
                    prefetch16(ahead, j + 1, i)
                r = load8(residual, k, i)
                e = load8(eta, k, i)
                e = fma8(load8(ahead, j, i), c0, e)
                e = fma8(load8(ahead, j + 1, i), c1, e)
                store8(eta, k, i, e)
                g0 = fma8(load8(x, j, i), r, g0)
                g1 = fma8(load8(x, j + 1, i), r, g1)
                r = load8(residual, k, i + 8)
                e = load8(eta, k, i + 8)
                e = fma8(load8(ahead, j, i + 8), c0, e)
                e = fma8(load8(ahead, j + 1, i + 8), c1, e)
                store8(eta, k, i + 8, e)
                g0 = fma8(load8(x, j, i + 8), r, g0)
                g1 = fma8(load8(x, j + 1, i + 8), r, g1)
            store8(lanes, j * outputs + k, 0, g0)
            store8(lanes, (j + 1) * outputs + k, 0, g1)
    for j in range(pairs, d):
        for k in range(outputs):
            c0 = splat8(coef[j, k])
            g0 = load8(lanes, j * outputs + k, 0)
            for i in range(0, rows, 8):
                store8(eta, k, i, fma8(load8(ahead, j, i), c0, load8(eta, k, i)))
                g0 = fma8(load8(x, j, i), load8(residual, k, i), g0)
            store8(lanes, j * outputs + k, 0, g0)


@kernel
def value_gradient(
    loss: Function,
    parameter: float,
    smoothing: float,
    tiles: Tiles,
    n: int,
    y: Floats2,
    weight: Floats2,
    offset: Floats2,
    coef: Floats2,
    intercept: Floats1,
    scratch: Floats2,
    lanes: Floats2,
    gradient: Floats2,
    sums: Floats1,
) -> None:
    """Add up the weighted loss of n rows and its gradient.

    loss, parameter, smoothing : `Loss.tile`, and the numbers that it is called with.
    tiles, n, y, weight, offset : a tiled slice, see the package's docstring.
    coef (d, K), intercept (K,) : float64, on the scale of the stored columns.
    scratch (2 K + 2, rows), lanes ((d + 1) K + 2, 8) : float64, overwritten; see `work_shapes`.
    gradient (d + 1, K) : receives sum_i w_i dloss_i / d(coef); its last row that of the intercept.
    sums (2,) : receives sum_i w_i loss_i and sum_i w_i.
    """
    count, d, rows = tiles.shape
    outputs = coef.shape[1]
    eta, residual = scratch[:outputs], scratch[outputs : 2 * outputs]
    value, weights = scratch[2 * outputs], scratch[2 * outputs + 1]
    zero, one = splat8(0.0), splat8(1.0)
    for row in range(lanes.shape[0]):
        store8(lanes, row, 0, zero)
    residual[:] = 0.0
    unweighted = 0
    value_lanes, weight_lanes = (d + 1) * outputs, (d + 1) * outputs + 1
    if count:  # the predictor of the first tile; a residual of zero adds nothing
        tile_step(tiles, 0, 0, coef, intercept, offset, residual, eta, lanes)
    for t in range(count):
        loss(eta, y[t], value, residual, parameter, smoothing)
        real = min(rows, n - t * rows)
        if real < rows or weight.shape[0]:
            for i in range(rows):
                weights[i] = (weight[t, i] if weight.shape[0] else 1.0) if i < real else 0.0
            # A row of weight zero contributes nothing even where its loss is not finite.
            for i in range(rows):
                value[i] = weights[i] * value[i] if weights[i] != 0.0 else 0.0
            for k in range(outputs):
                for i in range(rows):
                    residual[k, i] = weights[i] * residual[k, i] if weights[i] != 0.0 else 0.0
            w = load8(lanes, weight_lanes, 0)
            for i in range(0, rows, 8):
                w = fma8(load8(scratch, 2 * outputs + 1, i), one, w)
            store8(lanes, weight_lanes, 0, w)
        else:
            unweighted += rows
        v = load8(lanes, value_lanes, 0)
        for i in range(0, rows, 8):
            v = fma8(load8(scratch, 2 * outputs, i), one, v)
        store8(lanes, value_lanes, 0, v)
        tile_step(tiles, t, min(t + 1, count - 1), coef, intercept, offset, residual, eta, lanes)
    for j in range(d + 1):
        for k in range(outputs):
            gradient[j, k] = sum8(load8(lanes, j * outputs + k, 0))
    sums[0] = sum8(load8(lanes, value_lanes, 0))
    sums[1] = sum8(load8(lanes, weight_lanes, 0)) + unweighted


@kernel
def linear_predictor(
    tiles: Tiles, n: int, offset: Floats2, coef: Floats2, intercept: Floats1, scratch: Floats2, out: Floats2
) -> None:
    """Write eta of n rows to out (n, K), float64; arguments as in `value_gradient`, scratch (K, rows)."""
    count, d, rows = tiles.shape
    outputs = coef.shape[1]
    for t in range(count):
        x = tiles[t]
        for k in range(outputs):
            for i in range(0, rows, 8):
                e = splat8(intercept[k])
                if offset.shape[0]:
                    e = fma8(load8(offset, t, i), splat8(1.0), e)
                for j in range(d):
                    e = fma8(load8(x, j, i), splat8(coef[j, k]), e)
                store8(scratch, k, i, e)
        for i in range(min(rows, n - t * rows)):
            for k in range(outputs):
                out[t * rows + i, k] = scratch[k, i]


def work_shapes(d: int, outputs: int, rows: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Shapes of the scratch and lanes that `value_gradient` needs."""
    return (2 * outputs + 2, rows), ((d + 1) * outputs + 2, 8)

"""Operations on dense tiles, each in one read of X: eta = X coef, then a stage between, then X' residual.

The stage is a function of one tile, `(eta, y, kept, value, residual, parameter, smoothing)`: a loss with its
derivatives, or a Hessian-vector product (see `losses`). Both halves run over a tile while it is in the cache.

With one predictor and one residual the halves are pipelined: while the second half of one tile is added up from the
cache, the first half of the next is computed as it comes from memory, so that arithmetic and memory traffic overlap;
without that a pass takes the sum of both. With several columns arithmetic outweighs memory, and what counts is that
a loaded number meets several columns while it is in a register.
"""

from __future__ import annotations

from mpigd_kernels.exact import add
from mpigd_kernels.native import (
    Column2,
    Floats1,
    Floats2,
    Integers2,
    Lanes2,
    PerRow,
    Tiles,
    Work1,
    Work2,
    Scratch2,
    Scratch3,
    called,
    kernel,
    run_stage,
)
from mpigd_kernels.vector import AHEAD, accumulate, fma_lanes, lanes_of, load, prefetch, splat, store, sum_lanes

HEAD = 16  # columns of the next tile that are asked for before the stage of the present one
GROUP_BYTES = 1 << 18  # of tiles and scratch that a group of tiles takes: half of a usual second-level cache


@called
def start_predictors(offset, t, intercept, outputs, eta):
    """Set eta (P, rows) of tile t to intercept, plus offset in the first K; what follows them is a direction."""
    for k in range(eta.shape[0]):
        start = splat(intercept[k], eta)
        for i in range(0, eta.shape[1], lanes_of(eta)):
            e = start
            if offset.shape[0] and k < outputs:
                e = fma_lanes(load(offset[t], 0, i, eta), splat(1.0, eta), e)
            store(eta, k, i, e)


@called
def add_predictors(x, coef, eta):
    """Add x' coef to eta (P, rows), x being a tile (d, rows); four columns of coef (d, P) at a time."""
    d, outputs = coef.shape
    for i in range(0, eta.shape[1], lanes_of(eta)):
        k = 0
        while k < outputs:
            if outputs - k == 1:
                e0 = load(eta, k, i, eta)
                for j in range(d):
                    prefetch(x, j, i, eta, AHEAD)
                    e0 = fma_lanes(load(x, j, i, eta), splat(coef[j, k], eta), e0)
                store(eta, k, i, e0)
            else:
                # Beyond the last column it is taken again, which changes nothing.
                k1, k2, k3 = min(k + 1, outputs - 1), min(k + 2, outputs - 1), min(k + 3, outputs - 1)
                e0, e1 = load(eta, k, i, eta), load(eta, k1, i, eta)
                e2, e3 = load(eta, k2, i, eta), load(eta, k3, i, eta)
                for j in range(d):
                    v = load(x, j, i, eta)
                    e0 = fma_lanes(v, splat(coef[j, k], eta), e0)
                    e1 = fma_lanes(v, splat(coef[j, k1], eta), e1)
                    e2 = fma_lanes(v, splat(coef[j, k2], eta), e2)
                    e3 = fma_lanes(v, splat(coef[j, k3], eta), e3)
                store(eta, k, i, e0)
                store(eta, k1, i, e1)
                store(eta, k2, i, e2)
                store(eta, k3, i, e3)
            k += 4


@called
def add_products(tiles, first, count, right, symmetric, out):
    """Add to out[j, k] the sums over rows of tiles[first + g][j] * right[g][k], g < count.

    right : (count, K, rows), of the working type.  symmetric : whether k < j may be left out.
    Two columns of each side at a time; the lanes of a pair are summed once for all the tiles.
    """
    d, outputs = tiles.shape[1], right.shape[1]
    width = lanes_of(right)
    for j in range(0, d, 2):
        j1 = min(j + 1, d - 1)
        for k in range(j if symmetric else 0, outputs, 2):
            k1 = min(k + 1, outputs - 1)
            s00, s01, s10, s11 = splat(0.0, right), splat(0.0, right), splat(0.0, right), splat(0.0, right)
            for g in range(count):
                x, r = tiles[first + g], right[g]
                for i in range(0, right.shape[2], width):
                    a0, a1 = load(x, j, i, right), load(x, j1, i, right)
                    b0, b1 = load(r, k, i, right), load(r, k1, i, right)
                    s00 = fma_lanes(a0, b0, s00)
                    s01 = fma_lanes(a0, b1, s01)
                    s10 = fma_lanes(a1, b0, s10)
                    s11 = fma_lanes(a1, b1, s11)
            out[j, k] += sum_lanes(s00)
            if k1 > k:
                out[j, k1] += sum_lanes(s01)
            if j1 > j:
                out[j1, k] += sum_lanes(s10)
            if j1 > j and k1 > k:
                out[j1, k1] += sum_lanes(s11)


@called
def pipelined(x, ahead, coef, residual, eta, lanes):
    """Add x' residual to lanes (d, lanes) and ahead' coef to eta: both halves at once, of two tiles (d, rows).

    residual, eta : (1, rows).  Two columns at a time; for an odd number the last one meets itself, times zero.
    """
    d = x.shape[0]
    for j in range(0, d, 2):
        j1 = min(j + 1, d - 1)
        c0 = splat(coef[j, 0], eta)
        c1 = splat(coef[j1, 0] if j1 > j else eta.dtype.type(0.0), eta)
        g0, g1 = splat(0.0, eta), splat(0.0, eta)
        for i in range(0, eta.shape[1], lanes_of(eta)):
            prefetch(ahead, j, 2 * i, eta, AHEAD)
            r = load(residual, 0, i, eta)
            e = load(eta, 0, i, eta)
            e = fma_lanes(load(ahead, j, i, eta), c0, e)
            e = fma_lanes(load(ahead, j1, i, eta), c1, e)
            store(eta, 0, i, e)
            g0 = fma_lanes(load(x, j, i, eta), r, g0)
            g1 = fma_lanes(load(x, j1, i, eta), r, g1)
        accumulate(lanes, j, g0)
        if j1 > j:
            accumulate(lanes, j1, g1)


@called
def sum_rows(values, lanes, row):
    """Add the rows of values (K, rows) to lanes row … row + K - 1."""
    for k in range(values.shape[0]):
        total = splat(0.0, values)
        for i in range(0, values.shape[1], lanes_of(values)):
            total = fma_lanes(load(values, k, i, values), splat(1.0, values), total)
        accumulate(lanes, row + k, total)


@called
def weigh(weight, t, real, weights, values):
    """Multiply values (K, rows) of tile t by the rows' weights; those of weight zero become zero whatever they are.

    weight : as stored, (tiles, 1 or K, rows), or none.  real : rows of the tile that are not padding.
    weights : (K, rows) receives them in the working type, zero for padding.
    """
    rows = weights.shape[1]
    for k in range(weights.shape[0]):
        for i in range(rows):
            w = weights.dtype.type(1.0)
            if weight.shape[0]:
                w = weights.dtype.type(weight[t, min(k, weight.shape[1] - 1), i])
            weights[k, i] = w if i < real else weights.dtype.type(0.0)
    for k in range(values.shape[0]):
        w = weights[k % weights.shape[0]]
        for i in range(rows):
            values[k, i] = w[i] * values[k, i] if w[i] != 0.0 else weights.dtype.type(0.0)


@called
def finish_tile(weight, t, real, weights, value, residual, kept, lanes, row):
    """Weigh what the stage has left of a tile; add its sums to lanes `row` and on.

    They are those of residual (K of them), value (K), and of the weights.
    """
    outputs = value.shape[0]
    if real < value.shape[1] or weight.shape[0]:
        weigh(weight, t, real, weights, value)
        weigh(weight, t, real, weights, residual)
        weigh(weight, t, real, weights, kept)
        sum_rows(weights, lanes, row + 2 * outputs)
    else:
        for k in range(weights.shape[0]):
            lanes[row + 2 * outputs + k, 0] += real
    sum_rows(residual, lanes, row)
    sum_rows(value, lanes, row + outputs)


@called
def total_of(lanes, row):
    """The sum of one row of lanes, float64, in a fixed order."""
    total = load(lanes, row, 0, lanes)
    for i in range(lanes_of(lanes), lanes.shape[1], lanes_of(lanes)):
        total = fma_lanes(load(lanes, row, i, lanes), splat(1.0, lanes), total)
    return sum_lanes(total)


@called
def add_to_total(products, lanes, first, total):
    """Add a block's products (d, K), then its lanes from row `first` on, to the exact sums."""
    e = 0
    for j in range(products.shape[0]):
        for k in range(products.shape[1]):
            add(total, e, products[j, k])
            e += 1
    for row in range(first, lanes.shape[0]):
        add(total, e, total_of(lanes, row))
        e += 1


@kernel
def sweep(
    stage: int,
    parameter: float,
    smoothing: float,
    tiles: Tiles,
    n: int,
    first: int,
    last: int,
    block: int,
    y: PerRow,
    weight: PerRow,
    offset: PerRow,
    coef: Work2,
    intercept: Work1,
    kept: Scratch3,
    scratch: Scratch2,
    right: Scratch3,
    lanes: Lanes2,
    products: Floats2,
    total: Integers2,
) -> None:
    """One read of the tiles first … last - 1 with a stage of K outputs; what it sums is added to total, block by block.

    tiles, n, y, weight, offset : a tiled slice, see the package's docstring; y (tiles, 1 or K, rows).
    block : tiles of a block; first is a multiple of it.
    coef (d, P), intercept (P,) : on the scale of the stored columns; P is K or, with curvature anew, 2 K.
    kept (tiles, C, rows) : the curvature that the stage reads or leaves; (1, C, rows) where it is for one tile only,
        C = 0 for none.
    right (group, K, rows) : scratch for residuals of a group of tiles.
    scratch (P + K + W, rows), lanes (2 K + W, lanes) : overwritten; W is 1, or K with weights for each output.
    products (d, K) : overwritten; (0, K) where no products of X with residuals are wanted.
    total (p + 2 K + W, 4) : exact sums of products (p = d K or 0), residuals, values, weights, each weighted.
    """
    rows = tiles.shape[2]
    predictors, outputs, group = coef.shape[1], right.shape[1], right.shape[0]
    eta, value = scratch[:predictors], scratch[predictors : predictors + outputs]
    weights = scratch[predictors + outputs :]
    for start in range(first, last, block):
        stop = min(start + block, last)
        lanes[:] = 0.0
        products[:] = 0.0
        for head in range(start, stop, group):
            count = min(group, stop - head)
            for g in range(count):
                t = head + g
                start_predictors(offset, t, intercept, outputs, eta)
                add_predictors(tiles[t], coef, eta)
                leave = kept[t if kept.shape[0] > 1 else 0]
                run_stage(stage, eta, y[t], leave, value, right[g], parameter, smoothing)
                finish_tile(weight, t, min(rows, n - t * rows), weights, value, right[g], leave, lanes, 0)
            if products.shape[0]:
                add_products(tiles, head, count, right, False, products)
        add_to_total(products, lanes, 0, total)


@kernel
def pipelined_sweep(
    stage: int,
    parameter: float,
    smoothing: float,
    tiles: Tiles,
    n: int,
    first: int,
    last: int,
    block: int,
    y: PerRow,
    weight: PerRow,
    offset: PerRow,
    coef: Column2,
    intercept: Work1,
    kept: Scratch3,
    scratch: Scratch2,
    right: Scratch3,
    lanes: Lanes2,
    products: Floats2,
    total: Integers2,
) -> None:
    """As `sweep`, for one predictor and one residual, with both halves at once.

    right (1, 1, rows), lanes (d + 2 + W, lanes), products (d, 1).
    """
    d, rows = tiles.shape[1], tiles.shape[2]
    eta, value, weights, residual = scratch[:1], scratch[1:2], scratch[2:], right[0]
    if first < last:
        start_predictors(offset, first, intercept, 1, eta)
        add_predictors(tiles[first], coef, eta)
    for start in range(first, last, block):
        lanes[:] = 0.0
        for t in range(start, min(start + block, last)):
            leave = kept[t if kept.shape[0] > 1 else 0]
            following = min(t + 1, last - 1)
            # While the stage computes, memory would rest: what the next half reads first is on its way meanwhile.
            for j in range(min(d, HEAD)):
                for i in range(0, rows, 2 * lanes_of(eta)):
                    prefetch(tiles[following], j, i, eta, 0)
            run_stage(stage, eta, y[t], leave, value, residual, parameter, smoothing)
            finish_tile(weight, t, min(rows, n - t * rows), weights, value, residual, leave, lanes, d)
            start_predictors(offset, following, intercept, 1, eta)
            pipelined(tiles[t], tiles[following], coef, residual, eta, lanes)
        for j in range(d):
            products[j, 0] = total_of(lanes, j)
        add_to_total(products, lanes, d, total)


@kernel
def second_order(
    stage: int,
    parameter: float,
    smoothing: float,
    tiles: Tiles,
    n: int,
    first: int,
    last: int,
    block: int,
    y: PerRow,
    weight: PerRow,
    offset: PerRow,
    coef: Work2,
    intercept: Work1,
    kept: Scratch3,
    scratch: Scratch2,
    right: Scratch3,
    lanes: Lanes2,
    products: Floats2,
    total: Integers2,
) -> None:
    """Value, gradient and Hessian of a loss of one predictor in one read; arguments as in `sweep`, but for these.

    kept (1, 1, rows), right (group, d + 2, rows), lanes (4, lanes) : overwritten.
    products (d, d + 2) : overwritten; columns of S X, then s, then the residual, each meets the columns j <= its own.
    total (m, 4) : exact sums of products[j, j :] for j = 0 … d - 1, then of the residual, value, weight, curvature.
    """
    d, rows = tiles.shape[1], tiles.shape[2]
    group = right.shape[0]
    eta, value, weights = scratch[:1], scratch[1:2], scratch[2:]
    zero = splat(0.0, scratch)
    for start in range(first, last, block):
        stop = min(start + block, last)
        lanes[:] = 0.0
        products[:] = 0.0
        for head in range(start, stop, group):
            count = min(group, stop - head)
            for g in range(count):
                t = head + g
                start_predictors(offset, t, intercept, 1, eta)
                add_predictors(tiles[t], coef, eta)
                residual, curvature = right[g, d + 1 :], right[g, d : d + 1]
                run_stage(stage, eta, y[t], curvature, value, residual, parameter, smoothing)
                finish_tile(weight, t, min(rows, n - t * rows), weights, value, residual, curvature, lanes, 0)
                sum_rows(curvature, lanes, 3)
                for j in range(d):
                    for i in range(0, rows, lanes_of(right)):
                        scaled = fma_lanes(load(tiles[t], j, i, right), load(curvature, 0, i, right), zero)
                        store(right[g], j, i, scaled)
            add_products(tiles, head, count, right, True, products)
        e = 0
        for j in range(d):
            for k in range(j, d + 2):
                add(total, e, products[j, k])
                e += 1
        for row in range(4):
            add(total, e, total_of(lanes, row))
            e += 1


@kernel
def linear_predictor(
    tiles: Tiles,
    n: int,
    first: int,
    last: int,
    offset: PerRow,
    coef: Work2,
    intercept: Work1,
    scratch: Scratch2,
    out: Floats2,
) -> None:
    """Write eta of the rows of tiles first … last - 1 to their rows of out (n, K), float64; scratch (K, rows)."""
    rows = tiles.shape[2]
    for t in range(first, last):
        start_predictors(offset, t, intercept, coef.shape[1], scratch)
        add_predictors(tiles[t], coef, scratch)
        for i in range(min(rows, n - t * rows)):
            for k in range(coef.shape[1]):
                out[t * rows + i, k] = scratch[k, i]


@kernel
def column_moments(
    tiles: Tiles,
    n: int,
    first: int,
    last: int,
    block: int,
    weight: PerRow,
    shift: Floats1,
    scratch: Floats2,
    lanes: Floats2,
    total: Integers2,
) -> None:
    """Weighted sums of (x - shift) and (x - shift)^2 of each column.

    shift (d,) : the point about which the sums are taken.  scratch (1, rows), lanes (2 d + 1, 8) : overwritten.
    total (2 d + 1, 4) : exact sums of w (x - shift), of w (x - shift)^2, of w.
    """
    d, rows = tiles.shape[1], tiles.shape[2]
    zero, one = splat(0.0, scratch), splat(1.0, scratch)
    for start in range(first, last, block):
        lanes[:] = 0.0
        for t in range(start, min(start + block, last)):
            weigh(weight, t, min(rows, n - t * rows), scratch, scratch[1:])
            sum_rows(scratch, lanes, 2 * d)
            for j in range(d):
                c = splat(-shift[j], scratch)
                a, b = zero, zero
                for i in range(0, rows, lanes_of(scratch)):
                    z = fma_lanes(load(tiles[t], j, i, scratch), one, c)
                    wz = fma_lanes(load(scratch, 0, i, scratch), z, zero)
                    a = fma_lanes(wz, one, a)
                    b = fma_lanes(wz, z, b)
                accumulate(lanes, j, a)
                accumulate(lanes, d + j, b)
        for row in range(2 * d + 1):
            add(total, row, total_of(lanes, row))


@kernel
def row_norms(tiles: Tiles, first: int, last: int, mean: Floats1, scale: Floats1, out: Floats2) -> None:
    """Squared norms of (x - mean) / scale of the rows of tiles first … last - 1, to out (last - first, rows).

    mean, scale (d,) : float64.  Padding gives numbers without meaning.
    """
    d, rows = tiles.shape[1], tiles.shape[2]
    for t in range(first, last):
        for i in range(0, rows, lanes_of(out)):
            norm = splat(0.0, out)
            for j in range(d):
                inverse = splat(1.0 / scale[j], out)
                z = fma_lanes(load(tiles[t], j, i, out), inverse, splat(-mean[j] / scale[j], out))
                norm = fma_lanes(z, z, norm)
            store(out, t - first, i, norm)

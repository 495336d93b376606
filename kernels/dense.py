"""Operations on dense tiles, each in one read of X: eta = X coef, then a stage between, then X' residual.

The stage is a function of one tile, `(eta, y, kept, value, residual, parameter, smoothing)`: a loss with its
derivatives, or a Hessian-vector product (see `losses`). Both halves run over a tile while it is in the cache.

With one predictor and one residual the halves are pipelined: while the second half of one tile is added up from the
cache, the first half of the next is computed as it comes from memory, so that arithmetic and memory traffic overlap;
without that a pass takes the sum of both. With several columns arithmetic outweighs memory, and what counts is that
a loaded number meets several columns while it is in a register (K. Goto, R. van de Geijn, "Anatomy of high-performance
matrix multiplication", ACM TOMS 34, 2008). There X' meets the residuals of a few tiles at once, so that adding up
lanes is a small part of it, and the tiles that follow are asked for during both halves.

Memory is asked for ahead of its use in the order of addresses, always: hardware follows one stream at full speed, but
not columns of a tile side by side.
"""

from __future__ import annotations

from mpigd_kernels.exact import add, add_all
from mpigd_kernels.native import (
    Column2,
    Floats1,
    Floats2,
    Integers2,
    Lanes2,
    PerRow,
    Products1,
    Scratch2,
    Scratch3,
    Tiles,
    Work1,
    Work2,
    called,
    inline,
    kernel,
    run_stage,
)
from mpigd_kernels.vector import (
    ACCUMULATORS,
    AHEAD,
    OUTPUTS,
    accumulate,
    add_combinations,
    add_inner_products,
    fma_lanes,
    lanes_of,
    load,
    prefetch,
    splat,
    store,
    sum_lanes,
)

CHUNK = 36  # columns of a tile that several outputs meet while they are in the first-level cache


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
def add_predictor(x, coef, eta):
    """Add x' coef to eta (1, rows), x being a tile (d, rows), coef (d, 1). Two columns at a time, as in `pipelined`."""
    d = x.shape[0]
    for j in range(0, d, 2):
        j1 = min(j + 1, d - 1)
        c0 = splat(coef[j, 0], eta)
        c1 = splat(coef[j1, 0] if j1 > j else eta.dtype.type(0.0), eta)
        for i in range(0, eta.shape[1], lanes_of(eta)):
            prefetch(x, j, 2 * i, eta, AHEAD)
            e = fma_lanes(load(x, j, i, eta), c0, load(eta, 0, i, eta))
            store(eta, 0, i, fma_lanes(load(x, j1, i, eta), c1, e))


@inline
def at_once(outputs):
    """How many outputs a block of accumulators takes: all in as few blocks as can be, about as large as each other."""
    return -(-outputs // -(-outputs // OUTPUTS))


@called
def add_predictors(x, coef, eta, tiles, row, halves):
    """Add x' coef to eta (P, rows), x being a tile (d, rows), coef (d, P).

    tiles, row, halves : meanwhile as many halves of a tile are asked for, from row `row` of all tiles on.
    """
    d, outputs = coef.shape
    if outputs == 1:
        add_predictor(x, coef, eta)
        return
    most = at_once(outputs)
    for first in range(0, d, CHUNK):
        last = min(first + CHUNK, d)
        for k in range(0, outputs, most):
            add_combinations(x, first, last, coef, k, min(most, outputs - k), eta, tiles, row, halves)


@called
def add_products(x, right, products, tiles, row):
    """Add to products (d, K) float64 those of a few tiles x (T, d, rows) with right (T K, rows), K rows for each.

    tiles, row : meanwhile half as much as x is asked for, from row `row` of all tiles on.
    """
    d, outputs = products.shape
    most, half = at_once(outputs), x.shape[0] * x.shape[2] // 2
    for k in range(0, outputs, most):
        count = min(most, outputs - k)
        columns = ACCUMULATORS // count
        for j in range(0, d, columns):
            if k == 0:
                for i in range(j * half, (j + columns) * half, 2 * lanes_of(right)):
                    prefetch(tiles, row, i, right, 0)
            add_inner_products(x, j, right, k, count, products)


@called
def add_squares(x, right, products):
    """Add to products (d, K) as `add_products`, but for some of [j, k] with k < j."""
    d, outputs = products.shape
    most = at_once(outputs)
    for k in range(0, outputs, most):
        count = min(most, outputs - k)
        for j in range(0, min(k + count, d), ACCUMULATORS // count):
            add_inner_products(x, j, right, k, count, products)


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
        accumulate(lanes, j, 0, g0)
        if j1 > j:
            accumulate(lanes, j1, 0, g1)


@called
def sum_rows(values, lanes, row):
    """Add the rows of values (K, rows) to lanes row … row + K - 1."""
    for k in range(values.shape[0]):
        total = splat(0.0, values)
        for i in range(0, values.shape[1], lanes_of(values)):
            total = fma_lanes(load(values, k, i, values), splat(1.0, values), total)
        accumulate(lanes, row + k, 0, total)


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
    d, outputs = products.shape
    if outputs == 1:
        add_all(total, 0, products[:, 0])
    else:
        for j in range(d):
            add_all(total, j * outputs, products[j])
    e = d * outputs
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
    scratch (P + K + W + T K, rows), lanes (2 K + W, lanes) : overwritten; W is 1, or K with weights for each output.
        Residuals are kept for T tiles, which X' then meets at once.
    products (d, K) : overwritten; (0, K) where no products of X with residuals are wanted.
    total (5, p + 2 K + W) : exact sums of products (p = d K or 0), residuals, values, weights, each weighted.
    """
    d, rows = tiles.shape[1], tiles.shape[2]
    predictors, outputs = coef.shape[1], (lanes.shape[0] - weight.shape[1]) // 2
    eta, value = scratch[:predictors], scratch[predictors : predictors + outputs]
    weights = scratch[predictors + outputs : predictors + outputs + weight.shape[1]]
    residuals = scratch[predictors + outputs + weight.shape[1] :]
    together = residuals.shape[0] // outputs
    # The next T tiles are asked for while these are worked on: half of them by either half, if there are two.
    halves = 1 if products.shape[0] else 2
    for start in range(first, last, block):
        lanes[:] = 0.0
        products[:] = 0.0
        stop = min(start + block, last)
        for t in range(start, stop):
            place = (t - start) % together
            following = (t - place + together) * d
            residual = residuals[place * outputs : (place + 1) * outputs]
            start_predictors(offset, t, intercept, outputs, eta)
            add_predictors(tiles[t], coef, eta, tiles, following + place * d * halves // 2, halves)
            leave = kept[t if kept.shape[0] > 1 else 0]
            run_stage(stage, eta, y[t], leave, value, residual, parameter, smoothing)
            finish_tile(weight, t, min(rows, n - t * rows), weights, value, residual, leave, lanes, 0)
            if products.shape[0] and (place == together - 1 or t == stop - 1):
                add_products(tiles[t - place : t + 1], residuals, products, tiles, following + together * d // 2)
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
    lanes: Lanes2,
    products: Products1,
    total: Integers2,
) -> None:
    """As `sweep`, for one predictor and one residual, with both halves at once.

    lanes (d + 2 + W, lanes), products (d, 1).
    """
    d, rows = tiles.shape[1], tiles.shape[2]
    eta, value, residual, weights = scratch[:1], scratch[1:2], scratch[2:3], scratch[3:4]
    if first < last:
        start_predictors(offset, first, intercept, 1, eta)
        add_predictor(tiles[first], coef, eta)
    for start in range(first, last, block):
        lanes[:] = 0.0
        for t in range(start, min(start + block, last)):
            leave = kept[t if kept.shape[0] > 1 else 0]
            following = min(t + 1, last - 1)
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
    scratch: Scratch2,
    lanes: Lanes2,
    products: Floats2,
    total: Integers2,
) -> None:
    """Value, gradient and Hessian of a loss of one predictor in one read; arguments as in `sweep`, but for these.

    There is no kept.  scratch (3 + T (d + 2), rows), lanes (4, lanes), products (d, d + 2) : overwritten. Scratch
        keeps, of T tiles, the columns of S X, then s, then the residual; each meets the columns of X up to its own.
    total (5, m) : exact sums of products[j, j : d + 2] for j = 0 … d - 1, then of the residual, value, weight,
        curvature.
    """
    d, rows = tiles.shape[1], tiles.shape[2]
    eta, value, weights, right = scratch[:1], scratch[1:2], scratch[2:3], scratch[3:]
    together, zero = right.shape[0] // (d + 2), splat(0.0, scratch)
    for start in range(first, last, block):
        lanes[:] = 0.0
        products[:] = 0.0
        stop = min(start + block, last)
        for t in range(start, stop):
            place = (t - start) % together
            own = right[place * (d + 2) : (place + 1) * (d + 2)]
            curvature, residual = own[d : d + 1], own[d + 1 :]
            start_predictors(offset, t, intercept, 1, eta)
            add_predictor(tiles[t], coef, eta)
            run_stage(stage, eta, y[t], curvature, value, residual, parameter, smoothing)
            finish_tile(weight, t, min(rows, n - t * rows), weights, value, residual, curvature, lanes, 0)
            sum_rows(curvature, lanes, 3)
            for j in range(d):
                for i in range(0, rows, lanes_of(own)):
                    store(own, j, i, fma_lanes(load(tiles[t], j, i, own), load(curvature, 0, i, own), zero))
            if place == together - 1 or t == stop - 1:
                add_squares(tiles[t - place : t + 1], right, products)
        e = 0
        for j in range(d):
            add_all(total, e, products[j, j : d + 2])
            e += d + 2 - j
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
        add_predictors(tiles[t], coef, scratch, tiles, (t + 1) * tiles.shape[1], 2)
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
    total (5, 2 d + 1) : exact sums of w (x - shift), of w (x - shift)^2, of w.
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
                accumulate(lanes, j, 0, a)
                accumulate(lanes, d + j, 0, b)
        for row in range(2 * d + 1):
            add(total, row, total_of(lanes, row))


@kernel
def row_norms(tiles: Tiles, first: int, last: int, mean: Floats1, scale: Floats1, out: Floats2) -> None:
    """Squared norms of (x - mean) / scale of the rows of tiles first … last - 1, to out (last - first, rows).

    mean, scale (d,) : float64.  Padding gives numbers without meaning.
    """
    d, rows = tiles.shape[1], tiles.shape[2]
    out[:] = 0.0
    for t in range(first, last):
        for j in range(d):
            inverse, shift = splat(1.0 / scale[j], out), splat(-mean[j] / scale[j], out)
            for i in range(0, rows, lanes_of(out)):
                prefetch(tiles[t], j, i, out, AHEAD)
                z = fma_lanes(load(tiles[t], j, i, out), inverse, shift)
                store(out, t - first, i, fma_lanes(z, z, load(out, t - first, i, out)))

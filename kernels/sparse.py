"""Operations on sparse rows (CSR), each in one read of X; the counterparts of those in `dense`.

values (m,), columns (m,), starts (n + 1,) int64 : row i has values[starts[i] : starts[i + 1]] in the columns of the
same places. Rows are taken in batches as large as a tile, so that a stage works on lanes of rows here too.
"""

from __future__ import annotations

from mpigd_kernels.dense import add_to_total, finish_tile, start_predictors, sum_rows, total_of, weigh
from mpigd_kernels.exact import add, add_all
from mpigd_kernels.native import (
    Columns,
    Floats1,
    Floats2,
    Integers1,
    Integers2,
    Lanes2,
    PerRow,
    Products2,
    Scratch2,
    Scratch3,
    Theta2,
    Values,
    Work1,
    Work2,
    called,
    kernel,
    run_stage,
)
from mpigd_kernels.vector import (
    fma,
    fma_lanes,
    gather_some,
    lanes_of,
    load_some,
    scatter_add,
    splat,
    sum_lanes,
)


@called
def add_sparse_predictors(values, columns, starts, n, t, coef, eta):
    """Add X coef of batch t to eta (P, rows), a row's numbers in lanes that are added up in a fixed order."""
    rows, width = eta.shape[1], lanes_of(eta)
    for i in range(min(rows, n - t * rows)):
        begin, end = starts[t * rows + i], starts[t * rows + i + 1]
        full = end - (end - begin) % width
        for k in range(coef.shape[1]):
            total = splat(0.0, eta)
            for m in range(begin, full, width):
                x = load_some(values, m, width, eta)
                total = fma_lanes(x, gather_some(coef, k, columns, m, width), total)
            if full < end:
                x = load_some(values, full, end - full, eta)
                total = fma_lanes(x, gather_some(coef, k, columns, full, end - full), total)
            eta[k, i] += sum_lanes(total)


@called
def add_sparse_products(values, columns, starts, n, t, residual, products):
    """Add X' residual of batch t to products (d, at least K), float64."""
    outputs, rows = residual.shape
    width, zero = lanes_of(products), splat(0.0, products)
    for i in range(min(rows, n - t * rows)):
        begin, end = starts[t * rows + i], starts[t * rows + i + 1]
        full = end - (end - begin) % width
        for k in range(outputs):
            r = splat(residual[k, i], products)
            for m in range(begin, full, width):
                scatter_add(products, k, columns, m, fma_lanes(load_some(values, m, width, products), r, zero))
            for m in range(full, end):
                products[columns[m], k] += float(values[m]) * float(residual[k, i])


@kernel
def sparse_sweep(
    stage: int,
    parameter: float,
    smoothing: float,
    values: Values,
    columns: Columns,
    starts: Integers1,
    n: int,
    first: int,
    last: int,
    block: int,
    y: PerRow,
    weight: PerRow,
    offset: PerRow,
    coef: Theta2,
    intercept: Work1,
    kept: Scratch3,
    scratch: Scratch2,
    lanes: Lanes2,
    products: Products2,
    total: Integers2,
) -> None:
    """As `mpigd_kernels.dense.sweep`, on batches first … last - 1 of sparse rows."""
    rows, predictors, outputs = y.shape[2], coef.shape[1], (lanes.shape[0] - weight.shape[1]) // 2
    eta, value = scratch[:predictors], scratch[predictors : predictors + outputs]
    residual = scratch[predictors + outputs : predictors + 2 * outputs]
    weights = scratch[predictors + 2 * outputs : predictors + 2 * outputs + weight.shape[1]]
    for start in range(first, last, block):
        lanes[:] = 0.0
        products[:] = 0.0
        for t in range(start, min(start + block, last)):
            leave = kept[t if kept.shape[0] > 1 else 0]
            start_predictors(offset, t, intercept, outputs, eta)
            add_sparse_predictors(values, columns, starts, n, t, coef, eta)
            run_stage(stage, eta, y[t], leave, value, residual, parameter, smoothing)
            finish_tile(weight, t, min(rows, n - t * rows), weights, value, residual, leave, lanes, 0)
            if products.shape[0]:
                add_sparse_products(values, columns, starts, n, t, residual, products)
        add_to_total(products, lanes, 0, total)


@kernel
def sparse_second_order(
    stage: int,
    parameter: float,
    smoothing: float,
    values: Values,
    columns: Columns,
    starts: Integers1,
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
    """As `mpigd_kernels.dense.second_order`, on sparse rows; scratch (5, rows)."""
    d, rows = coef.shape[0], y.shape[2]
    eta, value, weights, curvature, residual = scratch[:1], scratch[1:2], scratch[2:3], scratch[3:4], scratch[4:5]
    for start in range(first, last, block):
        lanes[:] = 0.0
        products[:] = 0.0
        for t in range(start, min(start + block, last)):
            start_predictors(offset, t, intercept, 1, eta)
            add_sparse_predictors(values, columns, starts, n, t, coef, eta)
            run_stage(stage, eta, y[t], curvature, value, residual, parameter, smoothing)
            finish_tile(weight, t, min(rows, n - t * rows), weights, value, residual, curvature, lanes, 0)
            sum_rows(curvature, lanes, 3)
            for i in range(min(rows, n - t * rows)):
                begin, end = starts[t * rows + i], starts[t * rows + i + 1]
                for a in range(begin, end):
                    scaled = float(values[a]) * float(curvature[0, i])
                    products[columns[a], d] += scaled
                    products[columns[a], d + 1] += float(values[a]) * float(residual[0, i])
                    for b in range(a, end):
                        j, k = min(columns[a], columns[b]), max(columns[a], columns[b])
                        products[j, k] += scaled * float(values[b])
        e = 0
        for j in range(d):
            add_all(total, e, products[j, j : d + 2])
            e += d + 2 - j
        for row in range(4):
            add(total, e, total_of(lanes, row))
            e += 1


@kernel
def sparse_linear_predictor(
    values: Values,
    columns: Columns,
    starts: Integers1,
    n: int,
    first: int,
    last: int,
    offset: PerRow,
    coef: Theta2,
    intercept: Work1,
    scratch: Scratch2,
    out: Floats2,
) -> None:
    """As `mpigd_kernels.dense.linear_predictor`, on sparse rows."""
    rows = scratch.shape[1]
    for t in range(first, last):
        start_predictors(offset, t, intercept, coef.shape[1], scratch)
        add_sparse_predictors(values, columns, starts, n, t, coef, scratch)
        for i in range(min(rows, n - t * rows)):
            for k in range(coef.shape[1]):
                out[t * rows + i, k] = scratch[k, i]


@kernel
def sparse_column_moments(
    values: Values,
    columns: Columns,
    starts: Integers1,
    n: int,
    first: int,
    last: int,
    block: int,
    weight: PerRow,
    shift: Floats1,
    scratch: Floats2,
    lanes: Floats2,
    products: Floats2,
    total: Integers2,
) -> None:
    """As `mpigd_kernels.dense.column_moments`, on sparse rows; lanes (1, 8), products (d, 2) overwritten.

    A zero that is not stored contributes as one: its -w shift and w shift^2 are added for all rows at once.
    """
    d, rows = shift.shape[0], scratch.shape[1]
    for start in range(first, last, block):
        lanes[:] = 0.0
        products[:] = 0.0
        for t in range(start, min(start + block, last)):
            weigh(weight, t, min(rows, n - t * rows), scratch, scratch[1:])
            sum_rows(scratch, lanes, 0)
            for i in range(min(rows, n - t * rows)):
                for m in range(starts[t * rows + i], starts[t * rows + i + 1]):
                    j, x = columns[m], float(values[m])
                    wx = scratch[0, i] * x
                    products[j, 0] += wx
                    products[j, 1] += wx * (x - 2.0 * shift[j])
        rest = total_of(lanes, 0)
        for j in range(d):
            add(total, j, fma(-shift[j], rest, products[j, 0]))
            add(total, d + j, fma(shift[j] * shift[j], rest, products[j, 1]))
        add(total, 2 * d, rest)


@kernel
def sparse_row_norms(
    values: Values,
    columns: Columns,
    starts: Integers1,
    first: int,
    last: int,
    mean: Floats1,
    scale: Floats1,
    out: Floats2,
) -> None:
    """As `mpigd_kernels.dense.row_norms`, on sparse rows."""
    rows = out.shape[1]
    zeros = 0.0
    for j in range(mean.shape[0]):
        zeros += (mean[j] / scale[j]) * (mean[j] / scale[j])
    for t in range(first, last):
        for i in range(min(rows, starts.shape[0] - 1 - t * rows)):
            norm = zeros
            for m in range(starts[t * rows + i], starts[t * rows + i + 1]):
                j, x = columns[m], float(values[m])
                norm += x * (x - 2.0 * mean[j]) / (scale[j] * scale[j])
            out[t - first, i] = norm

"""Cholesky's factorisation and its solution of equations, with the same bits on every processor.

LAPACK is several times faster on large matrices, but adds up in an order that suits the processor, and ranks on
different ones would find different directions.
"""

from __future__ import annotations

import numpy as np
from mpigd_kernels.native import Floats1, Floats2, Integers1, kernel
from mpigd_kernels.vector import LINE, aligned, fma, fma_lanes, lanes_of, load, splat, store

LANES = LINE // 8
WIDE = 4 * LANES  # columns that stay in registers while the rows above pass by
SMALLEST = 1e-13  # part of a diagonal element that is left of it where its column depends on others


@kernel
def factorise(a: Floats2, dropped: Integers1) -> None:
    """Overwrite the upper triangle of a symmetric matrix by U with U'U = A (G. Golub, C. Van Loan, 2013, 4.2.5).

    a (d, width) : row by row; width is d or more, a multiple of WIDE.
    dropped (d,) : receives 1 where a column depends on those before it, within rounding: its row of U is zero.
    """
    d, width = dropped.shape[0], a.shape[1]
    for j in range(d):
        before = a[j, j]
        for start in range(j // WIDE * WIDE, width, WIDE):
            i0, i1, i2, i3 = start, start + LANES, start + 2 * LANES, start + 3 * LANES
            s0, s1, s2, s3 = load(a, j, i0, a), load(a, j, i1, a), load(a, j, i2, a), load(a, j, i3, a)
            for k in range(j):
                c = splat(-a[k, j], a)
                s0 = fma_lanes(load(a, k, i0, a), c, s0)
                s1 = fma_lanes(load(a, k, i1, a), c, s1)
                s2 = fma_lanes(load(a, k, i2, a), c, s2)
                s3 = fma_lanes(load(a, k, i3, a), c, s3)
            store(a, j, i0, s0)
            store(a, j, i1, s1)
            store(a, j, i2, s2)
            store(a, j, i3, s3)
        pivot = a[j, j]
        dropped[j] = 0 if pivot > SMALLEST * before else 1
        scale = 0.0 if dropped[j] else 1.0 / np.sqrt(pivot)
        for i in range(0, width, lanes_of(a)):
            store(a, j, i, fma_lanes(load(a, j, i, a), splat(scale, a), splat(0.0, a)))


@kernel
def substitute(u: Floats2, dropped: Integers1, x: Floats1) -> None:
    """Overwrite x (d,) by the solution of U'U x = x; elements of dropped columns become zero."""
    d = x.shape[0]
    for j in range(d):
        if dropped[j]:
            x[j] = 0.0
            continue
        x[j] = x[j] / u[j, j]
        for i in range(j + 1, d):
            x[i] = fma(-u[j, i], x[j], x[i])
    for back in range(d):
        j = d - 1 - back
        if dropped[j]:
            continue
        total = x[j]
        for i in range(j + 1, d):
            total = fma(-u[j, i], x[i], total)
        x[j] = total / u[j, j]


def solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The solution (d,) of a symmetric, positive semidefinite system (d, d), right (d,).

    Columns that depend on others get zero: with them the system has many solutions, of which this is one.
    """
    d = len(right)
    u = aligned((d, -(-d // WIDE) * WIDE), np.float64)
    u[:, :d], u[:, d:] = matrix, 0.0
    dropped, x = np.zeros(d, np.int64), right.astype(np.float64)
    factorise(u, dropped)
    substitute(u, dropped, x)
    return x

"""Cholesky's factorisation and its solution of equations, with the same bits on every processor.

LAPACK is faster on large matrices, but adds up in an order that suits the processor, and ranks on different ones would
find different directions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from mpigd_kernels.native import Floats1, Floats2, Integers1, called, kernel
from mpigd_kernels.vector import LINE, aligned, fma_lanes, lanes_of, load, splat, store, sum_lanes

LANES = LINE // 8
WIDE = 4 * LANES  # columns that stay in registers while the rows above pass by
PANEL = 32  # rows that are factorised before what they give to all others is subtracted from those
SMALLEST = 1e-13  # part of a diagonal element that is left of it where its column depends on others


@called
def subtract(a, first, last, j):
    """Take from row j of a, from its diagonal on, what rows first … last - 1 of U give."""
    for start in range(j // WIDE * WIDE, a.shape[1], WIDE):
        i0, i1, i2, i3 = start, start + LANES, start + 2 * LANES, start + 3 * LANES
        s0, s1, s2, s3 = load(a, j, i0, a), load(a, j, i1, a), load(a, j, i2, a), load(a, j, i3, a)
        for k in range(first, last):
            c = splat(-a[k, j], a)
            s0 = fma_lanes(load(a, k, i0, a), c, s0)
            s1 = fma_lanes(load(a, k, i1, a), c, s1)
            s2 = fma_lanes(load(a, k, i2, a), c, s2)
            s3 = fma_lanes(load(a, k, i3, a), c, s3)
        store(a, j, i0, s0)
        store(a, j, i1, s1)
        store(a, j, i2, s2)
        store(a, j, i3, s3)


@called
def subtract_from_four(a, first, last, j):
    """As `subtract`, from rows j … j + 3: what is loaded of a row of U serves all four."""
    for start in range(j // WIDE * WIDE, a.shape[1], 2 * LANES):
        i0, i1 = start, start + LANES
        s00, s01 = load(a, j, i0, a), load(a, j, i1, a)
        s10, s11 = load(a, j + 1, i0, a), load(a, j + 1, i1, a)
        s20, s21 = load(a, j + 2, i0, a), load(a, j + 2, i1, a)
        s30, s31 = load(a, j + 3, i0, a), load(a, j + 3, i1, a)
        for k in range(first, last):
            u0, u1 = load(a, k, i0, a), load(a, k, i1, a)
            c0, c1, c2, c3 = splat(-a[k, j], a), splat(-a[k, j + 1], a), splat(-a[k, j + 2], a), splat(-a[k, j + 3], a)
            s00, s01 = fma_lanes(u0, c0, s00), fma_lanes(u1, c0, s01)
            s10, s11 = fma_lanes(u0, c1, s10), fma_lanes(u1, c1, s11)
            s20, s21 = fma_lanes(u0, c2, s20), fma_lanes(u1, c2, s21)
            s30, s31 = fma_lanes(u0, c3, s30), fma_lanes(u1, c3, s31)
        store(a, j, i0, s00)
        store(a, j, i1, s01)
        store(a, j + 1, i0, s10)
        store(a, j + 1, i1, s11)
        store(a, j + 2, i0, s20)
        store(a, j + 2, i1, s21)
        store(a, j + 3, i0, s30)
        store(a, j + 3, i1, s31)


@kernel
def factorise(a: Floats2, diagonal: Floats1, dropped: Integers1) -> None:
    """Overwrite the upper triangle of a symmetric matrix by U with U'U = A (G. Golub, C. Van Loan, 2013, 4.2.5).

    a (d, width) : row by row; width is d or more, a multiple of WIDE.  diagonal (d,) : of a.
    dropped (d,) : receives 1 where a column depends on those before it, within rounding: its row of U is zero.
    """
    d, width = dropped.shape[0], a.shape[1]
    for first in range(0, d, PANEL):
        last = min(first + PANEL, d)
        for j in range(first, last):
            subtract(a, first, j, j)
            pivot = a[j, j]
            dropped[j] = 0 if pivot > SMALLEST * diagonal[j] else 1
            scale = 0.0 if dropped[j] else 1.0 / np.sqrt(pivot)
            for i in range(0, width, lanes_of(a)):
                store(a, j, i, fma_lanes(load(a, j, i, a), splat(scale, a), splat(0.0, a)))
            for i in range(j):
                a[j, i] = 0.0
        four = last + (d - last) // 4 * 4
        for j in range(last, four, 4):
            subtract_from_four(a, first, last, j)
        for j in range(four, d):
            subtract(a, first, last, j)


@kernel
def substitute(u: Floats2, dropped: Integers1, x: Floats2) -> None:
    """Overwrite x (1, width) by the solution of U'U x = x; elements of dropped columns become zero.

    Elements of x beyond d are zero.
    """
    d, width = dropped.shape[0], u.shape[1]
    for j in range(d):
        value = 0.0 if dropped[j] else x[0, j] / u[j, j]
        c = splat(-value, u)
        for i in range(j // LANES * LANES, width, LANES):
            store(x, 0, i, fma_lanes(load(u, j, i, u), c, load(x, 0, i, u)))
        x[0, j] = value
    for back in range(d):
        j = d - 1 - back
        value, x[0, j] = x[0, j], 0.0
        total = splat(0.0, u)
        for i in range(j // LANES * LANES, width, LANES):
            total = fma_lanes(load(u, j, i, u), load(x, 0, i, u), total)
        if not dropped[j]:
            x[0, j] = (value - sum_lanes(total)) / u[j, j]


@dataclass(frozen=True)
class Factor:
    """U (d, width) with U'U = A.  dropped (d,) int64 : 1 where a column depends on those before it."""

    u: np.ndarray
    dropped: np.ndarray

    def solve(self, right: np.ndarray) -> np.ndarray:
        """The solution of A x = right, (d,) or (d, K).

        Columns that depend on others get zero: with them the equations have many solutions, of which this is one.
        """
        columns = right.reshape(len(right), -1)
        x = aligned((1, self.u.shape[1]), np.float64)
        out = np.empty(columns.shape)
        for k in range(columns.shape[1]):
            x[:] = 0.0
            x[0, : len(right)] = columns[:, k]
            substitute(self.u, self.dropped, x)
            out[:, k] = x[0, : len(right)]
        return out.reshape(right.shape)


def factor(matrix: np.ndarray) -> Factor:
    """The factor of a symmetric, positive semidefinite matrix (d, d)."""
    d = len(matrix)
    u = aligned((d, -(-d // WIDE) * WIDE), np.float64)
    u[:, :d], u[:, d:] = matrix, 0.0
    dropped = np.zeros(d, np.int64)
    factorise(u, np.ascontiguousarray(np.diagonal(matrix), np.float64), dropped)
    return Factor(u, dropped)

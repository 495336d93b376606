"""Standardised columns, without touching the stored ones.

The solvers work with coefficients theta of the columns (x - mean) / scale; the kernels with coefficients
of x. The two are linked by

    coef = theta / scale,    intercept = theta_0 - mean · coef,

and gradients by the transpose of that map. X itself stays as it was read: narrow, shared between models.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import mpigd_kernels as kernels
import numpy as np

from mpigd.comm import Comm
from mpigd.dataset import Dataset, prepare
from mpigd.replicated import dot


@dataclass(frozen=True)
class Scaling:
    """Centre and scale of every column, float64 (d,), equal on all ranks.

    magnitude : root of the mean square of every stored column, float64 (d,): how large its products will be.
    spread : the same of (column - mean) / scale, and 1 where that is zero: how large it is as solvers see it.
    """

    mean: np.ndarray
    scale: np.ndarray
    magnitude: np.ndarray
    spread: np.ndarray

    def to_columns(self, theta: np.ndarray, intercept: bool) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients (d, K) and intercept (K,) of the stored columns, from theta (d [+ 1], K)."""
        d = len(self.mean)
        coef = theta[:d] / self.scale[:, None]
        return coef, (theta[d] if intercept else 0.0) - dot(self.mean, coef)

    def from_columns(self, gradient: np.ndarray, intercept: bool) -> np.ndarray:
        """Gradient in theta (d [+ 1], K), from that in (coefficients, intercept) (d + 1, K) of the stored columns."""
        d = len(self.mean)
        scaled = (gradient[:d] - np.outer(self.mean, gradient[d])) / self.scale[:, None]
        return np.vstack([scaled, gradient[d:]]) if intercept else scaled


def measure(comm: Comm, data: Dataset, centre: bool, standardize: bool = True) -> Scaling:
    """Weighted mean and standard deviation of every column; constant columns get scale 1. A collective.

    Two sweeps: the mean first, then squared deviations from it with the rounding error of the mean taken
    back (T. Chan, G. Golub, R. LeVeque, "Algorithms for computing the sample variance", Am. Stat. 37, 1983,
    eq. 1.7).

    centre : subtract the mean. Where there is an intercept, which is not penalised, that does not change the problem,
    only how well it is conditioned.  standardize : divide by the standard deviation.
    """
    prepare(comm, partial(data.slice.load, "column_moments"))
    d = data.header.d
    zero, one = np.zeros(d), np.ones(d)
    mean, square = _moments(comm, data.slice, zero)
    magnitude = np.sqrt(square)
    if not centre and not standardize:
        return Scaling(zero, one, magnitude, _positive(magnitude))
    error, square = _moments(comm, data.slice, mean)
    variance = np.maximum(square - error * error, 0.0)
    # The variance of a constant column is not exactly zero where its mean was rounded.
    rounding = 4.0 * np.finfo(np.float64).eps * np.abs(mean)
    deviation = np.sqrt(variance)
    deviation[deviation <= rounding] = 0.0
    scale = _positive(deviation) if standardize else one
    return Scaling(
        mean + error if centre else zero, scale, magnitude, _positive(deviation if centre else magnitude) / scale
    )


def _positive(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0.0, values, 1.0)


def spread_of_target(comm: Comm, data: Dataset) -> np.ndarray:
    """Weighted standard deviation of every column of y, (K,) float64, roughly. A collective."""
    rows = data.slice
    y = kernels.DenseSlice(rows.n, rows.block, rows.y, rows.weight, rows.offset[:0], rows.computing, tiles=rows.y)
    prepare(comm, partial(y.load, "column_moments"))
    mean, square = _moments(comm, y, np.zeros(y.d))
    result: np.ndarray = np.sqrt(np.maximum(square - mean * mean, 0.0))
    return result


def _moments(comm: Comm, rows: kernels.Slice, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    d = len(shift)
    sums = comm.sum_exactly(rows.column_moments(shift), "moments")
    return sums[:d] / sums[-1], sums[d:-1] / sums[-1]

"""Standardised columns, without touching the stored ones.

The solvers work with coefficients theta of the columns (x - mean) / scale; the kernels with coefficients
of x. The two are linked by

    coef = theta / scale,    intercept = theta_0 - mean · coef,

and gradients by the transpose of that map. X itself stays as it was read: narrow, shared between models.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import mpigd_kernels as kernels
import numpy as np

from mpigd.comm import Comm
from mpigd.dataset import Dataset, prepare
from mpigd.replicated import dot

LEAST_BLOCKS, MOST_SHARES = 8, 64  # of those that a first estimate comes from


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

    def columns(self, picked: np.ndarray) -> Scaling:
        """Of the columns `picked` (m,) int64 alone."""
        return Scaling(self.mean[picked], self.scale[picked], self.magnitude[picked], self.spread[picked])

    def to_columns(self, theta: np.ndarray, intercept: bool) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients (d, K) and intercept (K,) of the stored columns, from theta (d [+ 1], K)."""
        d = len(self.mean)
        coef = theta[:d] / self.scale[:, None]
        return coef, (theta[d] if intercept else 0.0) - dot(self.mean, coef)

    def from_coefficients(self, coef: np.ndarray, intercept: np.ndarray, with_intercept: bool) -> np.ndarray:
        """Theta (d [+ 1], K), from coefficients (d, K) and intercept (K,) of the stored columns."""
        theta = coef * self.scale[:, None]
        return np.vstack([theta, intercept + dot(self.mean, coef)]) if with_intercept else theta

    def from_columns(self, gradient: np.ndarray, intercept: bool) -> np.ndarray:
        """Gradient in theta (d [+ 1], K), from that in (coefficients, intercept) (d + 1, K) of the stored columns."""
        d = len(self.mean)
        result = np.empty((d + intercept, gradient.shape[1]))
        np.multiply.outer(self.mean, gradient[d], out=result[:d])
        np.subtract(gradient[:d], result[:d], out=result[:d])
        result[:d] /= self.scale[:, None]
        result[d:] = gradient[d:][:intercept]
        return result


def measure(comm: Comm, data: Dataset, centre: bool, standardize: bool = True) -> Scaling:
    """Weighted mean and standard deviation of every column; constant columns get scale 1. A collective.

    The mean of some blocks first, then in one sweep over all rows sums of deviations from it and of their squares, with
    what the mean was off by taken back (T. Chan, G. Golub, R. LeVeque, "Algorithms for computing the sample variance",
    Am. Stat. 37, 1983, eq. 1.7); and once more if that was more than the deviation itself.

    centre : subtract the mean. Where there is an intercept, which is not penalised, that does not change the problem,
    only how well it is conditioned.  standardize : divide by the standard deviation. With neither only magnitudes are
    wanted, and those of some blocks will do.
    """
    prepare(comm, partial(data.slice.load, "column_moments"))
    d = data.header.d
    zero, one = np.zeros(d), np.ones(d)
    blocks = -(-data.header.n // data.slice.block)
    some = data.part_of_blocks(0, max(min(blocks // LEAST_BLOCKS, MOST_SHARES), 1)).slice
    mean, square = _moments(comm, some, zero, data.streams)
    if not centre and not standardize:
        if not square.all():  # rare ones may be elsewhere
            _, square = _moments(comm, data.slice, zero, data.streams)
        magnitude = np.sqrt(square)
        return Scaling(zero, one, magnitude, _positive(magnitude))
    for _ in range(2):
        error, square = _moments(comm, data.slice, mean, data.streams)
        variance = np.maximum(square - error * error, 0.0)
        # The variance of a constant column is not exactly zero where its mean was rounded.
        rounding = 4.0 * np.finfo(np.float64).eps * np.abs(mean)
        constant = square <= rounding * rounding
        mean = np.where(constant, mean, mean + error)
        if (constant | (error * error <= variance)).all():
            break
    deviation = np.where(constant, 0.0, np.sqrt(variance))
    magnitude = np.sqrt(deviation * deviation + mean * mean)
    scale = _positive(deviation) if standardize else one
    return Scaling(mean if centre else zero, scale, magnitude, _positive(deviation if centre else magnitude) / scale)


def _positive(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0.0, values, 1.0)


def moments_of(comm: Comm, rows: kernels.Slice, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and, roughly, standard deviation of the y or offsets of rows, each (K,) float64. A collective."""
    own = kernels.DenseSlice(rows.n, rows.block, rows.y, rows.weight, rows.offset[:0], rows.computing, tiles=values)
    prepare(comm, partial(own.load, "column_moments"))
    mean, square = _moments(comm, own, np.zeros(own.d))
    return mean, np.sqrt(np.maximum(square - mean * mean, 0.0))


def _moments(
    comm: Comm, rows: kernels.Slice, shift: np.ndarray, streams: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted means of deviations from shift (d,) and of their squares; zeros where no row counts."""
    d = len(shift)
    with comm.agreement() if streams else nullcontext():
        total = rows.column_moments(shift)
    sums = comm.sum_exactly(total, "moments")
    sums /= sums[-1] if sums[-1] > 0.0 else 1.0
    return sums[:d], sums[d:-1]

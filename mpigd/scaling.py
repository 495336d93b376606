"""Standardised columns, without touching the stored ones.

The solvers work with coefficients theta of the columns (x - mean) / scale; the kernels with coefficients
of x. The two are linked by

    coef = theta / scale,    intercept = theta_0 - mean · coef,

and gradients by the transpose of that map. X itself stays as it was read: narrow, shared between models.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from mpigd.comm import Comm
from mpigd.dataset import Dataset, prepare


@dataclass(frozen=True)
class Scaling:
    """Centre and scale of every column, float64 (d,), equal on all ranks."""

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def none(cls, d: int) -> Scaling:
        """The scaling that changes nothing."""
        return cls(np.zeros(d), np.ones(d))

    def to_columns(self, theta: np.ndarray, intercept: bool) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients (d, K) and intercept (K,) of the stored columns, from theta (d [+ 1], K)."""
        d = len(self.mean)
        coef = theta[:d] / self.scale[:, None]
        return coef, (theta[d] if intercept else 0.0) - self.mean @ coef

    def from_columns(self, gradient: np.ndarray, intercept: bool) -> np.ndarray:
        """Gradient in theta (d [+ 1], K), from that in (coefficients, intercept) (d + 1, K) of the stored columns."""
        d = len(self.mean)
        scaled = (gradient[:d] - np.outer(self.mean, gradient[d])) / self.scale[:, None]
        return np.vstack([scaled, gradient[d:]]) if intercept else scaled


def measure(comm: Comm, data: Dataset, centre: bool) -> Scaling:
    """Weighted mean and standard deviation of every column; constant columns get scale 1. A collective.

    Two sweeps: the mean first, then squared deviations from it with the rounding error of the mean taken
    back (T. Chan, G. Golub, R. LeVeque, "Algorithms for computing the sample variance", Am. Stat. 37, 1983,
    eq. 1.7). With centre=False columns are only divided by their standard deviation.
    """
    prepare(comm, partial(data.slice.load, "column_moments"))
    d = data.header.d
    mean, _ = _moments(comm, data, np.zeros(d))
    error, square = _moments(comm, data, mean)
    variance = np.maximum(square - error * error, 0.0)
    # The variance of a constant column is not exactly zero where its mean was rounded.
    rounding = 4.0 * np.finfo(np.float64).eps * np.abs(mean)
    scale = np.sqrt(variance)
    scale[scale <= rounding] = 1.0
    return Scaling(mean + error if centre else np.zeros(d), scale)


def _moments(comm: Comm, data: Dataset, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    d = len(shift)
    sums = comm.sum_exactly(data.slice.column_moments(shift), "moments")
    return sums[:d] / sums[-1], sums[d:-1] / sums[-1]

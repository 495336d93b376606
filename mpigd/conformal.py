"""Prediction intervals by split conformal prediction: they hold for any model and any distribution of rows.

Of rows that the model was not fitted on, with y, the residuals are ranked; the interval around a prediction reaches as
far as one of rank k = ceil((n + 1) level) does. If further rows come from where those came from, y lies in it with
probability level at least, and at most 1 / (n + 1) more where no two residuals are equal (V. Vovk, A. Gammerman, G.
Shafer, "Algorithmic learning in a random world", 2005, section 2.2; J. Lei et al., "Distribution-free predictive
inference for regression", JASA 113, 2018, theorem 2). Residuals count in units of the standard deviation that the
distribution of the loss has at the prediction, which changes the widths of intervals and not how often they hold (Lei
et al., section 5.2).
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from mpigd.comm import Comm
from mpigd.errors import DataError
from mpigd.metrics import variance_power
from mpigd.model import Model

FINEST = 1_000_000  # denominator of a level
LARGEST = int(np.array(np.inf).view(np.int64))


def spread(model: Model, mean: np.ndarray) -> np.ndarray:
    """The standard deviation of y at its mean, up to a factor, same shape; 1 where the loss says nothing of it."""
    name, parameter = model.loss.name, model.parameter
    power = variance_power(name, parameter)
    mean = np.maximum(mean, np.finfo(np.float64).tiny)
    if power is not None:
        return np.asarray(mean ** (0.5 * power))
    return np.sqrt(mean + parameter * mean * mean) if name == "negative-binomial" else np.ones_like(mean)


def residual_sizes(model: Model, y: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """How far y (n, K) is from its mean, in units of its spread."""
    return np.asarray(np.abs(y - mean) / spread(model, mean))


def conformal_quantile(comm: Comm, size: np.ndarray, level: float) -> np.ndarray:
    """How far intervals reach, in units of the spread, (K,), from the residuals (rows, K) of all ranks. A collective.

    DataError where there are too few rows for the level.
    """
    n = int(comm.sum(np.array([len(size)]))[0])
    exact = Fraction(level).limit_denominator(FINEST)
    k = math.ceil((n + 1) * exact)
    if k > n:
        with comm.agreement():
            raise DataError(
                f"--calibrate: {n} row(s) of positive weight are too few for --interval {level:g}, which needs "
                f"{math.ceil(exact / (1 - exact))}; give more, or a lower level"
            )
    return kth_smallest(comm, size, k)


def kth_smallest(comm: Comm, values: np.ndarray, k: int) -> np.ndarray:
    """The k-th smallest of each column of values (rows, K) >= 0 of all ranks, (K,), k from 1. A collective.

    Bits of doubles that are not negative, as integers, are in the order of the doubles; of these the answer is found by
    halving, 63 times at most. Nothing but counts leaves a rank.
    """
    keys = np.sort(np.ascontiguousarray(values, np.float64).view(np.int64), axis=0)
    low, high = np.zeros(keys.shape[1], np.int64), np.full(keys.shape[1], LARGEST)
    while (low < high).any():
        middle = low + (high - low) // 2
        below = np.array([np.searchsorted(keys[:, j], m, side="right") for j, m in enumerate(middle)], np.int64)
        enough = comm.sum(below) >= k
        low, high = np.where(enough, low, middle + 1), np.where(enough, middle, high)
    return low.view(np.float64)


def intervals(model: Model, mean: np.ndarray, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends around means (n, K): what the loss takes for y is not left."""
    half = reach * spread(model, mean)
    lower, upper = mean - half, mean + half
    return lower if model.loss.target == "real" else np.maximum(lower, 0.0), upper

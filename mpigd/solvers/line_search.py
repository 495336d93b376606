"""How far to go in a direction."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

DECREASE, FLATTENING, MOST_TRIALS = 1e-4, 0.9, 25
ROUNDING = 2.0**-50  # of a value: less than this is no rise


@dataclass(frozen=True)
class Trial(Generic[T]):
    """A point on the line: the value, the slope of the line there, and what else was found."""

    value: float
    slope: float
    found: T


def search(along: Callable[[float], Trial[T]], value: float, slope: float) -> tuple[Trial[T] | None, int]:
    """A trial that meets the weak Wolfe conditions, or None, and how many were made; the first is at step 1.

    value, slope : at step 0; slope < 0.

    By bracketing (A. Lewis, M. Overton, "Nonsmooth optimization via quasi-Newton methods", Math. Program. 141, 2013,
    algorithm 2.6), the first reduction by quadratic interpolation. Where values differ by rounding alone, slopes decide
    (W. Hager, H. Zhang, SIAM J. Optim. 16, 2005, eq. 4.1).
    """
    low, high, step = 0.0, math.inf, 1.0
    for trials in range(1, MOST_TRIALS + 1):
        trial = along(step)
        level = trial.value <= value + ROUNDING * abs(value) and abs(trial.slope) <= FLATTENING * abs(slope)
        if not (trial.value <= value + DECREASE * step * slope or level):
            high = step
        elif trial.slope < FLATTENING * slope:
            low = step
        else:
            return trial, trials
        if high == math.inf:
            step = 2.0 * low
        elif low == 0.0 and math.isfinite(trial.value):
            excess = trial.value - value - step * slope
            best = -slope * step * step / (2.0 * excess) if excess > 0.0 else 0.5 * step
            step = min(max(best, 0.1 * step), 0.5 * step)
        else:
            step = 0.5 * (low + high)
    return None, MOST_TRIALS

"""The null model: coefficients zero, and the intercept that is best for them. Where fits begin, and what they refer to.

Its loss and gradient say how much there is to gain, in any units and wherever y lies; those at an intercept of zero may
be beyond all measure, as with a log link and y of about 10^7. It follows from y, weights and offsets alone: X, which is
nearly all of what a pass reads, is left alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from mpigd_kernels.elementary import log

from mpigd.replicated import norm

# A row of such a loss is linear in y: all rows together are as one with the mean of y, if there are no offsets.
LINEAR = ("poisson", "gamma", "tweedie", "negative-binomial")
CLOSE, NEAR = 1e-6, 1e-3  # of the unit of a predictor: how near to the best intercept, and to one to go on from
EXACT = 1e-12  # the same where it costs no pass over rows
MOST_TRIALS = 200

Row = Callable[[float, float, float, float], tuple[float, float, float]]
ValueAndSlope = Callable[[float], tuple[float, float]]  # of the mean loss, as a function of the intercept


@dataclass(frozen=True)
class NullModel:
    """The null model, and what is known of it and of theta = 0; replicated.

    intercept : (K,).
    size : magnitude of the data term at theta = 0, roughly.
    rounding : what to multiply with a relative error for what rounding does to the gradient here, roughly.
    curvature : of the data term in the intercept, over steps as large as y spreads; 0 unless it was wanted.
    value : of the data term here; None where it was not found on the way.
    cancels : whether terms of the data term have both signs, so that its value may be near zero.
    """

    intercept: np.ndarray
    size: float = 0.0
    rounding: float = 0.0
    curvature: float = 0.0
    value: float | None = None
    cancels: bool = False


def of_mean(mean: np.ndarray, spread: np.ndarray) -> NullModel:
    """Of the squared loss: mean and standard deviation (K,) of y - offset."""
    return NullModel(mean, 0.5 * float(np.sum(spread * spread + mean * mean)), 2.0 * norm(mean))


def of_shares(shares: np.ndarray) -> NullModel | None:
    """Of softmax, from the shares (K,) of classes in all weight; None where a class has none: no intercept is best."""
    if not shares.all():
        return None
    logs = np.array([float(log(share)) for share in shares])
    intercept, even = logs - np.sum(logs) / len(logs), 1.0 / len(shares)
    return NullModel(
        intercept,
        size=float(-log(even)),
        rounding=norm(shares - even) + norm(intercept),
        value=-float(np.sum(shares * logs)),
    )


def of_few(row: Row, parameters: tuple[float, float], rows: Sequence[tuple[float, float]]) -> NullModel | None:
    """Of a few rows (share of all weight, y) that stand for all; None where no intercept is best."""

    def means(intercept: float) -> tuple[float, float, float]:
        """Value, slope and curvature."""
        parts = [(share, row(intercept, y, *parameters)) for share, y in rows]
        value, slope, curvature = (float(sum(share * part[k] for share, part in parts)) for k in range(3))
        return value, slope, curvature

    best = root(lambda at: means(at)[1], 0.0, 1.0, close=EXACT) if all(share > 0.0 for share, _ in rows) else None
    if best is None:
        return None
    (at_zero, slope, _), (value, _, curvature) = means(0.0), means(best)
    return NullModel(np.array([best]), abs(at_zero), abs(slope) + abs(curvature * best), value=value)


def of_counts(at: ValueAndSlope, guess: float, mean: float) -> NullModel | None:
    """Of Poisson regression with offsets, from one evaluation; None where the guess is too far off for that.

    Whatever the offsets are, its mean is exp(intercept) times one number.

    mean : of y.
    """
    value, slope = at(guess)
    ratio = 1.0 + slope / mean
    if not 0.0 < ratio < math.inf:
        return None
    best = guess - float(log(ratio))
    return NullModel(np.array([best]), abs(value), abs(slope) + mean * (1.0 + abs(best)))


def seek(some: ValueAndSlope, whole: ValueAndSlope, guess: float, unit: float) -> NullModel | None:
    """By slopes, on some rows first, then on all; None where no intercept is best.

    unit : of the predictor.
    """
    values: dict[float, float] = {}

    def of_some(intercept: float) -> float:
        return some(intercept)[1]

    def of_all(intercept: float) -> float:
        values[intercept], slope = whole(intercept)
        return slope

    size, steep = some(0.0)
    found = root(of_some, guess, unit, close=NEAR)
    near = guess if found is None else found
    wide = 0.5 * (of_some(near + unit) - of_some(near - unit)) / unit
    local = (of_some(near + NEAR * unit) - of_some(near)) / (NEAR * unit)
    best = root(of_all, near, unit, local)
    if best is None:
        return None
    rounding = abs(steep) + max(local, wide) * abs(best)
    return NullModel(np.array([best]), abs(size), rounding, wide, values[best])


def together(outputs: Sequence[NullModel | None]) -> NullModel | None:
    """Of outputs that have nothing to do with each other."""
    found = [each for each in outputs if each is not None]
    if len(found) < len(outputs):
        return None
    if len(found) == 1:
        return found[0]
    return NullModel(
        np.concatenate([each.intercept for each in found]),
        size=sum(each.size for each in found),
        rounding=sum(each.rounding for each in found),
        curvature=max(each.curvature for each in found),
    )


def root(
    slope: Callable[[float], float], guess: float, unit: float, curvature: float = 0.0, close: float = CLOSE
) -> float | None:
    """Where a function that rises vanishes, within a part `close` of a unit; None where that is nowhere to be found.

    curvature : about how fast it rises at the guess, if known.

    By secants, which stay in the bracket known so far and give way to its middle where they gain less than that (W.
    Press et al., "Numerical recipes", 2007, section 9.4, with secants for derivatives).
    """
    low, high, at, reach, last = -math.inf, math.inf, guess, unit, math.inf
    before: tuple[float, float] | None = None
    for _ in range(MOST_TRIALS):
        found = slope(at)
        if not math.isfinite(found):
            return None
        if found == 0.0:
            return at
        low, high = (low, at) if found > 0.0 else (at, high)
        if before is not None and at != before[0]:
            curvature = (found - before[1]) / (at - before[0])
        move = -found / curvature if curvature > 0.0 else math.copysign(reach, -found)
        near = last <= math.sqrt(close) * unit or before is None  # so that the curvature is that of here
        if near and (abs(move) <= close * unit or at + move == at):
            return at
        small = not near and abs(move) <= close * unit
        if math.isinf(high - low):
            move = math.copysign(reach if small else min(abs(move), reach), move)
            reach *= 2.0
        elif small or not (low < at + move < high and abs(move) <= 0.5 * last):
            move = 0.5 * (low + high) - at
        before, at, last = (at, found), at + move, abs(move)
    return None

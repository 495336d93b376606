"""Made-up rows: functions of the options and of a row's number alone, never of the ranks.

Rows come in parts, each with random words of its own (Philox by counter, see `mpigd.sampling`); what is made of them is
arithmetic of mpigd's own kernels, so that the bytes are the same on every machine, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from mpigd_kernels import synthetic

from mpigd.options import Generate
from mpigd.sampling import words

X, PLACES, MISSING, NOISE, TARGET, WEIGHT, COEF, CHOICE, SCALE = range(9)  # what words are for
NUMBERS = 1 << 18  # of X in a part, about
MOST_PARTS, LEAST_ROWS = 64, 16
INT8_UNIT = 32.0  # what one standard deviation is
# Standard deviation of X coef, and the intercept: so that classes overlap and counts are not huge.
SIGNAL = {"squared": (1.0, 1.0), "logistic": (2.0, 0.0), "softmax": (2.0, 0.0), "poisson": (0.5, 0.7)}
KERNELS = (
    synthetic.normals,
    synthetic.correlate,
    synthetic.predictors,
    synthetic.predictors_sparse,
    synthetic.draw_classes,
    synthetic.draw_counts,
)


@dataclass(frozen=True)
class Part:
    """Some rows. x : (m, d), or the numbers of sparse rows, (k,), beside `indices` (k,) and `ends` (m,).

    All are as files hold them: x of the type asked for, y and weight (m,) float64, indices int32, ends int64.
    """

    first: int
    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None = None
    indices: np.ndarray | None = None
    ends: np.ndarray | None = None


class Recipe:
    """How rows are made. coef (d, K) and intercept (K,) float64 are those of the columns as they are stored.

    part : rows of a part but the last one.  stored : how many numbers sparse rows have in all; None for dense ones.
    """

    def __init__(self, options: Generate) -> None:
        self.options, self.n, self.d = options, options.rows, options.columns
        self.dtype = np.dtype(options.dtype)
        self.stored: int | None = None
        if options.per_row is not None:
            self.stored = self.n * options.per_row
        elif options.density is not None:
            self.stored = round(self.n * self.d * options.density)
        width = self.d if self.stored is None else max(self.stored // self.n, 1)
        self.part = min(_power_of_two(NUMBERS // width), max(_power_of_two(self.n // MOST_PARTS), LEAST_ROWS))
        unit = np.exp2(np.rint(self._normals(SCALE, self.d) * options.scale_spread * np.log2(np.e)))
        self.scale = np.full(self.d, INT8_UNIT) if self.dtype.kind == "i" else unit
        signal, intercept = SIGNAL[options.loss]
        self.noise = (1.0 if options.loss == "squared" else 0.0) if options.noise is None else options.noise
        self.coef = self._coefficients(signal)
        if options.imbalance is not None:
            intercept = _intercept_for(options.imbalance, np.hypot(signal, self.noise))
        self.intercept = np.full(self.coef.shape[1], intercept)

    def _coefficients(self, signal: float) -> np.ndarray:
        """Normal numbers where a coefficient is not zero, such that X coef has the standard deviation asked for."""
        options, outputs = self.options, self.options.classes if self.options.loss == "softmax" else 1
        effect = self._normals(COEF, self.d * outputs).reshape(self.d, outputs)
        if options.nonzero is not None:
            count = round(options.nonzero * self.d) if options.nonzero < 1.0 else int(options.nonzero)
            order = np.argsort(words(options.seed, CHOICE, 0, self.d), kind="stable")
            effect[order[count:]] = 0.0
        variance, carried = np.zeros(outputs), np.zeros(outputs)
        for some in effect if options.correlation else []:  # of sum_j b_j x_j: sum_jk b_j b_k rho^|j - k|
            variance += some * some + 2.0 * some * carried
            carried = options.correlation * (carried + some)
        if not options.correlation:
            variance = np.cumsum(effect * effect, axis=0)[-1]  # in order, unlike a sum
        if self.stored is not None:
            variance *= self.stored / self.n / self.d
        result: np.ndarray = effect * signal / np.sqrt(np.where(variance > 0.0, variance, 1.0)) / self.scale[:, None]
        return result

    def _normals(self, purpose: int, count: int, part: int = 0) -> np.ndarray:
        """Normal numbers (count,)."""
        out = np.empty(count)
        synthetic.normals(words(self.options.seed, purpose, part, -(-count // 2)), out)
        return out

    def begin_of(self, row: int) -> int:
        """How many numbers sparse rows have before a row: as even as whole numbers are."""
        each, more = divmod(self.stored or 0, self.n)
        return row * each + row * more // self.n

    def make(self, number: int) -> Part:
        """The rows of a part."""
        first = number * self.part
        m = min(self.part, self.n - first)
        eta = np.tile(self.intercept, (m, 1))
        if self.noise:
            eta += self.noise * self._normals(NOISE, eta.size, number).reshape(eta.shape)
        x, more = self._dense(number, m, eta) if self.stored is None else self._sparse(number, first, m, eta)
        if self.options.missing:
            drawn = _halves(words(self.options.seed, MISSING, number, -(-x.size // 2)))[: x.size]
            x[(drawn < self.options.missing * 2.0**32).reshape(x.shape)] = np.nan
        weight = None
        if self.options.weights:
            weight = 0.5 + _halves(words(self.options.seed, WEIGHT, number, -(-m // 2)))[:m] * 2.0**-32
        return Part(first, x, self._target(number, eta), weight, **more)

    def _dense(self, number: int, m: int, eta: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        x = self._normals(X, m * self.d, number).reshape(m, self.d)
        if self.options.correlation:
            synthetic.correlate(x, self.options.correlation)
        x = self._stored(x, self.scale)
        synthetic.predictors(x.astype(np.float64, copy=False), self.coef, eta)
        return x, {}

    def _sparse(self, number: int, first: int, m: int, eta: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        """Each row divides the columns into as many stretches as it has numbers, and has one in each."""
        each, more = divmod(self.stored or 0, self.n)
        rows = np.arange(first, first + m + 1)
        ends = rows * each + rows * more // self.n
        count = np.diff(ends)
        row = np.repeat(np.arange(m), count)
        place, of = np.arange(len(row)) - (ends[:-1] - ends[0])[row], count[row]
        low, high = place * self.d // of, (place + 1) * self.d // of
        drawn = _halves(words(self.options.seed, PLACES, number, -(-len(row) // 2)))[: len(row)].astype(np.int64)
        columns = low + (drawn * (high - low) >> 32)
        x = self._stored(self._normals(X, len(row), number), self.scale[columns])
        synthetic.predictors_sparse(x.astype(np.float64, copy=False), columns, row, self.coef, eta)
        return x, {"indices": columns.astype(np.int32), "ends": ends[1:]}

    def _stored(self, x: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Numbers in the units of their columns, of the type asked for; x is overwritten."""
        if self.options.scale_spread or self.dtype.kind == "i":
            x *= scale
            limit = np.iinfo(self.dtype).max if self.dtype.kind == "i" else np.finfo(self.dtype).max
            np.clip(np.rint(x) if self.dtype.kind == "i" else x, -float(limit), float(limit), out=x)
        return x.astype(self.dtype, copy=False)

    def _target(self, number: int, eta: np.ndarray) -> np.ndarray:
        if self.options.loss == "squared":
            return eta[:, 0].copy()
        y = np.empty(len(eta))
        draw = synthetic.draw_counts if self.options.loss == "poisson" else synthetic.draw_classes
        draw(eta, words(self.options.seed, TARGET, number, -(-len(eta) // 2)), y)
        return y


def _halves(some: np.ndarray) -> np.ndarray:
    """The halves of words (m,), the low one first: (2 m,) uint32."""
    result: np.ndarray = some.astype("<i8", copy=False).view("<u4")
    return result


def _power_of_two(most: int) -> int:
    return 1 << max(most, 1).bit_length() - 1


def _intercept_for(share: float, spread: float) -> float:
    """The intercept with which the mean of 1 / (1 + exp(-eta)) is a share, for normal eta of a standard deviation.

    By bisection over even shares of eta; rounded, so that the last digits of a library's exp do not matter.
    """
    eta = np.empty(1 << 12)
    synthetic.normals((np.arange(1 << 12, dtype="<u4") * 2**20 + 2**19).view("<i8").astype(np.int64), eta)
    low, high = -60.0, 60.0
    for _ in range(60):
        middle = (low + high) / 2.0
        below = float(np.mean(1.0 / (1.0 + np.exp(-(middle + spread * eta))))) < share
        low, high = (middle, high) if below else (low, middle)
    return round(low, 6)

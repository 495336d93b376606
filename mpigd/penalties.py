"""Penalties and bounds: the part of the objective in theta alone.

    P(theta) = (l2 / 2) ||theta||^2 + sum_g strength_g ||theta_g||_2        low <= theta <= high

The groups g part the elements of theta; where each is a group of its own the sum is the l1 norm (the lasso), and with
l2 the elastic net (H. Zou, T. Hastie, J. R. Stat. Soc. B 67, 2005). The first term is smooth and goes with the data
term; the rest is what proximal solvers are for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Penalty:
    """A penalty of theta (p, K), float64 all.

    l2 : (p, 1), zero where theta is not penalised.
    group : (p, K) int64, the group of every element of theta, from 0.  strength : (groups,).
    low, high : (p, 1) bounds; finite only where each element is a group.
    """

    l2: np.ndarray
    group: np.ndarray
    strength: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @cached_property
    def is_smooth(self) -> bool:
        """Whether there is nothing but the smooth term."""
        free = np.isneginf(self.low).all() and np.isposinf(self.high).all()
        return bool(free and not self.strength.any())

    def smooth_value(self, theta: np.ndarray) -> float:
        """The smooth term."""
        return 0.5 * float(np.sum(self.l2 * theta * theta))

    def smooth_gradient(self, theta: np.ndarray) -> np.ndarray:
        """Its gradient, same shape as theta."""
        gradient: np.ndarray = self.l2 * theta
        return gradient

    def value(self, theta: np.ndarray) -> float:
        """The rest of the penalty, at a theta within the bounds."""
        return float(np.sum(self.strength * self._norms(theta))) if self.strength.any() else 0.0

    def total(self, theta: np.ndarray) -> float:
        """All of the penalty."""
        return self.smooth_value(theta) + self.value(theta)

    def proximal(self, theta: np.ndarray, rate: float) -> np.ndarray:
        """The z that minimises ||z - theta||^2 / (2 rate) + the rest of the penalty, within the bounds.

        N. Parikh, S. Boyd, "Proximal algorithms", 2014, sections 6.5.1 to 6.5.4; for one number, bounds are met last.
        """
        if self.is_smooth:
            return theta
        norms = self._norms(theta)
        left = np.maximum(norms - rate * self.strength, 0.0) / np.where(norms > 0.0, norms, 1.0)
        result: np.ndarray = np.clip(left[self.group] * theta, self.low, self.high)
        return result

    def subgradient(self, theta: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """The shortest subgradient of the objective, (p, K), where the gradient of its smooth part is given.

        It is zero at the minimum, only there, and the gradient itself where nothing is but the smooth part. At a bound
        it is what is left of it when what points beyond the bound is taken away.
        """
        if self.is_smooth:
            return gradient
        norms = self._norms(theta)
        slopes = self._norms(gradient)
        zero = (norms == 0.0)[self.group]
        left = np.maximum(slopes - self.strength, 0.0) / np.where(slopes > 0.0, slopes, 1.0)
        at = (self.strength / np.where(norms > 0.0, norms, 1.0))[self.group]
        shortest: np.ndarray = np.where(zero, left[self.group] * gradient, gradient + at * theta)
        if np.isfinite(self.low).any() or np.isfinite(self.high).any():
            low, high = theta <= self.low, theta >= self.high
            shortest = np.where(low, np.minimum(shortest, 0.0), shortest)
            shortest = np.where(high, np.maximum(shortest, 0.0), shortest)
        return shortest

    def times(self, factor: float) -> Penalty:
        """The same, so many times as strong."""
        return replace(self, l2=factor * self.l2, strength=factor * self.strength)

    def strongest(self, slope: np.ndarray) -> float:
        """The factor, at least 1, from which on all that is penalised is zero; slope (p, K) is that of the null model.

        Without kinks nothing ever is; a thousand times as strong leaves little.
        """
        if not self.strength.any():
            return 1000.0
        slopes = self._norms(slope)
        kinked = self.strength > 0.0
        return max(float(np.max(slopes[kinked] / self.strength[kinked])), 1.0)

    def rows(self, picked: np.ndarray) -> Penalty:
        """The penalty of the rows `picked` (m,) int64 of theta alone: whole groups."""
        groups, group = np.unique(self.group[picked], return_inverse=True)
        return replace(
            self,
            l2=self.l2[picked],
            group=group.reshape(len(picked), -1),
            strength=self.strength[groups],
            low=self.low[picked],
            high=self.high[picked],
        )

    @cached_property
    def members(self) -> tuple[np.ndarray, np.ndarray]:
        """Elements of theta group by group (p K,), and where each group begins, and the last ends, (groups + 1,)."""
        order = np.argsort(self.group, axis=None, kind="stable")
        return order, np.searchsorted(self.group.reshape(-1)[order], np.arange(len(self.strength) + 1))

    def _norms(self, theta: np.ndarray) -> np.ndarray:
        """Euclidean norm of every group, (groups,), added up in the order of elements."""
        if len(self.strength) == theta.size:
            sizes: np.ndarray = abs(theta.reshape(-1))[self.members[0]]  # exact, where a square may not be
            return sizes
        squares = np.bincount(self.group.reshape(-1), (theta * theta).reshape(-1), len(self.strength))
        norms: np.ndarray = np.sqrt(squares)
        return norms


def penalty(
    l2: float,
    l1: float,
    scale: np.ndarray,
    outputs: int,
    intercept: bool,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    group: np.ndarray | None = None,
) -> Penalty:
    """The penalty of d columns that are divided by scale (d,), and of an intercept, which is free.

    group : (d,) int64, numbers of groups of columns from 0, or None for the l1 norm. A group of m elements counts
    sqrt(m) times l1 (M. Yuan, Y. Lin, J. R. Stat. Soc. B 68, 2006, eq. 2.1).
    bounds : of coefficients of the columns as they are stored.
    """
    d, free = len(scale), int(intercept)
    if group is None:
        of_columns = np.arange(d * outputs).reshape(d, outputs)
    else:
        of_columns = np.broadcast_to(group[:, None], (d, outputs))
    strength = l1 * np.sqrt(np.bincount(of_columns.reshape(-1)).astype(float))
    of_intercept = len(strength) + np.arange(free * outputs).reshape(free, outputs)
    return Penalty(
        l2=np.append(np.full(d, l2), np.zeros(free))[:, None],
        group=np.vstack([of_columns, of_intercept]).astype(np.int64),
        strength=np.append(strength, np.zeros(free * outputs)),
        low=np.append(bounds[0] * scale, np.full(free, -np.inf))[:, None],
        high=np.append(bounds[1] * scale, np.full(free, np.inf))[:, None],
    )

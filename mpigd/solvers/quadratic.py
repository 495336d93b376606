"""The minimum of a quadratic with a penalty that has kinks, and within bounds: every rank finds it for itself."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from mpigd_kernels.descent import descend
from mpigd_kernels.factor import factor

from mpigd.penalties import Penalty
from mpigd.replicated import norm

ROUNDS, SWEEPS = 50, 40
SMALL = 1e-5  # of the subgradient at the start: enough, the quadratic being a model only


def minimise(matrix: np.ndarray, slope: np.ndarray, theta: np.ndarray, penalty: Penalty) -> np.ndarray:
    """The z (p, 1) that minimises slope' (z - theta) + (z - theta)' matrix (z - theta) / 2 + the kinks at z.

    matrix (p, p) : positive definite; it holds the smooth penalty.  slope, theta (p, 1) : theta within bounds.

    Rounds of coordinate descent find out which elements are zero or at a bound; where every element is a group, the
    others are then found from their equations, as far as none of them changes its sign or meets a bound on the way.
    """
    members, starts = penalty.members
    order = np.ascontiguousarray(members)
    lone = len(penalty.strength) == len(theta)
    if lone:
        curvature = np.ascontiguousarray(np.diagonal(matrix)[order])
    else:
        curvature = np.array([_largest(matrix, order[a:b]) for a, b in pairwise(starts)])
    low, high = (np.ascontiguousarray(bound[:, 0]) for bound in (penalty.low, penalty.high))
    z, at, scratch = theta[:, 0].copy(), slope[:, 0].copy(), np.empty(len(theta))
    strength = penalty.strength[penalty.group[:, 0]] if lone else np.zeros(0)
    enough = SMALL * norm(penalty.subgradient(theta, slope))
    for _ in range(ROUNDS):
        descend(matrix, order, starts, penalty.strength, curvature, low, high, SWEEPS, 1e-8, at, z, scratch)
        if lone:
            z = _move_free(matrix, at, z, strength, low, high)
            moved = z - theta[:, 0]
            at = slope[:, 0] + np.sum(matrix * moved, axis=1)
        if norm(penalty.subgradient(z[:, None], at[:, None])) <= enough:
            break
    return z[:, None]


def _largest(matrix: np.ndarray, picked: np.ndarray) -> float:
    """A bound of the largest eigenvalue of some rows and columns."""
    block = matrix[np.ix_(picked, picked)]
    return min(float(np.max(np.sum(np.abs(block), axis=1))), float(np.sum(np.diagonal(block))))


def _move_free(
    matrix: np.ndarray, slope: np.ndarray, z: np.ndarray, strength: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Z with the elements at no kink and no bound moved to where their slopes vanish, or the first of them stops."""
    free = np.flatnonzero(((z != 0.0) | (strength == 0.0)) & (z > low) & (z < high))
    if not free.size:
        return z
    side = np.sign(z[free]) * (strength[free] > 0.0)
    step = -factor(matrix[np.ix_(free, free)]).solve(slope[free] + strength[free] * side)
    least = np.maximum(low[free], np.where(side > 0.0, 0.0, -np.inf))
    most = np.minimum(high[free], np.where(side < 0.0, 0.0, np.inf))
    end = np.where(step < 0.0, least, most)
    with np.errstate(divide="ignore", invalid="ignore"):
        room = np.where(step != 0.0, (end - z[free]) / step, np.inf)
    share = min(float(np.min(room)), 1.0)
    moved = z.copy()
    moved[free] = np.clip(np.where(room <= share, end, z[free] + share * step), least, most)
    return moved

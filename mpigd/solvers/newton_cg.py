"""Newton's method in a trust region, its equations solved by conjugate gradients, so that no Hessian is formed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from mpigd_kernels.factor import Factor, factor

from mpigd.replicated import dot
from mpigd.solvers.base import Function, State
from mpigd.solvers.line_search import ROUNDING

ACCEPTED, POOR, GOOD = 1e-4, 0.25, 0.75  # of the predicted fall of the objective
SHRINK, GROW = 0.25, 2.0
START = 10.0  # the first radius, in lengths of the metric's own step


@dataclass(frozen=True)
class RegionState(State):
    """A state with the radius of the trust region in the metric, and the norm of the first gradient.

    metric : its factor, None for an estimate of the diagonal.
    """

    radius: float = 0.0
    first_norm: float = 0.0
    metric: Factor | None = None


@dataclass(frozen=True)
class NewtonCG:
    """theta <- theta + p, p from conjugate gradients on Hessian · p = -gradient, as far as the region's edge.

    T. Steihaug, "The conjugate gradient method and trust regions in large scale optimization", SIAM J. Numer. Anal. 20,
    1983; preconditioned by the Hessian of one of every `one_in` blocks where the solver begins, or with 0 by an
    estimate of its diagonal. The equations are solved to min(1/2, sqrt(relative gradient)) of the gradient, so that
    steps converge superlinearly (J. Nocedal, S. Wright, "Numerical optimization", 2006, section 7.1). Products with the
    Hessian use what the last gradient has kept of each row, and cost a pass each.
    """

    one_in: int = 0
    seed: int = 0
    most_products: int = 100

    def evaluate(self, objective: Function, theta: np.ndarray, step: int) -> tuple[float, np.ndarray]:
        """Value and gradient at theta."""
        return objective.value_gradient_and_curvature(theta)

    def init(self, objective: Function, theta: np.ndarray) -> RegionState:
        """The state at theta, one pass."""
        value, gradient = objective.value_gradient_and_curvature(theta)
        metric, passes = None, 1.0
        if self.one_in:
            matrix, more = objective.metric(theta, self.one_in, self.seed)
            metric, passes = factor(matrix), passes + more
        state = RegionState(theta, value, gradient, 0, passes, 1.0, metric=metric)
        length = math.sqrt(_inner(gradient, _solver(objective, state)(gradient)))
        return replace(state, radius=START * length, first_norm=state.gradient_norm)

    def step(self, objective: Function, state: RegionState) -> RegionState:
        """One update of theta; none where the objective would rise, but the region shrinks."""

        def product(direction: np.ndarray) -> np.ndarray:
            return objective.hessian_product(state.theta, direction)

        moved, change, length, products = self._solve(state, _solver(objective, state), product)
        predicted = -_inner(moved, state.gradient + 0.5 * change)
        theta = state.theta + moved
        value, gradient = objective.value_gradient_and_curvature(theta)
        # Where values differ by rounding alone, the gradient decides.
        level = abs(value - state.value) <= ROUNDING * abs(state.value)
        after = replace(state, theta=theta, value=value, gradient=gradient, step=state.step + 1)
        if level:
            share = 1.0 if after.gradient_norm < state.gradient_norm else -1.0
        else:
            share = (state.value - value) / predicted if predicted > 0.0 and math.isfinite(value) else -1.0
        radius = state.radius
        if share < POOR:
            radius = SHRINK * length
        elif share > GOOD:
            radius = max(radius, GROW * length)
        passes = state.passes + products + 1
        if share < ACCEPTED:  # what products need is to be found anew
            after, passes = replace(state, stalled=level or not length > 0.0), passes + 1
        return replace(after, radius=radius, passes=passes)

    def _solve(
        self,
        state: RegionState,
        solve: Callable[[np.ndarray], np.ndarray],
        product: Callable[[np.ndarray], np.ndarray],
    ) -> tuple[np.ndarray, np.ndarray, float, int]:
        """The step, the Hessian times it, its length in the metric, and how many products were formed."""
        p, hp = np.zeros_like(state.theta), np.zeros_like(state.theta)
        r = state.gradient
        z = solve(r)
        direction = -z
        first = _inner(r, z)
        rz, pp, pd, dd = first, 0.0, 0.0, first  # inner products in the metric, by recurrence
        target = first * min(0.25, state.gradient_norm / state.first_norm) if state.first_norm > 0.0 else 0.0
        for products in range(1, self.most_products + 1):
            hd = product(direction)
            curvature = _inner(direction, hd)
            alpha = rz / curvature if curvature > 0.0 else math.inf
            after = pp + 2.0 * alpha * pd + alpha * alpha * dd
            if not after < state.radius**2:  # nor where there is no curvature
                root = math.sqrt(pd * pd + dd * (state.radius**2 - pp))
                alpha = (root - pd) / dd
                return p + alpha * direction, hp + alpha * hd, state.radius, products
            p, hp = p + alpha * direction, hp + alpha * hd
            r = r + alpha * hd
            z = solve(r)
            before, rz = rz, _inner(r, z)
            if rz <= target:
                break
            beta = rz / before
            direction = beta * direction - z
            pp, pd, dd = after, beta * (pd + alpha * dd), rz + beta * beta * dd
        return p, hp, math.sqrt(after), products


def _solver(objective: Function, state: RegionState) -> Callable[[np.ndarray], np.ndarray]:
    """What applies the inverse of the metric, or of the diagonal where the gradient is nothing in that."""
    metric, diagonal = state.metric, objective.diagonal()
    if metric and _inner(state.gradient, metric.solve(state.gradient)) > 0.0:
        return metric.solve
    return lambda values: values / diagonal


def _inner(a: np.ndarray, b: np.ndarray) -> float:
    return float(dot(a.reshape(-1), b.reshape(-1, 1))[0])

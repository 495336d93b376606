"""Nesterov's accelerated gradient descent, and its proximal form."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from mpigd.solvers.base import CompositeState, FirstOrder, Function, LearningRate, evaluate, start

CHECKED = 10  # steps between evaluations where the last point is not where gradients are taken


@dataclass(frozen=True)
class MomentumState(CompositeState):
    """A state with the point where `slope` was found, the last that a gradient step led to, and momentum's counter."""

    point: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    base: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    momentum: float = 1.0


@dataclass(frozen=True)
class Nesterov(FirstOrder):
    """A step along the gradient, then one on along the last two points.

    x_k = prox(y_k - rate · slope(y_k)),    y_{k+1} = x_k + (m_k - 1) / m_{k+1} · (x_k - x_{k-1})

    with m_{k+1} = (1 + sqrt(1 + 4 m_k^2)) / 2 (A. Beck, M. Teboulle, SIAM J. Imaging Sci. 2, 2009, section 4: FISTA),
    begun anew where the momentum points uphill (B. O'Donoghue, E. Candès, Found. Comput. Math. 15, 2015, section 3.2).
    theta is y, or where the penalty has kinks x: only that has zeros and keeps within bounds. As slopes are those at y,
    the objective at x is then evaluated every tenth step, which costs a pass and is counted as one.
    """

    learning_rate: LearningRate = "auto"

    def init(self, objective: Function, theta: np.ndarray) -> MomentumState:
        """The state at theta, one pass."""
        state = start(objective, theta, self.learning_rate, lambda smooth: smooth.full)
        return MomentumState(**vars(state), point=state.theta, base=state.theta)

    def step(self, objective: Function, state: MomentumState) -> MomentumState:
        """One update of theta, one pass."""
        rate, penalty = state.learning_rate, objective.penalty
        base = penalty.proximal(state.point - rate * state.slope, rate)
        uphill = float(np.sum((state.point - base) * (base - state.base))) > 0.0
        before = 1.0 if uphill else state.momentum
        momentum = (1.0 + math.sqrt(1.0 + 4.0 * before * before)) / 2.0
        point = base + (before - 1.0) / momentum * (base - state.base)
        value, slope = objective.value_and_gradient(point)
        state = replace(state, slope=slope, point=point, base=base, momentum=momentum, step=state.step + 1)
        if penalty.is_smooth:
            return replace(state, theta=point, value=value, gradient=slope, passes=state.passes + 1)
        if state.step % CHECKED:
            return replace(state, theta=base, passes=state.passes + 1, fresh=False)
        value, _, gradient = evaluate(objective, base)
        return replace(state, theta=base, value=value, gradient=gradient, passes=state.passes + 2, fresh=True)

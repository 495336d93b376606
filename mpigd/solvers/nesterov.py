"""Nesterov's accelerated gradient descent."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from mpigd.solvers.base import FirstOrder, Function, LearningRate, State, start


@dataclass(frozen=True)
class MomentumState(State):
    """A state with the last point that a gradient step led to, shape of theta, and the momentum's counter."""

    base: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    momentum: float = 1.0


@dataclass(frozen=True)
class Nesterov(FirstOrder):
    """A step along the gradient, then one on along the last two points.

    x_k = theta_k - rate · grad F(theta_k),    theta_{k+1} = x_k + (m_k - 1) / m_{k+1} · (x_k - x_{k-1})

    with m_{k+1} = (1 + sqrt(1 + 4 m_k^2)) / 2 (A. Beck, M. Teboulle, SIAM J. Imaging Sci. 2, 2009, eq. 4.2), begun anew
    where the momentum points uphill (B. O'Donoghue, E. Candès, Found. Comput. Math. 15, 2015, section 3.2).
    """

    learning_rate: LearningRate = "auto"

    def init(self, objective: Function, theta: np.ndarray) -> MomentumState:
        """The state at theta, one pass."""
        state = start(objective, theta, self.learning_rate, lambda smooth: smooth.full)
        return MomentumState(**vars(state), base=theta)

    def step(self, objective: Function, state: MomentumState) -> MomentumState:
        """One update of theta, one pass."""
        base = state.theta - state.learning_rate * state.gradient
        uphill = float(np.sum(state.gradient * (base - state.base))) > 0.0
        before = 1.0 if uphill else state.momentum
        momentum = (1.0 + math.sqrt(1.0 + 4.0 * before * before)) / 2.0
        theta = base + (before - 1.0) / momentum * (base - state.base)
        value, gradient = objective.value_and_gradient(theta)
        return replace(
            state,
            theta=theta,
            value=value,
            gradient=gradient,
            step=state.step + 1,
            passes=state.passes + 1,
            base=base,
            momentum=momentum,
        )

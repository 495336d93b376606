"""Distributed gradient descent."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mpigd.solvers.base import FirstOrder, Function, LearningRate, State, start
from mpigd.solvers.schedules import SCHEDULES


@dataclass(frozen=True)
class GradientDescent(FirstOrder):
    """theta <- theta - learning_rate · grad F(theta), the gradient over all rows.

    learning_rate="auto" is 1/L, L the Lipschitz constant of the gradient: each step then lowers F
    (Y. Nesterov, "Lectures on convex optimization", 2018, section 1.2.3).
    """

    learning_rate: LearningRate = "auto"
    schedule: str = "constant"
    max_passes: float = 1000.0

    def init(self, objective: Function, theta: np.ndarray) -> State:
        """The state at theta, one pass."""
        return start(objective, theta, self.learning_rate, lambda smooth: smooth.full)

    def step(self, objective: Function, state: State) -> State:
        """One update of theta, one pass."""
        factor = SCHEDULES[self.schedule](state.step, state.passes / self.max_passes)
        theta = state.theta - factor * state.learning_rate * state.gradient
        value, gradient = objective.value_and_gradient(theta)
        return replace(state, theta=theta, value=value, gradient=gradient, step=state.step + 1, passes=state.passes + 1)

"""Newton's method."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from mpigd_kernels.factor import factor

from mpigd.replicated import dot
from mpigd.solvers.base import Function, State
from mpigd.solvers.line_search import Trial, search


@dataclass(frozen=True)
class NewtonState(State):
    """A state with the Hessian (p, p) at theta."""

    hessian: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))


@dataclass(frozen=True)
class Newton:
    """theta <- theta - t · Hessian^-1 · gradient, t from a line search: nearly always 1.

    Value, gradient and Hessian of a point come from one read of the rows, so that a step that is accepted at once
    costs one pass. Columns that depend on others stay as they are (J. Nocedal, S. Wright, "Numerical optimization",
    2006, section 3.3).
    """

    def init(self, objective: Function, theta: np.ndarray) -> NewtonState:
        """The state at theta, one pass."""
        value, gradient, hessian = objective.second_order(theta)
        return NewtonState(theta, value, gradient, 0, 1.0, 1.0, hessian=hessian)

    def evaluate(self, objective: Function, theta: np.ndarray, step: int) -> tuple[float, np.ndarray]:
        """Value and gradient as they come with the Hessian, in another order of additions than alone."""
        return objective.second_order(theta)[:2]

    def step(self, objective: Function, state: NewtonState) -> NewtonState:
        """One update of theta."""
        gradient = state.gradient[:, 0]
        direction = -factor(state.hessian).solve(gradient)[:, None]
        slope = float(dot(gradient, direction)[0])
        if not slope < 0.0:  # a Hessian that is not positive definite, or none at all
            direction = -state.gradient / max(float(np.max(np.diagonal(state.hessian))), 1.0)
            slope = float(dot(gradient, direction)[0])

        def along(step: float) -> Trial[tuple[np.ndarray, np.ndarray, np.ndarray]]:
            theta = state.theta + step * direction
            value, found, hessian = objective.second_order(theta)
            return Trial(value, float(dot(found[:, 0], direction)[0]), (theta, found, hessian))

        trial, trials = search(along, state.value, slope)
        passes = state.passes + trials
        if trial is None:
            return replace(state, passes=passes, stalled=True)
        theta, found, hessian = trial.found
        return replace(
            state, theta=theta, value=trial.value, gradient=found, hessian=hessian, step=state.step + 1, passes=passes
        )

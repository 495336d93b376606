"""Least squares by its normal equations, in one read of the rows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from mpigd_kernels.factor import Factor, factor

from mpigd.replicated import dot, norm
from mpigd.solvers.base import Function, State

DOUBTFUL = 1e-8  # of the gradient at the start: what rounding may have done to one elsewhere


@dataclass(frozen=True)
class EquationsState(State):
    """A state with the Hessian (p, p), which is the same at every theta, and its factor."""

    hessian: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    factor: Factor = field(default_factory=lambda: factor(np.zeros((0, 0))))


@dataclass(frozen=True)
class Direct:
    """theta <- theta - Hessian^-1 · gradient, for a loss whose Hessian is the same everywhere.

    The first step takes value and gradient where it leads to from the quadratic itself and reads no row, unless means
    so far from zero that X'X has lost digits make that doubtful. Later ones, which only a tolerance near rounding asks
    for, refine the answer with the gradient on all rows: residuals then come
    from X, not from X'X, and errors shrink to about what a QR factorisation leaves, as long as the square root of the
    rounding error times the condition number of the scaled columns is small (Å. Björck, "Numerical methods for least
    squares problems", 1996, sections 2.9.3 and 6.6.5).
    """

    def evaluate(self, objective: Function, theta: np.ndarray, step: int) -> tuple[float, np.ndarray]:
        """Value and gradient at theta, with the bits that the state after so many steps has."""
        if step > 1:
            return objective.value_and_gradient(theta)
        value, gradient, _ = _there(objective, self.init(objective, theta), theta)
        return value, gradient

    def init(self, objective: Function, theta: np.ndarray) -> EquationsState:
        """The state of the null model, one pass: where it begins makes no difference."""
        theta = objective.null_theta
        value, gradient, hessian = objective.second_order(theta)
        return EquationsState(theta, value, gradient, 0, 1.0, 1.0, hessian=hessian, factor=factor(hessian))

    def step(self, objective: Function, state: EquationsState) -> EquationsState:
        """One update of theta; none, and stalled, where the gradient does not get less."""
        passes = state.passes
        if state.step == 1:  # what it says of the gradient is right but for rounding, which is now what counts
            value, gradient = objective.value_and_gradient(state.theta)
            state, passes = replace(state, value=value, gradient=gradient), passes + 1
        theta = state.theta - state.factor.solve(state.gradient)
        if state.step == 0:
            value, gradient, more = _there(objective, state, theta)
            passes += more
        else:
            (value, gradient), passes = objective.value_and_gradient(theta), passes + 1
        after = replace(state, theta=theta, value=value, gradient=gradient)
        if state.step > 0 and not after.gradient_norm < state.gradient_norm:
            after = replace(state, stalled=True)
        return replace(after, passes=passes, step=state.step + 1)


def _there(objective: Function, state: EquationsState, theta: np.ndarray) -> tuple[float, np.ndarray, int]:
    """Value and gradient at theta of the quadratic that a state knows, or anew; and the passes that took."""
    if norm(objective.rounding(theta)) > DOUBTFUL * state.gradient_norm:
        return *objective.value_and_gradient(theta), 1
    moved = theta - state.theta
    change = np.sum(state.hessian * moved[:, 0], axis=1)[:, None]
    value = state.value + float(dot(moved[:, 0], state.gradient + 0.5 * change)[0])
    return value, state.gradient + change, 0

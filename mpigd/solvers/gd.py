"""Distributed gradient descent."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Literal

import numpy as np

from mpigd.solvers.base import CompositeState, FirstOrder, Function, evaluate, start
from mpigd.solvers.line_search import MOST_TRIALS, ROUNDING
from mpigd.solvers.schedules import SCHEDULES

SEARCHED = ("backtracking", "barzilai-borwein")
REMEMBERED, ENOUGH = 10, 1e-4  # values that a step may rise to; how far below it must stay


@dataclass(frozen=True)
class SearchState(CompositeState):
    """A state with the last values of the objective."""

    values: np.ndarray = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class GradientDescent(FirstOrder):
    """theta <- prox(theta - learning_rate · slope(theta)), the slope over all rows; prox is nothing without kinks.

    learning_rate="auto" is 1/L, L the Lipschitz constant of the gradient: each step then lowers F
    (Y. Nesterov, "Lectures on convex optimization", 2018, section 1.2.3).

    "backtracking" begins at a rate that least squares would allow, halves it until the smooth part is below the
    parabola of that curvature (Beck, Teboulle, as in `Nesterov`, section 4), and tries the double after a step that was
    accepted at once. "barzilai-borwein" begins each step with the rate that fits the last two slopes (J. Barzilai,
    J. Borwein, IMA J. Numer. Anal. 8, 1988, eq. 6; where that is negative the last one), and lets F rise to the largest
    of the last ten values (S. Wright, R. Nowak, M. Figueiredo, "Sparse reconstruction by separable approximation", IEEE
    Trans. Signal Process. 57, 2009, section II).
    """

    learning_rate: float | Literal["auto", "backtracking", "barzilai-borwein"] = "auto"
    schedule: str = "constant"
    max_passes: float = 1000.0

    def init(self, objective: Function, theta: np.ndarray) -> SearchState:
        """The state at theta, one pass."""
        rate = self.learning_rate
        if rate == "backtracking" or rate == "barzilai-borwein":
            rate = _rate_to_try(objective)
        state = start(objective, theta, rate, lambda smooth: smooth.full)
        return SearchState(**vars(state), values=np.array([state.value]))

    def start(self, objective: Function, state: CompositeState) -> SearchState:
        """As `init`, from where another solver has been, without a pass; the rate is to be searched for."""
        known = {each.name: getattr(state, each.name) for each in fields(CompositeState)}
        return SearchState(**{**known, "learning_rate": _rate_to_try(objective)}, values=np.array([state.value]))

    def step(self, objective: Function, state: SearchState) -> SearchState:
        """One update of theta, one pass or, where the rate is searched for, one for each that is tried."""
        if self.learning_rate in SEARCHED:
            return self._search(objective, state)
        rate = SCHEDULES[self.schedule](state.step, state.passes / self.max_passes) * state.learning_rate
        theta = objective.penalty.proximal(state.theta - rate * state.slope, rate)
        value, slope, gradient = evaluate(objective, theta)
        passes = state.passes + 1
        return replace(
            state, theta=theta, value=value, slope=slope, gradient=gradient, step=state.step + 1, passes=passes
        )

    def _search(self, objective: Function, state: SearchState) -> SearchState:
        rate, penalty, remembers = state.learning_rate, objective.penalty, self.learning_rate == "barzilai-borwein"
        passes = state.passes
        for _ in range(MOST_TRIALS):
            passes += 1
            theta = penalty.proximal(state.theta - rate * state.slope, rate)
            value, slope, gradient = evaluate(objective, theta)
            moved = theta - state.theta
            square = float(np.sum(moved * moved))
            if remembers:
                most = float(np.max(state.values)) - 0.5 * ENOUGH / rate * square
            else:
                most = state.value - penalty.value(state.theta) + penalty.value(theta)
                most += float(np.sum(state.slope * moved)) + 0.5 / rate * square
            if value <= most + ROUNDING * abs(state.value):
                break
            rate *= 0.5
        else:
            return replace(state, passes=passes, stalled=True)
        change = float(np.sum(moved * (slope - state.slope)))
        following = 2.0 * rate if passes == state.passes + 1 else rate
        if remembers:
            following = square / change if change > 0.0 else rate
        return replace(
            state,
            theta=theta,
            value=value,
            slope=slope,
            gradient=gradient,
            step=state.step + 1,
            passes=passes,
            learning_rate=following,
            values=np.append(state.values, value)[-REMEMBERED:],
        )


def _rate_to_try(objective: Function) -> float:
    """What least squares would allow."""
    return 1.0 / max(float(np.sum(objective.diagonal())), np.finfo(np.float64).tiny)

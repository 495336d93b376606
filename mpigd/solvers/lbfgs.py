"""Limited-memory BFGS."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from mpigd_kernels.factor import Factor, factor

from mpigd.replicated import dot
from mpigd.solvers.base import FirstOrder, Function, State
from mpigd.solvers.line_search import Trial, search


@dataclass(frozen=True)
class PairsState(State):
    """A state with the last steps and changes of the gradient, each (m, p K), the latest last.

    metric : factor of an estimate of the Hessian of each output, None for an estimate of the diagonal.
    """

    steps: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    changes: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    metric: Factor | None = None


@dataclass(frozen=True)
class LimitedMemoryBFGS(FirstOrder):
    """theta <- theta - t · H · gradient, H an approximate inverse Hessian from the last `pairs` steps.

    J. Nocedal, S. Wright, "Numerical optimization", 2006, algorithms 7.4 and 7.5. H starts from the inverse of a
    metric, times a factor from the last step (eq. 7.20, in that metric). The metric is the Hessian of one of every
    `one_in` blocks where the solver begins: a step then costs a pass with the gradient alone and gains nearly what a
    step of Newton's method would (R. Byrd, G. Chin, W. Neveitt, J. Nocedal, "On the use of stochastic Hessian
    information in optimization methods for machine learning", SIAM J. Optim. 21, 2011, section 4). With one_in = 0 it
    is an estimate of the diagonal from the columns' mean squares, so that their units do not matter.

    metric : one to begin with, where it is known.
    """

    pairs: int = 10
    one_in: int = 0
    seed: int = 0
    metric: Factor | None = None

    def init(self, objective: Function, theta: np.ndarray) -> PairsState:
        """The state at theta, one pass."""
        value, gradient = objective.value_and_gradient(theta)
        none, metric, passes = np.zeros((0, theta.size)), self.metric, 1.0
        if self.one_in and metric is None:
            matrix, more = objective.metric(theta, self.one_in, self.seed)
            metric, passes = factor(matrix), passes + more
        return PairsState(theta, value, gradient, 0, passes, 1.0, steps=none, changes=none, metric=metric)

    def step(self, objective: Function, state: PairsState) -> PairsState:
        """One update of theta, nearly always one pass."""
        diagonal = objective.diagonal()
        direction = -self._product(diagonal, state).reshape(state.theta.shape)
        slope = float(dot(state.gradient.reshape(-1), direction.reshape(-1, 1))[0])
        if not slope < 0.0:  # a metric in which the gradient is nothing
            direction = -state.gradient / diagonal
            slope = float(dot(state.gradient.reshape(-1), direction.reshape(-1, 1))[0])

        def along(step: float) -> Trial[tuple[np.ndarray, np.ndarray]]:
            theta = state.theta + step * direction
            value, found = objective.value_and_gradient(theta)
            return Trial(value, float(dot(found.reshape(-1), direction.reshape(-1, 1))[0]), (theta, found))

        trial, trials = search(along, state.value, slope)
        passes = state.passes + trials
        if trial is None:
            # The approximation may be at fault: once more along the gradient, then it is rounding.
            forgotten = replace(state, passes=passes, steps=state.steps[:0], changes=state.changes[:0])
            return replace(forgotten, stalled=not len(state.steps))
        theta, found = trial.found
        pair = (theta - state.theta).reshape(1, -1), (found - state.gradient).reshape(1, -1)
        steps, changes = np.vstack([state.steps, pair[0]]), np.vstack([state.changes, pair[1]])
        if not dot(pair[0][0], pair[1].T)[0] > 0.0:
            steps, changes = state.steps, state.changes
        return replace(
            state,
            theta=theta,
            value=trial.value,
            gradient=found,
            step=state.step + 1,
            passes=passes,
            steps=steps[-self.pairs :],
            changes=changes[-self.pairs :],
        )

    def _product(self, diagonal: np.ndarray, state: PairsState) -> np.ndarray:
        """H times the gradient, (p K,)."""

        def in_metric(values: np.ndarray) -> np.ndarray:
            of_theta = values.reshape(state.theta.shape)
            return (state.metric.solve(of_theta) if state.metric else of_theta / diagonal).reshape(-1)

        q = state.gradient.reshape(-1)
        known = [(s, y, 1.0 / float(dot(s, y[:, None])[0])) for s, y in zip(state.steps, state.changes, strict=True)]
        shares = []
        for s, y, rho in reversed(known):
            shares.append(rho * float(dot(s, q[:, None])[0]))
            q = q - shares[-1] * y
        result = in_metric(q)
        if known:
            _, y, rho = known[-1]
            result = result / (rho * float(dot(y, in_metric(y)[:, None])[0]))
        for (s, y, rho), share in zip(known, reversed(shares), strict=True):
            result = result + (share - rho * float(dot(y, result[:, None])[0])) * s
        return result

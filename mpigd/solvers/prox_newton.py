"""Newton's method for penalties with kinks and for bounds, on the columns that matter."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from mpigd.penalties import Penalty
from mpigd.replicated import norm
from mpigd.solvers.base import CompositeState, FirstOrder, Function, evaluate
from mpigd.solvers.choice import LARGEST_FACTOR, share_for_metric
from mpigd.solvers.gd import GradientDescent, SearchState
from mpigd.solvers.line_search import DECREASE, MOST_TRIALS, ROUNDING
from mpigd.solvers.quadratic import minimise

FEW = 256  # rows of theta that are no burden: all are kept
NEW_SHARE = 8  # one of so many rows may be taken in at once
INNER, MOST_INNER = 0.01, 30  # how far to go on some columns before all are looked at again
SETTLING = 1e-8  # of the largest element: so near to its kink or bound a shorter step takes an element all the way
SLOW = 0.3  # of the subgradient left after a step: the metric is found anew


@dataclass(frozen=True)
class MetricState(CompositeState):
    """A state with an estimate of the Hessian; empty where it is to be found.

    descent : that of the steps along slopes; None before the first of them.
    """

    metric: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    descent: SearchState | None = None


@dataclass(frozen=True)
class ProximalNewton(FirstOrder):
    """theta <- theta + t (z - theta), z the minimum of a quadratic model of the smooth part, and the kinks as they are.

    J. Lee, Y. Sun, M. Saunders, "Proximal Newton-type methods for minimizing composite functions", SIAM J. Optim. 24,
    2014, algorithm 1. The model's Hessian is that of one of every few blocks; slopes are of all rows.

    With many columns a step works on a set of them: those whose coefficients are not zero, and those that violate the
    conditions of the minimum most, at most an eighth of all or as many as there were. The fit on that set is narrow,
    and its passes count by the share of columns. Then one pass over all columns shows whether others have to come in
    (T. Johnson, C. Guestrin, "Blitz: a principled meta-algorithm for scaling sparse optimization", ICML 2015). So the
    zeros of the answer are exact, and proven by that pass.

    Where more coefficients matter than a matrix can be had of, steps are those of proximal gradient descent with rates
    from the last two slopes, of one pass each: see `GradientDescent`.
    """

    seed: int = 0

    def init(self, objective: Function, theta: np.ndarray) -> MetricState:
        """The state at theta, or where bounds let it be; one pass."""
        theta = objective.penalty.proximal(theta, 0.0)
        value, slope, gradient = evaluate(objective, theta)
        return MetricState(theta, value, gradient, 0, 1.0, 1.0, slope=slope)

    def step(self, objective: Function, state: MetricState) -> MetricState:
        """One step with all columns, or several with some and a pass over all."""
        picked = _working_set(objective.penalty, state)
        if len(picked) > LARGEST_FACTOR:
            return self._along_slopes(objective, state)
        if len(picked) == len(state.theta):
            return self._newton(objective, state)
        narrow = objective.rows(picked)
        inner = replace(
            state,
            theta=state.theta[picked],
            slope=state.slope[picked],
            gradient=state.gradient[picked],
            passes=0.0,
            metric=np.zeros((0, 0)),
        )
        enough = INNER * state.gradient_norm
        while inner.step < state.step + MOST_INNER and inner.gradient_norm > enough and not inner.stalled:
            inner = self._newton(narrow, inner)
        theta = np.zeros_like(state.theta)
        theta[picked] = inner.theta
        value, slope, gradient = evaluate(objective, theta)
        passes = state.passes + inner.passes * len(picked) / len(theta) + 1
        step, stalled = inner.step, inner.stalled and norm(gradient) >= state.gradient_norm
        return replace(
            state, theta=theta, value=value, slope=slope, gradient=gradient, step=step, passes=passes, stalled=stalled
        )

    @staticmethod
    def _along_slopes(objective: Function, state: MetricState) -> MetricState:
        """One step with all columns and no matrix."""
        descent, before = GradientDescent(learning_rate="barzilai-borwein"), state.descent
        if before is None or before.theta is not state.theta:
            before = descent.start(objective, state)
        after = descent.step(objective, before)
        known = {name: getattr(after, name) for name in ("theta", "value", "slope", "gradient", "step", "stalled")}
        return replace(state, **known, passes=after.passes, descent=after)

    def _newton(self, objective: Function, state: MetricState) -> MetricState:
        """One step with all columns."""
        penalty, metric, passes = objective.penalty, state.metric, state.passes
        if not metric.size:
            one_in = max(share_for_metric(objective.cost), 1)
            metric, more = objective.metric(state.theta, one_in, self.seed)
            passes += more
        best = minimise(metric, state.slope, state.theta, penalty)
        direction, settled = best - state.theta, _settled(penalty, best)
        # How much the model falls, to first order in its smooth part: less than zero unless theta is the minimum.
        fall = float(np.sum(state.slope * direction)) + penalty.value(state.theta + direction)
        fall -= penalty.value(state.theta)
        share = 1.0
        rounding = ROUNDING * abs(state.value)
        for _ in range(MOST_TRIALS if fall < rounding else 0):
            theta = state.theta + share * direction
            theta = np.where(settled & (abs(theta - best) <= SETTLING * np.max(abs(best))), best, theta)
            value, slope, gradient = evaluate(objective, theta)
            passes += 1
            least = norm(gradient)
            # Where values differ by rounding alone, the subgradient decides.
            level = abs(value - state.value) <= rounding and least < state.gradient_norm
            if level or (fall < 0.0 and value <= state.value + DECREASE * share * fall):
                break
            share *= 0.5
        else:
            # Once more with a metric of this point, then it is rounding.
            return replace(state, metric=np.zeros((0, 0)), passes=passes, stalled=not state.metric.size)
        keep = metric if least <= SLOW * state.gradient_norm else np.zeros((0, 0))
        return replace(
            state,
            theta=theta,
            value=value,
            slope=slope,
            gradient=gradient,
            step=state.step + 1,
            passes=passes,
            metric=keep,
        )


def _settled(penalty: Penalty, theta: np.ndarray) -> np.ndarray:
    """Which elements of theta (p, 1) are zero at a kink, or at a bound."""
    kinked = (penalty.strength > 0.0)[penalty.group]
    settled: np.ndarray = kinked & (theta == 0.0) | (theta == penalty.low) | (theta == penalty.high)
    return settled


def _working_set(penalty: Penalty, state: MetricState) -> np.ndarray:
    """Rows of theta that a step works on, (m,) int64, ascending: whole groups."""
    p = len(state.theta)
    if p <= FEW:
        return np.arange(p)
    group, strength = penalty.group[:, 0], penalty.strength
    free = strength[group] == 0.0
    inside = (state.theta > penalty.low)[:, 0] & (state.theta < penalty.high)[:, 0]
    active = free & inside | (state.theta[:, 0] != 0.0)
    kept = np.zeros(len(strength), bool)
    kept[group[active]] = True
    violation = np.bincount(group, state.gradient[:, 0] ** 2, len(strength))
    violation[kept] = 0.0
    most = max(FEW // 4, p // NEW_SHARE, int(np.count_nonzero(kept)))
    worst = np.argsort(-violation, kind="stable")[:most]
    kept[worst[violation[worst] > 0.0]] = True
    picked = np.flatnonzero(kept[group])
    return np.arange(p) if p <= LARGEST_FACTOR and 2 * len(picked) >= p else picked

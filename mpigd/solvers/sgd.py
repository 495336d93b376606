"""Distributed stochastic gradient descent."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mpigd.solvers.base import CompositeState, FirstOrder, Function, LearningRate, evaluate, start
from mpigd.solvers.schedules import SCHEDULES


@dataclass(frozen=True)
class StochasticGradientDescent(FirstOrder):
    """theta <- theta - learning_rate · grad F_B(theta), B a mini-batch of about batch_size rows.

    Every rank computes with the rows of B that it owns. An epoch deals all rows into mini-batches anew; at
    its end the objective is evaluated on all rows, which costs a pass and is counted as one.

    learning_rate="auto" is 1/L(b), with b rows of n in a mini-batch and

        L(b) = n (b - 1) / (b (n - 1)) · L + (n - b) / (b (n - 1)) · L_row,

    L the constant of the whole data term and L_row that of the worst row (R. Gower et al., "SGD: general
    analysis and improved rates", ICML 2019, proposition 3.8 for sampling b of n).
    """

    learning_rate: LearningRate = "auto"
    schedule: str = "cosine"
    max_passes: float = 1000.0
    batch_size: int = 256
    seed: int = 0

    def init(self, objective: Function, theta: np.ndarray) -> CompositeState:
        """The state at theta, one pass."""
        n, b = objective.n, min(self.batch_size, objective.n)
        row_share = (n - b) / (b * max(n - 1, 1))
        # The two factors of the class's docstring add up to one.
        return start(
            objective,
            theta,
            self.learning_rate,
            lambda smooth: (1.0 - row_share) * smooth.full + row_share * smooth.row,
        )

    def step(self, objective: Function, state: CompositeState) -> CompositeState:
        """One update of theta from one mini-batch."""
        count = objective.batch_count(self.batch_size)
        epoch, index = divmod(state.step, count)
        factor = SCHEDULES[self.schedule](state.step / count, state.passes / self.max_passes)
        _, gradient = objective.batch_value_and_gradient(state.theta, self.seed, epoch, count, index)
        rate = factor * state.learning_rate
        theta = objective.penalty.proximal(state.theta - rate * gradient, rate)
        passes, fresh = state.passes + 1.0 / count, index == count - 1
        state = replace(state, theta=theta, step=state.step + 1, passes=passes, fresh=fresh)
        if fresh:
            value, slope, gradient = evaluate(objective, theta)
            # Rounded, so that an epoch's sum of fractions is exactly one pass.
            state = replace(state, value=value, slope=slope, gradient=gradient, passes=round(passes) + 1.0)
        return state

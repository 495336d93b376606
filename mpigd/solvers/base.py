"""What all solvers share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from mpigd.replicated import norm

LearningRate = float | Literal["auto"]


@dataclass(frozen=True)
class State:
    """All that a solver needs to make its next step: arrays and numbers. Replicated.

    theta : the coefficients.  gradient : of the objective on all rows, where `value` and it were last found.
    step, passes : updates of theta and reads of all rows so far, evaluations included.
    setup_passes : reads of all rows before the first step that found the learning rate.
    learning_rate : of the next step before its schedule.
    fresh : whether `value` and `gradient` belong to this theta and all rows, not to an earlier one.
    stalled : whether no step lowers the objective any more: what is left of the gradient is rounding.
    """

    theta: np.ndarray
    value: float
    gradient: np.ndarray
    step: int
    passes: float
    learning_rate: float
    setup_passes: int = 0
    fresh: bool = True
    stalled: bool = False

    @property
    def gradient_norm(self) -> float:
        """Euclidean norm of the gradient."""
        return norm(self.gradient)


class Smooth(Protocol):
    """Curvature bounds, as `mpigd.objective.Smoothness`."""

    @property
    def full(self) -> float:
        """Of the objective on all rows."""

    @property
    def row(self) -> float:
        """Of the worst single row."""

    @property
    def passes(self) -> int:
        """What they cost."""


class Function(Protocol):
    """What a solver asks of an objective; `mpigd.objective.Objective` is one."""

    n: int

    def value_and_gradient(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """On all rows."""

    def batch_count(self, batch_size: int) -> int:
        """Mini-batches of about that size in an epoch."""

    def batch_value_and_gradient(
        self, theta: np.ndarray, seed: int, epoch: int, count: int, index: int
    ) -> tuple[float, np.ndarray]:
        """On one mini-batch."""

    def second_order(self, theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """On all rows, with the Hessian (p, p)."""

    def column_squares(self) -> np.ndarray:
        """Mean squares of what each row of theta is multiplied with, (p, 1)."""

    def smoothness(self) -> Smooth:
        """Curvature bounds."""


def start(
    objective: Function, theta: np.ndarray, learning_rate: LearningRate, curvature: Callable[[Smooth], float]
) -> State:
    """The state at theta, with the learning rate given or 1 / curvature for "auto"."""
    setup_passes = 0
    if learning_rate == "auto":
        smooth = objective.smoothness()
        setup_passes = smooth.passes
        learning_rate = 1.0 / max(curvature(smooth), np.finfo(np.float64).tiny)
    value, gradient = objective.value_and_gradient(theta)
    return State(theta, value, gradient, 0, 1.0, learning_rate, setup_passes)


class FirstOrder:
    """What solvers share that know value and gradient alone."""

    def evaluate(self, objective: Function, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient at theta, with the bits that a state at theta has."""
        return objective.value_and_gradient(theta)


class Solver(Protocol):
    """An algorithm with its parameters: pure functions."""

    def evaluate(self, objective: Function, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient at theta, with the bits that a state at theta has."""

    def init(self, objective: Function, theta: np.ndarray) -> State:
        """The state at the start."""

    def step(self, objective: Function, state: State) -> State:
        """The state after one update of theta; the given one is left as it was."""

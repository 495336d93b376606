"""What all solvers share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from mpigd.penalties import Penalty
from mpigd.replicated import norm
from mpigd.solvers.choice import Shape

LearningRate = float | Literal["auto"]
Batches = tuple[int, int, int, tuple[int, ...]]  # seed, epoch, how many mini-batches it has, which of them


@dataclass(frozen=True)
class State:
    """All that a solver needs to make its next step: arrays and numbers. Replicated.

    theta : the coefficients.  gradient : of the objective on all rows, where `value` and it were last found; where the
    penalty has a kink or theta is at a bound, the shortest subgradient.
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
    penalty: Penalty

    @property
    def cost(self) -> Shape:
        """What evaluating it costs."""

    @property
    def null_theta(self) -> np.ndarray:
        """Theta of the null model."""

    def value_and_gradient(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Of the smooth part on all rows."""

    def batch_count(self, batch_size: int) -> int:
        """Mini-batches of about that size in an epoch."""

    def batch_gradients(self, thetas: Sequence[np.ndarray], batches: Batches, of_all: bool = False) -> list[np.ndarray]:
        """At some points, on some mini-batches; of_all : whose mean, whatever their weights, is that on all rows."""

    def local_descent(self, theta: np.ndarray, batches: Batches, rate: float, steps: int) -> np.ndarray:
        """The mean over blocks of where each gets from theta by its own steps."""

    def second_order(self, theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """On all rows, with the Hessian (p, p)."""

    def rounding(self, theta: np.ndarray) -> np.ndarray:
        """About what rounding does to the Hessian times theta, (p, 1)."""

    def metric(self, theta: np.ndarray, one_in: int, seed: int) -> tuple[np.ndarray, float]:
        """An estimate (p, p) of the Hessian of each output from one of so many blocks, and the passes that took."""

    def value_gradient_and_curvature(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """As `value_and_gradient`, so that Hessian products at theta are cheap."""

    def hessian_product(self, theta: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """The Hessian at theta times a direction, both (p, K)."""

    def rows(self, picked: np.ndarray) -> Function:
        """As a function of some rows of theta, the others being zero."""

    def diagonal(self) -> np.ndarray:
        """An estimate of the Hessian's diagonal, (p, 1)."""

    def smoothness(self) -> Smooth:
        """Curvature bounds."""


@dataclass(frozen=True)
class CompositeState(State):
    """A state of a solver that can do with kinks and bounds. slope : gradient of the smooth part at theta."""

    slope: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))


def evaluate(objective: Function, theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """The objective at theta, the gradient of its smooth part, and its shortest subgradient. One pass."""
    value, slope = objective.value_and_gradient(theta)
    return value + objective.penalty.value(theta), slope, objective.penalty.subgradient(theta, slope)


def start(
    objective: Function, theta: np.ndarray, learning_rate: LearningRate, curvature: Callable[[Smooth], float]
) -> CompositeState:
    """The state at theta, or where bounds let it be, with the learning rate given or 1 / curvature for "auto"."""
    setup_passes = 0
    if learning_rate == "auto":
        smooth = objective.smoothness()
        setup_passes = smooth.passes
        learning_rate = 1.0 / max(curvature(smooth), np.finfo(np.float64).tiny)
    theta = objective.penalty.proximal(theta, 0.0)
    value, slope, gradient = evaluate(objective, theta)
    return CompositeState(theta, value, gradient, 0, 1.0, learning_rate, setup_passes, slope=slope)


class FirstOrder:
    """What solvers share that know value and gradient alone."""

    def evaluate(self, objective: Function, theta: np.ndarray, step: int) -> tuple[float, np.ndarray]:
        """Value and gradient at theta, with the bits that the state after so many steps has."""
        value, _, gradient = evaluate(objective, theta)
        return value, gradient


class Solver(Protocol):
    """An algorithm with its parameters: pure functions."""

    def evaluate(self, objective: Function, theta: np.ndarray, step: int) -> tuple[float, np.ndarray]:
        """Value and gradient at theta, with the bits that the state after so many steps has."""

    def init(self, objective: Function, theta: np.ndarray) -> State:
        """The state at the start."""

    def step(self, objective: Function, state: State) -> State:
        """The state after one update of theta; the given one is left as it was."""

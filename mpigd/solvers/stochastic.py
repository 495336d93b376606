"""Distributed stochastic gradient descent, and its relatives: steps along gradients of mini-batches."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from mpigd.errors import UsageError, same_everywhere
from mpigd.replicated import norm, power
from mpigd.sampling import shuffled
from mpigd.solvers.base import CompositeState, FirstOrder, Function, LearningRate, Smooth, evaluate, start
from mpigd.solvers.schedules import SCHEDULES, warmed

NONE = np.zeros((0, 0))
FIRST_DISTANCE = 1e-6  # of DoG, relative to 1 + the norm of theta
LARGEST_TABLE = 1 << 30  # bytes that every rank may have to hold for SAGA
USUAL_BATCH = 256


@dataclass(frozen=True)
class StochasticState(CompositeState):
    """A state amid an epoch. theta : what is reported: `iterate`, or an average of iterates.

    epoch, index : of the next mini-batch.  slots : moments that a rule keeps, (m, p, K).  averaged : iterates in theta.
    table : gradients (mini-batches, p, K) of SAGA, and their mean; the one at `place` is still to become `pending`.
    origin, farthest, squares : of DoG: the first iterate, the largest distance from it, the sum of squared gradients.
    """

    iterate: np.ndarray = field(default_factory=lambda: NONE)
    epoch: int = 0
    index: int = 0
    slots: np.ndarray = field(default_factory=lambda: NONE)
    averaged: int = 0
    table: np.ndarray = field(default_factory=lambda: NONE)
    place: int = 0
    pending: np.ndarray = field(default_factory=lambda: NONE)
    table_mean: np.ndarray = field(default_factory=lambda: NONE)
    origin: np.ndarray = field(default_factory=lambda: NONE)
    farthest: float = 0.0
    squares: float = 0.0


@dataclass(frozen=True)
class Stochastic(FirstOrder):
    """theta <- theta - rate · direction, which a rule makes from the gradient of a mini-batch.

    Every rank computes with the rows of the mini-batch that it owns. An epoch deals all rows into mini-batches anew; at
    its end the objective is evaluated on all rows, which costs a pass and is counted as one.

    batch_size : rows of a mini-batch over all ranks.  batch_growth : by what it is multiplied every epoch.
    accumulate : mini-batches of a step; they are gathered one after the other, and their sums go in one message.
    schedule : of the rate, see `SCHEDULES`; "dog" needs no rate: it is the largest distance from the first iterate over
        the root of the sum of squared gradients (M. Ivgi, O. Hinder, Y. Carmon, "DoG is SGD's best friend", ICML 2023).
    warmup : epochs in which the rate rises.
    averaging : theta is the mean of the iterates since the last epoch whose number is a power of two (suffix averaging,
        A. Rakhlin, O. Shamir, K. Sridharan, ICML 2012, begun anew so that no length has to be chosen).
    """

    learning_rate: LearningRate = "auto"
    schedule: str = "cosine"
    max_passes: float = 1000.0
    batch_size: int = USUAL_BATCH
    batch_growth: float = 1.0
    accumulate: int = 1
    warmup: float = 0.0
    averaging: bool = False
    seed: int = 0

    SLOTS: ClassVar[int] = 0
    COST: ClassVar[float] = 1.0  # gradients of each mini-batch
    SHUFFLED: ClassVar[bool] = True  # whether every epoch deals anew

    def init(self, objective: Function, theta: np.ndarray) -> StochasticState:
        """The state at theta, one pass."""
        rate: LearningRate = 1.0 if self.schedule == "dog" else self._first_rate(objective)
        state = start(objective, theta, rate, lambda smooth: self._curvature(objective.n, smooth))
        origin = state.theta if self.schedule == "dog" else NONE
        slots = np.zeros((self.SLOTS, *theta.shape))
        farthest = FIRST_DISTANCE * (1.0 + norm(theta))
        return StochasticState(**vars(state), iterate=state.theta, slots=slots, origin=origin, farthest=farthest)

    def step(self, objective: Function, state: StochasticState) -> StochasticState:
        """One update of theta."""
        size = self.batch_size
        if self.batch_growth != 1.0:
            size = round(min(size * power(self.batch_growth, state.epoch), objective.n))
        count = objective.batch_count(size)
        last = min(state.index + self.accumulate, count)
        epochs = state.epoch + state.index / count
        state, gradient = self._estimate(objective, state, count, last)
        if self.schedule == "dog":
            state = _measured(state, gradient)
            rate = state.farthest / max(math.sqrt(state.squares), np.finfo(np.float64).tiny)
        else:
            rate = state.learning_rate * SCHEDULES[self.schedule](epochs, state.passes / self.max_passes)
            rate *= warmed(epochs, self.warmup)
        state, iterate = self._move(objective, state, gradient, rate, count, last)
        passes = state.passes + self._cost * (last - state.index) / count
        theta, averaged = iterate, 1
        if self.averaging:
            begins = state.index == 0 and state.epoch & (state.epoch - 1) == 0
            averaged = 1 if begins else state.averaged + 1
            theta = iterate if begins else state.theta + (iterate - state.theta) / averaged
        state = replace(
            state, theta=theta, iterate=iterate, averaged=averaged, step=state.step + 1, passes=passes, fresh=False
        )
        if last < count:
            return replace(state, index=last)
        value, slope, gradient = evaluate(objective, theta)
        # Rounded, so that an epoch's sum of fractions is exactly one pass.
        state = replace(state, value=value, slope=slope, gradient=gradient, passes=round(passes) + 1.0)
        return replace(state, epoch=state.epoch + 1, index=0, fresh=True)

    @property
    def _cost(self) -> float:
        """Gradients of each mini-batch."""
        return self.COST

    def _first_rate(self, objective: Function) -> LearningRate:
        return self.learning_rate

    def _curvature(self, n: int, smooth: Smooth) -> float:
        """What the rate is the inverse of.

            L(b) = n (b - 1) / (b (n - 1)) · L + (n - b) / (b (n - 1)) · L_row,

        for b rows of n in a mini-batch, L the constant of the whole data term and L_row that of the worst row (R. Gower
        et al., "SGD: general analysis and improved rates", ICML 2019, proposition 3.8 for sampling b of n). So rates
        grow with mini-batches as far as that is safe.
        """
        b = min(self.batch_size * self.accumulate, n)
        row_share = (n - b) / (b * max(n - 1, 1))  # the two factors add up to one
        return (1.0 - row_share) * smooth.full + row_share * smooth.row

    def _estimate(
        self, objective: Function, state: StochasticState, count: int, last: int
    ) -> tuple[StochasticState, np.ndarray]:
        """An estimate of the gradient of the smooth part at the iterate, from the next mini-batches."""
        (gradient,) = objective.batch_gradients((state.iterate,), self._batches(state, count, last))
        return state, gradient

    def _batches(self, state: StochasticState, count: int, last: int) -> tuple[int, int, int, tuple[int, ...]]:
        """The next mini-batches: seed, epoch, how many there are, which."""
        return self.seed, state.epoch if self.SHUFFLED else 0, count, tuple(range(state.index, last))

    def _move(
        self, objective: Function, state: StochasticState, gradient: np.ndarray, rate: float, count: int, last: int
    ) -> tuple[StochasticState, np.ndarray]:
        """The next iterate."""
        state, direction = self._direction(state, gradient)
        return state, objective.penalty.proximal(state.iterate - rate * direction, rate)

    def _direction(self, state: StochasticState, gradient: np.ndarray) -> tuple[StochasticState, np.ndarray]:
        return state, gradient


def _measured(state: StochasticState, gradient: np.ndarray) -> StochasticState:
    """With what DoG's rate is made of."""
    farthest = max(state.farthest, norm(state.iterate - state.origin))
    return replace(state, farthest=farthest, squares=state.squares + float(np.sum(gradient * gradient)))


@dataclass(frozen=True)
class StochasticGradientDescent(Stochastic):
    """The direction is the gradient, or with momentum m the sum of those before, each m times the next one.

    B. Polyak, "Some methods of speeding up the convergence of iteration methods", 1964; with `nesterov_momentum` the
    gradient is added once more (I. Sutskever et al., ICML 2013, in the form that needs no second point).

    local_steps : in a step every block of rows goes so many steps by itself, each with an equal part of its rows of the
    mini-batch; then the mean over blocks is taken (S. Stich, "Local SGD converges fast and communicates little", ICLR
    2019). As blocks are what goes its own way, not ranks, the result is the same on any number of ranks.
    """

    momentum: float = 0.0
    nesterov_momentum: bool = False
    local_steps: int = 1

    SLOTS: ClassVar[int] = 1

    @property
    def _cost(self) -> float:
        """Of dog two, where blocks go by themselves at the rate that a gradient of all of them says."""
        return 2.0 if self.local_steps > 1 and self.schedule == "dog" else 1.0

    def _curvature(self, n: int, smooth: Smooth) -> float:
        # With momentum m a gradient moves theta by 1 / (1 - m) times the rate in the end.
        return super()._curvature(n, smooth) / (1.0 - self.momentum)

    def _direction(self, state: StochasticState, gradient: np.ndarray) -> tuple[StochasticState, np.ndarray]:
        if not self.momentum:
            return state, gradient
        velocity = self.momentum * state.slots[0] + gradient
        direction = gradient + self.momentum * velocity if self.nesterov_momentum else velocity
        return replace(state, slots=velocity[None]), direction

    def _estimate(
        self, objective: Function, state: StochasticState, count: int, last: int
    ) -> tuple[StochasticState, np.ndarray]:
        if self.local_steps > 1 and self.schedule != "dog":
            return state, state.slope  # blocks will find their own
        return super()._estimate(objective, state, count, last)

    def _move(
        self, objective: Function, state: StochasticState, gradient: np.ndarray, rate: float, count: int, last: int
    ) -> tuple[StochasticState, np.ndarray]:
        if self.local_steps == 1:
            return super()._move(objective, state, gradient, rate, count, last)
        batches = self._batches(state, count, last)
        return state, objective.local_descent(state.iterate, batches, rate, self.local_steps)


@dataclass(frozen=True)
class Adaptive(Stochastic):
    """Rates of their own for all elements of theta, from the squares of gradients so far.

    learning_rate="auto" is 0.05 for mini-batches of 256 rows and grows with the root of their size (S. Malladi et al.,
    "On the SDEs and scaling rules for adaptive gradient algorithms", NeurIPS 2022); columns are standardised.
    """

    RATE: ClassVar[float] = 0.05
    TINY: ClassVar[float] = 1e-8

    def _first_rate(self, objective: Function) -> LearningRate:
        if self.learning_rate != "auto":
            return self.learning_rate
        return self.RATE * math.sqrt(min(self.batch_size * self.accumulate, objective.n) / USUAL_BATCH)


@dataclass(frozen=True)
class Adagrad(Adaptive):
    """J. Duchi, E. Hazan, Y. Singer, JMLR 12, 2011, figure 1, diagonal."""

    SLOTS: ClassVar[int] = 1
    RATE: ClassVar[float] = 0.5

    def _direction(self, state: StochasticState, gradient: np.ndarray) -> tuple[StochasticState, np.ndarray]:
        squares = state.slots[0] + gradient * gradient
        return replace(state, slots=squares[None]), gradient / (np.sqrt(squares) + self.TINY)


@dataclass(frozen=True)
class RMSProp(Adaptive):
    """T. Tieleman, G. Hinton, "Lecture 6.5: RMSProp", 2012, with a decay of 0.99."""

    SLOTS: ClassVar[int] = 1
    RATE: ClassVar[float] = 0.02
    DECAY: ClassVar[float] = 0.99

    def _direction(self, state: StochasticState, gradient: np.ndarray) -> tuple[StochasticState, np.ndarray]:
        squares = self.DECAY * state.slots[0] + (1.0 - self.DECAY) * gradient * gradient
        return replace(state, slots=squares[None]), gradient / (np.sqrt(squares) + self.TINY)


@dataclass(frozen=True)
class Adam(Adaptive):
    """D. Kingma, J. Ba, "Adam", ICLR 2015, algorithm 1, with decays of 0.9 and 0.999."""

    SLOTS: ClassVar[int] = 2
    DECAYS: ClassVar[tuple[float, float]] = (0.9, 0.999)

    def _direction(self, state: StochasticState, gradient: np.ndarray) -> tuple[StochasticState, np.ndarray]:
        (first, second), t = self.DECAYS, state.step + 1
        mean = first * state.slots[0] + (1.0 - first) * gradient
        squares = second * state.slots[1] + (1.0 - second) * gradient * gradient
        bias, square_bias = (1.0 - power(decay, t) for decay in self.DECAYS)
        direction = mean / bias / (np.sqrt(squares / square_bias) + self.TINY)
        return replace(state, slots=np.stack([mean, squares])), direction


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam for the data term alone; the penalty l2 shrinks theta by itself, so that its strength means another thing.

    I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2. The fixed point is not
    the minimum of the objective, only near it.
    """

    def _move(
        self, objective: Function, state: StochasticState, gradient: np.ndarray, rate: float, count: int, last: int
    ) -> tuple[StochasticState, np.ndarray]:
        decay = objective.penalty.smooth_gradient(state.iterate)
        state, direction = self._direction(state, gradient - decay)
        return state, state.iterate - rate * (direction + decay)


@dataclass(frozen=True)
class VarianceReduced(Stochastic):
    """Steps that need no falling rate: what a mini-batch says is corrected by what others said, less and less of it.

    learning_rate="auto" is a third of 1/L(b).
    """

    schedule: str = "constant"

    def _curvature(self, n: int, smooth: Smooth) -> float:
        return 3.0 * super()._curvature(n, smooth)


@dataclass(frozen=True)
class SVRG(VarianceReduced):
    """Gradients of a mini-batch, corrected by what it says at the last point where all rows were evaluated.

    R. Johnson, T. Zhang, "Accelerating stochastic gradient descent using predictive variance reduction", NeurIPS 2013,
    figure 1. The evaluation at the end of each epoch is the full gradient that the method needs.
    """

    COST: ClassVar[float] = 2.0

    def _estimate(
        self, objective: Function, state: StochasticState, count: int, last: int
    ) -> tuple[StochasticState, np.ndarray]:
        anchor = state.table[0] if state.index else state.theta
        here, there = objective.batch_gradients((state.iterate, anchor), self._batches(state, count, last))
        return replace(state, table=anchor[None]), here - there + state.slope


@dataclass(frozen=True)
class SAGA(VarianceReduced):
    """Gradients of a mini-batch, corrected by the last ones of every mini-batch, which are kept.

    A. Defazio, F. Bach, S. Lacoste-Julien, NeurIPS 2014, eq. 1, with mini-batches in place of rows: they stay the same
    in all epochs, in an order drawn anew, and the table has a gradient for each. The first epoch fills it. A mini-batch
    counts as much as its rows weigh, so that the mean of the table is the gradient on all rows in the end.
    The rate is that of section 2 there.
    """

    SHUFFLED: ClassVar[bool] = False

    def _batches(self, state: StochasticState, count: int, last: int) -> tuple[int, int, int, tuple[int, ...]]:
        order = shuffled(self.seed, state.epoch, count)
        return self.seed, 0, count, tuple(order[state.index : last].tolist())

    def _estimate(
        self, objective: Function, state: StochasticState, count: int, last: int
    ) -> tuple[StochasticState, np.ndarray]:
        table, mean = state.table, state.table_mean
        if not table.size:
            if 8 * count * state.theta.size > LARGEST_TABLE:
                raise same_everywhere(
                    UsageError(
                        f"--solver saga: {count} mini-batches need {8 * count * state.theta.size >> 20} MiB on every "
                        "rank; use a larger --batch-size, or --solver svrg"
                    )
                )
            table, mean = np.zeros((count, *state.theta.shape)), np.zeros_like(state.theta)
        batches = self._batches(state, count, last)
        (gradient,) = objective.batch_gradients((state.iterate,), batches, of_all=True)
        if state.pending.size:  # in place, but a step that is made again does the same once more
            table[state.place] = state.pending
        (place,) = batches[3]
        before = table[place]
        corrected = gradient if state.epoch == 0 else gradient - before + mean
        mean = mean + (gradient - before) / count
        return replace(state, table=table, table_mean=mean, place=place, pending=gradient), corrected

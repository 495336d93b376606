"""What depends on the order of scores alone: areas below curves, and thresholds. No rank sees the scores of all.

Scores are divided among ranks by their size, as in sample sort, so that equal ones meet on one rank, which counts what
is above. Weights are made whole numbers, so that sums are the same in any order: whole ones as they are, if they add up
to less than 2^36, others as multiples of 2^-36 of their sum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from mpigd.comm import Comm

BITS, ROUGHLY = 36, 20  # of the sum of weights, and of a weight when the size of that sum is found
SAMPLES = 64  # of each rank's scores, for each rank
HALF = 25  # bits of a half of a share of one


@dataclass(frozen=True)
class Ranking:
    """The scores of a rank, each once, falling, and what is at or above each, of all ranks.

    score (m,).  positive, negative (m,) int64 : weights of rows of either kind with that score or a larger one.
    own_positive, own_negative (m,) int64 : of rows with that score.  positives, negatives : of all rows.
    """

    score: np.ndarray
    positive: np.ndarray
    negative: np.ndarray
    own_positive: np.ndarray
    own_negative: np.ndarray
    positives: int
    negatives: int


class Order:
    """The scores (rows,) of all ranks in their order: found once, for any weights of the rows. A collective."""

    def __init__(self, comm: Comm, score: np.ndarray) -> None:
        self._comm = comm
        score, self._own = _falling(score)
        # Splitters from even samples of what each rank has.
        sample = score[np.linspace(0, len(score) - 1, min(SAMPLES * comm.size, len(score))).astype(np.int64)]
        samples = np.sort(np.concatenate(comm.gather(sample)))
        splitters = samples[len(samples) * np.arange(1, comm.size) // comm.size] if len(samples) else samples
        target = comm.size - 1 - np.searchsorted(splitters, score, side="right")  # the largest are on rank 0
        self._bounds = np.searchsorted(target, np.arange(comm.size + 1))  # scores fall, so that targets rise
        self._score, self._received = _falling(self._exchanged(score))

    def rank(self, positive: np.ndarray, weight: np.ndarray) -> Ranking:
        """With weights (rows,) of the rows that have the scores; positive (rows,) bool. A collective."""
        comm, whole = self._comm, whole_weights(self._comm, weight)
        own_positive, own_negative = (
            self._received.sums(self._exchanged(self._own.sums(np.where(kind, whole, 0))))
            for kind in (positive, ~positive)
        )
        totals = comm.each(np.array([own_positive.sum(), own_negative.sum()]))
        above = totals[: comm.rank].sum(axis=0)
        return Ranking(
            self._score,
            np.cumsum(own_positive) + above[0],
            np.cumsum(own_negative) + above[1],
            own_positive,
            own_negative,
            *(int(total) for total in totals.sum(axis=0)),
        )

    def _exchanged(self, values: np.ndarray) -> np.ndarray:
        """What belongs to own scores, each once, brought to the ranks that have these."""
        return self._comm.exchange([values[a:b] for a, b in pairwise(self._bounds)])


def rank_scores(comm: Comm, score: np.ndarray, positive: np.ndarray, weight: np.ndarray) -> Ranking:
    """The ranking of the scores (rows,) of all ranks; positive (rows,) bool. A collective."""
    kept = weight > 0.0
    return Order(comm, score[kept]).rank(positive[kept], weight[kept])


def whole_weights(comm: Comm, weight: np.ndarray) -> np.ndarray:
    """Weights (rows,) as int64, proportional to them up to 2^-36 of their sum over all ranks. A collective."""
    total, broken = comm.sum(np.array([weight.sum(), float(np.any(weight != np.floor(weight)))]))
    if not broken and total < 1 << BITS:
        return weight.astype(np.int64)
    largest = comm.max(np.array([weight.max(initial=0.0)]))[0]
    share = weight / largest
    # The size of the sum, which is the same on any number of ranks, as a sum of doubles is not.
    size = int(comm.sum(np.array([np.rint(np.ldexp(share, ROUGHLY)).astype(np.int64).sum()]))[0]).bit_length() - ROUGHLY
    whole: np.ndarray = np.rint(np.ldexp(share, BITS - 1 - size)).astype(np.int64)
    return whole


class _Runs(NamedTuple):
    """Where rows are that have the same score: their order, and where each score begins in it."""

    order: np.ndarray
    first: np.ndarray

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Of what belongs to the rows, by score."""
        return np.add.reduceat(values[self.order], self.first) if len(values) else values


def _falling(score: np.ndarray) -> tuple[np.ndarray, _Runs]:
    """Scores, each once, falling, and where rows have them."""
    order = np.argsort(-score, kind="stable")
    score = score[order]
    first = np.flatnonzero(np.diff(score, prepend=np.nan) != 0.0)
    return score[first], _Runs(order, first)


def roc_auc(comm: Comm, ranking: Ranking) -> float:
    """The area below the receiver operating characteristic; NaN where there is one kind of rows only. A collective.

    It is how likely a positive row has a larger score than a negative one, equal scores counting a half.
    """
    higher = 2 * (ranking.positive - ranking.own_positive) + ranking.own_positive
    total = _sum_of_products(comm, ranking.own_negative, higher)
    pairs = 2 * ranking.positives * ranking.negatives
    return total / pairs if pairs else float("nan")


def average_precision(comm: Comm, ranking: Ranking) -> float:
    """The area below the curve of precision against recall; NaN without positive rows. A collective.

    It is the sum over scores of precision times the step of recall.
    """
    above = np.maximum(ranking.positive + ranking.negative, 1)
    precision = np.rint(np.ldexp(ranking.positive / above, 2 * HALF)).astype(np.int64)
    total = _sum_of_products(comm, ranking.own_positive, precision)
    return total / (ranking.positives << 2 * HALF) if ranking.positives else float("nan")


def _sum_of_products(comm: Comm, small: np.ndarray, large: np.ndarray) -> int:
    """The sum over ranks of small times large, below 2^51, where the sum of small is below 2^36: exactly."""
    high, low = large >> HALF, large & ((1 << HALF) - 1)
    parts = comm.sum(np.array([np.dot(small, high), np.dot(small, low)]))
    return (int(parts[0]) << HALF) + int(parts[1])


Goal = Literal["f1", "balanced-accuracy", "cost"]


def best_threshold(comm: Comm, ranking: Ranking, goal: Goal, cost: tuple[float, float] = (1.0, 1.0)) -> float:
    """The least score that is to count as positive, so that a goal is met best; of several the largest. A collective.

    cost : of a negative row that is taken for a positive one, and of a positive one that is missed; for 'cost', whose
    sum is the least.  The answer is infinite where nothing is best called positive.
    """
    score = np.append(np.inf, ranking.score)  # with the threshold that nothing reaches
    true, false = (np.append(0.0, above) for above in (ranking.positive, ranking.negative))
    found = _goal(goal, cost)(true, false, float(ranking.positives), float(ranking.negatives))
    best = int(np.argmax(found))
    return max(comm.gather((float(found[best]), float(score[best]))))[1]


def _goal(goal: Goal, cost: tuple[float, float]) -> Callable[[np.ndarray, np.ndarray, float, float], np.ndarray]:
    """What is to be large: a function of positive and negative rows above a threshold, and of all of either."""

    def f1(true: np.ndarray, false: np.ndarray, positives: float, negatives: float) -> np.ndarray:
        value: np.ndarray = 2.0 * true / np.maximum(true + false + positives, 1.0)
        return value

    def balanced(true: np.ndarray, false: np.ndarray, positives: float, negatives: float) -> np.ndarray:
        return true / max(positives, 1.0) - false / max(negatives, 1.0)

    def cheap(true: np.ndarray, false: np.ndarray, positives: float, negatives: float) -> np.ndarray:
        return -(cost[0] * false + cost[1] * (positives - true))

    return {"f1": f1, "balanced-accuracy": balanced, "cost": cheap}[goal]

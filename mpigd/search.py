"""Candidates of a search for options, what came of them, and which of them to take."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.random import Generator, Philox

from mpigd.options.tune import Span, Tune, Value, is_whole

# Metrics of which less is better.
LESS = frozenset({"loss", "rmse", "mae", "deviance", "pinball_loss", "log_loss", "brier"})
PENALTIES = ("l1", "l2")
ETA = 3  # one of so many candidates goes on to the next rung of a halving, which takes so many times the passes


@dataclass(frozen=True)
class Trial:
    """A candidate and how it did.

    values : of the options that candidates differ in.  scores : of each fold, NaN where its fit has not come to an end.
    passes : over the rows to train, the mean over folds.  note : why it was given up; empty where it was not.
    """

    values: dict[str, Value]
    scores: tuple[float, ...] = ()
    passes: float = 0.0
    note: str = ""

    @property
    def mean(self) -> float:
        """Of the scores."""
        return math.fsum(self.scores) / len(self.scores) if self.scores else math.nan

    @property
    def standard_error(self) -> float:
        """Of the mean: the standard deviation of the scores over the root of how many there are."""
        count, mean = len(self.scores), self.mean
        squares = math.fsum((score - mean) ** 2 for score in self.scores)
        return math.sqrt(squares / (count - 1) / count) if count > 1 else math.nan

    def summary(self) -> dict[str, Any]:
        """As plain values; None for what is not finite."""
        return {
            "values": self.values,
            "scores": [_finite(score) for score in self.scores],
            "mean": _finite(self.mean),
            "standard_error": _finite(self.standard_error),
            "passes": self.passes,
            "note": self.note,
        }


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def candidates_of(options: Tune) -> list[dict[str, Value]]:
    """The candidates that options ask for, the most penalised first, none twice.

    Logarithms differ between machines: of one rank alone.
    """
    if options.search == "grid" or all(span.values or span.count for span in options.spans):
        every = [dict(values) for values in itertools.product(*map(_grid, options.spans))]
        if options.search != "grid" and len(every) > options.candidates:
            order = Generator(Philox(key=options.seed)).permutation(len(every))[: options.candidates]
            every = [every[place] for place in order.tolist()]
    else:
        generator = Generator(Philox(key=options.seed))
        every = [dict(_drawn(span, generator) for span in options.spans) for _ in range(options.candidates)]
    distinct = list({tuple(values.items()): values for values in every}.values())
    return sorted(distinct, key=lambda values: -sum(float(values.get(name, 0.0)) for name in PENALTIES))


def _grid(span: Span) -> list[tuple[str, Value]]:
    if span.values:
        return [(span.name, value) for value in span.values]
    points = np.geomspace(span.low, span.high, span.count).tolist()
    return [(span.name, _as_wanted(span, point)) for point in points]


def _drawn(span: Span, generator: Generator) -> tuple[str, Value]:
    """One of the values, or a point of the span, evenly in the logarithm (J. Bergstra, Y. Bengio, JMLR 13, 2012)."""
    if span.values:
        return span.name, span.values[int(generator.integers(len(span.values)))]
    return span.name, _as_wanted(span, math.exp(generator.uniform(math.log(span.low), math.log(span.high))))


def _as_wanted(span: Span, point: float) -> Value:
    """A point within the span, as its option takes it; of six digits, which can be written down."""
    point = min(max(float(f"{point:.6g}"), span.low), span.high)
    return round(point) if is_whole(span.name) else point


def rungs_of(count: int, most_passes: float, search: str) -> list[float]:
    """Passes after which candidates are compared, rising, the last the most there are.

    K. Jamieson, A. Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization", AISTATS 2016.
    """
    if search != "halving":
        return [most_passes]
    rungs, left = 1, count
    while left > 1:
        rungs, left = rungs + 1, -(-left // ETA)
    return [max(most_passes / ETA**k, 1.0) for k in reversed(range(rungs))]


def those_that_go_on(trials: Sequence[Trial], score: str) -> list[int]:
    """Places of the best third."""
    order = sorted(range(len(trials)), key=lambda place: rank(trials[place], score))
    return sorted(order[: -(-len(trials) // ETA)])


def best_of(trials: Sequence[Trial], score: str) -> int | None:
    """The place of the best mean; of equal ones the first. None where no trial has come to its end."""
    there = [place for place, trial in enumerate(trials) if math.isfinite(trial.mean) and not trial.note]
    return min(there, key=lambda place: rank(trials[place], score), default=None)


def chosen_of(trials: Sequence[Trial], best: int, score: str, rule: Literal["best", "one-se"]) -> int:
    """The place of the trial to take.

    By the rule of one standard error (L. Breiman et al., "Classification and regression trees", 1984, section 3.4.3)
    that is the most penalised one whose mean is no further from the best than the best's standard error.
    """
    if rule == "best":
        return best
    top = trials[best]
    others = {key: value for key, value in top.values.items() if key not in PENALTIES}
    allowed = rank(top, score) + top.standard_error
    within = [
        place
        for place, trial in enumerate(trials)
        if not trial.note
        and {key: value for key, value in trial.values.items() if key not in PENALTIES} == others
        and rank(trial, score) <= allowed
    ]
    return max(within, key=lambda place: (_penalised(trials[place]), -place), default=best)


def _penalised(trial: Trial) -> float:
    return sum(float(trial.values.get(name, 0.0)) for name in PENALTIES)


def rank(trial: Trial, score: str) -> float:
    """A number that is less for what is better; infinite for what is no number."""
    if not math.isfinite(trial.mean):
        return math.inf
    return trial.mean if score in LESS else -trial.mean

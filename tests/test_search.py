"""Candidates of a search, and which of them is taken."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpigd.errors import UsageError
from mpigd.options import Tune
from mpigd.options.tune import Span, parse_span
from mpigd.search import Trial, best_of, candidates_of, chosen_of, rungs_of, those_that_go_on


def options(*over: str, **more: Any) -> Tune:
    return Tune((Path("a.h5"),), over=over, **more)


def test_a_grid_is_all_combinations_the_most_penalised_first() -> None:
    found = candidates_of(options("l2=0.1..10/3", "batch_size=16,64", solver="sgd"))
    assert [(values["l2"], values["batch_size"]) for values in found] == [
        (l2, size) for l2 in (10.0, 1.0, 0.1) for size in (16, 64)
    ]
    assert len(candidates_of(options())) == 20
    assert candidates_of(options("l2=0.5,0.5,2")) == [{"l2": 2.0}, {"l2": 0.5}]


def test_draws_are_within_their_spans_even_in_the_logarithm() -> None:
    asked = options("learning_rate=1e-4..1", "batch_size=8..512", search="random", candidates=400, solver="sgd")
    found = candidates_of(asked)
    rates = np.array([values["learning_rate"] for values in found])
    sizes = [values["batch_size"] for values in found]
    assert all(isinstance(size, int) and 8 <= size <= 512 for size in sizes)
    assert 1e-4 <= rates.min() <= 2e-4
    assert 0.5 <= rates.max() <= 1.0
    assert np.median(np.log10(rates)) == pytest.approx(-2.0, abs=0.3)
    assert candidates_of(asked) == found
    other = options("learning_rate=1e-4..1", search="random", seed=1, candidates=400, solver="sgd")
    assert [values["learning_rate"] for values in candidates_of(other)] != rates.tolist()


def test_a_grid_may_be_drawn_from() -> None:
    found = candidates_of(options("l2=1e-3..10/50", search="random", candidates=7))
    assert len(found) == 7
    assert {values["l2"] for values in found} < {values["l2"] for values in candidates_of(options("l2=1e-3..10/50"))}


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("l2=0.1, 1", Span("l2", (0.1, 1.0))),
        ("--batch-size=8,16", Span("batch_size", (8, 16))),
        ("learning_rate=auto,0.5", Span("learning_rate", ("auto", 0.5))),
        ("averaging=true,false", Span("averaging", (True, False))),
        ("solver=adam,sgd", Span("solver", ("adam", "sgd"))),
        ("l1=1e-3..1/4", Span("l1", (), 1e-3, 1.0, 4)),
        ("momentum=0.1..0.9", Span("momentum", (), 0.1, 0.9)),
    ],
)
def test_spans(text: str, span: Span) -> None:
    assert parse_span(text) == span


@pytest.mark.parametrize(
    "more",
    [
        {"over": ("l3=1",)},
        {"over": ("l2",)},
        {"over": ("l2=many",)},
        {"over": ("batch_size=1.5",)},
        {"over": ("l2=0..1/3",)},
        {"over": ("l2=2..1/3",)},
        {"over": ("l2=1e-3..1",)},
        {"over": ("l2=-1",)},
        {"over": ("l2=1", "l2=2")},
        {"over": ("data=a.h5",)},
        {"folds": 1},
        {"fold_kind": "grouped"},
        {"fold_by": "part"},
        {"path": 3, "l2": 1.0},
        {"patience": 3, "validation_share": 0.1},
        {"resume": "auto"},
        {"resume": "auto", "run_dir": Path("run"), "rank_groups": 2},
        {"search": "halving", "rank_groups": 2},
    ],
)
def test_what_makes_no_sense_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--"):
        Tune((Path("a.h5"),), **more)


def trials(*scores: tuple[float, ...], l2: tuple[float, ...] | None = None) -> list[Trial]:
    strengths = l2 or tuple(float(k) for k in range(len(scores), 0, -1))
    return [Trial({"l2": strength}, own) for strength, own in zip(strengths, scores, strict=True)]


@given(st.lists(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=6), min_size=1, max_size=5))
def test_means_and_standard_errors(scores: list[list[float]]) -> None:
    for own in scores:
        trial = Trial({}, tuple(own))
        assert trial.mean == pytest.approx(np.mean(own), abs=1e-9)
        assert trial.standard_error == pytest.approx(np.std(own, ddof=1) / math.sqrt(len(own)), abs=1e-9)


def test_the_rule_of_one_standard_error() -> None:
    every = trials((1.0, 1.2), (0.62, 0.64), (0.5, 0.7), (0.55, 0.75))
    assert best_of(every, "loss") == 2
    assert chosen_of(every, 2, "loss", "best") == 2
    assert chosen_of(every, 2, "loss", "one-se") == 1  # 0.63 <= 0.6 + 0.1, at a stronger penalty
    assert best_of(every, "accuracy") == 0
    assert chosen_of(every, 0, "accuracy", "one-se") == 0


def test_the_rule_compares_what_differs_in_the_penalty_alone() -> None:
    every = [
        Trial({"l2": 9.0, "batch_size": 8}, (0.5, 0.7)),
        Trial({"l2": 5.0, "batch_size": 16}, (0.55, 0.75)),
        Trial({"l2": 1.0, "batch_size": 16}, (0.49, 0.69)),
    ]
    assert chosen_of(every, 2, "loss", "one-se") == 1


def test_trials_that_were_given_up_are_not_taken() -> None:
    every = [Trial({"l2": 2.0}, (math.nan, 1.0)), Trial({"l2": 1.0}, (0.1, 0.1), note="left out"), *trials((5.0, 5.0))]
    assert best_of(every, "loss") == 2
    assert best_of(every[:2], "loss") is None


@given(st.integers(1, 200), st.floats(1.0, 1e4))
def test_rungs_of_a_halving(count: int, passes: float) -> None:
    rungs = rungs_of(count, passes, "halving")
    assert rungs[-1] == passes
    assert all(a <= b <= 3.0 * a * (1 + 1e-12) for a, b in itertools.pairwise(rungs))
    left = trials(*[(float(k), float(k)) for k in range(count)])
    for _ in rungs[1:]:
        places = those_that_go_on(left, "loss")
        assert places == list(range(-(-len(left) // 3)))
        left = [left[place] for place in places]
    assert len(left) == 1

"""A fit ends when the loss on rows to validate no longer falls, and the model is where it was least."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpigd.comm import Comm
from mpigd.errors import UsageError
from mpigd.history import EarlyStopping
from mpigd.options import Train
from mpigd.solvers import State
from mpigd.train import Fit, Training

ROWS, COLUMNS = 120, 40


def table() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fewer rows to train than make sense of so many columns, most of which say nothing; one of three is held out."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((ROWS, COLUMNS))
    y = X[:, :3].sum(axis=1) + 2.0 * rng.standard_normal(ROWS)
    return X, y, (np.arange(ROWS) % 3 == 0).astype(float)


def state_at(step: int) -> State:
    return State(np.full((1, 1), float(step)), 0.0, np.zeros((1, 1)), step, 0.0, 0.0)


@given(st.lists(st.floats(-10.0, 10.0), min_size=1, max_size=30), st.integers(1, 5), st.sampled_from([0.0, 0.1]))
def test_patience_is_counted_from_the_least_loss(losses: list[float], records: int, change: float) -> None:
    early, held = EarlyStopping(records, change), None
    least, where = losses[0], 0
    for step, loss in enumerate(losses):
        held = early.look(held, state_at(step), loss)
        if loss < least - change * abs(least):
            least, where = loss, step
        assert (held.loss, held.least, held.state.step, held.waited) == (loss, least, where, step - where)
        assert bool(early.reason(held)) == (step - where >= records)


def test_options_that_make_no_sense() -> None:
    for wrong in (
        {"patience": 3},
        {"patience": 0, "validation_share": 0.5},
        {"min_change": 0.1, "validation_share": 0.5},
        {"patience": 3, "validation_share": 0.5, "path": 4, "l2": 1.0},
    ):
        with pytest.raises(UsageError, match=r"--patience|--min-change"):
            Train((Path("a.h5"),), **wrong)


def followed(patience: int, rate: float) -> tuple[np.ndarray, int, int, float]:
    """What gradient descent does, by NumPy: where the loss held out is least, that step, the last one, the loss."""
    X, y, split = table()
    own, held = split == 0.0, split == 1.0
    theta, best, step = np.zeros(COLUMNS), (np.inf, 0, np.zeros(COLUMNS)), 0
    while True:
        loss = 0.5 * np.mean((X[held] @ theta - y[held]) ** 2)
        best = min(best, (loss, step, theta), key=lambda each: each[0])
        if step - best[1] >= patience:
            return best[2], best[1], step, best[0]
        theta = theta - rate * X[own].T @ (X[own] @ theta - y[own]) / own.sum()
        step += 1


@pytest.mark.mpi
@pytest.mark.parametrize("patience", [1, 7])
def test_the_model_is_where_numpy_finds_it(comm: Comm, write_data: Callable[..., Path], patience: int) -> None:
    X, y, split = table()
    plain: dict[str, Any] = {"solver": "gd", "intercept": False, "standardize": False, "tol": 0.0}
    options = Train((write_data(X=X, y=y, split=split),), split="split", learning_rate=0.1, patience=patience, **plain)
    records: list[Any] = []
    found = fitted(comm, options, records)
    coef, _, last, loss = followed(patience, 0.1)
    assert found.reason == "validation"
    assert found.state.step == last
    np.testing.assert_allclose(found.model.coef, coef, rtol=1e-9)
    assert found.scores["validation"]["rmse"] == pytest.approx(np.sqrt(2.0 * loss), rel=1e-12)
    assert min(record.validation_loss for record in records) == pytest.approx(loss, rel=1e-12)


def fitted(comm: Comm, options: Train, records: list[Any]) -> Fit:
    training = Training(comm, options, [lambda record, fraction: records.append(record)], None, None)
    return training.go_on()


@pytest.mark.mpi
def test_bits_do_not_depend_on_ranks(comm: Comm, stored: Callable[..., Train]) -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(-3, 4, (2000, 30)).astype(float)
    y = (X[:, 0] + 5.0 * rng.standard_normal(2000) > 0.0).astype(float)
    options = stored(X, y, loss="logistic", solver="nesterov", tol=0.0, validation_share=0.3, patience=4)
    together, alone = (fitted(each, options, []) for each in (comm, Comm.alone()))
    assert together.reason == "validation"
    assert together.model.fingerprint == alone.model.fingerprint
    assert together.scores == alone.scores

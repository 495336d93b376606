"""Intervals of metrics by the Poisson bootstrap: against scipy's and the known spread; the same bits on any ranks."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import load_table
from scipy import stats
from sklearn import metrics

from mpigd.bootstrap import COUNTS, counts, intervals
from mpigd.comm import Comm
from mpigd.errors import UsageError
from mpigd.metrics import Classification, Regression
from mpigd.options import Evaluate, Train
from mpigd.predict import evaluate
from mpigd.train import run

BLOCK = 16


def own(comm: Comm, n: int) -> slice:
    """Whole blocks of this rank, the last rows of which may be missing."""
    ends = [-(-n // BLOCK) * rank // comm.size * BLOCK for rank in range(comm.size + 1)]
    return slice(ends[comm.rank], min(ends[comm.rank + 1], n))


def draws(comm: Comm, n: int, replicates: int) -> list[np.ndarray]:
    rows = own(comm, n)
    blocks = np.arange(rows.start // BLOCK, -(-rows.stop // BLOCK))
    return [counts(3, k, blocks, BLOCK, rows.stop - rows.start) for k in range(replicates)]


def test_counts_are_poisson() -> None:
    drawn = np.concatenate([counts(1, k, np.arange(50), 4096, 50 * 4096 - 7) for k in range(5)])
    assert len(drawn) == 5 * (50 * 4096 - 7)
    expected = stats.poisson.pmf(np.arange(9), 1.0)
    np.testing.assert_allclose(np.bincount(COUNTS, minlength=9) / 2**16, expected, atol=2.0**-16)
    observed = np.bincount(np.minimum(drawn, 6), minlength=7)
    shares = np.append(expected[:6], expected[6:].sum())
    assert stats.chisquare(observed, shares / shares.sum() * len(drawn)).pvalue > 1e-3
    replicates = np.array([counts(1, k, np.arange(50), 4096, 50 * 4096) for k in range(5)])
    assert np.abs(np.corrcoef(replicates) - np.eye(5)).max() < 5.0 / math.sqrt(50 * 4096)


def test_counts_of_a_block_depend_on_nothing_else() -> None:
    whole = counts(9, 4, np.arange(6), BLOCK, 90)
    np.testing.assert_array_equal(whole[32:64], counts(9, 4, np.array([2, 3]), BLOCK, 32))
    assert not np.array_equal(whole, counts(9, 5, np.arange(6), BLOCK, 90))
    assert not np.array_equal(whole, counts(8, 4, np.arange(6), BLOCK, 90))
    assert counts(9, 4, np.zeros(0, np.int64), BLOCK, 0).shape == (0,)


def test_intervals_of_regression_as_of_scipy() -> None:
    comm, rng, n = Comm.alone(), np.random.default_rng(2), 600
    y = rng.standard_normal((n, 1))
    prediction, rows = 0.7 * y + 0.5 * rng.standard_normal((n, 1)), own(comm, n)
    scores = Regression(comm, y[rows], prediction[rows], BLOCK)
    found = intervals(lambda drawn: scores.numbers(drawn.astype(float)), iter(draws(comm, n, 1500)), 0.9)
    peers: dict[str, Callable[..., float]] = {
        "r2": metrics.r2_score,
        "rmse": metrics.root_mean_squared_error,
        "mae": metrics.mean_absolute_error,
    }
    for name, score in peers.items():
        peer = stats.bootstrap(
            (y[:, 0], prediction[:, 0]),
            score,
            paired=True,
            vectorized=False,
            n_resamples=1500,
            method="percentile",
            confidence_level=0.9,
            rng=np.random.default_rng(4),
        )
        # An end of an interval varies by sqrt(0.05 * 0.95 / 1500) / density, some 0.055 standard deviations, in both.
        error = 4.0 * math.sqrt(2.0) * 0.055 * peer.standard_error
        np.testing.assert_allclose(found[name], peer.confidence_interval, atol=error, err_msg=name)


def test_intervals_of_classes_as_of_rows_drawn_anew() -> None:
    comm, rng, n, replicates = Comm.alone(), np.random.default_rng(6), 400, 400
    y = (rng.random(n) < 0.3).astype(float)
    second = np.clip(0.4 * y + 0.6 * rng.random(n), 0.01, 0.99)
    probability, rows = np.stack([1.0 - second, second], axis=1), own(comm, n)
    scores = Classification(comm, y[rows], probability[rows], BLOCK)
    found = intervals(lambda drawn: scores.numbers(drawn.astype(float)), iter(draws(comm, n, replicates)), 0.8)
    peers: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
        "accuracy": lambda y, p: metrics.accuracy_score(y, p > 0.5),
        "balanced_accuracy": lambda y, p: metrics.balanced_accuracy_score(y, p > 0.5),
        "f1": lambda y, p: metrics.f1_score(y, p > 0.5, average="macro"),
        "roc_auc": metrics.roc_auc_score,
        "average_precision": metrics.average_precision_score,
        "log_loss": metrics.log_loss,
        "brier": metrics.brier_score_loss,
    }
    some = [rng.integers(0, n, n) for _ in range(replicates)]
    for name, score in peers.items():
        values = np.array([score(y[drawn], second[drawn]) for drawn in some])
        error = 4.0 * math.sqrt(2.0) * 0.0715 * values.std()  # sqrt(0.1 * 0.9 / 400) / 0.21 and its like
        np.testing.assert_allclose(found[name], np.quantile(values, [0.1, 0.9]), atol=error, err_msg=name)


@pytest.mark.mpi
def test_a_drawn_row_counts_as_a_row_that_is_there_as_often(comm: Comm) -> None:
    rng, n = np.random.default_rng(7), 200
    y, weight = rng.integers(0, 3, n).astype(float), rng.random(n)
    probability, rows = rng.dirichlet(np.ones(3), n), own(comm, n)
    drawn = np.concatenate(comm.gather(draws(comm, n, 1)[0]))
    found = Classification(comm, y[rows], probability[rows], BLOCK).numbers((weight * drawn)[rows])
    some = np.repeat(np.arange(n), drawn)
    alone = Classification(Comm.alone(), y[some], probability[some], BLOCK).numbers(weight[some])
    assert found.keys() == alone.keys()
    for name, value in alone.items():
        assert found[name] == pytest.approx(value, rel=1e-9), name


@pytest.mark.mpi
def test_the_same_bits_on_any_number_of_ranks(comm: Comm, shared_path: Path) -> None:
    for table, loss in (("boston", "squared"), ("breast_cancer", "logistic"), ("digits", "softmax")):
        path = load_table(table).path
        run(comm, Train(path, loss=loss, l2=0.1, max_passes=5, test_share=0.3, run_dir=shared_path / table))
        for on in ("all", "test"):
            options = Evaluate(shared_path / table, path, on=on, bootstrap=5, level=0.5)
            together, alone = evaluate(comm, options), evaluate(Comm.alone(), options)
            assert together["intervals"] == alone["intervals"]
            numbers = {name for name, value in together.items() if isinstance(value, float)} - {"level"}
            assert together["intervals"].keys() == numbers
            assert all(low < high for low, high in together["intervals"].values())


def test_a_metric_that_is_not_defined_in_some_replicates() -> None:
    values = iter([0.1, math.nan, 0.3, math.nan])
    found = intervals(lambda drawn: {"a": next(values), "b": math.nan}, iter([np.ones(1)] * 4), 0.5)
    assert found["a"] == pytest.approx((0.15, 0.25))
    assert all(map(math.isnan, found["b"]))


@pytest.mark.parametrize(
    ("given", "message"),
    [({"bootstrap": 1}, "--bootstrap 1: expected 0, or"), ({"level": 1.0}, "--level 1.0"), ({"seed": -1}, "--seed -1")],
)
def test_options_that_can_not_be(given: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Evaluate("model.h5", "data.h5", **given)

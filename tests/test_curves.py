"""Curves on any number of ranks, against scikit-learn and numpy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import mpigd_kernels as kernels
import numpy as np
import pytest
from scipy import stats
from sklearn import metrics
from test_metrics import own_rows, scored

from mpigd.comm import Comm
from mpigd.curves import GROUPS, POINTS, curve, curves, points, residuals
from mpigd.dataset import read
from mpigd.model import Model
from mpigd.predict import Answered
from mpigd.ranking import rank_scores

pytestmark = pytest.mark.mpi
COMM = Comm.world()


@scored
def test_short_curves_are_those_of_scikit_learn(score: list[float], seed: int, weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    scores, positive = np.array(score), rng.random(len(score)) < 0.4
    positive[:2] = True, False
    weight = rng.integers(1, 30, len(score)) / (30.0 if weighted else 1.0)
    found = curve(COMM, *own_rows(COMM, scores, positive, weight))
    false, true, threshold = metrics.roc_curve(positive, scores, sample_weight=weight, drop_intermediate=False)
    # All points, but for those that a hundredth of the weight does not reach, or of no new threshold.
    own = np.stack([found["threshold"], found["false_positive_rate"], found["true_positive_rate"]])
    theirs = np.stack([threshold, false, true])[:, 1:]
    at = np.searchsorted(-theirs[0], -own[0])
    np.testing.assert_allclose(own, theirs[:, at], rtol=1e-9, atol=1e-9)
    steps = np.diff(theirs[1:], axis=1, prepend=0.0)
    assert set(np.flatnonzero((steps >= 1.0 / POINTS).any(axis=0))) <= set(at)
    precision, recall, at_score = metrics.precision_recall_curve(positive, scores, sample_weight=weight)
    at = np.searchsorted(at_score, own[0])
    np.testing.assert_allclose(found["precision"], precision[at], rtol=1e-9)
    np.testing.assert_allclose(found["true_positive_rate"], recall[at], rtol=1e-9)
    area = metrics.roc_auc_score(positive, scores, sample_weight=weight)
    assert found["roc_auc"] == pytest.approx(area, rel=1e-9, abs=1e-9)


def test_a_long_curve_has_few_points_close_together(comm: Comm) -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(20_000) < 0.02
    scores = rng.standard_normal(20_000) + 1.5 * positive
    found = curve(comm, *own_rows(comm, scores, positive, np.ones(20_000)))
    false, true = np.array(found["false_positive_rate"]), np.array(found["true_positive_rate"])
    assert len(false) <= 2 * POINTS
    for rate, rows in ((false, (~positive).sum()), (true, positive.sum())):
        assert np.diff(rate, prepend=0.0).max() <= 1.0 / POINTS + 1.0 / rows
    assert (false[-1], true[-1]) == (1.0, 1.0)
    expected = metrics.roc_auc_score(positive, scores)
    assert found["roc_auc"] == pytest.approx(expected, rel=1e-12)
    assert metrics.auc([0.0, *false], [0.0, *true]) == pytest.approx(expected, abs=2e-3)
    at = int(np.argmin(abs(true - 0.5)))
    above = scores >= found["threshold"][at]
    assert found["precision"][at] == pytest.approx(metrics.precision_score(positive, above))
    assert true[at] == pytest.approx(metrics.recall_score(positive, above))


def test_quantiles(comm: Comm) -> None:
    values, weight = np.random.default_rng(1).standard_normal(1001), np.ones(1001)
    mine, some = own_rows(comm, values, weight)
    found, above, nothing = points(comm, rank_scores(comm, mine, some > 0.0, some), 10)
    expected = np.quantile(values, 1.0 - np.arange(1, 11) / 10.0, method="inverted_cdf")
    np.testing.assert_allclose(found, expected, atol=0.02)
    np.testing.assert_array_equal(above, [(values >= value).sum() for value in found])
    assert not nothing.any()


def test_residuals_of_numbers(comm: Comm) -> None:
    rng = np.random.default_rng(2)
    fitted, weight = rng.standard_normal(3000), rng.integers(0, 4, 3000).astype(float)
    y = fitted + rng.standard_normal(3000) * (1.0 + np.abs(fitted))
    found = residuals(comm, *own_rows(comm, y, fitted, weight), 7, "squared", 0.0)
    repeated = np.repeat(np.stack([y, fitted, y - fitted]), weight.astype(int), axis=1)
    assert found["mean"] == pytest.approx(repeated[2].mean())
    assert found["sd"] == pytest.approx(repeated[2].std())
    assert (found["y"]["mean"], found["y"]["sd"]) == pytest.approx((repeated[0].mean(), repeated[0].std()))
    ends = np.array(found["histogram"]["ends"])
    inside = np.clip(repeated[2], ends[0], ends[-1])
    np.testing.assert_allclose(found["histogram"]["weight"], np.histogram(inside, ends)[0])
    groups = {name: np.array(values) for name, values in found["groups"].items()}
    assert len(groups["weight"]) == GROUPS
    np.testing.assert_allclose(groups["weight"], weight.sum() / GROUPS, rtol=0.02)
    starts = np.quantile(repeated[1], np.arange(1, GROUPS) / GROUPS)
    lowest, highest = repeated[:, repeated[1] < starts[0]], repeated[:, repeated[1] >= starts[-1]]
    for at, rows in ((0, lowest), (-1, highest)):
        assert groups["fitted"][at] == pytest.approx(rows[1].mean(), abs=0.02)
        assert groups["y"][at] == pytest.approx(rows[0].mean(), abs=0.1)
        assert groups["sd"][at] == pytest.approx(rows[2].std(), abs=0.1)
        assert groups["below"][at] == pytest.approx((rows[2] < 0.0).mean(), abs=0.02)
    assert np.average(groups["residual"], weights=groups["weight"]) == pytest.approx(found["mean"])


def test_deviance_residuals(comm: Comm) -> None:
    rng = np.random.default_rng(3)
    fitted = rng.gamma(2.0, 2.0, 500) + 0.1
    y = rng.poisson(fitted).astype(float)
    found = residuals(comm, *own_rows(comm, y, fitted, np.ones(500)), 1, "poisson", 0.0)
    likelihoods = stats.poisson.logpmf(y, y) - stats.poisson.logpmf(y, fitted)
    expected = np.sign(y - fitted) * np.sqrt(2.0 * np.maximum(likelihoods, 0.0))
    assert found["kind"] == "deviance"
    assert (found["mean"], found["sd"]) == pytest.approx((expected.mean(), expected.std()))


def test_residuals_that_are_not_finite_are_left_out(comm: Comm) -> None:
    y, fitted = np.array([1.0, 2.0, 3.0, 1.0]), np.array([1.0, np.inf, 2.0, np.nan])
    found = residuals(comm, *own_rows(comm, y, fitted, np.ones(4)), 1, "squared", 0.0)
    assert (found["weight"], found["mean"]) == (2.0, 0.5)
    json.dumps(found, allow_nan=False)
    assert residuals(comm, *own_rows(comm, y, np.full(4, np.nan), np.ones(4)), 1, "squared", 0.0) == {}


@pytest.mark.parametrize(("loss", "target"), [("logistic", "binary"), ("softmax", "classes"), ("squared", "real")])
def test_the_same_bits_on_any_number_of_ranks(
    comm: Comm, write_data: Callable[..., Path], loss: str, target: str
) -> None:
    rng = np.random.default_rng(4)
    X = rng.standard_normal((900, 3))
    y = {"binary": X[:, 0] > 0.3, "classes": rng.integers(0, 3, 900), "real": X[:, 1] + rng.random(900)}[target]
    path = write_data(X=X, y=y.astype(float), sample_weight=rng.random(900))
    classes = np.unique(y) if target != "real" else np.zeros(0)
    shape = (3, 3) if target == "classes" else (3,)
    model = Model(
        rng.standard_normal(shape),
        rng.standard_normal(shape[1:]),
        kernels.LOSSES[loss],
        ("a", "b", "c"),
        classes.astype(float),
    )
    own, alone = Comm.world(), Comm.alone()

    def answers(comm: Comm) -> Answered:
        return Answered.of(comm, model, read(comm, path, target=target))

    found = [json.dumps(curves(c, model, answers(c)), allow_nan=False) for c in (own, alone)]
    assert found[0] == found[1]
    assert json.loads(found[0])["rows"] == 900

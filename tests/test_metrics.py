"""Metrics on any number of ranks, against scikit-learn."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import calibration, metrics

from mpigd.comm import Comm
from mpigd.metrics import classification, regression
from mpigd.ranking import average_precision, best_threshold, rank_scores, roc_auc

pytestmark = pytest.mark.mpi
COMM = Comm.world()


scored = given(
    score=st.lists(st.sampled_from([0.0, 0.1, 0.5, 2.0, -1.0, 1e300, -1e-300]), min_size=2, max_size=60),
    seed=st.integers(0, 2**32 - 1),
    weighted=st.booleans(),
)


def own_rows(comm: Comm, *arrays: np.ndarray) -> list[np.ndarray]:
    """Uneven shares, the last of which may have nothing."""
    ends = [len(arrays[0]) * k * k // comm.size**2 for k in range(comm.size + 1)]
    return [values[ends[comm.rank] : ends[comm.rank + 1]] for values in arrays]


@pytest.mark.parametrize(
    ("loss", "parameter"),
    [
        ("poisson", 0.0),
        ("gamma", 0.0),
        ("tweedie", 1.5),
        ("tweedie", 1.0),
        ("quantile", 0.3),
        ("negative-binomial", 0.7),
    ],
)
def test_metrics_of_a_loss(comm: Comm, loss: str, parameter: float) -> None:
    rng = np.random.default_rng(3)
    mean, weight = rng.gamma(2.0, 1.0, (200, 1)) + 0.1, rng.random(200)
    y = rng.poisson(mean) if loss != "gamma" else rng.gamma(1.0, mean)
    found = regression(comm, *own_rows(comm, y.astype(float), mean, weight), 1, loss, parameter)
    if loss == "quantile":
        expected = metrics.mean_pinball_loss(y, mean, sample_weight=weight, alpha=parameter)
        assert found["pinball_loss"] == pytest.approx(expected, rel=1e-12)
        return
    if loss == "negative-binomial":  # twice what likelihoods at y and at the mean differ by
        size = 1.0 / parameter
        at_y, at_mean = (stats.nbinom.logpmf(y, size, size / (size + m)) for m in (y, mean))
        assert found["deviance"] == pytest.approx(np.average(2.0 * (at_y - at_mean)[:, 0], weights=weight), rel=1e-10)
        return
    power = {"poisson": 1, "gamma": 2, "tweedie": parameter}[loss]
    expected = metrics.mean_tweedie_deviance(y[:, 0], mean[:, 0], sample_weight=weight, power=power)
    assert found["deviance"] == pytest.approx(expected, rel=1e-12)
    expected = metrics.d2_tweedie_score(y[:, 0], mean[:, 0], sample_weight=weight, power=power)
    assert found["d2"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("classes", "weighted"), list(product((2, 4), (False, True))))
def test_metrics_of_classes(comm: Comm, classes: int, weighted: bool) -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(0, classes, 321).astype(float)
    weight = rng.random(321) if weighted else np.ones(321)
    probability = np.round(rng.dirichlet(np.ones(classes), 321), 2)
    probability = (probability + 0.01) / (probability + 0.01).sum(axis=1, keepdims=True)
    found = classification(comm, *own_rows(comm, y, probability, weight))
    picked = probability.argmax(axis=1)
    given_weight = {"sample_weight": weight}

    def close(name: str, expected: float) -> None:
        assert found[name] == pytest.approx(expected, rel=1e-9), name

    close("accuracy", metrics.accuracy_score(y, picked, **given_weight))
    close("balanced_accuracy", metrics.balanced_accuracy_score(y, picked, **given_weight))
    for name, average in product(("precision", "recall", "f1"), (None, "macro")):
        expected = getattr(metrics, f"{name}_score")(y, picked, average=average, zero_division=0.0, **given_weight)
        np.testing.assert_allclose(found["classes"][name] if average is None else found[name], expected, rtol=1e-9)
    close("log_loss", metrics.log_loss(y, probability, **given_weight))
    np.testing.assert_allclose(found["confusion"], metrics.confusion_matrix(y, picked, **given_weight), rtol=1e-12)
    if classes == 2:
        close("roc_auc", metrics.roc_auc_score(y, probability[:, 1], **given_weight))
        close("average_precision", metrics.average_precision_score(y, probability[:, 1], **given_weight))
        close("brier", metrics.brier_score_loss(y, probability[:, 1], **given_weight))
        if not weighted:
            share, mean = calibration.calibration_curve(y, probability[:, 1], n_bins=10)
            np.testing.assert_allclose(found["calibration"]["share"], share, rtol=1e-12)
            np.testing.assert_allclose(found["calibration"]["probability"], mean, rtol=1e-12)
    else:
        areas = [metrics.roc_auc_score(y == k, probability[:, k], **given_weight) for k in range(classes)]
        close("roc_auc", float(np.mean(areas)))
        areas = [metrics.average_precision_score(y == k, probability[:, k], **given_weight) for k in range(classes)]
        close("average_precision", float(np.mean(areas)))


def test_a_class_that_nobody_has_or_is_taken_for(comm: Comm) -> None:
    y, probability = np.array([0.0, 0.0, 2.0]), np.eye(3)[[0, 1, 2]]
    found = classification(comm, *own_rows(comm, y, probability, np.ones(3)))
    assert found["balanced_accuracy"] == pytest.approx(0.75)
    expected = metrics.f1_score(y, [0, 1, 2], average="macro", zero_division=0.0)
    assert found["f1"] == pytest.approx(expected)


@scored
def test_areas_of_any_scores(score: list[float], seed: int, weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    scores, positive = np.array(score), rng.random(len(score)) < 0.4
    positive[:2] = True, False
    weight = rng.random(len(score)) if weighted else rng.integers(0, 3, len(score)).astype(float)
    weight[:2] = 1.0
    ranking = rank_scores(COMM, *own_rows(COMM, scores, positive, weight))
    expected = metrics.roc_auc_score(positive, scores, sample_weight=weight)
    assert roc_auc(COMM, ranking) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    expected = metrics.average_precision_score(positive, scores, sample_weight=weight)
    assert average_precision(COMM, ranking) == pytest.approx(expected, rel=1e-9)
    alone = np.unique(scores[weight > 0.0])
    values = [metrics.f1_score(positive, scores >= t, sample_weight=weight, zero_division=0.0) for t in alone]
    best = best_threshold(COMM, ranking, "f1")
    reached = metrics.f1_score(positive, scores >= best, sample_weight=weight, zero_division=0.0)
    assert reached == pytest.approx(max(values), rel=1e-6)


def test_thresholds(comm: Comm) -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(500) < 0.1
    scores = rng.standard_normal(500) + 1.5 * positive
    ranking = rank_scores(comm, *own_rows(comm, scores, positive, np.ones(500)))
    best = best_threshold(comm, ranking, "balanced-accuracy")
    values = {t: metrics.balanced_accuracy_score(positive, scores >= t) for t in scores}
    assert values[best] == pytest.approx(max(values.values()))

    def cost(t: float) -> float:
        return float(np.sum((scores >= t) & ~positive) + 7.0 * np.sum((scores < t) & positive))

    assert cost(best_threshold(comm, ranking, "cost", (1.0, 7.0))) == min(map(cost, scores))
    assert best_threshold(comm, ranking, "cost", (1.0, 0.0)) == np.inf


def test_the_same_bits_on_any_number_of_ranks(comm: Comm) -> None:
    rng = np.random.default_rng(2)
    scores, positive, weight = rng.standard_normal(999), rng.random(999) < 0.3, rng.random(999)
    ranking = rank_scores(comm, *own_rows(comm, scores, positive, weight))
    alone = Comm.alone()
    one = rank_scores(alone, scores, positive, weight)
    assert roc_auc(comm, ranking) == roc_auc(alone, one)
    assert average_precision(comm, ranking) == average_precision(alone, one)


def test_nothing_to_rank(comm: Comm) -> None:
    ranking = rank_scores(comm, *own_rows(comm, np.zeros(4), np.zeros(4, bool), np.ones(4)))
    assert np.isnan(roc_auc(comm, ranking))
    assert np.isnan(average_precision(comm, ranking))
    ranking = rank_scores(comm, np.zeros(0), np.zeros(0, bool), np.zeros(0))
    assert np.isnan(roc_auc(comm, ranking))

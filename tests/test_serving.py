"""Models for serving: answers by array, name and frame, against scipy and scikit-learn, and a light import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpigd_kernels import LOSSES
from scipy import special, stats
from sklearn.linear_model import LogisticRegression

import mpigd
from mpigd.errors import DataError
from mpigd.model import Model
from mpigd.predictor import Predictor, expected
from mpigd.serving import Served

NAMES = ("a", "b", "c")
INVERSE = {
    "identity": lambda eta: eta,
    "log": np.exp,
    "logit": special.expit,
    "probit": stats.norm.cdf,
    "complementary log-log": lambda eta: 1.0 - np.exp(-np.exp(eta)),
    "sign": lambda eta: (eta > 0.0).astype(float),
    "multinomial logit": lambda eta: special.softmax(eta, axis=1),
}


def model_of(loss: str, outputs: int = 1, threshold: float | None = None) -> Model:
    rng = np.random.default_rng(7)
    coef, intercept = rng.standard_normal((3, outputs)), rng.standard_normal(outputs)
    target = LOSSES[loss].target
    classes = np.arange(10.0, 10.0 + max(outputs, 2)) if target in ("binary", "classes") else np.zeros(0)
    result = {} if threshold is None else {"threshold": threshold}
    if outputs == 1:
        return Model(coef[:, 0], intercept[0], LOSSES[loss], NAMES, classes, result=result)
    return Model(coef, intercept, LOSSES[loss], NAMES, classes, result=result)


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(8).standard_normal((20, 3))


@pytest.mark.parametrize(
    ("loss", "outputs"), [("softmax", 4), ("squared", 4), *((loss, 1) for loss in LOSSES if loss != "softmax")]
)
def test_answers_of_every_loss(loss: str, outputs: int, x: np.ndarray, tmp_path: Path) -> None:
    fitted = model_of(loss, outputs)
    fitted.save(tmp_path / "model.h5")
    served = mpigd.load(tmp_path)
    eta = x @ fitted.coef + fitted.intercept
    np.testing.assert_allclose(served.decision_function(x), eta, rtol=1e-13)
    mean = INVERSE[fitted.link](eta)
    if not len(served.classes):
        np.testing.assert_allclose(served.predict(x), mean, rtol=1e-12)
        with pytest.raises(DataError, match="has no probabilities"):
            served.predict_proba(x)
        return
    probability = mean if outputs > 1 else np.stack([1.0 - mean, mean], axis=1)
    np.testing.assert_array_equal(served.predict(x), served.classes[probability.argmax(axis=1)])
    if fitted.link == "sign":
        assert not served.has_probabilities
    else:
        np.testing.assert_allclose(served.predict_proba(x), probability, rtol=1e-12)


@pytest.mark.parametrize("link", INVERSE)
@given(eta=st.lists(st.floats(-1e300, 1e300), min_size=2, max_size=5))
def test_means_are_finite_for_every_eta(link: str, eta: list[float]) -> None:
    mean = expected(link, np.array([eta]))
    assert np.isfinite(mean).all()
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        naive = np.asarray(INVERSE[link](np.array([eta])))
    known = np.isfinite(naive) & (np.abs(naive) < 1e290)
    np.testing.assert_allclose(mean[known], naive[known], rtol=1e-9, atol=1e-15)


def test_one_row_is_a_row_without_its_axis(x: np.ndarray) -> None:
    several = model_of("softmax", 4)
    assert several.predict(x[0]) == several.predict(x)[0]
    np.testing.assert_array_equal(several.predict_proba(x[0]), several.predict_proba(x[:1])[0])
    assert model_of("squared").decision_function(x[0]) == model_of("squared").decision_function(x[:1])[0]
    assert np.ndim(model_of("logistic").predict(x[0])) == 0
    assert model_of("squared").predict(np.zeros((0, 3))).shape == (0,)


def test_rows_by_name(x: np.ndarray) -> None:
    model = model_of("logistic")
    frame = pd.DataFrame(x, columns=list(NAMES)).assign(other="text")[["other", "c", "a", "b"]]
    wanted = model.predict_proba(x)
    columns = {name: frame[name].to_list() for name in frame}
    for rows in (frame, columns, x.tolist()):
        np.testing.assert_allclose(model.predict_proba(rows), wanted, rtol=1e-13)
    row = dict(zip(NAMES, x[3].tolist(), strict=True))
    np.testing.assert_allclose(model.predict_proba(row), wanted[3], rtol=1e-13)


def test_a_threshold_is_kept(x: np.ndarray, tmp_path: Path) -> None:
    model_of("logistic", threshold=0.3).save(tmp_path / "model.h5")
    served = mpigd.load(tmp_path / "model.h5")
    np.testing.assert_array_equal(served.predict(x) == served.classes[1], served.predict_proba(x)[:, 1] >= 0.3)
    assert not np.array_equal(served.predict(x), model_of("logistic").predict(x))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ones((4, 2)), r"rows of shape \(4, 2\): the model has 3 columns"),
        (np.ones(5), r"rows of shape \(5,\)"),
        (np.ones((1, 1, 3)), "rows of shape"),
        (np.array([[0.0, 0.0, 0.0], [0.0, np.nan, 0.0]]), "row 1 holds a number that is not finite"),
        ({"a": 1.0, "c": 2.0}, "no column 'b'"),
        (pd.DataFrame({"a": [1.0]}), "no column 'b', 'c'"),
        ({"a": 1.0, "b": "red", "c": 2.0}, "can't be taken as numbers"),
        ({"a": [1.0, 2.0], "b": [1.0], "c": [2.0, 3.0]}, "can't be taken as numbers"),
    ],
)
def test_rows_that_do_not_fit(rows: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        model_of("squared").predict(rows)


def test_the_answers_of_scikit_learn() -> None:
    rng = np.random.default_rng(9)
    x = rng.standard_normal((200, 3))
    peer = LogisticRegression().fit(x, x @ [1.0, -2.0, 0.5] + rng.logistic(size=200) > 0.0)
    served: Predictor = Served(peer.coef_[0], peer.intercept_[0], "logit", NAMES, np.array([0.0, 1.0]))
    np.testing.assert_allclose(served.predict_proba(x), peer.predict_proba(x), rtol=1e-12)
    np.testing.assert_array_equal(served.predict(x), peer.predict(x))


def test_serving_needs_numpy_and_h5py_alone(tmp_path: Path) -> None:
    model_of("softmax", 4).save(tmp_path / "model.h5")
    code = (
        "import sys, mpigd; mpigd.load(sys.argv[1]).predict([1.0, 2.0, 3.0]); "
        "print([m for m in ('mpi4py', 'llvmlite', 'numba', 'mpigd_kernels', 'xxhash', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"

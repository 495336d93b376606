"""Predictions and metrics on any number of ranks, against scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import load_table
from sklearn import linear_model, metrics

from mpigd.comm import Comm
from mpigd.errors import DataError, OutputError
from mpigd.metrics import classification, regression
from mpigd.model import Model
from mpigd.options import Evaluate, Predict, Train
from mpigd.predict import evaluate, predict
from mpigd.train import run

pytestmark = pytest.mark.mpi


def own_rows(comm: Comm, values: np.ndarray) -> np.ndarray:
    return np.array_split(values, comm.size)[comm.rank]


@pytest.mark.parametrize("outputs", [1, 3])
def test_regression_metrics_equal_scikit_learn(comm: Comm, outputs: int) -> None:
    rng = np.random.default_rng(0)
    y, prediction = rng.standard_normal((2, 101, outputs)) + 1e4
    weight = rng.random(101)
    found = regression(comm, *(own_rows(comm, v) for v in (y, prediction, weight)))
    assert found["r2"] == pytest.approx(metrics.r2_score(y, prediction, sample_weight=weight), rel=1e-9)
    rmse = metrics.root_mean_squared_error(y, prediction, sample_weight=weight)
    assert found["rmse"] == pytest.approx(rmse, rel=1e-12)
    mae = metrics.mean_absolute_error(y, prediction, sample_weight=weight)
    assert found["mae"] == pytest.approx(mae, rel=1e-12)


@pytest.mark.parametrize("error", [0.0, 1.0])
def test_r2_of_a_constant_target(comm: Comm, error: float) -> None:
    y = np.full((30, 1), 2.0)
    found = regression(comm, *(own_rows(comm, v) for v in (y, y + error, np.ones(30))))
    assert found["r2"] == metrics.r2_score(y, y + error)


def test_classification_metrics_equal_scikit_learn(comm: Comm) -> None:
    rng = np.random.default_rng(1)
    y, weight = rng.integers(0, 4, 77).astype(float), rng.random(77)
    probability = rng.dirichlet(np.ones(4), 77)
    probability[0] = np.eye(4)[(int(y[0]) + 1) % 4]
    found = classification(comm, *(own_rows(comm, v) for v in (y, probability, weight)))
    expected = metrics.accuracy_score(y, probability.argmax(axis=1), sample_weight=weight)
    assert found["accuracy"] == pytest.approx(expected, rel=1e-12)
    assert found["log_loss"] == pytest.approx(metrics.log_loss(y, probability, sample_weight=weight), rel=1e-9)


@pytest.mark.parametrize(
    ("table", "loss"), [("boston", "squared"), ("breast_cancer", "logistic"), ("digits", "softmax")]
)
def test_train_predict_evaluate(comm: Comm, shared_path: Path, table: str, loss: str) -> None:
    data = load_table(table)
    fitted = run(comm, Train(data.path, loss=loss, l2=0.1, run_dir=shared_path / "run"))
    output = shared_path / "predictions.h5"
    told = predict(comm, Predict(shared_path / "run", data.path, output=output))
    assert told["rows"] == len(data.y)
    with h5py.File(output) as file:
        np.testing.assert_allclose(file["prediction"][:], fitted.model.predict(data.X), rtol=1e-10)
        if loss != "squared":
            assert file["probability"].shape == (len(data.y), len(fitted.model.classes))
            np.testing.assert_allclose(file["probability"][:].sum(axis=1), 1.0)
    scores = evaluate(comm, Evaluate(shared_path / "run" / "model.h5", data.path))
    if loss == "squared":
        assert scores["r2"] == pytest.approx(metrics.r2_score(data.y, fitted.model.predict(data.X)), rel=1e-10)
    else:
        assert scores["accuracy"] == pytest.approx(np.mean(fitted.model.predict(data.X) == data.y), rel=1e-12)
    assert not list(shared_path.glob("**/*.partial"))


def test_model_file_repeats_the_model(comm: Comm, shared_path: Path) -> None:
    data = load_table("digits")
    fitted = run(comm, Train(data.path, loss="softmax", max_passes=5, run_dir=shared_path))
    loaded = Model.load(shared_path / "model.h5")
    np.testing.assert_array_equal(loaded.coef, fitted.model.coef)
    np.testing.assert_array_equal(loaded.intercept, fitted.model.intercept)
    assert loaded.coef.shape == (64, 10)
    assert loaded.intercept.shape == (10,)
    assert loaded.config["max_passes"] == 5
    assert loaded.result["objective"] == fitted.state.value


def test_predictions_of_a_model_of_other_columns_are_refused(comm: Comm, shared_path: Path) -> None:
    run(comm, Train(load_table("boston").path, max_passes=2, run_dir=shared_path))
    with pytest.raises(DataError, match="has 30 columns; the model was fitted on 13"):
        evaluate(comm, Evaluate(shared_path, load_table("breast_cancer").path))


def test_a_label_that_the_model_has_not_seen(comm: Comm, shared_path: Path, write_data: Callable[..., Path]) -> None:
    X, y = np.arange(40.0)[:, None], np.tile([0.0, 1.0], 20)
    run(comm, Train(write_data("a.h5", X=X, y=y), loss="logistic", l2=1.0, run_dir=shared_path))
    y[33] = 2.0
    with pytest.raises(DataError, match="'y' has an unknown class at row 33"):
        evaluate(comm, Evaluate(shared_path, write_data("b.h5", X=X, y=y)))


def test_unwritable_predictions_leave_nothing(comm: Comm, shared_path: Path) -> None:
    path = load_table("boston").path
    run(comm, Train(path, max_passes=2, run_dir=shared_path))
    with pytest.raises(OutputError, match="is not a directory"):
        predict(comm, Predict(shared_path, path, output=path / "below" / "a-file.h5"))


def test_prediction_of_one_process_equals_scikit_learn(comm: Comm, shared_path: Path) -> None:
    data = load_table("boston")
    options = Train(data.path, tol=1e-11, max_passes=1e5, run_dir=shared_path)
    model = run(comm, options).model
    peer = linear_model.LinearRegression().fit(data.X, data.y)
    np.testing.assert_allclose(model.predict(data.X), peer.predict(data.X), rtol=1e-7)

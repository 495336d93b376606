"""Predictions and metrics on any number of ranks, against scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import load_table
from mpigd_kernels import LOSSES
from pyarrow import parquet
from scipy import sparse, special
from sklearn import linear_model, metrics

from mpigd.batches import batches, rows_at_once
from mpigd.comm import Comm
from mpigd.conformal import conformal_quantile, kth_smallest
from mpigd.errors import DataError, OutputError, UsageError
from mpigd.metrics import classification, regression
from mpigd.model import Model
from mpigd.options import Evaluate, Predict, Train
from mpigd.platforms import resident_memory
from mpigd.predict import evaluate, predict
from mpigd.storage import Names, read_header
from mpigd.streaming import MARGIN, PART_BYTES
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
    told = predict(comm, Predict(shared_path / "run", data.path, output=output, proba=loss != "squared", eta=True))
    assert told["rows"] == len(data.y)
    with h5py.File(output) as file:
        np.testing.assert_allclose(file["prediction"][:], fitted.model.predict(data.X), rtol=1e-10)
        np.testing.assert_allclose(file["eta"][:], fitted.model.decision_function(data.X), rtol=1e-9, atol=1e-9)
        assert file.attrs["model_fingerprint"] == fitted.model.fingerprint
        if loss != "squared":
            np.testing.assert_allclose(file["probability"][:], fitted.model.predict_proba(data.X), rtol=1e-9)
            assert [float(name) for name in file["probability"].attrs["names"]] == fitted.model.classes.tolist()
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


def test_columns_of_other_names_are_refused(comm: Comm, shared_path: Path, write_data: Callable[..., Path]) -> None:
    X = np.random.default_rng(0).standard_normal((40, 2))
    own = write_data("own.h5", X=X, y=X[:, 0], feature_names=[b"left", b"right"])
    run(comm, Train(own, run_dir=shared_path / "run"))
    turned = write_data("turned.h5", X=X, y=X[:, 0], feature_names=[b"left", b"above"])
    for job in (
        lambda: evaluate(comm, Evaluate(shared_path / "run", turned)),
        lambda: predict(comm, Predict(shared_path / "run", turned, output=shared_path / "p.h5")),
    ):
        with pytest.raises(DataError, match=r"column 1 is 'above', but 'right' where .*convert --like") as caught:
            job()
        assert caught.value.agreed
    # Where columns have no names there is nothing to compare.
    assert evaluate(comm, Evaluate(shared_path / "run", write_data("bare.h5", X=X, y=X[:, 0])))["r2"] > 0.99


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


def saved(
    comm: Comm, path: Path, loss: str, coef: np.ndarray, intercept: object, classes: Sequence[float] = ()
) -> Model:
    """A model of given coefficients, in a file."""
    names = tuple(f"x{j}" for j in range(len(coef)))
    model = Model(coef, np.asarray(intercept, float), LOSSES[loss], names, np.array(classes, float))
    if comm.rank == 0:
        model.save(path)
    comm.leave()
    return model


@pytest.mark.parametrize("ending", [".h5", ".parquet"])
@pytest.mark.parametrize("layout", ["dense", "sparse"])
def test_rows_are_predicted_in_batches(
    comm: Comm,
    shared_path: Path,
    write_data: Callable[..., Path],
    write_sparse: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    ending: str,
    layout: str,
) -> None:
    monkeypatch.setattr("mpigd.batches.PART_BYTES", 1)  # one block in a batch
    monkeypatch.setattr("mpigd.writing.GROUP_BYTES", 4096)
    rng = np.random.default_rng(5)
    X, offset = rng.integers(-3, 4, (999, 3)) * (rng.random((999, 3)) < 0.5), rng.standard_normal(999)
    model = saved(
        comm, shared_path / "model.h5", "softmax", rng.standard_normal((3, 4)), np.zeros(4), [2.0, 3.0, 5.0, 7.0]
    )
    if layout == "sparse":
        path = write_sparse(sparse.csr_array(X.astype(float)), offset=offset)
    else:
        path = write_data(X=X.astype(float), offset=offset)
    output = shared_path / f"out{ending}"
    for _ in range(2):  # the second takes the place of the first
        predict(comm, Predict(shared_path, path, output=output, proba=True, eta=True))
    eta = X @ model.coef + offset[:, None]
    wanted = {"eta": eta, "probability": special.softmax(eta, axis=1), "prediction": model.classes[eta.argmax(axis=1)]}
    for name, found in table_of(output).items():
        np.testing.assert_allclose(found, wanted.pop(name), rtol=1e-12, atol=1e-14)
    assert not wanted
    assert sorted(path.name for path in shared_path.iterdir()) == sorted(["model.h5", output.name, path.name])


def table_of(path: Path) -> dict[str, np.ndarray]:
    """The columns of a table, those of several names side by side."""
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            return {name: file[name][:] for name in file}
    frame, columns = parquet.read_table(path), {}
    for name in frame.column_names:
        columns.setdefault(name.split("_")[0], []).append(frame[name].to_numpy())
    return {name: np.stack(some, axis=-1) if len(some) > 1 else some[0] for name, some in columns.items()}


def test_an_error_in_a_late_batch_leaves_what_was_there(
    comm: Comm, shared_path: Path, write_data: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mpigd.batches.PART_BYTES", 1)
    X = np.ones((500, 2))
    X[471, 1] = np.nan
    path = write_data(X=X)
    saved(comm, shared_path / "model.h5", "squared", np.ones(2), 0.0)
    for name in ("out.h5", "out.parquet"):
        if comm.rank == 0:
            (shared_path / name).write_text("old")
        comm.leave()
        with pytest.raises(DataError, match="has nan at row 471, column 1"):
            predict(comm, Predict(shared_path, path, output=shared_path / name))
        assert (shared_path / name).read_text() == "old"
        comm.leave()
    assert len(list(shared_path.iterdir())) == 4


def test_an_error_on_one_rank_ends_all_a_batch_later(
    comm: Comm, write_data: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mpigd.batches.PART_BYTES", 1)
    X, used = np.ones((4000, 1)), []
    X[-4000 // comm.size + 40] = np.nan  # in the last rank's first three blocks
    with batches(comm, [write_data(X=X)], Names(), None, 0) as rows:
        assert len(rows) > 8
        with pytest.raises(DataError, match="has nan at row"):
            rows.each(comm, lambda batch: used.append(batch.start))
    assert used == [rows.start + k * rows.rows for k in range(len(used))]
    assert len(used) <= 3


def test_a_directory_of_other_files_is_not_replaced(
    comm: Comm, shared_path: Path, write_data: Callable[..., Path]
) -> None:
    saved(comm, shared_path / "model.h5", "squared", np.ones(2), 0.0)
    path = write_data(X=np.ones((5, 2)))
    if comm.rank == 0:
        (shared_path / "out.parquet").mkdir()
        (shared_path / "out.parquet" / "thesis.txt").write_text("dear")
    comm.leave()
    for output in (shared_path / "out.parquet", shared_path):
        with pytest.raises(OutputError, match="is a directory"):
            predict(comm, Predict(shared_path, path, output=output))


@pytest.mark.parametrize(
    ("loss", "options", "message"),
    [
        ("squared", {"proba": True}, "--proba: loss squared gives no probabilities"),
        ("squared-hinge", {"proba": True}, "--proba: loss squared-hinge gives no probabilities"),
        ("logistic", {"interval": 0.9, "calibrate": Path("x.h5")}, "--interval: loss logistic is one of classes"),
        ("squared", {"interval": 0.9}, "--interval 0.9: expected --calibrate, too"),
        ("squared", {"calibrate": Path("x.h5")}, "--calibrate x.h5: expected --interval, too"),
        ("squared", {"interval": 1.0, "calibrate": Path("x.h5")}, "a number above 0 and below 1"),
    ],
)
def test_what_a_model_can_not_say(
    comm: Comm, shared_path: Path, write_data: Callable[..., Path], loss: str, options: dict[str, object], message: str
) -> None:
    classes = (0.0, 1.0) if LOSSES[loss].target == "binary" else ()
    saved(comm, shared_path / "model.h5", loss, np.ones(2), 0.0, classes)
    path = write_data(X=np.ones((5, 2)))
    with pytest.raises(UsageError, match=message):
        predict(comm, Predict(shared_path, path, output=shared_path / "out.h5", **options))


def test_memory_bounds_a_batch() -> None:
    header = read_header(load_table("digits").path)
    many = replace(header, n=10**9)
    free = rows_at_once(many, None, 80)
    assert free % many.block == 0
    assert free * (64 * many.dtype.itemsize + 104) <= PART_BYTES
    room = resident_memory() + MARGIN + (16 << 20)
    assert many.block <= rows_at_once(many, room, 80) < free / 3
    with pytest.raises(DataError, match="--memory 1 MiB is too little"):
        rows_at_once(many, 1 << 20, 80)


@pytest.mark.parametrize("k", [1, 2, 50, 101])
def test_kth_smallest(comm: Comm, k: int) -> None:
    values = np.random.default_rng(k).lognormal(0.0, 30.0, (101, 3))
    values[:5], values[7:20] = 0.0, 1.0
    found = kth_smallest(comm, own_rows(comm, values), k)
    np.testing.assert_array_equal(found, np.sort(values, axis=0)[k - 1])


def test_conformal_intervals_hold_as_often_as_they_say(comm: Comm) -> None:
    # With n residuals drawn as all others, the probability is k / (n + 1), whatever their distribution.
    rng, n, level = np.random.default_rng(11), 52, 0.8
    sizes = rng.standard_cauchy((n + 200, 400)) ** 2  # 400 calibrations at once
    reach = conformal_quantile(comm, own_rows(comm, sizes[:n]), level)
    held = np.mean(sizes[n:] <= reach)
    assert held == pytest.approx(43 / 53, abs=4.0 * np.sqrt(0.16 * (1.0 / 200 + 1.0 / n) / 400))
    with pytest.raises(
        DataError, match=r"19 row.s. of positive weight are too few for --interval 0.96, which needs 24"
    ):
        conformal_quantile(comm, own_rows(comm, sizes[:19]), 0.96)


@pytest.mark.parametrize("loss", ["squared", "poisson", "gamma", "tweedie", "negative-binomial"])
def test_intervals_of_predictions(comm: Comm, shared_path: Path, write_data: Callable[..., Path], loss: str) -> None:
    rng = np.random.default_rng(12)
    X, coef = rng.uniform(0.0, 2.0, (1500, 2)), np.array([1.0, 0.5])
    model = saved(comm, shared_path / "model.h5", loss, coef, 0.2)
    mean = X @ coef + 0.2 if loss == "squared" else np.exp(X @ coef + 0.2)
    y = {"squared": rng.normal(mean), "gamma": rng.gamma(2.0, mean / 2.0)}.get(loss, rng.poisson(mean))
    y = np.maximum(y, 1e-9) if loss == "gamma" else y
    weight = (rng.random(1000) < 0.9).astype(float)
    known = write_data("known.h5", X=X[:1000], y=y[:1000].astype(float), sample_weight=weight)
    new, output = write_data("new.h5", X=X[1000:]), shared_path / "out.h5"
    predict(comm, Predict(shared_path, new, output=output, interval=0.9, calibrate=known))
    with h5py.File(output) as file:
        prediction, lower, upper = file["prediction"][:], file["lower"][:], file["upper"][:]
    variance = {"poisson": mean, "gamma": mean**2, "tweedie": mean**1.5, "negative-binomial": mean + mean**2}
    spread = np.sqrt(variance.get(loss, np.ones(1500)))
    sizes = np.sort((np.abs(y - mean) / spread)[:1000][weight > 0.0])
    reach = sizes[int(np.ceil((len(sizes) + 1) * 0.9 - 1e-9)) - 1]
    np.testing.assert_allclose(upper, prediction + reach * spread[1000:], rtol=1e-10)
    floor = -np.inf if model.loss.target == "real" else 0.0
    np.testing.assert_allclose(lower, np.maximum(prediction - reach * spread[1000:], floor), rtol=1e-9, atol=1e-12)
    assert 0.85 < np.mean((lower <= y[1000:]) & (y[1000:] <= upper)) < 0.95


def test_a_target_of_other_outputs(comm: Comm, shared_path: Path, write_data: Callable[..., Path]) -> None:
    saved(comm, shared_path / "model.h5", "squared", np.ones(2), 0.0)
    path = write_data(X=np.ones((5, 2)), y=np.ones((5, 3)))
    with pytest.raises(DataError, match=r"'y' has 3 column\(s\); the model tells 1"):
        evaluate(comm, Evaluate(shared_path, path))
    path = write_data("zero.h5", X=np.ones((5, 2)), y=np.ones(5), sample_weight=np.zeros(5))
    with pytest.raises(DataError, match="'sample_weight' is zero on every row"):
        evaluate(comm, Evaluate(shared_path, path))


def test_little_memory_gives_the_same_metrics(comm: Comm, shared_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = load_table("breast_cancer").path
    run(comm, Train(path, loss="logistic", l2=0.1, test_share=0.3, run_dir=shared_path))
    whole = {on: evaluate(comm, Evaluate(shared_path, path, on=on)) for on in ("all", "test")}
    monkeypatch.setattr("mpigd.batches.PART_BYTES", 1)
    for on, scores in whole.items():
        assert evaluate(comm, Evaluate(shared_path, path, on=on, memory="2GiB")) == scores

"""Rare classes: weights, rows drawn again or left out, thresholds; against scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import mpirun
from sklearn import metrics
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_class_weight

from mpigd.balance import resampled
from mpigd.comm import Comm
from mpigd.dataset import read
from mpigd.errors import DataError, UsageError
from mpigd.model import Model
from mpigd.options import Train, parse_class_weight
from mpigd.problem import check_loss, read_split
from mpigd.train import run

ROWS = 3000


@pytest.fixture
def rare(comm: Comm, shared_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """A file of two classes, one in twelve rows of the second; X and y."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((ROWS, 4))
    y = np.where(X @ [1.0, -0.5, 0.2, 0.0] + rng.logistic(size=ROWS) > 3.2, 7.0, 3.0)
    path = shared_path / "rare.h5"
    if comm.rank == 0:
        with h5py.File(path, "w") as file:
            file["X"], file["y"] = X, y
    comm.leave()
    return path, X, y


@pytest.mark.mpi
@pytest.mark.parametrize("weight", ["balanced", "3=0.5,7=4"])
def test_class_weights_give_the_fit_of_scikit_learn(
    comm: Comm, rare: tuple[Path, np.ndarray, np.ndarray], weight: str, shared_path: Path
) -> None:
    path, X, y = rare
    options: dict[str, Any] = {"loss": "logistic", "l2": 0.01, "standardize": False, "tol": 1e-10}
    found = run(comm, Train((path,), class_weight=weight, run_dir=shared_path / "run", **options)).model
    of_class = weight if weight == "balanced" else {3.0: 0.5, 7.0: 4.0}
    total = np.sum(compute_class_weight(of_class, classes=np.array([3.0, 7.0]), y=y)[(y == 7.0).astype(int)])
    theirs = LogisticRegression(C=1.0 / (0.01 * total), class_weight=of_class, tol=1e-12, max_iter=1000).fit(X, y)
    np.testing.assert_allclose(found.coef, theirs.coef_[0], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.intercept, theirs.intercept_[0], rtol=1e-5)


@pytest.mark.mpi
@pytest.mark.parametrize("how", ["under", "over"])
def test_resampling_evens_out_classes(comm: Comm, rare: tuple[Path, np.ndarray, np.ndarray], how: Any) -> None:
    path, _, y = rare
    data = read(comm, path, target="binary")
    times = resampled(comm, data, 5, how)
    everybody = np.concatenate(comm.gather(times))
    counts = np.array([np.count_nonzero(y == 3.0), np.count_nonzero(y == 7.0)])
    drawn_rows = np.array([everybody[y == 3.0].sum(), everybody[y == 7.0].sum()])
    wanted = counts.min() if how == "under" else counts.max()
    np.testing.assert_allclose(drawn_rows, wanted, atol=1)
    if how == "under":
        assert set(everybody) == {0.0, 1.0}
        assert (everybody[y == 7.0] == 1.0).all()
    else:
        assert np.ptp(everybody[y == 7.0]) <= 1.0
    alone = Comm.alone()
    np.testing.assert_array_equal(everybody, resampled(alone, read(alone, path, target="binary"), 5, how))
    assert (everybody != np.concatenate(comm.gather(resampled(comm, data, 6, how)))).any()


@pytest.mark.mpi
def test_rows_that_are_held_out_stay_as_they_are(comm: Comm, rare: tuple[Path, np.ndarray, np.ndarray]) -> None:
    path, _, _ = rare
    options = Train((path,), loss="logistic", class_weight="balanced", resample="under", test_share=0.3, seed=2)
    split = read_split(comm, options)
    tested = split.part(2).weight
    assert set(np.unique(tested)) <= {0.0, 1.0}
    assert (split.train.weight[tested > 0.0] == 0.0).all()
    plain = read_split(comm, Train((path,), loss="logistic", test_share=0.3, seed=2))
    np.testing.assert_array_equal(plain.part(2).weight, tested)


@pytest.mark.mpi
def test_a_label_that_no_row_has(comm: Comm, rare: tuple[Path, np.ndarray, np.ndarray]) -> None:
    path, _, _ = rare
    with pytest.raises(DataError, match="--class-weight: no row has label 1; there are: 3, 7"):
        read_split(comm, Train((path,), loss="logistic", class_weight="1=2"))


@pytest.mark.mpi
@pytest.mark.parametrize("goal", ["f1", "balanced-accuracy", "cost"])
def test_the_threshold_is_best_on_rows_to_validate(
    comm: Comm, rare: tuple[Path, np.ndarray, np.ndarray], goal: Any, shared_path: Path
) -> None:
    path, X, y = rare
    options = Train(
        *((path,),),
        loss="logistic",
        validation_share=0.4,
        threshold=goal,
        costs=(1.0, 9.0),
        run_dir=shared_path / "run",
    )
    fitted = run(comm, options)
    roles = np.concatenate(comm.gather(read_split(comm, options).roles))
    some, positive = roles == 1, y == 7.0
    model = Model.load(shared_path / "run" / "model.h5")
    eta = X @ model.coef + model.intercept
    probability = 1.0 / (1.0 + np.exp(-eta[some]))

    def worth(picked: np.ndarray) -> float:
        if goal == "cost":
            return -float(np.sum(picked & ~positive[some]) + 9.0 * np.sum(~picked & positive[some]))
        metric = metrics.f1_score if goal == "f1" else metrics.balanced_accuracy_score
        return float(metric(positive[some], picked))

    best = max(worth(probability >= t) for t in np.unique(probability))
    assert worth(model.predict(X[some]) == 7.0) == pytest.approx(best, rel=1e-12)
    if goal == "f1":
        assert fitted.scores["validation"]["classes"]["f1"][1] == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("text", ["", "balance", "0:1", "0=1,1", "0=-1", "0=0,1=0", "a=1"])
def test_class_weights_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--class-weight"):
        parse_class_weight(text)


def test_options_that_do_not_go_together(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--threshold f1: expected rows to validate, too"):
        Train((tmp_path,), loss="logistic", threshold="f1")
    for options in ({"class_weight": "balanced"}, {"resample": "under"}):
        with pytest.raises(UsageError, match="loss squared is not one of classes"):
            check_loss(Train((tmp_path,), **options))
    with pytest.raises(UsageError, match="gives no probability of one of two classes"):
        check_loss(Train((tmp_path,), loss="softmax", threshold="f1", validation_share=0.2))


def test_on_the_command_line(tmp_path: Path) -> None:
    made = mpirun(
        "generate", tmp_path / "d.h5", "--rows", 2000, "--columns", 3, "--loss", "logistic", "--imbalance", 0.05
    )
    assert made.status == 0, made.err
    fit = ("train", tmp_path / "d.h5", "--loss", "logistic", "--class-weight", "balanced", "--validation-share", 0.3)
    done = mpirun(*fit, "--threshold", "cost", "--costs", 1, 8, "--run-dir", tmp_path / "run", "--json", cwd=tmp_path)
    assert done.status == 0, done.err
    again = mpirun("verify", tmp_path / "run", tmp_path / "d.h5", cwd=tmp_path)
    assert again.status == 0, again.out + again.err

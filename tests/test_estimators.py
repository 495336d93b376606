"""Estimators: scikit-learn's own checks of them, its own estimators beside them, and ranks that fit together."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.linear_model
import sklearn.svm
from mpi4py import MPI
from scipy import sparse
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.datasets import make_classification, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.fixes import parse_version
from test_arrays import CUTS, own_rows

import mpigd.estimators
from mpigd.comm import Comm
from mpigd.estimators import (
    ElasticNet,
    GammaRegressor,
    HuberRegressor,
    Lasso,
    LinearRegression,
    LinearSVC,
    LinearSVR,
    LogisticRegression,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
    SGDClassifier,
    SGDRegressor,
    TweedieRegressor,
)
from mpigd.model import Model

ALL = [getattr(mpigd.estimators, name) for name in mpigd.estimators.__all__]
FIXED = {"random_state": 0}
SETTINGS = [
    Ridge(fit_intercept=False, solver="lbfgs"),
    ElasticNet(alpha=0.01, positive=True),
    LogisticRegression(l1_ratio=0.1, class_weight="balanced", max_iter=10_000),
    LogisticRegression(options={"standardize": True}),
    LinearSVC(C=0.1, class_weight="balanced"),
    TweedieRegressor(power=1.5),
    SGDClassifier("squared_hinge", l1_ratio=0.1, max_iter=20),
    SGDRegressor("huber", solver="adam", learning_rate=0.1, average=True, max_iter=30),
]


@pytest.mark.parametrize("estimator", [*(cls() for cls in ALL), *SETTINGS], ids=repr)
def test_checks_of_scikit_learn_pass_without_exception(estimator: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as of data without any structure
        found = check_estimator(estimator, on_skip=None, on_fail=None)
    assert len(found) > 50
    failed = [f"{each['check_name']}: {each['exception']!r}" for each in found if each["status"] == "failed"]
    assert not failed
    # Arrays of other libraries are tried where the environment asks scipy for them.
    assert {each["check_name"] for each in found if each["status"] != "passed"} <= {"check_array_api_input"}


def numbers() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns with units of their own, y and weights."""
    X, y = make_regression(120, 8, n_informative=5, noise=30.0, bias=40.0, random_state=0)
    rng = np.random.default_rng(0)
    return X * np.geomspace(0.5, 3.0, 8) + rng.normal(size=8), y / 50.0, rng.random(120) + 0.1


def labels(classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns, classes and weights."""
    X, y = make_classification(
        150, 6, n_informative=4, n_classes=classes, flip_y=0.2, n_clusters_per_class=1, random_state=1
    )
    return X, y, np.random.default_rng(0).random(150) + 0.1


TIGHT = {"tol": 1e-12, "max_iter": 100_000}
REGRESSORS = {
    "linear": (LinearRegression(), sklearn.linear_model.LinearRegression()),
    "linear without intercept": (
        LinearRegression(fit_intercept=False),
        sklearn.linear_model.LinearRegression(fit_intercept=False),
    ),
    "ridge": (Ridge(3.0), sklearn.linear_model.Ridge(3.0)),
    "lasso": (Lasso(0.1), sklearn.linear_model.Lasso(0.1, **TIGHT)),
    "lasso of positive coefficients": (
        Lasso(0.05, positive=True),
        sklearn.linear_model.Lasso(0.05, positive=True, **TIGHT),
    ),
    "elastic net": (
        ElasticNet(0.2, l1_ratio=0.3),
        sklearn.linear_model.ElasticNet(0.2, l1_ratio=0.3, **TIGHT),
    ),
    "poisson": (PoissonRegressor(0.1), sklearn.linear_model.PoissonRegressor(alpha=0.1, **TIGHT)),
    "gamma": (GammaRegressor(0.1), sklearn.linear_model.GammaRegressor(alpha=0.1, **TIGHT)),
    "tweedie": (
        TweedieRegressor(0.1, power=1.5),
        sklearn.linear_model.TweedieRegressor(alpha=0.1, power=1.5, **TIGHT),
    ),
    "tweedie of power 0": (TweedieRegressor(0.1), sklearn.linear_model.TweedieRegressor(alpha=0.1, **TIGHT)),
}


@pytest.mark.parametrize("name", REGRESSORS)
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("weighted", [False, True])
def test_regressors_have_the_coefficients_of_scikit_learn(name: str, form: Callable[..., Any], weighted: bool) -> None:
    own, other = (clone(each) for each in REGRESSORS[name])
    X, y, weight = numbers()
    y = np.exp(y / 2.0) if get_tags(own).target_tags.positive_only else y
    some = {"sample_weight": weight} if weighted else {}
    own.fit(form(X), y, **some)
    other.fit(X, y, **some)
    np.testing.assert_allclose(own.coef_, other.coef_, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(own.intercept_, other.intercept_, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(own.predict(form(X)), other.predict(X), rtol=1e-6, atol=1e-6)
    assert own.score(X, y, **some) == pytest.approx(other.score(X, y, **some), abs=1e-6)


@pytest.mark.parametrize(
    ("own", "other"),
    [(LinearRegression(), sklearn.linear_model.LinearRegression()), (Ridge(3.0), sklearn.linear_model.Ridge(3.0))],
)
def test_several_outputs(own: Any, other: Any) -> None:
    X, y, weight = numbers()
    Y = np.column_stack([y, y**2, np.sin(y)])
    own.fit(X, Y, sample_weight=weight)
    other.fit(X, Y, sample_weight=weight)
    np.testing.assert_allclose(own.coef_, other.coef_, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(own.intercept_, other.intercept_, rtol=1e-6, atol=1e-6)
    assert own.predict(X).shape == Y.shape


# Before 1.8 scikit-learn has to be told that there is a second penalty; since then it asks not to be.
NETS = {"penalty": "elasticnet"} if parse_version(sklearn.__version__) < parse_version("1.8") else {}
CLASSIFIERS = {
    "logistic": (LogisticRegression(), sklearn.linear_model.LogisticRegression(**TIGHT)),
    "logistic, balanced": (
        LogisticRegression(C=0.3, class_weight="balanced"),
        sklearn.linear_model.LogisticRegression(C=0.3, **TIGHT),
    ),
    "logistic, classes with weights": (
        LogisticRegression(class_weight={0: 2.0, 1: 0.5}),
        sklearn.linear_model.LogisticRegression(class_weight={0: 2.0, 1: 0.5, 2: 1.0}, **TIGHT),
    ),
    "logistic, elastic net": (
        LogisticRegression(C=0.2, l1_ratio=0.4),
        sklearn.linear_model.LogisticRegression(C=0.2, l1_ratio=0.4, solver="saga", **NETS, **TIGHT),
    ),
    # liblinear penalises the intercept.
    "support vectors": (
        LinearSVC(C=0.5, fit_intercept=False),
        sklearn.svm.LinearSVC(C=0.5, fit_intercept=False, dual=False, **TIGHT),
    ),
}


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("weighted", [False, True])
def test_classifiers_have_the_coefficients_of_scikit_learn(name: str, classes: int, weighted: bool) -> None:
    own, other = (clone(each) for each in CLASSIFIERS[name])
    X, y, weight = labels(classes)
    if classes == 2 and isinstance(own.class_weight, dict):
        other.set_params(class_weight=own.class_weight)
    some = {"sample_weight": weight} if weighted else {}
    if own.class_weight == "balanced":  # by weights, as in newer versions of scikit-learn; older ones count rows
        shares = np.bincount(y, weight if weighted else None)
        other.set_params(class_weight=dict(enumerate(np.sum(shares) / (classes * shares))))
    own.fit(X, y, **some)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of a tolerance that is rounding
        other.fit(X, y, **some)
    np.testing.assert_allclose(own.coef_, other.coef_, rtol=1e-5, atol=1e-6)
    # Where all classes have an intercept, it is one number too many.
    centred = [each.intercept_ - np.mean(each.intercept_) * (classes > 2) for each in (own, other)]
    np.testing.assert_allclose(*centred, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(own.predict(X), other.predict(X))
    if hasattr(own, "predict_proba"):
        np.testing.assert_allclose(own.predict_proba(X), other.predict_proba(X), rtol=1e-5, atol=1e-6)


def test_huber_is_that_of_scikit_learn_for_its_scale() -> None:
    X, y, _ = numbers()
    y[::10] += 20.0
    other = sklearn.linear_model.HuberRegressor(epsilon=1.5, alpha=2.0, **TIGHT).fit(X, y)
    own = HuberRegressor(1.5 * other.scale_, alpha=2.0 * other.scale_ / len(y)).fit(X, y)
    np.testing.assert_allclose(own.coef_, other.coef_, rtol=0, atol=1e-4)  # as near as it comes to its own minimum


def test_quantiles_are_nearly_those_of_the_linear_program() -> None:
    X, y, weight = numbers()
    for quantile in (0.2, 0.5):
        other = sklearn.linear_model.QuantileRegressor(quantile=quantile, alpha=0.01).fit(X, y, sample_weight=weight)
        own = QuantileRegressor(quantile, alpha=0.01, smoothing=1e-3).fit(X, y, sample_weight=weight)
        np.testing.assert_allclose(own.predict(X), other.predict(X), rtol=0, atol=0.02)


def test_support_vectors_minimise_their_objective() -> None:
    X, y, weight = numbers()
    own = LinearSVR(epsilon=0.2, C=0.7, smoothing=1e-3).fit(X, y, sample_weight=weight)

    def objective(at: np.ndarray) -> float:
        excess = np.maximum(abs(X @ at[:-1] + at[-1] - y) - 0.2, 0.0)
        return float(0.5 * at[:-1] @ at[:-1] + 0.7 * weight @ excess)

    found = np.append(own.coef_, own.intercept_)
    best = minimize(objective, found, method="Powell", options={"maxiter": 20_000, "ftol": 1e-12})
    assert objective(found) <= best.fun * (1.0 + 1e-4)


def test_stochastic_descent_comes_near_the_minimum() -> None:
    X, y, _ = numbers()
    X = StandardScaler().fit_transform(X)
    near = {"alpha": 0.01, "tol": 1e-3, "max_iter": 300}
    own = SGDRegressor(**near, **FIXED).fit(X, y)
    np.testing.assert_allclose(own.coef_, Ridge(0.01 * len(y)).fit(X, y).coef_, rtol=0, atol=1e-2)
    for classes in (2, 3):
        X, y, _ = labels(classes)
        exact = LogisticRegression(C=1.0 / (0.01 * len(y))).fit(X, y)
        own = SGDClassifier(**near, **FIXED).fit(X, y)
        np.testing.assert_allclose(own.coef_, exact.coef_, rtol=0, atol=2e-2)


def test_partial_fits_go_on_from_where_they_are() -> None:
    X, y, _ = labels(3)
    names = np.array(["low", "middle", "high"])[y]
    exact = LogisticRegression(C=1.0 / (0.01 * len(y))).fit(X, names)
    own = SGDClassifier(alpha=0.01, **FIXED)
    distances = []
    for epoch in range(60):
        some = slice(0, 75) if epoch % 2 else slice(75, 150)
        own.partial_fit(X[some], names[some], classes=names)
        distances.append(float(np.max(abs(own.coef_ - exact.coef_))))
    assert own.n_iter_ == 60
    assert distances[-1] < 0.3 * distances[0]
    assert max(distances[30:]) < distances[5]
    assert own.score(X, names) >= exact.score(X, names) - 0.05
    with pytest.raises(ValueError, match="not among classes"):
        own.partial_fit(X, np.repeat("other", len(y)))
    margins = SGDClassifier("squared_hinge", **FIXED)
    assert margins.partial_fit(X[y < 2], names[y < 2], classes=names).coef_.shape == (3, X.shape[1])
    number = SGDRegressor(**FIXED, tol=0.5).fit(X, y)
    before = number.n_iter_
    assert number.partial_fit(X, y).n_iter_ == before + 1


def test_strings_are_labels() -> None:
    X, y, _ = labels(2)
    names = np.array(["no", "yes"])[y]
    own, plain = LogisticRegression().fit(X, names), LogisticRegression().fit(X, y)
    assert list(own.classes_) == ["no", "yes"]
    np.testing.assert_array_equal(own.predict(X), np.array(["no", "yes"])[plain.predict(X)])
    np.testing.assert_array_equal(own.coef_, plain.coef_)


def test_frames_pipelines_and_searches() -> None:
    X, y, weight = labels(2)
    frame = pd.DataFrame(X, columns=[f"column {j}" for j in range(X.shape[1])])
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).set_output(transform="pandas")
    pipeline.fit(frame, pd.Series(y), logisticregression__sample_weight=weight)
    assert list(pipeline[-1].feature_names_in_) == list(frame.columns)
    assert pipeline[-1].model_.feature_names == tuple(frame.columns)
    with pytest.raises(ValueError, match="feature names should match"):
        pipeline[-1].predict(frame[frame.columns[::-1]])

    def search(estimator: Any) -> Any:
        return GridSearchCV(estimator, {"C": [0.01, 0.1, 1.0]}, scoring="neg_log_loss", cv=4).fit(X, y)

    own, other = search(LogisticRegression()), search(sklearn.linear_model.LogisticRegression(tol=1e-10))
    np.testing.assert_allclose(own.cv_results_["mean_test_score"], other.cv_results_["mean_test_score"], rtol=1e-6)
    assert own.best_params_ == other.best_params_


SAVED = {
    "numbers": (Ridge(2.0, options={"threads": 1}), lambda y: np.sin(y)),
    "several outputs": (Ridge(2.0), lambda y: np.column_stack([y, y**2])),
    "names of columns and labels": (LogisticRegression(class_weight={"a": 2.0}), lambda y: np.array(list("abc"))[y]),
    "labels that are objects": (LinearSVC(), lambda y: np.array(list("abc"), object)[y]),
    "true and false": (LogisticRegression(), lambda y: y > 0),
    "epochs": (SGDClassifier(**FIXED, max_iter=3, tol=0.5), lambda y: y),
}


@pytest.mark.parametrize("name", SAVED)
def test_estimators_come_back_from_files_and_pickles(name: str, tmp_path: Path) -> None:
    estimator, of = SAVED[name]
    X, y, _ = labels(3)
    rows = pd.DataFrame(X, columns=list("uvwxyz")) if "columns" in name else X
    own = clone(estimator).fit(rows, of(y))
    own.save(tmp_path / "model.h5")
    for twin in (type(own).load(tmp_path / "model.h5"), pickle.loads(pickle.dumps(own))):
        assert twin.get_params() == own.get_params()
        np.testing.assert_array_equal(twin.predict(rows), own.predict(rows))
        assert twin.predict(rows).dtype == own.predict(rows).dtype
        for attribute in ("n_iter_", "n_features_in_", "feature_names_in_", "classes_", "coef_", "intercept_"):
            assert hasattr(twin, attribute) == hasattr(own, attribute)
            np.testing.assert_array_equal(getattr(twin, attribute, 0), getattr(own, attribute, 0))
    # It is a model of mpigd, too, which has numbers for labels.
    model = Model.load(tmp_path / "model.h5")
    predicted = model.predict(X)
    if len(model.classes):
        predicted = own.classes_[np.searchsorted(model.classes, predicted)]
    np.testing.assert_array_equal(predicted, own.predict(rows))


def test_files_of_something_else_are_refused(tmp_path: Path) -> None:
    X, y, _ = numbers()
    Ridge().fit(X, y).save(tmp_path / "ridge.h5")
    with pytest.raises(ValueError, match="expected a Lasso, but it is a Ridge"):
        Lasso.load(tmp_path / "ridge.h5")
    with pytest.raises(ValueError, match=r"nothing\.h5"):
        Lasso.load(tmp_path / "nothing.h5")
    with pytest.raises(TypeError, match="can't be saved"):
        SGDRegressor(random_state=np.random.RandomState(0), tol=0.9).fit(X, y).save(tmp_path / "other.h5")


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (Ridge(-1.0), "alpha"),
        (ElasticNet(l1_ratio=1.5), "l1_ratio"),
        (LogisticRegression(C=0.0), "C=0.0: expected a number > 0"),
        (LogisticRegression(class_weight="even"), "class_weight"),
        (LogisticRegression(solver="simplex"), "simplex"),
        (TweedieRegressor(power=0.5), "power"),
        (SGDClassifier("hinge"), "expected one of log_loss"),
        (SGDRegressor(solver="lbfgs"), "expected one of sgd"),
        (Ridge(options={"test_share": 0.5}), "no estimator has 'test_share'"),
        (Ridge(options={"memory": "1GiB"}), "is of files"),
        (QuantileRegressor(1.5), "quantile|tau"),
    ],
)
def test_parameters_are_checked(estimator: Any, message: str) -> None:
    X, y, _ = labels(2)
    with pytest.raises((ValueError, TypeError), match=message):
        estimator.fit(X, y)


def test_what_has_not_converged_is_said() -> None:
    X, y, _ = labels(2)
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        LogisticRegression(max_iter=2).fit(X, y)
    with pytest.warns(ConvergenceWarning, match="no bound"):
        LogisticRegression(C=np.inf).fit(np.arange(20.0)[:, None], np.arange(20) > 9)


@pytest.mark.mpi
@pytest.mark.skipif(MPI.COMM_WORLD.size > 4, reason="takes time, and shows no more")
def test_the_page_runs_as_it_stands(
    comm: Comm, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("page"))
    page = (Path(__file__).parents[1] / "docs" / "estimators.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 6
    exec("\n".join(blocks), {})


def shared(estimator: Any, comm: Comm) -> Any:
    """The same with the ranks of a communicator."""
    return clone(estimator).set_params(comm=comm)


TOGETHER = {
    "ridge": (Ridge(), numbers),
    "two classes": (LogisticRegression(class_weight="balanced"), lambda: labels(2)),
    "three classes": (LogisticRegression(), lambda: labels(3)),
    "each class against the others": (LinearSVC(), lambda: labels(3)),
    "stochastic": (SGDClassifier(**FIXED, max_iter=5, tol=0.5), lambda: labels(3)),
}


@pytest.mark.mpi
@pytest.mark.parametrize(("name", "cut"), [*zip(TOGETHER, CUTS, strict=True), ("three classes", "all on the last")])
def test_ranks_find_the_bits_of_one_rank(comm: Comm, name: str, cut: str) -> None:
    estimator, make = TOGETHER[name]
    X, y, weight = make()
    alone = clone(estimator).fit(X, y, sample_weight=weight)
    some = own_rows(comm, cut, len(y))
    together = shared(estimator, comm).fit(X[some], y[some], sample_weight=weight[some])
    np.testing.assert_array_equal(together.coef_, alone.coef_)
    np.testing.assert_array_equal(together.intercept_, alone.intercept_)
    assert together.n_iter_ == alone.n_iter_


@pytest.mark.mpi
def test_partial_fits_of_ranks_find_the_bits_of_one(comm: Comm) -> None:
    X, y, _ = labels(3)
    alone, together = SGDClassifier(**FIXED), SGDClassifier(**FIXED, comm=comm)
    for rows in (slice(0, 70), slice(70, 150)):
        some = own_rows(comm, "ever more", rows.stop - rows.start)
        alone.partial_fit(X[rows], y[rows], classes=[0, 1, 2])
        together.partial_fit(X[rows][some], y[rows][some], classes=[0, 1, 2])
    np.testing.assert_array_equal(together.coef_, alone.coef_)


@pytest.mark.mpi
def test_seeds_are_those_of_rank_0(comm: Comm) -> None:
    X, y, _ = labels(2)
    some = own_rows(comm, "even", len(y))
    own = SGDClassifier(random_state=np.random.RandomState(comm.rank), comm=comm, max_iter=3, tol=0.9)
    seeds = comm.gather(own.fit(X[some], y[some]).model_.config["seed"])
    assert len(set(seeds)) == 1


@pytest.mark.mpi
def test_labels_of_all_ranks_are_classes(comm: Comm) -> None:
    X, y, _ = labels(3)
    order = np.argsort(y, kind="stable")
    names = np.array(["first", "second", "third"])
    some = own_rows(comm, "even", len(y))
    own = LogisticRegression(comm=comm).fit(X[order][some], names[y[order][some]])
    np.testing.assert_array_equal(own.classes_, names)


@pytest.mark.mpi
@pytest.mark.parametrize("communicator", [MPI.COMM_WORLD, None])
def test_communicators_of_mpi4py_and_files(
    comm: Comm, communicator: Any, write_data: Callable[..., Path], shared_path: Path
) -> None:
    X, y, weight = labels(3)
    path = write_data(X=X, y=2 * y + 1, sample_weight=weight)
    own = LogisticRegression(comm=communicator).fit(str(path))
    plain = LogisticRegression().fit(X, 2 * y + 1, sample_weight=weight)
    np.testing.assert_array_equal(own.coef_, plain.coef_)
    np.testing.assert_array_equal(own.predict(X), plain.predict(X))
    own.comm = comm
    own.save(shared_path / "model.h5")
    comm.leave()
    np.testing.assert_array_equal(LogisticRegression.load(shared_path / "model.h5").predict(X), plain.predict(X))
    with pytest.raises(ValueError, match="leave them out"):
        own.fit(str(path), y)
    with pytest.raises(ValueError, match="nowhere"):
        own.fit("nowhere.h5")
    with pytest.raises(OSError, match="nowhere"):
        own.save(shared_path / "nowhere" / "model.h5")
    if comm.size > 1:
        with pytest.raises(ValueError, match="path on some ranks"):
            own.fit(*((path,) if comm.rank == 0 else (X, y)))


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda X, y: (X * np.where(np.arange(6) == 1, np.nan, 1.0), y), ValueError, "contains NaN"),
        (lambda X, y: (X, y[:-1]), ValueError, "inconsistent numbers of samples"),
        (lambda X, y: (X[:, 1:], y), ValueError, "columns of X"),
        (lambda X, y: (X, y + 0.5), ValueError, "Unknown label type"),
        (lambda X, y: (X, None), ValueError, "requires y to be passed"),
    ],
)
def test_errors_of_one_rank_reach_all(
    comm: Comm, change: Callable[..., Any], error: type[Exception], message: str
) -> None:
    X, y, _ = labels(2)
    some = own_rows(comm, "even", len(y))
    X, y = X[some], y[some]
    if comm.rank == comm.size - 1:
        X, y = change(X, y)
    if comm.size > 1 or "columns" not in message:
        with pytest.raises(error, match=message):
            LogisticRegression(comm=comm).fit(X, y)

"""Penalties with kinks and bounds: answers against scikit-learn, scipy and closed forms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import load_table
from scipy import optimize, sparse
from sklearn import linear_model

from mpigd.comm import Comm
from mpigd.errors import DataError, UsageError
from mpigd.history import Stopping
from mpigd.objective import Objective
from mpigd.options import Train
from mpigd.problem import read_data
from mpigd.solvers import State
from mpigd.train import Fit, fit, run

SOLVERS = ("prox-newton", "nesterov", "gd", "barzilai-borwein", "backtracking")
TIGHT: dict[str, Any] = {"tol": 1e-9, "max_passes": 20_000.0}


def train(comm: Comm, file: Path, solver: str = "auto", **options: Any) -> Fit:
    if solver in ("barzilai-borwein", "backtracking"):
        options, solver = {**options, "learning_rate": solver}, "gd"
    chosen = Train(file, solver=solver, **{**TIGHT, **options})
    fitted = fit(comm, read_data(comm, chosen), chosen)
    assert fitted.reason in ("gradient", "rounding")
    return fitted


def linear(rows: int = 150, columns: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Correlated columns, of which every third matters; y; weights."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((rows, columns))
    X[:, 1:] += 0.7 * X[:, :-1]
    coef = np.where(np.arange(columns) % 3 == 0, rng.standard_normal(columns), 0.0)
    return X, X @ coef + 2.0 + rng.standard_normal(rows), rng.random(rows)


@pytest.mark.mpi
@pytest.mark.parametrize("l2", [0.0, 0.05])
@pytest.mark.parametrize("solver", SOLVERS)
def test_elastic_net_equals_scikit_learn(comm: Comm, write_data: Callable[..., Path], solver: str, l2: float) -> None:
    X, y, weight = linear()
    l1 = 0.15
    fitted = train(comm, write_data(X=X, y=y, sample_weight=weight), solver, l1=l1, l2=l2, standardize=False)
    other = linear_model.ElasticNet(alpha=l1 + l2, l1_ratio=l1 / (l1 + l2), tol=1e-14, max_iter=100_000)
    other.fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(fitted.model.coef, other.coef_, rtol=1e-6, atol=1e-7)
    assert fitted.model.intercept == pytest.approx(other.intercept_, rel=1e-6)
    assert ((fitted.model.coef == 0.0) == (other.coef_ == 0.0)).all()
    assert (fitted.model.coef == 0.0).any()


@pytest.mark.filterwarnings("ignore:'penalty' was deprecated")  # what replaces it is newer than 1.8
@pytest.mark.mpi
@pytest.mark.parametrize("intercept", [True, False])
def test_logistic_lasso_equals_scikit_learn(comm: Comm, intercept: bool) -> None:
    """Breast cancer, columns standardised: the penalty acts on those."""
    table = load_table("breast_cancer")
    fitted = train(comm, table.path, loss="logistic", l1=0.02, intercept=intercept)
    mean = table.X.mean(axis=0) if intercept else 0.0
    Z = (table.X - mean) / table.X.std(axis=0)
    other = linear_model.LogisticRegression(
        penalty="elasticnet",
        l1_ratio=1.0,
        C=1.0 / (0.02 * len(Z)),
        solver="saga",
        fit_intercept=intercept,
        tol=1e-11,
        max_iter=100_000,
    ).fit(Z, table.y)
    np.testing.assert_allclose(fitted.model.coef * table.X.std(axis=0), other.coef_[0], rtol=1e-4, atol=1e-6)
    assert ((fitted.model.coef == 0.0) == (other.coef_[0] == 0.0)).all()


@pytest.mark.mpi
@pytest.mark.parametrize("stored", ["dense", "sparse"])
def test_many_columns_go_by_a_working_set(comm: Comm, write_data: Callable[..., Path], stored: str) -> None:
    """900 columns, most of them never read but to see that they stay out."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((200, 900)) * (rng.random((200, 900)) < (1.0 if stored == "dense" else 0.2))
    y = X[:, ::90] @ rng.standard_normal(10) + 0.1 * rng.standard_normal(200)
    path = write_data(X=X, y=y) if stored == "dense" else write_sparse(comm, write_data, X, y)
    fitted = train(comm, path, l1=0.05, standardize=False)
    other = linear_model.Lasso(alpha=0.05, tol=1e-13, max_iter=100_000).fit(X, y)
    np.testing.assert_allclose(fitted.model.coef, other.coef_, rtol=1e-5, atol=1e-8)
    assert ((fitted.model.coef == 0.0) == (other.coef_ == 0.0)).all()
    assert fitted.solver == "prox-newton"
    assert fitted.state.passes < 12  # all columns are read a few times only


def write_sparse(comm: Comm, write_data: Callable[..., Path], X: np.ndarray, y: np.ndarray) -> Path:
    path, rows = write_data(y=y), sparse.csr_array(X)
    if comm.rank == 0:
        with h5py.File(path, "a") as file:
            group = file.create_group("X")
            group.attrs.update({"encoding-type": "csr_matrix", "shape": X.shape})
            group["data"], group["indices"], group["indptr"] = rows.data, rows.indices, rows.indptr
    comm.leave()
    return path


@pytest.mark.mpi
@pytest.mark.parametrize("bounds", [(0.0, None), (None, 0.4), (-0.1, 0.3), (0.2, 0.5)])
@pytest.mark.parametrize("solver", ["prox-newton", "nesterov"])
def test_bounds_equal_scipy(
    comm: Comm, write_data: Callable[..., Path], solver: str, bounds: tuple[float | None, float | None]
) -> None:
    """On coefficients as they are reported, whatever the units of columns."""
    X, y, _ = linear()
    X *= np.geomspace(0.5, 2.0, X.shape[1])
    low, high = bounds
    fitted = train(comm, write_data(X=X, y=y), solver, lower=low, upper=high)
    A = np.column_stack([X, np.ones(len(y))])
    limits = [np.append(np.full(12, b if b is not None else e), e) for b, e in ((low, -np.inf), (high, np.inf))]
    best = optimize.lsq_linear(A, y, limits, method="bvls", tol=1e-14).x
    np.testing.assert_allclose(np.append(fitted.model.coef, fitted.model.intercept), best, rtol=1e-6, atol=1e-7)


@pytest.mark.mpi
@pytest.mark.parametrize("solver", ["prox-newton", "nesterov", "gd"])
def test_group_lasso_of_orthonormal_columns(comm: Comm, write_data: Callable[..., Path], solver: str) -> None:
    """With orthonormal columns each group of the least-squares coefficients shrinks by itself (Yuan, Lin, 2006)."""
    rng = np.random.default_rng(2)
    X = np.linalg.qr(rng.standard_normal((64, 7)))[0] * 8.0
    y, labels, l1 = X @ [1.0, -1.0, 0.5, 0.1, 0.1, 0.2, -2.0] + rng.standard_normal(64), [5, 5, 5, 2, 2, 9, 9], 0.3
    path = write_data(X=X, y=y, groups=labels)
    fitted = train(comm, path, solver, l1=l1, group="groups", intercept=False, standardize=False)
    plain = X.T @ y / 64
    for label in set(labels):
        own = np.array(labels) == label
        shrunk = max(1.0 - l1 * np.sqrt(own.sum()) / np.linalg.norm(plain[own]), 0.0)
        np.testing.assert_allclose(fitted.model.coef[own], shrunk * plain[own], rtol=1e-7, atol=1e-9)
    assert (fitted.model.coef[3:5] == 0.0).all()


@pytest.mark.mpi
def test_group_lasso_of_correlated_columns_meets_its_conditions(comm: Comm, write_data: Callable[..., Path]) -> None:
    """Of every group that is zero the slope is at most its strength; else it is minus strength times the direction."""
    X, y, _ = linear(200, 300)
    group = np.arange(300) // 3
    fitted = train(comm, write_data(X=X, y=y, groups=group), l1=0.08, group="groups", standardize=False)
    coef, strength = fitted.model.coef, 0.08 * np.sqrt(3.0)
    slope = X.T @ (X @ coef + fitted.model.intercept - y) / len(y)
    norms = np.linalg.norm(coef.reshape(-1, 3), axis=1)
    slopes = np.linalg.norm(slope.reshape(-1, 3), axis=1)
    assert (slopes <= strength * (1.0 + 1e-6)).all()
    assert 0 < np.count_nonzero(norms) < 90
    for g in np.flatnonzero(norms):
        own = coef.reshape(-1, 3)[g]
        np.testing.assert_allclose(slope.reshape(-1, 3)[g], -strength * own / norms[g], atol=1e-7)


@pytest.mark.mpi
def test_lasso_of_several_outputs_is_one_of_each(comm: Comm, write_data: Callable[..., Path]) -> None:
    X, y, _ = linear()
    Y = np.column_stack([y, np.sin(y), y**2 / 10.0])
    fitted = train(comm, write_data(X=X, y=Y), l1=0.1, standardize=False)
    assert fitted.solver == "nesterov"
    for k in range(3):
        other = linear_model.Lasso(alpha=0.1, tol=1e-14, max_iter=100_000).fit(X, Y[:, k])
        np.testing.assert_allclose(fitted.model.coef[:, k], other.coef_, rtol=1e-5, atol=1e-7)


@pytest.mark.filterwarnings("ignore:'penalty' was deprecated")  # what replaces it is newer than 1.8
@pytest.mark.mpi
def test_softmax_lasso_equals_scikit_learn(comm: Comm, write_data: Callable[..., Path]) -> None:
    X, y, _ = linear()
    labels = np.digitize(y, [0.0, 3.0])
    fitted = train(comm, write_data(X=X, y=labels), loss="softmax", l1=0.05, standardize=False)
    other = linear_model.LogisticRegression(
        penalty="elasticnet", l1_ratio=1.0, C=1.0 / (0.05 * len(X)), solver="saga", tol=1e-12, max_iter=200_000
    ).fit(X, labels)
    np.testing.assert_allclose(fitted.model.coef.T, other.coef_, rtol=1e-4, atol=1e-6)


@pytest.mark.mpi
def test_stochastic_descent_comes_near_the_lasso(comm: Comm, write_data: Callable[..., Path]) -> None:
    X, y, _ = linear()
    options: dict[str, Any] = {"l1": 0.1, "batch_size": 30, "max_passes": 400.0, "tol": 1e-3, "standardize": False}
    chosen = Train(write_data(X=X, y=y), solver="sgd", **options)
    fitted = fit(comm, read_data(comm, chosen), chosen)
    other = linear_model.Lasso(alpha=0.1, tol=1e-14, max_iter=100_000).fit(X, y)
    np.testing.assert_allclose(fitted.model.coef, other.coef_, atol=0.02)
    assert (fitted.model.coef[other.coef_ == 0.0] == 0.0).any()


@pytest.mark.mpi
def test_a_path_ends_at_the_model_that_one_fit_gives(comm: Comm, write_data: Callable[..., Path]) -> None:
    """Its first model has no coefficient but the intercept; each is scikit-learn's; it costs less than all alone."""
    X, y, _ = linear()
    path = write_data(X=X, y=y)
    options: dict[str, Any] = {"l1": 0.02, "standardize": False}
    fitted = train(comm, path, path=8, **options)
    along = fitted.model.path
    assert len(along["strength"]) == 8
    assert (along["coef"][0] == 0.0).all()
    assert along["intercept"][0] == pytest.approx(y.mean(), rel=1e-9)
    np.testing.assert_allclose(np.diff(np.log(along["strength"])), np.log(1.0 / along["strength"][0]) / 7, rtol=1e-9)
    for strength, coef in zip(along["strength"], along["coef"], strict=True):
        other = linear_model.Lasso(alpha=0.02 * strength * (1.0 + 1e-12), tol=1e-14, max_iter=100_000).fit(X, y)
        np.testing.assert_allclose(coef, other.coef_, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(fitted.model.coef, along["coef"][-1])
    np.testing.assert_allclose(fitted.model.coef, train(comm, path, **options).model.coef, rtol=1e-6, atol=1e-8)
    assert along["converged"].all()
    assert fitted.state.passes == pytest.approx(along["passes"].sum() + 1.0)


@pytest.mark.mpi
@pytest.mark.parametrize("stored", ["dense", "sparse"])
@pytest.mark.parametrize("count", [1, 4])
def test_a_working_set_may_be_empty(comm: Comm, write_data: Callable[..., Path], stored: str, count: int) -> None:
    """Enough columns for a set of them, and a penalty that lets none in: nothing but the mean of y is left."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((100, 300)) * (rng.random((100, 300)) < 0.3)
    y = X[:, 0] + 3.0 + 0.1 * rng.standard_normal(100)
    path = write_data(X=X, y=y) if stored == "dense" else write_sparse(comm, write_data, X, y)
    begin = {"init": begin_elsewhere(comm, path)} if count == 1 else {}
    fitted = train(comm, path, l1=10.0, path=count, **begin)
    assert not fitted.model.coef.any()
    assert fitted.model.intercept == pytest.approx(y.mean(), rel=1e-9)


def begin_elsewhere(comm: Comm, data: Path) -> Path:
    """A model whose intercept alone is not zero, and is a bad one."""
    path = data.with_name("elsewhere.h5")
    model = train(comm, data, l1=100.0).model
    if comm.rank == 0:
        replace(model, intercept=model.intercept + 0.5).save(path)
    comm.leave()
    return path


@pytest.mark.mpi
@pytest.mark.parametrize("solver", ["prox-newton", "nesterov"])
def test_a_path_within_bounds_that_exclude_zero(comm: Comm, write_data: Callable[..., Path], solver: str) -> None:
    """Nothing is left at the bounds; what tolerances refer to is there, and each model is scipy's."""
    X, y, _ = linear(150, 4)
    low, l2 = 3.0, 0.1
    fitted = train(comm, write_data(X=X, y=y), solver, l2=l2, lower=low, path=3, standardize=False, tol=1e-7)
    along = fitted.model.path
    assert along["converged"].all()
    Z = np.column_stack([X - X.mean(axis=0)])
    for strength, coef in zip(along["strength"], along["coef"], strict=True):
        A = np.vstack([Z, np.sqrt(150 * l2 * strength) * np.eye(4)])
        best = optimize.lsq_linear(A, np.append(y - y.mean(), np.zeros(4)), (low, np.inf), tol=1e-14).x
        np.testing.assert_allclose(coef, best, rtol=1e-5)


@pytest.mark.mpi
@pytest.mark.parametrize("upper", [10.0, 0.6])
def test_more_coefficients_than_a_matrix_can_be_had_of(
    comm: Comm, write_data: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, upper: float
) -> None:
    """Steps are then those of gradients alone, and end where scipy does."""
    monkeypatch.setattr("mpigd.solvers.prox_newton.LARGEST_FACTOR", 100)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1500, 300))
    y = X[:, :3] @ np.ones(3) + rng.standard_normal(1500)
    fitted = train(comm, write_data(X=X, y=y), upper=upper, standardize=False, tol=1e-7)
    assert fitted.solver == "prox-newton"
    Z = X - X.mean(axis=0)
    best = optimize.lsq_linear(Z, y - y.mean(), (-np.inf, upper), tol=1e-12).x
    np.testing.assert_allclose(fitted.model.coef, best, atol=1e-5)


@pytest.mark.mpi
def test_progress_where_nothing_is_left_to_gain(comm: Comm, write_data: Callable[..., Path]) -> None:
    """Where a penalty leaves nothing the subgradient of the null model is zero; and the fit begins elsewhere."""
    X, y, _ = linear(100, 3)
    path, begin = write_data(X=X, y=y), write_data("model.h5").with_name("begin.h5")
    model = train(comm, path, intercept=False).model
    if comm.rank == 0:
        model.save(begin)
    comm.leave()
    told: list[float] = []
    chosen = Train(path, l1=0.5, path=3, intercept=False, init=begin)
    fitted = fit(comm, read_data(comm, chosen), chosen, [lambda record, fraction: told.append(fraction)])
    assert not fitted.model.path["coef"][0].any()
    assert fitted.model.path["converged"].all()
    assert all(0.0 <= fraction <= 1.0 for fraction in told)
    null, at = (State(np.zeros((1, 1)), 0.0, np.full((1, 1), slope), 0, 1.0, 1.0) for slope in (0.0, 1.0))
    assert Stopping(1e-6, 0.0, 10.0).fraction(null, at) == 1.0


@pytest.mark.mpi
def test_passes_before_the_first_step_are_all_told(
    comm: Comm, write_data: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rates are found once, and their passes are there whatever began or goes on elsewhere."""
    X, y, _ = linear(100, 3)
    path, begin = write_data(X=X, y=y), write_data("model.h5").with_name("begin.h5")
    model = train(comm, path, "nesterov", l1=0.1).model
    if comm.rank == 0:
        model.save(begin)
    comm.leave()
    plain = train(comm, path, "nesterov", l1=0.1).state.setup_passes
    swept: list[str] = []
    sweep = Objective._data_term
    monkeypatch.setattr(Objective, "_data_term", lambda self, *a: swept.append(a[3]) or sweep(self, *a))
    for options in ({"init": begin}, {"path": 3}, {"path": 3, "init": begin}):
        swept.clear()
        told = train(comm, path, "nesterov", l1=0.1, **options).state.setup_passes
        assert told == plain == swept.count("eigenvalue") + 1


@pytest.mark.mpi
@pytest.mark.parametrize("loss", ["logistic", "softmax"])
def test_a_fit_may_begin_at_a_model(comm: Comm, shared_path: Path, loss: str) -> None:
    """At its own answer it ends at once; at that of another penalty it takes fewer passes than from zero."""
    table = load_table("breast_cancer").path
    options: dict[str, Any] = {"loss": loss, "solver": "lbfgs", "tol": 1e-7}
    cold = run(comm, Train(table, l2=0.01, run_dir=shared_path / "cold", **options))
    same = run(comm, Train(table, l2=0.01, init=shared_path / "cold", run_dir=shared_path / "same", **options))
    assert same.state.step <= 1
    np.testing.assert_allclose(same.model.coef, cold.model.coef, rtol=1e-5, atol=1e-9)
    near = run(comm, Train(table, l2=0.012, init=shared_path / "cold", run_dir=shared_path / "near", **options))
    far = run(comm, Train(table, l2=0.012, run_dir=shared_path / "far", **options))
    np.testing.assert_allclose(near.model.coef, far.model.coef, rtol=1e-3, atol=1e-6)
    assert near.state.step < far.state.step


@pytest.mark.mpi
def test_a_model_of_other_columns_or_outputs_is_no_beginning(comm: Comm, shared_path: Path) -> None:
    cancer, boston = load_table("breast_cancer").path, load_table("boston").path
    run(comm, Train(boston, run_dir=shared_path / "boston"))
    run(comm, Train(cancer, loss="logistic", l2=0.1, run_dir=shared_path / "cancer"))
    with pytest.raises(DataError, match="has 30 columns; the model was fitted on 13"):
        run(comm, Train(cancer, loss="logistic", init=shared_path / "boston", run_dir=shared_path / "a"))
    with pytest.raises(DataError, match=r"--init: the model has 1 output\(s\), the fit 2"):
        run(comm, Train(cancer, loss="softmax", init=shared_path / "cancer", run_dir=shared_path / "b"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"l1": -1.0}, "--l1 -1"),
        ({"lower": 1.0, "upper": 0.0}, "--lower and --upper 1, 0: expected the first to be less"),
        ({"group": "g"}, "--group g: expected --l1"),
        ({"group": "g", "l1": 0.1, "lower": 0.0}, "--group g: expected no bounds"),
        ({"path": 0}, "--path 0"),
        ({"path": 3}, "--path 3: expected --l1 or --l2"),
    ],
)
def test_impossible_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Train(Path("data.h5"), **options)


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "lbfgs", "l1": 0.1}, "--solver lbfgs: --l1, --lower and --upper need one that can do with kinks"),
        ({"solver": "direct", "loss": "poisson"}, "direct: it solves the equations of the squared loss"),
        ({"solver": "direct", "path": 3, "l2": 1.0}, "--path: solver direct gains nothing"),
        ({"solver": "direct", "init": Path("model.h5")}, "--init: solver direct gains nothing"),
        ({"solver": "nesterov", "learning_rate": "backtracking"}, "--solver gd alone searches"),
    ],
)
def test_options_that_do_not_go_together(comm: Comm, shared_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(comm, Train(load_table("boston").path, run_dir=shared_path / "run", **options))
    assert not (shared_path / "run").exists()


@pytest.mark.mpi
def test_groups_that_do_not_fit_are_refused(comm: Comm, write_data: Callable[..., Path], shared_path: Path) -> None:
    X, y, _ = linear(50, 3)
    path = write_data(X=X, y=y, few=[1, 2], parts=[0.5, 1.0, 2.0])
    for name in ("few", "parts"):
        with pytest.raises(DataError, match=f"dataset '{name}' must hold 3 whole numbers"):
            run(comm, Train(path, l1=0.1, group=name, run_dir=shared_path / "run"))

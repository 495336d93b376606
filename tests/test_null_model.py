"""The null model, where fits begin: against scipy; and fits that would go wrong if they began elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpigd_kernels as kernels
import numpy as np
import pytest
from conftest import load_table
from reference import VALUE
from scipy import linalg, optimize
from sklearn import linear_model

from mpigd.comm import Comm
from mpigd.null_model import root
from mpigd.options import Train
from mpigd.problem import make_objective, read_data
from mpigd.train import Fit, fit

ROWS = 600


def train(comm: Comm, file: Path, **options: Any) -> Fit:
    chosen = Train(file, **options)
    return fit(comm, read_data(comm, chosen), chosen)


def targets(rng: np.random.Generator, eta: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "real": 5.0 * eta + 100.0,
        "binary": (eta > 0.5).astype(float),
        "nonnegative": rng.poisson(np.exp(eta + 5.0)).astype(float),
        "positive": np.exp(eta + 10.0),
        "classes": np.digitize(eta, [-1.0, 0.5]).astype(float),
    }


@pytest.mark.mpi
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("offset", [False, True])
@pytest.mark.parametrize("loss", [name for name, loss in kernels.LOSSES.items() if not loss.coupled])
def test_the_null_intercept_is_the_best(
    comm: Comm, write_data: Callable[..., Path], loss: str, offset: bool, weighted: bool
) -> None:
    """Brent's method on the naive loss; the value there is that of a pass over all rows."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((ROWS, 3))
    y = targets(rng, X @ [1.0, 0.5, 0.0] + rng.standard_normal(ROWS))[kernels.LOSSES[loss].target]
    weight = rng.random(ROWS) * (np.arange(ROWS) % 5 > 0) if weighted else np.ones(ROWS)
    beyond = rng.standard_normal(ROWS) + 2.0 if offset else np.zeros(ROWS)
    arrays = {
        "X": X,
        "y": y,
        **({"offset": beyond} if offset else {}),
        **({"sample_weight": weight} if weighted else {}),
    }
    options = Train(write_data(**arrays), loss=loss)
    objective = make_objective(comm, read_data(comm, options), options)
    of_loss = kernels.LOSSES[loss].parameter
    parameter = of_loss.default if of_loss else 0.0

    def value(at: float) -> float:
        return float(np.average(VALUE[loss](at + beyond, y, parameter, options.smoothing), weights=weight))

    middle = {"real": 100.0, "binary": 0.0, "nonnegative": 5.0, "positive": 10.0}[kernels.LOSSES[loss].target]
    best = optimize.minimize_scalar(value, (middle - 3.0, middle), tol=1e-12)
    theta = objective.null_theta
    assert theta[3, 0] == pytest.approx(best.x, rel=1e-5, abs=1e-5)
    assert not theta[:3].any()
    found, gradient = objective.value_and_gradient(theta)
    assert objective.null_value() == pytest.approx(found, rel=1e-12)
    assert abs(gradient[3, 0]) <= 1e-5 * max(abs(gradient).max(), 1.0)


@pytest.mark.mpi
@pytest.mark.parametrize("rows", [ROWS, 12])  # so few that not every rank has some
def test_the_null_model_of_several_outputs(comm: Comm, write_data: Callable[..., Path], rows: int) -> None:
    """Of classes the logarithms of their shares; of squares the means, less that of the offset."""
    rng = np.random.default_rng(0)
    X, weight, offset = rng.standard_normal((rows, 2)), rng.random(rows), rng.standard_normal(rows)
    labels, many = rng.integers(0, 4, rows) % 3, np.array([1.0, 100.0, -3.0]) + rng.standard_normal((rows, 3))
    path = write_data(X=X, y=labels, many=many, sample_weight=weight, offset=offset)
    shares = np.bincount(labels, weight) / weight.sum()
    means = np.average(many - offset[:, None], axis=0, weights=weight)
    wanted = {"softmax": ("y", np.log(shares) - np.log(shares).mean()), "squared": ("many", means)}
    for loss, (y, intercept) in wanted.items():
        options = Train(path, loss=loss, y=y)
        objective = make_objective(comm, read_data(comm, options), options)
        np.testing.assert_allclose(objective.null_theta[2], intercept, rtol=1e-12, atol=1e-14)
        found, gradient = objective.value_and_gradient(objective.null_theta)
        np.testing.assert_allclose(gradient[2], 0.0, atol=1e-13)
        assert objective.null_value() == pytest.approx(found, rel=1e-12)


@pytest.mark.mpi
@pytest.mark.parametrize("loss", ["huber", "poisson", "gamma"])
@pytest.mark.parametrize("offset", [False, True])
def test_outputs_have_a_null_model_each(comm: Comm, write_data: Callable[..., Path], loss: str, offset: bool) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((ROWS, 2)), rng.poisson(50.0, (ROWS, 2)) + np.array([1.0, 200.0])
    arrays = {"X": X, "offset": rng.standard_normal(ROWS)} if offset else {"X": X}
    found = []
    for number, some in enumerate((y, y[:, :1], y[:, 1:])):
        options = Train(write_data(f"{number}.h5", y=some, **arrays), loss=loss)
        found.append(make_objective(comm, read_data(comm, options), options))
    np.testing.assert_allclose(found[0].null_theta, np.hstack([one.null_theta for one in found[1:]]), atol=1e-4)
    assert found[0].null_value() == pytest.approx(sum(one.null_value() for one in found[1:]), rel=1e-6)
    assert abs(found[0].value_and_gradient(found[0].null_theta)[1][2]).max() < 1e-3


@pytest.mark.mpi
@pytest.mark.parametrize(("loss", "y"), [("logistic", 1.0), ("softmax", 1.0), ("poisson", 0.0)])
def test_where_no_intercept_is_best_fits_begin_at_zero(
    comm: Comm, write_data: Callable[..., Path], loss: str, y: float
) -> None:
    """All weight on one class, or no count at all: the minimum is at infinity, and the fit ends on the way."""
    labels = np.full(60, y)
    labels[0] = 1.0 - y if loss != "poisson" else 0.0
    X, weight = np.random.default_rng(0).standard_normal((60, 2)), (np.arange(60) > 0).astype(float)
    path = write_data(X=X, y=labels, sample_weight=weight)
    options = Train(path, loss=loss)
    objective = make_objective(comm, read_data(comm, options), options)
    assert not objective.null_theta.any()
    fitted = train(comm, path, loss=loss)
    assert fitted.reason == "gradient"
    assert np.isfinite(fitted.model.intercept).all()


@pytest.mark.parametrize("guess", [-1e3, -3.0, 0.0, 0.7, 40.0])
@pytest.mark.parametrize("slope", [np.arctan, lambda x: np.clip(x, -1.0, 1.0), lambda x: np.expm1(min(x, 600.0))])
def test_a_root_is_found_from_anywhere(slope: Callable[[float], float], guess: float) -> None:
    found = root(lambda x: float(slope(x - 0.5)), guess, 1.0)
    assert found == pytest.approx(0.5, abs=2e-6)
    assert root(lambda x: 1.0, guess, 1.0) is None


@pytest.mark.mpi
@pytest.mark.parametrize("loss", ["squared", "huber", "poisson", "logistic"])
def test_columns_that_say_nothing_end_at_the_null_model(comm: Comm, write_data: Callable[..., Path], loss: str) -> None:
    """Its gradient is rounding, a small part of which no fit can reach: it has converged all the same."""
    rng = np.random.default_rng(0)
    y = targets(rng, rng.standard_normal(60))[kernels.LOSSES[loss].target]
    fitted = train(comm, write_data(X=np.zeros((60, 2)), y=y), loss=loss)
    assert fitted.reason == "gradient"
    if loss == "squared":
        assert fitted.model.intercept == pytest.approx(y.mean(), rel=1e-14)
        same = train(comm, write_data("same.h5", X=rng.standard_normal((60, 2)), y=np.full(60, 3.3)))
        assert same.reason == "gradient"
        assert same.model.intercept == pytest.approx(3.3, rel=1e-14)


def minimum(loss: str, X: np.ndarray, y: np.ndarray, parameter: float, smoothing: float) -> float:
    """Of the mean loss, by scipy's BFGS on the naive form, from the normal equations."""
    A = np.column_stack([X, np.ones(len(y))])

    def value(theta: np.ndarray) -> float:
        return float(np.mean(VALUE[loss](A @ theta, y, parameter, smoothing)))

    def slope(theta: np.ndarray) -> np.ndarray:
        residual = A @ theta - y
        if loss == "huber":
            return A.T @ np.clip(residual, -parameter, parameter) / len(y)
        return A.T @ (np.clip(residual / smoothing, -1.0, 1.0) / 2.0 + 0.5 - parameter) / len(y)

    begin = linalg.lstsq(A, y)[0]
    return float(optimize.minimize(value, begin, jac=slope, method="BFGS", options={"gtol": 1e-7}).fun)


@pytest.mark.mpi
@pytest.mark.parametrize(("loss", "parameter"), [("huber", 1.345), ("quantile", 0.5)])
@pytest.mark.parametrize("solver", ["newton", "newton-cg", "lbfgs", "prox-newton"])
def test_a_loss_without_curvature_at_zero(
    comm: Comm, write_data: Callable[..., Path], solver: str, loss: str, parameter: float
) -> None:
    """All y lie far beyond the kinks of a predictor of zero."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 6))
    y = X @ rng.standard_normal(6) + 100.0 + rng.standard_normal(2000)
    fitted = train(comm, write_data(X=X, y=y), loss=loss, solver=solver)
    assert fitted.reason == "gradient"
    assert fitted.state.value == pytest.approx(minimum(loss, X, y, parameter, 0.1), rel=1e-6)


@pytest.mark.mpi
@pytest.mark.parametrize("solver", ["newton-cg", "lbfgs", "prox-newton"])
def test_a_loss_with_curvature_nowhere(comm: Comm, write_data: Callable[..., Path], solver: str) -> None:
    """Kinks so narrow, at first, that no row lies within them: y is rounded, and its median is none of its values."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 4))
    y = np.round(X @ [3.0, -2.0, 1.0, 0.0] + rng.standard_normal(2000)) * 100.0
    y = np.where(rng.permutation(2000) % 2, abs(y) + 50.0, -abs(y) - 50.0)
    options = {"loss": "quantile", "smoothing": 10.0, "solver": solver, "max_passes": 3000.0}
    fitted = train(comm, write_data(X=X, y=y), **options)
    assert fitted.state.value == pytest.approx(minimum("quantile", X, y, 0.5, 10.0), rel=1e-5)


@pytest.mark.mpi
def test_one_row_far_off_is_no_divergence(comm: Comm, write_data: Callable[..., Path]) -> None:
    """On the part where the fit begins, or beside it: what a value is compared with is that of all rows."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((6000, 4))
    y = X @ [1.0, 2.0, 3.0, 4.0] + 0.1 * rng.standard_normal(6000)
    y[1234] = 1e8
    fitted = train(comm, write_data(X=X, y=y), loss="huber", solver="lbfgs")
    assert fitted.reason == "gradient"
    assert fitted.state.value == pytest.approx(minimum("huber", X, y, 1.345, 0.1), rel=1e-9)
    np.testing.assert_allclose(fitted.model.coef, [1.0, 2.0, 3.0, 4.0], atol=0.05)


@pytest.mark.mpi
@pytest.mark.parametrize("solver", ["newton", "newton-cg", "lbfgs"])
def test_a_part_without_weight_is_no_beginning(comm: Comm, write_data: Callable[..., Path], solver: str) -> None:
    rng = np.random.default_rng(0)
    X, weight = rng.standard_normal((6000, 4)), np.zeros(6000)
    y = (X @ [1.0, 2.0, 3.0, 4.0] + rng.logistic(size=6000) > 0.0).astype(float)
    weight[-300:] = 1.0
    fitted = train(comm, write_data(X=X, y=y, sample_weight=weight), loss="logistic", l2=0.01, solver=solver)
    alone = train(comm, write_data("alone.h5", X=X[-300:], y=y[-300:]), loss="logistic", l2=0.01, solver=solver)
    assert fitted.reason == "gradient"
    np.testing.assert_allclose(fitted.model.coef, alone.model.coef, rtol=1e-4)


@pytest.mark.mpi
@pytest.mark.parametrize("begin", ["null", "init"])
def test_a_path_of_ridges(comm: Comm, write_data: Callable[..., Path], shared_path: Path, begin: str) -> None:
    """Each is that of the normal equations, also where the fit begins near the answer of the weakest penalty."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((6000, 4))
    y = X @ [1.0, 2.0, 3.0, 4.0] + 0.01 * rng.standard_normal(6000)
    path = write_data(X=X, y=y)
    options: dict[str, Any] = {"l2": 0.1, "solver": "lbfgs", "standardize": False, "tol": 1e-9}
    if begin == "init":
        model = train(comm, path, **options).model
        if comm.rank == 0:
            model.save(shared_path / "model.h5")
        comm.leave()
        options["init"] = shared_path / "model.h5"
    along = train(comm, path, path=4, **options).model.path
    Z = X - X.mean(axis=0)
    for strength, coef in zip(along["strength"], along["coef"], strict=True):
        wanted = linalg.solve(Z.T @ Z / 6000 + 0.1 * strength * np.eye(4), Z.T @ y / 6000)
        np.testing.assert_allclose(coef, wanted, rtol=1e-5)


@pytest.mark.mpi
def test_a_lasso_of_large_counts(comm: Comm, write_data: Callable[..., Path]) -> None:
    """The shortest subgradient by numpy is nothing; from zero a step of Newton's method would be 1000 times too far."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 5))
    y = rng.poisson(np.exp(X @ [0.1, 0.1, 0.1, 0.0, 0.0] + 8.5)).astype(float)
    fitted = train(comm, write_data(X=X, y=y), loss="poisson", l1=100.0, standardize=False)
    assert fitted.reason == "gradient"
    coef = fitted.model.coef
    slope = X.T @ (np.exp(X @ coef + fitted.model.intercept) - y) / 500
    zero = coef == 0.0
    assert 0 < zero.sum() < 5
    np.testing.assert_allclose(slope[~zero], -100.0 * np.sign(coef[~zero]), rtol=1e-4)
    assert (abs(slope[zero]) <= 100.0).all()


@pytest.mark.mpi
@pytest.mark.parametrize("size", [1e-10, 1e7])
@pytest.mark.parametrize("solver", ["newton", "lbfgs", "newton-cg"])
def test_a_log_link_in_any_units(comm: Comm, write_data: Callable[..., Path], solver: str, size: float) -> None:
    """Coefficients of gamma regression do not depend on the unit of y, and are scikit-learn's."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 3))
    y = rng.gamma(2.0, size=500) * np.exp(X @ [0.5, -0.2, 0.1])
    fitted = train(comm, write_data(X=X, y=size * y), loss="gamma", solver=solver)
    other = linear_model.GammaRegressor(alpha=0.0, tol=1e-10, max_iter=10_000).fit(X, y)
    assert fitted.reason == "gradient"
    np.testing.assert_allclose(fitted.model.coef, other.coef_, rtol=1e-4, atol=1e-5)
    assert fitted.model.intercept - np.log(size) == pytest.approx(other.intercept_, abs=1e-5)


@pytest.mark.mpi
def test_terms_that_cancel_are_no_divergence(comm: Comm, write_data: Callable[..., Path]) -> None:
    """Counts with a mean of e: the loss of the null model is zero, which noise of mini-batches passes ten times."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 3))
    y = rng.poisson(np.exp(1.0), 400).astype(float)
    weight = np.where(y > np.e, (np.e - y[y <= np.e].mean()) / (y[y > np.e].mean() - np.e), 1.0)
    weight[y > np.e] *= (y <= np.e).sum() / (y > np.e).sum()
    path = write_data(X=X, y=y, sample_weight=weight)
    options: dict[str, Any] = {"loss": "poisson", "solver": "sgd", "learning_rate": 0.1, "batch_size": 10}
    fitted = train(comm, path, max_passes=20.0, **options)
    null = float(np.average(np.e - y, weights=weight))
    assert abs(null) < 1e-12
    assert fitted.reason == "passes"


@pytest.mark.mpi
def test_a_path_begins_where_nothing_is_left(comm: Comm, write_data: Callable[..., Path]) -> None:
    """Its largest strength is the largest slope at the null model, by scipy; at zero all rows are beyond the kinks."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 4))
    y = X @ [3.0, 2.0, 1.0, 0.0] + 1000.0 + 0.1 * rng.standard_normal(400)
    fitted = train(comm, write_data(X=X, y=y), loss="huber", l1=0.1, path=5, standardize=False)
    along = fitted.model.path
    assert (along["coef"][0] == 0.0).all()
    assert (along["coef"][1] != 0.0).any()
    assert along["converged"].all()
    best = optimize.brentq(lambda at: np.clip(at - y, -1.345, 1.345).mean(), 990.0, 1010.0, xtol=1e-12)
    slopes = (X - X.mean(axis=0)).T @ np.clip(best - y, -1.345, 1.345) / 400
    assert along["strength"][0] == pytest.approx(abs(slopes).max() / 0.1, rel=1e-6)


@pytest.mark.mpi
def test_an_early_answer_is_no_harder_to_end_at(comm: Comm, shared_path: Path) -> None:
    """A fit that begins at an answer refers to the null model, too, and ends at once."""
    table = load_table("boston")
    model = train(comm, table.path, solver="lbfgs", tol=1e-8).model
    if comm.rank == 0:
        model.save(shared_path / "model.h5")
    comm.leave()
    again = train(comm, table.path, solver="lbfgs", tol=1e-6, init=shared_path / "model.h5")
    assert (again.reason, again.state.step) == ("gradient", 0)

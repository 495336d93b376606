"""Fits on any number of ranks, against closed forms, scipy and scikit-learn."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mpigd_kernels as kernels
import numpy as np
import pytest
from conftest import load_table
from reference import VALUE, parameters
from scipy import linalg, optimize, special
from sklearn import linear_model

from mpigd.comm import Comm
from mpigd.dataset import read
from mpigd.errors import DivergenceError
from mpigd.history import Record
from mpigd.least_squares import closed_form
from mpigd.objective import Objective, outputs_of
from mpigd.options import Train
from mpigd.penalties import penalty
from mpigd.scaling import measure
from mpigd.train import Fit, fit

pytestmark = pytest.mark.mpi

FULL_PASS = ("newton", "lbfgs", "nesterov", "gd")
TIGHT = {"tol": 1e-11, "max_passes": 100_000}


def train(comm: Comm, path: Path, observers=(), **options) -> Fit:
    chosen = Train(path, **{"solver": "gd", **options})
    return fit(comm, read(comm, path, target=kernels.LOSSES[chosen.loss].target), chosen, observers)


def solve_ridge(X, y, l2: float, intercept: bool = True, scale=None, weight=None):
    """Minimise mean(w (y - b - X c)^2) / 2 + l2 |c * scale|^2 / 2 by the normal equations."""
    n, d = X.shape
    weight = np.ones(n) if weight is None else weight
    A = np.column_stack([X, np.ones(n)]) if intercept else X
    penalty = np.zeros(A.shape[1])
    penalty[:d] = l2 * (np.ones(d) if scale is None else scale**2)
    H = (A.T * weight) @ A / weight.sum() + np.diag(penalty)
    theta = linalg.solve(H, (A.T * weight) @ y / weight.sum(), assume_a="pos")
    return theta[:d], (theta[d] if intercept else 0.0)


@pytest.mark.parametrize("solver", FULL_PASS)
def test_solvers_reach_least_squares(comm: Comm, solver: str) -> None:
    table = load_table("boston")
    fitted = train(comm, table.path, solver=solver, **TIGHT)
    exact = linalg.lstsq(np.column_stack([table.X, np.ones(len(table.y))]), table.y)[0]
    np.testing.assert_allclose(np.append(fitted.model.coef, fitted.model.intercept), exact, rtol=1e-6)
    assert fitted.reason == "gradient"
    assert fitted.state.gradient_norm <= 1e-11 * 100
    residual = table.y - table.X @ exact[:-1] - exact[-1]
    assert fitted.state.value == pytest.approx(0.5 * np.mean(residual**2), rel=1e-12)


def test_closed_form_equals_lstsq(comm: Comm) -> None:
    table = load_table("boston")
    coef, intercept = closed_form(comm, read(comm, table.path, target="real"))
    exact = linalg.lstsq(np.column_stack([table.X, np.ones(len(table.y))]), table.y)[0]
    np.testing.assert_allclose(np.append(coef, intercept), exact, rtol=1e-10)


@pytest.mark.parametrize("solver", FULL_PASS)
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("standardize", [True, False])
def test_ridge_in_every_setting(
    comm: Comm, write_data: Callable[..., Path], intercept: bool, standardize: bool, solver: str
) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((203, 4)) * [1.0, 2.0, 0.5, 1.5] + [0.5, -1.0, 0.0, 2.0]
    y = X @ [1.0, -2.0, 3.0, 0.5] + 1.0 + rng.standard_normal(203)
    weight = rng.integers(0, 4, 203).astype(float)
    path = write_data(X=X, y=y, sample_weight=weight)
    fitted = train(comm, path, l2=0.3, intercept=intercept, standardize=standardize, solver=solver, **TIGHT)
    mean = weight @ X / weight.sum()
    sd = np.sqrt(weight @ (X - mean) ** 2 / weight.sum())
    coef, constant = solve_ridge(X, y, 0.3, intercept, sd if standardize else None, weight)
    np.testing.assert_allclose(fitted.model.coef, coef, rtol=1e-8)
    assert fitted.model.intercept == pytest.approx(constant, rel=1e-8)


@pytest.mark.parametrize("solver", FULL_PASS)
def test_logistic_equals_scikit_learn(comm: Comm, solver: str) -> None:
    table = load_table("breast_cancer")
    l2 = 0.01
    fitted = train(comm, table.path, loss="logistic", solver=solver, l2=l2, tol=1e-9, max_passes=100_000)
    Z = (table.X - table.X.mean(axis=0)) / table.X.std(axis=0)
    peer = linear_model.LogisticRegression(C=1 / (l2 * len(Z)), tol=1e-12, max_iter=10_000).fit(Z, table.y)
    np.testing.assert_allclose(fitted.model.coef * table.X.std(axis=0), peer.coef_[0], rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(fitted.model.predict(table.X), peer.predict(Z))
    assert fitted.model.classes.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("solver", ["lbfgs", "nesterov", "gd"])
def test_softmax_equals_scikit_learn(comm: Comm, solver: str) -> None:
    table = load_table("digits")
    l2 = 0.1
    fitted = train(comm, table.path, loss="softmax", solver=solver, l2=l2, tol=1e-6, max_passes=10_000)
    spread = table.X.std(axis=0)
    spread[spread == 0.0] = 1.0  # corners that are always blank
    Z = (table.X - table.X.mean(axis=0)) / spread
    peer = linear_model.LogisticRegression(C=1 / (l2 * len(Z)), tol=1e-10, max_iter=10_000).fit(Z, table.y)
    assert fitted.model.coef.shape == (64, 10)
    # The objective is l2-strongly convex: a point is no further from the minimum than gradient norm / l2.
    distance = np.linalg.norm(fitted.model.coef * spread[:, None] - peer.coef_.T)
    assert distance <= 2 * fitted.state.gradient_norm / l2 < 1e-4
    np.testing.assert_array_equal(fitted.model.predict(table.X), peer.predict(Z))


def test_labels_may_be_any_whole_numbers(comm: Comm, write_data: Callable[..., Path]) -> None:
    table = load_table("breast_cancer")
    plain = train(comm, table.path, loss="logistic", l2=0.1)
    relabelled = train(comm, write_data(X=table.X, y=np.where(table.y == 1, 7, -3)), loss="logistic", l2=0.1)
    np.testing.assert_array_equal(plain.model.coef, relabelled.model.coef)
    assert set(relabelled.model.predict(table.X)) == {-3.0, 7.0}


def test_offset_shifts_the_predictor(comm: Comm, write_data: Callable[..., Path]) -> None:
    rng = np.random.default_rng(1)
    X, offset = rng.standard_normal((120, 3)), rng.standard_normal(120)
    y = (rng.random(120) < special.expit(X @ [1.0, -1.0, 0.5] + offset)).astype(float)
    fitted = train(comm, write_data(X=X, y=y, offset=offset), loss="logistic", standardize=False, l2=0.05, **TIGHT)

    def objective(theta: np.ndarray) -> float:
        eta = X @ theta[:3] + theta[3] + offset
        return float(-np.mean(special.log_expit((2 * y - 1) * eta)) + 0.025 * theta[:3] @ theta[:3])

    best = optimize.minimize(objective, np.zeros(4), method="BFGS", options={"gtol": 1e-10})
    np.testing.assert_allclose(np.append(fitted.model.coef, fitted.model.intercept), best.x, atol=1e-6)


@pytest.mark.parametrize("solver", ["newton", "lbfgs", "gd"])
@pytest.mark.parametrize("name", sorted(VALUE))
def test_every_loss_reaches_the_minimum_that_scipy_finds(
    comm: Comm, write_data: Callable[..., Path], name: str, solver: str
) -> None:
    rng = np.random.default_rng(10)
    loss, l2 = kernels.LOSSES[name], 0.1
    X = rng.standard_normal((150, 3)) * 0.5
    y = X @ [1.0, -1.0, 0.5] + 0.5 + 0.5 * rng.standard_normal(150)
    if loss.target == "binary":
        y = (y > 0.5).astype(float)
    elif loss.target in ("nonnegative", "positive"):
        y = rng.poisson(np.exp(y)) + (1.0 if loss.target == "positive" else 0.0)
    parameter, smoothing = parameters(loss)

    def objective(theta: np.ndarray) -> float:
        return float(
            np.mean(VALUE[name](X @ theta[:3] + theta[3], y, parameter, smoothing)) + l2 / 2 * theta[:3] @ theta[:3]
        )

    best = optimize.minimize(objective, np.zeros(4), method="BFGS", options={"gtol": 1e-9})
    fitted = train(
        comm,
        write_data(X=X, y=y),
        loss=name,
        solver=solver,
        l2=l2,
        standardize=False,
        smoothing=smoothing,
        learning_rate="auto" if loss.curvature else 0.1,
        tol=1e-8,
        max_passes=20_000,
    )
    assert fitted.state.value == pytest.approx(best.fun, rel=1e-7)
    np.testing.assert_allclose(np.append(fitted.model.coef, fitted.model.intercept), best.x, atol=2e-4)


def test_integer_weights_equal_repeated_rows(comm: Comm, write_data: Callable[..., Path]) -> None:
    rng = np.random.default_rng(2)
    X, y, weight = rng.standard_normal((90, 3)), rng.standard_normal(90), rng.integers(0, 4, 90)
    weighted = train(comm, write_data("a.h5", X=X, y=y, sample_weight=weight.astype(float)), **TIGHT)
    repeated = train(comm, write_data("b.h5", X=X.repeat(weight, axis=0), y=y.repeat(weight)), **TIGHT)
    np.testing.assert_allclose(weighted.model.coef, repeated.model.coef, rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8, np.int8, np.int32])
def test_narrow_columns_are_fitted_in_double_precision(
    comm: Comm, write_data: Callable[..., Path], dtype: type
) -> None:
    rng = np.random.default_rng(3)
    X = rng.integers(0, 120, (150, 3)).astype(dtype)
    y = rng.standard_normal(150)
    path = write_data(X=X, y=y)
    fitted = train(comm, path, **TIGHT)
    coef, _ = solve_ridge(X.astype(float), y, 0.0)
    kept = {np.int32: np.float64}.get(dtype, dtype)
    assert read(comm, path).slice.tiles.dtype == kept
    np.testing.assert_allclose(fitted.model.coef, coef, rtol=1e-8)


def test_moments_survive_a_large_mean_and_a_constant_column(comm: Comm, write_data: Callable[..., Path]) -> None:
    rng = np.random.default_rng(4)
    X = np.column_stack([1e8 + rng.standard_normal(200), np.full(200, 0.1), rng.standard_normal(200)])
    scaling = measure(comm, read(comm, write_data(X=X, y=X[:, 2])), centre=True)
    np.testing.assert_allclose(scaling.mean, X.mean(axis=0), rtol=1e-15, atol=1e-15)
    np.testing.assert_allclose(scaling.scale[[0, 2]], X.std(axis=0)[[0, 2]], rtol=1e-7)
    assert scaling.scale[1] == 1.0


@pytest.mark.parametrize("rows", [1, 2, 20, 130])
def test_fewer_rows_than_ranks(comm: Comm, write_data: Callable[..., Path], rows: int) -> None:
    rng = np.random.default_rng(5)
    X, y = rng.standard_normal((rows, 2)), rng.standard_normal(rows)
    fitted = train(comm, write_data(X=X, y=y), l2=0.1, standardize=False, **TIGHT)
    coef, intercept = solve_ridge(X, y, 0.1)
    np.testing.assert_allclose(
        np.append(fitted.model.coef, fitted.model.intercept), [*coef, intercept], rtol=1e-7, atol=1e-9
    )


def make_objective(comm: Comm, path: Path, average="rows", loss="squared", l2: float = 0.0) -> Objective:
    chosen = kernels.LOSSES[loss]
    data = read(comm, path, target=chosen.target)
    scaling = measure(comm, data, centre=False, standardize=False)
    free = penalty(l2, 0.0, scaling.scale, outputs_of(data, chosen), intercept=True)
    return Objective(comm, data, chosen, scaling, free, average=average)


def test_average_over_ranks_is_the_articles_formula(comm: Comm, write_data: Callable[..., Path]) -> None:
    """The gradient equals 1/n sum_i 1/|D_i| sum_{x in D_i} grad J, the slices being what ranks own."""
    rng = np.random.default_rng(6)
    X, y, theta = rng.standard_normal((61, 3)), rng.standard_normal(61), rng.standard_normal((4, 1))
    path = write_data(X=X, y=y)
    data = read(comm, path, target="real")
    slices = [s for s in comm.gather((data.start, data.stop)) if s[0] < s[1]]
    A = np.column_stack([X, np.ones(61)])
    means = [A[a:b].T @ (A[a:b] @ theta - y[a:b, None]) / (b - a) for a, b in slices]
    _, gradient = make_objective(comm, path, "ranks").value_and_gradient(theta)
    np.testing.assert_allclose(gradient, np.mean(means, axis=0), rtol=1e-12)
    _, over_rows = make_objective(comm, path).value_and_gradient(theta)
    np.testing.assert_allclose(over_rows, A.T @ (A @ theta - y[:, None]) / 61, rtol=1e-12)


@pytest.mark.parametrize("loss", ["squared", "logistic", "softmax"])
def test_gradient_of_the_objective_by_differences(comm: Comm, loss: str) -> None:
    name = {"squared": "boston", "logistic": "breast_cancer", "softmax": "digits"}[loss]
    data = read(comm, load_table(name).path, target=kernels.LOSSES[loss].target)
    scaling = measure(comm, data, True)
    free = penalty(0.2, 0.0, scaling.scale, outputs_of(data, kernels.LOSSES[loss]), intercept=True)
    objective = Objective(comm, data, kernels.LOSSES[loss], scaling, free)
    theta = np.random.default_rng(7).standard_normal(objective.shape)
    direction = np.random.default_rng(8).standard_normal(objective.shape)
    _, gradient = objective.value_and_gradient(theta)
    h = 1e-3
    f = {k: objective.value_and_gradient(theta + k * h * direction)[0] for k in (-2, -1, 1, 2)}
    assert np.vdot(gradient, direction) == pytest.approx((f[-2] - 8 * f[-1] + 8 * f[1] - f[2]) / (12 * h), rel=1e-7)


def test_smoothness_bounds_the_largest_eigenvalue(comm: Comm) -> None:
    table = load_table("boston")
    smooth = make_objective(comm, table.path, l2=0.5).smoothness()
    A = np.column_stack([table.X, np.ones(len(table.y))])
    largest = linalg.eigvalsh(A.T @ A / len(A))[-1]
    assert largest <= smooth.full - 0.5 <= 1.02 * largest
    assert smooth.row - 0.5 == pytest.approx((A**2).sum(axis=1).max())


def test_mini_batches_of_an_epoch_average_to_the_full_gradient(comm: Comm, write_data: Callable[..., Path]) -> None:
    rng = np.random.default_rng(9)
    objective = make_objective(comm, write_data(X=rng.standard_normal((120, 3)), y=rng.standard_normal(120)))
    theta = rng.standard_normal(objective.shape)
    batches = [objective.batch_gradients((theta,), (5, 2, 12, (index,)))[0] for index in range(12)]
    _, gradient = objective.value_and_gradient(theta)
    np.testing.assert_allclose(np.mean(batches, axis=0), gradient, rtol=1e-10, atol=1e-12)
    assert np.std(batches, axis=0).min() > 0.0
    # Several at once are their mean, as they have the same number of rows.
    (together,) = objective.batch_gradients((theta,), (5, 2, 12, (1, 4, 7)))
    np.testing.assert_allclose(together, np.mean([batches[k] for k in (1, 4, 7)], axis=0), rtol=1e-10, atol=1e-12)


def test_a_mini_batch_is_the_same_rows_on_any_number_of_ranks(comm: Comm, write_data: Callable[..., Path]) -> None:
    path = write_data(X=np.arange(333.0)[:, None], y=np.zeros(333))
    everything = read(Comm.alone(), path, target="real")
    own = read(comm, path, target="real")
    parts = np.concatenate(comm.gather(own.part_of_rows(3, 4, 20)))
    np.testing.assert_array_equal(parts, everything.part_of_rows(3, 4, 20))


# A constant step ends in a ball around the minimum, the others shrink it: what is left after 100 epochs.
@pytest.mark.parametrize(("schedule", "excess"), [("cosine", 0.003), ("1/t", 0.03), ("constant", 0.1)])
def test_stochastic_descent_comes_close(comm: Comm, schedule: str, excess: float) -> None:
    table = load_table("boston")
    fitted = train(comm, table.path, solver="sgd", batch_size=32, max_passes=200, schedule=schedule)
    exact = linalg.lstsq(np.column_stack([table.X, np.ones(len(table.y))]), table.y)[0]
    best = 0.5 * np.mean((table.y - table.X @ exact[:-1] - exact[-1]) ** 2)
    assert best < fitted.state.value < best * (1.0 + excess)
    assert fitted.reason == "passes"
    assert fitted.state.passes == 199
    assert fitted.state.step == 99 * round(506 / 32)


def test_stochastic_descent_with_all_rows_is_gradient_descent(comm: Comm) -> None:
    path = load_table("boston").path
    options = {"learning_rate": 0.1, "schedule": "constant", "tol": 0.0}
    full = train(comm, path, max_passes=11, **options)
    stochastic = train(comm, path, solver="sgd", batch_size=506, max_passes=21, **options)
    assert full.state.step == stochastic.state.step == 10
    np.testing.assert_allclose(full.model.coef, stochastic.model.coef, rtol=1e-10)


def test_stopping_reasons_and_history(comm: Comm) -> None:
    records: list[Record] = []
    path = load_table("boston").path
    by_change = train(comm, path, tol=0.0, tol_objective=1e-9, observers=[lambda r, _: records.append(r)])
    assert by_change.reason == "objective"
    assert [r.step for r in records] == list(range(len(records)))
    assert records[-1].objective == by_change.state.value
    assert all(b.objective <= a.objective for a, b in itertools.pairwise(records))
    assert all(b.seconds >= a.seconds for a, b in itertools.pairwise(records))
    by_budget = train(comm, path, tol=0.0, max_passes=7)
    assert (by_budget.reason, by_budget.state.step, by_budget.state.passes) == ("passes", 6, 7)
    assert not by_budget.summary()["converged"]


@pytest.mark.parametrize("solver", ["gd", "sgd"])
def test_divergence_is_noticed_and_says_what_to_do(comm: Comm, solver: str) -> None:
    with pytest.raises(DivergenceError, match=r"diverged at step \d+: .* use --learning-rate auto") as caught:
        train(comm, load_table("boston").path, solver=solver, learning_rate=50.0)
    assert caught.value.agreed


@pytest.mark.parametrize(("of_x", "of_y"), [(1.0, 1e160), (1e200, 1.0)])
def test_numbers_beyond_double_precision_are_refused(
    comm: Comm, write_data: Callable[..., Path], of_x: float, of_y: float
) -> None:
    rng = np.random.default_rng(0)
    path = write_data(X=rng.standard_normal((50, 2)) * of_x, y=rng.standard_normal(50) * of_y)
    with pytest.raises(DivergenceError, match="at the start: numbers of X, y or weights are too large") as caught:
        train(comm, path)
    assert caught.value.agreed


def test_all_ranks_hold_the_same_model(comm: Comm) -> None:
    fitted = train(comm, load_table("boston").path, solver="sgd", max_passes=21)
    assert len({model.tobytes() for model in comm.gather(fitted.model.coef)}) == 1


def test_split_trains_on_its_part_alone(comm: Comm) -> None:
    table = load_table("boston")
    data = read(comm, table.path, target="real")
    keep = data.part_of_rows(0, 0, 5) != 0
    kept = np.concatenate(comm.gather(keep))
    fitted = fit(comm, data.weighted(keep), replace(Train(table.path), **TIGHT))
    coef, intercept = solve_ridge(table.X[kept], table.y[kept], 0.0)
    np.testing.assert_allclose(np.append(fitted.model.coef, fitted.model.intercept), [*coef, intercept], rtol=1e-6)
    assert fitted.rows == kept.sum() in (404, 405)

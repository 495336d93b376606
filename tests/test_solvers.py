"""Full-pass solvers on hard cases, and what they are made of, against numpy, scipy and differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpigd_kernels as kernels
import numpy as np
import pytest
from conftest import load_table
from hypothesis import given
from hypothesis import strategies as st
from scipy import linalg

from mpigd.comm import Comm
from mpigd.errors import UsageError
from mpigd.history import Record
from mpigd.options import Train
from mpigd.problem import make_objective, read_data
from mpigd.sampling import pick
from mpigd.solvers import Shape, choose
from mpigd.solvers.line_search import DECREASE, FLATTENING, Trial, search
from mpigd.train import Fit, fit, run

SOLVERS = ("newton", "newton-cg", "lbfgs")


def train(comm: Comm, path: Path, observers: Any = (), **options: Any) -> Fit:
    chosen = Train(path, **options)
    return fit(comm, read_data(comm, chosen), chosen, observers)


@pytest.mark.mpi
@pytest.mark.parametrize("setting", [{}, {"standardize": False}, {"standardize": False, "intercept": False}])
@pytest.mark.parametrize("loss", [name for name, loss in kernels.LOSSES.items() if not loss.coupled])
def test_hessian_is_the_slope_of_the_gradient(
    comm: Comm, write_data: Callable[..., Path], loss: str, setting: dict[str, bool]
) -> None:
    """Central differences of the gradient, and value and gradient of the other kernel."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 3)) * [1.0, 3.0, 0.2] + [0.0, 2.0, -1.0]
    y = rng.integers(0, 2, 120) + (1.0 if kernels.LOSSES[loss].target == "positive" else 0.0)
    options = Train(write_data(X=X, y=y, sample_weight=rng.random(120)), loss=loss, l2=0.3, smoothing=1.0, **setting)
    objective = make_objective(comm, read_data(comm, options), options)
    theta, h = 0.3 * rng.standard_normal(objective.shape), 1e-6
    value, gradient, hessian = objective.second_order(theta)
    plain = objective.value_and_gradient(theta)
    assert value == pytest.approx(plain[0], rel=1e-12)
    np.testing.assert_allclose(gradient, plain[1], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-12, atol=1e-14)
    for j in range(len(theta)):
        step = h * np.eye(len(theta))[:, j : j + 1]
        up, down = (objective.value_and_gradient(theta + s)[1] for s in (step, -step))
        kinks = loss in ("huber", "quantile", "epsilon-insensitive", "squared-hinge", "modified-huber")
        np.testing.assert_allclose((up - down)[:, 0] / (2 * h), hessian[:, j], rtol=1e-4, atol=1e-2 if kinks else 1e-6)


@pytest.mark.mpi
@pytest.mark.parametrize("setting", [{}, {"standardize": False, "intercept": False}, {"average": "ranks"}])
@pytest.mark.parametrize("loss", ["logistic", "poisson", "softmax", "squared"])
def test_hessian_products_are_slopes_of_the_gradient(
    comm: Comm, write_data: Callable[..., Path], loss: str, setting: dict[str, Any]
) -> None:
    """Central differences, also after the objective was evaluated elsewhere; several outputs, too."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 3)) * [1.0, 3.0, 0.2] + [0.0, 2.0, -1.0]
    y = {"squared": rng.standard_normal((120, 2)), "softmax": rng.integers(0, 3, 120)}.get(
        loss, rng.integers(0, 2, 120)
    )
    options = Train(write_data(X=X, y=y, sample_weight=rng.random(120)), loss=loss, l2=0.3, **setting)
    objective = make_objective(comm, read_data(comm, options), options)
    theta, direction = (0.3 * rng.standard_normal(objective.shape) for _ in range(2))
    h = 1e-5
    up, down = (objective.value_and_gradient(theta + s * direction)[1] for s in (h, -h))
    objective.value_gradient_and_curvature(theta)
    found = objective.hessian_product(theta, direction)
    np.testing.assert_allclose(found, (up - down) / (2 * h), rtol=1e-6, atol=1e-8)
    objective.value_gradient_and_curvature(2.0 * theta)
    np.testing.assert_array_equal(objective.hessian_product(theta, direction), found)


@pytest.mark.mpi
@pytest.mark.parametrize("weighted", [False, True])
def test_hessian_products_of_a_part_are_its_hessian(
    comm: Comm, write_data: Callable[..., Path], weighted: bool
) -> None:
    """The other kernel's Hessian of the same part, times a direction: both divide by its weight, not by that of all."""
    rng = np.random.default_rng(0)
    arrays = {"X": rng.standard_normal((4000, 3)), "y": rng.integers(0, 2, 4000)}
    arrays.update({"sample_weight": rng.random(4000)} if weighted else {})
    options = Train(write_data(**arrays), loss="logistic")
    part = make_objective(comm, read_data(comm, options), options).part(8, 0)
    theta, direction = (0.3 * rng.standard_normal(part.shape) for _ in range(2))
    found = part.hessian_product(theta, direction)
    np.testing.assert_allclose(found, part.second_order(theta)[2] @ direction, rtol=1e-10)


@pytest.mark.mpi
def test_a_metric_is_the_hessian_of_its_rows(comm: Comm, write_data: Callable[..., Path]) -> None:
    """Of all rows but for what keeps it from being singular; of a part near enough; of rare columns half at least."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((4000, 4)) * [1.0, 3.0, 0.2, 1.0]
    X[:, 3] *= np.arange(4000) < 3  # in the first block alone
    options = Train(write_data(X=X, y=rng.integers(0, 2, 4000)), loss="logistic", l2=0.01, standardize=False)
    objective = make_objective(comm, read_data(comm, options), options)
    theta = np.zeros(objective.shape)
    hessian = objective.second_order(theta)[2]
    whole, passes = objective.metric(theta, 1, 0)
    assert passes == 1.0
    np.testing.assert_allclose(whole, hessian, rtol=1e-6, atol=1e-12)
    some, passes = objective.metric(theta, 8, 0)
    assert passes == 0.125
    scale = np.sqrt(np.outer(np.diagonal(hessian), np.diagonal(hessian)))
    np.testing.assert_allclose((some / scale)[:3, :3], (hessian / scale)[:3, :3], atol=0.25)
    assert 0.49 * hessian[3, 3] < some[3, 3] < 20.0 * hessian[3, 3]


@pytest.mark.mpi
def test_a_metric_of_several_outputs(comm: Comm, write_data: Callable[..., Path]) -> None:
    """X'X / n; for classes times the mean of p (1 - p) where all are equally probable."""
    rng = np.random.default_rng(0)
    X, labels = rng.standard_normal((300, 3)), rng.integers(0, 4, 300)
    path = write_data(X=X, y=labels, three=rng.standard_normal((300, 3)))
    for loss, y, share in (("softmax", "y", 3 / 16), ("squared", "three", 1.0)):
        options = Train(path, loss=loss, y=y, intercept=False, standardize=False, l2=0.5)
        objective = make_objective(comm, read_data(comm, options), options)
        found, _ = objective.metric(np.zeros(objective.shape), 1, 0)
        np.testing.assert_allclose(found, share * X.T @ X / 300 + 0.5 * np.eye(3), rtol=1e-6)


def hard(name: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X, noise = rng.standard_normal((200, 5)), rng.standard_normal(200)
    y = X @ [1.0, -2.0, 0.5, 0.0, 3.0] + 7.0 + noise
    return {
        "collinear columns": (np.column_stack([X, X[:, 0] + X[:, 1], X[:, 2]]), y),
        "a constant column": (np.column_stack([X, np.full(200, 3.7)]), y),
        "columns of zeros": (np.column_stack([X, np.zeros((200, 2))]), y),
        "rows of zeros": (X * (np.arange(200) % 2)[:, None], y),
        "more columns than rows": (rng.standard_normal((20, 50)), y[:20]),
        "huge and tiny units": (X * 10.0 ** np.array([-100, -8, 0, 5, 90]), y),
        "means far from zero": (X + 1e5, y),
        "powers": (np.vander(np.linspace(0.0, 1.0, 200), 7)[:, :-1], y),
    }[name]


@pytest.mark.mpi
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("solver", [*SOLVERS, "direct", "barzilai-borwein"])
@pytest.mark.parametrize(
    "case",
    [
        *("collinear columns", "a constant column", "columns of zeros", "rows of zeros", "more columns than rows"),
        *("huge and tiny units", "means far from zero", "powers"),
    ],
)
def test_least_squares_on_hard_columns(
    comm: Comm, write_data: Callable[..., Path], case: str, solver: str, standardize: bool
) -> None:
    """The residual is that of scipy's lstsq; coefficients need not be, where many fit as well."""
    X, y = hard(case)
    if solver == "barzilai-borwein" and (case == "powers" or (case == "huge and tiny units" and not standardize)):
        pytest.skip("gradients alone take too many steps")
    options: dict[str, Any] = {"solver": solver, "standardize": standardize, "tol": 1e-9, "max_passes": 3000.0}
    if solver == "barzilai-borwein":
        options.update(solver="gd", learning_rate=solver)
    fitted = train(comm, write_data(X=X, y=y), **options)
    A = np.column_stack([X, np.ones(len(y))])
    length = np.linalg.norm(A, axis=0)
    Z = A / np.where(length > 0.0, length, 1.0)
    best = 0.5 * np.mean((y - Z @ linalg.lstsq(Z, y, cond=1e-12)[0]) ** 2)
    assert fitted.state.value == pytest.approx(best, rel=1e-7, abs=1e-12)
    found = 0.5 * np.mean((y - X @ fitted.model.coef - fitted.model.intercept) ** 2)
    assert found == pytest.approx(best, rel=1e-6, abs=1e-9)


@pytest.mark.mpi
@pytest.mark.parametrize("solver", SOLVERS)
def test_separable_classes_end_in_an_answer(comm: Comm, write_data: Callable[..., Path], solver: str) -> None:
    """Without a penalty the minimum is at infinity: the fit stops on the way, and all rows are right."""
    X = np.random.default_rng(0).standard_normal((100, 3))
    y = (X @ [1.0, 2.0, -1.0] > 0.0).astype(float)
    fitted = train(comm, write_data(X=X, y=y), loss="logistic", solver=solver, max_passes=500.0)
    assert fitted.reason == "gradient"
    assert "use --l2" in fitted.note
    np.testing.assert_array_equal(fitted.model.predict(X), y)
    held = train(comm, write_data("held.h5", X=X, y=y), loss="logistic", solver=solver, l2=0.01)
    assert held.note == ""


@pytest.mark.mpi
def test_a_problem_beyond_double_precision_says_so(comm: Comm, write_data: Callable[..., Path]) -> None:
    """Columns so alike that the gradient can't be brought down: neither an endless run nor called converged."""
    t = np.linspace(0.0, 1.0, 200)
    X = 1.0 / (1.0 + t[:, None] + np.arange(12) / 3.0)
    fitted = train(comm, write_data(X=X, y=np.sin(9.0 * t)), tol=1e-14, max_passes=3000.0)
    assert fitted.reason == "rounding"
    assert fitted.summary()["converged"] is False


@pytest.mark.mpi
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("alike", [True, False])
def test_a_fit_that_begins_on_a_part_ends_on_all_rows(
    comm: Comm, write_data: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, solver: str, alike: bool
) -> None:
    """Also where the part is not like the rest; and it saves passes where it is."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((9000, 4)).astype(np.float32)
    p = 1.0 / (1.0 + np.exp(-(X @ np.array([1.0, -2.0, 0.5, 0.0], np.float32))))
    y = (rng.random(9000) < p).astype(float)
    path = write_data(X=X, y=y)
    options = Train(path, loss="logistic", solver=solver, l2=0.01, standardize=False, tol=1e-9)
    data = read_data(comm, options)
    one_in = make_objective(comm, data, options).cost.begins_on
    assert one_in == 8
    if not alike:  # the part has its labels the other way round
        picked = np.repeat(pick(0, np.arange(-(-9000 // data.header.block)), one_in), data.header.block)[:9000]
        path = write_data("other.h5", X=X, y=np.where(picked, 1.0 - y, y))
        y = np.where(picked, 1.0 - y, y)
    records: list[Record] = []
    keep = [lambda record, _: records.append(record)]
    fitted = train(comm, path, keep, loss="logistic", solver=solver, l2=0.01, standardize=False, tol=1e-9)
    # The loss of the null model is an entropy: the first record says whether the fit began there.
    share = y.mean()
    null = -share * math.log(share) - (1.0 - share) * math.log(1.0 - share)
    assert (records[0].objective == pytest.approx(null, rel=1e-12)) == (not alike)
    assert records[0].objective <= null * (1.0 + 1e-12)
    assert fitted.reason == "gradient"
    A, theta = np.column_stack([X, np.ones(9000)]).astype(float), np.zeros(5)
    for _ in range(20):
        p = 1.0 / (1.0 + np.exp(-(A @ theta)))
        penalty = 0.01 * np.diag([1.0, 1.0, 1.0, 1.0, 0.0])
        theta = theta - linalg.solve(
            (A.T * (p * (1.0 - p))) @ A / 9000 + penalty, A.T @ (p - y) / 9000 + penalty @ theta
        )
    np.testing.assert_allclose(np.append(fitted.model.coef, fitted.model.intercept), theta, rtol=1e-6, atol=1e-7)
    monkeypatch.setattr(Shape, "begins_on", 0)
    whole = train(comm, path, loss="logistic", solver=solver, l2=0.01, standardize=False, tol=1e-9)
    np.testing.assert_allclose(whole.model.coef, fitted.model.coef, rtol=1e-6)
    assert not alike or fitted.state.passes < whole.state.passes


@pytest.mark.mpi
def test_newton_needs_one_output(comm: Comm, shared_path: Path) -> None:
    options = Train(load_table("digits").path, loss="softmax", solver="newton", run_dir=shared_path / "run")
    with pytest.raises(UsageError, match="newton: there are 10 outputs, and newton takes one; use --solver lbfgs"):
        run(comm, options)
    assert not (shared_path / "run").exists()


@pytest.mark.mpi
@pytest.mark.parametrize(("table", "loss", "wanted"), [("boston", "squared", "direct"), ("digits", "softmax", "lbfgs")])
def test_auto_says_what_it_took(comm: Comm, table: str, loss: str, wanted: str) -> None:
    fitted = train(comm, load_table(table).path, loss=loss, l2=0.1)
    assert fitted.summary()["solver"] == wanted
    assert fitted.summary()["why"]
    assert fitted.reason == "gradient"


def shape(n: int, d: int, outputs: int = 1, **others: Any) -> Shape:
    return Shape(n=n, d=d, outputs=outputs, block=256, bytes=4.0 * n * d, numbers=d, p=d, **others)


def test_auto_goes_by_what_solvers_cost() -> None:
    """Newton's method where there are few rows, what it solves at once where it can, gradients alone beyond."""
    assert choose(shape(500, 10)).solver == "newton"
    assert choose(shape(500, 10, quadratic=True)).solver == "direct"
    tall, wide, huge = shape(2_000_000, 28), shape(100_000, 2_000), shape(100_000, 50_000)
    assert [(choose(s).solver, choose(s).one_in > 1) for s in (tall, wide)] == [("lbfgs", True)] * 2
    assert (choose(huge).solver, choose(huge).one_in) == ("lbfgs", 0)
    assert choose(shape(500, 3, 2)).solver == "lbfgs"
    assert choose(shape(500, 3, kinks=True)).solver == "prox-newton"
    assert choose(shape(500, 3, 2, kinks=True)).solver == "nesterov"


FUNCTIONS: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "quadratic": (lambda t: (t - 3.0) ** 2, lambda t: 2.0 * (t - 3.0)),
    "quartic": (lambda t: (t - 0.1) ** 4, lambda t: 4.0 * (t - 0.1) ** 3),
    "wave": (lambda t: 0.1 * t * t - math.sin(3.0 * t), lambda t: 0.2 * t - 3.0 * math.cos(3.0 * t)),
    "wall": (lambda t: 1.0 / (1e-3 - t) - 2e6 * t if t < 1e-3 else math.inf, lambda t: 1.0 / (1e-3 - t) ** 2 - 2e6),
    "far": (lambda t: math.cosh(t / 900.0 - 1.0), lambda t: math.sinh(t / 900.0 - 1.0) / 900.0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@given(unit=st.floats(1e-3, 1e3))
def test_a_line_search_ends_at_a_wolfe_point(name: str, unit: float) -> None:
    value, slope = FUNCTIONS[name]

    def along(step: float) -> Trial[float]:
        at = step * unit
        return Trial(value(at), slope(at) * unit if math.isfinite(value(at)) else math.nan, step)

    start = along(0.0)
    found, trials = search(along, start.value, start.slope)
    assert found is not None
    assert trials <= 25
    assert found.value <= start.value + DECREASE * found.found * start.slope
    assert found.slope >= FLATTENING * start.slope


def test_a_line_search_gives_up_uphill() -> None:
    assert search(lambda step: Trial(step, 1.0, None), 0.0, -1.0) == (None, 25)

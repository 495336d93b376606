"""Standard errors, tests, intervals, deviance and likelihood, against statsmodels; what is refused, and why."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import load_table
from mpigd_kernels import LOSSES as RECORDS
from rich.console import Console
from scipy import sparse

from mpigd import likelihood
from mpigd.comm import Comm
from mpigd.errors import UsageError
from mpigd.explain import run as explain
from mpigd.importance import contributions
from mpigd.inference import Inference, infer
from mpigd.model import Model
from mpigd.options import Explain, Train
from mpigd.problem import read_data
from mpigd.tables import show_explanation
from mpigd.train import fit, run

N, D = 300, 4
LOSSES = ("squared", "logistic", "probit", "cloglog", "poisson", "gamma", "tweedie", "negative-binomial")
CASES = [  # intercept, standardize, offset, weights
    (True, True, True, True),
    (True, False, False, False),
    (False, True, False, True),
]


@pytest.fixture
def sm() -> Any:
    """Statsmodels, which takes a second to import: not on every rank of tests inside MPI."""
    return pytest.importorskip("statsmodels.api")


def family(sm: Any, loss: str) -> Any:
    log, families = sm.families.links.Log, sm.families
    return {
        "logistic": lambda: families.Binomial(),
        "probit": lambda: families.Binomial(families.links.Probit()),
        "cloglog": lambda: families.Binomial(families.links.CLogLog()),
        "poisson": lambda: families.Poisson(),
        "gamma": lambda: families.Gamma(log()),
        "tweedie": lambda: families.Tweedie(log(), var_power=1.5),
        "negative-binomial": lambda: families.NegativeBinomial(alpha=1.0),
    }[loss]()


def draw(loss: str, offset: bool = False, weighted: bool = False, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N, D)) * [1.0, 2.0, 0.5, 3.0] + [0.0, 5.0, 0.0, -2.0]
    arrays = {"X": X}
    eta = X @ [0.3, -0.2, 0.5, 0.1] + 0.5
    if offset:
        arrays["offset"] = 0.2 * rng.standard_normal(N)
        eta = eta + arrays["offset"]
    if weighted:
        arrays["sample_weight"] = rng.integers(1, 4, N).astype(float)
    mean = np.exp(eta)
    y = {
        "squared": lambda: eta + rng.standard_normal(N),
        "huber": lambda: eta + rng.standard_t(2.0, N),
        "poisson": lambda: rng.poisson(mean),
        "gamma": lambda: rng.gamma(2.0, mean / 2.0),
        "tweedie": lambda: 1.3 * rng.poisson(mean),
        "negative-binomial": lambda: rng.poisson(mean * rng.gamma(1.0, 1.0, N)),
        "softmax": lambda: 3.0 + np.argmax(np.outer(eta, [0.0, 1.0, -1.0]) + rng.gumbel(size=(N, 3)), axis=1),
    }.get(loss, lambda: rng.random(N) < 1.0 / (1.0 + np.exp(-eta)))()
    return {**arrays, "y": y.astype(float)}


def inference(path: Path, loss: str, covariance: Any = "auto", weights: Any = "frequency", **options: Any) -> Inference:
    comm = Comm.world()
    train = Train(path, loss=loss, **{"solver": "lbfgs" if loss == "softmax" else "newton", "tol": 1e-10, **options})
    data = read_data(comm, train)
    return infer(comm, fit(comm, data, train).model, data, train, covariance, weights)


def assert_equal(found: Inference, result: Any, rtol: float = 1e-6) -> None:
    """Every number of a table of coefficients."""
    told = found.uncertainty
    assert told is not None
    assert not found.notes
    order = "F"  # statsmodels' tables of several outputs have them one after the other
    np.testing.assert_allclose(
        found.estimate.ravel(order), np.asarray(result.params).ravel(order), rtol=rtol, atol=1e-9
    )
    np.testing.assert_allclose(told.standard_error.ravel(order), np.asarray(result.bse).ravel(order), rtol=rtol)
    statistic = np.asarray(result.tvalues).ravel(order)
    np.testing.assert_allclose(told.statistic.ravel(order), statistic, rtol=rtol, atol=1e-7)
    np.testing.assert_allclose(told.p_value.ravel(order), np.asarray(result.pvalues).ravel(order), rtol=1e-5)
    intervals = np.asarray(result.conf_int()).reshape(-1, 2)
    np.testing.assert_allclose(told.lower.ravel(order), intervals[:, 0], rtol=rtol, atol=1e-8)
    np.testing.assert_allclose(told.upper.ravel(order), intervals[:, 1], rtol=rtol, atol=1e-8)


def assert_fits(found: Inference, **expected: float) -> None:
    for name, value in expected.items():
        assert found.fit[name] == pytest.approx([value], rel=1e-6), name


def design(arrays: dict[str, np.ndarray], intercept: bool) -> np.ndarray:
    return np.column_stack([arrays["X"], np.ones(N)]) if intercept else arrays["X"]


@pytest.mark.parametrize("loss", LOSSES[1:])
@pytest.mark.parametrize(("intercept", "standardize", "offset", "weighted"), CASES)
def test_generalised_linear_models_equal_statsmodels(
    sm: Any,
    write_data: Callable[..., Path],
    loss: str,
    intercept: bool,
    standardize: bool,
    offset: bool,
    weighted: bool,
) -> None:
    arrays = draw(loss, offset, weighted)
    path, E = write_data(**arrays), design(arrays, intercept)
    given = {"freq_weights": arrays["sample_weight"]} if weighted else {}
    model = sm.GLM(arrays["y"], E, family=family(sm, loss), offset=arrays.get("offset"), **given)
    options = {"intercept": intercept, "standardize": standardize}
    for covariance, kind in (("auto", "nonrobust"), ("HC0", "HC0")):
        found = inference(path, loss, covariance, **options)
        result = model.fit(tol=1e-13, maxiter=300, cov_type=kind)
        assert_equal(found, result)
    assert_fits(
        found,
        deviance=result.deviance,
        pearson_chi2=result.pearson_chi2,
        dispersion=result.scale,
        log_likelihood=result.llf,
        aic=result.aic,
        bic=result.bic_llf,
    )
    if intercept:
        assert_fits(found, null_deviance=result.null_deviance)


@pytest.mark.parametrize(("intercept", "standardize", "offset", "weighted"), CASES)
def test_least_squares_equal_statsmodels(
    sm: Any, write_data: Callable[..., Path], intercept: bool, standardize: bool, offset: bool, weighted: bool
) -> None:
    """Weights that are frequencies are as many rows."""
    arrays = draw("squared", offset, weighted)
    times = arrays.get("sample_weight", np.ones(N)).astype(int)
    y, E = (np.repeat(v, times, axis=0) for v in (arrays["y"] - arrays.get("offset", 0.0), design(arrays, intercept)))
    for covariance, kind in (("auto", "nonrobust"), ("HC0", "HC0"), ("HC1", "HC1")):
        found = inference(write_data(**arrays), "squared", covariance, intercept=intercept, standardize=standardize)
        result = sm.OLS(y, E).fit(cov_type=kind)
        assert_equal(found, result)
        assert found.summary()["test"] == ("t" if covariance == "auto" else "z")
    assert_fits(
        found, deviance=result.ssr, dispersion=result.scale, log_likelihood=result.llf, aic=result.aic, bic=result.bic
    )
    if intercept:
        assert_fits(found, null_deviance=result.centered_tss)


@pytest.mark.parametrize("loss", ["squared", "poisson", "gamma", "tweedie"])
def test_weights_that_are_inverse_variances(sm: Any, write_data: Callable[..., Path], loss: str) -> None:
    arrays = {**draw(loss), "sample_weight": np.random.default_rng(1).random(N) + 0.1}
    path, E, weight = write_data(**arrays), design(arrays, True), arrays["sample_weight"]
    for covariance, kind in (("auto", "nonrobust"), ("HC0", "HC0")):
        found = inference(path, loss, covariance, "variance")
        if loss == "squared":
            result = sm.WLS(arrays["y"], E, weights=weight).fit(cov_type=kind)
        else:
            model = sm.GLM(arrays["y"], E, family=family(sm, loss), var_weights=weight)
            result = model.fit(tol=1e-13, maxiter=300, cov_type=kind)
        assert_equal(found, result)
    bic = result.bic if loss == "squared" else result.bic_llf
    assert_fits(found, dispersion=result.scale, log_likelihood=result.llf, aic=result.aic, bic=bic)


@pytest.mark.parametrize("intercept", [True, False])
def test_softmax_equals_statsmodels(sm: Any, write_data: Callable[..., Path], intercept: bool) -> None:
    arrays = draw("softmax")
    path, model = write_data(**arrays), sm.MNLogit(arrays["y"], design(arrays, intercept))
    for covariance, kind in (("auto", "nonrobust"), ("HC0", "HC0")):
        found = inference(path, "softmax", covariance, intercept=intercept)
        result = model.fit(method="newton", tol=1e-13, disp=0, cov_type=kind)
        assert_equal(found, result)
    assert found.outputs == ("class 4", "class 5")
    assert_fits(found, log_likelihood=result.llf, aic=result.aic, bic=result.bic, deviance=-2.0 * result.llf)
    if intercept:
        assert_fits(found, null_deviance=-2.0 * result.llnull)


def test_hc1_is_larger(sm: Any, write_data: Callable[..., Path]) -> None:
    """Of models that are not linear statsmodels' results take HC1 for HC0; its function does not."""
    white = pytest.importorskip("statsmodels.stats.sandwich_covariance").cov_white_simple
    arrays = draw("poisson")
    found = inference(write_data(**arrays), "poisson", "HC1").uncertainty
    result = sm.GLM(arrays["y"], design(arrays, True), family=sm.families.Poisson()).fit(tol=1e-13)
    assert found is not None
    np.testing.assert_allclose(found.covariance[0], white(result, use_correction=True), rtol=1e-6, atol=1e-9)


def test_rows_of_weight_zero_do_not_count(write_data: Callable[..., Path]) -> None:
    arrays = draw("poisson")
    some = np.arange(N) % 3 > 0
    whole = inference(write_data("whole.h5", **arrays, sample_weight=some.astype(float)), "poisson", "HC1")
    part = inference(write_data("part.h5", **{name: values[some] for name, values in arrays.items()}), "poisson", "HC1")
    assert whole.uncertainty is not None
    assert part.uncertainty is not None
    np.testing.assert_allclose(whole.uncertainty.standard_error, part.uncertainty.standard_error, rtol=1e-7)
    assert whole.summary()["bic"] == pytest.approx(part.summary()["bic"], rel=1e-9)


def test_several_outputs_are_each_for_itself(write_data: Callable[..., Path]) -> None:
    arrays = draw("squared")
    others = np.column_stack([arrays["y"], arrays["X"][:, 0] ** 2])
    together = inference(write_data("two.h5", X=arrays["X"], y=others), "squared", solver="lbfgs")
    assert together.uncertainty is not None
    for k in range(2):
        alone = inference(write_data(f"{k}.h5", X=arrays["X"], y=others[:, k]), "squared", solver="lbfgs")
        assert alone.uncertainty is not None
        error = alone.uncertainty.standard_error[:, 0]
        np.testing.assert_allclose(together.uncertainty.standard_error[:, k], error, rtol=1e-9)
        assert together.fit["aic"][k] == pytest.approx(alone.fit["aic"][0], rel=1e-9)


def test_sparse_rows_as_dense_ones(write_data: Callable[..., Path], write_sparse: Callable[..., Path]) -> None:
    arrays = draw("logistic")
    X, y = np.where(np.abs(arrays["X"]) > 1.0, arrays["X"], 0.0), arrays["y"]
    dense = inference(write_data(X=X, y=y), "logistic", "HC0").uncertainty
    rows = inference(write_sparse(sparse.csr_array(X), y=y), "logistic", "HC0").uncertainty
    assert dense is not None
    assert rows is not None
    np.testing.assert_allclose(rows.covariance, dense.covariance, rtol=1e-7)


def test_m_estimators_have_sandwiches(write_data: Callable[..., Path]) -> None:
    arrays = draw("huber")
    path, E, delta = write_data(**arrays), design(arrays, True), 1.345
    found = inference(path, "huber")
    assert found.uncertainty is not None
    assert found.uncertainty.kind == "HC0"
    residual = E @ found.estimate[:, 0] - arrays["y"]
    bread = np.linalg.inv(E.T @ (E * (np.abs(residual) <= delta)[:, None]))
    covariance = bread @ (E.T @ (E * np.clip(residual, -delta, delta)[:, None] ** 2)) @ bread
    np.testing.assert_allclose(found.uncertainty.covariance[0], covariance, rtol=1e-6)
    assert not found.fit
    assert "no likelihood" in inference(path, "huber", "model").invalid[0]


@pytest.mark.parametrize(
    ("loss", "options", "reason"),
    [
        ("squared", {"l2": 0.1}, r"has a penalty \(--l2 0.1\)"),
        ("squared", {"l1": 0.1, "l2": 0.1, "solver": "auto"}, r"has a penalty \(--l2 0.1, --l1 0.1\)"),
        ("squared", {"lower": 0.0, "solver": "auto"}, "have bounds"),
        ("logistic", {"class_weight": "balanced"}, "weighted by their class"),
    ],
)
def test_what_penalties_and_weights_make_invalid(
    write_data: Callable[..., Path], loss: str, options: dict[str, Any], reason: str
) -> None:
    path = write_data(**draw(loss))
    found = inference(path, loss, **options)
    assert found.uncertainty is None
    (sentence,) = found.invalid
    assert re.search(reason, sentence)
    told = found.summary()
    assert set(told["coefficients"][0]) <= {"name", "estimate", "standardised", "ratio"}
    assert told["deviance"] > 0.0
    assert (told["aic"] is None) == ("class_weight" not in options)


def test_weighted_classes_have_a_sandwich(sm: Any, write_data: Callable[..., Path]) -> None:
    arrays = draw("logistic")
    found = inference(write_data(**arrays), "logistic", "HC0", "variance", class_weight="0=1,1=3")
    weight = np.where(arrays["y"] == 1.0, 3.0, 1.0)
    model = sm.GLM(arrays["y"], design(arrays, True), family=sm.families.Binomial(), var_weights=weight)
    assert_equal(found, model.fit(tol=1e-13, cov_type="HC0"))


@pytest.mark.parametrize("covariance", ["model", "HC0"])
@pytest.mark.parametrize("twin", ["copy", "constant"])
@pytest.mark.parametrize("level", [0.0, 1e4])
@pytest.mark.parametrize("loss", ["logistic", "softmax"])
def test_columns_that_depend_on_others_are_named(
    write_data: Callable[..., Path], covariance: str, twin: str, level: float, loss: str
) -> None:
    arrays = draw(loss)
    X = arrays["X"]
    X[:, :2] += level
    X[:, 2] = 7.0 + level if twin == "constant" else X[:, 0] - 2.0 * X[:, 1]
    found = inference(write_data(**arrays, feature_names=["a", "b", "c", "d"]), loss, covariance, tol=1e-6)
    assert found.uncertainty is None
    assert "column 'c' does not vary" in found.invalid[0]
    assert found.summary()["aic"] is None


def test_more_coefficients_than_rows(write_data: Callable[..., Path]) -> None:
    arrays = {name: values[:D] for name, values in draw("poisson").items()}
    found = inference(write_data(**arrays), "poisson")
    assert "5 coefficients and 4 rows" in found.invalid[0]


def test_a_model_that_is_not_at_the_minimum_is_noted(write_data: Callable[..., Path]) -> None:
    comm, path = Comm.world(), write_data(**draw("poisson"))
    train = Train(path, loss="poisson", solver="newton", tol=1e-10)
    model, other = fit(comm, read_data(comm, train), train).model, write_data("other.h5", **draw("poisson", seed=1))
    assert not infer(comm, model, read_data(comm, train), train).notes
    (note,) = infer(comm, model, read_data(comm, replace(train, data=(other,))), train).notes
    assert "standard errors away" in note


def test_classes_without_an_error_are_noted(write_data: Callable[..., Path]) -> None:
    arrays = draw("logistic")
    (*_, note) = inference(write_data(X=arrays["X"], y=arrays["X"][:, 1] > 5.0), "logistic", tol=1e-6).notes
    assert "told apart" in note


def test_without_scipy_there_is_a_message(write_data: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(likelihood, "import_module", missing)
    with pytest.raises(UsageError, match="pip install 'mpigd"):
        inference(write_data(**draw("squared")), "squared")


def test_the_job_says_it_all(comm: Comm, shared_path: Path) -> None:
    path = load_table("breast_cancer").path
    run(comm, Train(path, loss="logistic", l2=0.01, test_share=0.3, run_dir=shared_path / "run"))
    outcome = explain(comm, Explain(shared_path / "run", path, permutation=2, on="test"))
    assert outcome.summary()["n"] == 398
    text = shown(outcome)
    assert "No standard errors: the fit has a penalty" in text
    assert "permuted (test rows)" in text
    assert "odds ratio" in text

    path = load_table("boston").path
    run(comm, Train(path, run_dir=shared_path / "boston"))
    text = shown(explain(comm, Explain(shared_path / "boston", path)))
    # As in R: summary(lm(medv ~ ., MASS::Boston)).
    (line,) = (line for line in text.splitlines() if line.strip().startswith("LSTAT"))
    assert line.split()[1:4] == ["-0.524758", "0.05072", "-10.347"]
    assert "aic: 3025.6086" in text


@pytest.mark.parametrize("shape", [(D,), (D, 3)])
@pytest.mark.parametrize("given_mean", [False, True])
def test_contributions_make_up_the_predictor(shape: tuple[int, ...], given_mean: bool) -> None:
    rng = np.random.default_rng(0)
    X, coef, intercept = rng.standard_normal((20, D)), rng.standard_normal(shape), rng.standard_normal(shape[1:])
    mean = X.mean(axis=0)
    names = tuple(f"x{j}" for j in range(D))
    model = Model(coef, intercept, RECORDS["squared"], names, np.zeros(0), fit={"mean": mean})
    found, of_mean = contributions(model, X, np.zeros(D) if given_mean else None)
    np.testing.assert_allclose(found.sum(axis=1) + of_mean, X @ coef + intercept, rtol=1e-10, atol=1e-12)
    assert found.shape == (20, *shape)
    if not given_mean:
        np.testing.assert_allclose(found.mean(axis=0), 0.0, atol=1e-12)


def shown(outcome: Any) -> str:
    out = io.StringIO()
    show_explanation(Console(file=out, width=120), outcome)
    return out.getvalue()

"""Ways to store and to compute, end to end: sparse rows, several outputs, float32, part of the rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import mpigd_kernels as kernels
import numpy as np
import pytest
from conftest import load_table
from scipy import linalg, sparse
from sklearn import linear_model

from mpigd.comm import Comm
from mpigd.dataset import read
from mpigd.errors import DataError
from mpigd.metrics import regression
from mpigd.options import Train
from mpigd.predict import linear_predictor
from mpigd.problem import read_data
from mpigd.train import Fit, fit

pytestmark = pytest.mark.mpi


def train(comm: Comm, path: Path, **options: Any) -> Fit:
    chosen = Train(path, **{"solver": "gd", **options})
    return fit(comm, read_data(comm, chosen), chosen)


def random_sparse(dtype: str = "float64", rows: int = 230, columns: int = 12) -> sparse.csr_array:
    """A matrix with empty rows, and with a column of many zeros."""
    rng = np.random.default_rng(0)
    dense = rng.integers(-3, 4, (rows, columns)) * (rng.random((rows, columns)) < 0.3)
    dense[::7] = 0
    return sparse.csr_array(dense.astype(dtype))


@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int8"])
@pytest.mark.parametrize("solver", ["gd", "sgd"])
def test_sparse_rows_are_fitted_like_dense_ones(
    comm: Comm, write_data: Callable[..., Path], write_sparse: Callable[..., Path], solver: str, dtype: str, index: type
) -> None:
    X = random_sparse(dtype)
    X = sparse.csr_array((X.data, X.indices.astype(index), X.indptr), X.shape)
    rng = np.random.default_rng(1)
    y, weight = rng.integers(0, 2, X.shape[0]), rng.random(X.shape[0])
    options = {"loss": "logistic", "l2": 0.1, "solver": solver, "max_passes": 60}
    thin = train(comm, write_sparse(X, y=y, sample_weight=weight), **options)
    full = train(comm, write_data(X=X.toarray(), y=y, sample_weight=weight), **options)
    np.testing.assert_allclose(thin.model.coef, full.model.coef, rtol=1e-9, atol=1e-12)
    assert thin.model.intercept == pytest.approx(full.model.intercept, rel=1e-9)
    data = read(comm, write_sparse(X))
    assert isinstance(data.slice, kernels.SparseSlice)
    eta = linear_predictor(comm, thin.model, data)
    np.testing.assert_allclose(
        eta[:, 0], X[data.start : data.stop] @ thin.model.coef + thin.model.intercept, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.indices.__setitem__(40, 12), r"'X/indices' has 12 at row \d+; there are 12 columns"),
        (lambda m: m.indices.__setitem__(-1, -1), r"'X/indices' has -1 at row \d+; there are 12 columns"),
        (lambda m: m.data.__setitem__(-1, np.nan), r"'X/data' has nan at row \d+; remove or impute it"),
        (lambda m: m.indptr.__setitem__(100, 2**30), r"'X/indptr' does not rise from 0 to \d+"),
        (lambda m: m.indptr.__setitem__(0, 1), r"'X/indptr' does not rise from 0 to \d+"),
        (lambda m: setattr(m, "indptr", m.indptr[:-1]), r"indptr \(230,\); expected .* \(231,\)"),
        (lambda m: setattr(m, "indices", m.indices.astype(float)), r"'X/indices' has type float64; expected integers"),
    ],
)
def test_a_damaged_sparse_matrix_is_refused(
    comm: Comm, write_sparse: Callable[..., Path], change: Callable[[Any], None], message: str
) -> None:
    X = random_sparse()
    change(X)
    with pytest.raises(DataError, match=message) as caught:
        read(comm, write_sparse(X, y=np.zeros(230)))
    assert "sparse.h5" in str(caught.value)
    assert caught.value.agreed


def test_another_encoding_is_refused(comm: Comm, write_sparse: Callable[..., Path]) -> None:
    path = write_sparse(random_sparse())
    if comm.rank == 0:
        with h5py.File(path, "a") as file:
            file["X"].attrs["encoding-type"] = "csc_matrix"
    comm.leave()
    with pytest.raises(DataError, match="encoding-type csc_matrix; expected csr_matrix"):
        read(comm, path)


def test_several_outputs_are_several_fits(comm: Comm, write_data: Callable[..., Path]) -> None:
    rng = np.random.default_rng(2)
    X, noise = rng.standard_normal((150, 4)), rng.standard_normal((150, 3))
    y = X @ rng.standard_normal((4, 3)) + noise
    path = write_data(X=X, y=y)
    fitted = train(comm, path, tol=1e-11, max_passes=10_000)
    exact = linalg.lstsq(np.column_stack([X, np.ones(150)]), y)[0]
    np.testing.assert_allclose(np.vstack([fitted.model.coef, fitted.model.intercept]), exact, rtol=1e-8)
    data = read(comm, path, target="real")
    found = regression(comm, data.y, linear_predictor(comm, fitted.model, data), data.weight)
    peer = linear_model.LinearRegression().fit(X, y)
    assert found["r2"] == pytest.approx(peer.score(X, y), rel=1e-8)


def test_several_outputs_need_a_loss_of_numbers(comm: Comm, write_data: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="dataset 'y' has 2 columns; classes need one"):
        read(comm, write_data(X=np.ones((9, 2)), y=np.ones((9, 2))), target="classes")


def test_float32_arithmetic_is_good_to_its_precision(comm: Comm) -> None:
    table = load_table("breast_cancer")
    options = {"loss": "logistic", "l2": 0.01, "tol": 1e-4}
    double = train(comm, table.path, **options)
    single = train(comm, table.path, arithmetic="float32", **options)
    spread = table.X.std(axis=0)
    np.testing.assert_allclose(single.model.coef * spread, double.model.coef * spread, atol=1e-3)
    assert single.state.value == pytest.approx(double.state.value, rel=1e-5)


def test_part_of_the_rows_gives_the_same_bits_too(comm: Comm) -> None:
    def coefficients(ranks: Comm) -> bytes:
        data = read(ranks, load_table("boston").path, target="real")
        part = data.weighted(data.part_of_rows(0, 0, 5) != 0)
        fitted = fit(ranks, part, replace(Train(Path()), max_passes=30))
        return fitted.model.coef.tobytes()

    assert coefficients(comm) == coefficients(Comm.alone())

"""Rows in memory: the data set that a file with the same rows gives, however ranks have cut them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from mpigd.arrays import from_arrays
from mpigd.comm import Comm
from mpigd.dataset import read
from mpigd.errors import DataError
from mpigd.options import Train
from mpigd.train import fit

N, D = 203, 5  # blocks of 16 rows, the last one shorter


def table(n: int = N) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    X = np.round(rng.standard_normal((n, D)) * (rng.random((n, D)) < 0.6), 3)
    return X, {
        "y": X.sum(axis=1) + rng.standard_normal(n),
        "sample_weight": rng.random(n),
        "offset": rng.standard_normal(n),
    }


def own_rows(comm: Comm, cut: str, n: int = N) -> slice:
    """The rows that a rank passes, in one of several ways to cut them."""
    share = {
        "even": np.ones(comm.size),
        "all on the first": np.arange(comm.size) == 0,
        "all on the last": np.arange(comm.size) == comm.size - 1,
        "ever more": np.arange(comm.size, dtype=float) ** 2 + (comm.size == 1),
        "every other": np.arange(comm.size) % 2 == 0,
    }[cut]
    ends = np.rint(n * np.cumsum([0.0, *share]) / np.sum(share)).astype(int)
    return slice(ends[comm.rank], ends[comm.rank + 1])


CUTS = ("even", "all on the first", "all on the last", "ever more", "every other")
FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "float64": lambda X: X,
    "float32": lambda X: X.astype(np.float32),
    "columns first": np.asfortranarray,
    "every other row of more": lambda X: np.repeat(X, 2, axis=0)[::2],
    "sparse": sparse.csr_array,
}


@pytest.mark.mpi
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("form", ["float64", "sparse"])
def test_any_cut_gives_the_data_set_of_a_file(
    comm: Comm, form: str, cut: str, write_data: Callable[..., Path], write_sparse: Callable[..., Path]
) -> None:
    X, beside = table()
    path = write_sparse(sparse.csr_array(X), **beside) if form == "sparse" else write_data(X=X, **beside)
    of_file = read(comm, path, target="real")
    some = own_rows(comm, cut)
    data = from_arrays(comm, FORMS[form](X)[some], **{name: values[some] for name, values in beside.items()})
    assert data.fingerprint(comm) == of_file.fingerprint(comm)
    assert comm.sum(np.array([data.rows]))[0] == N
    options = Train(data=(), l2=0.1)
    assert fit(comm, data, options).model.fingerprint == fit(comm, of_file, options).model.fingerprint


@pytest.mark.parametrize("form", FORMS)
def test_memory_may_be_laid_out_in_any_way(comm: Comm, form: str) -> None:
    X, beside = table()
    model = fit(comm, from_arrays(comm, FORMS[form](X), **beside), Train(data=())).model
    expected = np.linalg.lstsq(
        np.sqrt(beside["sample_weight"])[:, None] * np.column_stack([X, np.ones(N)]),
        np.sqrt(beside["sample_weight"]) * (beside["y"] - beside["offset"]),
    )[0]
    np.testing.assert_allclose([*model.coef, model.intercept], expected, rtol=0, atol=1e-7)


@pytest.mark.mpi
def test_a_rank_without_rows_does_not_set_the_type(comm: Comm) -> None:
    X, beside = table()
    some = own_rows(comm, "all on the last")
    mine = X[some].astype(np.float32 if some.start < some.stop else np.float64)
    assert from_arrays(comm, mine, beside["y"][some]).header.dtype == np.float32


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda own: own.update(X=own["X"][:, :2]), "columns of X"),
        (lambda own: own.update(y=own["y"][:, None].repeat(2, axis=1)), "columns of y"),
        (lambda own: own.update(sample_weight=None), "arrays beside X"),
        (lambda own: own.update(X=sparse.csr_array(own["X"])), "X: sparse on rank"),
        (lambda own: own.update(feature_names=list("edcba")), "feature names"),
    ],
)
def test_ranks_have_to_pass_the_same_kinds(comm: Comm, change: Callable[[dict[str, Any]], None], message: str) -> None:
    X, beside = table()
    some = own_rows(comm, "even")
    own: dict[str, Any] = {"X": X[some], "feature_names": list("abcde")}
    own.update((name, values[some]) for name, values in beside.items())
    if comm.rank == comm.size - 1 > 0:
        change(own)
    if comm.size > 1:
        with pytest.raises(DataError, match=message):
            from_arrays(comm, **own)
    else:
        from_arrays(comm, **own)


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda own: own.update(y=own["y"][:-1]), "'y' has shape"),
        (lambda own: own.update(X=own["X"].astype(complex)), "complex"),
        (lambda own: own["X"].__setitem__((0, 1), np.nan), "has nan at row"),
        (lambda own: own["sample_weight"].__setitem__(1, -1.0), "is negative"),
    ],
)
def test_what_one_rank_alone_finds_all_raise(
    comm: Comm, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    X, beside = table()
    some = own_rows(comm, "even")
    own: dict[str, Any] = {"X": X[some].copy(), **{name: values[some].copy() for name, values in beside.items()}}
    if comm.rank == comm.size - 1:
        change(own)
    with pytest.raises(DataError, match=message):
        from_arrays(comm, **own)


@pytest.mark.mpi
def test_no_rows_at_all_are_an_error(comm: Comm) -> None:
    with pytest.raises(DataError, match="nothing to fit"):
        from_arrays(comm, np.zeros((0, 3)), np.zeros(0))

"""Rows that no rank has any more are taken over, and nothing changes by it. Deaths themselves are in test_failures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from mpigd import dataset
from mpigd.comm import Comm
from mpigd.options import Train
from mpigd.problem import read_split, take_over_split
from mpigd.train import Training

pytestmark = pytest.mark.mpi
ROWS, COLUMNS = 3000, 6


@pytest.fixture(params=["dense", "sparse"])
def path(request: pytest.FixtureRequest, write_data: Callable[..., Path], write_sparse: Callable[..., Path]) -> Path:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((ROWS, COLUMNS)) * (rng.random((ROWS, COLUMNS)) < 0.6)
    y = (X @ np.arange(1.0, COLUMNS + 1.0) + rng.standard_normal(ROWS) > 0.0).astype(float)
    weight = rng.integers(1, 4, ROWS).astype(float)
    if request.param == "dense":
        return write_data(X=X, y=y, sample_weight=weight)
    return write_sparse(sparse.csr_array(X), y=y, sample_weight=weight)


def fitted(comm: Comm, options: Train, split: Any) -> tuple[str, str, dict[str, Any]]:
    training = Training(comm, options, (), None, None)
    training.split = split
    fit = training.go_on()
    return fit.model.fingerprint, fit.data_fingerprint, fit.scores


@pytest.mark.parametrize(
    "more",
    [
        {"solver": "lbfgs"},
        {"solver": "newton-cg", "test_share": 0.3, "stratify": True},
        {"solver": "sgd", "max_passes": 6, "batch_size": 100},
        {"solver": "saga", "max_passes": 6, "batch_size": 300},
        {"solver": "gd", "max_passes": 20, "memory": "4GiB"},
        {"solver": "adam", "max_passes": 40, "validation_share": 0.2, "patience": 3},
        {"solver": "nesterov", "l1": 1e-2, "max_passes": 40, "validation_share": 0.2},
    ],
    ids=lambda more: more["solver"],
)
@pytest.mark.parametrize("has_read", ["all", "some"])
def test_bits_are_those_of_a_fit_that_was_not_disturbed(
    comm: Comm, path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], has_read: str
) -> None:
    options = Train((path,), loss="logistic", l2=1e-3, tol=0.0, **{"max_passes": 30, **more})
    wanted = fitted(comm, options, read_split(comm, options))
    whole = dataset.slice_rows

    def less(reader: Any, size: int, rank: int) -> tuple[int, int]:
        """As if there had been two more ranks, amid these, that have died."""
        return whole(reader, size + 2, rank if rank < size // 2 else rank + 2)

    monkeypatch.setattr(dataset, "slice_rows", less)
    some = read_split(comm, options)
    assert comm.sum(np.array([some.data.rows]))[0] < ROWS
    late = has_read == "some" and comm.rank == comm.size - 1 and comm.size > 1  # had read nothing when others died
    split = take_over_split(comm, options, None if late else some)
    assert comm.sum(np.array([split.data.rows]))[0] == ROWS
    assert split.data.streams == ("memory" in more)
    assert fitted(comm, options, split) == wanted

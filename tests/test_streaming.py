"""Rows that are read anew for every pass: what can go wrong on the way. That bits are the same is in test_bits."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fits
import numpy as np
import pytest
from scipy import sparse

from mpigd import dataset
from mpigd.comm import Comm
from mpigd.errors import DataError, OutputError, UsageError
from mpigd.options import Train, parse_bytes
from mpigd.problem import make_objective, make_solver, read_data
from mpigd.streaming import ahead
from mpigd.train import fit

pytestmark = pytest.mark.mpi
ROWS = 4000


@pytest.fixture(autouse=True)
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "room_for_rows", fits.cramped)


@pytest.fixture
def path(write_data: Callable[..., Path]) -> Path:
    rng = np.random.default_rng(0)
    return write_data(X=rng.standard_normal((ROWS, 5)), y=rng.standard_normal(ROWS))


def options(path: Path, **others: Any) -> Train:
    return Train((path,), **{"memory": "1GiB", "solver": "lbfgs", **others})


def test_only_what_does_not_fit_is_read_again(comm: Comm, path: Path) -> None:
    rows = read_data(comm, options(path)).slice
    assert rows.streams
    parts = list(rows.in_memory())
    assert sum(own.n for _, _, own in parts) == rows.n
    assert max(own.n for _, _, own in parts) <= 6 * rows.block
    some = rows.columns_only(np.array([1, 3]))
    assert some.d == 2
    whole = read_data(comm, Train((path,), solver="lbfgs")).slice
    coef = np.arange(5.0)[:, None]
    np.testing.assert_array_equal(rows.linear_predictor(coef, np.ones(1)), whole.linear_predictor(coef, np.ones(1)))
    np.testing.assert_array_equal(
        some.linear_predictor(coef[[1, 3]], np.ones(1)),
        whole.columns_only(np.array([1, 3])).linear_predictor(coef[[1, 3]], np.ones(1)),
    )


def test_a_file_that_is_cut_short_meanwhile_is_one_error_on_all_ranks(comm: Comm, path: Path) -> None:
    chosen = options(path)
    data = read_data(comm, chosen)
    if comm.rank == 0:
        os.truncate(path, path.stat().st_size // 3)
    comm.leave()
    with pytest.raises(
        DataError,
        match=r"data\.h5: (dataset 'X', rows \d+ to \d+ can't be read: .* too early|has changed while it was read)",
    ) as caught:
        fit(comm, data, chosen)
    assert caught.value.agreed


def test_a_directory_that_can_not_be_written_is_named(comm: Comm, path: Path) -> None:
    with pytest.raises(OutputError, match="/nowhere: --scratch: can't be written"):
        read_data(comm, options(path, scratch=Path("/nowhere")))


def test_mini_batches_of_chunks_need_a_copy(comm: Comm, write_data: Callable[..., Path], shared_path: Path) -> None:
    import h5py

    rng = np.random.default_rng(0)
    if comm.rank == 0:
        with h5py.File(shared_path / "chunks.h5", "w") as file:
            file.create_dataset("X", data=rng.standard_normal((ROWS, 5)), chunks=(50, 5), compression="gzip")
            file["y"] = rng.standard_normal(ROWS)
    comm.leave()
    chosen = options(shared_path / "chunks.h5", solver="sgd")
    with pytest.raises(UsageError, match="give --scratch"):
        make_solver(chosen, read_data(comm, chosen))
    copied = options(shared_path / "chunks.h5", solver="sgd", scratch=shared_path)
    assert make_solver(copied, read_data(comm, copied))[1] == "sgd"


def test_nothing_is_left_of_a_copy(comm: Comm, path: Path, shared_path: Path) -> None:
    before = set(shared_path.iterdir())
    data = read_data(comm, options(path, scratch=shared_path))
    assert set(shared_path.iterdir()) == before
    assert data.slice.streams


def test_a_pass_that_fails_on_a_rank_fails_on_all(comm: Comm, path: Path) -> None:
    chosen = options(path)
    objective = make_objective(comm, read_data(comm, chosen), chosen)
    if comm.rank == 0:
        os.truncate(path, path.stat().st_size // 3)
    comm.leave()
    with pytest.raises(DataError, match=r"too early|has changed while it was read") as caught:
        objective.value_and_gradient(np.zeros(objective.shape))
    assert caught.value.agreed


@pytest.mark.parametrize("scratch", [False, True])
def test_sparse_rows_are_gathered_from_where_they_are(
    comm: Comm, write_sparse: Callable[..., Path], shared_path: Path, scratch: bool
) -> None:
    rows = sparse.random_array((ROWS, 9), density=0.3, format="csr", rng=0)
    path = write_sparse(rows, y=np.arange(ROWS) % 7)
    own = read_data(comm, options(path, solver="sgd", scratch=shared_path if scratch else None))
    whole = read_data(comm, Train((path,), solver="sgd"))
    picked = np.arange(3, own.rows, 17)
    coef = np.arange(9.0)[:, None]
    np.testing.assert_array_equal(
        own.slice.gather(picked).linear_predictor(coef, np.zeros(1)),
        whole.slice.gather(picked).linear_predictor(coef, np.zeros(1)),
    )


def test_little_memory_is_said_with_what_is_needed(comm: Comm, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with pytest.raises(
        DataError, match=r"--memory 10 MiB is too little: besides X, \d+ rows of 5 columns need"
    ) as caught:
        read_data(comm, options(path, memory="10MiB"))
    assert caught.value.agreed


@pytest.mark.parametrize(
    ("text", "count"), [("17", 17), ("2GiB", 2 << 30), ("1.5 MB", 3 << 19), ("4k", 4096), ("1TiB", 1 << 40)]
)
def test_sizes_in_words(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "GiB", "2 XB", "-1", "1e3"])
def test_other_words_are_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="expected a number of bytes"):
        parse_bytes(text)


def test_what_is_loaded_ahead_comes_in_order_and_fails_in_its_turn() -> None:
    def load(k: int) -> int:
        if k == 3:
            raise ValueError("three")
        return k

    assert list(ahead(load, 3)) == [0, 1, 2]
    assert list(ahead(load, 0)) == []
    found = ahead(load, 5)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(found)

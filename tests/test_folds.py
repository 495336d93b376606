"""Folds of cross-validation, against their definitions and scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import load_table
from sklearn.model_selection import GroupKFold, TimeSeriesSplit

from mpigd.comm import Comm
from mpigd.errors import DataError
from mpigd.folds import NONE, Folds, folds_of
from mpigd.options import Tune
from mpigd.problem import read_split
from mpigd.splits import TRAIN

pytestmark = pytest.mark.mpi
ROWS = 1203


def folds(comm: Comm, path: Path, **options: Any) -> tuple[np.ndarray, Folds]:
    """Fold numbers of all rows, on every rank, and the folds of this one."""
    chosen = Tune((path,), **options)
    split = read_split(comm, chosen)
    found = folds_of(comm, split.part(TRAIN), chosen)
    return np.concatenate(comm.gather(found.number)), found


@pytest.fixture
def path(write_data: Callable[..., Path]) -> Path:
    rng = np.random.default_rng(0)
    return write_data(
        X=rng.standard_normal((ROWS, 2)),
        y=(rng.random(ROWS) < 0.1).astype(float),
        who=rng.geometric(0.03, ROWS) - 5,
        part=np.arange(ROWS) % 4 - 1,
        text=np.arange(ROWS) + 0.5,
    )


def test_plain_folds_are_even_and_drawn(comm: Comm, path: Path) -> None:
    number, found = folds(comm, path, folds=5)
    counts = np.bincount(number)
    assert (counts.min(), counts.max(), len(counts)) == (240, 241, 5)
    assert abs(np.corrcoef(number[:-1], number[1:])[0, 1]) < 0.1
    assert not np.array_equal(number, folds(comm, path, folds=5, seed=1)[0])
    np.testing.assert_array_equal(number, folds(Comm.alone(), path, folds=5)[0])
    for k in range(5):
        np.testing.assert_array_equal(found.held_out(k), found.number == k)
        np.testing.assert_array_equal(found.train(k), found.number != k)


def test_stratified_folds_have_their_share_of_each_class(comm: Comm, path: Path) -> None:
    import h5py

    number, _ = folds(comm, path, loss="logistic", fold_kind="stratified", folds=7)
    with h5py.File(path) as file:
        y = file["y"][:]
    for label in (0.0, 1.0):
        counts = np.bincount(number[y == label], minlength=7)
        assert counts.max() - counts.min() <= 1
    counts = np.bincount(number)
    assert counts.max() - counts.min() <= 1


def test_groups_stay_together_as_in_scikit_learn(comm: Comm, path: Path) -> None:
    import h5py

    number, _ = folds(comm, path, fold_kind="grouped", fold_by="who", folds=4)
    with h5py.File(path) as file:
        who = file["who"][:]
    for each in np.unique(who):
        assert len(set(number[who == each])) == 1
    theirs = sorted(len(held) for _, held in GroupKFold(4).split(np.zeros((ROWS, 1)), groups=who))
    assert sorted(np.bincount(number)) == theirs


@pytest.mark.parametrize("count", [2, 5, 8])
def test_folds_in_time_are_those_of_scikit_learn(comm: Comm, path: Path, count: int) -> None:
    number, _ = folds(comm, path, fold_kind="time", folds=count)
    whole = Folds(number, count, in_time=True)
    for k, (train, held) in enumerate(TimeSeriesSplit(count).split(np.zeros((ROWS, 1)))):
        np.testing.assert_array_equal(np.flatnonzero(whole.train(k)), train)
        np.testing.assert_array_equal(np.flatnonzero(whole.held_out(k)), held)


def test_given_folds(comm: Comm, path: Path) -> None:
    number, found = folds(comm, path, fold_kind="given", fold_by="part")
    np.testing.assert_array_equal(number, np.where(np.arange(ROWS) % 4 == 0, NONE, np.arange(ROWS) % 4 - 1))
    assert found.count == 3
    assert not (found.train(0) & (found.number == NONE)).any()


@pytest.mark.parametrize("kind", ["plain", "time"])
def test_rows_to_test_are_in_no_fold(comm: Comm, path: Path, kind: str) -> None:
    number, _ = folds(comm, path, test_share=0.2, folds=3, fold_kind=kind)
    assert np.count_nonzero(number == NONE) == round(0.2 * ROWS)
    counts = np.bincount(number[number != NONE])
    if kind == "plain":
        assert counts.max() - counts.min() <= 1
    else:
        assert len(counts) == 4
        assert (np.diff(number[number != NONE]) >= 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fold_kind": "stratified"}, "--fold-kind stratified needs classes"),
        ({"fold_kind": "given", "fold_by": "text"}, "'text' is not a whole number at row 0"),
        ({"fold_kind": "given", "fold_by": "who"}, "folds must be numbered"),
        ({"fold_kind": "grouped", "fold_by": "part", "folds": 5}, "'part' has 4 group"),
        ({"fold_kind": "grouped", "fold_by": "none"}, "no dataset 'none'"),
        ({"folds": 2000}, "there are 1203 rows to train only"),
    ],
)
def test_what_data_can_not_give_is_said_once(comm: Comm, path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        folds(comm, path, **options)
    assert caught.value.agreed


def test_shipped_data(comm: Comm) -> None:
    number, _ = folds(comm, load_table("boston").path, folds=10)
    assert sorted(np.bincount(number)) == [50] * 4 + [51] * 6

"""Folds of cross-validation: which rows each fit is made on, and which it is scored on.

A function of the data, the seed and what is asked for, whatever the ranks (M. Stone, "Cross-validatory choice and
assessment of statistical predictions", J. R. Stat. Soc. B 36, 1974).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from mpigd.comm import Comm
from mpigd.dataset import Dataset
from mpigd.errors import DataError, same_everywhere
from mpigd.options import Tune
from mpigd.splits import EPOCH, MOST_STRATA, before_runs, by_run, numbers_of, places_by_stratum

NONE = -1  # the number of rows that are in no fold
MOST_GROUPS = 10_000_000


@dataclass(frozen=True)
class Folds:
    """Numbers of the rows of a slice, (rows,) int64, NONE for those that are in no fold; and how many folds there are.

    Fold k is scored on rows of number k. It is fitted on all others, or, of rows ordered in time, on those before,
    whose numbers begin at 0 while folds begin at 1.
    """

    number: np.ndarray
    count: int
    in_time: bool = False

    def train(self, fold: int) -> np.ndarray:
        """Which rows fold 0 … count - 1 is fitted on, (rows,) bool."""
        others = self.number <= fold if self.in_time else self.number != fold
        train: np.ndarray = (self.number != NONE) & others
        return train

    def held_out(self, fold: int) -> np.ndarray:
        """Which rows it is scored on, (rows,) bool."""
        held: np.ndarray = self.number == (fold + 1 if self.in_time else fold)
        return held


def folds_of(comm: Comm, rows: Dataset, options: Tune) -> Folds:
    """The folds of the rows of positive weight. A collective; DataError on all ranks where they can't be had."""
    there, count = rows.weight > 0.0, options.folds
    total = int(comm.sum(np.array([np.count_nonzero(there)]))[0])
    if total < count + (options.fold_kind == "time"):
        raise same_everywhere(DataError(f"{rows.header.label}: --folds {count}: there are {total} rows to train only"))
    if options.fold_kind == "time":
        # As even as can be, the first one the largest.
        size = total // (count + 1)
        number = np.maximum((ordinals(comm, rows, there) - total) // size + count + 1, 0)
    elif options.fold_kind in ("grouped", "given"):
        assert options.fold_by is not None
        whole = numbers_of(
            comm, rows, options.fold_by, lambda values: values != np.floor(values), "is not a whole number"
        )
        if options.fold_kind == "given":
            return _given(comm, rows, options.fold_by, whole, there)
        number = _grouped(comm, rows, options.fold_by, whole, there, count)
    else:
        stratify = options.fold_kind == "stratified"
        classes = len(rows.classes) if stratify else 1
        if stratify and not 0 < classes <= MOST_STRATA:
            wrong = f"{rows.header.label}: --fold-kind stratified needs classes, at most {MOST_STRATA} of them"
            raise same_everywhere(DataError(wrong))
        stratum = np.where(there, rows.y[:, 0].astype(np.int64) if stratify else 0, classes)
        counts = comm.sum(np.bincount(stratum, minlength=classes + 1))
        before = np.concatenate([[0], np.cumsum(counts)[:-1]])  # so that what is left over of classes evens out
        place = places_by_stratum(comm, rows, options.seed, EPOCH + 2, stratum, classes + 1)
        number = (place + before[stratum]) % count
    return Folds(np.where(there, number, NONE), count, options.fold_kind == "time")


def ordinals(comm: Comm, rows: Dataset, there: np.ndarray) -> np.ndarray:
    """How many of the rows that are `there` (rows,) bool come before each, on all ranks, (rows,). A collective."""
    own = by_run(rows, there.astype(np.int64))
    before = before_runs(comm, rows, [some.sum(keepdims=True) for some in own])
    return np.concatenate([first + np.cumsum(some) - some for first, some in zip(before, own, strict=True)])


def _given(comm: Comm, rows: Dataset, name: str, whole: np.ndarray, there: np.ndarray) -> Folds:
    """Folds that a dataset names by their numbers from 0 on; a negative number is no fold."""
    there = there & (whole >= 0)
    count = int(comm.max(np.array([whole[there].max(initial=-1.0)]))[0]) + 1
    of_each = comm.sum(np.bincount(whole[there].astype(np.int64), minlength=count)) if count <= MOST_STRATA else None
    if of_each is None or count < 2 or not of_each.all():
        raise same_everywhere(
            DataError(
                f"{rows.header.label}: dataset '{name}': folds must be numbered 0, 1, … without a gap, at least two "
                f"and at most {MOST_STRATA} of them"
            )
        )
    return Folds(np.where(there, whole, NONE).astype(np.int64), count)


def _grouped(comm: Comm, rows: Dataset, name: str, whole: np.ndarray, there: np.ndarray, count: int) -> np.ndarray:
    """Fold of each row, so that rows of a group have the same: the largest group goes where fewest rows are so far."""
    own, sizes = np.unique(whole[there], return_counts=True)
    if int(comm.max(np.array([len(own)]))[0]) > MOST_GROUPS:
        raise same_everywhere(DataError(f"{rows.header.label}: dataset '{name}' has more than {MOST_GROUPS} groups"))
    every = comm.gather((own, sizes))
    groups, place = np.unique(np.concatenate([values for values, _ in every]), return_inverse=True)
    if len(groups) < count:
        raise same_everywhere(
            DataError(f"{rows.header.label}: --folds {count}: dataset '{name}' has {len(groups)} group(s) only")
        )
    size = np.bincount(place, np.concatenate([counts for _, counts in every]), len(groups)).astype(np.int64)
    fold = np.empty(len(groups), np.int64)
    least = [(0, k) for k in range(count)]
    for group in np.argsort(-size, kind="stable").tolist():
        taken, k = heapq.heappop(least)
        fold[group] = k
        heapq.heappush(least, (taken + int(size[group]), k))
    number = np.minimum(np.searchsorted(groups, whole), len(groups) - 1)
    result: np.ndarray = fold[number]
    return result

"""Rows to train, to validate and to test: by share, by a dataset, or by file, without copying any.

Which rows are in a share is drawn by counter (see `mpigd.sampling`), a function of the seed and the rows, whatever the
ranks. Every block gives its even part, and of every class where that is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from operator import itemgetter

import numpy as np

from mpigd.columns import refuse
from mpigd.comm import Comm
from mpigd.dataset import Dataset
from mpigd.errors import DataError, same_everywhere
from mpigd.reader import Reader
from mpigd.sampling import places

TRAIN, VALIDATION, TEST = 0, 1, 2
NAMES = ("train", "validation", "test")
FINEST = 1_000_000  # denominator of a share
EPOCH = 2**32  # of the draw: none that a fit deals its mini-batches in
MOST_STRATA = 1000


@dataclass(frozen=True)
class Split:
    """A slice, and what each of its rows is for: roles (rows,) int8, or None where all are to train.

    factor : (rows,) of the weights of those to train; None for ones.
    """

    data: Dataset
    roles: np.ndarray | None = None
    factor: np.ndarray | None = None

    def part(self, role: int) -> Dataset:
        """The rows of one role; of the others the weight is zero."""
        return self.data if self.roles is None else self.data.weighted(self.roles == role)

    @property
    def train(self) -> Dataset:
        """The rows to train."""
        rows = self.part(TRAIN)
        return rows if self.factor is None else rows.weighted(self.factor)

    def counts(self, comm: Comm) -> np.ndarray:
        """Rows of each role over all ranks, (3,) int64. A collective."""
        roles = np.zeros(self.data.rows, np.int8) if self.roles is None else self.roles
        return comm.sum(np.bincount(roles, minlength=len(NAMES)))

    def roles_with_rows(self, comm: Comm) -> dict[str, int]:
        """Roles beside training that have rows, by name. A collective."""
        if self.roles is None:
            return {}
        counts = self.counts(comm)
        return {NAMES[role]: role for role in (VALIDATION, TEST) if counts[role]}

    def most_held_out(self, comm: Comm) -> tuple[str, Dataset]:
        """The rows to test, without such those to validate, or to train; and what they are called. A collective."""
        name, role = list({NAMES[TRAIN]: TRAIN, **self.roles_with_rows(comm)}.items())[-1]
        return name, self.part(role)


def by_file(data: Dataset, counts: Sequence[int]) -> np.ndarray:
    """Roles of files: so many of the first are to train, then to validate, then to test. Not a collective."""
    kinds = np.repeat(np.arange(3, dtype=np.int8), counts)
    rows = [(file.start, kind) for file, kind in zip(data.header.files, kinds, strict=True)]
    starts = np.array([start for start, _ in rows])
    return kinds[np.searchsorted(starts, data.numbers, side="right") - 1]


def by_dataset(comm: Comm, data: Dataset, name: str) -> np.ndarray:
    """Roles that a dataset (n,) gives: 0 to train, 1 to validate, 2 to test. A collective."""

    def bad(values: np.ndarray) -> np.ndarray:
        return np.logical_not(np.isin(values, (TRAIN, VALIDATION, TEST)))

    return numbers_of(comm, data, name, bad, "is not 0 (train), 1 (validation) or 2 (test)").astype(np.int8)


def numbers_of(comm: Comm, data: Dataset, name: str, bad: Callable[[np.ndarray], np.ndarray], what: str) -> np.ndarray:
    """A dataset (n,) beside X, of the rows that are here, (rows,) float64. A collective.

    bad : which of some values (m, 1) can't be; what : is then said of the first one, in a DataError on all ranks.
    """
    with comm.agreement(), Reader(data.header) as reader:
        found = []
        for start, stop in data.runs:
            values = reader.rows(name, start, stop, np.float64).reshape(stop - start, -1)
            refuse(bad(values), data.header, name, start, what)
            found.append(values[:, 0])
    return np.concatenate(found)


def by_share(
    comm: Comm, data: Dataset, seed: int, validation: float, test: float, stratify: bool = False
) -> np.ndarray:
    """Roles drawn at random: of n rows, or of those of each class, round(n share). A collective."""
    strata = data.y[:, 0].astype(np.int64) if stratify else np.zeros(data.rows, np.int64)
    count = max(len(data.classes), 1) if stratify else 1
    if stratify and (not len(data.classes) or count > MOST_STRATA):
        wrong = (
            f"{data.header.label}: --stratify needs classes, at most {MOST_STRATA} of them; leave it out where y is "
            "a number"
        )
        raise same_everywhere(DataError(wrong))
    place = places_by_stratum(comm, data, seed, EPOCH, strata, count)
    of_test, of_both = (Fraction(share).limit_denominator(FINEST) for share in (test, test + validation))
    held, number = drawn(place, of_both)
    roles = np.zeros(data.rows, np.int8)
    roles[held] = VALIDATION
    if of_test:
        tested, _ = drawn(number[held], of_test / of_both)
        roles[np.flatnonzero(held)[tested]] = TEST
    return roles


def places_by_stratum(comm: Comm, data: Dataset, seed: int, epoch: int, strata: np.ndarray, count: int) -> np.ndarray:
    """The place of each row, (rows,) int64, among those of its stratum in all files, in an order drawn at random.

    strata : (rows,) int64, from 0 to count - 1. A collective.
    """
    of_runs = by_run(data, places(seed, epoch, data.blocks, data.header.block, data.rows))
    place = np.empty(data.rows, np.int64)
    before = before_runs(comm, data, [np.bincount(strata[some], minlength=count) for some in of_runs])
    for first, some in zip(before, of_runs, strict=True):
        for stratum in range(count):
            members = some[strata[some] == stratum]
            place[members] = first[stratum] + np.arange(len(members))
    return place


def by_run(data: Dataset, values: np.ndarray) -> list[np.ndarray]:
    """Values (rows,) of each run of rows of this rank."""
    return np.split(values, np.cumsum([stop - start for start, stop in data.runs])[:-1])


def before_runs(comm: Comm, data: Dataset, counts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What is counted (m,) int64 in all runs before each of this rank, on whatever rank they are. A collective.

    counts : of each run of this rank.
    """
    before, total = {}, np.zeros_like(counts[0])
    every = chain.from_iterable(comm.gather(list(zip(data.runs, counts, strict=True))))
    for run, some in sorted(every, key=itemgetter(0)):
        before[run], total = total, total + some
    return [before[run] for run in data.runs]


def drawn(place: np.ndarray, share: Fraction) -> tuple[np.ndarray, np.ndarray]:
    """Which places are in a share, so that round(n share) of the first n are, and how many before each are."""
    top, bottom = 2 * share.numerator, 2 * share.denominator
    before = (place * top + share.denominator) // bottom
    return ((place + 1) * top + share.denominator) // bottom > before, before


def check_roles(comm: Comm, split: Split, wanted: tuple[str, ...]) -> None:
    """Raise DataError on all ranks where a role that is wanted has no rows."""
    if split.roles is None:
        return
    counts = split.counts(comm)
    for name in wanted:
        if not counts[NAMES.index(name)]:
            raise same_everywhere(DataError(f"{split.data.header.label}: no row is left for {name}"))

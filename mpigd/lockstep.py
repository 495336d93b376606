"""Several fits at once, so that each read of the rows, and each sum over ranks, serves all of them.

Each fit runs in a coroutine (a greenlet) as if it were alone. Where it wants something computed of its rows or summed
over ranks it waits until all fits that are under way want something; then the rows are read once, a part after the
other, and from each part comes what every fit wants of it. Fits whose rows and losses are the same, at different
coefficients, are columns of one product of matrices. What is to be summed over ranks goes in one message.

Fits are functions of what all ranks hold alike, so that on all ranks the same fits wait for the same at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar, cast

import mpigd_kernels as kernels
import numpy as np
from greenlet import getcurrent, greenlet
from mpigd_kernels import exact

from mpigd.comm import NOTHING, Comm
from mpigd.dataset import Dataset
from mpigd.parted import PartedSlice

T = TypeVar("T")
MOST_COLUMNS = 64  # of coefficients that a part of the rows meets at once
FEW = 0.5  # share of rows with weight below which these are gathered first, where several columns meet them


@dataclass(frozen=True, eq=False)
class Work:
    """Something to be computed of rows: a function of a part of them, and its first and last tile, to accumulators.

    at, shifts : where it is a value, or value and gradient, of a loss: what fits can be columns for.
    key : works of the same rows with the same key are one; None for one of its own.
    """

    rows: JointSlice
    each: Callable[[kernels.Slice, int, int], np.ndarray]
    at: kernels.At | None = None
    shifts: np.ndarray | None = None
    gradient: bool = True
    key: tuple[Any, ...] | None = None

    @property
    def joins(self) -> bool:
        """Whether it can be some columns of several."""
        one = self.rows.weight.shape[1] == 1 and self.rows.y.shape[1] == 1
        return self.at is not None and not self.at.loss.coupled and one


class Sum(NamedTuple):
    """Accumulators to be summed over ranks, as for `Comm.sum_exactly`."""

    total: np.ndarray
    kind: str
    alike: np.ndarray
    exactly: bool


class Lockstep:
    """Runs fits on one dataset, and on what differs from it in weights, classes and offsets alone."""

    def __init__(self, comm: Comm, data: Dataset) -> None:
        self._comm, self._base, self._streams = comm, data.slice, data.streams
        self.comm = cast("Comm", _JointComm(comm, self))

    def joint(self, data: Dataset) -> Dataset:
        """A dataset of the same rows as fits are to be given it."""
        fields = {name: getattr(data.slice, name) for name in ("n", "block", "y", "weight", "offset", "computing")}
        return replace(data, slice=JointSlice(**fields, base=self._base, lockstep=self), streams=False)

    def run(self, fits: Sequence[Callable[[], T]]) -> list[T]:
        """What functions return that all run in lockstep. A collective; an error of one is an error of all."""
        coroutines = [greenlet(fit) for fit in fits]
        found: dict[int, T] = {}
        waiting: dict[int, Work | Sum] = {}
        answers: dict[int, tuple[Any, ...]] = dict.fromkeys(range(len(fits)), ())
        while answers:
            for number, answer in answers.items():
                reached = coroutines[number].switch(*answer)
                if coroutines[number].dead:
                    found[number] = reached
                else:
                    waiting[number] = reached
            # Sums wait for all that is still to be computed, so that they are as few as can be.
            works = {number: asked for number, asked in waiting.items() if isinstance(asked, Work)}
            sums = {number: asked for number, asked in waiting.items() if isinstance(asked, Sum)}
            answers = self._computed(works) if works else self._summed(sums)
            for number in answers:
                del waiting[number]
        return [found[number] for number in range(len(fits))]

    def ask(self, asked: Work | Sum) -> np.ndarray:
        """What a fit asks for; at once where none runs."""
        hub = getcurrent().parent
        if hub is not None:
            answer: np.ndarray = hub.switch(asked)
            return answer
        answers = self._computed({0: asked}) if isinstance(asked, Work) else self._summed({0: asked})
        return answers[0][0]

    def _computed(self, works: dict[int, Work]) -> dict[int, tuple[np.ndarray]]:
        """Accumulators of works, in one read of the rows. A collective where that may fail."""
        shared = _shared(works)
        groups = list(_groups(shared))
        totals: list[np.ndarray | None] = [None] * len(groups)
        with self._comm.agreement() if self._streams else nullcontext():
            for first, last, part in _parts_of(self._base):
                for place, group in enumerate(groups):
                    one = group.evaluate(part, first, last)
                    total = totals[place]
                    if total is None:
                        totals[place] = one
                    else:
                        exact.merge(one, total)
        answers: dict[int, tuple[np.ndarray]] = {}
        for group, total in zip(groups, totals, strict=True):
            assert total is not None
            for work, own in zip(group.works, group.split(total), strict=True):
                for number in shared[work]:
                    answers[number] = (own if number == shared[work][0] else own.copy(),)
        return {number: answers[number] for number in works}

    def _summed(self, sums: dict[int, Sum]) -> dict[int, tuple[np.ndarray]]:
        """Sums over ranks, in one message."""
        if not sums:
            return {}
        total = np.concatenate([each.total for each in sums.values()], axis=1)
        alike = np.concatenate([each.alike.reshape(-1) for each in sums.values()])
        if next(iter(sums.values())).exactly:
            kind = " ".join(f"{number} {each.kind}" for number, each in sums.items())
            values = self._comm.sum_exactly(total, kind, alike)
        else:
            values = self._comm.sum_fast(total, alike)
        ends = np.cumsum([each.total.shape[1] for each in sums.values()])[:-1]
        return {number: (own,) for number, own in zip(sums, np.split(values, ends), strict=True)}


class _JointComm:
    """A communicator whose exact sums are those of all fits. All else is as it is: one coroutine runs at a time."""

    def __init__(self, comm: Comm, lockstep: Lockstep) -> None:
        self._comm, self._lockstep = comm, lockstep

    def __getattr__(self, name: str) -> Any:
        return getattr(self._comm, name)

    def sum_exactly(self, total: np.ndarray, kind: str = "", alike: np.ndarray = NOTHING) -> np.ndarray:
        return self._lockstep.ask(Sum(total, kind, alike, exactly=True))

    def sum_fast(self, total: np.ndarray, alike: np.ndarray = NOTHING) -> np.ndarray:
        return self._lockstep.ask(Sum(total, "", alike, exactly=False))


@dataclass(frozen=True)
class JointSlice(PartedSlice):
    """The rows of a slice, of which fits in lockstep compute; y, weights and offsets are those of one fit."""

    base: kernels.Slice
    lockstep: Lockstep

    def _like(self) -> kernels.Slice:
        return self.base._like() if isinstance(self.base, PartedSlice) else self.base

    @property
    def alone(self) -> kernels.Slice:
        """The same rows for what is not computed in lockstep."""
        own = {name: getattr(self, name) for name in ("y", "weight", "offset", "computing", "picked")}
        return replace(self.base, **own)

    def in_memory(self) -> Iterator[tuple[int, int, kernels.Slice]]:
        """See `PartedSlice.in_memory`."""
        yield from _parts_of(self.alone)

    def of_part(self, part: kernels.Slice, first: int, last: int) -> kernels.Slice:
        """A part of the base, from tile `first` to the one before `last`, with what belongs to rows of this slice."""
        own = {name: getattr(self, name)[first:last] for name in ("y", "weight", "offset")}
        return replace(part, **own, computing=self.computing, picked=self._blocks(first, last))

    def load(self, operation: str, *stages: kernels.Kernel, predictors: int = 1) -> None:
        """See `Slice.load`."""
        super().load(operation, *stages, predictors=predictors)
        if operation == "sweep":
            self._load_columns(stages[0])

    def load_gradient(self, stage: kernels.Kernel, outputs: int) -> None:
        """See `Slice.load_gradient`."""
        super().load_gradient(stage, outputs)
        self._load_columns(stage)

    def _load_columns(self, stage: kernels.Kernel) -> None:
        """Make ready what fits are columns of, for rows that are gathered, too."""
        rows = self._like()
        rows.load("sweep", stage, predictors=2)
        if isinstance(rows, kernels.DenseSlice):
            rows.load_gather()
            rows.gather(np.zeros(0, np.int64)).load("sweep", stage, predictors=2)

    def value(self, at: kernels.At) -> np.ndarray:
        """See `Slice.value`."""
        return self._ask_at(at, None, gradient=False)

    def value_gradient(
        self, at: kernels.At, curvature: np.ndarray | None = None, shifts: np.ndarray | None = None
    ) -> np.ndarray:
        """See `Slice.value_gradient`."""
        if curvature is not None:
            return super().value_gradient(at, curvature, shifts)
        return self._ask_at(at, shifts, gradient=True)

    def second_order(self, at: kernels.At, shifts: np.ndarray | None = None) -> np.ndarray:
        """See `Slice.second_order`."""
        key = "second order", *_place_of(at)
        return self.lockstep.ask(Work(self, lambda own, a, b: own.second_order(at, shifts), key=key))

    def _ask_at(self, at: kernels.At, shifts: np.ndarray | None, gradient: bool) -> np.ndarray:
        def each(own: kernels.Slice, a: int, b: int) -> np.ndarray:
            return own.value_gradient(at, None, shifts) if gradient else own.value(at)

        return self.lockstep.ask(Work(self, each, at, shifts, gradient, (gradient, *_place_of(at))))

    def _merged(self, each: Callable[[kernels.Slice, int, int], np.ndarray]) -> np.ndarray:
        return self.lockstep.ask(Work(self, each))

    def gather(self, picked: np.ndarray) -> kernels.Slice:
        """See `Slice.gather`."""
        return self.alone.gather(picked)

    def columns_only(self, picked: np.ndarray) -> kernels.Slice:
        """See `Slice.columns_only`."""
        return self.alone.columns_only(picked)


def _rows_that_count(rows: kernels.Slice) -> kernels.Slice:
    """The rows of positive weight alone, where they are few among many; X of these is copied for the moment."""
    if not len(rows.weight) or not isinstance(rows, kernels.DenseSlice) or rows.picked is not None:
        return rows
    there = rows.weight.reshape(-1) > 0.0
    return rows.gather(np.flatnonzero(there)) if np.count_nonzero(there) < FEW * rows.n else rows


def _parts_of(rows: kernels.Slice) -> Iterator[tuple[int, int, kernels.Slice]]:
    """What a slice is made of: first tile, the one after the last, the part; at least one."""
    if not isinstance(rows, PartedSlice):
        yield 0, len(rows.y), rows
        return
    empty = True
    for part in rows.in_memory():
        empty = False
        yield part
    if empty:
        yield 0, 0, rows._like()


def _place_of(at: kernels.At) -> tuple[Any, ...]:
    return at.loss.name, at.parameter, at.smoothing, at.coef.tobytes(), at.intercept.tobytes()


def _rows_of(rows: JointSlice) -> tuple[Any, ...]:
    """What two slices have in common that are of the same rows, weighted alike."""
    picked = None if rows.picked is None else rows.picked.tobytes()
    return id(rows.y), id(rows.weight), id(rows.offset), rows.computing, picked


def _shared(works: dict[int, Work]) -> dict[Work, list[int]]:
    """Works, each once, and who has asked for it."""
    known: dict[tuple[Any, ...], Work] = {}
    askers: dict[Work, list[int]] = {}
    for number, work in works.items():
        key = (number,) if work.key is None else (*_rows_of(work.rows), *work.key)
        askers.setdefault(known.setdefault(key, work), []).append(number)
    return askers


@dataclass(frozen=True)
class _Group:
    """Works that are columns of one."""

    works: list[Work]

    @property
    def _columns(self) -> list[Work]:
        return self.works if len(self.works) > 1 else 2 * self.works

    def evaluate(self, part: kernels.Slice, first: int, last: int) -> np.ndarray:
        """Accumulators of a part of the rows, those of all columns together."""
        work = self.works[0]
        own = work.rows.of_part(part, first, last)
        if not self.works[0].joins:
            return work.each(own, first, last)
        if len(self.works) > 1:
            own = _rows_that_count(own)
        # Never one column alone, which other kernels would add up in another order.
        places = [each.at for each in self._columns if each.at is not None]
        at = replace(
            places[0],
            coef=np.hstack([place.coef for place in places]),
            intercept=np.concatenate([place.intercept for place in places]),
        )
        if not work.gradient:
            return own.value(at)
        shifts = None
        if work.shifts is not None:
            shifts = np.empty(kernels.gradient_sums(own.d, at.coef.shape[1]), np.int64)
            for sums, each in zip(self._sums(own.d), self._columns, strict=True):
                assert each.shifts is not None
                shifts[sums] = each.shifts
        return own.value_gradient(at, shifts=shifts)

    def split(self, total: np.ndarray) -> list[np.ndarray]:
        """Accumulators of each work."""
        if not self.works[0].joins:
            return [total]
        d = self.works[0].rows.d if self.works[0].gradient else 0
        return [np.ascontiguousarray(total[:, sums]) for _, sums in zip(self.works, self._sums(d), strict=False)]

    def _sums(self, d: int) -> Iterator[np.ndarray]:
        """Which of the sums of all columns are those of each work; of weights there is one for all."""
        counts = [each.at.coef.shape[1] for each in self._columns if each.at is not None]
        outputs, first = sum(counts), 0
        for count in counts:
            own = np.arange(first, first + count)
            products = (np.arange(d)[:, None] * outputs + own).reshape(-1)
            beside = d * outputs + np.concatenate([own, outputs + own, [2 * outputs]])
            yield np.concatenate([products, beside])
            first += count


def _groups(works: dict[Work, list[int]]) -> Iterator[_Group]:
    """Works that can be columns of one, together; all others by themselves."""
    together: dict[tuple[Any, ...], list[Work]] = {}
    for work in works:
        at = work.at
        if at is None or not work.joins:
            yield _Group([work])
            continue
        key = (*_rows_of(work.rows), work.gradient, work.shifts is None, at.loss.name, at.parameter, at.smoothing)
        together.setdefault(key, []).append(work)
    for some in together.values():
        for first in range(0, len(some), MOST_COLUMNS):
            yield _Group(some[first : first + MOST_COLUMNS])

"""Slices that do not fit in memory: X is read anew for every pass, the next blocks while the present ones are computed.

A streamed slice is a sequence of slices in memory, of which two are alive at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import mpigd_kernels as kernels
import numpy as np

from mpigd import platforms
from mpigd.errors import DataError
from mpigd.fingerprint import Hasher
from mpigd.parted import PartedSlice
from mpigd.reading import Fields, Rows
from mpigd.storage import Header

PART_BYTES = 32 << 20  # of X that is read at once
# Bytes that a fit takes beside X and what belongs to rows: kernels and messages; what is kept of a column; and of a
# pair of columns, where there are so few that a Hessian is formed.
KERNELS, OF_A_COLUMN, OF_A_SQUARE, LARGEST_SQUARE = 16 << 20, 1000, 64, 4096
MARGIN = 48 << 20  # which is left free where there is a limit
PLAIN = ("n", "block", "y", "weight", "offset", "computing", "picked")  # fields of every slice
COPY_SHARE = 0.5  # of the memory for X that a copy of some columns may take


T = TypeVar("T")


def ahead(load: Callable[[int], T], count: int) -> Iterator[T]:
    """load(0) … load(count - 1), each while what came before is being used: two of them are alive at a time."""
    if not count:
        return
    with ThreadPoolExecutor(1, "mpigd-read") as pool:
        following = pool.submit(load, 0)
        for k in range(count):
            current = following.result()
            if k + 1 < count:
                following = pool.submit(load, k + 1)
            yield current


@dataclass(frozen=True)
class Parts:
    """Where X of a slice comes from: its first blocks may be in memory, the others are read.

    rows : what reads them.  start, stop : rows of the data set.  block : their blocks' rows.
    part : blocks that are read at once.  kept : blocks in memory, as `fields`.
    """

    rows: Rows
    start: int
    stop: int
    block: int
    part: int
    kept: int = 0
    fields: Fields | None = None

    @property
    def blocks(self) -> int:
        """How many there are."""
        return -(-(self.stop - self.start) // self.block)

    def runs(self, picked: np.ndarray | None) -> list[tuple[int, int]]:
        """First and last blocks of what is to be read at once; without `picked`, of all that is not in memory."""
        if picked is None:
            return [(b, min(b + self.part, self.blocks)) for b in range(self.kept, self.blocks, self.part)]
        wanted = picked[picked >= self.kept]
        breaks = np.flatnonzero(np.diff(wanted) != 1) + 1
        return [
            (first, min(first + self.part, int(run[-1]) + 1))
            for run in np.split(wanted, breaks)
            if len(run)
            for first in range(int(run[0]), int(run[-1]) + 1, self.part)
        ]

    def read(self, picked: np.ndarray | None = None, hasher: Hasher | None = None) -> Iterator[tuple[int, int, Fields]]:
        """Runs of blocks in turn: the first, the one after the last, X. Those in memory come first, all at once."""
        if self.fields is not None and (picked is None or (picked < self.kept).any()):
            yield 0, self.kept, self.fields
        runs = self.runs(picked)

        def load(k: int) -> tuple[int, int, Fields]:
            first, last = runs[k]
            end = min(self.start + last * self.block, self.stop)
            return first, last, self.rows.fields(self.start + first * self.block, end, hasher, slot=k % 2)

        yield from ahead(load, len(runs))


@dataclass(frozen=True)
class StreamedSlice(PartedSlice):
    """Rows of which X is read when it is needed.

    parts : where from.  template : a slice of the same kind without rows.  columns : those that are wanted, or None.
    memory : bytes that X may take.
    """

    parts: Parts
    template: kernels.Slice
    memory: int
    columns: np.ndarray | None = None

    streams: ClassVar[bool] = True

    def _like(self) -> kernels.Slice:
        """The template in the types of this slice."""
        none = self.y[:0], self.weight[:0], self.offset[:0]
        return replace(self.template, y=none[0], weight=none[1], offset=none[2], computing=self.computing)

    def load_gather(self) -> None:
        """Nothing: rows are gathered by reading them."""

    def in_memory(self) -> Iterator[tuple[int, int, kernels.Slice]]:
        """See `PartedSlice.in_memory`."""
        per_block = self.block // self.rows
        for first, last, fields in self.parts.read(self.picked):
            a, b = first * per_block, min(last * per_block, len(self.y))
            own = replace(
                self.template,
                n=min(self.n - a * self.rows, (b - a) * self.rows),
                block=self.block,
                y=self.y[a:b],
                weight=self.weight[a:b],
                offset=self.offset[a:b],
                computing=self.computing,
                **fields,
            )
            if self.columns is not None:
                own = own.columns_only(self.columns)
            yield a, b, replace(own, picked=self._blocks(a, b))

    def gather(self, picked: np.ndarray) -> kernels.Slice:
        """See `Slice.gather`: only the rows that are picked are read."""
        place, fields = self._gathered(picked)
        count, size = len(fields["y"]), fields["y"].shape[2]
        x = self.parts.rows.gather(self.parts.start + picked, place, count, size)
        return replace(self.template, **fields, **x)

    def columns_only(self, picked: np.ndarray) -> kernels.Slice:
        """See `Slice.columns_only`: a copy in memory if that is small, else a choice from what is read."""
        if not len(picked):  # nothing is to be read
            nothing = self.template.columns_only(picked)
            plain: dict[str, Any] = {name: getattr(self, name) for name in PLAIN}
            if isinstance(nothing, kernels.SparseSlice):
                plain["starts"] = np.zeros(self.n + 1, np.int64)
            else:
                plain["tiles"] = np.empty((len(self.y), 0, self.rows), self._x[0].dtype)
            return replace(nothing, **plain)
        some = replace(
            self,
            columns=picked if self.columns is None else self.columns[picked],
            template=self.template.columns_only(picked),
        )
        if self.n * len(picked) * self._x[0].itemsize > COPY_SHARE * self.memory or self.picked is not None:
            return some
        return _together(some)


def _together(some: StreamedSlice) -> kernels.Slice:
    """The slice in memory."""
    fields: list[Fields] = []
    for _, _, own in some.in_memory():
        names = {"tiles"} if isinstance(own, kernels.DenseSlice) else {"values", "columns", "starts"}
        fields.append({name: getattr(own, name) for name in names})
    joined: dict[str, Any] = {}
    for name in fields[0] if fields else ():
        arrays = [own[name] for own in fields]
        if name == "starts":  # each begins at 0
            ends = np.cumsum([0, *(own[-1] for own in arrays)])
            arrays = [own[:-1] + end for own, end in zip(arrays, ends, strict=False)] + [ends[-1:]]
        out = kernels.aligned((sum(map(len, arrays)), *arrays[0].shape[1:]), arrays[0].dtype)
        joined[name] = np.concatenate(arrays, out=out)
    plain = {name: getattr(some, name) for name in PLAIN}
    return replace(some.template, **plain, **joined)


@dataclass(frozen=True)
class Room:
    """Memory of a rank: bytes that X may take, what its slice needs, and what a block needs."""

    bytes: int
    needed: int
    block: int

    @property
    def part(self) -> int:
        """Blocks that are read at once where X does not fit."""
        return max(min(PART_BYTES, self.bytes // 4) // self.block, 1)

    @property
    def kept(self) -> int:
        """Blocks that stay in memory then, if there are so many."""
        return max((self.bytes - 2 * self.part * self.block) // self.block, 0)


def beside_rows(header: Header, rows: int, squares: bool = True, of_a_row: int = 0) -> int:
    """Bytes that a fit takes on a rank beside X and what belongs to rows.

    squares : whether a Hessian may be formed.  of_a_row : what the solver keeps of each row.
    """
    d = header.d
    pairs = d * d if squares and d <= LARGEST_SQUARE else 0
    return KERNELS + of_a_row * rows + OF_A_SQUARE * pairs + OF_A_COLUMN * d


def room_for_rows(header: Header, rows: int, memory: int, taken: int | None = None, of_a_row: int = 0) -> Room:
    """What is left for X of `memory` bytes of a process, beside itself and what else a fit needs.

    taken : bytes that the process has, with what belongs to rows, before it reads X; without it, what it has now.
    of_a_row : as for `beside_rows`.
    """
    d = header.d
    taken = platforms.resident_memory() if taken is None else taken
    others = taken + MARGIN + beside_rows(header, rows, of_a_row=of_a_row)
    block = max(header.bytes // max(-(-header.n // header.block), 1), 1)
    left = memory - others
    if left < 3 * block:
        raise DataError(
            f"{header.label}: --memory {memory / 2**20:.0f} MiB is too little: besides X, {rows} rows of {d} columns "
            f"need {others / 2**20:.0f} MiB on a rank, and X {3 * block / 2**20:.0f} MiB at least; "
            "give more, or use more ranks"
        )
    return Room(left, header.bytes * rows // header.n, block)


def scant_room(header: Header, rows: int) -> Room:
    """Room for what is taken over of a rank that died, where memory is used up: a block at a time."""
    block = max(header.bytes // max(-(-header.n // header.block), 1), 1)
    return Room(2 * block, header.bytes * rows // header.n, block)


def check_memory(header: Header, rows: int) -> None:
    """Raise DataError if X of so many rows is larger than the memory of this machine."""
    there = platforms.physical_memory()
    needed = header.bytes * rows // header.n
    if there and needed > there:
        raise DataError(
            f"{header.label}: X of {rows} rows takes {needed / 2**30:.1f} GiB on a rank, and the machine has "
            f"{there / 2**30:.1f} GiB; use more ranks, or --memory to read it anew for every pass"
        )


def streamed(
    rows: Rows,
    start: int,
    stop: int,
    room: Room,
    template: kernels.Slice,
    fields: Fields,
    hasher: Hasher,
) -> StreamedSlice:
    """A slice of rows start … stop - 1, all of which are read once, checked and hashed. Not a collective."""
    block = rows.header.block
    part = room.part
    kept = min(room.kept, -(-(stop - start) // block))
    of_kept = rows.fields(start, min(start + kept * block, stop), hasher) if kept else None
    parts = Parts(rows, start, stop, block, part, kept, of_kept)
    for _ in parts.read(hasher=hasher):
        pass
    return StreamedSlice(**fields, parts=parts, template=template, memory=room.bytes)

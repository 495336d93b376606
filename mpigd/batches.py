"""The rows of a data set, some whole blocks at a time: for jobs that need each of them once, however many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import mpigd_kernels as kernels
import numpy as np

from mpigd import platforms
from mpigd.columns import Columns
from mpigd.comm import Comm
from mpigd.dataset import Dataset, prepare, shared_header
from mpigd.errors import DataError
from mpigd.reader import Reader, slice_rows
from mpigd.reading import Rows, rows_of
from mpigd.storage import Header, Names
from mpigd.streaming import MARGIN, PART_BYTES, ahead

BESIDE = 3 * 8  # bytes of a row beside X: target, weight, offset


@dataclass(frozen=True)
class Batches:
    """Rows start … stop - 1, the slice of this rank: `rows` of them at a time, whole blocks, as slices in memory.

    The next batch is read while one is used; the memory of a batch is used again two batches later. Going through them
    by `iter` is not a collective, and bad input raises a DataError on this rank alone.
    """

    reader: Reader
    start: int
    stop: int
    rows: int
    target: str | None
    classes: np.ndarray

    @property
    def header(self) -> Header:
        """Of the data set."""
        return self.reader.header

    @property
    def slice(self) -> kernels.Slice:
        """One without rows, of the kind and types of the batches."""
        return self._read(self.stop, self.stop).slice

    def __len__(self) -> int:
        """How many batches there are on this rank."""
        return -(-(self.stop - self.start) // self.rows)

    def __iter__(self) -> Iterator[Dataset]:
        x = rows_of(self.reader)

        def load(k: int) -> Dataset:
            first = self.start + k * self.rows
            return self._read(first, min(first + self.rows, self.stop), x, slot=k % 2)

        yield from ahead(load, len(self))

    def each(self, comm: Comm, use: Callable[[Dataset], None]) -> None:
        """Call a function with every batch. A collective: what fails on one rank ends all a batch later."""
        some = iter(self)
        for _ in range(int(comm.max(np.array([len(self)]))[0])):
            with comm.agreement():
                batch = next(some, None)
                if batch is not None:
                    use(batch)

    def _read(self, start: int, stop: int, x: Rows | None = None, slot: int | None = None) -> Dataset:
        """Rows start … stop - 1; x is what reads X, and slot the memory for it, as for `Rows.fields`."""
        columns = Columns(self.reader, start, stop, self.target)
        columns.scan()
        beside = columns.layouts(np.dtype(np.float64), self.classes)
        kind: type[kernels.Slice] = kernels.DenseSlice if self.header.stored is None else kernels.SparseSlice
        fields = (x or rows_of(self.reader)).fields(start, stop, slot=slot)
        own = kind(**beside, computing=kernels.Computing(), **fields)
        return Dataset(self.header, ((start, stop),), own, self.classes, np.zeros(2, np.uint64))


@contextmanager
def batches(
    comm: Comm,
    paths: Sequence[Path],
    names: Names,
    memory: int | None,
    of_a_row: int,
    target: str | None = None,
    classes: np.ndarray | None = None,
) -> Iterator[Batches]:
    """The slice of this rank, in batches. A collective; bad input raises the same DataError on all ranks.

    memory : bytes that this process may take, or None: it takes little anyway.
    of_a_row : bytes that a row takes beside X while a batch is used.
    target : what y must be, as `Loss.target`, or None to leave y unread.  classes : sorted labels, to number y by.
    """
    header = shared_header(comm, paths, names, target)
    prepare(comm, partial(kernels.fill_tiles.load, {"X": header.dtype, "ROWS": kernels.tile_rows(header.block)}))
    with Reader(header) as reader:
        with comm.agreement():
            start, stop = slice_rows(reader, comm.size, comm.rank)
            rows = rows_at_once(header, memory, of_a_row)
        yield Batches(reader, start, stop, rows, target, np.zeros(0) if classes is None else classes)


def rows_at_once(header: Header, memory: int | None, of_a_row: int) -> int:
    """Rows of a batch, whole blocks, of which two have room in what a process has left of its memory.

    More than some megabytes at once make nothing faster. DataError where there is no room for a block.
    """
    row = -(-header.bytes // header.n) + BESIDE + of_a_row
    rows = max(PART_BYTES // (row * header.block), 1)
    if memory is None:
        return rows * header.block
    taken = platforms.resident_memory() + MARGIN
    most = (memory - taken) // (2 * row * header.block)
    if most < 1:
        raise DataError(
            f"{header.label}: --memory {memory / 2**20:.0f} MiB is too little: a rank takes {taken / 2**20:.0f} MiB "
            f"before it reads, and {2 * row * header.block / 2**20:.3g} MiB for two blocks of {header.block} rows"
        )
    return min(rows, most) * header.block

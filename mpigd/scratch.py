"""A copy of a slice's X on a local disk, in the layout that kernels read: later passes need not make it again.

The file has no name, so that nothing is left of it however the job ends.
"""

from __future__ import annotations

import tempfile
import weakref
from pathlib import Path

import mpigd_kernels as kernels
import numpy as np

from mpigd.errors import DataError, OutputError
from mpigd.files import read_at, write_at
from mpigd.fingerprint import Hasher
from mpigd.reading import DenseRows, Fields, SparseRows
from mpigd.storage import Header


class Copy:
    """A file of bytes that are written once and read often."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        try:
            self._file = tempfile.TemporaryFile(dir=directory, prefix="mpigd-", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise OutputError(f"{directory}: --scratch: can't be written: {error.strerror}") from None
        weakref.finalize(self, self._file.close)

    def write(self, array: np.ndarray, place: int) -> None:
        """The bytes of an array, from byte `place` on."""
        try:
            write_at(self._file.fileno(), place, array)
        except OSError as error:
            raise OutputError(f"{self._directory}: --scratch: can't be written: {error.strerror}") from None

    def read(self, array: np.ndarray, place: int) -> None:
        """Bytes from `place` on into an array."""
        try:
            read_at(self._file.fileno(), place, array)
        except OSError as error:
            raise DataError(f"{self._directory}: --scratch: can't be read: {error.strerror or error}") from None


class DenseScratch:
    """Dense tiles. Rows are copied as they are read for the first time, in the order of the slice."""

    in_one_piece = True

    def __init__(self, rows: DenseRows, start: int, directory: Path) -> None:
        self._rows, self._start, self._done = rows, start, start
        self._copy = Copy(directory)
        self._tile = kernels.tile_rows(rows.header.block)
        self._bytes = rows.header.d * self._tile * rows.header.dtype.itemsize

    @property
    def header(self) -> Header:
        """Of the data set."""
        return self._rows.header

    def fields(self, start: int, stop: int, hasher: Hasher | None = None, slot: int | None = None) -> Fields:
        """See `Rows`."""
        if start >= self._done:
            found = self._rows.fields(start, stop, hasher, slot)
            self._copy.write(found["tiles"], self._place(start))
            self._done = stop
            return found
        tiles = self._rows.tiles(stop - start, slot)
        self._copy.read(tiles, self._place(start))
        return {"tiles": tiles}

    def gather(self, rows: np.ndarray, place: np.ndarray, count: int, size: int) -> Fields:
        """See `Rows`."""
        tiles = kernels.aligned((count, self.header.d, size), self.header.dtype)
        tiles[:] = 0
        one = np.empty((self.header.d, self._tile), self.header.dtype)
        number, lane = np.divmod(rows - self._start, self._tile)
        for own in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(number)) + 1):
            if len(own):
                self._copy.read(one, int(number[own[0]]) * self._bytes)
                to, to_lane = np.divmod(place[own], size)
                tiles[to, :, to_lane] = one[:, lane[own]].T
        return {"tiles": tiles}

    def _place(self, row: int) -> int:
        return (row - self._start) // self._tile * self._bytes


class SparseScratch(SparseRows):
    """Numbers and columns of sparse rows; where rows begin is read from the files again."""

    in_one_piece = True

    def __init__(self, rows: SparseRows, start: int, directory: Path) -> None:
        super().__init__(rows.reader)
        self._values, self._columns = Copy(directory), Copy(directory)
        self._first, self._done = int(rows.reader.indptr(start, start)[0]), start

    def _numbers(self, start: int, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        begin, end = int(starts[0]) - self._first, int(starts[-1]) - self._first
        if start >= self._done:
            values, columns = super()._numbers(start, starts)
            self._values.write(values, begin * values.itemsize)
            self._columns.write(columns, begin * columns.itemsize)
            self._done = start + len(starts) - 1
            return values, columns
        values, columns = np.empty(end - begin, self.header.dtype), np.empty(end - begin, self._index)
        self._values.read(values, begin * values.itemsize)
        self._columns.read(columns, begin * columns.itemsize)
        return values, columns


def copied(rows: DenseRows | SparseRows, start: int, directory: Path) -> DenseScratch | SparseScratch:
    """Rows of which those from `start` on are copied to a directory as they are read."""
    if isinstance(rows, SparseRows):
        return SparseScratch(rows, start, directory)
    return DenseScratch(rows, start, directory)

"""The opened files of a data set, and their rows a piece at a time.

Datasets that lie in one piece, uncompressed, are read past HDF5 at their place in the file, which takes one copy less
and leaves the pieces in the cache. Chunks are read and decompressed by HDF5.
"""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import h5py
import mpigd_kernels as kernels
import numpy as np

from mpigd import platforms
from mpigd.errors import DataError
from mpigd.files import read_at
from mpigd.hdf5 import damage_reported, in_one_piece, load_filters, open_file
from mpigd.storage import Header

PIECE_BYTES = 1 << 20  # of a dataset in one piece: stays in the second-level cache
CHUNKED_BYTES = 4 << 20  # of one in chunks, at least
NUMBERS = 1 << 18  # of a sparse X that are read at once
MOST_BYTES = 64 << 20  # of a piece of whole chunks; where those are larger, they are kept in HDF5's cache


class Raw:
    """A dataset that lies in one piece in its file, read at its place there."""

    def __init__(self, path: Path, dataset: h5py.Dataset) -> None:
        self.shape, self._dtype = dataset.shape, dataset.dtype
        self._offset = dataset.id.get_offset()
        self._row = math.prod(dataset.shape[1:]) * dataset.dtype.itemsize
        self._descriptor = platforms.open_bytes(path, os.O_RDONLY)
        platforms.will_read(self._descriptor, self._offset, dataset.shape[0] * self._row)

    def read(self, first: int, out: np.ndarray) -> None:
        """Rows from `first` on into out, C-contiguous."""
        stored = out if out.dtype == self._dtype else np.empty(out.shape, self._dtype)
        read_at(self._descriptor, self._offset + first * self._row, stored)
        if stored is not out:
            out[...] = stored

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


class Stored:
    """Any other dataset, read and converted by HDF5."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self.shape, self._dataset = dataset.shape, dataset
        if dataset.chunks is not None:
            load_filters(dataset)  # the header was read by another rank

    def read(self, first: int, out: np.ndarray) -> None:
        """Rows from `first` on into out, C-contiguous."""
        if self._dataset.dtype.kind == "b":
            out[...] = self._dataset[first : first + len(out)]
            return
        # As h5py's read_direct, which takes a tenth of a millisecond for its selection alone.
        shape, space = out.shape, self._dataset.id.get_space()
        space.select_hyperslab((first, *(0 for _ in shape[1:])), shape)
        self._dataset.id.read(h5py.h5s.create_simple(shape), space, out)


class Source(Protocol):
    """Where the rows of a data set come from: methods as of `Reader`, which reads them from files."""

    header: Header

    def rows(self, name: str, start: int, stop: int, dtype: Any) -> np.ndarray:
        """Rows start … stop - 1 of a dataset (n,) or (n, K)."""

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, np.ndarray]]:
        """Rows start … stop - 1 of a dense X."""

    def indptr(self, start: int, stop: int) -> np.ndarray:
        """Where rows start … stop of a sparse X begin."""

    def number_pieces(self, begin: int, end: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Numbers begin … end - 1 of a sparse X."""

    def check_unchanged(self, start: int, stop: int) -> None:
        """Raise DataError if the rows have changed since the first of them were read."""


class Reader:
    """The opened files of a data set, in one thread at a time. A context manager."""

    def __init__(self, header: Header) -> None:
        self.header = header
        self._stack = ExitStack()
        weakref.finalize(self, self._stack.close)  # where rows are read until the last pass
        self._files: dict[Path, h5py.File] = {}
        self._sources: dict[tuple[Path, str], Raw | Stored] = {}
        self._states: dict[Path, tuple[int, ...]] = {}  # as they were when they were opened
        self._buffer = np.empty((0, header.d), header.dtype)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all files."""
        self._stack.close()
        self._files.clear()
        self._sources.clear()

    def rows(self, name: str, start: int, stop: int, dtype: Any) -> np.ndarray:
        """Rows start … stop - 1 of a dataset (n,) or (n, K)."""
        parts = [self._read(file.path, name, a, b, dtype) for file, a, b in self.header.within(start, stop)]
        if not parts:
            shape = self._source(self.header.files[0].path, name).shape
            return np.zeros((0, *shape[1:]), dtype)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def indptr(self, start: int, stop: int) -> np.ndarray:
        """Where rows start … stop of a sparse X begin among the numbers of all files, (stop - start + 1,) int64.

        DataError where they do not rise.
        """
        header, parts = self.header, []
        name = f"{header.names.x}/indptr"
        for file, a, b in header.within(start, stop):
            some = self._read(file.path, name, a, b + 1, np.int64)
            ends = (a > 0 or some[0] == 0) and (b < file.n or some[-1] == file.stored)
            if not ends or (np.diff(some) < 0).any() or some[0] < 0 or some[-1] > file.stored:
                raise DataError(f"{file.path}: dataset '{name}' does not rise from 0 to {file.stored}")
            parts.append(some[:-1] + file.first)
            last = some[-1] + file.first
        return np.append(np.concatenate(parts), last) if parts else np.array([self.before(start)])

    def before(self, row: int) -> int:
        """How many numbers a sparse X has before a row."""
        for file, a, _ in self.header.within(row, row + 1):
            return file.first + int(self._read(file.path, f"{self.header.names.x}/indptr", a, a + 1, np.int64)[0])
        return int(self.header.stored or 0)

    def number_pieces(self, begin: int, end: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Numbers begin … end - 1 of a sparse X, a piece at a time: the first, `data` (m,) and `indices` (m,) int64."""
        step, header = NUMBERS, self.header

        def load(k: int) -> tuple[int, np.ndarray, np.ndarray]:
            first = begin + k * step
            last = min(first + step, end)
            return (
                first,
                self._numbers("data", first, last, header.dtype),
                self._numbers("indices", first, last, np.int64),
            )

        count = -(-(end - begin) // step)
        yield from map(load, range(count))

    def _numbers(self, part: str, begin: int, end: int, dtype: Any) -> np.ndarray:
        pieces = []
        for file in self.header.files:
            a, b = max(begin, file.first), min(end, file.first + file.stored)
            if a < b:
                name = f"{self.header.names.x}/{part}"
                pieces.append(self._read(file.path, name, a - file.first, b - file.first, dtype))
        return pieces[0] if len(pieces) == 1 else np.concatenate([np.zeros(0, dtype), *pieces])

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, np.ndarray]]:
        """Rows start … stop - 1 of a dense X, a piece at a time, in the type of the header: its first row, (m, d).

        All but the last piece are whole tiles, counted from start. A piece is overwritten by the next.
        """
        header = self.header
        rows = self._piece_rows(PIECE_BYTES if header.in_one_piece else CHUNKED_BYTES)
        buffer = self._buffer_of(min(rows, stop - start))

        def load(k: int) -> tuple[int, np.ndarray]:
            first = start + k * rows
            piece = buffer[: min(rows, stop - first)]
            self._fill(header.names.x, first, piece)
            return first, piece

        count = -(-(stop - start) // rows)
        yield from map(load, range(count))

    def _buffer_of(self, rows: int) -> np.ndarray:
        """Memory for a piece of so many rows; that of the last time, if it is enough: new memory takes time."""
        if len(self._buffer) < rows:
            self._buffer = np.empty((rows, self.header.d), self.header.dtype)
        return self._buffer

    def _piece_rows(self, wanted: int) -> int:
        """Rows of a piece: whole tiles and, if that is not too much, whole chunks."""
        header = self.header
        tile, row = kernels.tile_rows(header.block), header.d * header.dtype.itemsize
        unit = math.lcm(tile, header.chunk_rows) if header.chunk_rows else tile
        if unit * row > MOST_BYTES:
            unit = tile
        return max(wanted // (unit * row), 1) * unit

    def _fill(self, name: str, start: int, out: np.ndarray) -> None:
        """Rows from start on into out."""
        done = 0
        for file, a, b in self.header.within(start, start + len(out)):
            self._read_into(file.path, name, a, out[done : done + b - a])
            done += b - a

    def _read(self, path: Path, name: str, first: int, end: int, dtype: Any) -> np.ndarray:
        out = np.empty((end - first, *self._source(path, name).shape[1:]), dtype)
        self._read_into(path, name, first, out)
        return out

    def _read_into(self, path: Path, name: str, first: int, out: np.ndarray) -> None:
        if len(out):
            with damage_reported(path, f"dataset '{name}', rows {first} to {first + len(out) - 1} can't be read"):
                self._source(path, name).read(first, out)

    def _source(self, path: Path, name: str) -> Raw | Stored:
        """What reads a dataset."""
        if (path, name) not in self._sources:
            with damage_reported(path):
                dataset = self._file(path)[name]
                source = Raw(path, dataset) if in_one_piece(dataset) else Stored(dataset)
            if isinstance(source, Raw):
                self._stack.callback(source.close)
            self._sources[path, name] = source
        return self._sources[path, name]

    def _file(self, path: Path) -> h5py.File:
        if path not in self._files:
            header = self.header
            row = header.chunk_rows * header.d * header.dtype.itemsize
            unit = math.lcm(kernels.tile_rows(header.block), header.chunk_rows or 1) * header.d * header.dtype.itemsize
            file = open_file(path, chunk_cache=row + row // 8 if unit > MOST_BYTES else 0)
            self._files[path] = self._stack.enter_context(file)
            self._states[path] = state_of(path)
        return self._files[path]

    def check_unchanged(self, start: int, stop: int) -> None:
        """Raise DataError if a file with rows start … stop - 1 is not as it was when it was opened.

        One that is gone is: what is open can still be read.
        """
        for file, _, _ in self.header.within(start, stop):
            if file.path in self._states and state_of(file.path) not in (self._states[file.path], ()):
                raise DataError(f"{file.path}: has changed while it was read; start again when it is complete")


def state_of(path: Path) -> tuple[int, ...]:
    """What tells a file from what it was: its number, size and time of the last change; nothing if it is gone."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def owned_rows(n: int, unit: int, size: int, rank: int) -> tuple[int, int]:
    """First row and end of the slice of a rank: whole units of so many rows, contiguous, balanced to one unit.

    Ranks beyond the number of units own nothing: start == stop.
    """
    units = -(-n // unit)
    return min(units * rank // size * unit, n), min(units * (rank + 1) // size * unit, n)


UNITS_EACH = 8  # of whole chunks that a rank has, at least: else they are divided


def unit_rows(header: Header, size: int) -> int:
    """Rows that are not divided among `size` ranks: a block, or whole chunks."""
    unit = math.lcm(header.block, header.chunk_rows or 1)
    return unit if unit * UNITS_EACH * size <= header.n else header.block


def slice_rows(reader: Reader, size: int, rank: int) -> tuple[int, int]:
    """First row and end of the slice of a rank: whole blocks, contiguous.

    Dense rows are divided by their number, and no chunk is decompressed on two ranks where ranks have at least eight
    chunks each; sparse ones by their numbers, a row counting as one more.
    """
    header = reader.header
    if header.stored is None:
        return owned_rows(header.n, unit_rows(header, size), size, rank)
    blocks, total = -(-header.n // header.block), header.stored + header.n

    def begin(of: int) -> int:
        if of in (0, size):
            return min(of, 1) * header.n
        low, high = 0, blocks  # the first block before which there are enough
        while low < high:
            middle = (low + high) // 2
            row = min(middle * header.block, header.n)
            if (reader.before(row) + row) * size >= total * of:
                high = middle
            else:
                low = middle + 1
        return min(low * header.block, header.n)

    start, stop = begin(rank), begin(rank + 1)
    if start > stop:
        raise DataError(f"{header.label}: dataset '{header.names.x}/indptr' does not rise")
    return start, stop

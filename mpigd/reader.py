"""The opened files of a data set, and their rows a piece at a time.

Datasets that lie in one piece, uncompressed, are read past HDF5 at their place in the file, which takes one copy less
and leaves the pieces in the cache. Chunks are read and decompressed by HDF5, a piece ahead of the tiles.
"""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import h5py
import mpigd_kernels as kernels
import numpy as np

from mpigd.errors import DataError
from mpigd.files import read_at
from mpigd.hdf5 import damage_reported, in_one_piece, load_filters, open_file
from mpigd.storage import Header

PIECE_BYTES = 1 << 20  # of a dataset in one piece: stays in the second-level cache
CHUNKED_BYTES = 4 << 20  # of one in chunks, at least
NUMBERS = 1 << 18  # of a sparse X that are read at once
MOST_BYTES = 64 << 20  # of a piece of whole chunks; where those are larger, they are kept in HDF5's cache

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


class Raw:
    """A dataset that lies in one piece in its file, read at its place there."""

    def __init__(self, path: Path, dataset: h5py.Dataset) -> None:
        self._offset = dataset.id.get_offset()
        self._row = math.prod(dataset.shape[1:]) * dataset.dtype.itemsize
        self._descriptor = os.open(path, os.O_RDONLY)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._descriptor, self._offset, dataset.shape[0] * self._row, os.POSIX_FADV_SEQUENTIAL)

    def read(self, first: int, out: np.ndarray) -> None:
        """Rows from `first` on into out, C-contiguous, of the dataset's own type."""
        read_at(self._descriptor, self._offset + first * self._row, out)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


class Reader:
    """The opened files of a data set, in one thread at a time. A context manager."""

    def __init__(self, header: Header) -> None:
        self.header = header
        self._stack = ExitStack()
        weakref.finalize(self, self._stack.close)  # where rows are read until the last pass
        self._files: dict[Path, h5py.File] = {}
        self._raw: dict[tuple[Path, str], Raw | None] = {}

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all files."""
        self._stack.close()
        self._files.clear()
        self._raw.clear()

    def rows(self, name: str, start: int, stop: int, dtype: Any) -> np.ndarray:
        """Rows start … stop - 1 of a dataset (n,) or (n, K)."""
        parts = [self._read(file.path, name, a, b, dtype) for file, a, b in self.header.within(start, stop)]
        if not parts:
            shape = self._dataset(self.header.files[0].path, name).shape
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
        raw = header.in_one_piece
        yield from map(load, range(count)) if raw else ahead(load, count)

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

        All but the last piece are whole tiles, counted from start. A piece is overwritten by the one after the next.
        """
        header = self.header
        raw = header.in_one_piece
        rows = self._piece_rows(PIECE_BYTES if raw else CHUNKED_BYTES)
        buffers = [np.empty((min(rows, stop - start), header.d), header.dtype) for _ in range(1 if raw else 2)]

        def load(k: int) -> tuple[int, np.ndarray]:
            first = start + k * rows
            piece = buffers[k % len(buffers)][: min(rows, stop - first)]
            self._fill(header.names.x, first, piece)
            return first, piece

        count = -(-(stop - start) // rows)
        yield from map(load, range(count)) if raw else ahead(load, count)

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
        shape = self._dataset(path, name).shape
        with damage_reported(path, f"dataset '{name}', rows {first} to {end - 1} can't be read"):
            out = np.empty((end - first, *shape[1:]), dtype)
            self._read_into(path, name, first, out)
        return out

    def _read_into(self, path: Path, name: str, first: int, out: np.ndarray) -> None:
        dataset, end = self._dataset(path, name), first + len(out)
        if not len(out):
            return
        with damage_reported(path, f"dataset '{name}', rows {first} to {end - 1} can't be read"):
            raw = self._raw_of(path, name)
            if raw is None:
                if dataset.dtype.kind == "b":
                    out[...] = dataset[first:end]
                else:
                    dataset.read_direct(out, np.s_[first:end])
            elif dataset.dtype == out.dtype:
                raw.read(first, out)
            else:
                stored = np.empty(out.shape, dataset.dtype)
                raw.read(first, stored)
                out[...] = stored

    def _raw_of(self, path: Path, name: str) -> Raw | None:
        if (path, name) not in self._raw:
            dataset = self._dataset(path, name)
            with damage_reported(path):
                raw = Raw(path, dataset) if in_one_piece(dataset) else None
                if dataset.chunks is not None:
                    load_filters(dataset)  # the header was read by another rank
            if raw:
                self._stack.callback(raw.close)
            self._raw[path, name] = raw
        return self._raw[path, name]

    def _dataset(self, path: Path, name: str) -> h5py.Dataset:
        if path not in self._files:
            header = self.header
            row = header.chunk_rows * header.d * header.dtype.itemsize
            unit = math.lcm(kernels.tile_rows(header.block), header.chunk_rows or 1) * header.d * header.dtype.itemsize
            file = open_file(path, chunk_cache=row + row // 8 if unit > MOST_BYTES else 0)
            self._files[path] = self._stack.enter_context(file)
        with damage_reported(path):
            found: h5py.Dataset = self._files[path][name]
        return found


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

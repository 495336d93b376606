"""Rows on their way from files to what kernels take: checked, laid out, hashed while they are in the cache."""

from __future__ import annotations

from typing import Any, Protocol

import mpigd_kernels as kernels
import numpy as np

from mpigd.errors import DataError
from mpigd.fingerprint import Hasher
from mpigd.reader import Source
from mpigd.storage import Header

Fields = dict[str, Any]  # of X, as a `kernels.Slice` has them


class Rows(Protocol):
    """X of a data set, as a `kernels.Slice` takes it."""

    @property
    def header(self) -> Header:
        """Of the data set."""

    @property
    def in_one_piece(self) -> bool:
        """Whether single rows can be read without reading many others."""

    def fields(self, start: int, stop: int, hasher: Hasher | None = None, slot: int | None = None) -> Fields:
        """X of rows start … stop - 1, whole blocks; DataError where it holds what no fit can use.

        slot : the memory with this number may be used once more; None for new memory.
        """

    def gather(self, rows: np.ndarray, place: np.ndarray, count: int, size: int) -> Fields:
        """X of some rows, ascending, at the places of `count` tiles of `size` rows; elsewhere zeros."""


class DenseRows:
    """Dense rows, into tiles."""

    def __init__(self, reader: Source) -> None:
        self.reader, self.header = reader, reader.header
        self._check = np.zeros((1, 8))
        self._slots: dict[int, np.ndarray] = {}

    @property
    def in_one_piece(self) -> bool:
        """See `Rows`."""
        return self.header.in_one_piece

    def tiles(self, count: int, slot: int | None = None) -> np.ndarray:
        """Memory for so many rows: tiles."""
        header, rows = self.header, kernels.tile_rows(self.header.block)
        tiles = kernels.tile_count(count, rows)
        # Memory that is new costs as much as reading into it.
        found = None if slot is None else self._slots.get(slot)
        if found is None or len(found) < tiles:
            found = kernels.aligned((tiles, header.d, rows), header.dtype)
            if slot is not None:
                self._slots[slot] = found
        return found[:tiles]

    def fields(self, start: int, stop: int, hasher: Hasher | None = None, slot: int | None = None) -> Fields:
        """See `Rows`."""
        tiles = self.tiles(stop - start, slot)
        tiles[-1:] = 0  # the last one is padded
        for first, piece in self.reader.pieces(start, stop):
            kernels.fill_tiles(piece, first - start, tiles, self._check)
            if not np.isfinite(self._check).all():
                self._refuse(first, piece)
            if hasher:
                hasher.add_rows(piece)
        self.reader.check_unchanged(start, stop)
        return {"tiles": tiles}

    def _refuse(self, start: int, piece: np.ndarray) -> None:
        header = self.header
        row, column = np.argwhere(~np.isfinite(piece))[0]
        path, number = header.place(start + int(row))
        raise DataError(
            f"{path}: dataset '{header.names.x}' has {piece[row, column]} at row {number}, "
            f"column {column} ({header.feature_names[column]}); remove or impute it"
        )

    def gather(self, rows: np.ndarray, place: np.ndarray, count: int, size: int) -> Fields:
        """See `Rows`."""
        header = self.header
        tiles = kernels.aligned((count, header.d, size), header.dtype)
        tiles[:] = 0
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        for own, at in zip(np.split(rows, breaks), np.split(place, breaks), strict=True):
            if len(own):
                piece = self.reader.rows(header.names.x, int(own[0]), int(own[-1]) + 1, header.dtype)
                tile, lane = np.divmod(at, size)
                tiles[tile, :, lane] = piece
        return {"tiles": tiles}


class SparseRows:
    """Sparse rows (CSR)."""

    def __init__(self, reader: Source) -> None:
        self.reader, self.header = reader, reader.header
        wide = self.header.d > np.iinfo(np.int32).max
        self._index: Any = np.int64 if wide else np.int32

    @property
    def in_one_piece(self) -> bool:
        """See `Rows`."""
        return self.header.in_one_piece

    def fields(self, start: int, stop: int, hasher: Hasher | None = None, slot: int | None = None) -> Fields:
        """See `Rows`."""
        header = self.header
        starts = self.reader.indptr(start, stop)
        values, columns = self._numbers(start, starts)
        starts = starts - starts[0]
        for first in range(0, stop - start if hasher else 0, header.block):
            ends = starts[first : first + header.block + 1]
            some = slice(ends[0], ends[-1])
            assert hasher is not None
            hasher.add(values[some], columns[some].astype(np.int64), np.diff(ends), rows=len(ends) - 1)
        self.reader.check_unchanged(start, stop)
        return {"values": values, "columns": columns, "starts": starts, "columns_count": header.d}

    def _numbers(self, start: int, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of rows from start on, and their columns; starts is where the rows begin."""
        header = self.header
        begin, end = int(starts[0]), int(starts[-1])
        values, columns = np.empty(end - begin, header.dtype), np.empty(end - begin, self._index)
        for first, some, where in self.reader.number_pieces(begin, end):
            bad = (where < 0) | (where >= header.d)
            infinite = ~np.isfinite(some)
            if bad.any() or infinite.any():
                what, at = ("indices", int(np.argmax(bad))) if bad.any() else ("data", int(np.argmax(infinite)))
                path, row = header.place(start + int(np.searchsorted(starts, first + at, side="right")) - 1)
                raise DataError(
                    f"{path}: dataset '{header.names.x}/{what}' has {(where if bad.any() else some)[at]} at row {row}"
                    + (f"; there are {header.d} columns" if bad.any() else "; remove or impute it")
                )
            place = slice(first - begin, first - begin + len(some))
            values[place], columns[place] = some, where
        return values, columns

    def gather(self, rows: np.ndarray, place: np.ndarray, count: int, size: int) -> Fields:
        """See `Rows`."""
        length, values, columns = np.zeros(count * size, np.int64), [], []
        for row, at in zip(rows.tolist(), place.tolist(), strict=True):
            starts = self.reader.indptr(row, row + 1)
            some, where = self._numbers(row, starts)
            values.append(some)
            columns.append(where)
            length[at] = len(some)
        header = self.header
        return {
            "values": np.concatenate([np.zeros(0, header.dtype), *values]),
            "columns": np.concatenate([np.zeros(0, self._index), *columns]),
            "starts": np.concatenate([[0], np.cumsum(length)]),
            "columns_count": header.d,
        }


def rows_of(reader: Source) -> DenseRows | SparseRows:
    """X of what a reader reads."""
    return DenseRows(reader) if reader.header.stored is None else SparseRows(reader)

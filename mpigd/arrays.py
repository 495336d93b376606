"""Rows that are in memory already: every rank passes some, and gets whole blocks of them.

Those of rank 0 come first, then those of rank 1, and so on. Where the rows of a rank do not end with a block, the end
moves to the next place where one does: half a block goes to another rank, or comes from there, at most. So a fit has
the same bits as one on a file with these rows in this order, whichever rank has passed which.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import mpigd_kernels as kernels
import numpy as np

from mpigd.comm import Comm
from mpigd.dataset import Dataset, of_source
from mpigd.errors import DataError
from mpigd.storage import NAMES, DataFile, Header, kept_dtype, unnamed_columns

LABEL = Path("arrays")  # the data set in messages
PIECE_BYTES = 1 << 18  # that are laid out at once: stays in the second-level cache


class CompressedRows(Protocol):
    """A sparse matrix (CSR), as scipy.sparse has it; without duplicates."""

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray
    shape: Any


class Given(NamedTuple):
    """What a rank has passed, in words that ranks compare."""

    n: int
    d: int
    stored: int | None
    dtype: str
    outputs: int
    beside: tuple[str, ...]


def from_arrays(
    comm: Comm,
    X: np.ndarray | CompressedRows,
    y: np.ndarray | None = None,
    sample_weight: np.ndarray | None = None,
    offset: np.ndarray | None = None,
    *,
    target: str = "real",
    feature_names: Sequence[str] | None = None,
    computing: kernels.Computing | None = None,
) -> Dataset:
    """The slice of this rank, of the rows that all ranks pass. A collective; no rank holds all of them.

    X : (n, d) of this rank's n rows, which may be none; numbers of any real type, or sparse rows (CSR).
    y : (n,) or (n, K).  sample_weight, offset : (n,).  The same of these on all ranks.
    target : what y must be, as `Loss.target`.  feature_names : of the columns.
    computing : how kernels will compute with it; the default is float64 on one thread.

    DataError on all ranks where the arrays of one, or of two together, can't be used.
    """
    begin = time.perf_counter()
    beside = {
        name: np.asarray(values)
        for name, values in ((NAMES.y, y), (NAMES.sample_weight, sample_weight), (NAMES.offset, offset))
        if values is not None
    }
    with comm.agreement():
        own = _described(X, beside)
    every = comm.gather(own)
    own_names = None if feature_names is None else tuple(map(str, feature_names))
    names = comm.share(own_names)
    with comm.agreement():
        _check_alike(every, comm.rank)
        if names != own_names:
            raise DataError(f"{LABEL}: rank {comm.rank} and rank 0 have other feature names")
    header = _header(every, names)
    share = _Share(comm, [each.n for each in every], header.block)
    source = Arrays(header, share, X, beside)
    data = of_source(comm, source, share.run, target if y is not None else None, computing)
    return replace(data, read_seconds=time.perf_counter() - begin)


def _described(X: np.ndarray | CompressedRows, beside: dict[str, np.ndarray]) -> Given:
    """What this rank has passed; DataError where it does not go together."""
    n, d = X.shape
    sparse = hasattr(X, "indptr")
    dtype = (X.data if hasattr(X, "indptr") else X).dtype  # type: ignore[union-attr]
    for name, values in (("X", np.empty(0, dtype)), *beside.items()):
        if values.dtype.kind not in "biuf":
            raise DataError(f"{LABEL}: '{name}' has type {values.dtype}; expected numbers")
    for name, values in beside.items():
        if values.shape[:1] != (n,) or values.ndim > 1 + (name == NAMES.y):
            raise DataError(f"{LABEL}: '{name}' has shape {values.shape}, but 'X' has {n} rows: expected ({n},)")
    outputs = (*beside[NAMES.y].shape, 1)[1] if NAMES.y in beside else 0
    return Given(n, d, len(X.data) if sparse else None, dtype.str, outputs, tuple(beside))


def _check_alike(every: Sequence[Given], rank: int) -> None:
    """Raise DataError where what this rank has passed does not go with what rank 0 has, or nobody has any rows."""
    first, own = every[0], every[rank]
    for what, here, there in (
        ("columns of X", own.d, first.d),
        ("columns of y", own.outputs, first.outputs),
        ("arrays beside X", ", ".join(own.beside), ", ".join(first.beside)),
        ("X", *("dense" if each.stored is None else "sparse" for each in (own, first))),
    ):
        if here != there:
            raise DataError(f"{LABEL}: {what}: {here} on rank {rank}, but {there} on rank 0; all ranks need the same")
    if not sum(each.n for each in every) or not own.d:
        raise DataError(f"{LABEL}: X has shape {(sum(each.n for each in every), own.d)}: there is nothing to fit")


def _header(every: Sequence[Given], names: tuple[str, ...] | None) -> Header:
    """The header of all rows: as of a file that holds them."""
    first, n = every[0], sum(each.n for each in every)
    sparse = first.stored is not None
    stored = sum(each.stored or 0 for each in every) if sparse else None
    given = np.result_type(*(np.dtype(each.dtype) for each in every if each.n))
    return Header(
        files=(DataFile(LABEL, n, stored=stored or 0),),
        names=NAMES,
        n=n,
        d=first.d,
        dtype=kept_dtype(given, sparse),
        stored=stored,
        feature_names=names or unnamed_columns(first.d),
        group=None,
        outputs=first.outputs,
        sample_weight=NAMES.sample_weight in first.beside,
        offset=NAMES.offset in first.beside,
        storage="in memory",
        stored_dtype=str(given),
        chunk_rows=0,
        in_one_piece=True,
    )


class _Share:
    """The rows of this rank, and how those that were passed come there. counts : of rows that ranks have passed."""

    def __init__(self, comm: Comm, counts: Sequence[int], block: int) -> None:
        self._comm = comm
        given = np.concatenate([[0], np.cumsum(counts)])
        n = int(given[-1])
        # Blocks are cut where that is nearest; ranks at the end that have passed nothing get nothing.
        ends = np.where(given == n, n, np.minimum((2 * given + block) // (2 * block) * block, n))
        self.run = int(ends[comm.rank]), int(ends[comm.rank + 1])
        first = int(given[comm.rank])
        self.cuts = np.clip(ends - first, 0, counts[comm.rank])  # of own rows, where those of each rank begin
        self.before = min(max(first - self.run[0], 0), self.run[1] - self.run[0])  # rows that come from lower ranks

    def parts(self, values: np.ndarray, dtype: np.dtype[Any], cuts: np.ndarray, before: int) -> list[np.ndarray]:
        """Arrays that make up the rows of this rank, from those it has passed. A collective."""
        rank = self._comm.rank
        own = values[cuts[rank] : cuts[rank + 1]]
        if self._comm.size == 1:
            return [own]
        leave = [values[a:b] if r != rank else values[:0] for r, (a, b) in enumerate(pairwise(cuts.tolist()))]
        came = self._comm.exchange([np.ascontiguousarray(part, dtype).reshape(-1) for part in leave])
        came = came.reshape(-1, *values.shape[1:])
        return [came[:before], own, came[before:]]


class Arrays:
    """A `mpigd.reader.Source` of the rows of this rank's share. Made by all ranks together.

    beside : what belongs to rows, by name.
    """

    def __init__(
        self, header: Header, share: _Share, X: np.ndarray | CompressedRows, beside: dict[str, np.ndarray]
    ) -> None:
        self.header, self._first = header, share.run[0]
        double = np.dtype(np.float64)
        self._parts = {name: share.parts(values, double, share.cuts, share.before) for name, values in beside.items()}
        if header.stored is None:
            assert isinstance(X, np.ndarray)
            self._parts[header.names.x] = share.parts(X, header.dtype, share.cuts, share.before)
        else:
            assert not isinstance(X, np.ndarray)
            count, whole = np.diff(X.indptr), np.dtype(np.int64)
            length = _between(share.parts(count, whole, share.cuts, share.before), 0, len(count) + header.n, whole)
            self._starts = np.concatenate([[0], np.cumsum(length)])
            cuts, before = X.indptr[share.cuts].astype(np.int64), int(self._starts[share.before])
            self._numbers = [
                np.concatenate(share.parts(X.data, header.dtype, cuts, before)),
                np.concatenate(share.parts(X.indices, whole, cuts, before)),
            ]

    def rows(self, name: str, start: int, stop: int, dtype: Any) -> np.ndarray:
        """See `Source`."""
        return _between(self._parts[name], start - self._first, stop - self._first, dtype)

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, np.ndarray]]:
        """See `Source`."""
        header, tile = self.header, kernels.tile_rows(self.header.block)
        step = max(PIECE_BYTES // (tile * header.d * header.dtype.itemsize), 1) * tile
        for first in range(start, stop, step):
            yield first, self.rows(header.names.x, first, min(first + step, stop), header.dtype)

    def indptr(self, start: int, stop: int) -> np.ndarray:
        """See `Source`."""
        return self._starts[start - self._first : stop - self._first + 1]

    def number_pieces(self, begin: int, end: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """See `Source`."""
        values, columns = (numbers[begin:end] for numbers in self._numbers)
        yield begin, np.asarray(values, self.header.dtype), np.asarray(columns, np.int64)

    def check_unchanged(self, start: int, stop: int) -> None:
        """See `Source`; nobody else has these rows."""


def _between(parts: Sequence[np.ndarray], start: int, stop: int, dtype: Any) -> np.ndarray:
    """Rows start … stop - 1 of arrays that follow each other, C-contiguous; a copy only where there has to be one."""
    first, some = 0, []
    for part in parts:
        some.append(part[max(start - first, 0) : max(stop - first, 0)])
        first += len(part)
    found = [part for part in some if len(part)] or some[:1]
    return np.ascontiguousarray(found[0] if len(found) == 1 else np.concatenate(found), dtype)

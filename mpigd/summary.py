"""What there is to say of columns one by one, over all ranks: the same bits on any number of them.

Counts, ranges and hashes are exact, and sums are exact before they are rounded, one term a block of rows. Rows are read
twice, a piece at a time: memory depends on the columns alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from mpigd_kernels import exact, summary

from mpigd.comm import Comm
from mpigd.dataset import prepare
from mpigd.errors import DataError
from mpigd.reader import Reader
from mpigd.storage import Header

BINS = 12  # of a histogram
AT_ONCE = 1 << 17  # rows of a sparse X whose ends are held
NOWHERE = summary.NOWHERE

# What kernels take of a piece: rows (m, d) and the number of the first, or values, columns and rows (m,).
Piece = tuple[Any, ...]


@dataclass(frozen=True)
class Summary:
    """Of d columns of n rows; arrays (d,), equal on all ranks.

    low, high, mean, sd : float64, of finite values; NaN without any. The mean square of deviations is sd^2.
    zeros, missing, infinite : int64, counts; of a sparse X, zeros that are not stored count.
    first_missing, first_infinite : int64, the first such row; NOWHERE without any.
    hashes : uint64, equal for columns of the same values.
    histogram : (d, BINS) int64, counts from low to high.
    """

    n: int
    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    zeros: np.ndarray
    missing: np.ndarray
    infinite: np.ndarray
    first_missing: np.ndarray
    first_infinite: np.ndarray
    hashes: np.ndarray
    histogram: np.ndarray

    @property
    def constant(self) -> np.ndarray:
        """Which columns hold one value alone, (d,) bool."""
        result: np.ndarray = (self.low == self.high) & (self.missing + self.infinite == 0)
        return result


def dense_pieces(pieces: Iterable[tuple[int, np.ndarray]]) -> Iterator[Piece]:
    """Pieces of rows (m, d) or (m,), each with the number of its first, as kernels take them."""
    for first, rows in pieces:
        yield np.ascontiguousarray(rows.reshape(len(rows), -1), np.float64), first


def sparse_pieces(reader: Reader, start: int, stop: int) -> Iterator[Piece]:
    """Numbers of rows start … stop - 1 of a sparse X, as kernels take them."""
    header = reader.header
    for first in range(start, stop, AT_ONCE):
        ends = reader.indptr(first, min(first + AT_ONCE, stop))
        for begin, values, columns in reader.number_pieces(int(ends[0]), int(ends[-1])):
            rows = first + _rows_of(ends, begin, begin + len(values))
            outside = (columns < 0) | (columns >= header.d)
            if outside.any():
                at = int(np.argmax(outside))
                path, row = header.place(int(rows[at]))
                raise DataError(
                    f"{path}: dataset '{header.names.x}/indices' has {columns[at]} at row {row}; "
                    f"there are {header.d} columns"
                )
            yield values.astype(np.float64), columns, rows


def _rows_of(ends: np.ndarray, begin: int, end: int) -> np.ndarray:
    """Rows of the numbers begin … end - 1, (end - begin,) int64, counted from the first of those that `ends` is of."""
    low, high = np.searchsorted(ends, (begin, end), side="right") - 1
    counts = np.diff(np.clip(ends[low : high + 2], begin, end))
    return np.repeat(np.arange(low, low + len(counts)), counts)


def summarise(
    comm: Comm, header: Header, d: int, pieces: Callable[[], Iterator[Piece]], sparse: bool = False
) -> Summary:
    """Go through the rows of this rank twice. A collective; what a rank can't read, all raise.

    d : how many columns pieces have.  pieces : begins to go through the rows of this rank, in order.
    """
    kernels = (summary.first_pass_sparse, summary.second_pass_sparse, summary.finish) if sparse else (
        summary.first_pass, summary.second_pass, summary.finish
    )  # fmt: skip
    prepare(comm, *(partial(kernel.load, {}) for kernel in kernels))
    first, second, finish = kernels
    counts, places = np.zeros((3 + sparse, d), np.int64), np.full((2, d), NOWHERE)
    ranges, hashes = np.stack([np.full(d, np.inf), np.full(d, -np.inf)]), np.zeros(d, np.int64)

    def go_through(kernel: Any, *state: np.ndarray) -> np.ndarray:
        """The sums over all ranks of what a kernel adds up, (d,)."""
        scratch, total, last = np.zeros(d), exact.empty(d), np.zeros(1, np.int64)
        with comm.agreement():
            for piece in pieces():
                kernel(*piece, header.block, *([last] if sparse else []), *state, scratch, total)
            finish(scratch, total)
        return comm.sum_exactly(total, "summary")

    sums = go_through(first, counts, places, ranges, hashes)
    comm.sum(counts)
    places = -comm.max(-places)
    low, high = comm.max(ranges * [[-1.0], [1.0]]) * [[-1.0], [1.0]] + 0.0  # a zero loses its sign
    comm.sum(hashes.view(np.uint64))
    absent = header.n - counts[3] if sparse else np.zeros(d, np.int64)
    low, high = np.where(absent > 0, np.minimum(low, 0.0), low), np.where(absent > 0, np.maximum(high, 0.0), high)
    with np.errstate(all="ignore"):
        values = (header.n - counts[1] - counts[2]).astype(np.float64)
        mean = np.where(low == high, low, sums / values)
        per_unit = BINS / (high - low)
        per_unit[~np.isfinite(per_unit)] = 0.0
        histogram = np.zeros((d, BINS), np.int64)
        squares = go_through(second, mean, low, per_unit, histogram) + absent * mean * mean
        sd = np.where(low == high, 0.0, np.sqrt(squares / values))
        comm.sum(histogram)
        zero_bin = np.clip(np.nan_to_num((0.0 - low) * per_unit), 0, BINS - 1).astype(np.int64)
    histogram[np.arange(d), zero_bin] += absent
    empty = values == 0.0
    low, high, mean, sd = (np.where(empty, np.nan, numbers) for numbers in (low, high, mean, sd))
    zeros = counts[0] + absent
    no, inf = places
    return Summary(
        header.n, low, high, mean, sd, zeros, counts[1], counts[2], no, inf, hashes.view(np.uint64), histogram
    )


class Labels:
    """The different values of a target and how often each occurs, as long as they are few."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: dict[float, int] | None = {}

    def add(self, values: np.ndarray) -> None:
        """Some more values; missing ones do not count."""
        if self._counts is not None:
            self._counts = self._merged(self._counts, *np.unique(values[~np.isnan(values)], return_counts=True))

    def over_ranks(self, comm: Comm) -> dict[float, int] | None:
        """Values and counts of all ranks, in order of values; None if they are too many. A collective."""
        merged: dict[float, int] | None = {}
        for counts in comm.gather(self._counts):
            if merged is not None:
                merged = None if counts is None else self._merged(merged, [*counts], [*counts.values()])
        return merged if merged is None else dict(sorted(merged.items()))

    def _merged(self, counts: dict[float, int], labels: Any, more: Any) -> dict[float, int] | None:
        merged = dict(counts)
        if len(labels) > self._most:
            return None
        for label, count in zip(labels, more, strict=True):
            merged[float(label)] = merged.get(float(label), 0) + int(count)
        return merged if len(merged) <= self._most else None

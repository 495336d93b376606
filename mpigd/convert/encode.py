"""From spooled rows to rows of X, dense or sparse. What stands in X is a list of terms.

A term takes at most one column of a row: it puts a value there, at an offset that a level chooses if it has levels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mpigd.convert.arrow import numbers
from mpigd.convert.source import Sparse
from mpigd.convert.survey import COLUMNS, VALUES
from mpigd.errors import DataError


class Chosen(NamedTuple):
    """Of some rows: which level each has, (rows,), -1 for none; and its value, (rows,). None: level 0; value 1."""

    levels: np.ndarray | None
    values: np.ndarray | None


@dataclass(frozen=True)
class Feature:
    """A column of the input as it stands in X.

    names : of its columns in X.  fill : for missing numbers.  codes : of a category, the place in X of every code of
    this rank, and -1 for none at the end; None of numbers and of hashes, whose places are spooled.
    """

    column: str
    names: tuple[str, ...]
    categorical: bool = False
    fill: float = float("nan")
    codes: np.ndarray | None = None

    def choose(self, columns: Mapping[str, Any]) -> Chosen:
        """What some rows, given as spooled columns by name, put in X."""
        values = numbers(columns[self.column])
        if self.categorical:
            return Chosen(values if self.codes is None else self.codes[values], None)
        if self.fill == self.fill and values.dtype.kind == "f":
            values = np.where(np.isnan(values), self.fill, values)
        return Chosen(None, values)


@dataclass(frozen=True)
class Product:
    """The products of two features: of every column of one with every column of the other."""

    a: Feature
    b: Feature

    @property
    def names(self) -> tuple[str, ...]:
        """Of its columns in X."""
        return tuple(f"{a}:{b}" for a in self.a.names for b in self.b.names)

    def choose(self, columns: Mapping[str, Any]) -> Chosen:
        """What some rows, given as spooled columns by name, put in X."""
        a, b = self.a.choose(columns), self.b.choose(columns)
        levels, values = a.levels, a.values
        if a.levels is not None and b.levels is not None:
            there = (a.levels >= 0) & (b.levels >= 0)
            levels = np.where(there, a.levels.astype(np.int64) * len(self.b.names) + b.levels, -1)
        elif b.levels is not None:
            levels = b.levels
        if values is None:
            values = b.values
        elif b.values is not None:
            with np.errstate(over="ignore"):  # an infinite product is found by whoever stores it
                values = values.astype(np.float64) * b.values
        return Chosen(levels, values)


Term = Feature | Product


class Encoder:
    """Terms side by side, d columns in all."""

    def __init__(self, terms: Sequence[Term], shared: int = 0) -> None:
        """Shared: how many columns at the end all features without names have in common."""
        self._terms = terms
        self.names = tuple(name for term in terms for name in term.names)
        own = len(self.names)
        self.names += tuple(f"hash{j}" for j in range(shared))
        self._bases: list[int] = []
        base = 0
        for term in terms:
            self._bases.append(base if term.names else own)
            base += len(term.names)
        self._shared = shared > 0
        self.d = len(self.names)

    def dense(self, batch: Any, dtype: np.dtype) -> np.ndarray:
        """Rows (rows, d) of X."""
        rows = batch.num_rows
        spooled = dict(zip(batch.schema.names, batch.columns, strict=True))
        chosen = [term.choose(spooled) for term in self._terms]
        if all(levels is None for levels, _ in chosen):
            columns = np.concatenate([values for _, values in chosen if values is not None])
            return np.ascontiguousarray(columns.reshape(self.d, rows).T, dtype)
        x = np.zeros((rows, self.d), dtype)
        every = np.arange(rows)
        for base, (levels, values) in zip(self._bases, chosen, strict=True):
            if levels is None:
                x[:, base] = values
                continue
            there = levels >= 0
            x[every[there], base + levels[there]] += 1 if values is None else values[there].astype(dtype)
        return x

    def sparse(self, batch: Any) -> Sparse:
        """The same rows without their zeros, columns in order."""
        rows = batch.num_rows
        columns = np.empty((rows, len(self._terms)), np.int64)
        values = np.ones((rows, len(self._terms)))
        spooled = dict(zip(batch.schema.names, batch.columns, strict=True))
        for at, (base, term) in enumerate(zip(self._bases, self._terms, strict=True)):
            levels, numbers_ = term.choose(spooled)
            columns[:, at] = base if levels is None else np.where(levels >= 0, base + levels, -1)
            if numbers_ is not None:
                values[:, at] = numbers_
        kept = (columns >= 0) & (values != 0.0)
        counts = kept.sum(axis=1)
        found = Sparse(np.concatenate([[0], np.cumsum(counts)]), columns[kept], values[kept])
        return _summed(found, self.d) if self._shared else found


def _summed(rows: Sparse, d: int) -> Sparse:
    """The same rows in order of columns, values of the same column added up."""
    count = len(rows.starts) - 1
    keys = np.repeat(np.arange(count), np.diff(rows.starts)) * d + rows.columns
    known, inverse = np.unique(keys, return_inverse=True)
    values = np.bincount(inverse, weights=rows.values, minlength=len(known))
    counts = np.bincount(known // d, minlength=count)
    return Sparse(np.concatenate([[0], np.cumsum(counts)]), known % d, values)


class Selection:
    """Of sparse rows, some columns: the counterpart of Encoder for sources of sparse rows.

    width, first : how many columns the source has, and the number of the first one.  places : of each column in X, -1
    for none.
    """

    def __init__(self, names: tuple[str, ...], d: int, width: int, first: int, places: np.ndarray | None) -> None:
        self.names, self.d, self.width, self._first, self._places = names, d, width, first, places

    def sparse(self, batch: Any) -> Sparse:
        """Rows of X without zeros, columns in order."""
        starts = batch.column(VALUES).offsets.to_numpy().astype(np.int64)
        columns = batch.column(COLUMNS).flatten().to_numpy() - self._first
        values = batch.column(VALUES).flatten().to_numpy()
        if self._places is not None:
            columns = self._places[columns]
        kept = (columns >= 0) & (values != 0.0)
        ends = np.concatenate([[0], np.cumsum(kept)])
        rows = Sparse(ends[starts - starts[0]], columns[kept], values[kept])
        ordered = np.repeat(np.arange(len(starts) - 1), np.diff(rows.starts)) * max(self.d, 1) + rows.columns
        return rows if (np.diff(ordered) > 0).all() else _summed(rows, self.d)

    def dense(self, batch: Any, dtype: np.dtype) -> np.ndarray:
        """Rows (rows, d) of X."""
        rows = self.sparse(batch)
        x = np.zeros((batch.num_rows, self.d), dtype)
        x[np.repeat(np.arange(batch.num_rows), np.diff(rows.starts)), rows.columns] = rows.values
        return x


def check_finite(values: np.ndarray, dtype: np.dtype, exactly: bool, what: str) -> None:
    """Raise DataError if a type does not hold values that are computed, not read."""
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = values.astype(dtype).astype(np.float64)
    bad = narrow != values if exactly else ~np.isfinite(narrow)
    if bad.any():
        raise DataError(f"{what}: {values[np.argmax(bad)]:g} does not fit type {dtype}; try --dtype float64")

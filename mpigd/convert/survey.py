"""The first look at rows, by the rank that reads them: what is missing, which levels there are, what types hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xxhash

from mpigd.convert.arrow import numbers, pa, pc
from mpigd.convert.plan import Plan
from mpigd.convert.recipe import Recipe
from mpigd.convert.source import Piece, Source, Sparse
from mpigd.convert.spool import Spool
from mpigd.errors import DataError
from mpigd.options import Convert

UNIT = 1200  # exact sums are whole multiples of 2 to the power of minus this
GAP = "(missing)"  # the level of a missing category, where there is to be one; the last one
COLUMNS, VALUES = "columns of sparse rows", "values of sparse rows"  # of a spooled batch


@dataclass
class Tally:
    """Of a column of numbers. exact : whether the type that is tried holds all. total : in units of 2^-UNIT."""

    nonzero: int = 0
    exact: bool = True
    total: int = 0

    def merge(self, other: Tally) -> None:
        """Add the tally of other rows."""
        self.nonzero += other.nonzero
        self.exact &= other.exact
        self.total += other.total


@dataclass
class Found:
    """What a rank has found in its rows; small enough to be sent to all.

    rows, dropped : how many were kept, and left out.  missing : how many values, by column.
    levels : texts of categories by column, in the order of their codes.  unknown : rows of each level, as column=level,
    that the file which new rows are to be like does not have.
    first_column, last_column : the least and largest of a sparse source.
    """

    rows: int = 0
    dropped: int = 0
    missing: dict[str, int] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)
    levels: dict[str, list[str]] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    first_column: int = 1 << 62
    last_column: int = -1


DOUBLE = pa.float64()


class Survey:
    """Takes the pieces of a rank's share, keeps them in a spool as encoding needs them, and notes what it finds.

    found : what other ranks have to know.  first_missing : source, piece, row and column of the first missing value.
    """

    def __init__(self, plan: Plan, options: Convert, spool: Spool, recipe: Recipe | None = None) -> None:
        self._plan, self._options, self._spool = plan, options, spool
        self.found = Found()
        self.first_missing: tuple[Source, Piece, int, str] | None = None
        self._codes: dict[str, dict[str, int]] = {}
        self._known = {name: frozenset(levels) for name, levels in recipe.levels.items()} if recipe else {}
        self._wanted = [column.name for column in plan.wanted]
        self._special = {column.name for column in plan.special.values()}
        asked = options.dtype
        self._tried = np.dtype("float32" if asked == "auto" else asked)

    def add(self, source: Source, piece: Piece) -> None:
        """One more piece. Raises DataError for what no option can help."""
        if self._add_at_once(piece):
            return
        absent = {name: self._absent(source, piece, name) for name in self._wanted}
        keep = None
        sparse = piece.sparse
        if sparse is not None:
            absent[VALUES] = _absent_rows(source, piece, sparse)
        some = {name: mask for name, mask in absent.items() if mask is not None}
        if some:
            keep = self._note_missing(source, piece, some)
        rows = piece.rows
        if keep is not None:
            rows = int(keep.sum())
            self.found.dropped += piece.rows - rows
            sparse = sparse and _rows_kept(sparse, keep)
        if rows:
            batch = {name: self._column(source, piece, name, keep) for name in absent if name != VALUES}
            if sparse is not None:
                batch |= self._sparse(sparse)
            self._spool.add(pa.RecordBatch.from_arrays(list(batch.values()), list(batch)))
            self.found.rows += rows

    def _add_at_once(self, piece: Piece) -> bool:
        """Take a piece of finite doubles and nothing else, without a look at each column; False if it is another."""
        columns = [piece.columns[name] for name in self._wanted]
        if (
            piece.sparse is not None
            or self._options.missing == "mean"
            or self._options.dtype not in ("auto", "float64")
        ):
            return False
        if self._plan.categorical or any(c.type != DOUBLE or c.null_count for c in columns) or not piece.rows:
            return False
        features = len(self._plan.features)
        values = np.concatenate([column.to_numpy() for column in columns])
        weight = self._plan.weight
        if not np.isfinite(_sum(values)) or (weight and (piece.columns[weight.name].to_numpy() < 0.0).any()):
            return False
        values = values[: features * piece.rows]
        tally = self.found.tallies.setdefault("", Tally())
        tally.nonzero += int(np.count_nonzero(values))
        if tally.exact and self._tried != np.float64:
            tally.exact = unheld(values, self._tried, "auto") is None
        self._spool.add(pa.RecordBatch.from_arrays(columns, self._wanted))
        self.found.rows += piece.rows
        return True

    def finish(self) -> Found:
        """What was found; call it once all pieces have been added."""
        self.found.levels = {name: list(codes) for name, codes in self._codes.items()}
        return self.found

    def _absent(self, source: Source, piece: Piece, name: str) -> np.ndarray | None:
        """Which rows (rows,) lack a value of a column, or None if none does; an infinite one is an error."""
        column = piece.columns[name]
        if name in self._plan.categorical:
            if column.null_count or pa.types.is_floating(column.type):
                mask: np.ndarray = pc.is_null(column, nan_is_null=True).to_numpy(zero_copy_only=False)
                return mask if mask.any() else None
            return None
        values = numbers(column)
        # One sum tells that all is well, unless it overflows.
        if values.dtype.kind != "f" or (values.dtype.itemsize > 2 and np.isfinite(_sum(values))):
            return None
        infinite = np.isinf(values)
        if infinite.any():
            row = int(np.argmax(infinite))
            where = f"{source.path}: {source.place(piece, row)}, column '{name}'"
            raise DataError(f"{where}: {values[row]} is not a finite number; correct it or leave the row out")
        missing = np.isnan(values)
        return missing if missing.any() else None

    def _note_missing(self, source: Source, piece: Piece, absent: dict[str, np.ndarray]) -> np.ndarray | None:
        """Count missing values; the rows (rows,) to keep, if some are to be dropped."""
        if self._options.missing == "drop":
            lacking: np.ndarray = np.logical_or.reduce(list(absent.values()))
            return ~lacking
        first = {name: int(np.argmax(mask)) for name, mask in absent.items()}
        for name, mask in absent.items():
            self.found.missing[name] = self.found.missing.get(name, 0) + int(mask.sum())
        if self.first_missing is None or not self._fatal(self.first_missing[3]):
            name = min(first, key=lambda name: (not self._fatal(name), first[name]))
            if self.first_missing is None or self._fatal(name):
                self.first_missing = source, piece, first[name], name
        return None

    def _fatal(self, name: str) -> bool:
        return is_fatal(self._plan, self._options, name)

    def _column(self, source: Source, piece: Piece, name: str, keep: np.ndarray | None) -> Any:
        """What is spooled of a column: codes of levels, buckets of hashes, or numbers with NaN for missing ones."""
        column = piece.columns[name] if keep is None else piece.columns[name].filter(pa.array(keep))
        target = self._plan.target
        if name in self._plan.categorical:
            hashed = self._options.hash_bits is not None and not (target and name == target.name)
            return pa.array(self._buckets(name, column) if hashed else self._encoded(source, name, column))
        values = numbers(column)
        weight = self._plan.weight
        if name not in self._special:
            self._tally(source, piece, name, values, keep)
        elif weight is not None and name == weight.name and (values < 0).any():
            self._refuse(source, piece, name, int(np.argmax(values < 0)), keep, "is negative, which no weight may be")
        return pa.array(values)

    def _encoded(self, source: Source, name: str, column: Any) -> np.ndarray:
        """Codes (rows,) int32 of this rank's levels, in order of appearance; -1 where there is none."""
        known = self._codes.setdefault(name, {})
        texts, places = self._texts(name, column)
        codes = np.array([-1 if text is None else known.setdefault(text, len(known)) for text in texts], np.int32)
        if len(known) > self._options.max_levels:
            raise too_many_levels(self._plan, source, name, self._options)
        if name in self._known:
            counts = np.bincount(places, minlength=len(texts))
            for text, count in zip(texts, counts.tolist(), strict=True):
                if text is not None and text not in self._known[name]:
                    level = f"{name}={text}"
                    self.found.unknown[level] = self.found.unknown.get(level, 0) + count
        result: np.ndarray = codes[places]
        return result

    def _texts(self, name: str, column: Any) -> tuple[list[str | None], np.ndarray]:
        """Levels of a piece as text, None for none, and the place (rows,) of that of each row among them."""
        encoded = column.dictionary_encode()
        texts = [level_text(value) for value in encoded.dictionary.to_pylist()]
        places: np.ndarray = encoded.indices.fill_null(len(texts)).to_numpy(zero_copy_only=False)
        if encoded.indices.null_count:
            texts.append(None)
        if self._options.missing in ("mean", "median") and name not in self._special:
            texts = [GAP if text is None else text for text in texts]
        return texts, places

    def _buckets(self, name: str, column: Any) -> np.ndarray:
        """Hashed levels (rows,) int32; -1 where there is none."""
        texts, places = self._texts(name, column)
        bits = self._options.hash_bits or 0
        found = [-1 if text is None else bucket(name, text, bits) for text in texts]
        result: np.ndarray = np.array(found, np.int32)[places]
        return result

    def _tally(self, source: Source, piece: Piece, name: str, values: np.ndarray, keep: np.ndarray | None) -> None:
        tally = self.found.tallies.setdefault(name, Tally())
        missing = self.found.missing.get(name, 0) and np.isnan(values)
        there = values[~missing] if np.any(missing) else values
        tally.nonzero += int(np.count_nonzero(there))
        if tally.exact and self._tried != np.float64:
            bad = unheld(there, self._tried, self._options.dtype)
            if bad is not None and self._options.dtype != "auto":
                row = int(np.flatnonzero(values == there[bad])[0])
                what = f"{there[bad]:g} does not fit --dtype {self._options.dtype}"
                self._refuse(source, piece, name, row, keep, what)
            tally.exact = bad is None
        if self._options.missing == "mean":
            tally.total += exact_sum(there)

    def _refuse(self, source: Source, piece: Piece, name: str, row: int, keep: np.ndarray | None, what: str) -> None:
        """Raise a DataError about a row, counted among those that are kept."""
        row = row if keep is None else int(np.flatnonzero(keep)[row])
        raise DataError(f"{source.path}: {source.place(piece, row)}, column '{name}': {what}")

    def _sparse(self, sparse: Sparse) -> dict[str, Any]:
        found = self.found
        if len(sparse.columns):
            found.first_column = min(found.first_column, int(sparse.columns.min()))
            found.last_column = max(found.last_column, int(sparse.columns.max()))
        starts = pa.array(sparse.starts.astype(np.int32))
        return {
            COLUMNS: pa.ListArray.from_arrays(starts, pa.array(sparse.columns)),
            VALUES: pa.ListArray.from_arrays(starts, pa.array(sparse.values)),
        }


def is_fatal(plan: Plan, options: Convert, name: str) -> bool:
    """Whether a missing value of a column ends the conversion: neither a number nor a level can stand for it."""
    special = {column.name for column in plan.special.values()}
    return options.missing == "refuse" or name in special or plan.sparse


def too_many_levels(plan: Plan, source: Source, name: str, options: Convert) -> DataError:
    """The error for a category of which there are more than --max-levels."""
    if plan.target is not None and plan.target.name == name:
        return DataError(
            f"{source.path}: column '{name}' has more than {options.max_levels} classes; is it the target? "
            "(see --target and --max-levels)"
        )
    return DataError(
        f"{source.path}: column '{name}' has more than {options.max_levels} levels, which is --max-levels; hash "
        "them, as with --hash-bits 12, raise --max-levels, or leave the column out with --exclude"
    )


def level_text(value: Any) -> str | None:
    """A level as text: 3.0 is 3, and NaN is none."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float):
        return None if value != value else str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def bucket(column: str, level: str, bits: int) -> int:
    """Number of the column that a level is hashed into: XXH3 of 64 bits of "column=level", its lowest bits."""
    return int(xxhash.xxh3_64_intdigest(f"{column}={level}".encode())) & ((1 << bits) - 1)


def unheld(values: np.ndarray, dtype: np.dtype, asked: str) -> int | None:
    """Index of the first value that a type does not hold, or None: exactly, or of a float asked for, roughly."""
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = values.astype(dtype)
        if values.dtype == dtype:
            return None
        rounded = asked in ("float16", "float32")
        bad = ~np.isfinite(narrow) if rounded else narrow.astype(np.float64) != values
    return int(np.argmax(bad)) if bad.any() else None


def exact_sum(values: np.ndarray) -> int:
    """The sum of finite numbers without any rounding, in units of 2^-UNIT: the same in whatever order they come."""
    if not len(values):
        return 0
    fractions, exponents = np.frexp(values.astype(np.float64))
    whole = np.ldexp(fractions, 53).astype(np.int64)
    low = int(exponents.min())
    total = 0
    for part, shift in ((whole & ((1 << 27) - 1), 0), (whole >> 27, 27)):
        sums = np.bincount(exponents - low, weights=part)  # of up to 2^26 whole numbers below 2^27: exact
        total += sum(int(sums[i]) << int(i) + shift for i in np.flatnonzero(sums))
    return total << (UNIT + low - 53)


def _sum(values: np.ndarray) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        return float(values.sum())


def _absent_rows(source: Source, piece: Piece, sparse: Sparse) -> np.ndarray | None:
    """Which rows of a sparse piece have a NaN; an infinite value is an error."""
    bad = ~np.isfinite(sparse.values)
    if not bad.any():
        return None
    rows = np.repeat(np.arange(piece.rows), np.diff(sparse.starts))
    infinite = np.isinf(sparse.values)
    if infinite.any():
        at = int(np.argmax(infinite))
        where = f"{source.path}: {source.place(piece, int(rows[at]))}, column {sparse.columns[at]}"
        raise DataError(f"{where}: {sparse.values[at]} is not a finite number; correct it or leave the row out")
    return np.isin(np.arange(piece.rows), rows[bad])


def _rows_kept(sparse: Sparse, keep: np.ndarray) -> Sparse:
    counts = np.diff(sparse.starts)
    stored = np.repeat(keep, counts)
    starts = np.concatenate([[0], np.cumsum(counts[keep])])
    return Sparse(starts, sparse.columns[stored], sparse.values[stored])


def merged(found: Sequence[Found]) -> Found:
    """What all ranks have found together; levels in sorted order, their codes no longer valid."""
    total = Found()
    levels: dict[str, set[str]] = {}
    for each in found:
        total.rows += each.rows
        total.dropped += each.dropped
        total.first_column = min(total.first_column, each.first_column)
        total.last_column = max(total.last_column, each.last_column)
        for name, count in each.missing.items():
            total.missing[name] = total.missing.get(name, 0) + count
        for name, tally in each.tallies.items():
            total.tallies.setdefault(name, Tally()).merge(tally)
        for name, texts in each.levels.items():
            levels.setdefault(name, set()).update(texts)
        for level, count in each.unknown.items():
            total.unknown[level] = total.unknown.get(level, 0) + count
    total.levels = {name: sorted(texts, key=lambda text: (text == GAP, text)) for name, texts in levels.items()}
    total.unknown = dict(sorted(total.unknown.items()))
    return total

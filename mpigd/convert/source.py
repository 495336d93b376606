"""What every kind of input file offers, and the words for it.

A source is made up of units (pieces of text, row groups, rows, …), of which each rank takes a contiguous share; rows
come in pieces. A source is opened for its header on rank 0 and sent to the other ranks, so it holds plain values alone.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from mpigd.convert.arrow import pa
from mpigd.errors import DataError

PIECE_ROWS = 1 << 16  # the most rows of a piece
PIECE_BYTES = 4 << 20  # about as much of a file is read at once


@dataclass(frozen=True)
class Column:
    """A column as its file has it.

    sort : "number", "text", "date" or "other".  kind : its type, for messages.
    """

    name: str
    sort: str
    kind: str = ""


@dataclass(frozen=True)
class Sparse:
    """Rows of a sparse matrix: of row i the columns and values from starts[i] to starts[i + 1] - 1.

    starts : (rows + 1,) int64, from 0.  columns, values : (stored,) int64 and float64.
    """

    starts: np.ndarray
    columns: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Piece:
    """Some consecutive rows of a source.

    columns : arrays (rows,) of Arrow, without chunks.  sparse : the other columns, where the source is sparse.
    mark, first : where the piece begins; its source can say it in words.
    """

    rows: int
    columns: dict[str, Any]
    mark: int
    first: int = 0
    sparse: Sparse | None = None


@dataclass(frozen=True)
class Share:
    """The part of a source that a rank reads: units start … stop - 1.

    quoted : of CSV, whether the first unit begins, and the first one after the last would begin, inside quotes.
    """

    start: int
    stop: int
    quoted: tuple[bool, bool] = (False, False)


@dataclass(frozen=True)
class Source(ABC):
    """A file to read.

    columns : of a sparse source, those that stand beside the matrix.
    units : how many there are.  special : names for target, weight and offset that are taken without being asked for.
    width : columns of a sparse source, None of a table, 0 where only the rows tell.
    names : of the columns of a sparse source, where it has any.
    """

    path: Path
    columns: tuple[Column, ...] = ()
    units: int = 0
    special: dict[str, str | None] = field(default_factory=dict)
    width: int | None = None
    names: tuple[str, ...] = ()

    @abstractmethod
    def pieces(self, share: Share, wanted: Sequence[Column]) -> Iterator[Piece]:
        """The rows of a share, with the wanted columns. Raises DataError, naming the place."""

    def place(self, piece: Piece, row: int) -> str:
        """Where a row of a piece stands, in words."""
        return f"row {piece.mark + piece.first + row}"


def column_of(source: Source, name: str) -> Column | None:
    """The column of that name, or None."""
    return next((column for column in source.columns if column.name == name), None)


def columns_of_matrix(matrix: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """The columns of a matrix (rows, columns) of numbers as arrays of Arrow."""
    turned = np.ascontiguousarray(matrix.T)
    if turned.dtype == bool:
        turned = turned.astype(np.uint8)
    return {name: pa.array(values) for name, values in zip(names, turned, strict=True)}


def check_twice(path: Path, names: Sequence[str], where: str = "") -> None:
    """Raise DataError if a name stands twice."""
    if len(set(names)) < len(names):
        seen = set[str]()
        twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise DataError(f"{path}: {where + ' ' if where else ''}names column '{twice}' twice")


@contextmanager
def readable(path: Path, what: str) -> Iterator[None]:
    """Turn failures to open or read path, which should be `what`, into a DataError that names it."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (IsADirectoryError, PermissionError) as error:
        raise DataError(f"{path}: can't be read: {error.strerror or error}") from None
    except (OSError, EOFError, ValueError, KeyError, NotImplementedError, BadZipFile, zlib.error) as error:
        # Arrow's errors are OSError, ValueError, KeyError and NotImplementedError.
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: not {what}, or damaged: {text}") from None

"""Text of libsvm and svmlight: a label and pairs column:value on each line; what follows # is a comment."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mpigd.convert import text
from mpigd.convert.arrow import pa
from mpigd.convert.source import Column, Piece, Share, Source, Sparse
from mpigd.errors import DataError

LABEL = "label"
COMMENT = re.compile(rb"#[^\n]*")
QUERY = re.compile(rb"qid:\S*")
BLANK_LINES = re.compile(rb"\n\s*\n")


@dataclass(frozen=True)
class Svmlight(Source):
    """A file of sparse rows. Columns count from what the files hold: from 0 if there is a column 0, else from 1."""

    def pieces(self, share: Share, wanted: Sequence[Column]) -> Iterator[Piece]:
        """The rows that begin in the units of a share; a compressed file belongs to the share of its first unit."""
        if text.is_compressed(self.path):
            if share.start > 0 or share.stop == 0:
                return
            start, stop = 0, None
        else:
            size = self.path.stat().st_size
            start, stop = (
                text.start_of_row(self.path, min(unit * text.UNIT, size), False) for unit in (share.start, share.stop)
            )
            if start >= stop:
                return
        for position, block in text.blocks(self.path, start, stop, quotes=False):
            piece = self._parsed(position, block)
            if piece.rows:
                yield piece

    def _parsed(self, position: int, block: bytes) -> Piece:
        cleaned = QUERY.sub(b"", COMMENT.sub(b"", block)) if b"#" in block or b"qid:" in block else block
        lines = BLANK_LINES.sub(b"\n", cleaned.strip())
        if not lines:
            return Piece(0, {}, mark=position)
        starts = _pairs_of_lines(lines)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                values = np.fromstring(lines.replace(b":", b" ").decode("ascii"), sep=" ")
        except (ValueError, DeprecationWarning):
            values = np.zeros(0)
        if starts is None or len(values) != len(starts) - 1 + 2 * starts[-1]:
            raise self._explained(position, block)
        labels_at = 2 * starts[:-1] + np.arange(len(starts) - 1)
        pairs = np.delete(values, labels_at).reshape(-1, 2)
        columns = pairs[:, 0].astype(np.int64)
        rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        order = np.lexsort((columns, rows))
        twice = (np.diff(rows[order]) == 0) & (np.diff(columns[order]) == 0)
        if (columns != pairs[:, 0]).any() or (columns < 0).any() or twice.any():
            raise self._explained(position, block)
        sparse = Sparse(starts, columns[order], np.ascontiguousarray(pairs[order, 1]))
        return Piece(len(labels_at), {LABEL: pa.array(values[labels_at])}, mark=position, sparse=sparse)

    def _explained(self, position: int, block: bytes) -> DataError:
        """The first line of a block that can't be read, one by one."""
        first = text.line_number(self.path, position)
        for number, line in _lines(text.decoded(self.path, position, block)):
            what = _wrong(line)
            if what:
                return DataError(f"{self.path}: line {first + number}: {what}; expected LABEL COLUMN:VALUE …")
        return DataError(f"{self.path}: lines from {first} on can't be read; expected LABEL COLUMN:VALUE …")

    def place(self, piece: Piece, row: int) -> str:
        """The line of a row."""
        seen = 0
        for position, block in text.blocks(self.path, piece.mark, None, quotes=False):
            line = text.line_number(self.path, position)
            for offset, _ in _lines(block.decode("ascii", "replace")):
                if seen == piece.first + row:
                    return f"line {line + offset}"
                seen += 1
        return "the last line"


def _pairs_of_lines(lines: bytes) -> np.ndarray | None:
    """How many pairs come before each line and the end, (lines + 1,) int64; None if words are not a label, pairs."""
    array = np.frombuffer(lines, np.uint8)
    space = np.concatenate([[True], array <= ord(" "), [True]])
    words = np.flatnonzero(space[:-2] & ~space[1:-1])
    colons = np.flatnonzero(array == ord(":"))
    line_starts = np.concatenate([[0], np.flatnonzero(array == ord("\n")) + 1])
    labels = np.searchsorted(words, line_starts)
    pairs = np.delete(words, labels)
    if len(pairs) != len(colons) or (colons <= pairs).any() or space[colons + 2].any():
        return None
    ends = np.append(words[1:], len(array))
    if (colons >= np.delete(ends, labels)).any():
        return None
    return np.append(np.searchsorted(colons, line_starts), len(colons)).astype(np.int64)


def _lines(content: str) -> Iterator[tuple[int, list[str]]]:
    """Number, from 0, and words of the lines that hold a row."""
    for number, line in enumerate(content.split("\n")):
        words = [word for word in line.partition("#")[0].split() if not word.startswith("qid:")]
        if words:
            yield number, words


def _wrong(words: list[str]) -> str:
    """What is wrong with a line; nothing if it is right."""
    seen = set[int]()
    try:
        float(words[0])
    except ValueError:
        several = "; several labels of one row are not supported" if "," in words[0] else ""
        return f"label '{words[0]}' is not a number{several}"
    for word in words[1:]:
        column, colon, value = word.partition(":")
        if not colon or not column.isdecimal():
            return f"'{word}' is not a pair of a whole number ≥ 0 and a value"
        if int(column) in seen:
            return f"column {column} stands twice"
        seen.add(int(column))
        try:
            float(value)
        except ValueError:
            return f"'{value}' of column {column} is not a number"
    return ""


def opened(path: Path) -> Svmlight:
    """A file of sparse rows; nothing of it has to be read before its rows."""
    with text.opened(path) as file:
        file.read(1)
    units = 1 if text.is_compressed(path) else -(-path.stat().st_size // text.UNIT)
    return Svmlight(path, (Column(LABEL, "number"),), units, {"target": LABEL}, width=0)

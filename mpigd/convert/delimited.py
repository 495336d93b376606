"""CSV and its relatives, as RFC 4180 has them: pieces of text that pyarrow parses, and the place of what it can't.

The first value that is there decides what a column is: a number, true or false (a number, too), a date, or text.
"""

from __future__ import annotations

import csv as slow
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpigd.convert import text
from mpigd.convert.arrow import csv, pa, plain
from mpigd.convert.source import PIECE_BYTES, Column, Piece, Share, Source, check_twice
from mpigd.convert.text import BOM
from mpigd.errors import DataError
from mpigd.storage import unnamed_columns

PIECE_FIELDS = 1000  # rows that a piece should have, if there is room
SAMPLE = 1 << 18  # bytes that are looked at for the sorts of columns
DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}([T ]\d.*)?|\d{1,2}/\d{1,2}/\d{4}( \d.*)?|\d{1,2}\.\d{1,2}\.\d{4}( \d.*)?")
NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*|\s*[-+]?(inf|infinity)\s*", re.IGNORECASE)
BOOLEANS = {"true", "false", "True", "False", "TRUE", "FALSE"}
MISSING = frozenset(csv.ConvertOptions().null_values)


@dataclass(frozen=True)
class Delimited(Source):
    """A CSV file.

    delimiter : one character.  body : byte at which rows begin.  piece : bytes that are parsed at once.
    """

    delimiter: str = ","
    body: int = 0
    piece: int | None = None

    def pieces(self, share: Share, wanted: Sequence[Column]) -> Iterator[Piece]:
        """The rows that begin in the units of a share; a compressed file belongs to the share of its first unit."""
        if text.is_compressed(self.path):
            start, stop = self.body, None
            if share.start > 0 or share.stop == 0:
                return
        else:
            start, end = (
                text.start_of_row(self.path, min(unit * text.UNIT, self.path.stat().st_size), quoted)
                for unit, quoted in zip((share.start, share.stop), share.quoted, strict=True)
            )
            start, stop = max(start, self.body), end
            if start >= end:
                return
        for position, block in text.blocks(self.path, start, stop, size=self.piece):
            if not block.isspace():
                yield self._parsed(position, block, wanted)

    def _parsed(self, position: int, block: bytes, wanted: Sequence[Column]) -> Piece:
        quotes = text.QUOTE in block
        if quotes:
            text.check_quotes(self.path, position, block, self.delimiter)
        names = [column.name for column in self.columns]
        types = {column.name: _arrow_type(column) for column in wanted}
        try:
            table = _read(block, names, types, self.delimiter, quotes)
        except pa.ArrowInvalid as error:
            raise self._explained(position, block, wanted, error) from None
        batches = table.to_batches()
        columns = batches[0].columns if len(batches) == 1 else table.columns
        found = {name: plain(values) for name, values in zip(types, columns, strict=True)}
        return Piece(table.num_rows, found, mark=position)

    def _explained(self, position: int, block: bytes, wanted: Sequence[Column], error: Exception) -> DataError:
        """The first thing in a block that pyarrow refuses, by a slower reader that knows lines."""
        content = text.decoded(self.path, position, block)
        first = text.line_number(self.path, position)
        at = {column.name: index for index, column in enumerate(self.columns)}
        for line, fields in _records(content, self.delimiter):
            where = f"{self.path}: line {first + line}"
            if len(fields) != len(self.columns):
                return DataError(
                    f"{where} has {len(fields)} fields; expected {len(self.columns)}, as in the first line"
                )
            for column in wanted:
                value = fields[at[column.name]]
                if column.sort == "number" and not _fits(value, column.kind):
                    what = "is not a number" if column.kind != "boolean" else "is neither true nor false"
                    return DataError(
                        f"{where}, column '{column.name}': '{value}' {what}; correct it, or if the column holds "
                        f"categories name it with --categorical"
                    )
        return DataError(f"{self.path}: lines from {first} on can't be read: {error}")

    def place(self, piece: Piece, row: int) -> str:
        """The line of a row."""
        seen = 0
        for position, block in text.blocks(self.path, piece.mark, None):
            line = text.line_number(self.path, position)
            for offset, _ in _records(block.decode("utf-8", "replace"), self.delimiter):
                if seen == piece.first + row:
                    return f"line {line + offset}"
                seen += 1
        return "the last line"


def _records(content: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Fields of rows with the number of the line, from 0, on which each begins; blank lines are left out."""
    slow.field_size_limit(1 << 30)
    reader = slow.reader(io.StringIO(content, newline=""), delimiter=delimiter)
    line = 0
    with suppress(slow.Error):  # pyarrow will have more to say of it
        for fields in reader:
            if fields:
                yield line, fields
            line = reader.line_num


def _fits(value: str, kind: str) -> bool:
    if value in MISSING:
        return True
    return value in BOOLEANS | {"0", "1"} if kind == "boolean" else NUMBER.fullmatch(value) is not None


def _arrow_type(column: Column) -> Any:
    if column.sort != "number":
        return pa.string()
    return pa.bool_() if column.kind == "boolean" else pa.float64()


def _read(block: bytes, names: list[str], types: dict[str, Any], delimiter: str, quotes: bool) -> Any:
    return csv.read_csv(
        pa.BufferReader(block),
        csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=names),
        csv.ParseOptions(delimiter=delimiter, newlines_in_values=quotes, quote_char='"' if quotes else False),
        csv.ConvertOptions(
            column_types=types, include_columns=list(types), strings_can_be_null=True, null_values=sorted(MISSING)
        ),
    )


def opened(path: Path, delimiter: str | None, header: bool, room: int) -> Delimited:
    """A CSV file whose header has been read. room : bytes that a piece of it may take."""
    guessed = delimiter is None
    if delimiter is None:
        stem = path.with_suffix("") if text.is_compressed(path) else path
        delimiter = "\t" if stem.suffix.lower() in (".tsv", ".tab") else ","
    delimiter = "\t" if delimiter == "tab" else delimiter
    with text.opened(path) as file:
        sample = file.read(SAMPLE)
        while not len(text.ends_of_lines(sample)) and (more := file.read(SAMPLE)):
            sample += more
        if not file.read(1):
            sample += b"\n"  # the last line is whole
    names, body = _header(path, sample, delimiter, header)
    if guessed and len(names) == 1:
        _check_one_column(
            path, names[0] if header else sample[body:].split(b"\n")[0].decode("utf-8", "replace"), delimiter
        )
    # What is done for each column of a piece should be little beside its rows.
    piece = max(PIECE_BYTES, min(room, PIECE_FIELDS * 16 * len(names)))
    units = 1 if text.is_compressed(path) else -(-path.stat().st_size // text.UNIT)
    sorts = _sorts(path, sample, body, names, delimiter)
    columns = tuple(Column(name, *sort) for name, sort in zip(names, sorts, strict=True))
    special: dict[str, str | None] = {"target": columns[-1].name}
    return Delimited(path, columns, units, special, delimiter=delimiter, body=body, piece=piece)


def _header(path: Path, sample: bytes, delimiter: str, header: bool) -> tuple[list[str], int]:
    """Names of the columns, and the byte where rows begin."""
    start = len(BOM) if sample.startswith(BOM) else 0
    ends = [*(text.ends_of_lines(sample) + 1).tolist(), len(sample)]
    for end in ends:
        line = sample[start:end]
        if line.strip():
            break
        start = end
    else:
        raise DataError(f"{path}: line 1 must name the columns; the file is empty")
    if text.QUOTE in line:
        text.check_quotes(path, start, line, delimiter)
    fields = next(slow.reader(io.StringIO(text.decoded(path, start, line), newline=""), delimiter=delimiter))
    if not header:
        return list(unnamed_columns(len(fields))), start
    names = [name.strip() for name in fields]
    number = 1 + sample[:start].count(b"\n")
    check_twice(path, names, f"line {number}")
    if "" in names:
        raise DataError(f"{path}: line {number} has no name for column {names.index('') + 1}")
    return names, end


def _check_one_column(path: Path, line: str, delimiter: str) -> None:
    """Raise DataError where a line without the delimiter has another one."""
    shown = {"\t": "tab"}
    other = max((sign for sign in ";\t|," if sign != delimiter), key=line.count)
    if other in line:
        raise DataError(
            f"{path}: the first line is one column, '{line.strip()[:60]}'; say what stands between columns, as with "
            f"--delimiter {shown.get(other, repr(other))}"
        )


def _sorts(path: Path, sample: bytes, body: int, names: list[str], delimiter: str) -> list[tuple[str, str]]:
    """Sort and kind of each column, by its first value that is there."""
    ends = text.ends_of_lines(sample)
    rows = sample[body : int(ends[-1]) + 1] if len(ends) and ends[-1] >= body else sample[body:]
    found = dict.fromkeys(range(len(names)), ("number", "double"))
    looking = set(found)
    content = rows.decode("utf-8", "replace")
    for _, fields in _records(content, delimiter):
        for index in [index for index in looking if index < len(fields) and fields[index] not in MISSING]:
            found[index] = _sort(fields[index])
            looking.discard(index)
        if not looking:
            break
    return list(found.values())


def _sort(value: str) -> tuple[str, str]:
    if NUMBER.fullmatch(value):
        return "number", "double"
    if value in BOOLEANS:
        return "number", "boolean"
    return ("date", "a date") if DATE.fullmatch(value) else ("text", "text")

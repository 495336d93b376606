"""Parquet files, by row groups, and Arrow (Feather) files, by record batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpigd.convert.arrow import pa, plain, sort_of
from mpigd.convert.source import PIECE_ROWS, Column, Piece, Share, Source, check_twice, readable


@dataclass(frozen=True)
class Parquet(Source):
    """A Parquet file; its units are row groups."""

    def pieces(self, share: Share, wanted: Sequence[Column]) -> Iterator[Piece]:
        """The rows of row groups start … stop - 1."""
        from pyarrow import parquet

        names = [column.name for column in wanted]
        with readable(self.path, "a Parquet file"), parquet.ParquetFile(self.path) as file:
            rows = [file.metadata.row_group(unit).num_rows for unit in range(share.stop)]
            first = sum(rows[: share.start])
            for unit in range(share.start, share.stop):
                # Rows are counted within a row group; a batch may go over the end of one.
                for batch in file.iter_batches(PIECE_ROWS, [unit], columns=names, use_threads=False):
                    columns = {name: plain(batch.column(name)) for name in names}
                    yield Piece(batch.num_rows, columns, mark=0, first=first)
                    first += batch.num_rows


@dataclass(frozen=True)
class Arrow(Source):
    """An Arrow IPC file, which Feather is, too; its units are record batches."""

    def pieces(self, share: Share, wanted: Sequence[Column]) -> Iterator[Piece]:
        """The rows of record batches start … stop - 1."""
        with readable(self.path, "an Arrow file"), pa.memory_map(str(self.path)) as raw:
            file = pa.ipc.open_file(raw)
            for unit in range(share.start, share.stop):
                batch = file.get_batch(unit)
                columns = [(column.name, batch.column(column.name)) for column in wanted]
                for first in range(0, batch.num_rows, PIECE_ROWS):
                    rows = min(PIECE_ROWS, batch.num_rows - first)
                    some = {name: plain(values.slice(first, rows)) for name, values in columns}
                    yield Piece(rows, some, mark=unit, first=first)

    def place(self, piece: Piece, row: int) -> str:
        """The row, counted from the start of the file."""
        with readable(self.path, "an Arrow file"), pa.memory_map(str(self.path)) as raw:
            file = pa.ipc.open_file(raw)
            return f"row {sum(file.get_batch(unit).num_rows for unit in range(piece.mark)) + piece.first + row}"


def opened_parquet(path: Path) -> Parquet:
    """A Parquet file whose schema has been read."""
    from pyarrow import parquet

    with readable(path, "a Parquet file"), path.open("rb"), parquet.ParquetFile(path) as file:
        columns = _columns(path, file.schema_arrow)
        return Parquet(path, columns, file.metadata.num_row_groups, _last(columns))


def opened_arrow(path: Path) -> Arrow:
    """An Arrow file whose schema has been read."""
    with readable(path, "an Arrow file"), path.open("rb"), pa.memory_map(str(path)) as raw:
        file = pa.ipc.open_file(raw)
        columns = _columns(path, file.schema)
        return Arrow(path, columns, file.num_record_batches, _last(columns))


def _columns(path: Path, schema: Any) -> tuple[Column, ...]:
    check_twice(path, schema.names)
    # An index that pandas wrote beside the columns is none of them.
    return tuple(
        Column(field.name, sort_of(field.type), str(field.type))
        for field in schema
        if not field.name.startswith("__index_level_")
    )


def _last(columns: tuple[Column, ...]) -> dict[str, str | None]:
    return {"target": columns[-1].name if columns else None}

"""The job `convert`: from a text table to an HDF5 data file."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import h5py
import numpy as np

from mpigd.comm import Comm
from mpigd.errors import DataError
from mpigd.files import written_whole
from mpigd.options import Convert

CHUNK_ROWS = 4096


def run(comm: Comm, options: Convert, observers: Sequence[Any] = ()) -> dict[str, Any]:
    """Convert on rank 0, in pieces of CHUNK_ROWS rows; the others wait for the outcome."""
    summary: dict[str, Any] = {}
    with comm.agreement():
        if comm.rank == 0:
            summary = convert_csv(options.source, options.output, options.target, np.dtype(options.dtype))
    return comm.share(summary)


def convert_csv(source: Path, output: Path, target: str | None, dtype: np.dtype) -> dict[str, Any]:
    """Read a CSV table of numbers with a header line and write X, y and feature_names."""
    with opened(source) as text:
        reader = csv.reader(text)
        names = [name.strip() for name in next(reader, [])]
        if len(names) < 2:
            raise DataError(f"{source}: line 1 must name at least two columns")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(f"{source}: line 1 names column '{twice}' twice")
        target = names[-1] if target is None else target
        if target not in names:
            raise DataError(f"{source}: no column '{target}' for --target; there are: {', '.join(names)}")
        column = names.index(target)
        features = names[:column] + names[column + 1 :]
        with written_whole(output) as temporary, h5py.File(temporary, "w", track_order=True) as file:
            blocks = numbers(reader, source, names)
            first = next(blocks, None)
            if first is None:
                raise DataError(f"{source}: holds no rows after the header line")
            rows, d = 0, len(features)
            # A table of unknown length has to be chunked; one that fits a chunk is stored contiguously.
            more = len(first) == CHUNK_ROWS
            x = file.create_dataset("X", (len(first), d), dtype, **_growing((CHUNK_ROWS, d), more))
            y = file.create_dataset("y", (len(first),), np.float64, **_growing((CHUNK_ROWS,), more))
            for block in itertools.chain([first], blocks):
                end = rows + len(block)
                if end > len(y):
                    x.resize(end, axis=0)
                    y.resize(end, axis=0)
                x[rows:end] = np.delete(block, column, axis=1)
                y[rows:end] = block[:, column]
                rows = end
            file.create_dataset("feature_names", data=features, dtype=h5py.string_dtype())
            y.attrs["name"] = target
    return {"output": str(output), "rows": rows, "columns": d, "target": target}


def _growing(chunk: tuple[int, ...], wanted: bool) -> dict[str, Any]:
    return {"chunks": chunk, "maxshape": (None, *chunk[1:])} if wanted else {}


@contextmanager
def opened(source: Path) -> Iterator[TextIO]:
    """Open a text file, gunzipping it if its name ends in .gz; failures become DataErrors."""
    try:
        with source.open("rb") as raw:
            binary = gzip.GzipFile(fileobj=raw) if source.suffix == ".gz" else raw
            yield io.TextIOWrapper(binary, encoding="utf-8-sig", newline="")
    except FileNotFoundError:
        raise DataError(f"{source}: no such file") from None
    except (gzip.BadGzipFile, EOFError) as error:
        raise DataError(f"{source}: damaged gzip file: {error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{source}: not a CSV text file: {error}") from None
    except (IsADirectoryError, PermissionError) as error:
        raise DataError(f"{source}: can't be read: {error.strerror}") from None


def numbers(reader: Any, source: Path, names: list[str]) -> Iterator[np.ndarray]:
    """Blocks of rows (up to CHUNK_ROWS, columns) float64; the first field that is no number is an error."""
    # The reader counts lines; a quoted field may hold several.
    numbered = ((reader.line_num, line) for line in reader if line)
    while block := list(itertools.islice(numbered, CHUNK_ROWS)):
        for number, line in block:
            if len(line) != len(names):
                raise DataError(f"{source}: line {number} has {len(line)} fields; line 1 names {len(names)}")
        try:
            yield np.array([line for _, line in block], np.float64)
        except ValueError:
            raise _first_bad_field(block, source, names) from None


def _first_bad_field(block: list[tuple[int, list[str]]], source: Path, names: list[str]) -> DataError:
    for number, line in block:
        for name, text in zip(names, line, strict=True):
            try:
                float(text)
            except ValueError:
                what = f"'{text}' is not a number" if text.strip() else "a value is missing"
                return DataError(f"{source}: line {number}, column '{name}': {what}")
    raise AssertionError("numpy refused a number that Python accepts")

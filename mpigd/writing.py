"""Tables that ranks write together, each its own rows at the same time: HDF5, or Parquet by the name of the file.

Of an HDF5 file rank 0 makes the datasets, and every rank writes at its place. Of Parquet every rank writes a file of
its own; the order of their names is that of rows. Either has its name when it is complete. See docs/decisions/0018.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from mpigd import platforms
from mpigd.comm import Comm
from mpigd.errors import OutputError, UsageError
from mpigd.files import check_writable, flush, publish, reported, temporary_name, write_at
from mpigd.hdf5 import allocated

GROUP_BYTES = 16 << 20  # of a row group of Parquet


class Column(NamedTuple):
    """A column of float64, or several side by side that have names of their own."""

    names: tuple[str, ...] = ()

    def shape(self, rows: int) -> tuple[int, ...]:
        """Of so many rows."""
        return (rows, len(self.names)) if self.names else (rows,)


Put = Callable[[int, Mapping[str, np.ndarray]], None]  # the first row, and what follows from there on of every column


def is_parquet(path: Path) -> bool:
    """Whether a table of this name is Parquet."""
    return path.suffix in (".parquet", ".pq")


def check(path: Path) -> None:
    """Raise OutputError or UsageError where it can be seen beforehand that a table can't be written. On every rank."""
    if is_parquet(path):
        _arrow()
        if path.is_dir() and not all(is_parquet(part) for part in path.iterdir()):
            raise OutputError(f"{path}: can't be written: it is a directory that holds other files than Parquet")
    elif path.is_dir():
        raise OutputError(f"{path}: can't be written: it is a directory")
    check_writable(path)


@contextmanager
def table(
    comm: Comm, path: Path, rows: int, columns: Mapping[str, Column], attributes: Mapping[str, str]
) -> Iterator[Put]:
    """What puts rows of this rank into a table of so many rows over all ranks. A collective.

    What fails in the block that uses it has to fail on all ranks; then nothing is left.
    attributes : of the file.
    """
    temporary = temporary_name(path)
    opened = _parquet if is_parquet(path) else _hdf5
    try:
        with opened(comm, path, rows, columns, attributes) as put:

            def put_or_report(first: int, values: Mapping[str, np.ndarray]) -> None:
                with reported(path):
                    put(first, values)

            yield put_or_report
        with comm.agreement():
            if comm.rank == 0:
                with reported(path):
                    _replace(path)
    finally:
        if comm.rank == 0:
            _remove(temporary)


@contextmanager
def _hdf5(
    comm: Comm, path: Path, rows: int, columns: Mapping[str, Column], attributes: Mapping[str, str]
) -> Iterator[Put]:
    temporary, places = temporary_name(path), {}
    with comm.agreement():
        if comm.rank == 0:
            with reported(path), h5py.File(temporary, "w") as file:
                file.attrs.update(attributes)
                for name, column in columns.items():
                    places[name] = allocated(file, name, column.shape(rows), np.dtype(np.float64))
                    if column.names:
                        file[name].attrs["names"] = list(column.names)
    places = comm.share(places)
    with ExitStack() as stack:
        with comm.agreement(), reported(path):
            descriptor = platforms.open_bytes(temporary, os.O_WRONLY)
            stack.callback(os.close, descriptor)

        def put(first: int, values: Mapping[str, np.ndarray]) -> None:
            for name, some in values.items():
                numbers = np.asarray(some, np.float64)
                write_at(descriptor, places[name] + first * numbers[:1].nbytes, numbers)

        yield put
        with comm.agreement(), reported(path):
            platforms.flush(descriptor)


@contextmanager
def _parquet(
    comm: Comm, path: Path, rows: int, columns: Mapping[str, Column], attributes: Mapping[str, str]
) -> Iterator[Put]:
    """A file where there is one rank, else a directory of one for every rank that has rows."""
    own = temporary_name(path)
    with comm.agreement():
        if comm.rank == 0:
            with reported(path):
                _remove(own)
                if comm.size > 1:
                    own.mkdir()
    if comm.size > 1:
        own /= f"part-{comm.rank:05d}.parquet"
    parts = _Parts(own, columns, attributes)
    try:
        yield parts.put
        with comm.agreement(), reported(path):
            parts.end()
    finally:
        with suppress(OSError):  # of a disk that is full, which has been said
            parts.close()


class _Parts:
    """A Parquet file on its way, a row group at a time; none without rows."""

    def __init__(self, path: Path, columns: Mapping[str, Column], attributes: Mapping[str, str]) -> None:
        self._path, self._columns, self._attributes = path, columns, attributes
        self._writer: Any = None
        self._waiting: list[Any] = []
        self._bytes = 0

    def put(self, first: int, values: Mapping[str, np.ndarray]) -> None:
        """Add rows; they come in their order."""
        pa, _ = _arrow()
        flat: dict[str, np.ndarray] = {}
        for name, column in self._columns.items():
            if column.names:
                flat |= {f"{name}_{each}": values[name][:, k] for k, each in enumerate(column.names)}
            else:
                flat[name] = values[name]
        arrays = {name: np.array(each, np.float64) for name, each in flat.items()}
        self._waiting.append(pa.table(arrays))
        self._bytes += sum(array.nbytes for array in arrays.values())
        if self._bytes >= GROUP_BYTES:
            self._write()

    def _write(self) -> None:
        pa, parquet = _arrow()
        group = pa.concat_tables(self._waiting)
        if self._writer is None:
            schema = group.schema.with_metadata(dict(self._attributes))
            self._writer = parquet.ParquetWriter(self._path, schema)
        self._writer.write_table(group.replace_schema_metadata(dict(self._attributes)), group.num_rows)
        self._waiting, self._bytes = [], 0

    def end(self) -> None:
        """Write what waits, and the end of the file."""
        if self._waiting:
            self._write()
        if self._writer is not None:
            self.close()
            flush(self._path)

    def close(self) -> None:
        """Close the file, complete or not."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _arrow() -> tuple[Any, Any]:
    """PyArrow, an optional dependency, and its part for Parquet."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError(
            f"--output: Parquet needs pyarrow ({error}); install mpigd[convert], or name a file .h5"
        ) from None
    return pyarrow, parquet


def _replace(path: Path) -> None:
    """Give the complete temporary file or directory its name, in place of an earlier table."""
    temporary, earlier = temporary_name(path), path.with_name(f".{path.name}.earlier")
    if path.is_dir() or (temporary.is_dir() and path.exists()):  # can't be replaced in one move
        _remove(earlier)
        path.rename(earlier)
    publish(path)
    _remove(earlier)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

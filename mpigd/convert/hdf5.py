"""HDF5 files with a matrix X, dense or of sparse rows as AnnData writes them. Their units are rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mpigd.convert.arrow import pa
from mpigd.convert.matrices import BESIDE
from mpigd.convert.source import (
    PIECE_BYTES,
    PIECE_ROWS,
    Column,
    Piece,
    Share,
    Source,
    Sparse,
    check_twice,
    columns_of_matrix,
    readable,
)
from mpigd.errors import DataError
from mpigd.links import check_inside
from mpigd.storage import unnamed_columns

SPARSE_ROWS = 4096  # the most rows of a sparse piece


@dataclass(frozen=True)
class Hdf5(Source):
    """An HDF5 file. inside : names of the columns of a dense X; other columns are datasets beside it."""

    inside: tuple[str, ...] = ()

    def pieces(self, share: Share, wanted: Sequence[Column]) -> Iterator[Piece]:
        """Rows start … stop - 1."""
        at = {name: index for index, name in enumerate(self.inside)}
        taken = [column.name for column in wanted if column.name in at]
        some = [at[name] for name in taken]
        beside = [column.name for column in wanted if column.name not in at]
        step = SPARSE_ROWS if self.width is not None else max(PIECE_BYTES // (8 * max(len(self.inside), 1)), 1)
        step = min(step, PIECE_ROWS)
        with readable(self.path, "an HDF5 file"), opened_file(self.path) as file:
            for first in range(share.start, share.stop, step):
                end = min(first + step, share.stop)
                columns = {name: beside_rows(file, self.path, name, first, end) for name in beside}
                sparse = None
                if self.width is not None:
                    sparse = sparse_rows(file["X"], self.path, first, end)
                elif taken:
                    columns |= columns_of_matrix(file["X"][first:end][:, some], taken)
                yield Piece(end - first, columns, mark=first, sparse=sparse)


def opened_file(path: Path) -> h5py.File:
    """An HDF5 file to read, with hdf5plugin's filters where they are installed."""
    with suppress(ImportError):
        import hdf5plugin  # noqa: F401 (it registers its filters)
    return h5py.File(path, "r")


def sparse_rows(group: h5py.Group, path: Path, first: int, end: int) -> Sparse:
    """Rows of a matrix in AnnData's form."""
    starts = group["indptr"][first : end + 1].astype(np.int64)
    if (np.diff(starts) < 0).any() or starts[-1] > len(group["data"]):
        raise DataError(f"{path}: dataset 'X/indptr' falls between rows {first} and {end}, or leads beyond the data")
    some = slice(int(starts[0]), int(starts[-1]))
    columns, values = group["indices"][some].astype(np.int64), group["data"][some].astype(np.float64)
    width = int(group.attrs["shape"][1])
    if ((columns < 0) | (columns >= width)).any():
        raise DataError(f"{path}: dataset 'X/indices' has a column that X does not, in rows {first} to {end - 1}")
    return Sparse(starts - starts[0], columns, values)


def beside_rows(file: h5py.File, path: Path, name: str, first: int, end: int) -> Any:
    """Rows of a dataset (rows,), or of a categorical as AnnData has it, as an array of Arrow."""
    item = file[name]
    if isinstance(item, h5py.Group):
        codes = item["codes"][first:end].astype(np.int64)
        categories = item["categories"]
        levels = categories.asstr()[:] if h5py.check_string_dtype(categories.dtype) else categories[:]
        known = pa.array(list(levels))
        return known.take(pa.array(np.maximum(codes, 0), mask=codes < 0))
    if h5py.check_string_dtype(item.dtype):
        return pa.array(list(item.asstr()[first:end]), pa.string())
    values = item[first:end]
    return pa.array(values.astype(np.uint8) if values.dtype == bool else values)


def opened(path: Path, named: Sequence[str]) -> Hdf5:
    """An HDF5 file of which the shapes have been read. named : datasets that options name, beside X."""
    with readable(path, "an HDF5 file"), opened_file(path) as file:
        if "X" not in file:
            raise DataError(f"{path}: no dataset 'X'; the file holds: {', '.join(sorted(file)) or 'nothing'}")
        matrix = file["X"]
        sparse = isinstance(matrix, h5py.Group)
        shape = _shape(path, matrix)
        names = _names(file, shape[1])
        inside = () if sparse else (names or unnamed_columns(shape[1]))
        beside = [name for name in dict.fromkeys((*BESIDE, *named)) if name in file and name not in inside]
        for name in ("X", *beside):
            check_inside(file[name], path, name)
        columns = [Column(name, "number") for name in inside]
        columns += [_column(path, file, name, shape[0]) for name in beside]
    check_twice(path, [column.name for column in columns])
    special: dict[str, str | None] = {role: name for name, role in BESIDE.items() if name in beside}
    width = shape[1] if sparse else None
    return Hdf5(path, tuple(columns), shape[0], special, width, names if sparse else (), inside=inside)


def _shape(path: Path, matrix: Any) -> tuple[int, int]:
    if isinstance(matrix, h5py.Dataset):
        if len(matrix.shape) != 2 or matrix.dtype.kind not in "fiub":
            raise DataError(
                f"{path}: dataset 'X' has shape {matrix.shape} and type {matrix.dtype}; "
                "expected numbers (rows, columns)"
            )
        return int(matrix.shape[0]), int(matrix.shape[1])
    encoding = matrix.attrs.get("encoding-type", "csr_matrix")
    if encoding != "csr_matrix" or not {"data", "indices", "indptr"} <= set(matrix) or "shape" not in matrix.attrs:
        raise DataError(f"{path}: 'X' is no csr_matrix as AnnData writes it: data, indices, indptr, attribute shape")
    rows, columns = (int(size) for size in matrix.attrs["shape"])
    if matrix["indptr"].shape != (rows + 1,) or matrix["data"].shape != matrix["indices"].shape:
        raise DataError(f"{path}: 'X' of shape {(rows, columns)} has indptr {matrix['indptr'].shape}")
    return rows, columns


def _names(file: h5py.File, width: int) -> tuple[str, ...]:
    """Names of the columns: feature_names, or the index of AnnData's var; nothing if there are none."""
    item = file.get("feature_names")
    if item is None and isinstance(file.get("var"), h5py.Group):
        item = file["var"].get(file["var"].attrs.get("_index", "_index"))
    if not isinstance(item, h5py.Dataset) or item.shape != (width,) or not h5py.check_string_dtype(item.dtype):
        return ()
    return tuple(item.asstr()[:])


def _column(path: Path, file: h5py.File, name: str, rows: int) -> Column:
    item = file[name]
    codes = item.get("codes") if isinstance(item, h5py.Group) else item
    if not isinstance(codes, h5py.Dataset) or codes.shape != (rows,):
        shape = getattr(codes, "shape", "of a group")
        raise DataError(f"{path}: dataset '{name}' has shape {shape}; expected ({rows},), a value for each row of X")
    values = item["categories"] if isinstance(item, h5py.Group) else item
    text = h5py.check_string_dtype(values.dtype) is not None
    if not text and values.dtype.kind not in "fiub":
        raise DataError(f"{path}: dataset '{name}' has type {values.dtype}; expected numbers or text")
    return Column(name, "text" if text else "number", str(values.dtype))

"""Data sets: what their files say of themselves before any row is read.

A data set is one file, or several whose rows come one after the other.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from mpigd_kernels import exact

from mpigd.errors import DataError
from mpigd.hdf5 import damage_reported, dataset_of, in_one_piece, open_file

SMALLEST_BLOCK, LARGEST_BLOCK, MOST_BLOCKS = 16, 4096, exact.MOST_TERMS
PATTERN = "*?["  # what makes a name a pattern
SPARSE = ("data", "indices", "indptr")  # of a sparse X


def block_rows(n: int, d: int = 0, stored: int | None = None) -> int:
    """Rows of a canonical block: a function of the shape of the data alone.

    The power of two that makes at least 64 blocks of the data, so that some tens of ranks get even shares
    of a small table, within 16 … 4096 rows: fewer would cost more in summing blocks than in computing them. More only
    where there would be more than 2^24 blocks.
    Of sparse data, with `stored` numbers in d columns, as many rows as have 32 numbers for each column, if
    that leaves 16 blocks: summing a block takes every column.
    """

    def most(blocks: int) -> int:
        return 1 << max(n // blocks, 1).bit_length() - 1

    rows = min(max(most(64), SMALLEST_BLOCK), LARGEST_BLOCK)
    while rows * MOST_BLOCKS < n:
        rows *= 2
    while stored is not None and rows < most(16) and rows * stored < 32 * n * d:
        rows *= 2
    return rows


@dataclass(frozen=True)
class Names:
    """Names of the datasets in a data file."""

    x: str = "X"
    y: str = "y"
    sample_weight: str = "sample_weight"
    offset: str = "offset"
    group: str | None = None
    of_rows: tuple[str, ...] = ()  # a number for each row, whatever it says


NAMES = Names()


@dataclass(frozen=True)
class DataFile:
    """One file of a data set: n rows from row `start` of it on; of a sparse X `stored` numbers, from `first` on."""

    path: Path
    n: int
    start: int = 0
    stored: int = 0
    first: int = 0

    @property
    def stop(self) -> int:
        """The row after its last one."""
        return self.start + self.n


@dataclass(frozen=True)
class Header:
    """What a data set says of itself before any row is read. Equal on all ranks.

    dtype : of X in memory, see kept_dtype.  stored : how many numbers a sparse X holds; None for a dense one.
    group : (d,) int64, numbers from 0 of the groups that columns belong to; None unless they were asked for.
    outputs : columns of y, 0 without y.  `sample_weight` and `offset` tell whether the files have them.
    chunk_rows : rows of a chunk of X; 0 where there are none, or they differ between files.
    in_one_piece : whether X lies so in every file.
    class_names : what the numbers 0, 1, … in y are called, as convert writes it; empty where files do not say it.
    """

    files: tuple[DataFile, ...]
    names: Names
    n: int
    d: int
    dtype: np.dtype
    stored: int | None
    feature_names: tuple[str, ...]
    group: np.ndarray | None
    outputs: int
    sample_weight: bool
    offset: bool
    storage: str
    stored_dtype: str
    chunk_rows: int
    in_one_piece: bool
    class_names: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """What X takes in memory over all ranks."""
        if self.stored is None:
            return self.n * self.d * self.dtype.itemsize
        return self.stored * (self.dtype.itemsize + 4) + 8 * self.n

    @property
    def block(self) -> int:
        """Rows of a canonical block."""
        return block_rows(self.n, self.d, self.stored)

    @property
    def label(self) -> str:
        """The data set in messages."""
        more = len(self.files) - 1
        return f"{self.files[0].path}" + (f" and {more} more file{'s' if more > 1 else ''}" if more else "")

    def within(self, start: int, stop: int) -> Iterator[tuple[DataFile, int, int]]:
        """The files that hold rows start … stop - 1, with the first of these and the end in each, from its own 0."""
        for file in self.files:
            first, end = max(start, file.start), min(stop, file.stop)
            if first < end:
                yield file, first - file.start, end - file.start

    def place(self, row: int) -> tuple[Path, int]:
        """The file that holds a row, and its number there."""
        file, first, _ = next(self.within(row, row + 1))
        return file.path, first


def find_files(names: Sequence[Path]) -> list[Path]:
    """The files that names and patterns stand for, those of a pattern in the order of their names."""
    found: list[Path] = []
    for name in names:
        text = str(name)
        if any(sign in text for sign in PATTERN) and not name.exists():
            matches = [Path(match) for match in sorted(glob.glob(text))]
            if not matches:
                raise DataError(f"{text}: no file matches")
            found += matches
        else:
            found.append(name)
    twice = next((path for path in found if found.count(path) > 1), None)
    if twice:
        raise DataError(f"{twice}: is named twice as data")
    return found


def read_header(paths: Sequence[Path] | Path, names: Names = NAMES) -> Header:
    """Check the shapes and types of a data set's files. Reads no rows."""
    headers = [_read_one(path, names) for path in find_files([paths] if isinstance(paths, Path) else paths)]
    if not headers:
        raise DataError("no data file is named")
    return headers[0] if len(headers) == 1 else _joined(headers)


def _read_one(path: Path, names: Names) -> Header:
    with open_file(path) as file, damage_reported(path):
        sparse = is_sparse(file, names.x)
        if sparse:
            x, n, d, stored = _sparse_shape(file, path, names.x)
        else:
            x, stored = dataset_of(file, path, names.x), None
            if len(x.shape) != 2:
                raise DataError(f"{path}: dataset '{names.x}' must have shape (rows, columns), not {x.shape}")
            n, d = x.shape
        if n == 0 or d == 0:
            raise DataError(f"{path}: '{names.x}' has shape {(n, d)}: there is nothing to fit")
        optional = [name in file for name in (names.y, names.sample_weight, names.offset)]
        beside = dict(zip((names.y, names.sample_weight, names.offset), optional, strict=True))
        beside.update(dict.fromkeys(names.of_rows, True))
        for name, present in beside.items():
            if present:
                shape = dataset_of(file, path, name).shape
                if shape[:1] != (n,) or len(shape) > 2 or (name != names.y and shape not in ((n,), (n, 1))):
                    raise DataError(
                        f"{path}: dataset '{name}' has shape {shape}, but '{names.x}' has {n} rows: expected ({n},)"
                    )
        return Header(
            files=(DataFile(path, n, stored=stored or 0),),
            names=names,
            n=n,
            d=d,
            dtype=kept_dtype(x.dtype, sparse),
            stored=stored,
            feature_names=_feature_names(file, path, d),
            group=None if names.group is None else _group(file, path, names.group, d),
            outputs=(*file[names.y].shape, 1)[1] if optional[0] else 0,
            sample_weight=optional[1],
            offset=optional[2],
            storage=f"sparse rows, {stored / n:.3g} numbers each" if stored is not None else _storage(x),
            stored_dtype=str(x.dtype),
            chunk_rows=x.chunks[0] if x.chunks and not sparse else 0,
            in_one_piece=all(map(in_one_piece, [file[names.x][part] for part in SPARSE] if sparse else [x])),
            class_names=_class_names(file[names.y]) if optional[0] else (),
        )


def _joined(headers: Sequence[Header]) -> Header:
    """The header of several files whose rows come one after the other; DataError where they do not go together."""
    first, files = headers[0], []
    row = number = 0
    for header in headers:
        _check_alike(first, header)
        (file,) = header.files
        files.append(replace(file, start=row, first=number))
        row, number = row + file.n, number + file.stored
    stored = None if first.stored is None else number
    widest = np.result_type(*(header.stored_dtype for header in headers))
    chunks = {header.chunk_rows for header in headers}
    aligned = len(chunks) == 1 and all(chunk and file.start % chunk == 0 for file in files for chunk in chunks)
    storages = list(dict.fromkeys(header.storage for header in headers)) if stored is None else ["sparse rows"]
    return replace(
        first,
        files=tuple(files),
        n=row,
        dtype=kept_dtype(widest, stored is not None),
        stored=stored,
        storage=f"{len(files)} files, " + ", ".join(storages[:3]) + (", …" if len(storages) > 3 else ""),
        stored_dtype=", ".join(dict.fromkeys(header.stored_dtype for header in headers)),
        chunk_rows=first.chunk_rows if aligned else 0,
        in_one_piece=all(header.in_one_piece for header in headers),
        class_names=first.class_names if all(header.class_names for header in headers) else (),
    )


def _check_alike(first: Header, other: Header) -> None:
    """Raise DataError unless two files can be parts of one data set."""
    one, two = first.files[0].path, other.files[0].path
    if other.d != first.d:
        raise DataError(f"{two}: '{first.names.x}' has {other.d} columns, but {first.d} in {one}")
    for j, (a, b) in enumerate(zip(first.feature_names, other.feature_names, strict=True)):
        if a != b:
            raise DataError(f"{two}: column {j} is '{b}', but '{a}' in {one}; files of a data set need the same ones")
    if (first.stored is None) != (other.stored is None):
        raise DataError(f"{two}: '{first.names.x}' is {_kind(other)}, but {_kind(first)} in {one}")
    for name, here, there in (
        (first.names.y, first.outputs, other.outputs),
        (first.names.sample_weight, first.sample_weight, other.sample_weight),
        (first.names.offset, first.offset, other.offset),
    ):
        if here != there:
            what = f"has {there} columns in the first and {here} in the other"
            if not (here and there):
                what = "is in one of them only"
            raise DataError(f"{two}, {one}: dataset '{name}' {what}")
    if first.class_names and other.class_names and first.class_names != other.class_names:
        raise DataError(
            f"{two}: '{first.names.y}' has classes {', '.join(other.class_names[:5])}, but "
            f"{', '.join(first.class_names[:5])} in {one}; their numbers mean different things (convert --like {one})"
        )
    if first.group is not None and other.group is not None and not np.array_equal(first.group, other.group):
        raise DataError(f"{two}: dataset '{first.names.group}' is not the same as in {one}")


def _kind(header: Header) -> str:
    return "dense" if header.stored is None else "sparse"


def is_sparse(file: h5py.File, name: str) -> bool:
    """Whether X of a file holds sparse rows."""
    return name in file and isinstance(file[name], h5py.Group) and "indptr" in file[name]


def _sparse_shape(file: h5py.File, path: Path, name: str) -> tuple[h5py.Dataset, int, int, int]:
    """The numbers, rows, columns and count of numbers of a group as AnnData writes them."""
    group = file[name]
    if group.attrs.get("encoding-type", "csr_matrix") != "csr_matrix":
        raise DataError(f"{path}: '{name}' has encoding-type {group.attrs['encoding-type']}; expected csr_matrix")
    x, indices, indptr = (dataset_of(file, path, f"{name}/{part}") for part in SPARSE)
    shape = tuple(int(size) for size in group.attrs.get("shape", ()))
    if len(shape) != 2 or min(shape) < 0:
        raise DataError(f"{path}: '{name}' needs an attribute 'shape' of two numbers")
    for part, found in (("indices", indices), ("indptr", indptr)):
        if found.dtype.kind not in "iu":
            raise DataError(f"{path}: dataset '{name}/{part}' has type {found.dtype}; expected integers")
    if indptr.shape != (shape[0] + 1,) or x.shape != indices.shape or len(x.shape) != 1:
        raise DataError(
            f"{path}: '{name}' of shape {shape} has data {x.shape}, indices {indices.shape} and indptr "
            f"{indptr.shape}; expected as many data as indices and ({shape[0] + 1},)"
        )
    return x, *shape, len(x)


def names_of(classes: np.ndarray, names: tuple[str, ...]) -> tuple[str, ...]:
    """What values of y (K,) are called, of which 0, 1, … have names; empty if any has none.

    >>> names_of(np.array([0.0, 2.0]), ("low", "medium", "high"))
    ('low', 'high')
    """
    known = {float(number): name for number, name in enumerate(names)}
    found = tuple(known.get(label, "") for label in classes.tolist())
    return found if names and all(label in known for label in classes.tolist()) else ()


def unnamed_columns(d: int) -> tuple[str, ...]:
    """What columns are called where a file does not say it."""
    return tuple(f"x{j}" for j in range(d))


def _feature_names(file: h5py.File, path: Path, d: int) -> tuple[str, ...]:
    if "feature_names" not in file:
        return unnamed_columns(d)
    item = file["feature_names"]
    if not isinstance(item, h5py.Dataset) or item.shape != (d,) or h5py.check_string_dtype(item.dtype) is None:
        raise DataError(f"{path}: dataset 'feature_names' must hold {d} strings, one for each column")
    names = tuple(item.asstr()[:])
    places: dict[str, int] = {}
    for j, name in enumerate(names):
        if name in places:
            raise DataError(f"{path}: dataset 'feature_names' has '{name}' twice, for columns {places[name]} and {j}")
        places[name] = j
    return names


def _class_names(y: h5py.Dataset) -> tuple[str, ...]:
    """The attribute `classes`, if it is one of texts."""
    found = np.atleast_1d(y.attrs.get("classes", ()))
    return tuple(found.tolist()) if all(isinstance(name, str) for name in found.tolist()) else ()


def _group(file: h5py.File, path: Path, name: str, d: int) -> np.ndarray:
    """Numbers from 0 for the labels of columns in a dataset, in the order of labels."""
    item = dataset_of(file, path, name)
    if item.shape != (d,) or item.dtype.kind not in "iu":
        raise DataError(f"{path}: dataset '{name}' must hold {d} whole numbers, the group of each column")
    return np.unique(item[:], return_inverse=True)[1].astype(np.int64)


def kept_dtype(stored: np.dtype, sparse: bool) -> np.dtype:
    """The narrowest type that kernels read and that holds every stored value exactly.

    Bytes, half floats (but sparse ones) and float32 are kept; 16-bit integers become float32, the rest float64.
    """
    if stored.kind == "f" and stored.itemsize == 2 and not sparse:
        return np.dtype(np.float16)
    if stored.kind == "b":
        return np.dtype(np.uint8)
    if stored.kind in "iu" and stored.itemsize == 1:
        return stored.newbyteorder("=")
    wide = stored.itemsize > (2 if stored.kind in "iu" else 4)
    return np.dtype(np.float64 if wide else np.float32)


def _storage(x: h5py.Dataset) -> str:
    if x.is_virtual:
        return f"virtual, of {len(x.virtual_sources())} parts"
    if x.chunks is None:
        return "contiguous"
    filters: Any = x.id.get_create_plist()
    names = [filters.get_filter(i)[3].decode(errors="replace").split(";")[0] for i in range(filters.get_nfilters())]
    return f"chunks of {x.chunks}" + (f", {', '.join(names)}" if names else "")

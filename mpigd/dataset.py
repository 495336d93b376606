"""The rows of this rank: which they are, and how they come from the file into tiles."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import mpigd_kernels as kernels
import numpy as np
from mpigd_kernels import exact

from mpigd.comm import Comm
from mpigd.errors import DataError
from mpigd.fingerprint import Hasher, of_data
from mpigd.sampling import deal, pick

CHUNK_BYTES = 8 << 20  # what is read at once: the only memory beside the tiles
SMALLEST_BLOCK, LARGEST_BLOCK, MOST_BLOCKS = 16, 4096, exact.MOST_TERMS
MOST_CLASSES = 10_000


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


def owned_rows(n: int, block: int, size: int, rank: int) -> tuple[int, int]:
    """First row and end of the slice of a rank: whole blocks, contiguous, balanced to one block.

    Ranks beyond the number of blocks own nothing: start == stop.
    """
    blocks = -(-n // block)
    return min(blocks * rank // size * block, n), min(blocks * (rank + 1) // size * block, n)


@dataclass(frozen=True)
class Names:
    """Names of the datasets in a data file."""

    x: str = "X"
    y: str = "y"
    sample_weight: str = "sample_weight"
    offset: str = "offset"
    group: str | None = None


@dataclass(frozen=True)
class Header:
    """What a data file says of itself before any row is read. Equal on all ranks.

    dtype : of X in memory, see _kept_dtype.  stored : how many numbers a sparse X holds; None for a dense one.
    group : (d,) int64, numbers from 0 of the groups that columns belong to; None unless they were asked for.
    outputs : columns of y, 0 without y.  `sample_weight` and `offset` tell whether the file has them.
    """

    path: Path
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


@dataclass(frozen=True)
class Dataset:
    """A rank's slice. `header` and `classes` are the same on all ranks.

    start, stop : the rows start … stop - 1 of the file are here.
    slice : their X, y, weights and offsets.
    classes : values of y that the class numbers in `y` stand for; empty for a regression.
    x_hash : of X of this slice, as `mpigd.fingerprint` adds it up.
    """

    header: Header
    start: int
    stop: int
    slice: kernels.Slice
    classes: np.ndarray
    x_hash: np.ndarray
    read_seconds: float = 0.0

    @property
    def rows(self) -> int:
        """Number of rows of this slice."""
        return self.stop - self.start

    @property
    def y(self) -> np.ndarray:
        """The target, or class numbers: (rows, K) float64."""
        return self._flat(self.slice.y)

    @property
    def weight(self) -> np.ndarray:
        """Weight of every row, (rows,) float64."""
        return self._flat(self.slice.weight)[:, 0] if len(self.slice.weight) else np.ones(self.rows)

    @property
    def offset(self) -> np.ndarray:
        """Offset of every row, (rows,) float64."""
        return self._flat(self.slice.offset)[:, 0] if len(self.slice.offset) else np.zeros(self.rows)

    def fingerprint(self, comm: Comm) -> str:
        """Of all rows, see `mpigd.fingerprint`. A collective."""
        shape = f"{self.header.n} {self.header.d} {self.header.dtype}"
        return of_data(comm, self.x_hash, shape, self.start // self.slice.block, self.slice)

    def part_of_rows(self, seed: int, epoch: int, parts: int) -> np.ndarray:
        """Deal the file's rows into parts (see `mpigd.sampling`); those of this slice, (rows,) int64."""
        size = self.header.block
        return deal(seed, epoch, self.start // size, size, self.start, self.stop, parts)

    def only(self, keep: np.ndarray) -> Dataset:
        """The same slice with weight zero on the rows where keep (rows,) is False: X is shared, not copied."""
        weight = np.where(keep, self.weight, 0.0)[:, None]
        return replace(self, slice=replace(self.slice, weight=_per_row(weight, self.slice.y)))

    def part_of_blocks(self, seed: int, one_in: int) -> Dataset:
        """The same slice, of which sums go over one block of every `one_in` of the file (see `mpigd.sampling`)."""
        first, count = self.start // self.header.block, -(-self.rows // self.header.block)
        picked = np.flatnonzero(pick(seed, first, first + count, one_in))
        return replace(self, slice=replace(self.slice, picked=picked))

    def columns_only(self, picked: np.ndarray) -> Dataset:
        """The same rows with the columns `picked` (m,) alone, which are copied; the header stays the file's."""
        return replace(self, slice=self.slice.columns_only(picked))

    def _flat(self, values: np.ndarray) -> np.ndarray:
        rows = values.transpose(0, 2, 1).reshape(-1, values.shape[1])
        return rows[: self.rows].astype(np.float64)


def _per_row(values: np.ndarray, like: np.ndarray, padding: float = 0.0) -> np.ndarray:
    """Values (rows, K) in the layout of kernels, and in the type and tiles of an array that has it."""
    count, _, rows = like.shape
    padded = np.full((count * rows, values.shape[1]), padding, like.dtype)
    padded[: len(values)] = values
    return np.ascontiguousarray(padded.reshape(count, rows, values.shape[1]).transpose(0, 2, 1))


def open_file(path: Path) -> h5py.File:
    """Open an HDF5 file for reading; every failure becomes a DataError that names it."""
    try:
        return h5py.File(path, "r")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a directory, not an HDF5 file") from None
    except PermissionError:
        raise DataError(f"{path}: permission denied") from None
    except OSError as error:
        text = str(error)
        if "truncated" in text:
            raise DataError(f"{path}: the file is truncated; copy or convert it again") from None
        if "signature not found" in text:
            raise DataError(f"{path}: not an HDF5 file; 'mpigd convert' makes one from CSV") from None
        raise DataError(f"{path}: can't be opened: {text}") from None


def read_header(path: Path, names: Names = Names()) -> Header:
    """Check the shapes and types of a data file. Reads no rows."""
    with open_file(path) as file:
        sparse = _is_sparse(file, names.x)
        if sparse:
            x, n, d, stored = _sparse_shape(file, path, names.x)
        else:
            x, stored = _dataset(file, path, names.x), None
            if len(x.shape) != 2:
                raise DataError(f"{path}: dataset '{names.x}' must have shape (rows, columns), not {x.shape}")
            n, d = x.shape
        if n == 0 or d == 0:
            raise DataError(f"{path}: '{names.x}' has shape {(n, d)}: there is nothing to fit")
        optional = [name in file for name in (names.y, names.sample_weight, names.offset)]
        for name, present in zip((names.y, names.sample_weight, names.offset), optional, strict=True):
            if present:
                shape = _dataset(file, path, name).shape
                if shape[:1] != (n,) or len(shape) > 2 or (name != names.y and shape not in ((n,), (n, 1))):
                    raise DataError(
                        f"{path}: dataset '{name}' has shape {shape}, but '{names.x}' has {n} rows: expected ({n},)"
                    )
        outputs = (*file[names.y].shape, 1)[1] if optional[0] else 0
        return Header(
            path=path,
            names=names,
            n=n,
            d=d,
            dtype=_kept_dtype(x.dtype, sparse),
            stored=stored,
            feature_names=_feature_names(file, path, d),
            group=None if names.group is None else _group(file, path, names.group, d),
            outputs=outputs,
            sample_weight=optional[1],
            offset=optional[2],
            storage=f"sparse rows, {stored / n:.3g} numbers each" if stored is not None else _storage(x),
            stored_dtype=str(x.dtype),
        )


def _is_sparse(file: h5py.File, name: str) -> bool:
    return name in file and isinstance(file[name], h5py.Group) and "indptr" in file[name]


def _sparse_shape(file: h5py.File, path: Path, name: str) -> tuple[h5py.Dataset, int, int, int]:
    """The numbers, rows, columns and count of numbers of a group as AnnData writes them."""
    group = file[name]
    if group.attrs.get("encoding-type", "csr_matrix") != "csr_matrix":
        raise DataError(f"{path}: '{name}' has encoding-type {group.attrs['encoding-type']}; expected csr_matrix")
    x, indices, indptr = (_dataset(file, path, f"{name}/{part}") for part in ("data", "indices", "indptr"))
    shape = tuple(int(size) for size in group.attrs.get("shape", ()))
    if len(shape) != 2:
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


def _dataset(file: h5py.File, path: Path, name: str) -> h5py.Dataset:
    if name not in file:
        known = ", ".join(sorted(file)) or "nothing"
        raise DataError(f"{path}: no dataset '{name}'; the file holds: {known}")
    item = file[name]
    if not isinstance(item, h5py.Dataset):
        raise DataError(f"{path}: '{name}' is a group; expected a dataset of numbers")
    if item.dtype.kind not in "fiub":
        raise DataError(f"{path}: dataset '{name}' has type {item.dtype}; expected numbers")
    return item


def _feature_names(file: h5py.File, path: Path, d: int) -> tuple[str, ...]:
    if "feature_names" not in file:
        return tuple(f"x{j}" for j in range(d))
    item = file["feature_names"]
    if not isinstance(item, h5py.Dataset) or item.shape != (d,) or h5py.check_string_dtype(item.dtype) is None:
        raise DataError(f"{path}: dataset 'feature_names' must hold {d} strings, one for each column")
    return tuple(item.asstr()[:])


def _group(file: h5py.File, path: Path, name: str, d: int) -> np.ndarray:
    """Numbers from 0 for the labels of columns in a dataset, in the order of labels."""
    item = _dataset(file, path, name)
    if item.shape != (d,) or item.dtype.kind not in "iu":
        raise DataError(f"{path}: dataset '{name}' must hold {d} whole numbers, the group of each column")
    return np.unique(item[:], return_inverse=True)[1].astype(np.int64)


def _kept_dtype(stored: np.dtype, sparse: bool) -> np.dtype:
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
    if x.chunks is None:
        return "contiguous"
    return f"chunks of {x.chunks}" + (f", {x.compression}" if x.compression else "")


def read(
    comm: Comm,
    path: Path,
    names: Names = Names(),
    target: str | None = None,
    computing: kernels.Computing | None = None,
) -> Dataset:
    """Read the slice of this rank. A collective; bad input raises the same DataError on all ranks.

    target : what y must be, as `Loss.target`, or None to leave y unread.
    computing : how kernels will compute with it; the default is float64 on one thread.
    """
    begin = time.perf_counter()
    computing = computing or kernels.Computing()
    with comm.agreement():
        header = read_header(path, names)
        if target is not None and not header.outputs:
            with open_file(path) as file:
                _dataset(file, path, names.y)
        if target not in (None, "real", "nonnegative", "positive") and header.outputs > 1:
            raise DataError(f"{path}: dataset '{names.y}' has {header.outputs} columns; classes need one")
    prepare(comm, partial(kernels.fill_tiles.load, {"X": header.dtype, "ROWS": kernels.tile_rows(header.block)}))
    start, stop = owned_rows(header.n, header.block, comm.size, comm.rank)
    with comm.agreement(), open_file(path) as file:
        hasher = Hasher(start // header.block, header.block // kernels.tile_rows(header.block))
        x = (_read_dense if header.stored is None else _read_sparse)(file, header, start, stop, hasher)
        y = np.ones((stop - start, 1))
        if target is not None:
            y = _read_rows(file, header, names.y, start, stop)
        if target in ("nonnegative", "positive"):
            bad = y < 0.0 if target == "nonnegative" else y <= 0.0
            _refuse(bad, header, names.y, start, f"is not {target}, as the loss needs,")
        weight = offset = None
        if header.sample_weight:
            weight = _read_rows(file, header, names.sample_weight, start, stop)
            _refuse(weight < 0.0, header, names.sample_weight, start, "is negative")
        if header.offset:
            offset = _read_rows(file, header, names.offset, start, stop)
    if weight is not None and comm.max(np.array([weight.max(initial=0.0)]))[0] == 0.0:
        with comm.agreement():
            raise DataError(f"{path}: dataset '{names.sample_weight}' is zero on every row")
    classes = np.zeros(0)
    if target in ("binary", "classes"):
        classes = _classes(comm, header, start, y[:, 0], target)
        y = _numbers(header, start, y, classes)
    rows = kernels.tile_rows(header.block)
    layout = np.empty((kernels.tile_count(stop - start, rows), 0, rows), _row_dtype(comm, computing, y, weight, offset))
    none = layout[:0].reshape(0, 1, rows)
    fields: dict[str, Any] = {
        "n": stop - start,
        "block": header.block,
        "y": _per_row(y, layout, padding=1.0),
        "weight": none if weight is None else _per_row(weight, layout),
        "offset": none if offset is None else _per_row(offset, layout),
        "computing": computing,
    }
    kind: type[kernels.Slice] = kernels.DenseSlice if header.stored is None else kernels.SparseSlice
    return Dataset(header, start, stop, kind(**fields, **x), classes, hasher.finish(), time.perf_counter() - begin)


def _row_dtype(comm: Comm, computing: kernels.Computing, *values: np.ndarray | None) -> Any:
    """How per-row values are kept, the same on all ranks: in float32 where that is exact, or all that is used."""
    if computing.work == np.float32:
        return np.float32
    with np.errstate(over="ignore"):  # such a value is inexact, too
        inexact = any(not np.array_equal(v, v.astype(np.float32)) for v in values if v is not None)
    return np.float64 if comm.max(np.array([int(inexact)]))[0] else np.float32


def prepare(comm: Comm, *loads: Callable[[], object]) -> None:
    """Make kernels ready on all ranks; where they are not cached, one rank of each node compiles them."""
    with comm.agreement(), comm.node_leader_first():
        for load in loads:
            load()


def _chunks(header: Header, start: int, stop: int, width: int) -> Iterator[tuple[int, int]]:
    rows = max(CHUNK_BYTES // (width * header.dtype.itemsize), 1)
    for first in range(start, stop, rows):
        yield first, min(first + rows, stop)


def _load(file: h5py.File, header: Header, name: str, first: int, end: int, dtype: Any) -> np.ndarray:
    try:
        return np.ascontiguousarray(file[name].astype(dtype)[first:end])
    except OSError as error:
        raise DataError(f"{header.path}: dataset '{name}', rows {first} to {end - 1} can't be read: {error}") from None


def _read_dense(file: h5py.File, header: Header, start: int, stop: int, hasher: Hasher) -> dict[str, Any]:
    """X as fields of a `kernels.DenseSlice`."""
    rows = kernels.tile_rows(header.block)
    tiles = kernels.aligned((kernels.tile_count(stop - start, rows), header.d, rows), header.dtype)
    tiles[-1:] = 0  # the last one is padded
    done = 0  # tiles
    for first, end in _chunks(header, start, stop, header.d):
        chunk = _load(file, header, header.names.x, first, end, header.dtype)
        if not np.isfinite(chunk).all():
            row, column = np.argwhere(~np.isfinite(chunk))[0]
            raise DataError(
                f"{header.path}: dataset '{header.names.x}' has {chunk[row, column]} at row {first + row}, "
                f"column {column} ({header.feature_names[column]}); remove or impute it"
            )
        kernels.fill_tiles(chunk, first - start, tiles)
        filled = len(tiles) if end == stop else (end - start) // rows
        while done < filled:
            last = min(done + hasher.left(), filled)
            hasher.add(tiles[done:last], tiles=last - done)
            done = last
    return {"tiles": tiles}


def _read_sparse(file: h5py.File, header: Header, start: int, stop: int, hasher: Hasher) -> dict[str, Any]:
    """X as fields of a `kernels.SparseSlice`."""
    name = header.names.x
    starts = _load(file, header, f"{name}/indptr", start, stop + 1, np.int64)
    ends_right = start > 0 or starts[0] == 0, stop < header.n or starts[-1] == header.stored
    if (np.diff(starts) < 0).any() or not all(ends_right) or not 0 <= starts[0] <= starts[-1] <= (header.stored or 0):
        raise DataError(f"{header.path}: dataset '{name}/indptr' does not rise from 0 to {header.stored}")
    begin, end = int(starts[0]), int(starts[-1])
    wide = file[f"{name}/indices"].dtype.itemsize > 4
    columns = _load(file, header, f"{name}/indices", begin, end, np.int64 if wide else np.int32)
    values = _load(file, header, f"{name}/data", begin, end, header.dtype)
    starts -= begin
    for bad, what in (((columns < 0) | (columns >= header.d), "indices"), (~np.isfinite(values), "data")):
        if bad.any():
            at = int(np.argmax(bad))
            row = start + int(np.searchsorted(starts, at, side="right")) - 1
            found = columns[at] if what == "indices" else values[at]
            raise DataError(
                f"{header.path}: dataset '{name}/{what}' has {found} at row {row}"
                + (f"; there are {header.d} columns" if what == "indices" else "; remove or impute it")
            )
    for first in range(0, stop - start, header.block):
        ends = starts[first : first + header.block + 1]
        some = slice(ends[0], ends[-1])
        hasher.add(values[some], columns[some].astype(np.int64), np.diff(ends), tiles=hasher.left())
    return {"values": values, "columns": columns, "starts": starts, "columns_count": header.d}


def _read_rows(file: h5py.File, header: Header, name: str, start: int, stop: int) -> np.ndarray:
    """The values of a dataset (n,) or (n, K) at the rows of a slice, (rows, K) float64."""
    values = _load(file, header, name, start, stop, np.float64)
    values = values if values.ndim == 2 else values[:, None]
    _refuse(~np.isfinite(values), header, name, start, "is not a finite number")
    return values


def _refuse(bad: np.ndarray, header: Header, name: str, start: int, what: str) -> None:
    if bad.any():
        raise DataError(f"{header.path}: dataset '{name}' {what} at row {start + int(np.argwhere(bad)[0, 0])}")


def _classes(comm: Comm, header: Header, start: int, labels: np.ndarray, target: str) -> np.ndarray:
    """The sorted labels of all ranks."""
    name = header.names.y
    with comm.agreement():
        _refuse(labels != np.floor(labels), header, name, start, "is not a whole number, so not a class label,")
        own = np.unique(labels)
        if len(own) > MOST_CLASSES:
            raise DataError(f"{header.path}: dataset '{name}' has more than {MOST_CLASSES} different labels")
    classes = np.unique(np.concatenate(comm.gather(own)))
    if len(classes) < 2 or (target == "binary" and len(classes) > 2):
        shown = ", ".join(f"{c:g}" for c in classes[:5]) + (", …" if len(classes) > 5 else "")
        wanted = "two classes (use --loss softmax for more)" if target == "binary" else "at least two classes"
        with comm.agreement():
            raise DataError(
                f"{header.path}: dataset '{name}' has {len(classes)} different label(s) ({shown}); "
                f"the loss needs {wanted}"
            )
    return classes


def _numbers(header: Header, start: int, labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The places of labels among the sorted classes; a label that is none of them is an error."""
    number = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    _refuse(classes[number] != labels, header, header.names.y, start, "has an unknown class")
    return number.astype(np.float64)


def encode(data: Dataset, classes: np.ndarray) -> Dataset:
    """The same slice with its labels as numbers of the given sorted classes; raises DataError on this rank alone."""
    y = _numbers(data.header, data.start, data.y, classes)
    return replace(data, slice=replace(data.slice, y=_per_row(y, data.slice.y, padding=1.0)), classes=classes)

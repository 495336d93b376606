"""The rows of this rank: which they are, and how they come from the file into tiles."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import mpigd_kernels as kernels
import numpy as np

from mpigd.comm import Comm
from mpigd.errors import DataError
from mpigd.sampling import deal

CHUNK_BYTES = 8 << 20  # what is read at once: the only memory beside the tiles
SMALLEST_BLOCK, LARGEST_BLOCK = 16, 4096
MOST_CLASSES = 10_000


def block_rows(n: int) -> int:
    """Rows of a canonical block: a function of the number of rows alone.

    The power of two that makes at least 64 blocks of the data, so that some tens of ranks get even shares
    of a small table, within 16 … 4096 rows: fewer would cost more in summing blocks than in computing them.
    """
    return int(min(max(1 << max(n // 64, 1).bit_length() - 1, SMALLEST_BLOCK), LARGEST_BLOCK))


def owned_rows(n: int, size: int, rank: int) -> tuple[int, int]:
    """First row and end of the slice of a rank: whole blocks, contiguous, balanced to one block.

    Ranks beyond the number of blocks own nothing: start == stop.
    """
    rows = block_rows(n)
    blocks = -(-n // rows)
    return min(blocks * rank // size * rows, n), min(blocks * (rank + 1) // size * rows, n)


@dataclass(frozen=True)
class Names:
    """Names of the datasets in a data file."""

    x: str = "X"
    y: str = "y"
    sample_weight: str = "sample_weight"
    offset: str = "offset"


@dataclass(frozen=True)
class Header:
    """What a data file says of itself before any row is read. Equal on all ranks.

    `sample_weight` and `offset` tell whether the file has them; `target` whether y is there.
    """

    path: Path
    names: Names
    n: int
    d: int
    dtype: np.dtype  # of the tiles: see _tile_dtype
    feature_names: tuple[str, ...]
    target: bool
    sample_weight: bool
    offset: bool
    storage: str
    stored_dtype: str


@dataclass(frozen=True)
class Dataset:
    """A rank's slice. Per-row arrays are local; `header` and `classes` are the same on all ranks.

    start, stop : the rows start … stop - 1 of the file are here.
    tiles : (tiles, d, rows) of the header's dtype.  y, weight, offset : (tiles, rows) float64, padded;
    weight and offset have no tiles where the file has none.
    classes : values of y that the class numbers in `y` stand for; empty for a regression.
    """

    header: Header
    start: int
    stop: int
    tiles: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    offset: np.ndarray
    classes: np.ndarray
    read_seconds: float = 0.0

    @property
    def rows(self) -> int:
        """Number of rows of this slice."""
        return self.stop - self.start

    def part_of_rows(self, seed: int, epoch: int, parts: int) -> np.ndarray:
        """Deal the file's rows into parts (see `mpigd.sampling`); those of this slice, (rows,) int64."""
        size = block_rows(self.header.n)
        return deal(seed, epoch, self.start // size, size, self.start, self.stop, parts)

    def only(self, keep: np.ndarray) -> Dataset:
        """The same slice with weight zero on the rows where keep (rows,) is False: X is shared, not copied."""
        weight = np.zeros(self.y.shape)
        flat = weight.reshape(-1)[: self.rows]
        flat[:] = self.weight.reshape(-1)[: self.rows] if self.weight.shape[0] else 1.0
        flat[~keep] = 0.0
        return replace(self, weight=weight)

    def flat(self, values: np.ndarray) -> np.ndarray:
        """A per-row array without its padding, shape (rows,)."""
        return values.reshape(-1)[: self.rows]

    def weights(self) -> np.ndarray:
        """Weight of every row, shape (rows,)."""
        return self.flat(self.weight) if self.weight.shape[0] else np.ones(self.rows)


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
        x = _dataset(file, path, names.x)
        if len(x.shape) != 2:
            raise DataError(f"{path}: dataset '{names.x}' must have shape (rows, columns), not {x.shape}")
        n, d = x.shape
        if n == 0 or d == 0:
            raise DataError(f"{path}: dataset '{names.x}' has shape {x.shape}: there is nothing to fit")
        optional = [name in file for name in (names.y, names.sample_weight, names.offset)]
        for name, present in zip((names.y, names.sample_weight, names.offset), optional, strict=True):
            if present and _dataset(file, path, name).shape not in ((n,), (n, 1)):
                raise DataError(
                    f"{path}: dataset '{name}' has shape {file[name].shape}, but '{names.x}' has {n} rows: "
                    f"expected ({n},)"
                )
        return Header(
            path=path,
            names=names,
            n=n,
            d=d,
            dtype=_tile_dtype(x.dtype),
            feature_names=_feature_names(file, path, d),
            target=optional[0],
            sample_weight=optional[1],
            offset=optional[2],
            storage=_storage(x),
            stored_dtype=str(x.dtype),
        )


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


def _tile_dtype(stored: np.dtype) -> np.dtype:
    """The narrowest type that kernels read and that holds every stored value exactly.

    Bytes and float32 are kept; half floats and 16-bit integers become float32, the rest float64.
    """
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


def read(comm: Comm, path: Path, names: Names = Names(), target: str | None = None) -> Dataset:
    """Read the slice of this rank. A collective; bad input raises the same DataError on all ranks.

    target : what y must be, as `Loss.target`, or None to leave y unread.
    """
    begin = time.perf_counter()
    with comm.agreement():
        header = read_header(path, names)
        if target is not None and not header.target:
            with open_file(path) as file:
                _dataset(file, path, names.y)
    load_kernel(comm, header.dtype, kernels.fill_tiles)
    start, stop = owned_rows(header.n, comm.size, comm.rank)
    rows = kernels.tile_rows(block_rows(header.n))
    count = kernels.tile_count(stop - start, rows)
    none = np.zeros((0, rows))
    with comm.agreement(), open_file(path) as file:
        tiles = np.zeros((count, header.d, rows), header.dtype)
        _read_x(file, header, start, stop, tiles)
        y = none if target is None else _read_rows(file, header, names.y, start, stop, count, rows, padding=1.0)
        if target in ("nonnegative", "positive"):
            bad = y < 0.0 if target == "nonnegative" else y <= 0.0
            _refuse(bad, header, names.y, start, f"is not {target}, as the loss needs,")
        weight = none
        if header.sample_weight:
            weight = _read_rows(file, header, names.sample_weight, start, stop, count, rows)
            _refuse(weight < 0.0, header, names.sample_weight, start, "is negative")
        offset = none
        if header.offset:
            offset = _read_rows(file, header, names.offset, start, stop, count, rows)
    if header.sample_weight and comm.max(np.array([weight.max(initial=0.0)]))[0] == 0.0:
        with comm.agreement():
            raise DataError(f"{path}: dataset '{names.sample_weight}' is zero on every row")
    data = Dataset(header, start, stop, tiles, y, weight, offset, classes=np.zeros(0))
    if target in ("binary", "classes"):
        data = _number_classes(comm, data, target)
    return replace(data, read_seconds=time.perf_counter() - begin)


def load_kernel(comm: Comm, dtype: np.dtype, kernel: kernels.Kernel, *functions: Callable[..., Any]) -> None:
    """Make a kernel ready on all ranks; where it is not cached, one rank of each node compiles it."""
    with comm.agreement(), comm.node_leader_first():
        kernel.load(dtype, *functions)


def _chunks(header: Header, start: int, stop: int, width: int) -> Iterator[tuple[int, int]]:
    rows = max(CHUNK_BYTES // (width * header.dtype.itemsize), 1)
    for first in range(start, stop, rows):
        yield first, min(first + rows, stop)


def _load(file: h5py.File, header: Header, name: str, first: int, end: int, dtype: Any) -> np.ndarray:
    try:
        return np.ascontiguousarray(file[name].astype(dtype)[first:end])
    except OSError as error:
        raise DataError(f"{header.path}: dataset '{name}', rows {first} to {end - 1} can't be read: {error}") from None


def _read_x(file: h5py.File, header: Header, start: int, stop: int, tiles: np.ndarray) -> None:
    for first, end in _chunks(header, start, stop, header.d):
        chunk = _load(file, header, header.names.x, first, end, header.dtype)
        if not np.isfinite(chunk).all():
            row, column = np.argwhere(~np.isfinite(chunk))[0]
            raise DataError(
                f"{header.path}: dataset '{header.names.x}' has {chunk[row, column]} at row {first + row}, "
                f"column {column} ({header.feature_names[column]}); remove or impute it"
            )
        kernels.fill_tiles(chunk, first - start, tiles)


def _read_rows(
    file: h5py.File, header: Header, name: str, start: int, stop: int, count: int, rows: int, padding: float = 0.0
) -> np.ndarray:
    values = np.full((count, rows), padding)
    flat = values.reshape(-1)[: stop - start]
    for first, end in _chunks(header, start, stop, 1):
        flat[first - start : end - start] = _load(file, header, name, first, end, np.float64).reshape(-1)
    _refuse(~np.isfinite(flat), header, name, start, "is not a finite number")
    return values


def _refuse(bad: np.ndarray, header: Header, name: str, start: int, what: str) -> None:
    if bad.any():
        raise DataError(f"{header.path}: dataset '{name}' {what} at row {start + int(np.argmax(bad))}")


def _number_classes(comm: Comm, data: Dataset, target: str) -> Dataset:
    """Replace the labels in y by class numbers, agreed on by all ranks."""
    header, name = data.header, data.header.names.y
    labels = data.flat(data.y)
    with comm.agreement():
        _refuse(labels != np.floor(labels), header, name, data.start, "is not a whole number, so not a class label,")
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
    return encode(data, classes)


def encode(data: Dataset, classes: np.ndarray) -> Dataset:
    """The same slice with y as numbers of the given sorted classes; a label that is none of them is an error."""
    labels = data.flat(data.y)
    number = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    _refuse(classes[number] != labels, data.header, data.header.names.y, data.start, "has an unknown class")
    y = np.full(data.y.shape, 1.0)
    y.reshape(-1)[: data.rows] = number
    return replace(data, y=y, classes=classes)

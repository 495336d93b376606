"""HDF5 files: how they are opened, and datasets of which nothing has to be believed.

A header may claim what its file does not hold, or lead to other files; both are found before any row is read.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mpigd.errors import DataError, MpigdError
from mpigd.links import check_inside

# What h5py raises on damaged files, beside OSError.
DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError, MemoryError, NotImplementedError)
MOST_CHECKED = 200_000  # chunks of a dataset: about a microsecond each
FILTERS = "hdf5plugin"  # registers further compression filters with HDF5 when it is imported


@contextmanager
def damage_reported(path: Path, what: str = "can't be read") -> Iterator[None]:
    """Turn what h5py raises on a damaged file into a DataError that names it."""
    try:
        yield
    except MpigdError:
        raise
    except DAMAGE as error:
        text = " ".join(str(error).split())
        hint = ""
        if "filter" in text or "plugin" in text:
            hint = f"; if it is compressed by a filter that HDF5 does not bring, install {FILTERS} (mpigd[convert])"
        raise DataError(f"{path}: {what}: {text or type(error).__name__}{hint}") from None


def open_file(path: Path, chunk_cache: int = 0) -> h5py.File:
    """Open an HDF5 file for reading; every failure becomes a DataError that names it.

    chunk_cache : bytes that chunks of a dataset may be kept in, at least; HDF5's own default is 1 MiB.
    """
    try:
        # Files are complete before they are read, and not every file system has locks.
        return h5py.File(path, "r", locking="best-effort", rdcc_nbytes=max(chunk_cache, 1 << 20))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a directory, not an HDF5 file") from None
    except PermissionError:
        raise DataError(f"{path}: permission denied") from None
    except DAMAGE as error:
        text = str(error)
        if "truncated" in text:
            raise DataError(f"{path}: the file is truncated; copy or convert it again") from None
        if "signature not found" in text:
            raise DataError(f"{path}: not an HDF5 file; 'mpigd convert' makes one from CSV and others") from None
        if "lock" in text:
            raise DataError(
                f"{path}: can't be locked: {text}; another program writes it, or the file system has no locks: "
                "then set HDF5_USE_FILE_LOCKING=FALSE"
            ) from None
        raise DataError(f"{path}: can't be opened: {text}") from None


def dataset_of(file: h5py.File, path: Path, name: str) -> h5py.Dataset:
    """A dataset of numbers; DataError if there is none of that name, or if it leads to files elsewhere."""
    if name not in file:
        known = ", ".join(sorted(map(str, file))) or "nothing"
        raise DataError(f"{path}: no dataset '{name}'; the file holds: {known}")
    item = file[name]
    if not isinstance(item, h5py.Dataset):
        raise DataError(f"{path}: '{name}' is a group; expected a dataset of numbers")
    if item.dtype.kind not in "fiub":
        raise DataError(f"{path}: dataset '{name}' has type {item.dtype}; expected numbers")
    if item.shape is None:
        raise DataError(f"{path}: dataset '{name}' is empty")
    check_inside(item, path, name)
    _check_size(item, path, name)
    return item


def _check_size(item: h5py.Dataset, path: Path, name: str) -> None:
    """Refuse a shape that the file can't hold: sizes from a damaged header are not to be allocated."""
    if item.chunks is None and not item.is_virtual and not item.external:
        needed = item.size * item.dtype.itemsize
        if 0 < item.id.get_storage_size() < needed or needed > max(path.stat().st_size, 1 << 30):
            raise DataError(f"{path}: dataset '{name}' of shape {item.shape} is larger than the file: it is damaged")
    elif item.chunks is not None:
        load_filters(item)
        wanted = math.prod(-(-size // chunk) for size, chunk in zip(item.shape, item.chunks, strict=True))
        written = item.id.get_num_chunks()
        if written < wanted:
            raise DataError(
                f"{path}: dataset '{name}' of shape {item.shape} has only {written} of {wanted} chunks: the file was "
                "not written to its end, or is damaged"
            )
        _check_index(item, path, name)


def _check_index(item: h5py.Dataset, path: Path, name: str) -> None:
    """Refuse an index of chunks that can't be true: HDF5 would follow it out of the file, or out of its memory."""
    if not hasattr(item.id, "chunk_iter") or item.id.get_num_chunks() > MOST_CHECKED:
        return
    end, places = path.stat().st_size, set()

    def check(chunk: Any) -> None:
        places.add(chunk.chunk_offset)
        inside = all(
            place % size == 0 and place < length
            for place, size, length in zip(chunk.chunk_offset, item.chunks, item.shape, strict=True)
        )
        if not inside or chunk.size == 0 or chunk.byte_offset + chunk.size > end:
            raise DataError(
                f"{path}: dataset '{name}': the index of its chunks leads to bytes {chunk.byte_offset} to "
                f"{chunk.byte_offset + chunk.size} for rows from {chunk.chunk_offset[0]} on: the file is damaged"
            )

    item.id.chunk_iter(check)
    if len(places) < item.id.get_num_chunks():
        raise DataError(f"{path}: dataset '{name}': the index of its chunks names some twice: the file is damaged")


def in_one_piece(item: h5py.Dataset) -> bool:
    """Whether a dataset lies in one piece in its file, as numbers in memory do, and can be read at its place."""
    plain = item.chunks is None and not item.is_virtual and not item.external and item.dtype.isnative
    if not plain or item.id.get_offset() is None:
        return False
    # HDF5 knows types that numpy does not: of fewer bits, or shifted ones.
    return bool(item.id.get_type() == h5py.h5t.py_create(item.dtype, logical=True))


def allocated(file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype) -> int:
    """Create a contiguous dataset whose bytes have their place in the file at once, and say where they begin.

    Ranks may then write at that place as in any file (docs/decisions/0013); without numbers it is 0.
    """
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_layout(h5py.h5d.CONTIGUOUS)
    how.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    how.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    how.set_obj_track_times(False)
    parent = file.require_group(name.rpartition("/")[0] or "/")
    kind, space = h5py.h5t.py_create(dtype, logical=True), h5py.h5s.create_simple(shape)
    made = h5py.h5d.create(parent.id, name.rpartition("/")[2].encode(), kind, space, dcpl=how)
    return int(made.get_offset() or 0)


def load_filters(item: h5py.Dataset) -> None:
    """Import what brings further filters, if a dataset needs one that HDF5 itself has not."""
    filters = item.id.get_create_plist()
    codes = [filters.get_filter(i)[0] for i in range(filters.get_nfilters())]
    if not all(h5py.h5z.filter_avail(code) for code in codes):
        with suppress(ImportError):  # then reading says what is missing
            importlib.import_module(FILTERS)

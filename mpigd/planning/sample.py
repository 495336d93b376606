"""Some rows of every rank, read as a fit would read them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import mpigd_kernels as kernels
import numpy as np

from mpigd.columns import Columns, Found
from mpigd.comm import Comm
from mpigd.dataset import Dataset, prepare
from mpigd.errors import DataError
from mpigd.fingerprint import Hasher
from mpigd.reader import Reader, slice_rows
from mpigd.reading import rows_of
from mpigd.storage import Header

BYTES = 64 << 20  # of X that a rank reads, at most
PLACES = 16  # of its slice where a rank looks for labels beside its sample


@dataclass(frozen=True)
class Sample:
    """data : the first rows of this rank's slice, with the header of all.  bytes : of their X.

    opening_seconds : for the first block.  read_seconds : for X and what belongs to rows of all of them.
    """

    data: Dataset
    bytes: int
    opening_seconds: float
    read_seconds: float


def read_sample(comm: Comm, header: Header, target: str, computing: kernels.Computing) -> Sample:
    """Read the first rows of the slice of each rank, all ranks at once. A collective."""
    tile = kernels.tile_rows(header.block)
    prepare(comm, partial(kernels.fill_tiles.load, {"X": header.dtype, "ROWS": tile}))
    with Reader(header) as reader:
        with comm.agreement():
            start, end = slice_rows(reader, comm.size, comm.rank)
            blocks = max(int(BYTES * header.n // header.bytes) // header.block, 1)
            stop = min(end, start + blocks * header.block)
            labels = _labels(reader, start, end, target)
        with comm.agreement():
            opening, *_ = _timed(reader, start, min(stop, start + header.block), target)
        comm.leave()
        with comm.agreement():
            seconds, columns, found, x, x_hash = _timed(reader, start, stop, target)
        classes = np.zeros(0)
        if target in ("binary", "classes"):
            classes = _classes(comm, header, target, np.union1d(labels, found.labels))
        inexact = bool(comm.max(np.array([float(found.inexact)]))[0])
        row = np.dtype(np.float64 if inexact and computing.work == np.float64 else np.float32)
        with comm.agreement():
            fields = {**columns.layouts(row, classes), **x, "computing": computing}
    kind: type[kernels.Slice] = kernels.DenseSlice if header.stored is None else kernels.SparseSlice
    data = Dataset(header, ((start, stop),), kind(**fields), classes, x_hash, seconds)
    return Sample(data, header.bytes * (stop - start) // header.n, opening, seconds)


def _timed(
    reader: Reader, start: int, stop: int, target: str
) -> tuple[float, Columns, Found, dict[str, Any], np.ndarray]:
    """Read and check rows start … stop - 1: seconds, what belongs to rows and was found in it, X, its hash."""
    header, begin = reader.header, time.perf_counter()
    columns = Columns(reader, start, stop, target)
    found = columns.scan()
    hasher = Hasher(start // header.block, header.block)
    x = rows_of(reader).fields(start, stop, hasher)
    return time.perf_counter() - begin, columns, found, x, hasher.finish()


def _labels(reader: Reader, start: int, end: int, target: str) -> np.ndarray:
    """Labels of classes here and there in rows start … end - 1: rows may be sorted by them."""
    found = np.zeros(0)
    if target in ("binary", "classes"):
        for first in np.linspace(start, max(end - reader.header.block, start), PLACES).astype(int).tolist():
            some = Columns(reader, first, min(first + reader.header.block, end), target).scan()
            found = np.union1d(found, some.labels)
    return found


def _classes(comm: Comm, header: Header, target: str, labels: np.ndarray) -> np.ndarray:
    """The labels of all ranks; DataError where there are too many for the loss. A collective."""
    classes = np.unique(np.concatenate(comm.gather(labels)))
    if target == "binary" and len(classes) > 2:
        with comm.agreement():
            raise DataError(
                f"{header.label}: dataset '{header.names.y}' has {len(classes)} different labels or more; "
                "the loss needs two classes (use --loss softmax for more)"
            )
    # A part of the rows may be of one class alone.
    return classes if len(classes) > 1 else np.append(classes, classes.max(initial=0.0) + 1.0)

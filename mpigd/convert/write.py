"""The output file. Without compression every rank writes its rows at their place in it, all at once.

HDF5 lets one process write at a time. But the bytes of a contiguous dataset that has been allocated are a run of the
file: rank 0 makes the file and tells where the runs begin, and ranks write into them as into any file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mpigd import platforms
from mpigd.comm import Comm
from mpigd.convert.arrow import numbers
from mpigd.convert.plan import Plan
from mpigd.convert.settle import Settled
from mpigd.errors import UsageError
from mpigd.files import publish, reported, temporary_name, write_at
from mpigd.hdf5 import allocated
from mpigd.options import Convert
from mpigd.storage import block_rows

CHUNK_BYTES = 1 << 20
CACHE_BYTES = 64 << 20  # of HDF5, for chunks that are being filled
SLICE_BYTES = 1 << 20  # of X that are encoded at once, so that they stay in the processor's cache


@dataclass
class Layout:
    """The datasets of the output: shapes and types, and where each begins in the file, if it is contiguous."""

    shapes: dict[str, tuple[tuple[int, ...], np.dtype]]
    chunks: dict[str, tuple[int, ...]] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)


Writer = Callable[[str, int, np.ndarray], None]


def write(
    comm: Comm,
    options: Convert,
    plan: Plan,
    settled: Settled,
    batches: Iterable[Any],
    attributes: dict[str, str],
    advance: Callable[[int], None],
) -> None:
    """Write and publish the file. A collective; on an error nothing is left.

    attributes : of the file.  advance : is told of rows that have been written.
    """
    path = options.output
    temporary = temporary_name(path)
    layout = Layout(shapes(plan, settled))
    try:
        with comm.agreement():
            if options.compression != "none" or options.chunk_rows:
                layout.chunks = chunks(options, settled, layout)
            if comm.rank == 0:
                with reported(path):
                    create(temporary, options, plan, settled, layout, attributes)
        layout = comm.share(layout)
        if layout.chunks:
            comm.in_turn(lambda: _write_chunked(temporary, path, plan, settled, batches, advance))
        else:
            with comm.agreement():
                _write_contiguous(temporary, path, plan, settled, layout, batches, advance)
        with comm.agreement():
            if comm.rank == 0:
                with reported(path):
                    publish(path)
    finally:
        if comm.rank == 0:
            temporary.unlink(missing_ok=True)


def shapes(plan: Plan, settled: Settled) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and type of every dataset that ranks fill, in the order of the file."""
    n, d, stored = settled.n, settled.encoder.d, settled.stored
    found: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
    if settled.sparse:
        found |= {
            "X/data": ((stored,), settled.dtype),
            "X/indices": ((stored,), np.dtype(np.int32)),
            "X/indptr": ((n + 1,), np.dtype(np.int64)),
        }
    else:
        found["X"] = ((n, d), settled.dtype)
    for role in plan.special:
        found[DATASETS[role]] = ((n,), np.dtype(np.float64))
    return found


DATASETS = {"target": "y", "weight": "sample_weight", "offset": "offset"}


def chunks(options: Convert, settled: Settled, layout: Layout) -> dict[str, tuple[int, ...]]:
    """Chunks of every dataset.

    Of a dense X a block of rows (see `mpigd.storage.block_rows`), or the half, quarter, … of it that is near 1 MiB. A
    slice is whole blocks, so no two slices share a chunk, and none is decompressed twice.
    """
    n, d = settled.n, settled.encoder.d
    block = block_rows(n, d, settled.stored if settled.sparse else None)
    rows = block
    while rows > 1 and rows * d * settled.dtype.itemsize * 3 > CHUNK_BYTES * 4:
        rows //= 2
    rows = options.chunk_rows or rows
    found: dict[str, tuple[int, ...]] = {}
    for name, (shape, dtype) in layout.shapes.items():
        if name == "X":
            found[name] = (min(rows, n), d)
        elif name.startswith("X/"):
            found[name] = (max(min(CHUNK_BYTES // dtype.itemsize, shape[0]), 1),)
        else:
            found[name] = (min(block, n),)
    return found


def filters(options: Convert) -> dict[str, Any]:
    """Arguments of h5py's create_dataset for the compression that is asked for."""
    if options.compression in ("none", "gzip"):
        return {"compression": "gzip", "shuffle": True} if options.compression == "gzip" else {}
    try:
        import hdf5plugin
    except ImportError:
        raise UsageError(
            f"--compression {options.compression} needs hdf5plugin, as its readers do; install mpigd[convert]"
        ) from None
    if options.compression == "blosc2":
        return dict(hdf5plugin.Blosc2())
    made = hdf5plugin.Zstd() if options.compression == "zstd" else hdf5plugin.LZ4()
    return {**dict(made), "shuffle": True}


def create(
    temporary: Path, options: Convert, plan: Plan, settled: Settled, layout: Layout, attributes: dict[str, str]
) -> None:
    """Make the file with everything but the rows; fills in the layout's places. On rank 0."""
    extra = filters(options)
    # The lower bound is for attributes above 64 KiB; HDF5 of 2008 and later reads the file.
    with h5py.File(temporary, "w", libver=("v108", "v110"), track_order=True) as file:
        file.attrs.update(attributes)
        if settled.encoder.names:
            file.create_dataset("feature_names", data=list(settled.encoder.names), dtype=h5py.string_dtype())
        for name, (shape, dtype) in layout.shapes.items():
            if layout.chunks:
                some = {"chunks": layout.chunks[name], "fletcher32": True, **extra} if shape[0] else {}
                file.create_dataset(name, shape, dtype, **some)
            else:
                layout.places[name] = allocated(file, name, shape, dtype)
        if settled.sparse:
            size = np.array([settled.n, settled.encoder.d], np.int64)
            file["X"].attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": size})
        if plan.target is not None:
            file["y"].attrs["name"] = plan.target.name
            if settled.classes:
                file["y"].attrs["classes"] = settled.classes


def _write_contiguous(
    temporary: Path,
    path: Path,
    plan: Plan,
    settled: Settled,
    layout: Layout,
    batches: Iterable[Any],
    advance: Callable[[int], None],
) -> None:
    """Put the rows of this rank at their place in the file."""
    with reported(path), ExitStack() as stack:
        file = platforms.open_bytes(temporary, os.O_WRONLY)
        stack.callback(os.close, file)

        def put(name: str, first: int, rows: np.ndarray) -> None:
            shape, dtype = layout.shapes[name]
            width = dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
            place = layout.places[name] + first * width
            write_at(file, place, np.asarray(rows, dtype))

        fill(put, plan, settled, batches, advance)
        platforms.flush(file)


def _write_chunked(
    temporary: Path,
    path: Path,
    plan: Plan,
    settled: Settled,
    batches: Iterable[Any],
    advance: Callable[[int], None],
) -> None:
    """Have HDF5 write the rows of this rank, when it is its turn."""
    with reported(path), h5py.File(temporary, "r+", rdcc_nbytes=CACHE_BYTES) as file:
        datasets = {name: file[name] for name in shapes(plan, settled)}

        def put(name: str, first: int, rows: np.ndarray) -> None:
            if len(rows):
                datasets[name][first : first + len(rows)] = rows

        fill(put, plan, settled, batches, advance)


def fill(put: Writer, plan: Plan, settled: Settled, batches: Iterable[Any], advance: Callable[[int], None]) -> None:
    """Encode this rank's rows and put them where they belong."""
    first, stored = settled.first_row, settled.first_stored
    if settled.sparse and first == 0:
        put("X/indptr", 0, np.zeros(1, np.int64))
    for batch in batches:
        for rows in _parts(batch, settled):
            if settled.sparse:
                x = settled.encoder.sparse(rows)
                put("X/data", stored, x.values.astype(settled.dtype))
                put("X/indices", stored, x.columns)
                put("X/indptr", first + 1, x.starts[1:] + stored)
                stored += len(x.values)
            else:
                put("X", first, settled.encoder.dense(rows, settled.dtype))
            first += rows.num_rows
        before = first - batch.num_rows
        for role, column in plan.special.items():
            values = numbers(batch.column(column.name))
            if role == "target" and settled.class_codes is not None:
                values = settled.class_codes[values]
            put(DATASETS[role], before, values.astype(np.float64))
        advance(batch.num_rows)


def _parts(batch: Any, settled: Settled) -> Iterator[Any]:
    """A batch, a few rows at a time where X has many columns."""
    width = len(batch.schema) * 8 if settled.sparse else settled.encoder.d * settled.dtype.itemsize
    step = max(SLICE_BYTES // width, 64)
    for first in range(0, batch.num_rows, step):
        yield batch.slice(first, step)

"""The job `generate`: synthetic data, made and written by all ranks, the same bytes on any number of them."""

from __future__ import annotations

import importlib
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mpigd import __version__
from mpigd.comm import Comm
from mpigd.dataset import prepare
from mpigd.errors import OutputError, UsageError
from mpigd.files import check_writable, publish, reported, temporary_name, write_at
from mpigd.hdf5 import allocated
from mpigd.options import Generate
from mpigd.progress import Meter, Observer
from mpigd.reader import owned_rows
from mpigd.synthetic import KERNELS, Part, Recipe


def run(comm: Comm, options: Generate, observers: Sequence[Observer] = ()) -> dict[str, Any]:
    """Write the file, whole or not at all. A collective."""
    begin = time.perf_counter()
    prepare(comm, *(partial(kernel.load, {}) for kernel in KERNELS))
    recipe, path = Recipe(options), options.output
    with comm.agreement():
        _filters(options.compression)
        if comm.rank == 0:
            _check(path, recipe)
    try:
        write = _write_in_parallel if options.compression == "none" else _write_through_one
        write(comm, recipe, observers)
        with comm.agreement():
            if comm.rank == 0:
                with reported(path):
                    publish(path)
    finally:
        if comm.rank == 0:
            temporary_name(path).unlink(missing_ok=True)
    size = comm.share(path.stat().st_size if comm.rank == 0 else 0)
    seconds = time.perf_counter() - begin
    return {
        "output": str(path),
        "rows": recipe.n,
        "columns": recipe.d,
        "bytes": size,
        "seconds": seconds,
        "megabytes_per_second": size / seconds / 1e6,
        "ranks": comm.size,
    }


def _check(path: Path, recipe: Recipe) -> None:
    """Raise OutputError where it can be seen beforehand that the file can't be written."""
    if path.is_dir():
        raise OutputError(f"{path}: can't be written: it is a directory")
    if not path.absolute().parent.is_dir():
        raise OutputError(f"{path}: can't be written: there is no directory {path.absolute().parent}")
    check_writable(path)
    if recipe.options.compression == "none":
        needed = sum(shape[0] * dtype.itemsize * int(np.prod(shape[1:])) for shape, dtype in _datasets(recipe).values())
        free = shutil.disk_usage(path.absolute().parent).free
        if needed > free:
            raise OutputError(f"{path}: can't be written: it takes {needed:,} bytes, and {free:,} are free there")


def _datasets(recipe: Recipe) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shapes and types of what is made part by part, by the names in the file."""
    n, double = recipe.n, np.dtype(np.float64)
    found: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
    if recipe.stored is None:
        found["X"] = (n, recipe.d), recipe.dtype
    else:
        found["X/data"] = (recipe.stored,), recipe.dtype
        found["X/indices"] = (recipe.stored,), np.dtype(np.int32)
        found["X/indptr"] = (n + 1,), np.dtype(np.int64)
    found["y"] = (n,), double
    if recipe.options.weights:
        found["sample_weight"] = (n,), double
    return found


def _placed(recipe: Recipe, part: Part) -> Iterator[tuple[str, int, np.ndarray]]:
    """What a part has for each dataset: the name, the first row or number there, and the values."""
    if recipe.stored is None:
        yield "X", part.first, part.x
    else:
        begin = recipe.begin_of(part.first)
        for name, values in (("X/data", part.x), ("X/indices", part.indices)):
            yield name, begin, np.asarray(values)
        yield "X/indptr", part.first + 1, np.asarray(part.ends)  # the first is zero, as a new file is
    yield "y", part.first, part.y
    if part.weight is not None:
        yield "sample_weight", part.first, part.weight


def _parts(comm: Comm, recipe: Recipe, observers: Sequence[Observer], numbers: Sequence[int]) -> Iterator[Part]:
    """Parts of some numbers, with progress."""
    meter = Meter(observers, f"writing {recipe.options.output}", len(numbers))
    for number in numbers:
        yield recipe.make(number)
        meter.advance(1)


# ---- uncompressed: every rank writes its rows at their place ----


def _write_in_parallel(comm: Comm, recipe: Recipe, observers: Sequence[Observer]) -> None:
    path = recipe.options.output
    places: dict[str, int] = {}
    with comm.agreement():
        if comm.rank == 0:
            with reported(path), h5py.File(temporary_name(path), "w") as file:
                _describe(file, recipe)
                places = {name: allocated(file, name, *shape) for name, shape in _datasets(recipe).items()}
    places = comm.share(places)
    start, stop = owned_rows(recipe.n, recipe.part, comm.size, comm.rank)
    numbers = range(start // recipe.part, -(-stop // recipe.part))
    with comm.agreement(), reported(path):
        if start < stop:
            with temporary_name(path).open("r+b", buffering=0) as file:
                for part in _parts(comm, recipe, observers, numbers):
                    for name, first, values in _placed(recipe, part):
                        row = values[:1].nbytes
                        write_at(file.fileno(), places[name] + first * row, values)


# ---- compressed: parts are made and compressed by all ranks, and written by the first in the order of rows ----


def _write_through_one(comm: Comm, recipe: Recipe, observers: Sequence[Observer]) -> None:
    """Ranks take parts in turn, so that the file is written in the same order on any number of them."""
    path, filters = recipe.options.output, _filters(recipe.options.compression)
    count = -(-recipe.n // recipe.part)
    file: h5py.File | None = None
    parts = _parts(comm, recipe, observers, range(comm.rank, count, comm.size))
    try:
        with comm.agreement():
            if comm.rank == 0:
                with reported(path):
                    file = h5py.File(temporary_name(path), "w")
                    _describe(file, recipe)
                    _chunked(file, recipe, filters)
        for _ in range(-(-count // comm.size)):
            with comm.agreement():
                part = next(parts, None)
                packed = [] if part is None else _packed(recipe, part, filters)
            received = comm.collect(packed)
            with comm.agreement(), reported(path):
                for own in received:
                    _unpack(file, own)
    finally:
        if file is not None:
            file.close()


Packed = list[tuple[str, int, Any]]


def _packed(recipe: Recipe, part: Part, filters: dict[str, Any]) -> Packed:
    """What a part has for each dataset; a chunk of dense X as the compressed bytes of it, and a mask."""
    found: Packed = list(_placed(recipe, part))
    if recipe.stored is None:
        found[0] = "X", part.first, _compressed(part.x, _chunk(recipe), filters)
    return found


def _unpack(file: h5py.File, packed: Packed) -> None:
    for name, first, values in packed:
        if isinstance(values, tuple):
            file[name].id.write_direct_chunk((first, 0), values[0], values[1])
        else:
            file[name][first : first + len(values)] = values


def _chunk(recipe: Recipe) -> int:
    return min(recipe.part, recipe.n)


def _compressed(x: np.ndarray, rows: int, filters: dict[str, Any]) -> tuple[bytes, int]:
    """The bytes of a chunk of `rows` rows that begins with x, and which filters were left out; by HDF5, in memory."""
    with h5py.File("chunk", "w", driver="core", backing_store=False) as memory:
        one = memory.create_dataset("x", (rows, x.shape[1]), x.dtype, chunks=(rows, x.shape[1]), **filters)
        one[: len(x)] = x
        one.flush()
        mask, data = one.id.read_direct_chunk((0, 0))
        return bytes(data), mask


def _chunked(file: h5py.File, recipe: Recipe, filters: dict[str, Any]) -> None:
    numbers = 1 << 17
    for name, (shape, dtype) in _datasets(recipe).items():
        if name == "X":
            file.create_dataset(name, shape, dtype, chunks=(_chunk(recipe), recipe.d), **filters)
        elif name.startswith("X/") and shape[0]:
            file.create_dataset(name, shape, dtype, chunks=(min(numbers, shape[0]),), **filters)
        else:
            file.create_dataset(name, shape, dtype)


def _filters(compression: str) -> dict[str, Any]:
    """What `create_dataset` takes."""
    if compression == "none":
        return {}
    if compression == "gzip":
        return {"compression": "gzip", "compression_opts": 4, "shuffle": True}
    try:
        plugin = importlib.import_module("hdf5plugin")
    except ImportError:
        raise UsageError(f"--compression {compression}: needs the package hdf5plugin (or use gzip)") from None
    if compression == "zstd":
        return {**plugin.Zstd(clevel=3), "shuffle": True}
    return dict(plugin.Blosc2(cname="zstd", clevel=5, filters=plugin.Blosc2.SHUFFLE))


def _describe(file: h5py.File, recipe: Recipe) -> None:
    """What is not made part by part: the coefficients behind y, and the options."""
    several = recipe.coef.shape[1] > 1
    file["coef"] = recipe.coef if several else recipe.coef[:, 0]
    file["intercept"] = recipe.intercept if several else recipe.intercept[0]
    left_out = ("output", "json", "compression", "_")
    given = {key: value for key, value in asdict(recipe.options).items() if key not in left_out and value is not None}
    file.attrs["generated"] = json.dumps({**given, "noise": recipe.noise})
    file.attrs["mpigd_version"] = __version__
    if recipe.stored is not None:
        file.create_group("X").attrs.update(
            {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": np.array([recipe.n, recipe.d])}
        )

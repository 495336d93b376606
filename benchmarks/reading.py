"""Rows from files into tiles, beside copying memory, h5py and decompressors alone.

    ./run.sh setup && .venv/bin/pip install -e '.[convert]'
    ./run.sh -n RANKS --python benchmarks/reading.py

Files are in the page cache, and memory has been used before: new memory costs, on some machines, more than reading into
it. mpigd's reading includes the check for NaN, the layout in tiles and the fingerprint. Prints tables and writes
benchmarks/reading-RANKS.md.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pyarrow as pa
from machine import describe
from measure import Table, compare

from mpigd.comm import Comm
from mpigd.fingerprint import Hasher
from mpigd.reader import Reader, slice_rows
from mpigd.reading import rows_of
from mpigd.storage import read_header

HERE = Path(__file__).resolve().parent
MEGABYTES = 200  # of a file
FILTERS: dict[str, dict[str, Any]] = {
    "gzip": {"compression": "gzip", "compression_opts": 4},
    "zstd": dict(hdf5plugin.Zstd()),
    "blosc2 (shuffle, zstd)": dict(hdf5plugin.Blosc2(cname="zstd", filters=hdf5plugin.Blosc2.SHUFFLE)),
    "blosc2 (shuffle, lz4)": dict(hdf5plugin.Blosc2(cname="lz4", filters=hdf5plugin.Blosc2.SHUFFLE)),
}
ALONE: dict[str, Callable[[bytes, int], Any]] = {
    "gzip": lambda chunk, size: zlib.decompress(chunk, bufsize=size),
    "zstd": lambda chunk, size: pa.Codec("zstd").decompress(chunk, size),
}


def write(path: Path, d: int, layout: dict[str, Any]) -> None:
    """Float32 columns of three digits, which compress to about half."""
    rows = MEGABYTES * 10**6 // (4 * d) // 4096 * 4096
    rng = np.random.default_rng(0)
    path.unlink(missing_ok=True)  # the one before may still be open
    with h5py.File(path, "w") as file:
        X = file.create_dataset("X", (rows, d), np.float32, **layout)
        for first in range(0, rows, 4096 * 8):
            count = min(4096 * 8, rows - first)
            X[first : first + count] = np.round(rng.standard_normal((count, d), np.float32), 2)


def tiles_of(comm: Comm, path: Path) -> tuple[Callable[[], object], Callable[[], object], Callable[[], object], float]:
    """Reading this rank's slice into tiles, with h5py, copying as many bytes; and the bytes of all ranks."""
    header = read_header(path)
    reader = Reader(header)
    start, stop = slice_rows(reader, comm.size, comm.rank)
    rows = rows_of(reader)
    file = h5py.File(path)
    plain = np.zeros((stop - start, header.d), np.float32)
    other = plain.copy()

    def read() -> None:
        rows.fields(start, stop, Hasher(start // header.block, header.block), slot=0)

    return (
        read,
        lambda: file["X"].read_direct(plain, np.s_[start:stop]),
        lambda: np.copyto(other, plain),
        float(header.bytes),
    )


def decompress(path: Path, comm: Comm, one: Callable[[bytes, int], Any]) -> Callable[[], object]:
    """Decompressing this rank's chunks, which are in memory, and nothing else."""
    with h5py.File(path) as file:
        X = file["X"]
        size, chunk = X.chunks[0] * X.shape[1] * 4, X.chunks[0]
        start, stop = slice_rows(Reader(read_header(path)), comm.size, comm.rank)
        chunks = [bytes(X.id.read_direct_chunk((row, 0))[1]) for row in range(start, stop, chunk)]

    def run() -> None:
        for each in chunks:
            one(each, size)

    return run


def main() -> None:
    """All tables."""
    comm, tables = Comm.world(), []
    folder = comm.share(tempfile.mkdtemp() if comm.rank == 0 else None)
    assert folder is not None
    path = Path(folder) / "data.h5"
    table = Table(
        *(comm, "In one piece, float32: seconds, and speed beside copying the same bytes in memory"),
        *("columns", "mpigd, GB/s", "mpigd / copy", "h5py into rows / copy"),
    )
    for d in (28, 2000):
        if comm.rank == 0:
            write(path, d, {})
        comm.leave()
        read, plain, copy, size = tiles_of(comm, path)
        seconds, by_h5py, by_copy = compare(comm, read, plain, copy)
        table.add(d, size / seconds / 1e9, by_copy, by_copy / by_h5py)
    tables.append(table)
    table = Table(
        *(comm, "In chunks of 4096 rows of 64 columns: seconds, and speed beside what only decompresses"),
        *("filter", "mpigd, GB/s", "mpigd / HDF5's own reading into rows", "mpigd / decompressor alone"),
    )
    for name, layout in FILTERS.items():
        if comm.rank == 0:
            write(path, 64, {**layout, "chunks": (4096, 64)})
        comm.leave()
        read, plain, _, size = tiles_of(comm, path)
        others = [decompress(path, comm, ALONE[name])] if name in ALONE else []
        seconds, by_h5py, *alone = compare(comm, read, plain, *others, repeats=5)
        table.add(name, size / seconds / 1e9, by_h5py, *(alone or ["–"]))
    tables.append(table)
    if comm.rank == 0:
        text = f"# Reading, {comm.size} rank(s)\n\nMachine: {describe()}. Medians; {MEGABYTES} MB of X.\n\n"
        (HERE / f"reading-{comm.size}.md").write_text(text + "\n\n".join("\n".join(t.lines) for t in tables) + "\n")
        path.unlink()
        path.parent.rmdir()


if __name__ == "__main__":
    main()

"""The rows of this rank: which they are, and how they come from the files into a slice."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import mpigd_kernels as kernels
import numpy as np
from mpigd_kernels import prebuilt

from mpigd.columns import Columns, Found, class_numbers, place_rows
from mpigd.comm import Comm
from mpigd.errors import DataError, UsageError
from mpigd.fingerprint import Hasher, of_data
from mpigd.hdf5 import damage_reported, dataset_of, open_file
from mpigd.ownership import Run, blocks_of, share_out
from mpigd.parted import join, slices_of
from mpigd.reader import Reader, Source, slice_rows
from mpigd.reading import Fields, Rows, rows_of
from mpigd.sampling import deal, pick
from mpigd.scratch import copied
from mpigd.storage import NAMES, Header, Names, names_of, read_header
from mpigd.streaming import Room, check_memory, room_for_rows, scant_room, streamed
from mpigd.watchdog import limited

WEIGHTS_AT_ONCE = 1 << 18  # rows
HEADER_SECONDS = float(os.environ.get("MPIGD_HEADER_SECONDS", "120"))  # until a file counts as damaged


@dataclass(frozen=True)
class Dataset:
    """A rank's slice. `header`, `classes` and `streams` are the same on all ranks.

    runs : the rows of the file that are here, as in `mpigd.ownership`; one run unless ranks have died.
    slice : their X, y, weights and offsets.
    classes : values of y that the class numbers in `y` stand for; empty for a regression.
    x_hash : of X of this slice, as `mpigd.fingerprint` adds it up.
    streams : whether a rank reads rows anew for every operation, which then may fail.
    """

    header: Header
    runs: tuple[Run, ...]
    slice: kernels.Slice
    classes: np.ndarray
    x_hash: np.ndarray
    read_seconds: float = 0.0
    streams: bool = False

    @property
    def class_names(self) -> tuple[str, ...]:
        """What `classes` are called; empty where the files do not say it of all."""
        return names_of(self.classes, self.header.class_names)

    @property
    def rows(self) -> int:
        """Number of rows of this slice."""
        return sum(stop - start for start, stop in self.runs)

    @property
    def start(self) -> int:
        """Its first row."""
        return self.runs[0][0]

    @property
    def stop(self) -> int:
        """The row after its last one."""
        return self.runs[-1][1]

    @property
    def blocks(self) -> np.ndarray:
        """Numbers of its blocks, ascending, (m,) int64."""
        return np.concatenate([blocks_of(*run, self.header.block) for run in self.runs])

    @property
    def numbers(self) -> np.ndarray:
        """Numbers of its rows, ascending, (rows,) int64."""
        return np.concatenate([np.arange(*run) for run in self.runs])

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
        return of_data(comm, self.x_hash, shape, self.blocks, self.slice)

    def part_of_rows(self, seed: int, epoch: int, parts: int) -> np.ndarray:
        """Deal the file's rows into parts (see `mpigd.sampling`); those of this slice, (rows,) int64."""
        return deal(seed, epoch, self.blocks, self.header.block, self.rows, parts)

    def weighted(self, factor: np.ndarray) -> Dataset:
        """The same slice with weights times factor (rows,), bool or float64: X is shared, not copied.

        With numbers what belongs to rows becomes float64, on all ranks.
        """
        weight, own = (self.weight * factor)[:, None], self.slice
        y, offset = own.y, own.offset
        if factor.dtype != np.bool_:
            y, offset = y.astype(np.float64), offset.astype(np.float64)
        return replace(self, slice=replace(own, y=y, offset=offset, weight=_per_row(weight, y)))

    def weighted_rows(self, comm: Comm) -> kernels.Slice:
        """The rows of positive weight alone, copied where they are in memory. A collective."""
        if self.streams:
            return self.slice
        prepare(comm, self.slice.load_gather)
        return self.slice.gather(np.flatnonzero(self.weight > 0.0))

    def part_of_blocks(self, seed: int, one_in: int) -> Dataset:
        """The same slice, of which sums go over one block of every `one_in` of the file (see `mpigd.sampling`)."""
        picked = np.flatnonzero(pick(seed, self.blocks, one_in))
        return replace(self, slice=replace(self.slice, picked=picked))

    def columns_only(self, picked: np.ndarray) -> Dataset:
        """The same rows with the columns `picked` (m,) alone, which are copied; the header stays the file's."""
        return replace(self, slice=self.slice.columns_only(picked))

    def weights(self) -> Iterator[np.ndarray]:
        """Weights (rows, 1) float64 of all rows in turn, some whole blocks at a time."""
        tiles = max(WEIGHTS_AT_ONCE // self.header.block, 1) * self.header.block // self.slice.rows
        for first in range(0, len(self.slice.y), tiles):
            rows = min(tiles * self.slice.rows, self.rows - first * self.slice.rows)
            some = self.slice.weight[first : first + tiles]
            yield some.reshape(-1, 1)[:rows].astype(np.float64) if len(some) else np.ones((rows, 1))

    def _flat(self, values: np.ndarray) -> np.ndarray:
        rows = values.transpose(0, 2, 1).reshape(-1, values.shape[1])
        return rows[: self.rows].astype(np.float64)


def _per_row(values: np.ndarray, like: np.ndarray, padding: float = 0.0) -> np.ndarray:
    """Values (rows, K) in the layout of kernels, and in the type and tiles of an array that has it."""
    count, _, rows = like.shape
    layout = np.full((count, values.shape[1], rows), padding, like.dtype)
    place_rows(values, 0, layout)
    return layout


def read(
    comm: Comm,
    paths: Sequence[Path] | Path,
    names: Names = NAMES,
    target: str | None = None,
    computing: kernels.Computing | None = None,
    memory: int | None = None,
    scratch: Path | None = None,
    of_a_row: int = 0,
) -> Dataset:
    """Read the slice of this rank. A collective; bad input raises the same DataError on all ranks.

    paths : files, or patterns of their names, whose rows come one after the other.
    target : what y must be, as `Loss.target`, or None to leave y unread.
    computing : how kernels will compute with it; the default is float64 on one thread.
    memory : bytes that this process may take; where X does not fit it is read anew for every pass, on all ranks.
    of_a_row : bytes of it that the solver will keep of each row.
    scratch : directory of a local disk for a copy of X, which later passes read instead.
    """
    begin = time.perf_counter()
    header = shared_header(comm, paths, names, target)
    with ExitStack() as opened:  # closed at the end unless rows are read again later
        reader = opened.enter_context(Reader(header))
        with comm.agreement():
            run = slice_rows(reader, comm.size, comm.rank)
        data = of_source(comm, reader, run, target, computing, memory, scratch, of_a_row)
        if data.streams:
            opened.pop_all()
    return replace(data, read_seconds=time.perf_counter() - begin)


def of_source(
    comm: Comm,
    source: Source,
    run: Run,
    target: str | None,
    computing: kernels.Computing | None = None,
    memory: int | None = None,
    scratch: Path | None = None,
    of_a_row: int = 0,
) -> Dataset:
    """The slice of this rank, a run of the rows of a source; the rest as for `read`. A collective."""
    computing, header = computing or kernels.Computing(), source.header
    prepare(comm, partial(kernels.fill_tiles.load, {"X": header.dtype, "ROWS": kernels.tile_rows(header.block)}))
    with comm.agreement():
        columns = Columns(source, *run, target)
        found = columns.scan()
    row_dtype, classes = _agreed(comm, columns, found, computing)
    room = None
    with comm.agreement():
        fields = {**columns.layouts(row_dtype, classes), "computing": computing}
        if memory is not None:
            room = room_for_rows(header, run[1] - run[0], memory, of_a_row=of_a_row)
        else:
            check_memory(header, run[1] - run[0])
    streams = room is not None and bool(comm.max(np.array([int(room.needed > room.bytes)]))[0])
    with comm.agreement():
        own, x_hash = _slice_of(source, run, fields, room if streams else None, scratch)
    return Dataset(header, (run,), own, classes, x_hash, streams=streams)


def _slice_of(
    source: Source, run: Run, fields: Fields, room: Room | None, scratch: Path | None
) -> tuple[kernels.Slice, np.ndarray]:
    """The slice of a run of rows, given what belongs to its rows, and the hash of X. Not a collective.

    room : of which so much stays in memory, and the rest is read anew; None for all in memory.
    """
    header, (start, stop) = source.header, run
    hasher = Hasher(start // header.block, header.block)
    kind: type[kernels.Slice] = kernels.DenseSlice if header.stored is None else kernels.SparseSlice
    plain = rows_of(source)
    if room is None:
        return kind(**fields, **plain.fields(start, stop, hasher)), hasher.finish()
    rows: Rows = plain if scratch is None else copied(plain, start, scratch)
    template = kind(**{**fields, "n": 0}, **plain.fields(start, start))
    return streamed(rows, start, stop, room, template, fields, hasher), hasher.finish()


def take_over(
    comm: Comm,
    data: Dataset | None,
    target: str | None,
    computing: kernels.Computing,
    memory: int | None = None,
    scratch: Path | None = None,
) -> Dataset:
    """The dataset of this rank with a share of the rows that no rank has any more; those alone are read. A collective.

    data : what this rank has, None where it has read nothing yet; some rank has some. The rest as for `read`; with
    `memory`, what is taken over is read anew for every pass.
    """
    begin = time.perf_counter()
    having = comm.gather(data is not None).index(True)
    known = (data.header, data.classes, data.slice.y.dtype) if data is not None else None
    shared = comm.share(known, root=having)
    assert shared is not None
    header, classes, row_dtype = shared
    mine = data.runs if data is not None else ()
    runs = share_out(comm.gather(mine), header.n, header.block)[comm.rank]
    streams = memory is not None
    slices = {} if data is None else dict(zip(data.runs, slices_of(data.slice), strict=True))
    x_hash = np.zeros(2, np.uint64) if data is None else data.x_hash.copy()
    prepare(comm, partial(kernels.fill_tiles.load, {"X": header.dtype, "ROWS": kernels.tile_rows(header.block)}))
    with ExitStack() as opened:
        reader = opened.enter_context(Reader(header))
        with comm.agreement():
            for run in runs or ([] if slices else [(header.n, header.n)]):
                columns = Columns(reader, *run, target)
                columns.scan()
                fields = {**columns.layouts(row_dtype, classes), "computing": computing}
                room = scant_room(header, run[1] - run[0]) if streams else None
                if room is None:
                    check_memory(header, run[1] - run[0])
                slices[run], some = _slice_of(reader, run, fields, room, scratch)
                x_hash += some
        if streams:
            opened.pop_all()
    ordered = tuple(sorted(run for run in slices if run[0] < run[1] or len(slices) == 1))
    joined = join([slices[run] for run in ordered])
    seconds = time.perf_counter() - begin + (data.read_seconds if data is not None else 0.0)
    return Dataset(header, ordered, joined, classes, x_hash, seconds, streams)


def shared_header(comm: Comm, paths: Sequence[Path] | Path, names: Names, target: str | None) -> Header:
    """The header, which one rank reads: a data set may have a thousand files, and a job as many ranks."""
    header: Header | None = None
    with comm.agreement():
        if comm.rank == 0:
            hint = "HDF5 does not come back from reading what the file says of itself, or crashes: it is damaged"
            with limited(
                HEADER_SECONDS, f"{' '.join(map(str, [paths] if isinstance(paths, Path) else paths))}: {hint}"
            ):
                header = read_header(paths, names)
            if target is not None and not header.outputs:
                path = header.files[0].path
                with open_file(path) as file, damage_reported(path):
                    dataset_of(file, path, names.y)
            if target not in (None, "real", "nonnegative", "positive") and header.outputs > 1:
                raise DataError(f"{header.label}: dataset '{names.y}' has {header.outputs} columns; classes need one")
    shared = comm.share(header)
    if shared is None:
        raise AssertionError("rank 0 has read the header")
    return shared


def _agreed(
    comm: Comm, columns: Columns, found: Found, computing: kernels.Computing
) -> tuple[np.dtype[Any], np.ndarray]:
    """How per-row values are kept, and the sorted labels: the same on all ranks."""
    header = columns.header
    # Kernels that were built ahead of time take what belongs to rows in double precision.
    double = found.inexact or prebuilt.is_used()
    inexact, heaviest = comm.max(np.array([float(double), found.heaviest]))
    if header.sample_weight and heaviest == 0.0:
        with comm.agreement():
            raise DataError(f"{header.label}: dataset '{header.names.sample_weight}' is zero on every row")
    # In float32 where that is exact, or all that is used.
    single = computing.work == np.float32 or not inexact
    classes = np.zeros(0)
    if columns.target in ("binary", "classes"):
        classes = np.unique(np.concatenate(comm.gather(found.labels)))
        if len(classes) < 2 or (columns.target == "binary" and len(classes) > 2):
            shown = ", ".join(f"{c:g}" for c in classes[:5]) + (", …" if len(classes) > 5 else "")
            wanted = (
                "two classes (use --loss softmax for more)" if columns.target == "binary" else "at least two classes"
            )
            with comm.agreement():
                raise DataError(
                    f"{header.label}: dataset '{header.names.y}' has {len(classes)} different label(s) ({shown}); "
                    f"the loss needs {wanted}"
                )
    return np.dtype(np.float32 if single else np.float64), classes


def prepare(comm: Comm, *loads: Callable[[], object]) -> None:
    """Make kernels ready on all ranks; where they are not cached, one rank of each node compiles them."""
    with comm.agreement(), comm.node_leader_first():
        try:
            for load in loads:
                load()
        except prebuilt.UnusableLibraryError as error:
            raise UsageError(f"--kernels: {error}") from None


def encode(data: Dataset, classes: np.ndarray) -> Dataset:
    """The same slice with its labels as numbers of the given sorted classes; raises DataError on this rank alone."""
    return with_target(data, class_numbers(data.header, data.start, data.y, classes), classes)


def with_target(data: Dataset, y: np.ndarray, classes: np.ndarray) -> Dataset:
    """The same slice with another y (rows, K), numbers of the given classes where there are some."""
    return replace(data, slice=replace(data.slice, y=_per_row(y, data.slice.y, padding=1.0)), classes=classes)

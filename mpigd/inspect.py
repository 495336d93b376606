"""The job `inspect`: what data files hold, column by column, or a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mpigd.columns import AT_ONCE
from mpigd.comm import Comm
from mpigd.errors import UsageError
from mpigd.findings import of_columns, of_extra, of_target
from mpigd.hdf5 import open_file
from mpigd.layout import Layout, layout_of, slow
from mpigd.model import Model
from mpigd.modelfile import is_model, model_path
from mpigd.options import Inspect
from mpigd.progress import Meter, Observer
from mpigd.reader import Reader, slice_rows
from mpigd.storage import Header, Names, find_files, read_header
from mpigd.summary import Labels, Piece, Summary, dense_pieces, sparse_pieces, summarise

MOST_LABELS = 20


def run(comm: Comm, options: Inspect, observers: Sequence[Observer] = ()) -> dict[str, Any]:
    """Describe a model, or data files, as plain values that JSON can hold. A collective."""
    found: dict[str, Any] | tuple[Header, Layout, list[int]] = {}
    with comm.agreement():
        if comm.rank == 0:
            found = _look(options)
    found = comm.share(found)
    if isinstance(found, dict):
        return found
    header, layout, shown = found
    described = describe_header(header, layout)
    if options.header:
        return {**described, "warnings": slow(header, layout)}
    with Reader(header) as reader:
        return {**described, **_Rows(comm, reader, observers).describe(shown, slow(header, layout))}


def _look(options: Inspect) -> dict[str, Any] | tuple[Header, Layout, list[int]]:
    """The description of a model; of data, what files say of themselves and the columns to show."""
    paths = find_files(options.data)
    if len(paths) == 1:
        path = model_path(paths[0])
        with open_file(path) as file:
            if is_model(file):
                return describe_model(path)
    header = read_header(paths, Names(x=options.x, y=options.y))
    return header, layout_of(header), chosen_columns(header, options.columns)


def chosen_columns(header: Header, wanted: str | None) -> list[int]:
    """Numbers of the columns that names and patterns, separated by commas, stand for; all for None."""
    if wanted is None:
        return list(range(header.d))
    found: set[int] = set()
    for pattern in (part.strip() for part in wanted.split(",")):
        matching = {j for j, name in enumerate(header.feature_names) if name == pattern or fnmatchcase(name, pattern)}
        if not matching:
            some = ", ".join(header.feature_names[:8]) + (", …" if header.d > 8 else "")
            raise UsageError(f"--columns {pattern}: {header.label} has no such column; it has {some}")
        found |= matching
    return sorted(found)


def describe_header(header: Header, layout: Layout) -> dict[str, Any]:
    """Shapes, types and layout."""
    size = header.block
    return {
        "kind": "data",
        "files": [str(file.path) for file in header.files],
        "rows": header.n,
        "columns": header.d,
        "outputs": header.outputs,
        "type": header.stored_dtype,
        "type_in_memory": str(header.dtype),
        "storage": header.storage,
        "chunk": list(layout.chunk),
        "filters": list(layout.filters),
        "stored": header.stored,
        "bytes_on_disk": layout.on_disk,
        "bytes_in_memory": header.bytes,
        "block_rows": size,
        "blocks": -(-header.n // size),
        "sample_weight": header.sample_weight,
        "offset": header.offset,
        "feature_names": list(header.feature_names),
        "class_names": list(header.class_names),
    }


class _Rows:
    """What the rows of a data set hold, found by all ranks together."""

    def __init__(self, comm: Comm, reader: Reader, observers: Sequence[Observer]) -> None:
        self._comm, self._reader, self._header = comm, reader, reader.header
        self._observers = observers
        with comm.agreement():
            self._start, self._stop = slice_rows(reader, comm.size, comm.rank)

    def describe(self, shown: list[int], warnings: list[str]) -> dict[str, Any]:
        """Summaries of the columns `shown`, of y, weights and offsets, and warnings about all. A collective."""
        header = self._header
        x = self._of_x()
        described: dict[str, Any] = {"density": 1.0 - float(x.zeros.sum()) / header.n / header.d}
        described["column_summaries"] = [{"name": header.feature_names[j], **plain(x, j)} for j in shown]
        warnings = [*warnings, *of_columns(header, x)]
        if header.outputs:
            labels = Labels(MOST_LABELS)
            y = self._of_rows(header.names.y, header.outputs, labels if header.outputs == 1 else None)
            counts = labels.over_ranks(self._comm) if header.outputs == 1 else None
            described["target"] = [plain(y, k) for k in range(header.outputs)]
            described["labels"] = None if counts is None else {number(label): c for label, c in counts.items()}
            warnings += of_target(header, y, counts)
        for key, present, name in (
            ("sample_weight", header.sample_weight, header.names.sample_weight),
            ("offset", header.offset, header.names.offset),
        ):
            if present:
                values = self._of_rows(name, 1)
                described[key] = plain(values, 0)
                warnings += of_extra(header, name, values, weight=key == "sample_weight")
        return {**described, "warnings": warnings}

    def _of_x(self) -> Summary:
        header, sparse = self._header, self._header.stored is not None
        if sparse:
            with self._comm.agreement():
                amount = self._reader.before(self._stop) - self._reader.before(self._start)
            begin: Callable[[], Iterator[Piece]] = partial(sparse_pieces, self._reader, self._start, self._stop)
        else:
            amount = self._stop - self._start
            begin = lambda: dense_pieces(self._reader.pieces(self._start, self._stop))  # noqa: E731
        return summarise(self._comm, header, header.d, self._metered(header.names.x, amount, begin), sparse)

    def _of_rows(self, name: str, columns: int, labels: Labels | None = None) -> Summary:
        """Of a dataset (n,) or (n, columns). labels : takes in the values, in the first of two passes."""
        waiting = [labels]

        def pieces() -> Iterator[tuple[int, np.ndarray]]:
            first_time = waiting.pop() if waiting else None
            for first in range(self._start, self._stop, AT_ONCE):
                values = self._reader.rows(name, first, min(first + AT_ONCE, self._stop), np.float64)
                if first_time is not None:
                    first_time.add(values)
                yield first, values

        begin = self._metered(name, self._stop - self._start, lambda: dense_pieces(pieces()))
        return summarise(self._comm, self._header, columns, begin)

    def _metered(self, name: str, amount: int, begin: Callable[[], Iterator[Piece]]) -> Callable[[], Iterator[Piece]]:
        """The same pieces, of two passes, of which progress is told."""
        meter = Meter(self._observers, f"reading {name}", 2 * amount)

        def pieces() -> Iterator[Piece]:
            for piece in begin():
                yield piece
                meter.advance(len(piece[0]))

        return pieces


def plain(summary: Summary, j: int) -> dict[str, Any]:
    """What a summary says of one column, as values for JSON; None for what is not a finite number."""
    return {
        **{key: finite(getattr(summary, key)[j]) for key in ("low", "high", "mean", "sd")},
        **{key: int(getattr(summary, key)[j]) for key in ("zeros", "missing", "infinite")},
        "histogram": summary.histogram[j].tolist(),
    }


def finite(value: float) -> float | None:
    """The value as Python has it, or None."""
    return float(value) if np.isfinite(value) else None


def number(value: float) -> str:
    """A number as short as it can be told from all others."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def describe_model(path: Path) -> dict[str, Any]:
    """Coefficients and provenance of a model."""
    model = Model.load(path)
    with open_file(path) as file:
        version = str(file.attrs.get("mpigd_version", "unknown"))
    values = {key: value.tolist() for key, value in vars(model).items() if isinstance(value, np.ndarray)}
    scale = model.fit.get("scale", np.zeros(0))
    return {
        "kind": "model",
        "file": str(path),
        "loss": model.loss.name,
        "link": model.loss.link,
        "fingerprint": model.fingerprint,
        "mpigd_version": version,
        "feature_names": list(model.feature_names),
        "class_names": list(model.class_names),
        **values,
        "scale": scale.tolist(),
        "strengths": model.path["strength"].tolist() if model.path else [],
        "config": model.config,
        "result": model.result,
    }

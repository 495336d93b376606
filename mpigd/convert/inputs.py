"""Which kind of file an input is, and several of one kind as one table."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from mpigd.convert import delimited, hdf5, matrices, svmlight, tables, text
from mpigd.convert.source import Source, column_of
from mpigd.errors import DataError
from mpigd.options import Convert, parse_bytes

KINDS = {
    "csv": (".csv", ".tsv", ".tab", ".txt"),
    "parquet": (".parquet", ".pq"),
    "arrow": (".arrow", ".feather", ".ipc"),
    "svmlight": (".libsvm", ".svmlight", ".svm"),
    "npy": (".npy",),
    "npz": (".npz",),
    "hdf5": (".h5", ".hdf5", ".h5ad"),
}


def kind_of(path: Path) -> str:
    """Kind of a file by its name, less .gz and .zst."""
    stem = path.with_suffix("") if text.is_compressed(path) else path
    kind = next((kind for kind, endings in KINDS.items() if stem.suffix.lower() in endings), None)
    if kind is None:
        known = " ".join(ending for endings in KINDS.values() for ending in endings)
        raise DataError(f"{path}: can't tell what it is from its name ({known}); say so with --format")
    if stem != path and kind not in ("csv", "svmlight"):
        raise DataError(f"{path}: of compressed files, CSV and svmlight can be read; decompress this one first")
    return kind


def opened(options: Convert) -> tuple[Source, ...]:
    """The sources, their headers read and found to agree. Raises DataError."""
    kinds = {path: options.format if options.format != "auto" else kind_of(path) for path in options.sources}
    first = options.sources[0]
    for path, kind in kinds.items():
        if kind != kinds[first]:
            raise DataError(f"{path} is {kind}, but {first} is {kinds[first]}: inputs have to be of one kind")
    sources = tuple(_opened(path, kinds[path], options) for path in options.sources)
    for source in sources[1:]:
        check_alike(sources[0], source, options.categorical)
    return sources


def _opened(path: Path, kind: str, options: Convert) -> Source:
    if kind == "csv":
        return delimited.opened(path, options.delimiter, options.header, parse_bytes(options.memory) // 16)
    if kind == "svmlight":
        return svmlight.opened(path)
    if kind == "hdf5":
        named = [name for name in (options.target, options.weight, options.offset) if name not in (None, "none")]
        return hdf5.opened(path, [name for name in named if name])
    if kind in ("npy", "npz"):
        return matrices.opened(path, parse_bytes(options.memory) // 2)
    return tables.opened_parquet(path) if kind == "parquet" else tables.opened_arrow(path)


def check_alike(first: Source, other: Source, categorical: Sequence[str]) -> None:
    """Raise DataError unless both have the same columns. categorical : patterns of those that are read as text."""
    for has, lacks in ((first, other), (other, first)):
        for column in has.columns:
            if column_of(lacks, column.name) is None:
                raise DataError(f"{lacks.path} has no column '{column.name}', which {has.path} has")
    for a, b in zip(first.columns, other.columns, strict=True):
        if a.name != b.name:
            raise DataError(
                f"{other.path} has column '{b.name}' where {first.path} has '{a.name}': put them in one order"
            )
        if a.sort != b.sort and not any(fnmatchcase(a.name, pattern) for pattern in categorical):
            raise DataError(f"{other.path} has {b.kind} in column '{b.name}', but {first.path} has {a.kind}")
    if first.width != other.width or first.names != other.names:
        raise DataError(
            f"{other.path}: X has {other.width} columns, but that of {first.path} {first.width}, or other names"
        )

"""NumPy's .npy and .npz files. Their units are rows; nothing in them is ever unpickled."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from mpigd.convert.source import (
    PIECE_BYTES,
    PIECE_ROWS,
    Column,
    Piece,
    Share,
    Source,
    check_twice,
    columns_of_matrix,
    readable,
)
from mpigd.errors import DataError
from mpigd.storage import unnamed_columns

BESIDE = {"y": "target", "sample_weight": "weight", "offset": "offset"}


@dataclass(frozen=True)
class Matrix(Source):
    """An .npy or .npz file. matrix : the array with the columns; the others are arrays beside it, of .npz."""

    matrix: str = ""
    inside: tuple[str, ...] = ()

    def pieces(self, share: Share, wanted: Sequence[Column]) -> Iterator[Piece]:
        """Rows start … stop - 1."""
        if share.start >= share.stop:
            return
        with readable(self.path, "a NumPy file"), ExitStack() as stack:
            arrays = {
                name: stack.enter_context(rows_of(self.path, name, share.start))
                for name in (self.matrix, *(c.name for c in wanted if c.name not in self.inside))
            }
            at = {name: index for index, name in enumerate(self.inside)}
            taken = [c.name for c in wanted if c.name in at]
            some = [at[name] for name in taken]
            step = min(max(PIECE_BYTES // (8 * max(len(self.inside), 1)), 1), PIECE_ROWS)
            for first in range(share.start, share.stop, step):
                rows = min(step, share.stop - first)
                columns: dict[str, Any] = {}
                for name, read in arrays.items():
                    values = read(rows)
                    columns |= columns_of_matrix(
                        *((values[:, some], taken) if name == self.matrix else (values[:, None], [name]))
                    )
                yield Piece(rows, columns, mark=first)


@contextmanager
def rows_of(path: Path, name: str, start: int) -> Iterator[Any]:
    """A function that reads the next rows of an array, from row start on."""
    if path.suffix.lower() == ".npy":
        yield _in_pieces(np.load(path, mmap_mode="r", allow_pickle=False), start)
        return
    with zipfile.ZipFile(path) as file, file.open(f"{name}.npy") as stream:
        shape, fortran, dtype = _array_header(path, name, stream)
        if fortran and len(shape) > 1:  # rows lie scattered over all of it
            whole = np.frombuffer(stream.read(), dtype).reshape(shape, order="F")
            yield _in_pieces(whole, start)
            return
        width = dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
        stream.seek(start * width, 1)
        yield lambda count: np.frombuffer(_exactly(stream, count * width), dtype).reshape(count, *shape[1:])


def _in_pieces(array: np.ndarray, position: int) -> Any:
    def rows(count: int) -> np.ndarray:
        nonlocal position
        position += count
        return array[position - count : position]

    return rows


def _exactly(stream: IO[bytes], count: int) -> bytes:
    got = stream.read(count)
    if len(got) < count:
        raise EOFError("the file ends early")
    return got


def _array_header(path: Path, name: str, stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    _check_numbers(path, name, dtype)
    return shape, fortran, dtype


def _check_numbers(path: Path, name: str, dtype: np.dtype) -> None:
    if dtype.kind not in "fiub":
        where = f"array '{name}'" if name else "the array"
        raise DataError(f"{path}: {where} has type {dtype}; expected numbers")


def opened(path: Path, room: int) -> Matrix:
    """A NumPy file whose headers have been read. room : bytes that an array may take that has to be read whole."""
    with readable(path, "a NumPy file"):
        if path.suffix.lower() == ".npy":
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            _check_numbers(path, "", array.dtype)
            shapes, names = {"": array.shape}, None
        else:
            with zipfile.ZipFile(path) as file:
                found = [name.removesuffix(".npy") for name in file.namelist() if name.endswith(".npy")]
            names = _feature_names(path) if "feature_names" in found else None
            shapes = {}
            with zipfile.ZipFile(path) as file:
                for name in found:
                    if name in ("X", *BESIDE) or len(found) == 1:
                        with file.open(f"{name}.npy") as stream:
                            shapes[name], fortran, dtype = _array_header(path, name, stream)
                        if fortran and np.prod(shapes[name]) * dtype.itemsize > room:
                            raise DataError(
                                f"{path}: array '{name}' is stored column by column, and too large to be read whole; "
                                "save it with numpy.ascontiguousarray, or as .npy, or raise --memory"
                            )
    matrix = "X" if "X" in shapes else next(iter(shapes), None)
    if matrix is None or (matrix in BESIDE and len(shapes) > 1):
        raise DataError(f"{path}: expected arrays X and y, or one array whose last column is the target")
    return _matrix(path, matrix, shapes, names)


def _feature_names(path: Path) -> tuple[str, ...]:
    with np.load(path, allow_pickle=False) as arrays:
        return tuple(map(str, arrays["feature_names"]))


def _matrix(path: Path, matrix: str, shapes: dict[str, tuple[int, ...]], names: Sequence[str] | None) -> Matrix:
    shape = shapes.pop(matrix)
    if len(shape) != 2:
        raise DataError(f"{path}: the array has shape {shape}; expected (rows, columns)")
    for name, other in shapes.items():
        if other != shape[:1]:
            raise DataError(f"{path}: array '{name}' has shape {other}; expected ({shape[0]},), as '{matrix}' has rows")
    inside = tuple(names) if names is not None else unnamed_columns(shape[1])
    if len(inside) != shape[1]:
        raise DataError(f"{path}: feature_names has {len(inside)} names for {shape[1]} columns")
    check_twice(path, [*inside, *shapes])
    special: dict[str, str | None] = {role: name for name, role in BESIDE.items() if name in shapes}
    if not shapes and matrix != "X" and inside:
        special["target"] = inside[-1]
    columns = tuple(Column(name, "number") for name in (*inside, *shapes))
    return Matrix(path, columns, shape[0], special, matrix=matrix, inside=inside)

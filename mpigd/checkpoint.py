"""Checkpoints: all that a fit needs to go on, on disk.

A checkpoint is an HDF5 file, in whose user block, the first 512 bytes, stands a checksum of the rest: whatever part of
it was lost or has changed, it is not taken for whole. It holds plain numbers, strings and arrays; what class they were
of is a name of those below, so that nothing in a file is ever executed.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from mpigd_kernels.factor import Factor

from mpigd.errors import DataError
from mpigd.files import written_whole
from mpigd.fitting import Along, Progress
from mpigd.history import Held, Mark, Record
from mpigd.searched import Outcome, Reached, Searched
from mpigd.solvers import STATES

FORMAT = "mpigd-checkpoint-1"
USER_BLOCK = 512  # bytes
OF_FITS, OF_SEARCHES = (Along, Held, Mark, Progress, Record), (Outcome, Reached, Searched)
CLASSES: dict[str, Any] = {kind.__name__: kind for kind in (*STATES, Factor, *OF_FITS, *OF_SEARCHES)}
FIT, SEARCH = "checkpoints", "search"  # folders of a run directory
PATTERN = "step-*.h5"


def names_in(directory: Path, folder: str = FIT) -> list[Path]:
    """Checkpoints of a run directory, the newest last."""
    return sorted((directory / folder).glob(PATTERN))


def path_of(directory: Path, step: int, folder: str = FIT) -> Path:
    """Where the checkpoint after so many steps is."""
    return directory / folder / f"step-{step:012d}.h5"


def write(path: Path, **values: Any) -> None:
    """Write values, which may be dataclasses and tuples of others, so that the file is there whole or not at all."""
    memory = io.BytesIO()
    with h5py.File(memory, "w", userblock_size=USER_BLOCK) as file:
        file.attrs["format"] = FORMAT
        for name, value in values.items():
            _put(file, name, value)
    content = memory.getbuffer()[USER_BLOCK:]
    with written_whole(path) as temporary, temporary.open("wb") as out:
        out.write(_label(content))
        out.write(content)


def read(path: Path) -> dict[str, Any]:
    """What `write` was given; DataError where the file is something else, or damaged."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}") from None
    if content[:USER_BLOCK] != _label(memoryview(content)[USER_BLOCK:]):
        raise DataError(f"{path}: damaged checkpoint: what it holds does not match its checksum")
    with h5py.File(io.BytesIO(content), "r") as file:
        if file.attrs["format"] != FORMAT:
            raise DataError(f"{path}: a checkpoint of another version of mpigd; begin anew")
        return {name: _get(file, name) for name in (*file, *file.attrs) if name != "format"}


def newest(directory: Path, folder: str = FIT) -> tuple[Path, dict[str, Any], list[str]] | None:
    """The newest checkpoint of a run directory that is whole, what it holds, and why newer ones were passed over."""
    problems: list[str] = []
    for path in reversed(names_in(directory, folder)):
        try:
            return path, read(path), problems
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError(f"{problems[0]}; no older one is left, so begin anew without --resume")
    return None


def thin_out(directory: Path, keep: int, folder: str = FIT) -> None:
    """Delete all but the newest checkpoints."""
    there = names_in(directory, folder)
    for path in there[:-keep] if keep else there:
        path.unlink(missing_ok=True)


def _label(content: memoryview) -> bytes:
    text = f"{FORMAT} sha256 {hashlib.sha256(content).hexdigest()} of the bytes from {USER_BLOCK} on\n"
    return text.encode().ljust(USER_BLOCK, b"\0")


def _put(group: h5py.Group, name: str, value: Any) -> None:
    if isinstance(value, np.ndarray):
        group[name] = value
    elif isinstance(value, str | bool | int | float | np.generic):
        group.attrs[name] = value
    else:
        below = group.create_group(name, track_order=True)
        below.attrs["class"] = type(value).__name__ if type(value).__name__ in CLASSES else ""
        for key, item in _items(value):
            _put(below, key, item)


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    """Names and values of what is in one that is not plain; None is left out."""
    if is_dataclass(value) and not isinstance(value, type):
        items: Any = ((each.name, getattr(value, each.name)) for each in fields(value))
    elif hasattr(value, "_fields"):
        items = zip(value._fields, value, strict=True)
    elif isinstance(value, tuple | list):
        items = ((f"{index:09d}", item) for index, item in enumerate(value))
    else:
        raise TypeError(f"a checkpoint can't hold a {type(value).__name__}")
    return ((key, item) for key, item in items if item is not None)


def _get(group: h5py.Group, name: str) -> Any:
    if name in group.attrs:
        value = group.attrs[name]
        return value.item() if isinstance(value, np.generic) else value
    found = group[name]
    if isinstance(found, h5py.Dataset):
        return found[()]
    values = {key: _get(found, key) for key in (*found, *found.attrs) if key != "class"}
    kind = found.attrs["class"]
    return CLASSES[kind](**values) if kind else tuple(values[key] for key in sorted(values))

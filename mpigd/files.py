"""Writing files so that a reader sees the old one or the whole new one, never a part."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mpigd import platforms
from mpigd.errors import OutputError


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """Turn a failure of the operating system or of HDF5 into an OutputError that names path."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path}: can't be written: {error.strerror or error}") from error


def temporary_name(path: Path) -> Path:
    """The name, in the same directory, under which path is written before it is complete."""
    return path.with_name(f".{path.name}.partial")


def flush(path: Path) -> None:
    """Have what was written to a file or directory on the disk."""
    if path.is_dir():
        platforms.flush_directory(path)
        return
    descriptor = os.open(path, os.O_RDWR)
    try:
        platforms.flush(descriptor)
    finally:
        os.close(descriptor)


def publish(path: Path) -> None:
    """Give the complete temporary file, or directory, its name: flush it to disk, then rename it."""
    temporary = temporary_name(path)
    flush(temporary)
    platforms.rename(temporary, path)
    flush(path.parent)  # the new name, too, is to outlive the machine


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary name to write to; it becomes path if the block succeeds and is removed if not."""
    temporary = temporary_name(path)
    try:
        with reported(path):
            yield temporary
            publish(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raise OutputError unless path could be created or replaced. Creates nothing."""
    parent = path.absolute()
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if parent == path.absolute() and not parent.is_dir():
        parent = parent.parent
    if not parent.is_dir():
        raise OutputError(f"{path}: can't be written: {parent} is not a directory")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: can't be written: no permission to write in {parent}")


def write_at(descriptor: int, place: int, array: np.ndarray) -> None:
    """Write the bytes of an array to an open file, from byte `place` on."""
    memory, done = _bytes_of(np.ascontiguousarray(array)), 0
    while done < len(memory):
        done += platforms.write_some(descriptor, memory[done:], place + done)


def read_at(descriptor: int, place: int, out: np.ndarray) -> None:
    """Fill a C-contiguous array with the bytes of an open file from byte `place` on; OSError where it ends before."""
    memory, done = _bytes_of(out), 0
    while done < len(memory):
        got = platforms.read_some(descriptor, memory[done:], place + done)
        if not got:
            raise OSError(f"the file ends {len(memory) - done} bytes too early: it is truncated")
        done += got


def _bytes_of(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data

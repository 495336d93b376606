"""Rows of this rank that have been parsed and wait to be encoded: in memory first, the rest on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpigd.convert.arrow import pa
from mpigd.files import reported


class Spool:
    """Record batches in the order in which they came, to be read any number of times.

    path : of the file for what is beyond `room` bytes.
    """

    def __init__(self, path: Path, room: int) -> None:
        self._path, self._room = path, room
        self._kept: list[Any] = []
        self._file: Any = None

    def add(self, batch: Any) -> None:
        """One more batch; OutputError if the disk refuses it."""
        self._room -= batch.nbytes
        if self._room >= 0:
            self._kept.append(batch)
            return
        with reported(self._path):
            if self._file is None:
                self._file = self._path.open("wb")
            # A stream for each batch: types of columns may differ from one to the next.
            with pa.ipc.new_stream(self._file, batch.schema) as stream:
                stream.write_batch(batch)

    def __iter__(self) -> Iterator[Any]:
        yield from self._kept
        if self._file is None:
            return
        with reported(self._path):
            self._file.flush()
            with pa.OSFile(str(self._path)) as file:
                while file.tell() < file.size():
                    with pa.ipc.open_stream(file) as stream:
                        yield from stream

    def remove(self) -> None:
        """Forget everything, and leave nothing on disk."""
        self._kept.clear()
        if self._file is not None:
            self._file.close()
            self._path.unlink(missing_ok=True)
            self._file = None

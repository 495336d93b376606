"""Bytes of text files, plain or compressed, cut at ends of lines that are not inside quotes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mpigd.convert.arrow import pa
from mpigd.convert.source import PIECE_BYTES, readable
from mpigd.errors import DataError

CODECS = {".gz": "gzip", ".zst": "zstd"}
QUOTE, NEWLINE = ord('"'), ord("\n")
BOM = b"\xef\xbb\xbf"
UNIT = 1 << 20  # bytes of a plain file that one rank reads
WINDOW = 1 << 16  # bytes that are searched at once for the end of a line


def is_compressed(path: Path) -> bool:
    """Whether the name says so. Such a file can't be cut: one rank reads all of it."""
    return path.suffix.lower() in CODECS


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The bytes of a text file, decompressed: an object with read(size) → bytes."""
    codec = CODECS.get(path.suffix.lower())
    with readable(path, "a text file" if codec is None else f"a {codec} file"):
        if codec is None:
            file = path.open("rb", buffering=0)
        else:
            path.open("rb").close()  # for the same errors as of a plain file
            file = pa.input_stream(str(path), compression=codec)
    try:
        with readable(path, "a text file" if codec is None else f"a whole {codec} file"):
            yield file
    finally:
        file.close()


def ends_of_lines(text: bytes, quoted: bool = False) -> np.ndarray:
    """Positions of the newlines in text that are not inside quotes; quoted says whether its first byte is."""
    array = np.frombuffer(text, np.uint8)
    newline = array == NEWLINE
    if quoted or QUOTE in text:
        newline &= (np.cumsum(array == QUOTE) + quoted) % 2 == 0
    return np.flatnonzero(newline)


def start_of_row(path: Path, position: int, quoted: bool) -> int:
    """The first row start after a position of a plain file: where the first newline from there on ends."""
    if position == 0:
        return 0
    with opened(path) as file:
        file.seek(position)
        while window := file.read(WINDOW):
            ends = ends_of_lines(window, quoted)
            if len(ends):
                return position + int(ends[0]) + 1
            quoted ^= bool(window.count(b'"') % 2)
            position += len(window)
    return position


def blocks(
    path: Path, start: int, stop: int | None, quotes: bool = True, size: int | None = None
) -> Iterator[tuple[int, bytes]]:
    """Whole lines from byte start (of the decompressed text) to stop, some megabytes at a time, with their place.

    A block ends after a newline, but for the last one of the file. quotes : whether newlines may stand in quotes.
    size : bytes that are read at once.
    """
    size = size or PIECE_BYTES
    with opened(path) as file:
        skip(file, start)
        left = b""
        while more := file.read(size if stop is None else max(min(size, stop - start - len(left)), 0)):
            if quotes and (QUOTE in more or QUOTE in left):
                ends = ends_of_lines(left + more)
                cut = int(ends[-1]) + 1 - len(left) if len(ends) else 0
            else:
                cut = more.rfind(b"\n") + 1
            if cut <= 0:
                left += more
                continue
            yield start, b"".join((left, memoryview(more)[:cut]))
            start += len(left) + cut
            left = more[cut:]
    if left:
        yield start, left


def skip(file: Any, count: int) -> None:
    """Go on by so many bytes."""
    if isinstance(file, io.RawIOBase):
        file.seek(count)
        return
    while count:
        got = len(file.read(min(count, PIECE_BYTES)))
        if not got:
            return
        count -= got


def line_number(path: Path, position: int) -> int:
    """Number of the line that begins at a byte of the decompressed text, from 1. Reads all before it: for errors."""
    lines = 1
    with opened(path) as file:
        while position and (part := file.read(min(position, PIECE_BYTES))):
            lines += part.count(b"\n")
            position -= len(part)
    return lines


def check_quotes(path: Path, position: int, text: bytes, delimiter: str) -> None:
    """Raise DataError for a quote in the middle of a field: it would be anyone's guess where lines end.

    text : whole rows that begin at a byte position of the file.
    """
    array = np.frombuffer(text, np.uint8)
    at = np.flatnonzero(array == QUOTE)
    around = np.zeros(256, bool)
    around[[QUOTE, NEWLINE, ord("\r"), ord(delimiter) % 256]] = True
    padded = np.concatenate([[NEWLINE], array, [NEWLINE]])
    wrong = np.where(np.arange(len(at)) % 2 == 0, ~around[padded[at]], ~around[padded[at + 2]])
    if len(at) % 2:
        wrong[-1] = True
    if wrong.any():
        place = int(at[np.argmax(wrong)])
        line = line_number(path, position) + text[:place].count(b"\n")
        raise DataError(
            f"{path}: line {line}: a quote in the middle of a field, or one without its partner; put the whole field "
            'in quotes and write each quote in it twice ("")'
        )


def decoded(path: Path, position: int, text: bytes) -> str:
    """Text as UTF-8; DataError naming the line otherwise."""
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        line = line_number(path, position) + text[: error.start].count(b"\n")
        raise DataError(f"{path}: line {line}: not UTF-8 text; convert it first, as with iconv -t UTF-8") from None

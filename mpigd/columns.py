"""What belongs to each row beside X: target, weight, offset; read, checked, and laid out as kernels take it.

Read twice, some rows at a time, so that it never takes more memory than in the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import mpigd_kernels as kernels
import numpy as np

from mpigd.errors import DataError
from mpigd.reader import Source
from mpigd.storage import Header

MOST_CLASSES = 10_000
AT_ONCE = 1 << 17  # rows


@dataclass
class Found:
    """What a rank has seen in its rows.

    inexact : whether a value does not fit float32.  heaviest : the largest weight.  labels : of classes, sorted.
    """

    inexact: bool = False
    heaviest: float = 0.0
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0))


class Columns:
    """Target, weight and offset of rows start … stop - 1. target : what y must be, as `Loss.target`; None is anything.

    Not collectives; bad input raises a DataError on this rank alone.
    """

    def __init__(self, reader: Source, start: int, stop: int, target: str | None) -> None:
        self._reader, self.header, self._start, self._stop = reader, reader.header, start, stop
        self.target = target

    def scan(self) -> Found:
        """Check all values."""
        found, names = Found(), self.header.names
        if self.target is not None:
            for first, y in self._pieces(names.y, found):
                if self.target in ("nonnegative", "positive"):
                    bad = y < 0.0 if self.target == "nonnegative" else y <= 0.0
                    refuse(bad, self.header, names.y, first, f"is not {self.target}, as the loss needs,")
                elif self.target in ("binary", "classes"):
                    refuse(
                        y != np.floor(y), self.header, names.y, first, "is not a whole number, so not a class label,"
                    )
                    found.labels = np.union1d(found.labels, y)
                    if len(found.labels) > MOST_CLASSES:
                        raise DataError(
                            f"{self.header.label}: dataset '{names.y}' has more than {MOST_CLASSES} different labels"
                        )
        if self.header.sample_weight:
            for first, weight in self._pieces(names.sample_weight, found):
                refuse(weight < 0.0, self.header, names.sample_weight, first, "is negative")
                found.heaviest = max(found.heaviest, float(weight.max()))
        if self.header.offset:
            for _ in self._pieces(names.offset, found):
                pass
        return found

    def layouts(self, dtype: np.dtype[Any], classes: np.ndarray) -> dict[str, Any]:
        """The fields of a `kernels.Slice` but for X and how to compute; labels as numbers of the sorted classes."""
        header, names = self.header, self.header.names
        rows = kernels.tile_rows(header.block)
        count = kernels.tile_count(self._stop - self._start, rows)

        def layout(name: str, outputs: int, present: bool, padding: float) -> np.ndarray:
            if not present:
                return np.zeros((0, 1, rows), dtype)
            result = np.full((count, outputs, rows), padding, dtype)
            for first, values in self._pieces(name):
                if name == names.y and len(classes):
                    values = class_numbers(header, first, values, classes)
                place_rows(values, first - self._start, result)
            return result

        y = layout(names.y, max(header.outputs, 1), self.target is not None, 1.0)
        return {
            "n": self._stop - self._start,
            "block": header.block,
            "y": y if self.target is not None else np.ones((count, 1, rows), dtype),
            "weight": layout(names.sample_weight, 1, header.sample_weight, 0.0),
            "offset": layout(names.offset, 1, header.offset, 0.0),
        }

    def _pieces(self, name: str, found: Found | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """Values of some rows at a time: the first, (m, K) float64. What they are is noted in `found`."""
        for first in range(self._start, self._stop, AT_ONCE):
            values = self._reader.rows(name, first, min(first + AT_ONCE, self._stop), np.float64)
            values = values if values.ndim == 2 else values[:, None]
            if found is not None:
                refuse(~np.isfinite(values), self.header, name, first, "is not a finite number")
                with np.errstate(over="ignore"):  # such a value is inexact, too
                    found.inexact = found.inexact or not np.array_equal(values, values.astype(np.float32))
            yield first, values


def place_rows(values: np.ndarray, first: int, layout: np.ndarray) -> None:
    """Write values (m, K) to rows first … of a layout (tiles, K, rows); `first` begins a tile."""
    rows = layout.shape[2]
    whole, rest = divmod(len(values), rows)
    tile = first // rows
    layout[tile : tile + whole] = values[: whole * rows].reshape(whole, rows, values.shape[1]).transpose(0, 2, 1)
    if rest:
        layout[tile + whole, :, :rest] = values[whole * rows :].T


def class_numbers(header: Header, start: int, labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The places of labels among the sorted classes, float64; a label that is none of them is an error."""
    number = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    refuse(classes[number] != labels, header, header.names.y, start, "has an unknown class")
    return number.astype(np.float64)


def refuse(bad: np.ndarray, header: Header, name: str, start: int, what: str) -> None:
    """Raise DataError for the first of the rows from `start` on where `bad` (m, K) is True."""
    if bad.any():
        path, row = header.place(start + int(np.argwhere(bad)[0, 0]))
        raise DataError(f"{path}: dataset '{name}' {what} at row {row}")

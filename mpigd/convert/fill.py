"""Numbers to put where one is missing: the mean or the median of a column, the same bits on any number of ranks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from mpigd.comm import Comm
from mpigd.convert.arrow import numbers
from mpigd.convert.survey import UNIT, Found

BITS = 16  # of a number that one pass of the median settles
TOGETHER = 32  # columns whose medians are sought in the same passes


def mean(found: Found, name: str) -> float:
    """The mean of the values that are there, correctly rounded; NaN if there is none."""
    count = found.rows - found.missing.get(name, 0)
    return float(Fraction(found.tallies[name].total, count << UNIT)) if count else float("nan")


def medians(comm: Comm, batches: Iterable[Any], names: Sequence[str], found: Found) -> list[float]:
    """Medians of columns. A collective.

    Exact, by four passes over the spooled rows, each of which counts values by their next 16 bits in the order of
    numbers; so it takes a megabyte for a column, whatever the number of rows, and some columns go together. Of an even
    number of values it is the mean of the two in the middle; NaN of none.
    """
    left = {name: found.rows - found.missing.get(name, 0) for name in names}
    there = [name for name in names if left[name]]
    known = dict.fromkeys(names, float("nan"))
    for first in range(0, len(there), TOGETHER):
        places = {name: [(left[name] - 1) // 2, left[name] // 2] for name in there[first : first + TOGETHER]}
        for name, (low, high) in _values_at(comm, batches, places).items():
            known[name] = 0.5 * low + 0.5 * high
    return list(known.values())


def _values_at(comm: Comm, batches: Iterable[Any], places: Mapping[str, Sequence[int]]) -> dict[str, list[float]]:
    """The values of columns that stand at some places (from 0) in sorted order."""
    left = [(name, place) for name, some in places.items() for place in some]
    prefixes = [0] * len(left)
    for shift in range(64 - BITS, -1, -BITS):
        counts = np.zeros((len(left), 1 << BITS), np.int64)
        with comm.agreement():
            for batch in batches:
                keys = {name: _keys(numbers(batch.column(name))) for name in places}
                for which, ((name, _), prefix) in enumerate(zip(left, prefixes, strict=True)):
                    some = keys[name]
                    if shift < 64 - BITS:
                        some = some[some >> np.uint64(shift + BITS) == np.uint64(prefix)]
                    digits = (some >> np.uint64(shift)) & np.uint64((1 << BITS) - 1)
                    counts[which] += np.bincount(digits.astype(np.int64), minlength=1 << BITS)
        comm.sum(counts)
        for which, (row, (name, place)) in enumerate(zip(counts, left, strict=True)):
            ends = np.cumsum(row)
            digit = int(np.searchsorted(ends, place, side="right"))
            left[which] = name, place - int(ends[digit] - row[digit])
            prefixes[which] = prefixes[which] << BITS | digit
    found: dict[str, list[float]] = {}
    for (name, _), prefix in zip(left, prefixes, strict=True):
        found.setdefault(name, []).append(_value(prefix))
    return found


def _keys(values: np.ndarray) -> np.ndarray:
    """Whole numbers, uint64, in the same order as the values that are there."""
    there = values.astype(np.float64)
    bits = (there[~np.isnan(there)] + 0.0).view(np.uint64)
    sign = np.uint64(1 << 63)
    return np.where(bits & sign, ~bits, bits | sign)


def _value(key: int) -> float:
    bits = key ^ (1 << 63) if key >> 63 else key ^ ((1 << 64) - 1)
    return float(np.array(bits, np.uint64).view(np.float64))

"""Numbers to put where one is missing: the mean or the median of a column, the same bits on any number of ranks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from mpigd.comm import Comm
from mpigd.convert.arrow import numbers
from mpigd.convert.survey import UNIT, Found

BITS = 16  # of a number that one pass of the median settles


def mean(found: Found, name: str) -> float:
    """The mean of the values that are there, correctly rounded; NaN if there is none."""
    count = found.rows - found.missing[name]
    return float(Fraction(found.tallies[name].total, count << UNIT)) if count else float("nan")


def medians(comm: Comm, batches: Iterable[Any], names: Sequence[str], found: Found) -> list[float]:
    """Medians of columns. A collective.

    Exact, by four passes over the spooled rows, each of which counts values by their next 16 bits in the order of
    numbers; so it takes half a megabyte for a column, whatever the number of rows. Of an even number of values it is
    the mean of the two in the middle.
    """
    middle = []
    for name in names:
        count = found.rows - found.missing[name]
        middle.append(_values_at(comm, batches, name, [(count - 1) // 2, count // 2]) if count else [float("nan")] * 2)
    return [0.5 * low + 0.5 * high for low, high in middle]


def _values_at(comm: Comm, batches: Iterable[Any], name: str, places: Sequence[int]) -> list[float]:
    """The values of a column that stand at some places (from 0) in sorted order."""
    prefixes, left = [0] * len(places), list(places)
    for shift in range(64 - BITS, -1, -BITS):
        counts = np.zeros((len(places), 1 << BITS), np.int64)
        with comm.agreement():
            for batch in batches:
                keys = _keys(numbers(batch.column(name)))
                for which, prefix in enumerate(prefixes):
                    some = keys if shift == 64 - BITS else keys[keys >> np.uint64(shift + BITS) == np.uint64(prefix)]
                    digits = (some >> np.uint64(shift)) & np.uint64((1 << BITS) - 1)
                    counts[which] += np.bincount(digits.astype(np.int64), minlength=1 << BITS)
        comm.sum(counts)
        for which, row in enumerate(counts):
            ends = np.cumsum(row)
            digit = int(np.searchsorted(ends, left[which], side="right"))
            left[which] -= int(ends[digit] - row[digit])
            prefixes[which] = prefixes[which] << BITS | digit
    return [_value(prefix) for prefix in prefixes]


def _keys(values: np.ndarray) -> np.ndarray:
    """Whole numbers, uint64, in the same order as the values that are there."""
    there = values.astype(np.float64)
    bits = (there[~np.isnan(there)] + 0.0).view(np.uint64)
    sign = np.uint64(1 << 63)
    return np.where(bits & sign, ~bits, bits | sign)


def _value(key: int) -> float:
    bits = key ^ (1 << 63) if key >> 63 else key ^ ((1 << 64) - 1)
    return float(np.array(bits, np.uint64).view(np.float64))

"""What there is to say of columns one by one, from rows as they come from a file; missing and infinite values count.

Two passes: `first_pass…` counts, finds ranges, adds up and hashes; `second_pass…`, which needs what all rows gave in
the first, adds up squares of deviations and fills histograms. Sums go row by row within a block of rows, then exactly:
see `mpigd_kernels.exact`.

counts (3, d) : of zeros, missing (NaN) and infinite values.  places (2, d) : the first rows of the latter two, NOWHERE
without any.  ranges (2, d) : least and largest finite value.  hashes (d,) : sums over rows of a hash of row and value,
equal for columns of the same values; zeros do not count, so that those of a sparse column need not be visited.
scratch (d,) : the sum of the block that rows are in, zero at first; `finish` ends the last one.
"""

from __future__ import annotations

import numpy as np
from mpigd_kernels.exact import add_all
from mpigd_kernels.native import Floats1, Floats2, Integers1, Integers2, called, inline, kernel

NOWHERE = 1 << 62
LARGEST = 1.7976931348623157e308
_A, _B, _C = 0x1E3779B97F4A7C15, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15  # odd; the last two as in SplitMix64


@inline
def mixed(row, value):
    """A hash of a row and a value, as two rounds of SplitMix64 (G. Steele, D. Lea, C. Flood, OOPSLA 2014); 0 of 0."""
    bits = np.float64(value).view(np.int64) if value == value else np.int64(_A)  # NaN has many forms
    h = (bits ^ (bits >> 32)) + (row + 1) * _A
    h = (h ^ ((h >> 30) & 0x3FFFFFFFF)) * _B
    h = (h ^ ((h >> 27) & 0x1FFFFFFFFF)) * _C
    h = h ^ ((h >> 31) & 0x1FFFFFFFF)
    return h if value != 0.0 else 0


@inline
def kind_of(value):
    """Whether a value is missing, and whether it is infinite, as numbers."""
    return 1 if value != value else 0, 1 if abs(value) > LARGEST else 0


@inline
def bin_of(value, low, per_unit, bins):
    """The bin of a histogram that a finite value is in."""
    return min(max(int((value - low) * per_unit), 0), bins - 1)


@called
def flush(scratch, total):
    """Add the sums of a block to total, and begin the next."""
    add_all(total, 0, scratch)
    scratch[:] = 0.0


@kernel
def finish(scratch: Floats1, total: Integers2) -> None:
    """Add the sums of the last block to total (5, d)."""
    flush(scratch, total)


@kernel
def first_pass(
    x: Floats2,
    start: int,
    block: int,
    counts: Integers2,
    places: Integers2,
    ranges: Floats2,
    hashes: Integers1,
    scratch: Floats1,
    total: Integers2,
) -> None:
    """Take in rows x (m, d), the first of which is row `start` of all; total (5, d) receives their sums."""
    zeros, missing, infinite = counts[0], counts[1], counts[2]
    no, inf, low, high = places[0], places[1], ranges[0], ranges[1]
    for i in range(x.shape[0]):
        row = start + i
        if row % block == 0:
            flush(scratch, total)
        for j in range(x.shape[1]):
            value = x[i, j]
            is_missing, is_infinite = kind_of(value)
            good = is_missing + is_infinite == 0
            zeros[j] += 1 if value == 0.0 else 0
            missing[j] += is_missing
            infinite[j] += is_infinite
            no[j] = min(no[j], row) if is_missing else no[j]
            inf[j] = min(inf[j], row) if is_infinite else inf[j]
            low[j] = value if good and value < low[j] else low[j]
            high[j] = value if good and value > high[j] else high[j]
            scratch[j] += value if good else 0.0
            hashes[j] += mixed(row, value)


@kernel
def first_pass_sparse(
    values: Floats1,
    columns: Integers1,
    rows: Integers1,
    block: int,
    last: Integers1,
    counts: Integers2,
    places: Integers2,
    ranges: Floats2,
    hashes: Integers1,
    scratch: Floats1,
    total: Integers2,
) -> None:
    """The same of numbers of a sparse X, values (m,) at columns (m,) and ascending rows (m,).

    counts (4, d) : the last are stored numbers, of which zeros are counted.  last (1,) : the block that rows are in.
    """
    for k in range(values.shape[0]):
        value, j, row = values[k], columns[k], rows[k]
        if row // block != last[0]:
            flush(scratch, total)
            last[0] = row // block
        is_missing, is_infinite = kind_of(value)
        counts[0, j] += 1 if value == 0.0 else 0
        counts[1, j] += is_missing
        counts[2, j] += is_infinite
        counts[3, j] += 1
        hashes[j] += mixed(row, value)
        if is_missing:
            places[0, j] = min(places[0, j], row)
        elif is_infinite:
            places[1, j] = min(places[1, j], row)
        else:
            ranges[0, j] = min(ranges[0, j], value)
            ranges[1, j] = max(ranges[1, j], value)
            scratch[j] += value


@kernel
def second_pass(
    x: Floats2,
    start: int,
    block: int,
    mean: Floats1,
    low: Floats1,
    per_unit: Floats1,
    histogram: Integers2,
    scratch: Floats1,
    total: Integers2,
) -> None:
    """Take in rows x (m, d) again; total (5, d) receives the squares of their deviations from the mean (d,).

    histogram (d, bins) : counts from the value low (d,) on, in bins of 1 / per_unit (d,).
    """
    bins = histogram.shape[1]
    for i in range(x.shape[0]):
        if (start + i) % block == 0:
            flush(scratch, total)
        for j in range(x.shape[1]):
            value = x[i, j]
            if abs(value) <= LARGEST:
                scratch[j] += (value - mean[j]) * (value - mean[j])
                histogram[j, bin_of(value, low[j], per_unit[j], bins)] += 1


@kernel
def second_pass_sparse(
    values: Floats1,
    columns: Integers1,
    rows: Integers1,
    block: int,
    last: Integers1,
    mean: Floats1,
    low: Floats1,
    per_unit: Floats1,
    histogram: Integers2,
    scratch: Floats1,
    total: Integers2,
) -> None:
    """The same of numbers of a sparse X."""
    bins = histogram.shape[1]
    for k in range(values.shape[0]):
        value, j, row = values[k], columns[k], rows[k]
        if row // block != last[0]:
            flush(scratch, total)
            last[0] = row // block
        if abs(value) <= LARGEST:
            scratch[j] += (value - mean[j]) * (value - mean[j])
            histogram[j, bin_of(value, low[j], per_unit[j], bins)] += 1

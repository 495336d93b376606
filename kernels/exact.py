"""Sums whose bits do not depend on the order or grouping of their terms.

An accumulator of one sum is four int64: a bin t and three limbs. Bin b covers the bits from 2^(38 b - 1074) up, 38
of them; t is the highest bin that any term so far reached, and the limbs hold, as signed integers, the sums of the
terms' bits within bins t, t - 1 and t - 2. Bins are absolute, so which bits of a term count follows from the term and
from the largest term alone: not from the order, nor from how terms were grouped (the idea of J. Demmel, P. Ahrens,
H. Nguyen, "Efficient reproducible floating point summation and BLAS", UCB/EECS-2016-121, section 4, with integers
for bins).

Error: of each term, bits below bin t - 2 are cut off, less than 2^(38 (t - 2) - 1074), and the largest term is at least
2^(38 t - 1074). So a sum of N terms is within N 2^-76 of the largest magnitude among them before it is rounded to a
double, which is done to within one unit in the last place. Limbs take 2^24 terms.

Infinities and NaN: bin SPECIAL, the limbs counting +inf, -inf and NaN. EMPTY is the bin of a sum without terms other
than zero.
"""

from __future__ import annotations

import numpy as np
from mpigd_kernels.native import Floats1, Floats2, Integers1, Integers2, called, inline, kernel

BITS = 38
EMPTY = -4  # so far below bin 0 that its limbs, which are zero, shift out
SPECIAL = 1 << 20
MOST_TERMS = 1 << 24


def empty(count: int) -> np.ndarray:
    """Accumulators of `count` sums, (count, 4) int64."""
    total = np.zeros((count, 4), np.int64)
    total[:, 0] = EMPTY
    return total


@inline
def align(total, e, t):
    """Raise the bin of sum e to t; lower limbs fall out at the bottom."""
    by = t - total[e, 0]
    if by > 0:
        first, second = total[e, 1], total[e, 2]
        total[e, 0] = t
        total[e, 1] = 0
        total[e, 2] = first if by == 1 else 0
        total[e, 3] = second if by == 1 else (first if by == 2 else 0)


@called
def add(total, e, value):
    """Add a double to sum e of total (sums, 4)."""
    bits = np.float64(value).view(np.int64)
    exponent = (bits >> 52) & 0x7FF
    mantissa = bits & 0xFFFFFFFFFFFFF
    if exponent == 0x7FF:
        if total[e, 0] < SPECIAL:
            total[e, 0] = SPECIAL
            total[e, 1:] = 0
        total[e, 3 if mantissa else (2 if bits < 0 else 1)] += 1
    elif (mantissa or exponent) and total[e, 0] < SPECIAL:
        if exponent:
            mantissa |= 0x10000000000000
            exponent -= 1
        # value = ± mantissa 2^(exponent - 1074), its leading bit at exponent + 52
        t = (exponent + 52) // BITS
        shift = BITS * t - exponent  # in 15 … 52
        first = mantissa >> shift
        rest = mantissa & ((1 << shift) - 1)
        if shift > BITS:
            second = rest >> (shift - BITS)
            third = (rest & ((1 << (shift - BITS)) - 1)) << (2 * BITS - shift)
        else:
            second = rest << (BITS - shift)
            third = np.int64(0)
        if bits < 0:
            first, second, third = -first, -second, -third
        align(total, e, t)
        below = total[e, 0] - t
        if below == 0:
            total[e, 1] += first
            total[e, 2] += second
            total[e, 3] += third
        elif below == 1:
            total[e, 2] += first
            total[e, 3] += second
        elif below == 2:
            total[e, 3] += first


@kernel
def add_rows(terms: Floats2, total: Integers2) -> None:
    """Add every row of terms (n, sums) to total (sums, 4)."""
    for i in range(terms.shape[0]):
        for e in range(terms.shape[1]):
            add(total, e, terms[i, e])


@kernel
def merge(other: Integers2, total: Integers2) -> None:
    """Add the terms of other (sums, 4) to total (sums, 4)."""
    for e in range(total.shape[0]):
        t = other[e, 0]
        if t > total[e, 0]:
            align(total, e, t)
        by = total[e, 0] - t
        # Limbs of special sums count: they meet only their like.
        if total[e, 0] < SPECIAL or by == 0:
            for limb in range(1, 4):
                if limb + by < 4:
                    total[e, limb + by] += other[e, limb]


@kernel
def to_message(total: Integers2, window: Integers1, message: Integers1) -> None:
    """Write sums to a message of integers that ranks may add up, given the bins that all use as windows.

    window (sums,) : the highest bin of each sum over all ranks, or a guess at it.
    message (3 sums + 1,) : for each sum a signed top, 46 bits, and 30 bits with a count above them: 1 where the sum
    reaches its window. The last number counts sums that exceed it. Fields have room for 2^16 ranks.
    """
    count = total.shape[0]
    message[3 * count] = 0
    for e in range(count):
        by = window[e] - total[e, 0]
        first, second, third = total[e, 1], total[e, 2], total[e, 3]
        if by < 0:
            message[3 * count] += 1
            first = second = third = 0
        elif window[e] == SPECIAL:
            if by > 0:
                first = second = third = 0
        else:
            for _ in range(min(by, 3)):
                third = second
                second = first
                first = 0
            second += third >> BITS
            third &= (1 << BITS) - 1
            first += second >> BITS
            second &= (1 << BITS) - 1
            second = (second << 8) | (third >> 30)
            third &= (1 << 30) - 1
        message[3 * e] = first
        message[3 * e + 1] = second
        message[3 * e + 2] = third + (1 << 46 if by == 0 else 0)


@called
def power_of_two(exponent):
    """2 to an exponent within ±1022."""
    return np.int64((exponent + 1023) << 52).view(np.float64)


@kernel
def from_message(message: Integers1, window: Integers1, out: Floats1, wrong: Integers1) -> None:
    """The sums that a message holds, as doubles within one unit in the last place.

    out (sums,) : receives them.  wrong (1,) : receives how many windows were not the highest bin of their sum over
    all ranks; with any, the sums are to be sent again.
    """
    wrong[0] = message[message.shape[0] - 1]
    for e in range(window.shape[0]):
        first, second, third = message[3 * e], message[3 * e + 1], message[3 * e + 2]
        wrong[0] += (third >> 46) == 0
        third &= (1 << 46) - 1
        if window[e] == SPECIAL:
            out[e] = np.nan if third or (first and second) else (np.inf if first else -np.inf)
            continue
        # The digits of the magnitude: none is negative, so that nothing cancels when they are added up.
        second += third >> 30
        third &= (1 << 30) - 1
        first += second >> 46
        second &= (1 << 46) - 1
        negative = first < 0
        if negative:
            third = -third
            second = -second + (third >> 30)
            third &= (1 << 30) - 1
            first = -first + (second >> 46)
            second &= (1 << 46) - 1
        result, error = float(first >> 24) * power_of_two(24), 0.0
        term = float(first & ((1 << 24) - 1))
        result, error = result + term, term - ((result + term) - result)
        term = float(second) * power_of_two(-46)
        result, error = result + term, error + (term - ((result + term) - result))
        term = float(third) * power_of_two(-76)
        result, error = result + term, error + (term - ((result + term) - result))
        result += error
        place = window[e] * BITS - 1074
        half = place // 2
        result = result * power_of_two(half) * power_of_two(place - half)
        out[e] = -result if negative else result


def of_rows(terms: np.ndarray) -> np.ndarray:
    """Accumulators (sums, 4) of the rows of terms (n, sums) float64."""
    total = empty(terms.shape[1])
    add_rows(np.ascontiguousarray(terms), total)
    return total


def rounded(total: np.ndarray) -> np.ndarray:
    """The sums that accumulators (sums, 4) hold, float64 (sums,)."""
    window, message = np.ascontiguousarray(total[:, 0]), np.empty(3 * len(total) + 1, np.int64)
    to_message(total, window, message)
    out = np.empty(len(total))
    from_message(message, window, out, np.empty(1, np.int64))
    return out

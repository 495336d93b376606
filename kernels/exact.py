"""Sums whose bits do not depend on the order or grouping of their terms.

An accumulator of one sum is five int64, a column of an array (5, sums): a bin t, three limbs, and a shift s. Bin b
covers the bits from 2^(38 b - s - 1074) up, 38 of them; t is the highest bin that any term so far reached, and the
limbs hold, as signed integers, the sums of the terms' bits within bins t, t - 1 and t - 2. Bins are absolute, so which
bits of a term count follows from the term and from the largest term alone: not from the order, nor from how terms were
grouped (the idea of J. Demmel, P. Ahrens, H. Nguyen, "Efficient reproducible floating point summation and BLAS",
UCB/EECS-2016-121, section 4, with integers for bins).

Contract
--------
Terms are any doubles, at most MOST_TERMS of them in a sum over all ranks.

Order: `add`, `merge` and the sum of messages are sums of integers in bins that the largest term sets, so any order and
grouping of the same terms gives the same accumulator (up to carries, which `from_message` undoes) and the same double.

Error: with N terms, the largest of magnitude M, and S their exact sum, the result differs from S by at most

    N 2^-76 M  +  (1/2 + 2^-50) ulp.

Proof. Of each term the bits below bin t - 2 are cut off. Where t is 2 or less there are none: no double has bits below
2^-1074. Where it is more, the largest term is a normal number with its leading bit in bin t, so that M is at least
2^(38 t - s - 1074), and less than 2^(38 (t - 2) - s - 1074) is cut off each term: N 2^-76 M in all. What the limbs
hold is an integer, which `from_message` writes as four numbers without a common bit, none negative once the sign is
taken off, each a double, from the highest to the lowest. Adding them in that order, each partial sum is zero or larger
than the next number, so that the rounding error of the addition is found exactly (T. Dekker, "A floating-point
technique for extending the available precision", Numer. Math. 18, 1971, section 2). There are three, at most half an
ulp each; adding them to each other loses 2^-52 of that, and adding them to the sum rounds once. Scaling by a power of
two is exact, also where the result is subnormal: it is a multiple of 2^-1074, as all terms are. So a sum of terms of
one sign, S >= M, is within one ulp of the double nearest to S for N up to 2^22.

Infinities and NaN come through as in ordinary additions: bin SPECIAL, the limbs counting +inf, -inf and NaN. A sum
that no double holds is infinite. EMPTY is the bin of a sum without terms other than zero.

Overflow: limbs hold MOST_TERMS terms. `of_blocks` and `Slice` refuse to add up more of them, and where ranks have too
many together, their message says so to all of them.

The shift is free: it says where bins begin. A sum whose terms are of about an expected magnitude is given the shift
that has this in the middle of a bin (`shifts_for`), so that terms have to grow or shrink 2^18-fold before they
reach another.
"""

from __future__ import annotations

import numpy as np
from mpigd_kernels.native import Floats1, Floats2, Integers1, Integers2, called, kernel

BITS = 38
EMPTY = -4  # so far below bin 0 that its limbs, which are zero, shift out
SPECIAL = 1 << 20
MOST_TERMS = 1 << 24
TOO_LARGE = 1 << 40
LIMB = (1 << BITS) - 1


def empty(count: int, shifts: np.ndarray | None = None) -> np.ndarray:
    """Accumulators of `count` sums, (5, count) int64; shifts (count,) from 0 to 37, or none."""
    total = np.zeros((5, count), np.int64)
    total[0] = EMPTY
    if shifts is not None:
        total[4] = shifts
    return total


def shifts_for(magnitude: np.ndarray) -> np.ndarray:
    """The shifts (sums,) that put terms of an expected magnitude (sums,) float64 in the middle of a bin."""
    _, exponent = np.frexp(np.where(np.isfinite(magnitude), magnitude, 1.0))
    result: np.ndarray = (BITS // 2 - (exponent.astype(np.int64) - 1 + 1074)) % BITS
    return result


@called
def align(total, e, t):
    """Raise the bin of sum e to t; lower limbs fall out at the bottom."""
    by = t - total[0, e]
    if by > 0:
        first, second = total[1, e], total[2, e]
        total[0, e] = t
        total[1, e] = 0
        total[2, e] = first if by == 1 else 0
        total[3, e] = second if by == 1 else (first if by == 2 else 0)


@called
def limbs_of(value, shift):
    """The bin of a finite double, EMPTY of zero, and its bits in that bin and the two below, signed.

    value = ± mantissa 2^(exponent - shift - 1074), its leading bit at exponent + 52 unless it is subnormal. Without a
    branch: it vectorises.
    """
    bits = np.float64(value).view(np.int64)
    biased = (bits >> 52) & 0x7FF
    fraction = bits & 0xFFFFFFFFFFFFF
    mantissa = fraction | (0x10000000000000 if biased else 0)
    exponent = biased - (1 if biased else 0) + shift
    t = ((exponent + 52) * 1725) >> 16  # // BITS
    by = BITS * t - exponent  # in 15 … 52
    first = mantissa >> by
    second = (mantissa >> (by - BITS) if by > BITS else mantissa << (BITS - by)) & LIMB
    third = (mantissa << (2 * BITS - by)) & LIMB
    sign = bits >> 63
    return (
        t if mantissa else np.int64(EMPTY),
        (first ^ sign) - sign,
        (second ^ sign) - sign,
        (third ^ sign) - sign,
    )


@called
def is_finite(value):
    """Whether a double is neither infinite nor NaN."""
    return np.float64(value).view(np.int64) & 0x7FF0000000000000 != 0x7FF0000000000000


@called
def add(total, e, value):
    """Add a double to sum e of total (5, sums)."""
    if is_finite(value):
        t, first, second, third = limbs_of(value, total[4, e])
        align(total, e, t)
        below = total[0, e] - t
        if below == 0:
            total[1, e] += first
            total[2, e] += second
            total[3, e] += third
        elif below == 1:
            total[2, e] += first
            total[3, e] += second
        elif below == 2:
            total[3, e] += first
        return
    if total[0, e] < SPECIAL:
        total[0, e] = SPECIAL
        for limb in range(1, 4):
            total[limb, e] = 0
    total[3 if value != value else (2 if value < 0.0 else 1), e] += 1


@called
def add_all(total, start, values):
    """Add each of values (m,) to a sum of its own, start … start + m - 1 of total (5, sums).

    Those that do not raise the bin of their sum, nearly all of them, several at a time; then the rest.
    """
    bins, highest, middle, lowest = total[0, start:], total[1, start:], total[2, start:], total[3, start:]
    shifts = total[4, start:]
    left = 0
    for e in range(values.shape[0]):
        t, first, second, third = limbs_of(values[e], shifts[e])
        below = bins[e] - t
        fits = below >= 0 and is_finite(values[e])
        below = below if fits else 3
        left += 0 if fits else 1
        highest[e] += first if below == 0 else 0
        middle[e] += second if below == 0 else (first if below == 1 else 0)
        lowest[e] += third if below == 0 else (second if below == 1 else (first if below == 2 else 0))
    if left:
        for e in range(values.shape[0]):
            if not is_finite(values[e]) or limbs_of(values[e], shifts[e])[0] > bins[e]:
                add(total, start + e, values[e])


@kernel
def add_rows(terms: Floats2, block: int, scratch: Floats1, total: Integers2) -> None:
    """Add the rows of terms (n, sums) to total (5, sums): those of a block in turn, then what each block gives.

    scratch (sums,) : overwritten.
    """
    for start in range(0, terms.shape[0], block):
        scratch[:] = 0.0
        for i in range(start, min(start + block, terms.shape[0])):
            for e in range(scratch.shape[0]):
                scratch[e] += terms[i, e]
        add_all(total, 0, scratch)


@kernel
def merge(other: Integers2, total: Integers2) -> None:
    """Add the terms of other (5, sums) to total (5, sums) of the same shifts."""
    for e in range(total.shape[1]):
        t = other[0, e]
        if t > total[0, e]:
            align(total, e, t)
        by = total[0, e] - t
        # Limbs of special sums count: they meet only their like.
        if total[0, e] < SPECIAL or by == 0:
            for limb in range(1, 4):
                if limb + by < 4:
                    total[limb + by, e] += other[limb, e]


@kernel
def to_message(total: Integers2, window: Integers1, ranks: int, message: Integers1) -> None:
    """Write sums to a message of integers that ranks may add up, given the bins that all use as windows.

    window (sums,) : the highest bin of each sum over all ranks, or a guess at it.
    message (3 sums + 1,) : for each sum a signed top, 46 bits, and 30 bits with a count above them: 1 where the sum
    reaches its window. The last number counts sums that exceed it, with 2^40 added if any is too large to be added
    to those of so many ranks. Fields have room for 2^16 ranks.
    """
    count = total.shape[1]
    message[3 * count] = 0
    too_large = 0
    for e in range(count):
        by = window[e] - total[0, e]
        first, second, third = total[1, e], total[2, e], total[3, e]
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
            if abs(first) // 2 >= (1 << 62) // ranks - 1:
                too_large = TOO_LARGE
        message[3 * e] = first
        message[3 * e + 1] = second
        message[3 * e + 2] = third + (1 << 46 if by == 0 else 0)
    message[3 * count] += too_large


@called
def power_of_two(exponent):
    """2 to an exponent within ±1022."""
    return np.int64((exponent + 1023) << 52).view(np.float64)


@kernel
def from_message(message: Integers1, window: Integers1, shifts: Integers1, out: Floats1, wrong: Integers1) -> None:
    """The sums that a message holds, as doubles within one unit in the last place.

    shifts (sums,) : as of the accumulators.  out (sums,) : receives the sums.
    wrong (1,) : receives how many windows were not the highest bin of their sum over all ranks, and 2^40 or more if
    a sum was too large; with any, out is not to be used, and the sums are to be sent again with other windows.
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
        place = window[e] * BITS - shifts[e] - 1074
        half = place // 2
        result = result * power_of_two(half) * power_of_two(place - half)
        out[e] = -result if negative else result


def check_terms(count: int) -> None:
    """Raise OverflowError for more terms than a sum takes."""
    if count > MOST_TERMS:
        raise OverflowError(f"{count} blocks: an exact sum takes {MOST_TERMS} terms")


def of_blocks(terms: np.ndarray, block: int = 1) -> np.ndarray:
    """Accumulators (5, sums) of the rows of terms (n, sums) float64: those of a block are added in turn, then exactly.

    Raises OverflowError for more than MOST_TERMS blocks.
    """
    check_terms(-(-len(terms) // block))
    total = empty(terms.shape[1])
    add_rows(np.ascontiguousarray(terms), block, np.empty(terms.shape[1]), total)
    return total


def rounded(total: np.ndarray) -> np.ndarray:
    """The sums that accumulators (5, sums) hold, float64 (sums,)."""
    count = total.shape[1]
    window, message, out = total[0].copy(), np.empty(3 * count + 1, np.int64), np.empty(count)
    to_message(total, window, 1, message)
    from_message(message, window, total[4].copy(), out, np.empty(1, np.int64))
    return out

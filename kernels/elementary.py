"""Elementary functions that vectorise: no calls, no branches, no table; arithmetic and integer bits only.

Numba calls the C library for `np.exp` one element at a time. These are plain arithmetic, so LLVM computes
several elements with each instruction, and their bits are the same on every processor and C library.
Errors are measured against mpmath in tests/test_elementary.py.
"""

from __future__ import annotations

import numpy as np
from mpigd_kernels.native import inline
from mpigd_kernels.vector import fma

LARGEST_EXPONENT = 690.0  # exp of it, some 1e299, may still be multiplied by a y or a weight of 1e8

_LOG2_E = 1.4426950408889634
_LN2_HIGH = 6.93147180369123816490e-01  # ln 2 in two parts; the first has its last 32 bits zero,
_LN2_LOW = 1.90821492927058770002e-10  # so that n * _LN2_HIGH is exact for |n| < 2^20
_ROUND = 6755399441055744.0  # 1.5 * 2^52: adding it leaves the nearest integer in the low bits


@inline
def exp(x):
    """e^x to within 1 ulp; x is clamped to ±LARGEST_EXPONENT.

    x = n ln 2 + r with |r| <= ln(2) / 2, e^r by its Taylor series up to r^13 (remainder below 2^-56), and 2^n
    added to the exponent bits (P. Tang, "Table-driven implementation of the exponential function in IEEE
    floating-point arithmetic", ACM TOMS 15, 1989, without the table).
    """
    x = min(max(x, -LARGEST_EXPONENT), LARGEST_EXPONENT)
    shifted = fma(x, _LOG2_E, _ROUND)
    n = shifted - _ROUND
    r = fma(n, -_LN2_LOW, fma(n, -_LN2_HIGH, x))
    # (e^r - 1 - r) / r^2 = sum of r^k / (k + 2)!, by Estrin's scheme: a chain of five operations, not twelve.
    r2 = r * r
    r4 = r2 * r2
    low = fma(fma(1.0 / 120.0, r, 1.0 / 24.0), r2, fma(1.0 / 6.0, r, 0.5))
    middle = fma(fma(1.0 / 362880.0, r, 1.0 / 40320.0), r2, fma(1.0 / 5040.0, r, 1.0 / 720.0))
    high = fma(fma(1.0 / 6227020800.0, r, 1.0 / 479001600.0), r2, fma(1.0 / 39916800.0, r, 1.0 / 3628800.0))
    p = fma(fma(fma(high, r4, middle), r4, low), r2, r)
    bits = np.float64(1.0 + p).view(np.int64) + (np.float64(shifted).view(np.int64) << 52)
    return np.int64(bits).view(np.float64)


@inline
def log1p_unit(x):
    """log(1 + x) for 0 <= x <= 1, to within 2 ulp.

    Above sqrt(2) - 1, log(1 + x) = ln 2 + log(1 + f) with f = (x - 1) / 2; below, f = x. Then
    log(1 + f) = 2 artanh(s) with s = f / (2 + f), |s| < 0.172, by its series up to s^23.
    """
    above = x > 0.41421356237309503
    f = 0.5 * (x - 1.0) if above else x
    s = f / (2.0 + f)
    z = s * s
    z2 = z * z
    z4 = z2 * z2
    low = fma(fma(2.0 / 9.0, z, 2.0 / 7.0), z2, fma(2.0 / 5.0, z, 2.0 / 3.0))
    middle = fma(fma(2.0 / 17.0, z, 2.0 / 15.0), z2, fma(2.0 / 13.0, z, 2.0 / 11.0))
    high = fma(2.0 / 23.0, z2, fma(2.0 / 21.0, z, 2.0 / 19.0))
    p = fma(fma(high, z4, middle), z4, low)
    # log(1 + f) = f - s * (f - z * p), which keeps the leading term exact (W. Cody, W. Waite, 1980).
    rest = s * (f - z * p)
    return (0.6931471805599453 - (rest - f)) if above else f - rest

"""Elementary functions that vectorise: no calls, no branches, no table; arithmetic and integer bits only.

Numba calls the C library for `np.exp` one element at a time. These are plain arithmetic, so LLVM computes
several elements with each instruction, and their bits are the same on every processor and C library.
Each has two forms of the same algorithm: for doubles under its name, and for floats, with as many terms as a
float needs. Errors are measured against mpmath in tests/test_elementary.py.
"""

from __future__ import annotations

import numpy as np
from mpigd_kernels.native import inline, single_form_of
from mpigd_kernels.vector import fma

LARGEST_EXPONENT = 690.0  # exp of it, some 1e299, may still be multiplied by a y or a weight of 1e8
LARGEST_EXPONENT_SINGLE = 80.0  # some 5e34

_LOG2_E = 1.4426950408889634
_LN2_HIGH = 6.93147180369123816490e-01  # ln 2 in two parts; the first has its last 32 bits zero,
_LN2_LOW = 1.90821492927058770002e-10  # so that n * _LN2_HIGH is exact for |n| < 2^20
_ROUND = 6755399441055744.0  # 1.5 * 2^52: adding it leaves the nearest integer in the low bits
_LN2_HIGH_SINGLE = 0.693145751953125  # its last 9 bits zero
_LN2_LOW_SINGLE = 1.42860682030941723e-06
_ROUND_SINGLE = 12582912.0  # 1.5 * 2^23


@inline
def exp(x):
    """e^x to within 1 ulp; x is clamped to ±LARGEST_EXPONENT.

    x = n ln 2 + r with |r| <= ln(2) / 2, and 2^n is added to the exponent bits (P. Tang, "Table-driven implementation
    of the exponential function in IEEE floating-point arithmetic", ACM TOMS 15, 1989, without the table). Of e^r,
    (e^r - 1 - r) / r^2 is the polynomial of degree 9 through it at the Chebyshev points, which is within 2e-17 of e^r.
    """
    x = min(max(x, -LARGEST_EXPONENT), LARGEST_EXPONENT)
    shifted = fma(x, _LOG2_E, _ROUND)
    n = shifted - _ROUND
    r = fma(n, -_LN2_LOW, fma(n, -_LN2_HIGH, x))
    # By Estrin's scheme: a chain of five operations, not ten.
    r2 = r * r
    r4 = r2 * r2
    low = fma(fma(0.008333333333330062, r, 0.04166666666662413), r2, fma(0.16666666666666669, r, 0.5000000000000001))
    middle = fma(
        fma(2.7557268459997064e-06, r, 2.4801521295954376e-05),
        r2,
        fma(0.00019841269863053618, r, 0.0013888888917213717),
    )
    high = fma(2.510038549551032e-08, r, 2.7620088445409746e-07)
    p = fma(fma(fma(high, r4, middle), r4, low), r2, r)
    bits = np.float64(1.0 + p).view(np.int64) + (np.float64(shifted).view(np.int64) << 52)
    return np.int64(bits).view(np.float64)


@single_form_of("exp")
def exp_single(x):
    """The same for a float, of degree 4 and within 1e-8; x is clamped to ±LARGEST_EXPONENT_SINGLE."""
    x = min(max(x, -LARGEST_EXPONENT_SINGLE), LARGEST_EXPONENT_SINGLE)
    shifted = fma(x, _LOG2_E, _ROUND_SINGLE)
    n = shifted - _ROUND_SINGLE
    r = fma(n, -_LN2_LOW_SINGLE, fma(n, -_LN2_HIGH_SINGLE, x))
    r2 = r * r
    low = fma(0.16666576, r, 0.5)
    high = fma(0.0013926184, r2, fma(0.008363179, r, 0.041666556))
    p = fma(fma(high, r2, low), r2, r)
    bits = np.int32(np.float32(1.0 + p).view(np.int32) + (np.float32(shifted).view(np.int32) << 23))
    return np.int32(bits).view(np.float32)


@inline
def artanh_series(z):
    """(2 artanh(s) - 2 s) / s with z = s^2 <= 1 / 9.

    Divided by z it is the polynomial of degree 9 through it at the Chebyshev points, which is within 5e-18 of
    2 artanh(s) / s.
    """
    z2 = z * z
    z4 = z2 * z2
    low = fma(fma(0.22222222717427864, z, 0.2857142856710876), z2, fma(0.40000000000014585, z, 0.6666666666666666))
    middle = fma(fma(0.12001072809590713, z, 0.13314144209654935), z2, fma(0.15385570064958623, z, 0.18181789436132859))
    high = fma(0.1616404561194353, z, 0.08800738486144674)
    return z * fma(fma(high, z4, middle), z4, low)


@single_form_of("artanh_series")
def artanh_series_single(z):
    """The same for a float, of degree 4 and within 4e-10."""
    z2 = z * z
    low = fma(0.39999706, z, 0.6666667)
    high = fma(0.2322433, z2, fma(0.21706575, z, 0.28592357))
    return z * fma(high, z2, low)


@inline
def log1p(x):
    """log(1 + x) for -1/2 <= x <= 1, to within 2 ulp: 2 artanh(s) with s = x / (2 + x), |s| <= 1/3."""
    s = x / (2.0 + x)
    # As x - s * (x - series), which keeps the leading term exact (W. Cody, W. Waite, 1980).
    return x - s * (x - artanh_series(s * s))


@inline
def log1p_and_share(x):
    """log(1 + x) to within 2 ulp and 1 / (1 + x) to within 3 ulp for 0 <= x <= 1, with one division for both.

    A division takes as long as a dozen multiplications: 1 / (1 + x) and x / (2 + x) come from 1 / ((1 + x) (2 + x)).
    """
    one, two = 1.0 + x, 2.0 + x
    inverse = 1.0 / (one * two)
    s = x * (one * inverse)
    return x - s * (x - artanh_series(s * s)), two * inverse


@inline
def log(x):
    """The natural logarithm of a positive normal number to within 2 ulp.

    x = 2^n (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)); log(1 + f) as in `log1p`, and n ln 2 is added in two parts.
    """
    bits = np.float64(x).view(np.int64)
    # The bits of sqrt(1/2) are taken off, so that the exponent counts from there.
    n = (bits - 0x3FE6A09E667F3BCD) >> 52
    f = np.int64(bits - (n << 52)).view(np.float64) - 1.0
    s = f / (2.0 + f)
    k = np.float64(n)
    rest = s * (f - artanh_series(s * s)) - k * _LN2_LOW
    return k * _LN2_HIGH - (rest - f)


@single_form_of("log")
def log_single(x):
    """The same for a float."""
    bits = np.float32(x).view(np.int32)
    n = np.int32(np.int32(bits - 0x3F3504F3) >> 23)
    f = np.int32(bits - (n << 23)).view(np.float32) - 1.0
    s = f / (2.0 + f)
    k = np.float32(n)
    rest = s * (f - artanh_series(s * s)) - k * _LN2_LOW_SINGLE
    return k * _LN2_HIGH_SINGLE - (rest - f)


@inline
def erfcx(x):
    """exp(x^2) erfc(x) for x >= 0, to within 3.5 ulp.

    (1 + 2 x) erfcx(x) = 1 + x / (x + 4) p(t), p a polynomial in t = (x - 4) / (x + 4), which takes [0, inf) to [-1, 1)
    (the substitution of J. Schonfelder, "Chebyshev expansions for the error and related functions", Math. Comp. 32,
    1978, p. 1233). The product stays below 0.3, so that the polynomial's rounding errors weigh little. Interpolated at
    the Chebyshev points of degree 23 in 200-bit arithmetic; error of the polynomial below 3e-17 of the result.
    """
    r = 1.0 / (x + 4.0)
    t = (x - 4.0) * r
    t2 = t * t
    even = fma(2.158574323755931e-09, t2, -2.743846328357507e-08)
    even = fma(even, t2, 2.225281729044511e-07)
    even = fma(even, t2, -1.568717157736526e-06)
    even = fma(even, t2, 9.254809350592174e-06)
    even = fma(even, t2, -1.7094408922777932e-05)
    even = fma(even, t2, -0.0007168532781385676)
    even = fma(even, t2, 0.010862633834098634)
    even = fma(even, t2, 0.11759313292464627)
    even = fma(even, t2, 0.4377195345560076)
    even = fma(even, t2, 0.7759917751374582)
    even = fma(even, t2, 0.46599023725110506)
    odd = fma(-2.2749267865935835e-10, t2, 2.3488124758640318e-09)
    odd = fma(odd, t2, -8.85931436955936e-09)
    odd = fma(odd, t2, -7.488697322608286e-08)
    odd = fma(odd, t2, 2.1596697967943394e-06)
    odd = fma(odd, t2, -3.170182696138197e-05)
    odd = fma(odd, t2, 0.0003183392698948713)
    odd = fma(odd, t2, -0.0007986937690012438)
    odd = fma(odd, t2, -0.04325810186095988)
    odd = fma(odd, t2, -0.25025386455870413)
    odd = fma(odd, t2, -0.6397976666280858)
    odd = fma(odd, t2, -0.74523247093223)
    p = fma(x * r, fma(odd, t, even), 1.0)
    return p / fma(2.0, x, 1.0)


@single_form_of("erfcx")
def erfcx_single(x):
    """The same for a float: degree 11 in (x - 2.5) / (x + 2.5)."""
    r = 1.0 / (x + 2.5)
    t = (x - 2.5) * r
    t2 = t * t
    even = fma(-0.0001243574, t2, 0.0011551935)
    even = fma(even, t2, -0.00847083)
    even = fma(even, t2, 0.055137657)
    even = fma(even, t2, 0.57634157)
    even = fma(even, t2, 0.5296764)
    odd = fma(-5.063882e-06, t2, 1.1760297e-05)
    odd = fma(odd, t2, -0.00024572448)
    odd = fma(odd, t2, 0.010373309)
    odd = fma(odd, t2, -0.26108083)
    odd = fma(odd, t2, -0.7743899)
    p = fma(x * r, fma(odd, t, even), 1.0)
    return p / fma(2.0, x, 1.0)

"""Made-up data: normal numbers and what follows from them, with the same bits on every processor.

Random words come from the caller. A word of 64 bits gives two numbers: the low half, then the high one.
"""

from __future__ import annotations

import numpy as np
from mpigd_kernels.elementary import exp, log
from mpigd_kernels.native import Floats1, Floats2, Integers1, called, inline, kernel

LARGEST_MEAN = 400.0  # of a Poisson number, found by counting up


@inline
def half(words, i):
    """The i-th half word, 0 … 2^32 - 1."""
    return (words[i >> 1] >> (32 * (i & 1))) & 0xFFFFFFFF


@inline
def unit(words, i):
    """The i-th number of words, between 0 and 1."""
    return (half(words, i) + 0.5) * 2.3283064365386963e-10


@called
def normal(u):
    """The normal number below which lies the share u of all, to 1e-15 relatively.

    M. Wichura, "Algorithm AS 241: the percentage points of the normal distribution", Appl. Stat. 37, 1988, PPND16.
    """
    q = u - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        above = 2509.0809287301226727 * r + 33430.575583588128105
        above = ((above * r + 67265.770927008700853) * r + 45921.953931549871457) * r + 13731.693765509461125
        above = ((above * r + 1971.5909503065514427) * r + 133.14166789178437745) * r + 3.387132872796366608
        below = 5226.495278852545925 * r + 28729.085735721942674
        below = ((below * r + 39307.89580009271061) * r + 21213.794301586595867) * r + 5394.1960214247511077
        below = ((below * r + 687.1870074920579083) * r + 42.313330701600911252) * r + 1.0
        return q * above / below
    r = np.sqrt(-log(u if q < 0.0 else 1.0 - u))
    if r <= 5.0:
        r -= 1.6
        above = 7.7454501427834140764e-4 * r + 0.0227238449892691845833
        above = ((above * r + 0.24178072517745061177) * r + 1.27045825245236838258) * r + 3.64784832476320460504
        above = ((above * r + 5.7694972214606914055) * r + 4.6303378461565452959) * r + 1.42343711074968357734
        below = 1.05075007164441684324e-9 * r + 5.475938084995344946e-4
        below = ((below * r + 0.0151986665636164571966) * r + 0.14810397642748007459) * r + 0.68976733498510000455
        below = ((below * r + 1.6763848301838038494) * r + 2.05319162663775882187) * r + 1.0
    else:
        r -= 5.0
        above = 2.01033439929228813265e-7 * r + 2.71155556874348757815e-5
        above = ((above * r + 0.0012426609473880784386) * r + 0.026532189526576123093) * r + 0.29656057182850489123
        above = ((above * r + 1.7848265399172913358) * r + 5.4637849111641143699) * r + 6.6579046435011037772
        below = 2.04426310338993978564e-15 * r + 1.4215117583164458887e-7
        below = ((below * r + 1.8463183175100546818e-5) * r + 7.868691311456132591e-4) * r + 0.0148753612908506148525
        below = ((below * r + 0.13692988092273580531) * r + 0.59983220655588793769) * r + 1.0
    return above / below if q >= 0.0 else -(above / below)


@kernel
def normals(words: Integers1, out: Floats1) -> None:
    """Normal numbers out (m,) of words (m / 2, rounded up)."""
    for i in range(out.shape[0]):
        out[i] = normal(unit(words, i))


@kernel
def correlate(x: Floats2, rho: float) -> None:
    """Correlate neighbours in rows x (m, d) of independent numbers z: x_j = rho x_(j-1) + sqrt(1 - rho^2) z_j."""
    rest = np.sqrt(1.0 - rho * rho)
    for i in range(x.shape[0]):
        for j in range(1, x.shape[1]):
            x[i, j] = rho * x[i, j - 1] + rest * x[i, j]


@kernel
def predictors(x: Floats2, coef: Floats2, out: Floats2) -> None:
    """Add x coef to out (m, K), for rows x (m, d) and coefficients (d, K), column by column."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            for k in range(coef.shape[1]):
                out[i, k] += x[i, j] * coef[j, k]


@kernel
def predictors_sparse(values: Floats1, columns: Integers1, rows: Integers1, coef: Floats2, out: Floats2) -> None:
    """The same for values (m,) at columns (m,) of rows (m,), which count from 0."""
    for m in range(values.shape[0]):
        for k in range(coef.shape[1]):
            out[rows[m], k] += values[m] * coef[columns[m], k]


@kernel
def draw_classes(eta: Floats2, words: Integers1, y: Floats1) -> None:
    """Class 0 … K - 1 with shares as exp(eta) (m, K), or 1 with share 1 / (1 + exp(-eta)) for K = 1."""
    for i in range(y.shape[0]):
        u = unit(words, i)
        if eta.shape[1] == 1:
            y[i] = 1.0 if u * (1.0 + exp(-eta[i, 0])) < 1.0 else 0.0
            continue
        largest = eta[i, 0]
        for k in range(1, eta.shape[1]):
            largest = max(largest, eta[i, k])
        total = 0.0
        for k in range(eta.shape[1]):
            total += exp(eta[i, k] - largest)
        left, chosen = u * total, 0
        for k in range(eta.shape[1] - 1):
            left -= exp(eta[i, k] - largest)
            chosen += 1 if left >= 0.0 else 0
        y[i] = chosen


@kernel
def draw_counts(eta: Floats2, words: Integers1, y: Floats1) -> None:
    """Poisson numbers of mean exp(eta) (m, 1), at most LARGEST_MEAN: how many probabilities make up a share drawn."""
    for i in range(y.shape[0]):
        mean = min(exp(eta[i, 0]), LARGEST_MEAN)
        left, probability, count = unit(words, i), exp(-mean), 0
        while left >= probability and count < 1000:
            left -= probability
            count += 1
            probability *= mean / count
        y[i] = count

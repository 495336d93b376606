"""Coordinate descent on a quadratic with a penalty that has a kink, with the same bits on every processor."""

from __future__ import annotations

import numpy as np
from mpigd_kernels.native import Floats1, Floats2, Integers1, kernel


@kernel
def descend(
    matrix: Floats2,
    members: Integers1,
    starts: Integers1,
    strength: Floats1,
    curvature: Floats1,
    low: Floats1,
    high: Floats1,
    sweeps: int,
    tolerance: float,
    slope: Floats1,
    z: Floats1,
    scratch: Floats1,
) -> None:
    """Sweeps over the groups g of z (p,), each time lowering z' A z / 2 + b' z + sum_g strength_g ||z_g||_2.

    A group moves to the minimum of that with A's rows and columns of the group replaced by curvature_g, which is no
    less (Y. Yang, H. Zou, "A fast unified algorithm for solving group-lasso penalized learning problems", Stat. Comput.
    25, 2015, section 3); for a group of one that is exact.

    matrix (p, p) : A.  members (p,), starts (groups + 1,) : group g is members[starts[g] : starts[g + 1]].
    curvature (groups,) : no less than the largest eigenvalue of A of the group; where it is zero, z_g stays.
    low, high (p,) : bounds of the elements that are groups of one.
    sweeps : at most so many; tolerance : of the first sweep's largest curvature · |change|^2, which ends them.
    slope (p,) : A z + b, kept up with z.  scratch (p,).
    """
    first = 0.0
    for sweep in range(sweeps):
        largest = 0.0
        for g in range(strength.shape[0]):
            begin, end, step = starts[g], starts[g + 1], curvature[g]
            if not step > 0.0:
                continue
            norm = 0.0
            for m in range(begin, end):
                j = members[m]
                scratch[m] = z[j] - slope[j] / step
                norm += scratch[m] * scratch[m]
            norm = np.sqrt(norm)
            shrunk = 1.0 - strength[g] / (step * norm) if norm * step > strength[g] else 0.0
            change = 0.0
            for m in range(begin, end):
                j = members[m]
                value = shrunk * scratch[m]
                if end - begin == 1:
                    value = min(max(value, low[j]), high[j])
                scratch[m] = value - z[j]
                change += scratch[m] * scratch[m]
            if change == 0.0:
                continue
            largest = max(largest, change * step)
            for m in range(begin, end):
                j, moved = members[m], scratch[m]
                if moved != 0.0:
                    z[j] = z[j] + moved
                    for i in range(slope.shape[0]):
                        slope[i] = slope[i] + moved * matrix[j, i]
        if sweep == 0:
            first = largest
        if largest <= tolerance * first:
            break

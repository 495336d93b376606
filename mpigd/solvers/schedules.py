"""Learning-rate schedules: factors of the starting learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[float, float], float]

# A schedule is a function of (epochs so far, fraction of the pass budget spent).
SCHEDULES: dict[str, Schedule] = {
    "constant": lambda epochs, spent: 1.0,
    # H. Robbins, S. Monro, "A stochastic approximation method", Ann. Math. Stat. 22, 1951.
    "1/t": lambda epochs, spent: 1.0 / (1.0 + epochs),
    # I. Loshchilov, F. Hutter, "SGDR", ICLR 2017, eq. 5, without restarts.
    "cosine": lambda epochs, spent: 0.5 * (1.0 + math.cos(math.pi * min(spent, 1.0))),
}

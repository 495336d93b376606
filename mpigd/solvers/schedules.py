"""Learning-rate schedules: factors of the starting learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[float, float], float]
STEP_EPOCHS = 10.0


def cosine(x: float) -> float:
    """Cosine of 0 … pi, as the Taylor series of the sine: the last bit of a library's depends on the processor."""
    z, series = math.pi / 2 - x, 1.0
    for k in range(24, 0, -2):
        series = 1.0 - z * z / (k * (k + 1)) * series
    return z * series


# A schedule is a function of (epochs so far, fraction of the pass budget spent).
SCHEDULES: dict[str, Schedule] = {
    "constant": lambda epochs, spent: 1.0,
    # H. Robbins, S. Monro, "A stochastic approximation method", Ann. Math. Stat. 22, 1951.
    "1/t": lambda epochs, spent: 1.0 / (1.0 + epochs),
    # Half of it every ten epochs.
    "step": lambda epochs, spent: math.ldexp(1.0, -int(epochs / STEP_EPOCHS)),
    # I. Loshchilov, F. Hutter, "SGDR", ICLR 2017, eq. 5, without restarts.
    "cosine": lambda epochs, spent: 0.5 * (1.0 + cosine(math.pi * min(spent, 1.0))),
}


def warmed(epochs: float, warmup: float) -> float:
    """The factor that rises evenly to 1 in the first epochs (P. Goyal et al., arXiv:1706.02677, section 2.2)."""
    return min((epochs + 1.0) / (warmup + 1.0), 1.0) if warmup > 0.0 else 1.0

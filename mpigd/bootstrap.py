"""Confidence intervals of metrics by the Poisson bootstrap: how they would vary if other rows had been drawn.

In each replicate a row counts as often as a Poisson variable of mean 1 says, all of them independent, which for many
rows is as good as drawing n rows with replacement; so no rank has to know what others draw (N. Oza, S. Russell, "Online
bagging and boosting", AISTATS 2001; J. Hanley, B. MacGibbon, "Creating non-parametric bootstrap samples using Poisson
frequencies", Comput. Methods Programs Biomed. 83, 2006; N. Chamandy et al., "Estimating uncertainty for massive data
streams", Google, 2012). The variables are a function of (seed, replicate, block): the same on any number of ranks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from mpigd.sampling import words

PURPOSE = 2**31  # of the words of the first replicate, see `mpigd.sampling`
# Numbers of 16 bits, divided by the Poisson distribution: probabilities are off by 2^-17 at most.
CUMULATIVE = np.cumsum([math.exp(-1.0) / math.factorial(k) for k in range(12)])
COUNTS = np.searchsorted(np.rint(CUMULATIVE * 2**16), np.arange(2**16), side="right").astype(np.uint8)


def counts(seed: int, replicate: int, blocks: np.ndarray, block_rows: int, rows: int) -> np.ndarray:
    """How often each of the rows of some blocks is drawn in a replicate, (rows,) uint8; arguments as for `deal`."""
    found = np.empty(len(blocks) * block_rows, np.uint8)
    for k, block in enumerate(blocks.tolist()):
        drawn = words(seed, PURPOSE + replicate, block, -(-block_rows // 4)).astype("<i8", copy=False)
        found[k * block_rows : (k + 1) * block_rows] = COUNTS[drawn.view("<u2")[:block_rows]]
    return found[:rows]


def intervals(
    metrics: Callable[[np.ndarray], dict[str, float]], draws: Iterator[np.ndarray], level: float
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of metrics. A collective, where the metrics are.

    metrics : of how often each row counts (rows,).  draws : of every replicate, as `counts`.
    A replicate in which a metric is not defined says nothing of it.
    """
    found: dict[str, list[float]] = {}
    for drawn in draws:
        for name, value in metrics(drawn).items():
            found.setdefault(name, []).append(value)
    ends = (0.5 - 0.5 * level, 0.5 + 0.5 * level)
    result = {}
    for name, values in found.items():
        known = np.array(values)[np.isfinite(values)]
        low, high = np.quantile(known, ends) if len(known) else (np.nan, np.nan)
        result[name] = float(low), float(high)
    return result

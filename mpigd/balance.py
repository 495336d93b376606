"""Classes of which there are many more rows than of others: weights of classes, and rows drawn again or left out.

Both are weights of rows: X is not copied, and which rows are drawn is a function of the seed and the rows alone.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

import numpy as np

from mpigd.comm import Comm
from mpigd.dataset import Dataset
from mpigd.errors import DataError, same_everywhere
from mpigd.splits import EPOCH, FINEST, drawn, places_by_stratum
from mpigd.sums import sums_by_group

Given = dict[float, float]  # weights by label


def class_factors(comm: Comm, data: Dataset, how: Literal["balanced"] | Given) -> np.ndarray:
    """Factors of the weights of rows, (rows,), by their class. A collective.

    Balanced ones are W / (K W_k), of the weight W of all rows, W_k of those of class k, and K classes, as in
    scikit-learn. DataError on all ranks for a label that no row has.
    """
    label, count = data.y[:, 0].astype(np.int64), len(data.classes)
    if how == "balanced":
        weights = sums_by_group(comm, data.header.block, label, count, data.weight)
        there = weights > 0.0
        factors = np.where(there, weights.sum() / (np.count_nonzero(there) * np.where(there, weights, 1.0)), 1.0)
    else:
        assert isinstance(how, dict)
        unknown = [value for value in how if value not in data.classes]
        if unknown:
            known = ", ".join(f"{value:g}" for value in data.classes)
            raise same_everywhere(
                DataError(f"{data.header.label}: --class-weight: no row has label {unknown[0]:g}; there are: {known}")
            )
        factors = np.array([how.get(float(value), 1.0) for value in data.classes])
    result: np.ndarray = factors[label]
    return result


def resampled(comm: Comm, data: Dataset, seed: int, how: Literal["under", "over"]) -> np.ndarray:
    """How often each row is taken, (rows,), so that all classes have as many rows, but for rounding. A collective.

    under : as many as the least of them, drawn without replacement.  over : as many as the largest, every row as often
    as any other of its class, or once more. Rows of weight zero are none.
    """
    label, count = data.y[:, 0].astype(np.int64), len(data.classes)
    there = data.weight > 0.0
    strata = np.where(there, label, count)
    rows = comm.sum(np.bincount(strata, minlength=count + 1))[:count]
    wanted = int(rows[rows > 0].min() if how == "under" else rows.max())
    place = places_by_stratum(comm, data, seed, EPOCH + 1, strata, count + 1)
    result = np.zeros(data.rows)
    for k in np.flatnonzero(rows).tolist():
        own = np.flatnonzero(strata == k)
        whole, rest = divmod(wanted, int(rows[k]))
        more, _ = drawn(place[own], Fraction(rest, int(rows[k])).limit_denominator(FINEST))
        result[own] = whole + more
    return result

"""How much columns matter: to the loss on some rows, and to the prediction of each row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from mpigd.comm import Comm
from mpigd.dataset import Dataset, prepare
from mpigd.model import Model
from mpigd.predict import linear_predictor
from mpigd.rowwise import At, rowwise
from mpigd.sampling import permuted
from mpigd.sums import sums

TOGETHER = 8  # columns that are taken out of X at once
PURPOSE = 1 << 20  # of random words: the first of those that permutations take


@dataclass(frozen=True)
class Importance:
    """What each column is worth to a model; equal on all ranks.

    loss : mean of the loss on the rows.  increase : (d, repeats), of that mean where the column's values are permuted.
    """

    names: tuple[str, ...]
    loss: float
    increase: np.ndarray

    def summary(self) -> dict[str, Any]:
        """As plain values."""
        mean = self.increase.mean(axis=1)
        spread = self.increase.std(axis=1, ddof=1) if self.increase.shape[1] > 1 else np.full(len(mean), np.nan)
        return {
            "loss": self.loss,
            "columns": [
                {"name": name, "increase": float(m), "sd": None if np.isnan(s) else float(s)}
                for name, m, s in zip(self.names, mean, spread, strict=True)
            ],
        }


def permutation_importance(
    comm: Comm, model: Model, data: Dataset, smoothing: float, repeats: int, seed: int
) -> Importance:
    """How much larger the loss is where one column at a time is permuted among all rows of positive weight.

    L. Breiman, "Random forests", Mach. Learn. 45, 2001, section 10; A. Fisher et al., J. Mach. Learn. Res. 20, 2019.
    A collective. Permutations are functions of the seed and the number of rows, the same for all columns. In
    a linear model one column changes eta by itself: nothing but its values is sent from rank to rank.
    """
    at, eta = At(model.loss, model.parameter, smoothing), linear_predictor(comm, model, data)
    weight, coef = data.weight, model.columns()[0]
    counted = np.flatnonzero(weight > 0.0)
    moves = [Move(comm, len(counted), seed, PURPOSE + k) for k in range(repeats)]

    def means(*predictors: np.ndarray) -> np.ndarray:
        """Mean losses at some eta (rows, K) each."""
        values = [rowwise(at, each, data.y, data.slice.rows).value.sum(axis=1) for each in predictors]
        total, *found = sums(comm, data.header.block, weight[:, None], weight[:, None] * np.stack(values, axis=1))
        mean: np.ndarray = np.array(found) / total
        return mean

    loss = float(means(eta)[0])
    increase = np.empty((len(coef), repeats))
    for picked, values in columns_of(comm, data):
        own = values[counted]
        for k, move in enumerate(moves):
            change = move.values(own) - own
            changed = []
            for j, column in enumerate(picked.tolist()):
                predictor = eta.copy()
                predictor[counted] += change[:, j, None] * coef[column]
                changed.append(predictor)
            increase[picked, k] = means(*changed) - loss
    return Importance(model.feature_names, loss, increase)


class Move:
    """A permutation of rows of all ranks, and how values come to where it sends them.

    count : of rows of this rank.
    """

    def __init__(self, comm: Comm, count: int, seed: int, purpose: int) -> None:
        self._comm = comm
        ends = np.cumsum(comm.each(np.array([count]))[:, 0])
        own, total = np.arange(ends[comm.rank] - count, ends[comm.rank]), int(ends[-1])
        # Values arrive in the order of the rows that they come from, whichever ranks those are on.
        self._order = np.argsort(permuted(seed, purpose, own, total, back=True))
        owner = np.searchsorted(ends, permuted(seed, purpose, own, total), side="right")
        self._parts = [np.flatnonzero(owner == rank) for rank in range(comm.size)]

    def values(self, own: np.ndarray) -> np.ndarray:
        """What comes to the rows of this rank, (count, m), from those of all. A collective."""
        moved = np.empty_like(own)
        parts = [own[part].reshape(-1) for part in self._parts]
        moved[self._order] = self._comm.exchange(parts).reshape(own.shape)
        return moved


def columns_of(comm: Comm, data: Dataset) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All columns of a slice, some at a time: which, (m,) int64, and their values (rows, m) float64. A collective."""
    d = data.slice.d
    for first in range(0, d, TOGETHER):
        picked = np.arange(first, min(first + TOGETHER, d))
        with comm.agreement():
            some = data.columns_only(picked).slice
        bare = replace(some, offset=some.offset[:0])
        prepare(comm, partial(bare.load, "linear_predictor", predictors=len(picked)))
        with comm.agreement():
            values = bare.linear_predictor(np.eye(len(picked)), np.zeros(len(picked)))
        yield picked, values


def contributions(model: Model, X: np.ndarray, mean: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """What each column adds to eta of each row beyond that of a row of means: coef_j (x_j - mean_j).

    X : (n, d).  mean : (d,), that of the rows that the model was fitted on unless given; zero where the model was
    fitted without an intercept.
    Returns contributions (n, d), or (n, d, K) for several outputs, and eta of the means, () or (K,): their sum over
    columns and it make up eta. They are Shapley values where columns are independent (E. Strumbelj, I. Kononenko,
    Knowl. Inf. Syst. 41, 2014, section 3.1).
    """
    centre = model.fit["mean"] if mean is None else mean
    deviation = np.asarray(X, np.float64) - centre
    found = deviation[:, :, None] * model.coef if model.coef.ndim == 2 else deviation * model.coef
    return found, centre @ model.coef + model.intercept

"""The objective: data term + penalty. The one place where computing meets communication.

    F(theta) = sum_i w_i loss(eta_i, y_i) / sum_i w_i  +  (l2 / 2) ||theta||^2

over all rows of all ranks, the intercept not penalised. With average="ranks" the data term is instead the
mean over ranks of every rank's own mean, as in the formula of distributed gradient descent

    theta <- theta - eta · 1/n · sum_i 1/|D_i| · sum_{x in D_i} grad J(theta, x).

Both are the same where all slices have the same weight. Where they do not, "ranks" counts the rows of small
slices more, and its minimum depends on the number of ranks; ranks without rows are not counted.

Sums are exact (see `mpigd_kernels.exact`): their bits are a function of data and theta, whatever the ranks. With
reduce="fast" they are sums of doubles in the order in which ranks, threads and MPI happen to add.
"""

from __future__ import annotations

import copy
import itertools
import math
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import mpigd_kernels as kernels
import numpy as np
from mpigd_kernels import exact

from mpigd.comm import Comm
from mpigd.dataset import Dataset, prepare
from mpigd.penalties import L2
from mpigd.replicated import dot, norm
from mpigd.sampling import uniform
from mpigd.scaling import Scaling, spread_of_target

LEAST_BLOCKS, MOST_SHARES = 8, 16  # of a part of all blocks; how small a part may be

Average = Literal["rows", "ranks"]
Reduce = Literal["exact", "fast"]


@dataclass(frozen=True)
class Smoothness:
    """How fast the gradient can change.

    full : Lipschitz constant of the gradient of the objective.
    row : the largest such constant of a single row's term.
    passes : sweeps over all rows that finding this out took.
    """

    full: float
    row: float
    passes: int


class Objective:
    """The objective as a solver sees it: a function of theta, on all rows or on a mini-batch.

    theta : (d + 1, K) float64, its last row the intercept; (d, K) without one. Replicated.
    n : number of rows over all ranks.  shape : of theta.  scaling : of the columns.
    compute_seconds : time of this rank in kernels so far.

    Every method but `coefficients` is a collective and gives every rank the same result.
    """

    def __init__(
        self,
        comm: Comm,
        data: Dataset,
        loss: kernels.Loss,
        scaling: Scaling,
        l2: float = 0.0,
        intercept: bool = True,
        average: Average = "rows",
        loss_parameter: float = 0.0,
        smoothing: float = 1.0,
        reduce: Reduce = "exact",
    ) -> None:
        if reduce == "fast":
            data = replace(data, slice=replace(data.slice, computing=replace(data.slice.computing, exactly=False)))
        self._parameters, self._reduce = (loss_parameter, smoothing), reduce
        self._comm, self._data, self._loss, self.scaling = comm, data, loss, scaling
        self._penalty, self._intercept, self._average = L2(l2), intercept, average
        self._outputs = outputs_of(data, loss)
        self._shifts_of: dict[int | str, np.ndarray] = {}  # by number of mini-batches, or what is summed
        self._batches: tuple[tuple[int, int, int], list[np.ndarray]] | None = None
        weight = data.weight
        self.n = int(comm.sum(np.array([np.count_nonzero(weight)]))[0])
        weights = comm.sum_exactly(exact.of_blocks(weight[:, None], data.header.block), "weights")
        self._weight = float(weights[0]) / self.n  # of a row, on average
        self.shape = (data.header.d + intercept, self._outputs)
        self.compute_seconds = 0.0
        self._spread = np.ones(self._outputs) if data.classes.size else spread_of_target(comm, data)

    def one_in(self) -> int:
        """One of how many blocks is enough to come near the minimum of all of them; 0 where none is.

        With 50 rows for each element of theta, the minimum of a part is away from it by a small part of its own
        standard error.
        """
        header = self._data.header
        share = min(header.n // header.block // LEAST_BLOCKS, MOST_SHARES)
        return share if share > 1 and header.n >= 50 * share * self.shape[0] * self.shape[1] else 0

    def part(self, one_in: int, seed: int) -> Objective:
        """The same on one of every `one_in` blocks, which are copied; which they are follows from the seed."""
        result = copy.copy(self)
        result._data, result._batches, result.compute_seconds = self._data.part_of_blocks(seed, one_in), None, 0.0
        return result

    def value_and_gradient(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """F(theta) and its gradient, shape of theta."""
        return self._evaluate(theta, self._data.slice)

    def batch_count(self, batch_size: int) -> int:
        """Steps that make one epoch with mini-batches of about batch_size rows over all ranks."""
        return max(round(self.n / batch_size), 1)

    def batch_value_and_gradient(
        self, theta: np.ndarray, seed: int, epoch: int, count: int, index: int
    ) -> tuple[float, np.ndarray]:
        """F and its gradient with the data term of mini-batch `index` (of `count`) of an epoch."""
        return self._evaluate(theta, self._gather(self._batch_rows(seed, epoch, count)[index]), count)

    def coefficients(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients (d, K) and intercept (K,) on the scale of the original columns."""
        return self.scaling.to_columns(theta, self._intercept)

    def column_squares(self) -> np.ndarray:
        """Mean squares of what each row of theta is multiplied with, (p, 1): scaled columns, and 1 for an intercept."""
        spread = self.scaling.spread
        return np.append(spread * spread, np.ones(self.shape[0] - len(spread)))[:, None]

    def second_order(self, theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """F(theta), its gradient (p, 1) and its Hessian (p, p), in one read of the rows; theta (p, 1)."""
        data, d = self._data.slice, self._data.slice.d
        if "second order" not in self._shifts_of:
            prepare(self._comm, partial(data.load, "second_order", self._loss.tile))
            self._shifts_of["second order"] = self._second_order_shifts()
        start = time.perf_counter()
        total = data.second_order(self._at(theta, self._loss), self._shifts_of["second order"])
        self.compute_seconds += time.perf_counter() - start
        *rows, ends = np.split(self._means(total, "second order", theta, -2), _ends_of_rows(d))
        residual, value, _, curvature = ends
        # X' S (X 1) and its last row and column, those of the intercept.
        raw = np.empty((d + 1, d + 1))
        gradient = np.full((d + 1, 1), residual)
        raw[d, d] = curvature
        for j, row in enumerate(rows):
            raw[j, j:], raw[j:, j], gradient[j] = row[:-1], row[:-1], row[-1]
        hessian = self.scaling.from_columns(self.scaling.from_columns(raw, self._intercept).T, self._intercept)
        hessian[np.arange(d), np.arange(d)] += self._penalty.curvature
        return *self._penalised(theta, float(value), self.scaling.from_columns(gradient, self._intercept)), hessian

    def _penalised(self, theta: np.ndarray, value: float, gradient: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient of the data term with those of the penalty added."""
        penalised = theta[: self._data.slice.d]
        gradient[: len(penalised)] += self._penalty.gradient(penalised)
        return value + self._penalty.value(penalised), gradient

    def smoothness(self, tolerance: float = 1e-3, most_passes: int = 50) -> Smoothness:
        """Bound the curvature: power iteration on X'WX / sum(w), times the curvature bound of the loss.

        The product with X'WX is the gradient of the squared loss at y = 0. Power iteration approaches the
        eigenvalue from below, hence the factor 1 + 10 · tolerance.
        """
        data, loss = self._data, kernels.LOSSES["squared"]
        prepare(self._comm, partial(data.slice.load_gradient, loss.tile, 1), partial(data.slice.load, "row_norms"))
        zero = replace(data.slice, y=np.zeros_like(data.slice.y[:, :1]), offset=data.slice.offset[:0])
        vector, shifts = uniform(0, (self.shape[0], 1)), self._shifts(np.ones(1))
        eigenvalue, passes = 0.0, 0
        while passes < most_passes:
            vector = vector / max(norm(vector), np.finfo(float).tiny)
            product = self._data_term(vector, zero, loss, "eigenvalue", shifts)[1]
            before, eigenvalue, vector = eigenvalue, float(dot(vector, product)[0]), product
            passes += 1
            if abs(eigenvalue - before) <= tolerance * abs(eigenvalue):
                break
        start = time.perf_counter()
        largest = np.array([data.slice.largest_row_norm(self.scaling.mean, self.scaling.scale)])
        self.compute_seconds += time.perf_counter() - start
        row = self._comm.max(largest)[0] + self._intercept
        if self._loss.curvature is None:
            raise ValueError(f"the curvature of loss {self._loss.name} has no bound")
        curvature, penalty = self._loss.curvature(*self._parameters), self._penalty.curvature
        full = curvature * min(eigenvalue * (1.0 + 10.0 * tolerance), row) + penalty
        return Smoothness(full, curvature * float(row) + penalty, passes + 1)

    def _evaluate(self, theta: np.ndarray, data: kernels.Slice, batches: int = 1) -> tuple[float, np.ndarray]:
        """F and its gradient on some rows: all, or one of so many mini-batches."""
        if batches not in self._shifts_of:
            prepare(self._comm, partial(self._data.slice.load_gradient, self._loss.tile, self._outputs))
            self._shifts_of[batches] = self._shifts(self._spread, batches)
        kind = "all rows" if batches == 1 else "mini-batch"
        return self._penalised(theta, *self._data_term(theta, data, self._loss, kind, self._shifts_of[batches]))

    def _shifts(self, spread: np.ndarray, batches: int = 1) -> np.ndarray:
        """Where bins of the sums of `_data_term` begin: so that their terms, one a block, lie amid a bin all the time.

        Else there is at every step some column whose largest term has just crossed into another bin, so that windows
        are wrong and all has to be sent twice. A rough estimate does, with residuals that spread as y does.
        """
        rows = max(self._data.header.block / batches, 1.0) * self._weight
        gradient = np.outer(self.scaling.magnitude, spread).reshape(-1)
        # A value grows as the residual or as its square.
        return exact.shifts_for(rows * np.concatenate([gradient, spread, spread * np.sqrt(spread), np.ones(1)]))

    def _second_order_shifts(self) -> np.ndarray:
        """As `_shifts`, of the sums of `Slice.second_order`; curvatures are of about 1."""
        rows, d, magnitude = self._data.header.block * self._weight, self._data.slice.d, self.scaling.magnitude
        spread = float(self._spread[0])
        sums = [np.append(magnitude[j] * magnitude[j:], magnitude[j] * np.array([1.0, spread])) for j in range(d)]
        sums.append(np.array([spread, spread * math.sqrt(spread), 1.0, 1.0]))
        return exact.shifts_for(rows * np.concatenate(sums))

    def _data_term(
        self, theta: np.ndarray, data: kernels.Slice, loss: kernels.Loss, kind: str, shifts: np.ndarray
    ) -> tuple[float, np.ndarray]:
        """Weighted mean of the loss and its gradient in theta (p, K): the compute, then the one Allreduce.

        kind : names sums whose sizes are alike.  shifts : of the sums, as from `_shifts`.
        """
        d, outputs = data.d, theta.shape[1]
        start = time.perf_counter()
        total = data.value_gradient(self._at(theta, loss), shifts=shifts)
        self.compute_seconds += time.perf_counter() - start
        sums = self._means(total, kind, theta)
        gradient, values = sums[: (d + 1) * outputs].reshape(d + 1, outputs), sums[(d + 1) * outputs : -1]
        return float(values.sum()), self.scaling.from_columns(gradient, self._intercept)

    def _at(self, theta: np.ndarray, loss: kernels.Loss) -> kernels.At:
        return kernels.At(loss, *self.scaling.to_columns(theta, self._intercept), *self._parameters)

    def _means(self, total: np.ndarray, kind: str, theta: np.ndarray, weight: int = -1) -> np.ndarray:
        """Accumulators of all ranks as weighted means of rows; weight : which of them is the sum of weights."""
        if self._average == "ranks":
            own = exact.rounded(total)
            total = exact.of_blocks((own / own[weight] if own[weight] > 0.0 else own)[None])
        if self._reduce == "fast":
            sums = self._comm.sum_fast(total, theta)
        else:
            sums = self._comm.sum_exactly(total, kind, theta)
        if sums[weight] > 0.0:
            sums /= sums[weight]
        return sums

    def _batch_rows(self, seed: int, epoch: int, count: int) -> list[np.ndarray]:
        """Rows of this slice in every mini-batch of an epoch, ascending; rows of weight zero are in none."""
        key = (seed, epoch, count)
        if self._batches is None:
            prepare(self._comm, self._data.slice.load_gather)
        if self._batches is None or self._batches[0] != key:
            start = time.perf_counter()
            part = self._data.part_of_rows(seed, epoch, count)
            part[self._data.weight == 0.0] = count
            order = np.argsort(part, kind="stable")
            ends = np.searchsorted(part[order], np.arange(count + 1))
            self._batches = key, [order[a:b] for a, b in itertools.pairwise(ends)]
            self.compute_seconds += time.perf_counter() - start
        return self._batches[1]

    def _gather(self, picked: np.ndarray) -> kernels.Slice:
        start = time.perf_counter()
        batch = self._data.slice.gather(picked)
        self.compute_seconds += time.perf_counter() - start
        return batch


def outputs_of(data: Dataset, loss: kernels.Loss) -> int:
    """Columns of theta: one for each class, or for each column of y."""
    return len(data.classes) if loss.target == "classes" else int(data.slice.y.shape[1])


def _ends_of_rows(d: int) -> np.ndarray:
    """Where each row of the sums of `Slice.second_order` ends: j has d - j products, and two more."""
    return np.cumsum(np.arange(d + 2, 2, -1))

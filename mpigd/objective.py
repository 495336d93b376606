"""The objective: data term + penalty. The one place where computing meets communication.

    F(theta) = sum_i w_i loss(eta_i, y_i) / sum_i w_i  +  P(theta)

over all rows of all ranks, the intercept not penalised; P is as in `mpigd.penalties`. Values, gradients and Hessians
here are those of the smooth part, which leaves out the kinks of P: `penalty` knows the rest.

With average="ranks" the data term is instead the mean over ranks of every rank's own mean, as in the formula of
distributed gradient descent

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
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Literal, TypeVar

import mpigd_kernels as kernels
import numpy as np
from mpigd_kernels import exact

from mpigd.comm import Comm
from mpigd.compression import Compression, EightBits, TopShare
from mpigd.dataset import Dataset, prepare
from mpigd.null_model import LINEAR, NullModel, ValueAndSlope, of_counts, of_few, of_mean, of_shares, seek, together
from mpigd.penalties import Penalty
from mpigd.replicated import dot, norm
from mpigd.sampling import uniform
from mpigd.scaling import Scaling, moments_of
from mpigd.solvers.base import Batches
from mpigd.solvers.choice import Shape

T = TypeVar("T")
DISTINCT = 1e-8  # part of a metric's diagonal that is added to it
# Rows with curvature for each row of theta that a metric is to have, and how much of the mean curvature it is given.
CURVED_ROWS, CURVED = 5.0, 0.1
LEAST_BLOCKS, MOST_SHARES = 8, 64  # of those that a first null intercept comes from

Average = Literal["rows", "ranks"]
Reduce = Literal["exact", "fast", "int8", "top-share"]


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
    n : number of rows over all ranks.  shape : of theta.  scaling : of the columns.  penalty : of theta.

    Every method that evaluates something is a collective and gives every rank the same result.
    """

    def __init__(
        self,
        comm: Comm,
        data: Dataset,
        loss: kernels.Loss,
        scaling: Scaling,
        penalty: Penalty,
        intercept: bool = True,
        average: Average = "rows",
        loss_parameter: float = 0.0,
        smoothing: float = 1.0,
        reduce: Reduce = "exact",
        top_share: float = 0.01,
    ) -> None:
        data = _as_summed(data, reduce)
        self._parameters, self._reduce = (loss_parameter, smoothing), reduce
        self._comm, self._data, self._loss, self.scaling = comm, data, loss, scaling
        self.penalty, self._intercept, self._average = penalty, intercept, average
        self._outputs = outputs_of(data, loss)
        self._shifts_of: dict[int | str, np.ndarray] = {}  # by number of mini-batches, or what is summed
        self._ready: set[str] = set()  # kernels that all ranks have
        self._is_part = False
        self._bounds: list[float] = []  # of curvature, shared with what has the same rows
        # Curvature of every row, and the theta where it was found.
        self._curved: tuple[bytes, np.ndarray] | None = None
        self._top_share = top_share
        self._compressed = self._compression()  # for gradients of mini-batches
        self._batches: tuple[tuple[int, int, int], list[np.ndarray]] | None = None
        weighted = sum(np.count_nonzero(some) for some in data.weights()) if len(data.slice.weight) else data.rows
        self.n = int(comm.sum(np.array([weighted]))[0])
        self._weights = _of_weights(data)
        self._total = float(comm.sum_exactly(self._weights, "weights")[0])
        self._weight = self._total / self.n  # of a row, on average
        self.shape = (data.slice.d + intercept, self._outputs)
        self._computed = [0.0]  # shared with what is made of this one
        self._mean, self._spread = np.zeros(self._outputs), np.ones(self._outputs)  # of y
        if not data.classes.size:
            self._mean, self._spread = moments_of(comm, data.slice, data.slice.y)

    def _compression(self) -> Compression | None:
        if self._reduce == "int8":
            return EightBits(self._comm)
        return TopShare(self._comm, self._top_share) if self._reduce == "top-share" else None

    def _compute(self, work: Callable[[], T]) -> T:
        """What a rank computes by itself, timed. A collective where rows are read for it, which may fail."""
        start = time.perf_counter()
        with self._comm.agreement() if self._data.streams else nullcontext():
            result = work()
        self._computed[0] += time.perf_counter() - start
        return result

    @property
    def compute_seconds(self) -> float:
        """Time of this rank in kernels so far, that of parts and of some rows of theta included."""
        return self._computed[0]

    @property
    def cost(self) -> Shape:
        """What evaluating it costs, on all ranks together."""
        return cost_of(self._data, self._loss, self.shape, not self.penalty.is_smooth)

    def part(self, one_in: int, seed: int) -> Objective:
        """The same on one of every `one_in` blocks; which they are follows from the seed.

        It is this one itself where those blocks have less than half their share of the weight.
        """
        if one_in <= 1 or self._is_part:
            return self
        result = copy.copy(self)
        result._data, result._is_part = self._data.part_of_blocks(seed, one_in), True
        result._batches = result._curved = None
        result._weights, result._bounds = _of_weights(result._data), []
        result._total = float(self._comm.sum_exactly(result._weights, "weights")[0])
        return result if result._total > 0.5 * self._total / one_in else self

    @cached_property
    def null(self) -> NullModel:
        """The null model of the data term; an intercept of zero where none is best. A collective, the first time."""
        found = self._find_null() if self._intercept else None
        if found is None or not np.isfinite(found.intercept).all():
            return NullModel(np.zeros(self._outputs))
        return replace(found, cancels=self._loss.link == "log")

    @property
    def null_theta(self) -> np.ndarray:
        """Theta of the null model."""
        theta = np.zeros(self.shape)
        theta[self.shape[0] - self._intercept :] = self.null.intercept
        return theta

    def null_value(self) -> float:
        """The data term of the null model on all rows. A collective; it reads y, weights and offsets alone."""
        if self.null.value is not None:
            return self.null.value
        return self._without_columns().value_and_gradient(self.null.intercept[None])[0]

    def _without_columns(self) -> Objective:
        """The same as a function of the intercept alone: no number of X is read."""
        return self.rows(np.array([self.shape[0] - 1]))

    def _find_null(self) -> NullModel | None:
        """The null model, without a pass where shares of classes or a mean say all; None where none is best."""
        loss, rows, offset = self._loss, self._data.slice, self._data.header.offset
        if loss.name == "squared":
            of_offset = moments_of(self._comm, rows, rows.offset)[0] if offset else 0.0
            return of_mean(self._mean - of_offset, self._spread)
        if loss.coupled:
            return of_shares(self._shares())  # an offset is the same for all classes
        return together([self._null_of(output) for output in range(self._outputs)])

    def _null_of(self, output: int) -> NullModel | None:
        """That of one output."""
        loss, mean, offset = self._loss, float(self._mean[output]), self._data.header.offset
        few = None
        if self._data.classes.size or loss.name in LINEAR:
            stand_ins = [(1.0, mean)]
            if self._data.classes.size:
                stand_ins = [(share, float(label)) for label, share in enumerate(self._shares().tolist())]
            few = of_few(loss.row, self._parameters, stand_ins) if loss.row else None
            if few is None or not offset:
                return few
        guess, unit = float(few.intercept[0]) if few else 0.0, 1.0
        if loss.link == "identity":
            guess, unit = mean, float(self._spread[output]) or 1.0
        whole = self._at_intercepts(output)
        found = of_counts(whole, guess, mean) if loss.name == "poisson" else None
        share = max(min(-(-self._data.header.n // self._data.slice.block) // LEAST_BLOCKS, MOST_SHARES), 1)
        return found or seek(self._at_intercepts(output, share), whole, guess, unit)

    def _shares(self) -> np.ndarray:
        """The share of every class in the weight of all rows, (classes,)."""
        rows, count = self._data.slice, len(self._data.classes)
        y, total, start = rows.y.reshape(-1)[: self._data.rows], exact.empty(count), 0
        if count == 2 and not len(rows.weight):  # as below, in a tenth of the time
            ones = np.count_nonzero(y)
            total = exact.of_blocks(np.array([[len(y) - ones, ones]], np.float64))
            y = y[:0]
        for weight in self._data.weights() if len(y) else ():
            some = y[start : start + len(weight)].astype(np.int64)
            blocks = np.arange(len(some)) // rows.block
            own = np.bincount(blocks * count + some, weight[:, 0], (int(blocks[-1]) + 1) * count)
            exact.merge(exact.of_blocks(own.reshape(-1, count)), total)
            start += len(some)
        return self._comm.sum_exactly(total, "classes") / self._total

    def _at_intercepts(self, output: int, one_in: int = 1) -> ValueAndSlope:
        """Value and slope of the data term at an intercept of one output and nothing else, on one of so many blocks."""
        rows = self._without_columns().part(one_in, 0)

        def at(intercept: float) -> tuple[float, float]:
            theta = np.zeros((1, self._outputs))
            theta[0, output] = intercept
            value, gradient = rows.value_and_gradient(theta)
            return value, float(gradient[0, output])

        return at

    def on(self, data: Dataset) -> Objective:
        """The same where the same rows are shared out in another way among ranks.

        What all ranks hold alike stays; what a rank may have found or made ready while others died goes.
        """
        result = copy.copy(self)
        result._data = _as_summed(data, self._reduce)
        result._batches = result._curved = None
        result._ready, result._bounds = set(), []
        result._weights, result._compressed = _of_weights(result._data), self._compression()
        return result

    def with_penalty(self, penalty: Penalty) -> Objective:
        """The same data term with another penalty."""
        result = copy.copy(self)
        result.penalty = penalty
        return result

    def rows(self, picked: np.ndarray) -> Objective:
        """The same as a function of the rows `picked` (m,) int64 of theta, ascending, the others being zero.

        The intercept, where there is one, must be among them. Their columns are copied.
        """
        columns = picked[: len(picked) - self._intercept]
        result = copy.copy(self)
        result._data = self._compute(lambda: self._data.columns_only(columns))
        result.scaling = self.scaling.columns(columns)
        result.penalty, result.shape = self.penalty.rows(picked), (len(picked), self.shape[1])
        result._shifts_of, result._batches, result._curved, result._bounds = {}, None, None, []
        return result

    def value_and_gradient(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """F(theta) and its gradient, shape of theta."""
        return self._evaluate(theta)

    def loss_on(self, rows: kernels.Slice, theta: np.ndarray) -> float:
        """The data term on other rows of the same columns, which are shared out among ranks as these are."""
        if "loss" not in self._ready:
            prepare(self._comm, partial(rows.load, "sweep", self._loss.tile, predictors=self._outputs))
            self._ready.add("loss")
        total = self._compute(lambda: rows.value(self._at(theta, self._loss)))
        sums = self._comm.sum_exactly(total, "loss", theta)
        return float(sums[self._outputs : -1].sum() / sums[-1])

    def batch_count(self, batch_size: int) -> int:
        """Steps that make one epoch with mini-batches of about batch_size rows over all ranks."""
        return max(round(self.n / batch_size), 1)

    def batch_gradients(self, thetas: Sequence[np.ndarray], batches: Batches, of_all: bool = False) -> list[np.ndarray]:
        """Gradients of F at some points, the data term being that of some mini-batches; one Allreduce.

        of_all : sums are divided by an even share of the weight of all rows, not by that of these rows, so that the
        mean over mini-batches of whatever weights is the gradient on all rows.
        """
        rows, (*_, count, which) = self._rows_of(batches), batches
        shifts = self._shifts_for(max(count // len(which), 1))

        def add_up() -> list[np.ndarray]:
            totals: list[np.ndarray] = []
            for some in rows:
                batch = self._data.slice.gather(some)
                own = [batch.value_gradient(self._at(theta, self._loss), shifts=shifts) for theta in thetas]
                for other, total in zip(own, totals, strict=False):
                    exact.merge(other, total)
                totals = totals or own
            return totals

        totals = self._compute(add_up)
        if self._compressed:
            found = self._compressed_means(self._compressed, totals, np.hstack(thetas))
        else:  # all points have the same rows, so that the last sum of weights is that of each
            share = self._total * len(which) / count if of_all and self._average == "rows" else None
            means = self._means(np.hstack(totals), "mini-batch", np.hstack(thetas), by=share)
            found = np.split(means, len(thetas))
        return [
            self._in_theta(own, self._outputs) + self.penalty.smooth_gradient(theta)
            for own, theta in zip(found, thetas, strict=True)
        ]

    def _compressed_means(
        self, compression: Compression, totals: list[np.ndarray], theta: np.ndarray
    ) -> list[np.ndarray]:
        """The sum of a gradient, compressed, over that of weights; theta is what all ranks should hold alike."""
        (total,) = totals  # what one sum leaves out is in the next one at the same point
        weights = self._comm.sum_fast(np.ascontiguousarray(total[:, -1:]), theta)
        return [compression.sum(exact.rounded(total)[:-1]) / (weights if weights[0] > 0.0 else 1.0)]

    def local_descent(self, theta: np.ndarray, batches: Batches, rate: float, steps: int) -> np.ndarray:
        """The weighted mean over blocks of where each gets from theta by its own steps; one Allreduce.

        Each step uses an equal part of the rows that the block has in the mini-batches.
        """
        rows = np.sort(np.concatenate(self._rows_of(batches)))

        def descend() -> np.ndarray:
            weight, terms = self._data.weight, []
            for own in np.split(rows, np.flatnonzero(np.diff(rows // self._data.slice.block)) + 1):
                local = theta
                for k in range(min(steps, len(own))):
                    part = np.ascontiguousarray(own[k::steps])
                    local = self.penalty.proximal(local - rate * self._gradient_of(part, local), rate)
                total = float(np.sum(weight[own]))
                terms.append(np.append(total * local.reshape(-1), total))
            return exact.of_blocks(np.array(terms))

        mean = self._means(self._compute(descend), "local", theta)
        return mean[:-1].reshape(theta.shape) if mean[-1] > 0.0 else theta  # no rows, no step

    def _gradient_of(self, rows: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """Gradient of F with some rows of this slice as all of the data term. Not a collective."""
        sums = exact.rounded(self._data.slice.gather(rows).value_gradient(self._at(theta, self._loss)))
        sums /= sums[-1] if sums[-1] > 0.0 else 1.0
        gradient = self._in_theta(sums, self._outputs)
        gradient += self.penalty.smooth_gradient(theta)
        return gradient

    def _in_theta(self, sums: np.ndarray, outputs: int) -> np.ndarray:
        """The gradient in theta (p, K) that the first of the sums of `Slice.value_gradient` are in stored columns."""
        d = self._data.slice.d
        return self.scaling.from_columns(sums[: (d + 1) * outputs].reshape(d + 1, outputs), self._intercept)

    def coefficients(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients (d, K) and intercept (K,) on the scale of the original columns."""
        return self.scaling.to_columns(theta, self._intercept)

    def diagonal(self) -> np.ndarray:
        """An estimate of the Hessian's diagonal, (p, 1), from mean squares of the columns, without a pass."""
        loss, curvature = self._loss, 1.0
        if loss.coupled:
            curvature = self._mean_share
        elif loss.curvature is not None:
            curvature = loss.curvature(*self._parameters)
        diagonal: np.ndarray = curvature * self._squares + self.penalty.l2
        return diagonal

    @property
    def _squares(self) -> np.ndarray:
        """Mean squares of what each row of theta is multiplied with, (p, 1): scaled columns, and 1 for an intercept."""
        spread = self.scaling.spread
        return np.append(spread * spread, np.ones(self.shape[0] - len(spread)))[:, None]

    @property
    def _mean_share(self) -> float:
        """Of classes, the mean of p (1 - p) where all probabilities are equal."""
        return (self._outputs - 1.0) / self._outputs**2

    def rounding(self, theta: np.ndarray) -> np.ndarray:
        """About what rounding of X'X, before means are taken out of it, does to the Hessian times theta, (p, 1)."""
        magnitude = self.scaling.magnitude / self.scaling.scale
        sizes = np.append(magnitude, np.ones(self.shape[0] - len(magnitude)))[:, None]
        rounding: np.ndarray = np.finfo(np.float64).eps * np.sum(sizes * np.abs(theta)) * sizes
        return rounding

    def second_order(self, theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Value, gradient (p, 1) and Hessian (p, p) at theta (p, 1), in one read of the rows."""
        value, gradient, hessian, _ = self._second_order(theta, self._data.slice, self._loss, "second order")
        hessian[np.diag_indices(len(hessian))] += self.penalty.l2[:, 0]
        return *self._penalised(theta, value, gradient), hessian

    def metric(self, theta: np.ndarray, one_in: int, seed: int) -> tuple[np.ndarray, float]:
        """An estimate (p, p) of the Hessian of each output from one of every `one_in` blocks; the passes that took.

        Of several outputs it is that of least squares, times what p (1 - p) is on average where probabilities are
        equal, for classes. Columns that vary less in the part than in all rows count half of what they are in those.
        """
        part = self.part(one_in, seed)
        data, loss, kind = part._data.slice, self._loss, "second order"
        if self._outputs > 1:
            (data, loss), kind, theta = self._linear(data), "linear", np.zeros((self.shape[0], 1))
        _, _, metric, curvature = part._second_order(theta, data, loss, kind)
        if self._loss.coupled:
            metric, curvature = self._mean_share * metric, self._mean_share * curvature
        metric[np.diag_indices(len(metric))] += self.penalty.l2[:, 0]
        # Where kinks leave few rows with curvature, that of steps as large as y spreads stands in for it.
        if self._loss.target == "real" and self._loss.name != "squared" and self._loss.curvature:
            curved = curvature / self._loss.curvature(*self._parameters) * self.n / (1 if part is self else one_in)
            if curved < CURVED_ROWS * self.shape[0]:
                wide = max(CURVED * self.null.curvature, np.finfo(float).eps)
                metric[np.diag_indices(len(metric))] += wide * self._squares[:, 0]
        least = (0.5 * curvature * self._squares + self.penalty.l2)[:, 0]
        diagonal = np.diagonal(metric)
        # The second term keeps columns apart that only the part can't tell apart.
        metric[np.diag_indices(len(metric))] += np.maximum(least - diagonal, 0.0) + DISTINCT * diagonal
        return metric, 1.0 if part is self else 1.0 / one_in

    def hessian_product(self, theta: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """The Hessian at theta times a direction, both (p, K); cheapest where the last gradient was at this theta."""
        if "product" not in self._ready:
            data, stage = self._data.slice, self._loss.product
            prepare(self._comm, partial(data.load_gradient, stage, self._outputs))
            self._ready.add("product")
        if self._curved is None or self._curved[0] != theta.tobytes():
            self.value_gradient_and_curvature(theta)
        assert self._curved is not None
        data = self._data.slice
        kept = self._curved[1]
        at, along = self._at(theta, self._loss), self.scaling.to_columns(direction, self._intercept)
        total = self._compute(lambda: data.hessian_product(at, *along, kept))
        total[:, -1:] = self._weights  # of the same rows; the kernel has only the weighted curvature
        sums = self._means(total, "product", np.hstack([theta, direction]))
        product = self._in_theta(sums, self._outputs)
        product += self.penalty.smooth_gradient(direction)
        return product

    def value_gradient_and_curvature(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """As `value_and_gradient`, and keeps what `hessian_product` at theta needs: the curvature of every row."""
        kept = self._curved[1] if self._curved is not None else self._data.slice.curvature(self._outputs)
        self._curved = None
        found = self._evaluate(theta, kept)
        self._curved = theta.tobytes(), kept
        return found

    def _second_order(
        self, theta: np.ndarray, data: kernels.Slice, loss: kernels.Loss, kind: str
    ) -> tuple[float, np.ndarray, np.ndarray, float]:
        """Those of the data term, and the mean curvature of a row in its predictor."""
        if kind not in self._ready:
            prepare(self._comm, partial(data.load, "second_order", loss.tile))
            self._ready.add(kind)
        if kind not in self._shifts_of:
            self._shifts_of[kind] = self._second_order_shifts()
        d = data.d
        total = self._compute(lambda: data.second_order(self._at(theta, loss), self._shifts_of[kind]))
        *rows, ends = np.split(self._means(total, kind, theta, -2), _ends_of_rows(d))
        residual, value, _, curvature = ends
        # X' S (X 1) and its last row and column, those of the intercept.
        raw = np.empty((d + 1, d + 1))
        gradient = np.full((d + 1, 1), residual)
        raw[d, d] = curvature
        for j, row in enumerate(rows):
            raw[j, j:], raw[j:, j], gradient[j] = row[:-1], row[:-1], row[-1]
        hessian = self.scaling.from_columns(self.scaling.from_columns(raw, self._intercept).T, self._intercept)
        return float(value), self.scaling.from_columns(gradient, self._intercept), hessian, float(curvature)

    def _penalised(self, theta: np.ndarray, value: float, gradient: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient of the data term with those of the smooth penalty added."""
        return value + self.penalty.smooth_value(theta), gradient + self.penalty.smooth_gradient(theta)

    @staticmethod
    def _linear(data: kernels.Slice) -> tuple[kernels.Slice, kernels.Loss]:
        """Rows and loss of which the Hessian, at any theta, is X'WX / sum(w), and the gradient that times theta."""
        return replace(data, y=np.zeros_like(data.y[:, :1]), offset=data.offset[:0]), kernels.LOSSES["squared"]

    def smoothness(self) -> Smoothness:
        """Bound the curvature: that of X'WX / sum(w), times the curvature bound of the loss, with the penalty's.

        What it takes of the rows is found once, also for other penalties, and costs passes that time.
        """
        if self._loss.curvature is None:
            raise ValueError(f"the curvature of loss {self._loss.name} has no bound")
        passes = 0
        if not self._bounds:
            *bounds, passes = self._largest()
            self._bounds[:] = bounds  # others that share them may have found them meanwhile
        curvature, penalty = self._loss.curvature(*self._parameters), float(self.penalty.l2.max(initial=0.0))
        full, row = (curvature * bound + penalty for bound in self._bounds)
        return Smoothness(full, row, passes)

    def _largest(self, tolerance: float = 1e-3, most_passes: int = 50) -> tuple[float, float, int]:
        """Bounds of the largest eigenvalue of X'WX / sum(w), and of that of a row alone; the passes that took.

        The product with X'WX is the gradient of the squared loss at y = 0. Power iteration approaches the
        eigenvalue from below, hence the factor 1 + 10 · tolerance.
        """
        data = self._data
        zero, loss = self._linear(data.slice)
        prepare(self._comm, partial(data.slice.load_gradient, loss.tile, 1), partial(data.slice.load, "row_norms"))
        vector, shifts = uniform(0, (self.shape[0], 1)), self._shifts(np.ones(1))
        eigenvalue, passes = 0.0, 0
        while passes < most_passes:
            vector = vector / max(norm(vector), np.finfo(float).tiny)
            product = self._data_term(vector, zero, loss, "eigenvalue", shifts)[1]
            before, eigenvalue, vector = eigenvalue, float(dot(vector, product)[0]), product
            passes += 1
            if abs(eigenvalue - before) <= tolerance * abs(eigenvalue):
                break
        largest = self._compute(lambda: data.slice.largest_row_norm(self.scaling.mean, self.scaling.scale))
        row = float(self._comm.max(np.array([largest]))[0]) + self._intercept
        return min(eigenvalue * (1.0 + 10.0 * tolerance), row), row, passes + 1

    def _evaluate(self, theta: np.ndarray, curvature: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """Value and gradient on all rows."""
        if "gradient" not in self._ready:
            prepare(self._comm, partial(self._data.slice.load_gradient, self._loss.tile, self._outputs))
            self._ready.add("gradient")
        rows, shifts = self._data.slice, self._shifts_for(1)
        return self._penalised(theta, *self._data_term(theta, rows, self._loss, "all rows", shifts, curvature))

    def _shifts_for(self, batches: int) -> np.ndarray:
        """Of the sums of a gradient over all rows, or one of so many mini-batches."""
        if batches not in self._shifts_of:
            self._shifts_of[batches] = self._shifts(self._spread, batches)
        return self._shifts_of[batches]

    def _shifts(self, spread: np.ndarray, batches: int = 1) -> np.ndarray:
        """Where bins of the sums of `_data_term` begin: so that their terms, one a block, lie amid a bin all the time.

        Else there is at every step some column whose largest term has just crossed into another bin, so that windows
        are wrong and all has to be sent twice. A rough estimate does, with residuals that spread as y does.
        """
        rows = max(self._data.slice.block / batches, 1.0) * self._weight
        gradient = np.outer(self.scaling.magnitude, spread).reshape(-1)
        # A value grows as the residual or as its square.
        return exact.shifts_for(rows * np.concatenate([gradient, spread, spread * np.sqrt(spread), np.ones(1)]))

    def _second_order_shifts(self) -> np.ndarray:
        """As `_shifts`, of the sums of `Slice.second_order`; curvatures are of about 1."""
        rows, d, magnitude = self._data.slice.block * self._weight, self._data.slice.d, self.scaling.magnitude
        spread = float(self._spread[0])
        sums = [np.append(magnitude[j] * magnitude[j:], magnitude[j] * np.array([1.0, spread])) for j in range(d)]
        sums.append(np.array([spread, spread * math.sqrt(spread), 1.0, 1.0]))
        return exact.shifts_for(rows * np.concatenate(sums))

    def _data_term(
        self,
        theta: np.ndarray,
        data: kernels.Slice,
        loss: kernels.Loss,
        kind: str,
        shifts: np.ndarray,
        curvature: np.ndarray | None = None,
    ) -> tuple[float, np.ndarray]:
        """Weighted mean of the loss and its gradient in theta (p, K): the compute, then the one Allreduce.

        kind : names sums whose sizes are alike.  shifts : of the sums, as from `_shifts`.  curvature : receives that of
        every row.
        """
        d, outputs = data.d, theta.shape[1]
        total = self._compute(lambda: data.value_gradient(self._at(theta, loss), curvature, shifts))
        sums = self._means(total, kind, theta)
        return float(sums[(d + 1) * outputs : -1].sum()), self._in_theta(sums, outputs)

    def _at(self, theta: np.ndarray, loss: kernels.Loss) -> kernels.At:
        return kernels.At(loss, *self.scaling.to_columns(theta, self._intercept), *self._parameters)

    def _means(
        self, total: np.ndarray, kind: str, theta: np.ndarray, weight: int = -1, by: float | None = None
    ) -> np.ndarray:
        """Accumulators of all ranks as weighted means of rows.

        weight : which of them is the sum of weights.  by : what to divide by instead of it.
        """
        if self._average == "ranks":
            own = exact.rounded(total)
            total = exact.of_blocks((own / own[weight] if own[weight] > 0.0 else own)[None])
        if self._reduce == "exact":
            sums = self._comm.sum_exactly(total, kind, theta)
        else:
            sums = self._comm.sum_fast(total, theta)
        if by is not None or sums[weight] > 0.0:
            sums /= sums[weight] if by is None else by
        return sums

    def _rows_of(self, batches: Batches) -> list[np.ndarray]:
        """Rows of this slice in each of some mini-batches, ascending; rows of weight zero are in none."""
        seed, epoch, count, which = batches
        key = (seed, epoch, count)
        if self._batches is None:
            prepare(self._comm, self._load_gather)
        if self._batches is None or self._batches[0] != key:
            start = time.perf_counter()
            part = self._data.part_of_rows(seed, epoch, count)
            part[self._data.weight == 0.0] = count
            order = np.argsort(part, kind="stable")
            ends = np.searchsorted(part[order], np.arange(count + 1))
            self._batches = key, [order[a:b] for a, b in itertools.pairwise(ends)]
            self._computed[0] += time.perf_counter() - start
        return [self._batches[1][index] for index in which]

    def _load_gather(self) -> None:
        """Make ready what gathers mini-batches and computes with them; their tiles have another number of rows."""
        rows = self._data.slice
        rows.load_gather()
        rows.gather(np.zeros(0, np.int64)).load_gradient(self._loss.tile, self._outputs)


def _as_summed(data: Dataset, reduce: Reduce) -> Dataset:
    """A dataset whose kernels sum as asked."""
    if reduce == "exact":
        return data
    return replace(data, slice=replace(data.slice, computing=replace(data.slice.computing, exactly=False)))


def _of_weights(data: Dataset) -> np.ndarray:
    """Accumulators of the weights of the blocks that sums go over, (5, 1)."""
    rows, size = data.slice, data.slice.block
    first = np.arange(0, data.rows, size)
    if not len(rows.weight):
        counts = np.minimum(data.rows - first, size).astype(np.float64)
        return exact.of_blocks((counts if rows.picked is None else counts[rows.picked])[:, None])
    weight = data.weight
    if rows.picked is not None:
        padded = np.zeros((len(first), size))
        padded.reshape(-1)[: len(weight)] = weight
        weight = padded[rows.picked].reshape(-1)
    return exact.of_blocks(weight[:, None], size)


def outputs_of(data: Dataset, loss: kernels.Loss) -> int:
    """Columns of theta: one for each class, or for each column of y."""
    return len(data.classes) if loss.target == "classes" else int(data.slice.y.shape[1])


def cost_of(data: Dataset, loss: kernels.Loss, shape: tuple[int, int], kinks: bool) -> Shape:
    """What passes over a dataset cost, with theta of a shape."""
    header, d, (p, outputs) = data.header, data.slice.d, shape
    share = d / header.d
    numbers = share * (header.d if header.stored is None else header.stored / header.n)
    return Shape(
        n=header.n,
        d=d,
        outputs=outputs,
        block=data.slice.block,
        bytes=share * header.bytes,
        numbers=numbers,
        p=p,
        quadratic=loss.name == "squared",
        kinks=kinks,
    )


def _ends_of_rows(d: int) -> np.ndarray:
    """Where each row of the sums of `Slice.second_order` ends: j has d - j products, and two more."""
    return np.cumsum(np.arange(d + 2, 2, -1))

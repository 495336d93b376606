"""The rows of a slice, and what can be computed of them in one read each.

A slice holds X, dense or sparse, with y, weights and offsets. Its operations return accumulators of exact sums (see
`exact`), which do not depend on how blocks were shared out: among threads here, among ranks above.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from mpigd_kernels import dense, exact, sparse
from mpigd_kernels.losses import Loss
from mpigd_kernels.native import Kernel
from mpigd_kernels.tiles import gather_tiles, tile_count, tile_rows
from mpigd_kernels.vector import LINE, aligned

DOUBLE = np.dtype(np.float64)
# Tiles that several outputs or squares meet at once: what they give is added up across lanes once for all of them.
# So many where they and those that follow have room in the second-level cache; measured with benchmarks/kernels.py.
TOGETHER, TOGETHER_BYTES = 8, 1 << 19
NORM_ROWS = 1 << 16  # row norms are computed for so many rows at a time


def gradient_sums(d: int, outputs: int, weights: int = 1) -> int:
    """How many sums `Slice.value_gradient` gives; with d = 0, how many `Slice.value` gives."""
    return d * outputs + 2 * outputs + weights


def second_order_sums(d: int) -> int:
    """How many sums `Slice.second_order` gives."""
    return d * (d + 1) // 2 + 2 * d + 4


@dataclass(frozen=True)
class Computing:
    """How kernels compute.

    work : float64 or float32, the type of products, predictors and losses; sums leave a tile in float64 either way.
    threads : how many of this process share the blocks of a slice. Results do not depend on it.
    exactly : whether sums leave each block exactly. Else a thread adds up all its rows in double precision, as one
    block: results then do depend on threads, and on how rows were shared out among ranks.
    """

    work: np.dtype[Any] = DOUBLE
    threads: int = 1
    exactly: bool = True


@dataclass(frozen=True)
class At:
    """Where a loss is evaluated: the loss, what its functions are called with, and theta.

    coef (d, K), intercept (K,) : float64, on the scale of the stored columns.
    """

    loss: Loss
    coef: np.ndarray
    intercept: np.ndarray
    parameter: float = 0.0
    smoothing: float = 1.0


@dataclass(frozen=True)
class Slice(ABC):
    """Rows with all that belongs to them.

    n : rows.  block : rows of a canonical block, whole tiles; the unit of summing.
    y, weight, offset : (tiles, 1 or K, rows), float32 or float64, padded; without tiles where absent.
    picked : numbers of the blocks that sums go over, ascending; None for all.
    """

    n: int
    block: int
    y: np.ndarray
    weight: np.ndarray
    offset: np.ndarray
    computing: Computing
    picked: np.ndarray | None = field(default=None, kw_only=True)

    KERNELS: ClassVar[dict[str, Kernel]]  # by operation
    streams: ClassVar[bool] = False  # whether X is read anew for every operation, which then may fail

    @property
    @abstractmethod
    def d(self) -> int:
        """Number of columns."""

    @property
    @abstractmethod
    def _x(self) -> tuple[np.ndarray, ...]:
        """The arrays of X, as kernels take them."""

    @abstractmethod
    def _right_rows(self, residuals: int) -> int:
        """Rows of scratch for the residuals that X' is multiplied with."""

    @property
    @abstractmethod
    def _squares_rows(self) -> int:
        """Rows of scratch for what X' is multiplied with for a Hessian: S X, s and the residual."""

    @abstractmethod
    def _moments_scratch(self) -> tuple[np.ndarray, ...]:
        """Scratch of `column_moments`."""

    @abstractmethod
    def gather(self, picked: np.ndarray) -> Slice:
        """A slice of the rows `picked` (m,) int64, ascending, alone; block by block, with gaps of weight zero."""

    @abstractmethod
    def columns_only(self, picked: np.ndarray) -> Slice:
        """A slice of the columns `picked` (m,) int64, ascending, alone: a copy of X; all else is shared."""

    @property
    def rows(self) -> int:
        """Rows of a tile."""
        return int(self.y.shape[2])

    def load(self, operation: str, *stages: Kernel, predictors: int = 1) -> None:
        """Make the kernel of an operation ready, and stages: from the cache, or by compiling them (seconds)."""
        for kernel in (self._kernel(operation), *stages):
            kernel.load({**self._variables(), "ONE": predictors == 1})

    def _kernel(self, operation: str) -> Kernel:
        return self.KERNELS[operation]

    def _variables(self) -> dict[str, Any]:
        x = dict(zip(("X", "INDEX"), (array.dtype for array in self._x), strict=False))
        return {**x, "ROW": self.y.dtype, "WORK": self.computing.work, "ROWS": self.rows}

    def load_gradient(self, stage: Kernel, outputs: int) -> None:
        """Make `value_gradient` ready for a stage of so many outputs."""
        self.load(self._sweep_for(outputs, gradient=True), stage, predictors=outputs)

    def load_gather(self) -> None:
        """Make `gather` ready."""
        if "gather" in self.KERNELS:
            self.load("gather")

    def value(self, at: At) -> np.ndarray:
        """Accumulators (5, 2 K + W) of the weighted residuals (K), values (K) and weights (W).

        W is 1, or K where every output has weights of its own. With softmax the value is one, the first.
        """
        return self._sweep(at.loss.tile, at, at.coef, at.intercept, gradient=False)

    def value_gradient(
        self, at: At, curvature: np.ndarray | None = None, shifts: np.ndarray | None = None
    ) -> np.ndarray:
        """Accumulators (5, d K + 2 K + W) of the gradient (d, K), that of the intercepts, values and weights.

        curvature : as from `curvature()`, receives what `hessian_product` can use.
        shifts : of the sums, int64, see `exact`; here as everywhere.
        """
        return self._sweep(at.loss.tile, at, at.coef, at.intercept, curvature, shifts=shifts)

    def curvature(self, outputs: int) -> np.ndarray:
        """An array to keep curvature in, (tiles, K, rows): one number for each row and output."""
        return np.zeros((len(self.y), outputs, self.rows), self.computing.work)

    def hessian_product(
        self, at: At, direction: np.ndarray, intercept: np.ndarray, curvature: np.ndarray | None = None
    ) -> np.ndarray:
        """Accumulators as of `value_gradient`, of the Hessian at a point times a direction (d, K), intercept (K,).

        curvature : what a gradient at the same point has kept; without it, it is computed anew in the same read.
        The sums of values and weights have no meaning.
        """
        if curvature is not None:
            # What is kept is weighted already.
            bare = replace(self, weight=self.weight[:0], offset=self.offset[:0])
            return bare._sweep(at.loss.product, at, direction, intercept, curvature)
        both = np.hstack([at.coef, direction]), np.concatenate([at.intercept, intercept])
        return self._sweep(at.loss.product_anew, at, *both, passing=direction.shape[1])

    def second_order(self, at: At, shifts: np.ndarray | None = None) -> np.ndarray:
        """Accumulators of value, gradient and Hessian of a loss of one predictor.

        Row by row the upper triangle of X' S X, each row followed by its X' s and X' residual, then the sums of
        residuals, values, weights and s: d (d + 1) / 2 + 2 d + 4 of them.
        """
        d, work = self.d, self.computing.work
        theta = self._theta(at.coef, at.intercept)

        def scratch() -> tuple[np.ndarray, ...]:
            return (
                aligned((3 + self._squares_rows, self.rows), work),
                aligned((4, self._lanes), np.float64),
                aligned((d, d + 2), np.float64),
            )

        return self._in_blocks(
            "second_order",
            (at.loss.tile.load(self._variables()), float(at.parameter), float(at.smoothing)),
            (self.y, self.weight, self.offset, *theta),
            scratch,
            second_order_sums(d),
            shifts,
        )

    def linear_predictor(self, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
        """Eta (n, K) float64."""
        out, theta = np.empty((self.n, coef.shape[1])), self._theta(coef, intercept)

        def part(runs: list[tuple[int, int]]) -> None:
            scratch = aligned((coef.shape[1], self.rows), self.computing.work)
            for first, last in runs:
                self._kernel("linear_predictor")(*self._x, self.n, first, last, self.offset, *theta, scratch, out)

        self._share(part)
        return out

    def column_moments(self, shift: np.ndarray) -> np.ndarray:
        """Accumulators (5, 2 d + 1) of w (x - shift) and w (x - shift)^2 of each column, and of w."""
        return self._in_blocks("column_moments", (), (self.weight, shift), self._moments_scratch, 2 * self.d + 1)

    def row_norms(self, mean: np.ndarray, scale: np.ndarray) -> Iterator[np.ndarray]:
        """Squared norms of (x - mean) / scale of the rows in turn, some 2^16 at a time.

        An array of all of them may be large beside what a narrow slice takes.
        """
        step = NORM_ROWS // self.rows
        for first in range(0, len(self.y), step):
            last = min(first + step, len(self.y))
            out = aligned((last - first, self.rows), np.float64)
            self._kernel("row_norms")(*self._x, first, last, mean, scale, out)
            yield out.reshape(-1)[: self.n - first * self.rows]

    def largest_row_norm(self, mean: np.ndarray, scale: np.ndarray) -> float:
        """The largest of them among rows of positive weight; 0 without any."""
        largest, start = 0.0, 0
        positive = self.weight.max(axis=1).reshape(-1) > 0.0
        for norms in self.row_norms(mean, scale):
            counted = norms[positive[start : start + len(norms)]] if len(positive) else norms
            largest, start = max(largest, float(counted.max(initial=0.0))), start + len(norms)
        return largest

    def _theta(self, coef: np.ndarray, intercept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients and intercept as kernels take them."""
        return np.ascontiguousarray(coef, self.computing.work), np.ascontiguousarray(intercept, self.computing.work)

    @property
    def _lanes(self) -> int:
        return LINE // self.computing.work.itemsize

    def _sweep(
        self,
        stage: Kernel,
        at: At,
        coef: np.ndarray,
        intercept: np.ndarray,
        kept: np.ndarray | None = None,
        passing: int = 0,
        gradient: bool = True,
        shifts: np.ndarray | None = None,
    ) -> np.ndarray:
        """Run a sweep with theta of a stage.

        passing : outputs of which a stage wants the curvature of one tile at a time, without `kept` for all.
        """
        work, rows = self.computing.work, self.rows
        outputs, predictors = at.coef.shape[1], coef.shape[1]
        weights = self.weight.shape[1]
        products = self.d if gradient else 0
        sums = gradient_sums(0, outputs, weights)
        operation = self._sweep_for(predictors, gradient)
        # The pipelined sweep adds up its products in lanes, too.
        lanes = sums + (self.d if operation == "pipelined_sweep" else 0)
        theta = self._theta(coef, intercept)

        def scratch() -> tuple[np.ndarray, ...]:
            return (
                aligned((1, passing, rows), work) if kept is None else kept,
                aligned((predictors + outputs + weights + self._right_rows(outputs), rows), work),
                aligned((lanes, self._lanes), np.float64),
                aligned((products, outputs), np.float64),
            )

        return self._in_blocks(
            operation,
            (stage.load(self._variables()), float(at.parameter), float(at.smoothing)),
            (self.y, self.weight, self.offset, *theta),
            scratch,
            gradient_sums(products, outputs, weights),
            shifts,
        )

    def _in_blocks(
        self,
        name: str,
        head: tuple[Any, ...],
        tail: tuple[np.ndarray, ...],
        scratch: Callable[[], tuple[np.ndarray, ...]],
        count: int,
        shifts: np.ndarray | None = None,
    ) -> np.ndarray:
        """Run a kernel that adds up `count` sums block by block; the accumulators of all blocks."""
        kernel, per_block = self._kernel(name), self.block // self.rows
        exact.check_terms(-(-len(self.y) // per_block))

        def part(runs: list[tuple[int, int]]) -> np.ndarray:
            total, buffers = exact.empty(count, shifts), scratch()
            for first, last in runs:
                block = per_block if self.computing.exactly else max(last - first, 1)
                kernel(*head, *self._x, self.n, first, last, block, *tail, *buffers, total)
            return total

        total: np.ndarray
        total, *others = self._share(part)
        for other in others:
            exact.merge(other, total)
        return total

    def _share(self, part: Callable[[list[tuple[int, int]]], Any]) -> list[Any]:
        """Give every thread its blocks, as runs of tiles: the first, and the one after the last."""
        per_block, tiles, threads = self.block // self.rows, len(self.y), self.computing.threads
        blocks = -(-tiles // per_block) if self.picked is None else len(self.picked)
        threads = max(min(threads, blocks), 1)
        ends = [blocks * i // threads for i in range(threads + 1)]
        if self.picked is None:
            shares = [[(a * per_block, min(b * per_block, tiles))] for a, b in pairwise(ends)]
        else:
            runs = [(int(b) * per_block, min((int(b) + 1) * per_block, tiles)) for b in self.picked]
            shares = [runs[a:b] for a, b in pairwise(ends)]
        if threads == 1:
            return [part(shares[0])]
        return list(_pool(threads).map(part, shares))

    def _sweep_for(self, predictors: int, gradient: bool) -> str:
        return "sweep"

    def _gathered(self, picked: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        """Where each picked row goes, and the fields of the gathered slice but for X.

        Rows of one canonical block stay one block, which begins a tile of its own: so the sums of a block are
        those of its picked rows whatever other blocks are here. Gaps have weight zero.
        """
        block = picked // self.block
        first = np.flatnonzero(np.diff(block, prepend=-1))  # of each block, among the picked
        counts = np.diff(np.append(first, len(picked)))
        rows = tile_rows(1)
        size = tile_count(int(counts.max(initial=1)), rows) * rows
        place = np.repeat(np.arange(len(first)) * size - first, counts) + np.arange(len(picked))
        count = len(first) * size // rows

        def gather(values: np.ndarray, padding: float) -> np.ndarray:
            result = np.full((count, values.shape[1], rows), padding, values.dtype)
            tile, lane = np.divmod(picked, self.rows)
            to_tile, to_lane = np.divmod(place, rows)
            result[to_tile, :, to_lane] = values[tile, :, lane] if len(values) else 1.0
            return result

        return place, {
            "n": count * rows,
            "block": size,
            "y": gather(self.y, 1.0),
            "weight": gather(self.weight, 0.0),
            "offset": gather(self.offset, 0.0) if len(self.offset) else self.offset[:, :, :rows],
            "computing": self.computing,
        }


@dataclass(frozen=True)
class DenseSlice(Slice):
    """Rows in tiles (tiles, d, rows) of float64, float32, float16, int8 or uint8, padded with zeros."""

    tiles: np.ndarray

    KERNELS: ClassVar = {
        "sweep": dense.sweep,
        "pipelined_sweep": dense.pipelined_sweep,
        "second_order": dense.second_order,
        "linear_predictor": dense.linear_predictor,
        "column_moments": dense.column_moments,
        "row_norms": dense.row_norms,
        "gather": gather_tiles,
    }

    @property
    def d(self) -> int:
        """Number of columns."""
        return int(self.tiles.shape[1])

    @property
    def _x(self) -> tuple[np.ndarray, ...]:
        return (self.tiles,)

    def columns_only(self, picked: np.ndarray) -> DenseSlice:
        """See `Slice.columns_only`."""
        some = aligned((len(self.tiles), len(picked), self.rows), self.tiles.dtype)
        return replace(self, tiles=np.take(self.tiles, picked, axis=1, out=some, mode="clip"))

    def _sweep_for(self, predictors: int, gradient: bool) -> str:
        return "pipelined_sweep" if predictors == 1 and gradient else "sweep"

    def _right_rows(self, residuals: int) -> int:
        tile = self.d * self.rows * self.tiles.itemsize
        return max(min(TOGETHER_BYTES // max(tile, 1), TOGETHER), 1) * residuals

    @property
    def _squares_rows(self) -> int:
        # Products (d, d) pass through the cache once for all tiles that are together: more than these would.
        return TOGETHER * (self.d + 2)

    def _moments_scratch(self) -> tuple[np.ndarray, ...]:
        return aligned((1, self.rows), np.float64), aligned((2 * self.d + 1, LINE // 8), np.float64)

    def gather(self, picked: np.ndarray) -> DenseSlice:
        """See `Slice.gather`."""
        place, fields = self._gathered(picked)
        tiles = aligned((len(fields["y"]), self.d, fields["y"].shape[2]), self.tiles.dtype)
        gather_tiles(self.tiles, picked, place, tiles)
        return DenseSlice(**fields, tiles=tiles)


@dataclass(frozen=True)
class SparseSlice(Slice):
    """Sparse rows (CSR): values and columns (m,), starts (n + 1,) int64, in `columns_count` columns."""

    values: np.ndarray
    columns: np.ndarray
    starts: np.ndarray
    columns_count: int

    KERNELS: ClassVar = {
        "sweep": sparse.sparse_sweep,
        "second_order": sparse.sparse_second_order,
        "linear_predictor": sparse.sparse_linear_predictor,
        "column_moments": sparse.sparse_column_moments,
        "row_norms": sparse.sparse_row_norms,
    }

    @property
    def d(self) -> int:
        """Number of columns."""
        return self.columns_count

    @property
    def _x(self) -> tuple[np.ndarray, ...]:
        return self.values, self.columns, self.starts

    def _right_rows(self, residuals: int) -> int:
        return residuals

    @property
    def _squares_rows(self) -> int:
        return 2

    def _moments_scratch(self) -> tuple[np.ndarray, ...]:
        return aligned((1, self.rows), np.float64), aligned((1, LINE // 8), np.float64), np.empty((self.d, 2))

    def gather(self, picked: np.ndarray) -> SparseSlice:
        """See `Slice.gather`."""
        place, fields = self._gathered(picked)
        begin = self.starts[picked]
        length = np.zeros(fields["n"], np.int64)
        length[place] = self.starts[picked + 1] - begin
        starts = np.concatenate([[0], np.cumsum(length)])
        at = np.arange(starts[-1]) + np.repeat(begin - starts[place], length[place])
        return SparseSlice(
            **fields, values=self.values[at], columns=self.columns[at], starts=starts, columns_count=self.d
        )

    def columns_only(self, picked: np.ndarray) -> SparseSlice:
        """See `Slice.columns_only`."""
        if not picked.size:
            starts = np.zeros_like(self.starts)
            return replace(self, values=self.values[:0], columns=self.columns[:0], starts=starts, columns_count=0)
        place = np.full(self.d, -1, self.columns.dtype)
        place[picked] = np.arange(len(picked))
        columns = place[self.columns]
        kept = columns >= 0
        before = np.concatenate([[0], np.cumsum(kept)])
        return replace(
            self,
            values=self.values[kept],
            columns=columns[kept],
            starts=before[self.starts],
            columns_count=len(picked),
        )


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "mpigd")

"""Slices that are made of others: what these give, added up. Sums of blocks are exact, so that no bit changes by it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import mpigd_kernels as kernels
import numpy as np
from mpigd_kernels import exact


@dataclass(frozen=True)
class PartedSlice(kernels.Slice):
    """Rows whose X is in several slices, one after the other; y, weights and offsets are here."""

    KERNELS: ClassVar = {}

    @abstractmethod
    def _like(self) -> kernels.Slice:
        """A slice without rows, of the kind and types of the parts."""

    @abstractmethod
    def in_memory(self) -> Iterator[tuple[int, int, kernels.Slice]]:
        """The slices that this one is made of: first tile, the one after the last, the slice."""

    @property
    def _x(self) -> tuple[np.ndarray, ...]:
        return self._like()._x

    @property
    def d(self) -> int:
        """Number of columns."""
        return self._like().d

    def _right_rows(self, residuals: int) -> int:
        raise NotImplementedError("scratch belongs to the parts")

    @property
    def _squares_rows(self) -> int:
        raise NotImplementedError("scratch belongs to the parts")

    def _moments_scratch(self) -> tuple[np.ndarray, ...]:
        raise NotImplementedError("scratch belongs to the parts")

    def load(self, operation: str, *stages: kernels.Kernel, predictors: int = 1) -> None:
        """See `Slice.load`."""
        self._like().load(operation, *stages, predictors=predictors)

    def load_gradient(self, stage: kernels.Kernel, outputs: int) -> None:
        """See `Slice.load_gradient`."""
        self._like().load_gradient(stage, outputs)

    def load_gather(self) -> None:
        """See `Slice.load_gather`."""
        self._like().load_gather()

    def value(self, at: kernels.At) -> np.ndarray:
        """See `Slice.value`."""
        return self._merged(lambda own, a, b: own.value(at))

    def value_gradient(
        self, at: kernels.At, curvature: np.ndarray | None = None, shifts: np.ndarray | None = None
    ) -> np.ndarray:
        """See `Slice.value_gradient`."""

        def some(own: kernels.Slice, a: int, b: int) -> np.ndarray:
            return own.value_gradient(at, None if curvature is None else curvature[a:b], shifts)

        return self._merged(some)

    def hessian_product(
        self, at: kernels.At, direction: np.ndarray, intercept: np.ndarray, curvature: np.ndarray | None = None
    ) -> np.ndarray:
        """See `Slice.hessian_product`."""

        def some(own: kernels.Slice, a: int, b: int) -> np.ndarray:
            return own.hessian_product(at, direction, intercept, None if curvature is None else curvature[a:b])

        return self._merged(some)

    def second_order(self, at: kernels.At, shifts: np.ndarray | None = None) -> np.ndarray:
        """See `Slice.second_order`."""
        return self._merged(lambda own, a, b: own.second_order(at, shifts))

    def column_moments(self, shift: np.ndarray) -> np.ndarray:
        """See `Slice.column_moments`."""
        return self._merged(lambda own, a, b: own.column_moments(shift))

    def linear_predictor(self, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
        """See `Slice.linear_predictor`."""
        eta = [own.linear_predictor(coef, intercept) for _, _, own in self.in_memory()]
        return np.concatenate([np.zeros((0, coef.shape[1])), *eta])

    def row_norms(self, mean: np.ndarray, scale: np.ndarray) -> Iterator[np.ndarray]:
        """See `Slice.row_norms`."""
        for _, _, own in self.in_memory():
            yield from own.row_norms(mean, scale)

    def _blocks(self, a: int, b: int) -> np.ndarray | None:
        """Of the blocks that are picked those of tiles a … b - 1, from the first of these on."""
        if self.picked is None:
            return None
        per_block = self.block // self.rows
        first = a // per_block
        return self.picked[(self.picked >= first) & (self.picked < -(-b // per_block))] - first

    def _merged(self, each: Callable[[kernels.Slice, int, int], np.ndarray]) -> np.ndarray:
        total: np.ndarray | None = None
        for a, b, own in self.in_memory():
            found = each(own, a, b)
            if total is None:
                total = found
            else:
                exact.merge(found, total)
        return each(self._like(), 0, 0) if total is None else total


@dataclass(frozen=True)
class JoinedSlice(PartedSlice):
    """Several slices of whole blocks as one; only the last block of the last may not be full."""

    parts: tuple[kernels.Slice, ...]

    @property
    def streams(self) -> bool:  # type: ignore[override]
        """Whether one of the parts does."""
        return any(part.streams for part in self.parts)

    def _like(self) -> kernels.Slice:
        first = self.parts[0]
        own = {name: getattr(self, name)[:0] for name in ("y", "weight", "offset")}
        return replace(first._like() if isinstance(first, PartedSlice) else first, **own, computing=self.computing)

    def in_memory(self) -> Iterator[tuple[int, int, kernels.Slice]]:
        """See `PartedSlice.in_memory`."""
        for a, b, own in self._own():
            if isinstance(own, PartedSlice):
                yield from ((a + first, a + last, each) for first, last, each in own.in_memory())
            else:
                yield a, b, own

    def whole(self) -> list[kernels.Slice]:
        """The slices that were joined, with y, weights and offsets of this one."""
        return [own for _, _, own in self._own()]

    def _own(self) -> Iterator[tuple[int, int, kernels.Slice]]:
        """The parts, with y, weights and offsets of this one."""
        a = 0
        for part in self.parts:
            b = a + len(part.y)
            own = {name: getattr(self, name)[a:b] for name in ("y", "weight", "offset")}
            yield a, b, replace(part, **own, computing=self.computing, picked=self._blocks(a, b))
            a = b

    def gather(self, picked: np.ndarray) -> kernels.Slice:
        """See `Slice.gather`."""
        gathered: list[kernels.Slice] = []
        for a, b, own in self._own():
            first = a * self.rows
            some = picked[(picked >= first) & (picked < b * self.rows)] - first
            if len(some) or not gathered:
                gathered.append(own.gather(some))
        return join(gathered)

    def columns_only(self, picked: np.ndarray) -> kernels.Slice:
        """See `Slice.columns_only`."""
        return replace(self, parts=tuple(own.columns_only(picked) for _, _, own in self._own()))


def slices_of(rows: kernels.Slice) -> list[kernels.Slice]:
    """The slices that were joined, or the one that was not."""
    return rows.whole() if isinstance(rows, JoinedSlice) else [rows]


def join(parts: Sequence[kernels.Slice]) -> kernels.Slice:
    """Slices as one; y, weights and offsets are copied, X is not."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    together = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ("y", "weight", "offset")}
    n = sum(part.n for part in parts)
    return JoinedSlice(n=n, block=first.block, computing=first.computing, **together, parts=tuple(parts))

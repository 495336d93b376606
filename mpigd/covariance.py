"""Covariance matrices of estimated coefficients, from what the loss says of y or from the rows alone.

With psi_i and c_i the first and second derivative of the loss of row i in its predictor, and z_i its columns and 1:

    information  A = sum_i w_i E(c_i) z_i z_i'        (E : over y, as the loss says that it is distributed)
    Hessian      H = sum_i w_i c_i z_i z_i'
    meat         B = sum_i w_i psi_i² z_i z_i'        (w_i² where weights are inverse variances)

    model        phi A^-1            phi : the dispersion  (P. McCullagh, J. Nelder, "Generalized linear models", 1989,
                                     section 2.5)
    HC0          H^-1 B H^-1         (P. Huber, Proc. 5th Berkeley Symp., 1967; H. White, Econometrica 48, 1980, eq. 6)
    HC1          n / (n - p) of it   (J. MacKinnon, H. White, J. Econometrics 29, 1985, eq. 10)

Each of the three matrices is X'diag(f)X for other factors f of rows, which is the Hessian of a squared loss with
weights f. Softmax has one such matrix for every pair of its classes. Bits are a function of data and coefficients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement

import mpigd_kernels as kernels
import numpy as np
from mpigd_kernels.factor import Factor

from mpigd.comm import Comm
from mpigd.dataset import Dataset
from mpigd.objective import Objective
from mpigd.penalties import penalty
from mpigd.scaling import Scaling
from mpigd.sums import sums

ROUNDING = 32.0  # times the unit, of a sum of squares


@dataclass(frozen=True)
class Rows:
    """The rows of this rank, as matrices of coefficients are made of them.

    scaling : of columns; without an intercept means are zero, since nothing would make up for them.
    """

    comm: Comm
    data: Dataset
    scaling: Scaling
    intercept: bool

    @property
    def p(self) -> int:
        """Coefficients of an output, the intercept included."""
        return len(self.scaling.mean) + self.intercept

    def gram(self, factors: np.ndarray) -> np.ndarray:
        """The sum of w_i f_i z_i z_i', (p, p), z_i being scaled; factors (rows,) of either sign. A collective."""
        total = np.zeros((self.p, self.p))
        for sign in (1.0, -1.0):
            part = np.maximum(sign * factors, 0.0)
            if self.comm.max(np.array([part.max(initial=0.0)]))[0] > 0.0:
                total += sign * self._gram(part)
        return total

    def _gram(self, factors: np.ndarray) -> np.ndarray:
        """The same for factors that are not negative: the Hessian of the squared loss, whatever y is."""
        rows = self.data.weighted(factors)
        bare = replace(rows.slice, y=np.zeros_like(rows.slice.y[:, :1]), offset=rows.slice.offset[:0])
        none = penalty(0.0, 0.0, self.scaling.scale, 1, self.intercept)
        squares = Objective(
            self.comm,
            replace(rows, slice=bare, classes=np.zeros(0)),
            kernels.LOSSES["squared"],
            self.scaling,
            none,
            self.intercept,
        )
        mean = squares.second_order(np.zeros(squares.shape))[2]
        return mean * float(sums(self.comm, rows.header.block, rows.weight[:, None])[0])

    def matrix(self, outputs: int, of_pair: Callable[[int, int], np.ndarray]) -> np.ndarray:
        """A symmetric matrix (outputs p, outputs p) of blocks `gram(of_pair(k, l))`. A collective."""
        result, p = np.empty((outputs * self.p, outputs * self.p)), self.p
        for k, m in combinations_with_replacement(range(outputs), 2):
            block = self.gram(of_pair(k, m))
            result[k * p : (k + 1) * p, m * p : (m + 1) * p] = block
            result[m * p : (m + 1) * p, k * p : (k + 1) * p] = block  # itself symmetric
        return result

    def dependent(self, matrix: np.ndarray, found: Factor) -> list[int]:
        """Which of the p coefficients a matrix (K p, K p) and its factor can't tell from those before them.

        Means are taken out of sums of products of stored columns, whose rounding is all that is left of some columns.
        """
        lost = found.dropped > 0
        if self.intercept:
            size = np.append(self.scaling.magnitude / self.scaling.scale, 0.0) ** 2
            rounding = ROUNDING * np.finfo(np.float64).eps * np.outer(np.diagonal(matrix)[self.p - 1 :: self.p], size)
            lost |= np.diagonal(found.u) ** 2 <= rounding.reshape(-1)
        return sorted(set((np.flatnonzero(lost) % self.p).tolist()))

    def to_columns(self, covariance: np.ndarray) -> np.ndarray:
        """The covariance of coefficients of the stored columns, from that of scaled ones: J C J', both (K p, K p).

        J is the map of `Scaling.to_columns`, output by output.
        """

        def mapped(half: np.ndarray) -> np.ndarray:
            parts = []
            for own in np.split(half, len(half) // self.p):
                coef, intercept = self.scaling.to_columns(own, self.intercept)
                parts.append(np.vstack([coef, intercept]) if self.intercept else coef)
            return np.vstack(parts)

        return mapped(mapped(covariance).T)


def inverse(found: Factor) -> np.ndarray:
    """Of the matrix that was factorised."""
    return found.solve(np.eye(len(found.dropped)))


def sandwich(bread: Factor, meat: np.ndarray) -> np.ndarray:
    """H^-1 B H^-1."""
    return bread.solve(bread.solve(meat).T)

"""Loss functions of one row, as scalar functions of the linear predictor.

Conventions
-----------
- A scalar loss is one function `(eta, y) -> (value, first, second)`: the loss and its derivatives in eta.
  They are computed together because they share their exponential; the compiler drops what a caller
  does not use. Softmax couples the K predictors of a row and so works on a tile.
- Classes are numbered 0 … K-1 before they reach a kernel.
- Every formula is finite for every finite eta.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from mpigd_kernels.elementary import exp, log1p_unit
from mpigd_kernels.native import inline

SQUARED, LOGISTIC, SOFTMAX = range(3)


@inline
def squared(eta, y):
    """Half squared error: (eta - y)^2 / 2."""
    residual = eta - y
    return 0.5 * residual * residual, residual, 1.0


@inline
def logistic(eta, y):
    """Negative log-likelihood of y in {0, 1} under P(y = 1) = 1 / (1 + exp(-eta)).

    Naive form: log(1 + exp(-z)) with the margin z = (2y - 1) eta, which overflows for z << 0. Safe form:
    log1p(exp(-|z|)) - min(z, 0), whose exponential never exceeds one. The derivative -(2y - 1) sigmoid(-z)
    keeps its relative accuracy where sigmoid(eta) - y would cancel
    (M. Maechler, "Accurately computing log(1 - exp(-|a|))", 2012, section 3).
    """
    sign = 2.0 * y - 1.0
    margin = sign * eta
    e = exp(-abs(margin))
    sigmoid = (e if margin >= 0.0 else 1.0) / (1.0 + e)
    return log1p_unit(e) - min(margin, 0.0), -sign * sigmoid, e / ((1.0 + e) * (1.0 + e))


@inline
def softmax(eta, y, value):
    """Multinomial negative log-likelihood of one tile: log(sum_k exp(eta_k)) - eta_y.

    eta : (K, rows) linear predictors; overwritten by the derivative softmax(eta)_k - [k = y].
    y : (rows,) class numbers as floats.  value : (rows,) receives the loss.

    The largest predictor is subtracted first, so no exponential exceeds one (P. Blanchard, D. Higham,
    N. Higham, "Accurately computing the log-sum-exp and softmax functions", IMA J. Numer. Anal. 41,
    2021, algorithm 3.2).
    """
    outputs, rows = eta.shape
    for i in range(rows):
        top = eta[0, i]
        for k in range(1, outputs):
            top = max(top, eta[k, i])
        value[i] = top
    for k in range(outputs):
        for i in range(rows):
            eta[k, i] -= value[i]
    for i in range(rows):
        value[i] = -eta[np.int64(y[i]), i]
    # Loops over rows inside: they are what vectorises. The sum over k has a fixed order either way.
    for k in range(outputs):
        for i in range(rows):
            eta[k, i] = exp(eta[k, i])
    for i in range(rows):
        total = 0.0
        for k in range(outputs):
            total += eta[k, i]
        value[i] += np.log(total)
        for k in range(outputs):
            eta[k, i] /= total
        eta[np.int64(y[i]), i] -= 1.0


@dataclass(frozen=True)
class Loss:
    """What the rest of mpigd needs to know of a loss.

    name, code : as the user and the kernels call it.
    target : "real" (any number), "binary" (two classes) or "classes" (two or more).
    link : name of the link function between the mean of y and eta.
    curvature : upper bound of the second derivative in eta; for several outputs, of the largest
        eigenvalue of the K x K Hessian of one row.
    """

    name: str
    code: int
    target: Literal["real", "binary", "classes"]
    link: Literal["identity", "logit", "multinomial logit"]
    curvature: float

    def mean(self, eta: np.ndarray) -> np.ndarray:
        """The mean of y (probabilities for classes), same shape as eta: (n, K) float64."""
        if self.link == "identity":
            return eta
        if self.link == "logit":
            e = np.exp(-np.abs(eta))
            return np.asarray(np.where(eta >= 0.0, 1.0, e) / (1.0 + e))
        e = np.exp(eta - eta.max(axis=1, keepdims=True))
        return np.asarray(e / e.sum(axis=1, keepdims=True))


LOSSES = {
    loss.name: loss
    for loss in (
        Loss("squared", SQUARED, "real", "identity", curvature=1.0),
        Loss("logistic", LOGISTIC, "binary", "logit", curvature=0.25),
        # D. Boehning, "Multinomial logistic regression algorithm", Ann. Inst. Stat. Math. 44, 1992,
        # p. 199: the Hessian of a row is at most (I - 11'/K) / 2, whose largest eigenvalue is 1/2.
        Loss("softmax", SOFTMAX, "classes", "multinomial logit", curvature=0.5),
    )
}

"""Loss functions: what a row costs, as a function of its linear predictor.

Conventions
-----------
- A loss of one predictor is one function `(eta, y, parameter, smoothing) -> (value, first, second)`: the loss and
  its derivatives in eta. They are computed together because they share their exponential; the compiler drops what
  a caller does not use. Softmax couples the K predictors of a row and so works on a whole tile.
- Every formula is finite for every finite eta. exp is clamped (see `elementary`): that of a predictor above
  690 is as if it were 690.
- Classes are numbered 0 … K - 1 before they reach a kernel; with two, s = 2y - 1 is -1 or 1 and z = s eta is
  the margin.
- Constant terms in y alone are left out, as in scikit-learn's losses.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from mpigd_kernels.elementary import LARGEST_EXPONENT, exp, log1p_unit
from mpigd_kernels.native import inline

Target = Literal["real", "nonnegative", "positive", "binary", "classes"]
Link = Literal["identity", "log", "logit", "sign", "multinomial logit"]


def squared(eta, y, parameter, smoothing):
    """Half squared error: (eta - y)^2 / 2."""
    residual = eta - y
    return 0.5 * residual * residual, residual, 1.0


def huber(eta, y, parameter, smoothing):
    """Quadratic within delta (the parameter) of y, linear beyond (P. Huber, Ann. Math. Stat. 35, 1964, p. 74)."""
    residual = eta - y
    size = abs(residual)
    inside = size <= parameter
    value = 0.5 * residual * residual if inside else parameter * (size - 0.5 * parameter)
    return value, min(max(residual, -parameter), parameter), 1.0 if inside else 0.0


def quantile(eta, y, parameter, smoothing):
    """Pinball loss of the quantile tau (the parameter), convolved with a uniform kernel of half-width h (smoothing).

    max(tau u, (tau - 1) u) with u = y - eta for |u| > h; u^2 / (4 h) + (tau - 1/2) u + h / 4 within
    (X. He et al., "Smoothed quantile regression with large-scale inference", J. Econom. 232, 2023, section 2.2).
    """
    u = y - eta
    inside = abs(u) <= smoothing
    tail = 0.5 if u > 0.0 else -0.5
    kink = u * u / (4.0 * smoothing) + 0.25 * smoothing if inside else tail * u
    slope = u / (2.0 * smoothing) if inside else tail
    lean = parameter - 0.5
    return kink + lean * u, -(slope + lean), 0.5 / smoothing if inside else 0.0


def epsilon_insensitive(eta, y, parameter, smoothing):
    """max(0, |eta - y| - epsilon), epsilon the parameter, its kink rounded by a parabola of width h (smoothing).

    V. Vapnik, "The nature of statistical learning theory", 1995, section 6.1; the rounding is a Huber function
    of the excess.
    """
    residual = eta - y
    excess = max(abs(residual) - parameter, 0.0)
    inside = excess < smoothing
    value = 0.5 * excess * excess / smoothing if inside else excess - 0.5 * smoothing
    slope = min(excess / smoothing, 1.0)
    return value, slope if residual > 0.0 else -slope, 1.0 / smoothing if inside and excess > 0.0 else 0.0


def logistic(eta, y, parameter, smoothing):
    """Negative log-likelihood of y in {0, 1} under P(y = 1) = 1 / (1 + exp(-eta)).

    Naive form: log(1 + exp(-z)), which overflows for z << 0. Safe form: log1p(exp(-|z|)) - min(z, 0), whose
    exponential never exceeds one. The derivative -s sigmoid(-z) keeps its relative accuracy where
    sigmoid(eta) - y would cancel (M. Maechler, "Accurately computing log(1 - exp(-|a|))", 2012, section 3).
    """
    sign = 2.0 * y - 1.0
    margin = sign * eta
    e = exp(-abs(margin))
    sigmoid = (e if margin >= 0.0 else 1.0) / (1.0 + e)
    return log1p_unit(e) - min(margin, 0.0), -sign * sigmoid, e / ((1.0 + e) * (1.0 + e))


def squared_hinge(eta, y, parameter, smoothing):
    """Half squared hinge of a support vector machine: max(0, 1 - z)^2 / 2."""
    sign = 2.0 * y - 1.0
    short = max(1.0 - sign * eta, 0.0)
    return 0.5 * short * short, -sign * short, 1.0 if short > 0.0 else 0.0


def modified_huber(eta, y, parameter, smoothing):
    """Smoothed hinge: max(0, 1 - z)^2 for z >= -1, -4 z beyond (T. Zhang, ICML 2004, table 1)."""
    sign = 2.0 * y - 1.0
    margin = sign * eta
    short = max(1.0 - margin, 0.0)
    far = margin < -1.0
    value = -4.0 * margin if far else short * short
    return value, -sign * (4.0 if far else 2.0 * short), 2.0 if short > 0.0 and not far else 0.0


def focal(eta, y, parameter, smoothing):
    """-(1 - p)^gamma log p with p = sigmoid(z), gamma the parameter (T. Lin et al., ICCV 2017, eq. 4).

    With q = 1 - p and L = log p the derivative in z is q^gamma (gamma p L - q) and the second
    q^gamma (gamma p L (q - gamma p) + (2 gamma + 1) p q). Not convex for gamma > 0.
    """
    sign = 2.0 * y - 1.0
    margin = sign * eta
    e = exp(-abs(margin))
    tail = log1p_unit(e)
    log_p = min(margin, 0.0) - tail
    log_q = min(-margin, 0.0) - tail
    p = (1.0 if margin >= 0.0 else e) / (1.0 + e)
    q = (e if margin >= 0.0 else 1.0) / (1.0 + e)
    weight = exp(parameter * log_q)
    first = weight * (parameter * p * log_p - q)
    second = weight * (parameter * p * log_p * (q - parameter * p) + (2.0 * parameter + 1.0) * p * q)
    return -weight * log_p, sign * first, second


def poisson(eta, y, parameter, smoothing):
    """Half deviance of counts with log link: exp(eta) - y eta."""
    mean = exp(eta)
    return mean - y * eta, mean - y, mean


def gamma(eta, y, parameter, smoothing):
    """Half deviance of positive y with log link: eta + y exp(-eta)."""
    ratio = y * exp(-eta)
    return eta + ratio, 1.0 - ratio, ratio


def tweedie(eta, y, parameter, smoothing):
    """Half deviance of variance power p (the parameter, 1 < p < 2) with log link.

    exp((2 - p) eta) / (2 - p) - y exp((1 - p) eta) / (1 - p) (B. Jorgensen, J. R. Stat. Soc. B 49, 1987).
    """
    a, b = 2.0 - parameter, 1.0 - parameter
    spread, ratio = exp(a * eta), y * exp(b * eta)
    return spread / a - ratio / b, spread - ratio, a * spread - b * ratio


def negative_binomial(eta, y, parameter, smoothing):
    """Negative log-likelihood of counts with mean exp(eta) and variance mean + alpha mean^2, alpha the parameter.

    (y + 1 / alpha) log(1 + alpha exp(eta)) - y eta (A. Cameron, P. Trivedi, "Regression analysis of count data",
    2013, eq. 3.30), the logarithm computed as in `logistic`.
    """
    shifted = eta + np.log(parameter)
    e = exp(-abs(shifted))
    soft = log1p_unit(e) + max(shifted, 0.0)
    share = (1.0 if shifted >= 0.0 else e) / (1.0 + e)  # alpha mean / (1 + alpha mean)
    total = y + 1.0 / parameter
    return total * soft - y * eta, total * share - y, total * share * (1.0 - share)


@inline
def softmax(eta, labels, value):
    """Multinomial negative log-likelihood of one tile: log(sum_k exp(eta_k)) - eta_y.

    eta : (K, rows) linear predictors; overwritten by the derivative softmax(eta)_k - [k = y].
    labels : (rows,) class numbers as floats.  value : (rows,) receives the loss.

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
        value[i] = -eta[np.int64(labels[i]), i]
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
        eta[np.int64(labels[i]), i] -= 1.0


def softmax_tile(eta, labels, value, residual, parameter, smoothing):
    """Apply `softmax`, its derivative into residual (K, rows)."""
    for k in range(eta.shape[0]):
        for i in range(eta.shape[1]):
            residual[k, i] = eta[k, i]
    softmax(residual, labels, value)


def over_tile(row: Callable[..., Any]) -> Callable[..., None]:
    """The function of a tile that applies a loss of one predictor to each of its rows."""

    def tile(eta, labels, value, residual, parameter, smoothing):
        for i in range(value.shape[0]):
            v, first, _ = row(eta[0, i], labels[i], parameter, smoothing)
            value[i] = v
            residual[0, i] = first

    return tile


def of_three(
    value: Callable[[Any, Any], Any], first: Callable[[Any, Any], Any], second: Callable[[Any, Any], Any]
) -> Callable[..., Any]:
    """A row's loss from three plain functions of (eta, y), for a loss of a user's own."""

    def row(eta, y, parameter, smoothing):
        return value(eta, y), first(eta, y), second(eta, y)

    return row


@dataclass(frozen=True)
class Parameter:
    """The parameter of a loss: its name, default, and the open interval it must lie in."""

    name: str
    default: float
    low: float = 0.0
    high: float = math.inf


@dataclass(frozen=True)
class Loss:
    """What the rest of mpigd needs to know of a loss.

    row : the loss of one predictor, see the module's docstring; None for softmax.
    target : what y may be: any number, numbers >= 0, numbers > 0, two classes, two or more classes.
    link : between the mean of y and eta; "sign" for a loss whose predictor gives a class but no probability.
    curvature : upper bound of the second derivative in eta as a function of (parameter, smoothing), of the largest
        eigenvalue of the K x K Hessian of one row for softmax; None where there is no bound.

    A loss of your own is another such record. Its functions are compiled once a job, not kept in the cache:

    >>> cosh = Loss("log-cosh", of_three(lambda e, y: np.log(np.cosh(e - y)), lambda e, y: np.tanh(e - y),
    ...             lambda e, y: 1.0 / np.cosh(e - y) ** 2), "real", "identity", lambda parameter, smoothing: 1.0)
    >>> round(cosh.row(1.0, 0.0, 0.0, 0.0)[1], 4)
    0.7616
    """

    name: str
    row: Callable[..., Any] | None
    target: Target
    link: Link
    curvature: Callable[[float, float], float] | None
    parameter: Parameter | None = None
    smoothed: bool = False
    tile: Callable[..., None] = field(init=False, repr=False)  # what kernels are compiled with

    def __post_init__(self) -> None:
        object.__setattr__(self, "tile", softmax_tile if self.row is None else over_tile(self.row))

    def __reduce__(self) -> tuple[Any, ...]:
        # Functions made by `over_tile` can't be pickled; ranks find the loss by its name.
        return find, (self.name,)

    def mean(self, eta: np.ndarray) -> np.ndarray:
        """The mean of y (probabilities for classes), same shape as eta: (n, K) float64."""
        if self.link == "identity":
            return eta
        if self.link == "sign":
            return np.asarray(eta > 0.0, np.float64)
        if self.link == "log":
            return np.asarray(np.exp(np.minimum(eta, LARGEST_EXPONENT)))
        if self.link == "logit":
            e = np.exp(-np.abs(eta))
            return np.asarray(np.where(eta >= 0.0, 1.0, e) / (1.0 + e))
        e = np.exp(eta - eta.max(axis=1, keepdims=True))
        return np.asarray(e / e.sum(axis=1, keepdims=True))


def _focal_curvature(parameter: float, smoothing: float) -> float:
    """Largest second derivative of the focal loss, on a grid over all margins where it is not negligible."""
    margins = np.linspace(-40.0, 40.0, 8001)
    return float(1.001 * max(focal(z, 1.0, parameter, smoothing)[2] for z in margins))


LOSSES = {
    loss.name: loss
    for loss in (
        Loss("squared", squared, "real", "identity", lambda p, h: 1.0),
        Loss("huber", huber, "real", "identity", lambda p, h: 1.0, Parameter("delta", 1.345)),
        Loss(
            "quantile",
            quantile,
            "real",
            "identity",
            lambda p, h: 0.5 / h,
            Parameter("tau", 0.5, high=1.0),
            smoothed=True,
        ),
        Loss(
            "epsilon-insensitive",
            epsilon_insensitive,
            "real",
            "identity",
            lambda p, h: 1.0 / h,
            Parameter("epsilon", 0.1),
            smoothed=True,
        ),
        Loss("logistic", logistic, "binary", "logit", lambda p, h: 0.25),
        Loss("squared-hinge", squared_hinge, "binary", "sign", lambda p, h: 1.0),
        Loss("modified-huber", modified_huber, "binary", "sign", lambda p, h: 2.0),
        Loss("focal", focal, "binary", "logit", _focal_curvature, Parameter("gamma", 2.0)),
        Loss("poisson", poisson, "nonnegative", "log", None),
        Loss("gamma", gamma, "positive", "log", None),
        Loss("tweedie", tweedie, "nonnegative", "log", None, Parameter("power", 1.5, low=1.0, high=2.0)),
        Loss("negative-binomial", negative_binomial, "nonnegative", "log", None, Parameter("alpha", 1.0)),
        # D. Boehning, "Multinomial logistic regression algorithm", Ann. Inst. Stat. Math. 44, 1992,
        # p. 199: the Hessian of a row is at most (I - 11'/K) / 2, whose largest eigenvalue is 1/2.
        Loss("softmax", None, "classes", "multinomial logit", lambda p, h: 0.5),
    )
}


def find(name: str) -> Loss:
    """The loss of that name; KeyError if there is none."""
    return LOSSES[name]

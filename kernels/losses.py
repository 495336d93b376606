"""Loss functions: what a row costs, as a function of its linear predictor.

Conventions
-----------
- A loss of one predictor is one function `(eta, y, parameter, smoothing) -> (value, first, second)`: the loss and
  its derivatives in eta. They are computed together because they share their exponential; the compiler drops what
  a caller does not use. Softmax couples the K predictors of a row and so works on a whole tile.
- The functions compute in the type of their arguments, double or float: where it is float, constants are
  rounded to it as a kernel is compiled.
- Every formula is finite for every finite eta. exp is clamped (see `elementary`): that of a predictor above
  690 (80 in float) is as if it were 690.
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
from mpigd_kernels.elementary import LARGEST_EXPONENT, erfcx, exp, log, log1p, log1p_and_share
from mpigd_kernels.native import Kernel, RowsOfTile, Scratch2, stage

Target = Literal["real", "nonnegative", "positive", "binary", "classes"]
Link = Literal["identity", "log", "logit", "probit", "complementary log-log", "sign", "multinomial logit"]


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
    tail, share = log1p_and_share(e)
    sigmoid = e * share if margin >= 0.0 else share  # of -z
    return tail - min(margin, 0.0), -sign * sigmoid, e * share * share


def probit(eta, y, parameter, smoothing):
    """-log Phi(z), Phi the normal distribution function: P(y = 1) = Phi(eta) (C. Bliss, Science 79, 1934).

    In the left tail Phi(z) = exp(-z^2 / 2) erfcx(-z / sqrt(2)) / 2, whose logarithm needs no small number. With the
    inverse Mills ratio r = phi(z) / Phi(z) the derivatives in z are -r and r (z + r), the latter by its asymptotic
    series 1 - 1/z^2 + 6/z^4 where z + r would cancel.
    """
    sign = 2.0 * y - 1.0
    z = sign * eta
    size = abs(z)
    scaled = erfcx(size * 0.7071067811865476)
    density = exp(-0.5 * size * size)
    tail = 0.5 * density * scaled  # Phi(-|z|)
    near = z >= 0.0
    value = -log1p(-tail) if near else 0.5 * size * size - log(0.5 * scaled)
    ratio = 0.3989422804014327 * density / (1.0 - tail) if near else 0.7978845608028654 / scaled
    inverse = 1.0 / max(size, 200.0)
    square = inverse * inverse
    far = z < -200.0
    second = 1.0 - square * (1.0 - 6.0 * square) if far else ratio * (z + ratio)
    return value, -sign * ratio, min(max(second, 0.0), 1.0)


def complementary_log_log(eta, y, parameter, smoothing):
    """Negative log-likelihood of y in {0, 1} under P(y = 1) = 1 - exp(-mu), mu = exp(eta).

    P. McCullagh, J. Nelder, "Generalized linear models", 1989, section 4.3.1. For y = 0 it is mu. For y = 1 the
    derivatives are -q and q (mu + q - 1) with q = mu / (exp(mu) - 1) = 1 - mu / 2 + sum of B_2k mu^2k / (2k)!, which
    is used below mu = 0.7, where the closed forms cancel.
    """
    mu = exp(eta)
    small = mu < 0.7
    m = min(mu, 0.7)
    m2 = m * m
    series = m2 * (1.0 / 74724249600.0 - m2 * (3617.0 / 10670622842880000.0))
    series = m2 * (-691.0 / 1307674368000.0 + series)
    series = m2 * (-1.0 / 1209600.0 + m2 * (1.0 / 47900160.0 + series))
    series = m2 * (1.0 / 12.0 + m2 * (-1.0 / 720.0 + m2 * (1.0 / 30240.0 + series)))
    few = 1.0 - 0.5 * m + series
    m = min(max(mu, 0.7), LARGEST_EXPONENT)
    decay = exp(-m)
    many = m * decay / (1.0 - decay)
    q = few if small else many
    excess = 0.5 * mu + series if small else m + many - 1.0
    value = mu + log(few) - eta if small else -log1p(-decay)
    one = y > 0.5
    return value if one else mu, -q if one else mu, q * excess if one else mu


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
    tail, share = log1p_and_share(e)
    log_p = min(margin, 0.0) - tail
    log_q = min(-margin, 0.0) - tail
    p = share if margin >= 0.0 else e * share
    q = e * share if margin >= 0.0 else share
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
    shifted = eta + log(parameter)
    e = exp(-abs(shifted))
    tail, less = log1p_and_share(e)
    soft = tail + max(shifted, 0.0)
    share = less if shifted >= 0.0 else e * less  # alpha mean / (1 + alpha mean)
    total = y + 1.0 / parameter
    return total * soft - y * eta, total * share - y, total * share * (1.0 - share)


@stage
def softmax(
    eta: Scratch2,
    y: RowsOfTile,
    kept: Scratch2,
    value: Scratch2,
    residual: Scratch2,
    parameter: float,
    smoothing: float,
) -> None:
    """Multinomial negative log-likelihood of one tile, log(sum_k exp(eta_k)) - eta_y; arguments as in `over_tile`.

    residual becomes p_k - [k = y], kept the probabilities p_k, and value[0] the loss.

    The largest predictor is subtracted first, so no exponential exceeds one (P. Blanchard, D. Higham,
    N. Higham, "Accurately computing the log-sum-exp and softmax functions", IMA J. Numer. Anal. 41,
    2021, algorithm 3.2). Loops run over rows inside, which is what vectorises.
    """
    outputs, rows = eta.shape
    top, total, labels = value[0], value[1], y[0]
    value[:] = 0.0
    for i in range(rows):
        top[i] = eta[0, i]
    for k in range(1, outputs):
        for i in range(rows):
            top[i] = max(top[i], eta[k, i])
    for k in range(outputs):
        for i in range(rows):
            e = exp(eta[k, i] - top[i])
            residual[k, i] = e
            total[i] += e
    for i in range(rows):
        top[i] += log(total[i]) - eta[np.int64(labels[i]), i]
        total[i] = 1.0 / total[i]
    for k in range(outputs):
        for i in range(rows):
            residual[k, i] *= total[i]
    for k in range(kept.shape[0]):
        for i in range(rows):
            kept[k, i] = residual[k, i]
    for i in range(rows):
        residual[np.int64(labels[i]), i] -= 1.0
        total[i] = 0.0


def softmax_curve(kept, direction, value, residual):
    """The Hessian of each row times a direction: w p_k (v_k - sum_j p_j v_j), kept being w p with sum_k p_k = 1."""
    outputs, rows = direction.shape
    mean = value[0]
    for i in range(rows):
        weight, product = kept[0, i], kept[0, i] * direction[0, i]
        for k in range(1, outputs):
            weight += kept[k, i]
            product += kept[k, i] * direction[k, i]
        mean[i] = product / weight if weight != 0.0 else 0.0
    for k in range(outputs):
        for i in range(rows):
            residual[k, i] = kept[k, i] * (direction[k, i] - mean[i])


def curve(kept, direction, value, residual):
    """The second derivatives of each row times a direction, predictor by predictor."""
    for k in range(direction.shape[0]):
        for i in range(direction.shape[1]):
            residual[k, i] = kept[k, i] * direction[k, i]


def over_tile(row: Callable[..., Any]) -> Kernel:
    """The function of a tile that applies a loss of one predictor to each of its rows.

    eta : (K, rows) linear predictors.  y : (K, rows), or (1, rows) where all predictors share it.
    value, residual : (K, rows), receive the loss and its first derivative.
    kept : (K, rows) receives the second derivative, or (0, rows) where it is not wanted.
    """

    @stage
    def tile(
        eta: Scratch2,
        y: RowsOfTile,
        kept: Scratch2,
        value: Scratch2,
        residual: Scratch2,
        parameter: float,
        smoothing: float,
    ) -> None:
        for k in range(eta.shape[0]):
            target = y[min(k, y.shape[0] - 1)]
            p, s = eta.dtype.type(parameter), eta.dtype.type(smoothing)
            if kept.shape[0]:
                for i in range(eta.shape[1]):
                    v, first, second = row(eta[k, i], eta.dtype.type(target[i]), p, s)
                    value[k, i] = v
                    residual[k, i] = first
                    kept[k, i] = second
            else:
                for i in range(eta.shape[1]):
                    v, first, _ = row(eta[k, i], eta.dtype.type(target[i]), p, s)
                    value[k, i] = v
                    residual[k, i] = first

    return tile


def of_curvature(curve: Callable[..., None]) -> Kernel:
    """The function of a tile for a Hessian-vector product with the curvature that a gradient has kept.

    eta : (K, rows), X times the direction.  residual : receives the row's Hessian times it.  value : overwritten.
    """

    @stage
    def product(
        eta: Scratch2,
        y: RowsOfTile,
        kept: Scratch2,
        value: Scratch2,
        residual: Scratch2,
        parameter: float,
        smoothing: float,
    ) -> None:
        curve(kept, eta, value, residual)

    return product


def of_curvature_anew(tile: Kernel, curve: Callable[..., None]) -> Kernel:
    """The same with the curvature computed anew: eta (2 K, rows) is X times the coefficients, then the direction."""
    first_tile = tile.function

    @stage
    def product(
        eta: Scratch2,
        y: RowsOfTile,
        kept: Scratch2,
        value: Scratch2,
        residual: Scratch2,
        parameter: float,
        smoothing: float,
    ) -> None:
        outputs = residual.shape[0]
        first_tile(eta[:outputs], y, kept, value, residual, parameter, smoothing)
        curve(kept, eta[outputs:], value, residual)

    return product


def of_three(
    value: Callable[[Any, Any], Any], first: Callable[[Any, Any], Any], second: Callable[[Any, Any], Any]
) -> Callable[..., Any]:
    """A row's loss from three functions of (eta, y), plain or compiled by Numba, for a loss of a user's own."""
    value, first, second = (getattr(function, "py_func", function) for function in (value, first, second))

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
    # The stages of kernels: see `over_tile`, `of_curvature`, `of_curvature_anew`.
    tile: Kernel = field(init=False, repr=False)
    product: Kernel = field(init=False, repr=False)
    product_anew: Kernel = field(init=False, repr=False)

    def __post_init__(self) -> None:
        tile, curved = (softmax, softmax_curve) if self.row is None else (over_tile(self.row), curve)
        object.__setattr__(self, "tile", tile)
        object.__setattr__(self, "product", of_curvature(curved))
        object.__setattr__(self, "product_anew", of_curvature_anew(tile, curved))

    @property
    def coupled(self) -> bool:
        """Whether the K predictors of a row share one loss."""
        return self.row is None

    def __reduce__(self) -> tuple[Any, ...]:
        # Functions made by `over_tile` can't be pickled; ranks find the loss by its name.
        return find, (self.name,)


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
        # phi(z) / Phi(z) has slope -1 at most (M. Sampford, Ann. Math. Stat. 24, 1953, p. 130).
        Loss("probit", probit, "binary", "probit", lambda p, h: 1.0),
        Loss("cloglog", complementary_log_log, "binary", "complementary log-log", None),
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

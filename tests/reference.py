"""Losses written a second time, in their naive form with scipy, to compare with."""

from __future__ import annotations

from collections.abc import Callable

import mpigd_kernels as kernels
import numpy as np
from scipy import special, stats

SMOOTHING = 0.3
EXAMPLES_OF_Y = {"real": [-1.5, 0.0, 2.0], "nonnegative": [0.0, 1.0, 7.0], "positive": [0.1, 1.0, 7.0]}


def parameters(loss: kernels.Loss) -> tuple[float, float]:
    """The default parameter of a loss and a smoothing."""
    return (loss.parameter.default if loss.parameter else 0.0), SMOOTHING


def margin(e, y):
    return (2 * y - 1) * e


def smoothed_pinball(e, y, tau, h):
    """The mean of the pinball loss at y - e + v, v uniform on [-h, h], by its antiderivative."""

    def antiderivative(u):
        return tau * np.maximum(u, 0) ** 2 / 2 + (tau - 1) * np.minimum(u, 0) * np.abs(u) / -2

    return (antiderivative(y - e + h) - antiderivative(y - e - h)) / (2 * h)


def negative_binomial(e, y, alpha, h):
    mean = np.exp(e)
    constant = special.gammaln(y + 1 / alpha) - special.gammaln(1 / alpha) - special.gammaln(y + 1)
    return constant + y * np.log(alpha) - stats.nbinom.logpmf(y, 1 / alpha, 1 / (1 + alpha * mean))


# Value of a row as a function of (eta, y, parameter, smoothing), on arrays.
VALUE: dict[str, Callable] = {
    "squared": lambda e, y, p, h: (e - y) ** 2 / 2,
    "huber": lambda e, y, p, h: special.huber(p, e - y),
    "quantile": smoothed_pinball,
    "epsilon-insensitive": lambda e, y, p, h: special.huber(h, np.maximum(np.abs(e - y) - p, 0)) / h,
    "logistic": lambda e, y, p, h: -special.log_expit(margin(e, y)),
    "probit": lambda e, y, p, h: -special.log_ndtr(margin(e, y)),
    "cloglog": lambda e, y, p, h: np.where(y > 0.5, -np.log(-np.expm1(-np.exp(e))), np.exp(e)),
    "squared-hinge": lambda e, y, p, h: np.maximum(1 - margin(e, y), 0) ** 2 / 2,
    "modified-huber": lambda e, y, p, h: np.where(
        margin(e, y) >= -1, np.maximum(1 - margin(e, y), 0) ** 2, -4 * margin(e, y)
    ),
    "focal": lambda e, y, p, h: -(special.expit(-margin(e, y)) ** p) * special.log_expit(margin(e, y)),
    "poisson": lambda e, y, p, h: np.exp(e) - y * e,
    "gamma": lambda e, y, p, h: e + y / np.exp(e),
    "tweedie": lambda e, y, p, h: np.exp((2 - p) * e) / (2 - p) - y * np.exp((1 - p) * e) / (1 - p),
    "negative-binomial": negative_binomial,
}

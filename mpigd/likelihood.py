"""What a loss says of how y is distributed: density and deviance of a row, with the terms that a fit leaves out.

Losses that are no likelihoods (huber, quantile, hinges, focal) have no entry.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from mpigd.errors import UsageError
from mpigd.metrics import DEVIANCES, deviance


def special() -> Any:
    """scipy.special; UsageError where there is none."""
    try:
        return import_module("scipy.special")
    except ImportError:
        raise UsageError("this needs scipy: pip install 'mpigd[inference]'") from None


def _normal(y: np.ndarray, mean: np.ndarray, value: np.ndarray, dispersion: np.ndarray, p: float) -> np.ndarray:
    density: np.ndarray = -0.5 * ((y - mean) ** 2 / dispersion + np.log(2.0 * math.pi * dispersion))
    return density


def _gamma(y: np.ndarray, mean: np.ndarray, value: np.ndarray, dispersion: np.ndarray, p: float) -> np.ndarray:
    shape = 1.0 / dispersion
    density: np.ndarray = shape * (np.log(shape * y / mean) - y / mean) - np.log(y) - special().gammaln(shape)
    return density


def _tweedie(y: np.ndarray, mean: np.ndarray, value: np.ndarray, dispersion: np.ndarray, p: float) -> np.ndarray:
    """Of a compound of Poisson many gamma amounts, 1 < p < 2, by Wright's generalised Bessel function.

    P. Dunn, G. Smyth, "Series evaluation of Tweedie exponential dispersion model densities", Stat. Comput. 15, 2005.
    """
    some, alpha = y > 0.0, (2.0 - p) / (1.0 - p)
    scale, amount = dispersion[some], y[some]
    density: np.ndarray = -value / dispersion
    x = ((p - 1.0) * scale / amount) ** alpha / ((2.0 - p) * scale)
    density[some] += special().log_wright_bessel(-alpha, 0.0, x) - np.log(amount)
    return density


def _poisson(y: np.ndarray, mean: np.ndarray, value: np.ndarray, dispersion: np.ndarray, p: float) -> np.ndarray:
    density: np.ndarray = -value - special().gammaln(y + 1.0)
    return density


def _negative_binomial(
    y: np.ndarray, mean: np.ndarray, value: np.ndarray, dispersion: np.ndarray, p: float
) -> np.ndarray:
    lgamma, shape = special().gammaln, 1.0 / p
    density: np.ndarray = -value + y * math.log(p) + lgamma(y + shape) - lgamma(y + 1.0) - lgamma(shape)
    return density


def _classes(y: np.ndarray, mean: np.ndarray, value: np.ndarray, dispersion: np.ndarray, p: float) -> np.ndarray:
    return -value


# By loss: log-density of rows as a function of (y, mean, value of the loss, dispersion, parameter), (rows,) each.
LOG_DENSITIES: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float], np.ndarray]] = {
    "squared": _normal,
    "poisson": _poisson,
    "gamma": _gamma,
    "tweedie": _tweedie,
    "negative-binomial": _negative_binomial,
    **dict.fromkeys(("logistic", "probit", "cloglog", "softmax"), _classes),
}
# Where the variance of y is phi V(mean) / weight with a dispersion phi to estimate; elsewhere it is 1.
DISPERSED = ("squared", "gamma", "tweedie")


def unit_deviance(loss: str, y: np.ndarray, mean: np.ndarray, value: np.ndarray, parameter: float) -> np.ndarray:
    """Twice what the log-density of each row lacks to that of mean = y, for a dispersion of 1."""
    if loss in DEVIANCES:
        return deviance(y, mean, loss, parameter)
    return (y - mean) ** 2 if loss == "squared" else 2.0 * value

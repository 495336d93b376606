"""Regression: least squares with several penalties, and losses that outliers pull less."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from mpigd.comm import Comm
from mpigd.dataset import Dataset
from mpigd.estimators.base import Regressor


@dataclass(eq=False, repr=False)
class LinearRegression(Regressor):
    """Ordinary least squares, as `sklearn.linear_model.LinearRegression`; y may have several columns.

    Where columns depend on each other there are many answers, which predict the same for the rows of the fit. This one
    has zeros for some of the columns that others make up; with as many columns as rows, or more, it is the shortest for
    columns of equal variance. scikit-learn's is the shortest as columns are.
    """

    several_outputs = True

    def _loss(self, outputs: int) -> tuple[str, float | None]:
        return "squared", None

    def _more(self, comm: Comm, data: Dataset) -> dict[str, Any]:
        # Which columns depend on others would be up to rounding: steps along gradients need not know.
        wide = self.solver == "auto" and data.header.d >= data.header.n
        return {"solver": "lbfgs"} if wide else {}


@dataclass(eq=False, repr=False)
class Ridge(Regressor):
    """Least squares with a penalty, ||y - X coef||^2 + alpha ||coef||^2, as `sklearn.linear_model.Ridge`.

    y may have several columns.
    """

    alpha: float = 1.0
    """Strength of the penalty."""

    several_outputs = True

    def _loss(self, outputs: int) -> tuple[str, float | None]:
        return "squared", None

    def _penalty(self, weight: float) -> dict[str, Any]:
        return {"l2": self._number("alpha") / weight}


@dataclass(eq=False, repr=False)
class Lasso(Regressor):
    """Least squares with zeros, ||y - X coef||^2 / (2 n) + alpha ||coef||_1, as `sklearn.linear_model.Lasso`."""

    alpha: float = 1.0
    """Strength of the penalty."""

    _: KW_ONLY

    positive: bool = False
    """Allow no negative coefficients."""

    def _loss(self, outputs: int) -> tuple[str, float | None]:
        return "squared", None

    def _penalty(self, weight: float) -> dict[str, Any]:
        return {"l1": self._number("alpha"), **({"lower": 0.0} if self.positive else {})}


@dataclass(eq=False, repr=False)
class ElasticNet(Lasso):
    """Least squares with both penalties, as `sklearn.linear_model.ElasticNet`.

    ||y - X coef||^2 / (2 n) + alpha l1_ratio ||coef||_1 + alpha (1 - l1_ratio) ||coef||^2 / 2.
    """

    _: KW_ONLY

    l1_ratio: float = 0.5
    """Share of the first penalty."""

    def _penalty(self, weight: float) -> dict[str, Any]:
        share = self._number("l1_ratio", high=1.0)
        options = super()._penalty(weight)
        return {**options, "l1": options["l1"] * share, "l2": options["l1"] * (1.0 - share)}


@dataclass(eq=False, repr=False)
class HuberRegressor(Regressor):
    """Squared error near y, absolute error beyond delta: the mean Huber loss + alpha ||coef||^2 / 2.

    Unlike `sklearn.linear_model.HuberRegressor` it does not estimate the scale of y - X coef, so that the objective is
    a mean over rows: it is scikit-learn's where delta = epsilon scale_, and alpha its alpha times scale_ / n.
    """

    delta: float = 1.35
    """From where on a row counts as an outlier, in units of y."""

    _: KW_ONLY

    alpha: float = 0.0001
    """Strength of the penalty."""

    def _loss(self, outputs: int) -> tuple[str, float | None]:
        return "huber", float(self.delta)

    def _penalty(self, weight: float) -> dict[str, Any]:
        return {"l2": self._number("alpha")}


@dataclass(eq=False, repr=False)
class QuantileRegressor(Regressor):
    """A quantile of y instead of its mean, as `sklearn.linear_model.QuantileRegressor`, nearly.

    The mean pinball loss + alpha ||coef||_1. scikit-learn solves a linear program; here the kink of the loss is rounded
    over `smoothing`, so that the answer is that of the program but for about as much.
    """

    quantile: float = 0.5
    """Which one, between 0 and 1."""

    _: KW_ONLY

    alpha: float = 1.0
    """Strength of the penalty."""

    smoothing: float = 0.01
    """Width of the rounding, in units of y: less is nearer to the program, and takes more steps."""

    def _loss(self, outputs: int) -> tuple[str, float | None]:
        return "quantile", float(self.quantile)

    def _penalty(self, weight: float) -> dict[str, Any]:
        return {"l1": self._number("alpha"), "smoothing": float(self.smoothing)}


@dataclass(eq=False, repr=False)
class LinearSVR(Regressor):
    """A support vector machine for numbers, as `sklearn.svm.LinearSVR`, nearly.

    ||coef||^2 / 2 + C sum_i max(0, |y_i - eta_i| - epsilon). The kinks of the loss are rounded over `smoothing`,
    and the intercept is not penalised, as it is in scikit-learn.
    """

    _: KW_ONLY

    epsilon: float = 0.0
    """Errors that cost nothing, in units of y."""

    C: float = 1.0
    """Weight of the loss."""

    smoothing: float = 0.01
    """Width of the rounding, in units of y."""

    def _loss(self, outputs: int) -> tuple[str, float | None]:
        return "epsilon-insensitive", max(self._number("epsilon"), float(np.finfo(np.float64).tiny))

    def _penalty(self, weight: float) -> dict[str, Any]:
        return {"l2": 1.0 / (self._positive("C") * weight), "smoothing": float(self.smoothing)}

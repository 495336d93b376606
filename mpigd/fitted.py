"""A model at the rows that it was fitted on: what covariances of its coefficients are made of, and how well it fits."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from mpigd import predictor
from mpigd.comm import Comm
from mpigd.covariance import Rows
from mpigd.dataset import Dataset
from mpigd.likelihood import DISPERSED, LOG_DENSITIES, unit_deviance
from mpigd.model import Model
from mpigd.objective import Objective
from mpigd.options import Train
from mpigd.penalties import penalty
from mpigd.predict import linear_predictor
from mpigd.rowwise import At, Rowwise, expected_curvature, rowwise
from mpigd.scaling import measure
from mpigd.sums import sums

Weights = Literal["frequency", "variance"]

UNKNOWN = float("nan")


@dataclass(frozen=True)
class Fitted:
    """A model at the rows that it was fitted on, as this rank sees them.

    weights : what sample_weight counts. "frequency": so many rows are alike; n is their sum. "variance": the variance
    of y is the smaller, the larger the weight; n is the number of rows.
    """

    comm: Comm
    model: Model
    data: Dataset
    options: Train
    weights: Weights
    at: At
    eta: np.ndarray
    rows: Rows
    deviation: np.ndarray

    @classmethod
    def of(cls, comm: Comm, model: Model, data: Dataset, options: Train, weights: Weights) -> Fitted:
        """A collective."""
        scaling = measure(comm, data, centre=True)
        # A column that does not vary has scale 1.
        deviation = np.where(scaling.magnitude == np.abs(scaling.mean), 0.0, scaling.scale)
        if not options.intercept:
            scaling = replace(scaling, mean=np.zeros_like(scaling.mean))
        at = At(model.loss, model.parameter, options.smoothing)
        eta = linear_predictor(comm, model, data)
        rows = Rows(comm, data, scaling, options.intercept)
        return cls(comm, model, data, options, weights, at, eta, rows, deviation)

    @property
    def loss(self) -> str:
        """Its name."""
        return self.model.loss.name

    @property
    def coupled(self) -> bool:
        """Whether all outputs share one loss, that of classes of which the first has coefficients of zero."""
        return self.model.loss.coupled

    @property
    def penalised(self) -> bool:
        """Whether anything but the data says where coefficients are."""
        return self.options.l2 > 0.0 or self.options.kinks

    @property
    def parameters(self) -> int:
        """Coefficients that are estimated together."""
        return self.rows.p * (self.eta.shape[1] - 1 if self.coupled else 1)

    @cached_property
    def each(self) -> Rowwise:
        """What the loss says of rows."""
        return rowwise(self.at, self.eta, self.data.y, self.data.slice.rows)

    @cached_property
    def expected(self) -> np.ndarray:
        """Curvature that the loss expects, (rows, K); of a likelihood."""
        return expected_curvature(self.at, self.eta, self.data.slice.rows)

    @cached_property
    def objective(self) -> Objective:
        """The data term."""
        rows, loss = self.rows, self.model.loss
        none = penalty(0.0, 0.0, rows.scaling.scale, self.eta.shape[1], rows.intercept)
        return Objective(
            self.comm,
            self.data,
            loss,
            rows.scaling,
            none,
            rows.intercept,
            loss_parameter=self.at.parameter,
            smoothing=self.at.smoothing,
        )

    @cached_property
    def counts(self) -> np.ndarray:
        """How often each row counts, (rows,)."""
        weight = self.data.weight
        return weight if self.weights == "frequency" else (weight > 0.0).astype(np.float64)

    @cached_property
    def n(self) -> float:
        """How many rows there are, as weights count them."""
        return float(self.sums(self.counts)[0])

    def sums(self, *terms: np.ndarray) -> np.ndarray:
        """Of terms (rows,) over all rows. A collective."""
        return sums(self.comm, self.data.header.block, *(term[:, None] for term in terms))

    def information(self, output: int) -> np.ndarray:
        """A of an output, or of all classes but the first. A collective."""
        if self.coupled:
            return self.hessian(output)
        return self.rows.gram(self.expected[:, output])

    def hessian(self, output: int) -> np.ndarray:
        """H, likewise. A collective."""
        if not self.coupled:
            return self.rows.gram(self.each.second[:, output])
        share = self.each.second[:, 1:]
        return self.rows.matrix(share.shape[1], lambda k, m: share[:, k] * ((k == m) - share[:, m]))

    def meat(self, output: int) -> np.ndarray:
        """B, likewise. A collective."""
        weight = self.data.weight if self.weights == "variance" else np.ones(self.data.rows)
        if not self.coupled:
            return self.rows.gram(weight * self.each.first[:, output] ** 2)
        first = self.each.first[:, 1:]
        return self.rows.matrix(first.shape[1], lambda k, m: weight * first[:, k] * first[:, m])

    def slope(self, output: int) -> np.ndarray:
        """The gradient of the sum over rows in theta that has been reached, as for `information`. A collective."""
        gradient = self._gradient[:, 1:].T.reshape(-1) if self.coupled else self._gradient[:, output]
        slope: np.ndarray = gradient * float(self.sums(self.data.weight)[0])
        return slope

    @cached_property
    def _gradient(self) -> np.ndarray:
        coef, intercept = self.model.columns()
        theta = self.rows.scaling.from_coefficients(coef, intercept, self.rows.intercept)
        return self.objective.value_and_gradient(theta)[1]


def dispersion(fitted: Fitted, output: int) -> float:
    """Pearson's X² by its degrees of freedom; 1 where there is none to estimate (McCullagh, Nelder 1989, 8.3.6)."""
    if fitted.loss not in DISPERSED:
        return 1.0
    left = fitted.n - fitted.parameters
    return _pearson(fitted, output) / left if left > 0.0 else UNKNOWN


def _pearson(fitted: Fitted, output: int) -> float:
    """The sum of w (y - mean)² / V(mean), which is that of w psi² / E(c). A collective."""
    expected = fitted.expected[:, output]
    ratio = fitted.each.first[:, output] ** 2 / np.where(expected > 0.0, expected, 1.0)
    return float(fitted.sums(fitted.data.weight * ratio)[0])


def goodness(fitted: Fitted, free: bool) -> dict[str, np.ndarray]:
    """How well the model fits, see `Inference.fit`. A collective.

    free : whether as many coefficients were estimated as there are: nothing else is known of how many they stand for.
    """
    if fitted.loss not in LOG_DENSITIES:
        return {}
    outputs = 1 if fitted.coupled else fitted.eta.shape[1]
    each = [_goodness_of(fitted, output, free) for output in range(outputs)]
    return {key: np.array([own[key] for own in each]) for key in each[0]}


def _goodness_of(fitted: Fitted, output: int, free: bool) -> dict[str, float]:
    """The same of one output, or of all classes."""
    weight, parameter, loss = fitted.data.weight, fitted.at.parameter, fitted.loss
    y = fitted.data.y[:, output]
    null_eta = fitted.data.offset[:, None] + fitted.objective.null.intercept[None]
    null = rowwise(fitted.at, null_eta, fitted.data.y, fitted.data.slice.rows)
    (mean, value), (null_mean, null_value) = (
        (
            predictor.expected(fitted.model.loss.link, eta)[:, output],
            rows.value.sum(axis=1) if fitted.coupled else rows.value[:, output],
        )
        for eta, rows in ((fitted.eta, fitted.each), (null_eta, null))
    )
    own, without = fitted.sums(
        weight * unit_deviance(loss, y, mean, value, parameter),
        weight * unit_deviance(loss, y, null_mean, null_value, parameter),
    )
    pearson = UNKNOWN if fitted.coupled else _pearson(fitted, output)
    phi = dispersion(fitted, output) if free else UNKNOWN if loss in DISPERSED else 1.0
    # That of the normal distribution is the one of most likelihood, which needs no count of coefficients.
    scale = float(own) / fitted.n if loss == "squared" else phi
    if loss not in DISPERSED:
        counts, of_row = weight, np.ones_like(weight)
    elif fitted.weights == "frequency":
        counts, of_row = weight, np.full_like(weight, scale)
    else:
        counts, of_row = fitted.counts, scale / np.where(weight > 0.0, weight, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        density = LOG_DENSITIES[loss](y, mean, value, of_row, parameter)
    likelihood = float(fitted.sums(np.where(counts > 0.0, counts * density, 0.0))[0]) if scale > 0.0 else UNKNOWN
    count = fitted.parameters if free else UNKNOWN
    return {
        "deviance": float(own),
        "null_deviance": float(without),
        "pearson_chi2": pearson,
        "dispersion": phi,
        "log_likelihood": likelihood,
        "aic": -2.0 * likelihood + 2.0 * count,
        "bic": -2.0 * likelihood + math.log(fitted.n) * count,
    }

"""What a linear model says of rows: plain numpy, so that it can be had without MPI and without kernels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mpigd.errors import DataError

LARGEST_EXPONENT = 690.0  # as of kernels


def expected(link: str, eta: np.ndarray) -> np.ndarray:
    """The mean of y (probabilities for classes) from eta (n, K) float64, same shape; link as `Loss.link`."""
    if link == "identity":
        return eta
    if link == "sign":
        return np.asarray(eta > 0.0, np.float64)
    if link == "log":
        return np.asarray(np.exp(np.minimum(eta, LARGEST_EXPONENT)))
    if link == "logit":
        e = np.exp(-np.abs(eta))
        return np.asarray(np.where(eta >= 0.0, 1.0, e) / (1.0 + e))
    if link == "probit":
        tail = np.vectorize(math.erfc, otypes=[np.float64])
        return np.asarray(0.5 * tail(-math.sqrt(0.5) * eta))
    if link == "complementary log-log":
        return np.asarray(-np.expm1(-np.exp(np.minimum(eta, 10.0))))  # 1 from there on
    e = np.exp(eta - eta.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


class Predictor:
    """A fitted linear model: eta = X coef + intercept, and what follows from it.

    coef : (d,) float64, or (d, K) for K classes or outputs, on the scale of the original columns.
    intercept : () or (K,) float64.  link : between the mean of y and eta, as `Loss.link`.
    classes : (0,), (2,) or (K,) float64: the labels that class numbers stand for.
    class_names : what they are called, as many; empty where the data that the model was fitted on did not say it.
    threshold : the probability from which on a row is taken for the second of two classes; None for the larger one.

    Rows are an array (n, d), or one row (d,), of which answers have no axis; or, by the names of columns, a data frame
    or a mapping to columns (n,) or numbers. Names that the model does not know are passed over.
    """

    coef: np.ndarray
    intercept: np.ndarray
    link: str
    feature_names: tuple[str, ...]
    classes: np.ndarray
    threshold: float | None
    class_names: tuple[str, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes as text: their names, or else their numbers."""
        return self.class_names or tuple(f"{label:g}" for label in self.classes)

    @property
    def has_probabilities(self) -> bool:
        """Whether `mean` gives probabilities of classes: not for a loss that only tells the side."""
        return len(self.classes) > 0 and self.link != "sign"

    def columns(self) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients as (d, K) and intercept as (K,), for K = 1 too."""
        return self.coef.reshape(len(self.coef), -1), self.intercept.reshape(-1)

    def mean(self, eta: np.ndarray) -> np.ndarray:
        """The expected y, (n,) or (n, K), or the probability of each class (n, K), from eta (n, 1 or K).

        It is eta itself where each predictor tells the side of one class from all others.
        """
        if self.coef.ndim == 2:
            return eta if self.link == "sign" else expected(self.link, eta)
        mean = expected(self.link, eta)
        return np.hstack([1.0 - mean, mean]) if len(self.classes) else mean[:, 0]

    def pick(self, mean: np.ndarray) -> np.ndarray:
        """Class numbers (n,) that rows are taken for: the most probable ones, or as the threshold says."""
        return np.argmax(mean, axis=1) if self.threshold is None else (mean[:, 1] >= self.threshold).astype(np.int64)

    def label(self, mean: np.ndarray) -> np.ndarray:
        """What `predict` answers: a class, (n,), or the expected y itself, (n,) or (n, K)."""
        return self.classes[self.pick(mean)] if len(self.classes) else mean

    def predict(self, rows: Any) -> Any:
        """Class labels (n,), or expected y (n,) or (n, K). DataError for rows that do not fit the model."""
        eta, one = self._eta(rows)
        found = self.label(self.mean(eta))
        return found[0] if one else found

    def predict_proba(self, rows: Any) -> np.ndarray:
        """Probabilities of classes (n, K), in the order of `classes`. DataError for a model that has none."""
        if not self.has_probabilities:
            raise DataError("the model has no probabilities of classes: its loss gives numbers, or the side alone")
        eta, one = self._eta(rows)
        found: np.ndarray = self.mean(eta)
        return found[0] if one else found

    def decision_function(self, rows: Any) -> Any:
        """The linear predictor eta, (n,) or (n, K)."""
        eta, one = self._eta(rows)
        found = eta if self.coef.ndim == 2 else eta[:, 0]
        return found[0] if one else found

    def _eta(self, rows: Any) -> tuple[np.ndarray, bool]:
        """Eta (n, 1 or K), and whether it is of one row without an axis."""
        try:
            x = np.asarray(rows if isinstance(rows, (np.ndarray, list)) else self._by_name(rows), np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"rows can't be taken as numbers: {error}") from None
        d = len(self.coef)
        if x.ndim not in (1, 2) or x.shape[-1] != d:
            raise DataError(f"rows of shape {x.shape}: the model has {d} columns; expected ({d},) or (n, {d})")
        coef, intercept = self.columns()
        eta = np.atleast_2d(x) @ coef + intercept
        if not np.isfinite(eta).all():
            row = int(np.argmin(np.isfinite(eta).all(axis=1)))
            raise DataError(f"row {row} holds a number that is not finite, or too large; remove or impute it")
        return eta, x.ndim == 1

    def _by_name(self, rows: Any) -> Any:
        """The model's columns of a data frame or of a mapping, in its order; anything else as it is."""
        by_name = isinstance(rows, Mapping)
        if not by_name and not hasattr(rows, "columns"):
            return rows
        known = rows if by_name else set(rows.columns)
        missing = [name for name in self.feature_names if name not in known]
        if missing:
            shown = ", ".join(f"'{name}'" for name in missing[:5]) + (", …" if len(missing) > 5 else "")
            raise DataError(f"rows have no column {shown}; the model was fitted on {len(self.feature_names)}")
        if by_name:
            return np.array([rows[name] for name in self.feature_names], np.float64).T
        return rows[list(self.feature_names)]

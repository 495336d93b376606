"""Classes as numbers, and back; losses of two classes for several."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from mpigd.arrays import from_arrays
from mpigd.balance import class_factors
from mpigd.comm import Comm
from mpigd.dataset import Dataset, with_target
from mpigd.estimators.base import (
    LinearEstimator,
    are_paths,
    as_builtin_errors,
    check_in_memory,
    checked_weight,
    communicator,
    computing_of,
    from_file,
    same_error,
    total_weight,
)
from mpigd.model import Model
from mpigd.options import Train
from mpigd.sums import sums_by_group

Self = TypeVar("Self", bound="Classifier")
TWO = np.arange(2.0)


def has_likelihood(estimator: Classifier) -> bool:
    """Whether the loss of an estimator is one, so that there are probabilities."""
    return estimator._likelihood


@dataclass(eq=False, repr=False)
class Classifier(ClassifierMixin, LinearEstimator):
    """A linear model of classes, which may be of any type that can be sorted.

    A loss of two classes is fitted once for each class against the others where there are more of them.
    """

    class_weight: dict[Any, float] | str | None = field(default=None, kw_only=True)
    """Factors of the weights of rows by their class: a dictionary {label: factor}, where what is left out is 1;
    "balanced" for W / (K W_k), of the weight W of all rows and W_k of those of class k of K; None for ones."""

    @property
    def _likelihood(self) -> bool:
        return False

    def fit(self: Self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit to rows X (n, d), labels y (n,) and weights (n,); or to a file, or several, whose path is X alone.

        Returns self. ValueError for what can't be fitted, on all ranks of `comm`.
        """
        self._check_parameters()
        comm = communicator(self.comm)
        data = self._rows(comm, X, y, sample_weight)
        data, weight = self._weighted(comm, data)
        self._fit_rows(comm, data, len(data.classes), weight)
        return self

    def _parts(self, data: Dataset, options: Train) -> list[Dataset]:
        if len(data.classes) == 2 or options.loss == "softmax":
            return [data]
        return [one_against_others(data, k) for k in range(len(data.classes))]

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.class_weight not in (None, "balanced") and not isinstance(self.class_weight, dict):
            raise ValueError(f"class_weight={self.class_weight!r}: expected a dictionary, 'balanced' or None")

    def _rows(self, comm: Comm, X: Any, y: Any, sample_weight: Any, classes: Any = None, first: bool = True) -> Dataset:
        """The rows that all ranks fit to, their labels as numbers of `classes_`, which is set. A collective.

        classes : all that there are; None for those of the rows.
        first : whether they are the first that this estimator sees.
        """
        with as_builtin_errors():
            options = self._options(2)
        if are_paths(comm, X):
            data = from_file(comm, replace(options, loss="softmax", loss_parameter=None), X, y, sample_weight)
            self._keep_names(data.header.feature_names)
            self.classes_ = data.classes.astype(np.int64)
            return data
        check_in_memory(self.options)
        with same_error(comm):
            X, y = self._validated(comm, X, y, reset=first)
            if len(y):
                check_classification_targets(y)
            y = column_or_1d(y)
            weight = checked_weight(sample_weight, len(y))
            labels = np.unique(y)
        self.classes_ = labels_of_all(comm, labels) if classes is None else classes
        with same_error(comm):
            unknown = np.setdiff1d(labels, self.classes_)
            if len(unknown):
                raise ValueError(f"y has labels that are not among classes: {unknown[:5].tolist()}")
            if len(self.classes_) < 2:
                raise ValueError(
                    f"{type(self).__name__} needs samples of at least 2 classes in the data, but the data contains "
                    f"only one class: {self.classes_[0]!r}"
                )
        with as_builtin_errors():
            data = from_arrays(
                comm,
                X,
                np.searchsorted(self.classes_, y).astype(np.float64),
                weight,
                feature_names=getattr(self, "feature_names_in_", None),
                computing=computing_of(options),
            )
        return replace(data, classes=numbers_of(self.classes_))

    def _weighted(self, comm: Comm, data: Dataset) -> tuple[Dataset, float]:
        """The rows with weights that take those of classes into account, and what they add up to. A collective."""
        number, count, block = data.y[:, 0].astype(np.int64), len(data.classes), data.header.block
        if np.count_nonzero(sums_by_group(comm, block, number, count, data.weight)) < 2:
            raise ValueError(f"{type(self).__name__} needs rows of positive weight of at least 2 classes")
        if self.class_weight == "balanced":
            data = data.weighted(class_factors(comm, data, "balanced"))
        else:
            data = self._with_factors(data)
        return data, total_weight(comm, data)

    def _with_factors(self, data: Dataset) -> Dataset:
        """The rows with weights times those of a dictionary of classes, if there is one."""
        if not isinstance(self.class_weight, dict):
            return data
        factors = np.array([float(self.class_weight.get(label, 1.0)) for label in self.classes_.tolist()])
        return data.weighted(factors[data.y[:, 0].astype(np.int64)])

    def decision_function(self, X: Any) -> np.ndarray:
        """The linear predictor of rows X (n, d): (n,) for two classes, positive for the second one, else (n, K)."""
        eta = self._eta(X)
        return eta[:, 0] if eta.shape[1] == 1 else eta

    def predict(self, X: Any) -> np.ndarray:
        """The label of each row of X (n, d) that is most likely, (n,)."""
        eta = self._eta(X)
        number = (eta[:, 0] > 0.0).astype(np.int64) if eta.shape[1] == 1 else np.argmax(eta, axis=1)
        labels: np.ndarray = self.classes_[number]
        return labels

    @available_if(has_likelihood)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class of `classes_` for the rows of X (n, d): (n, K). Where the loss has them."""
        eta = self._eta(X)
        return self.model_.mean(eta)

    @available_if(has_likelihood)  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Its logarithm, (n, K)."""
        logarithm: np.ndarray = np.log(self.predict_proba(X))
        return logarithm

    def _keep_coefficients(self, model: Model) -> None:
        coef, intercept = model.columns()
        self.coef_, self.intercept_ = coef.T.copy(), intercept.copy()


def labels_of_all(comm: Comm, labels: np.ndarray) -> np.ndarray:
    """The labels that any rank has, sorted. A collective."""
    every = [some for some in comm.gather(labels) if len(some)]
    found: np.ndarray = np.unique(np.concatenate(every)) if every else labels
    return found


def numbers_of(classes: np.ndarray) -> np.ndarray:
    """Labels as a model of mpigd keeps them, (K,) float64: as they are, or from 0 on for what is no whole number."""
    if classes.dtype.kind in "biu":
        return classes.astype(np.float64)
    return np.arange(len(classes), dtype=np.float64)


def one_against_others(data: Dataset, k: int) -> Dataset:
    """The same rows with two classes: 1 for class number k, 0 for all others."""
    return with_target(data, (data.y == k).astype(np.float64), TWO)

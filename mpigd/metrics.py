"""Metrics over all rows of all ranks. Arguments are of this rank's slice; results are equal on all ranks.

block : rows of a canonical block, the unit of exact summing. Names and definitions are scikit-learn's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpigd.comm import Comm
from mpigd.ranking import Order, average_precision, roc_auc
from mpigd.sums import sums, sums_by_group

MOST_CONFUSED = 100  # classes of which a table of confusions is made
MOST_RANKED = 50  # classes of which each is ranked against the others
BINS = 10  # of probabilities, for calibration
DEVIANCES = ("poisson", "gamma", "tweedie", "negative-binomial")  # losses that have one


class Regression:
    """Metrics of numbers, for any weights of the rows: R², RMSE and MAE, and what belongs to the loss.

    y, prediction : (rows, K).  R² is 1 - sum w (y - prediction)² / sum w (y - mean)²; where y is constant it is 1 for a
    perfect prediction and else 0, as in scikit-learn. Of several outputs each metric is the mean. Of losses that have a
    deviance its mean, and the share of it that is explained, D²; of quantile loss the pinball loss.
    """

    def __init__(
        self,
        comm: Comm,
        y: np.ndarray,
        prediction: np.ndarray,
        block: int = 1,
        loss: str = "squared",
        parameter: float = 0.0,
    ) -> None:
        self._comm, self._y, self._block, self._loss, self._parameter = comm, y, block, loss, parameter
        error = y - prediction
        self._squares, self._sizes = error**2, np.abs(error)
        if loss == "quantile":
            self._pinball = np.maximum(parameter * error, (parameter - 1.0) * error)
        if loss in DEVIANCES:
            self._deviance = deviance(y, prediction, loss, parameter)

    def numbers(self, weight: np.ndarray) -> dict[str, float]:
        """The metrics with weights (rows,). A collective."""
        comm, block, y, w = self._comm, self._block, self._y, weight[:, None]
        total, *weighted = sums(comm, block, w, w * y)
        parts = sums(comm, block, w * self._squares, w * self._sizes, w * (y - np.array(weighted) / total) ** 2)
        squares, absolute, spread = parts.reshape(3, -1)
        explained = np.where(spread > 0.0, 1.0 - squares / np.where(spread > 0.0, spread, 1.0), squares == 0.0)
        found = {
            "r2": float(explained.mean()),
            "rmse": float(np.sqrt(squares / total).mean()),
            "mae": float((absolute / total).mean()),
        }
        if self._loss == "quantile":
            found["pinball_loss"] = float(sums(comm, block, w * self._pinball)[0] / total)
        if self._loss in DEVIANCES:
            mean = np.full_like(y, weighted[0] / total)
            own, null = sums(comm, block, w * self._deviance, w * deviance(y, mean, self._loss, self._parameter))
            found["deviance"] = float(own / total)
            found["d2"] = float(1.0 - own / null) if null > 0.0 else float(own == 0.0)
        return found

    def all(self, weight: np.ndarray) -> dict[str, Any]:
        """The same: there is nothing but numbers."""
        return dict(self.numbers(weight))


def regression(
    comm: Comm,
    y: np.ndarray,
    prediction: np.ndarray,
    weight: np.ndarray,
    block: int = 1,
    loss: str = "squared",
    parameter: float = 0.0,
) -> dict[str, float]:
    """The metrics of `Regression`; weight (rows,). A collective."""
    return Regression(comm, y, prediction, block, loss, parameter).numbers(weight)


def variance_power(loss: str, parameter: float) -> float | None:
    """The power of the mean that the variance of a loss's distribution is proportional to; None where it is none."""
    return {"poisson": 1.0, "gamma": 2.0, "tweedie": parameter}.get(loss)


def deviance(y: np.ndarray, mean: np.ndarray, loss: str, parameter: float = 0.0) -> np.ndarray:
    """The unit deviance of each row, for a loss that is among DEVIANCES.

    Of the Tweedie distribution whose variance is mean^power, 1 <= power <= 2 (B. Jorgensen, "Exponential dispersion
    models", J. R. Stat. Soc. B 49, 1987), 1 being Poisson's and 2 that of gamma; of the negative binomial one whose
    variance is mean + alpha mean^2 (J. Hilbe, "Negative binomial regression", 2nd ed., 2011, section 8.2).
    """
    power = variance_power(loss, parameter)
    with np.errstate(divide="ignore", invalid="ignore"):
        if power == 2.0:
            result = np.log(mean / y) + y / mean - 1.0
        elif power is not None and power > 1.0:
            first = np.maximum(y, 0.0) ** (2.0 - power) / ((1.0 - power) * (2.0 - power))
            result = first - y * mean ** (1.0 - power) / (1.0 - power) + mean ** (2.0 - power) / (2.0 - power)
        else:
            result = np.where(y > 0.0, y * np.log(y / mean), 0.0)
            if power is None:
                size = y + 1.0 / parameter
                result -= size * np.log((1.0 + parameter * y) / (1.0 + parameter * mean))
            else:
                result += mean - y
    doubled: np.ndarray = 2.0 * result
    return doubled


class Classification:
    """Metrics of classes, for any weights of the rows.

    y : (rows,) class numbers.  probability : (rows, K).
    score (rows, 1) : of the second of two classes, to rank rows by; without it, probabilities are.
    picked (rows,) : class numbers that rows are taken for; the most probable ones if not given.
    probabilities : whether they are.
    """

    def __init__(
        self,
        comm: Comm,
        y: np.ndarray,
        probability: np.ndarray,
        block: int = 1,
        score: np.ndarray | None = None,
        picked: np.ndarray | None = None,
        probabilities: bool = True,
    ) -> None:
        self._comm, self._block, self._count = comm, block, probability.shape[1]
        self._label = label = y.astype(np.int64)
        self._picked = np.argmax(probability, axis=1) if picked is None else picked
        self._probability = probability if probabilities else None
        ranked = {k: probability[:, k] for k in ([1] if self._count == 2 else range(self._count))}
        if score is not None:
            ranked = {1: score[:, 0]}
        self._orders = {k: Order(comm, some) for k, some in ranked.items()} if self._count <= MOST_RANKED else {}
        if probabilities:
            # A probability that was rounded to zero counts as the smallest one, as in scikit-learn.
            of_label = probability[np.arange(len(y)), label]
            self._loss = -np.log(np.maximum(of_label, np.finfo(np.float64).eps))
            self._squares = np.sum(probability**2, axis=1) - 2.0 * of_label + 1.0

    def numbers(self, weight: np.ndarray) -> dict[str, float]:
        """Metrics that are one number, with weights (rows,). A collective.

        Accuracy; the means over classes of recall (balanced accuracy), precision, recall and F1; ROC AUC and average
        precision, of two classes of the second one, else the mean over classes of each against the others. Where they
        are probabilities, log loss and Brier score.
        """
        there, called, right = self._of_class(weight)
        total = float(there.sum())
        recall, precision, f1 = _shares(there, called, right)
        known = there > 0.0  # as in scikit-learn, a class that has no rows has no recall
        either = known | (called > 0.0)
        found = {
            "accuracy": float(right.sum() / total),
            "balanced_accuracy": float(recall[known].mean()),
            "precision": float(precision[either].mean()),
            "recall": float(recall[either].mean()),
            "f1": float(f1[either].mean()),
        }
        if self._orders:
            rankings = [order.rank(self._label == k, weight) for k, order in self._orders.items()]
            areas = [(roc_auc(self._comm, ranking), average_precision(self._comm, ranking)) for ranking in rankings]
            found["roc_auc"], found["average_precision"] = (float(np.mean(area)) for area in zip(*areas, strict=True))
        if self._probability is not None:
            terms = (weight * self._loss)[:, None], (weight * self._squares)[:, None]
            losses, errors = sums(self._comm, self._block, *terms)
            found["log_loss"] = float(losses / total)
            found["brier"] = float(errors / total) / (2.0 if self._count == 2 else 1.0)
        return found

    def all(self, weight: np.ndarray) -> dict[str, Any]:
        """These, and tables. A collective.

        Weight, precision, recall and F1 of each class under "classes"; "confusion" (K, K), true classes in rows; of two
        classes the calibration of the probabilities of the second one.
        """
        comm, block, count = self._comm, self._block, self._count
        there, called, right = self._of_class(weight)
        recall, precision, f1 = (values.tolist() for values in _shares(there, called, right))
        found: dict[str, Any] = dict(self.numbers(weight))
        if self._probability is not None and count == 2:
            found["calibration"] = calibration(comm, block, self._label, self._probability[:, 1], weight)
        found["classes"] = {"weight": there.tolist(), "precision": precision, "recall": recall, "f1": f1}
        if count <= MOST_CONFUSED:
            confusion = sums_by_group(comm, block, self._label * count + self._picked, count * count, weight)
            found["confusion"] = confusion.reshape(count, count).tolist()
        return found

    def _of_class(self, weight: np.ndarray) -> list[np.ndarray]:
        """Weight of the rows of each class, of those taken for it, and of those rightly so."""
        correct = np.where(self._label == self._picked, weight, 0.0)
        groups = (self._label, weight), (self._picked, weight), (self._label, correct)
        return [sums_by_group(self._comm, self._block, group, self._count, values) for group, values in groups]


def classification(
    comm: Comm,
    y: np.ndarray,
    probability: np.ndarray,
    weight: np.ndarray,
    block: int = 1,
    score: np.ndarray | None = None,
    picked: np.ndarray | None = None,
    probabilities: bool = True,
) -> dict[str, Any]:
    """The metrics of `Classification`; weight (rows,). A collective."""
    return Classification(comm, y, probability, block, score, picked, probabilities).all(weight)


def _shares(there: np.ndarray, called: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Recall, precision and F1 of each class."""
    return _ratio(right, there), _ratio(right, called), _ratio(2.0 * right, there + called)


def calibration(
    comm: Comm, block: int, label: np.ndarray, probability: np.ndarray, weight: np.ndarray
) -> dict[str, list[float]]:
    """Of ten even intervals of a probability that have rows: weight, mean probability, and share of class 1."""
    interval = np.searchsorted(np.linspace(0.0, 1.0, BINS + 1)[1:-1], probability)
    found = [
        sums_by_group(comm, block, interval, BINS, values)
        for values in (weight, weight * probability, np.where(label == 1, weight, 0.0))
    ]
    some = found[0] > 0.0
    weights, *others = (values[some] for values in found)
    return {
        "weight": weights.tolist(),
        "probability": (others[0] / weights).tolist(),
        "share": (others[1] / weights).tolist(),
    }


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Zero where there is nothing."""
    return np.where(whole > 0.0, part / np.where(whole > 0.0, whole, 1.0), 0.0)

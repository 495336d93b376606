"""Metrics over all rows of all ranks. Arguments are of this rank's slice; results are equal on all ranks.

block : rows of a canonical block, the unit of exact summing. Names and definitions are scikit-learn's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpigd.comm import Comm
from mpigd.ranking import average_precision, rank_scores, roc_auc
from mpigd.sums import sums, sums_by_group

MOST_CONFUSED = 100  # classes of which a table of confusions is made
MOST_RANKED = 50  # classes of which each is ranked against the others
BINS = 10  # of probabilities, for calibration
DEVIANCES = ("poisson", "gamma", "tweedie", "negative-binomial")  # losses that have one


def regression(
    comm: Comm,
    y: np.ndarray,
    prediction: np.ndarray,
    weight: np.ndarray,
    block: int = 1,
    loss: str = "squared",
    parameter: float = 0.0,
) -> dict[str, float]:
    """Weighted R², RMSE and MAE; y and prediction (rows, K), weight (rows,); and what belongs to the loss.

    R² is 1 - sum w (y - prediction)² / sum w (y - mean)²; where y is constant it is 1 for a perfect prediction
    and else 0, as in scikit-learn. Of several outputs each metric is the mean. Of losses that have a deviance its mean,
    and the share of it that is explained, D²; of quantile loss the pinball loss.
    """
    w = weight[:, None]
    total, *weighted = sums(comm, block, w, w * y)
    error = y - prediction
    parts = sums(comm, block, w * error**2, w * np.abs(error), w * (y - np.array(weighted) / total) ** 2)
    squares, absolute, spread = parts.reshape(3, -1)
    explained = np.where(spread > 0.0, 1.0 - squares / np.where(spread > 0.0, spread, 1.0), squares == 0.0)
    found = {
        "r2": float(explained.mean()),
        "rmse": float(np.sqrt(squares / total).mean()),
        "mae": float((absolute / total).mean()),
    }
    if loss == "quantile":
        pinball = np.maximum(parameter * error, (parameter - 1.0) * error)
        found["pinball_loss"] = float(sums(comm, block, w * pinball)[0] / total)
    if loss in DEVIANCES:
        mean = np.full_like(y, weighted[0] / total)
        of_rows = (w * deviance(y, fitted, loss, parameter) for fitted in (prediction, mean))
        own, null = sums(comm, block, *of_rows)
        found["deviance"] = float(own / total)
        found["d2"] = float(1.0 - own / null) if null > 0.0 else float(own == 0.0)
    return found


def deviance(y: np.ndarray, mean: np.ndarray, loss: str, parameter: float = 0.0) -> np.ndarray:
    """The unit deviance of each row, for a loss that is among DEVIANCES.

    Of the Tweedie distribution whose variance is mean^power, 1 <= power <= 2 (B. Jorgensen, "Exponential dispersion
    models", J. R. Stat. Soc. B 49, 1987), 1 being Poisson's and 2 that of gamma; of the negative binomial one whose
    variance is mean + alpha mean^2 (J. Hilbe, "Negative binomial regression", 2nd ed., 2011, section 8.2).
    """
    power = {"poisson": 1.0, "gamma": 2.0, "tweedie": parameter}.get(loss)
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
    """Weighted metrics of classes; y (rows,) class numbers, probability (rows, K).

    score (rows, 1) : of the second of two classes, to rank rows by; without it, probabilities are.
    picked (rows,) : class numbers that rows are taken for; the most probable ones if not given.
    Accuracy; the means over classes of recall (balanced accuracy), precision, recall and F1, which are also given
    for each class under "classes"; ROC AUC and average precision, of two classes of the second one, else the mean
    over classes of each against the others; "confusion" (K, K), true classes in rows. Where they are probabilities,
    log loss, Brier score and, of two classes, the calibration of the second one's, too.
    """
    rows, count = np.arange(len(y)), probability.shape[1]
    label = y.astype(np.int64)
    picked = np.argmax(probability, axis=1) if picked is None else picked
    correct = np.where(label == picked, weight, 0.0)
    of_class = [
        sums_by_group(comm, block, group, count, values)
        for group, values in ((label, weight), (picked, weight), (label, correct))
    ]
    there, called, right = of_class
    total = float(there.sum())
    recall = _ratio(right, there)
    precision = _ratio(right, called)
    f1 = _ratio(2.0 * right, there + called)
    known = there > 0.0  # as in scikit-learn, a class that has no rows has no recall
    either = known | (called > 0.0)
    found: dict[str, Any] = {
        "accuracy": float(right.sum() / total),
        "balanced_accuracy": float(recall[known].mean()),
        "precision": float(precision[either].mean()),
        "recall": float(recall[either].mean()),
        "f1": float(f1[either].mean()),
    }
    if count <= MOST_RANKED:
        areas = [
            (roc_auc(comm, ranking), average_precision(comm, ranking))
            for k in ([1] if count == 2 else range(count))
            for ranking in [rank_scores(comm, probability[:, k] if score is None else score[:, 0], label == k, weight)]
        ]
        found["roc_auc"], found["average_precision"] = (float(np.mean(area)) for area in zip(*areas, strict=True))
    if probabilities:
        # A probability that was rounded to zero counts as the smallest one, as in scikit-learn.
        of_label = probability[rows, label]
        loss = -np.log(np.maximum(of_label, np.finfo(np.float64).eps))
        squares = np.sum(probability**2, axis=1) - 2.0 * of_label + 1.0
        losses, errors = sums(comm, block, (weight * loss)[:, None], (weight * squares)[:, None])
        found["log_loss"] = float(losses / total)
        found["brier"] = float(errors / total) / (2.0 if count == 2 else 1.0)
        if count == 2:
            found["calibration"] = calibration(comm, block, label, probability[:, 1], weight)
    found["classes"] = {
        "weight": there.tolist(),
        "precision": precision.tolist(),
        "recall": recall.tolist(),
        "f1": f1.tolist(),
    }
    if count <= MOST_CONFUSED:
        confusion = sums_by_group(comm, block, label * count + picked, count * count, weight)
        found["confusion"] = confusion.reshape(count, count).tolist()
    return found


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

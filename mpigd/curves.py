"""What a report draws of a model on rows: curves of classes, calibration, residuals. The same on any number of ranks.

No rank sees the rows of others: curves are exact at so many thresholds, and everything else is made of exact sums.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpigd.comm import Comm
from mpigd.metrics import DEVIANCES, calibration, deviance
from mpigd.model import Model
from mpigd.predict import Answered
from mpigd.ranking import Ranking, average_precision, rank_scores, roc_auc
from mpigd.sums import sums, sums_by_group

POINTS = 100  # of a curve, for rows of either kind
MOST_CURVES = 10  # classes that have curves: the ones with the most rows
MOST_OUTPUTS = 6  # outputs whose residuals are looked at
GROUPS = 20  # of rows, by what is fitted
BINS = 40  # of a histogram
REACH = 4.0  # of a histogram, in standard deviations on either side of the mean


def curves(comm: Comm, model: Model, rows: Answered) -> dict[str, Any]:
    """Scores and curves of a model on rows, as plain values. A collective.

    Rows of weight zero are left out. Of classes "curves", see `curve`, of at most ten classes, of two the second one;
    and "calibration", of many classes that of the most probable one. Of numbers "residuals", see `residuals`.
    """
    y, eta, mean, weight, block = rows.y, rows.eta, rows.mean, rows.weight, rows.block
    scores = rows.metrics(comm, model).all(weight)
    found: dict[str, Any] = {"rows": int(comm.sum(np.array([np.count_nonzero(weight)]))[0]), "scores": scores}
    if not len(model.classes):
        fitted, loss = mean.reshape(eta.shape), (model.loss.name, model.parameter)
        outputs = range(min(eta.shape[1], MOST_OUTPUTS))
        of_output = [residuals(comm, y[:, k], fitted[:, k], weight, block, *loss) for k in outputs]
        return {**found, "residuals": of_output}
    label, there = y[:, 0].astype(np.int64), np.array(scores["classes"]["weight"])
    two = len(there) == 2
    largest = [1] if two else sorted(np.argsort(-there, kind="stable")[:MOST_CURVES].tolist())
    found["curves"] = []
    for k in (k for k in largest if 0.0 < there[k] < there.sum()):
        by_eta = eta.shape[1] == 1
        of_class = curve(comm, eta[:, 0] if by_eta else mean[:, k], label == k, weight)
        if by_eta and model.has_probabilities:
            of_class["threshold"] = model.mean(np.array(of_class["threshold"])[:, None])[:, 1].tolist()
        found["curves"].append({"class": k, **of_class})
    if model.has_probabilities:
        right, sure = (label, mean[:, 1]) if two else (label == mean.argmax(axis=1), mean.max(axis=1))
        found["calibration"] = calibration(comm, block, right, sure, weight)
    return found


def curve(comm: Comm, ranked_by: np.ndarray, positive: np.ndarray, weight: np.ndarray) -> dict[str, Any]:
    """Points of ROC and of precision against recall, at falling thresholds, and the areas below. A collective.

    ranked_by, positive, weight (rows,).  The points are those at which one kind of rows or the other first has one more
    hundredth of its weight at or above the threshold; all that there are, if they are no more.
    """
    ranking = rank_scores(comm, ranked_by, positive, weight)
    threshold, true, false = points(comm, ranking, POINTS)
    return {
        "share": ranking.positives / (ranking.positives + ranking.negatives),
        "roc_auc": roc_auc(comm, ranking),
        "average_precision": average_precision(comm, ranking),
        "threshold": threshold.tolist(),
        "true_positive_rate": (true / ranking.positives).tolist(),
        "false_positive_rate": (false / ranking.negatives).tolist(),
        "precision": (true / (true + false)).tolist(),
    }


def points(comm: Comm, ranking: Ranking, count: int) -> np.ndarray:
    """Falling scores, and the weights of either kind of rows at or above them, (3, m), m ≤ 2 count. A collective.

    The scores are those at which rows of either kind first have k / count of their weight, k = 1 … count.
    """
    picked = np.zeros(len(ranking.score), np.bool_)
    kinds = (
        (ranking.positive, ranking.own_positive, ranking.positives),
        (ranking.negative, ranking.own_negative, ranking.negatives),
    )
    for above, own, total in kinds if picked.size else ():
        wanted = -(-np.arange(1, count + 1) * total // count)
        at = np.searchsorted(above, wanted)
        picked[at[(wanted > above[0] - own[0]) & (at < picked.size)]] = True
    own_points = np.stack([ranking.score, ranking.positive, ranking.negative])[:, picked]
    found: np.ndarray = np.concatenate(comm.gather(own_points), axis=1)
    return found


def residuals(
    comm: Comm, y: np.ndarray, fitted: np.ndarray, weight: np.ndarray, block: int, loss: str, parameter: float
) -> dict[str, Any]:
    """How far y (rows,) is from what is fitted, over rows of all ranks. A collective.

    "kind": deviance where the loss has such residuals, else y - fitted; "mean" and "sd" of them, and of y.
    "histogram": "ends" of even bins and "weight" in them; what lies beyond the ends is in the outermost ones.
    "quantiles": "residual", falling, and the share of the weight that is "above".
    "groups": rows by what is fitted, twenty of about the same weight: "weight"; means of "fitted", "y" and "residual";
    "sd" of residuals; and the share of y that lies "below" what is fitted.
    Rows whose residual is not finite are left out; {} where there are no others.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        residual = y - fitted
        if loss in DEVIANCES:
            residual = np.copysign(np.sqrt(np.maximum(deviance(y, fitted, loss, parameter), 0.0)), residual)
    usable = np.isfinite(residual) & (weight > 0.0)
    y, fitted, residual, weight = (np.where(usable, values, 0.0) for values in (y, fitted, residual, weight))
    total, *firsts = sums(comm, block, np.stack([weight, weight * residual, weight * y], axis=1))
    if total == 0.0:
        return {}
    mean, mean_y = (first / total for first in firsts)
    squares = sums(comm, block, np.stack([weight * (residual - mean) ** 2, weight * (y - mean_y) ** 2], axis=1))
    sd, sd_y = np.sqrt(squares / total)
    ends = mean + REACH * sd * np.linspace(-1.0, 1.0, BINS + 1)
    every = np.ones(len(weight), np.bool_)
    value, above, _ = points(comm, rank_scores(comm, residual, every, weight), POINTS)
    return {
        "kind": "deviance" if loss in DEVIANCES else "y - fitted",
        "weight": float(total),
        "mean": float(mean),
        "sd": float(sd),
        "y": {"mean": float(mean_y), "sd": float(sd_y)},
        "histogram": {
            "ends": ends.tolist(),
            "weight": sums_by_group(comm, block, np.searchsorted(ends[1:-1], residual), BINS, weight).tolist(),
        },
        "quantiles": {"residual": value.tolist(), "above": (above / above[-1]).tolist()},
        "groups": groups(comm, block, y, fitted, residual, weight),
    }


def groups(
    comm: Comm, block: int, y: np.ndarray, fitted: np.ndarray, residual: np.ndarray, weight: np.ndarray
) -> dict[str, list[float]]:
    """Of rows with about the same fitted values, see `residuals`. A collective."""
    starts = points(comm, rank_scores(comm, fitted, np.ones(len(weight), np.bool_), weight), GROUPS)[0][::-1]
    group = np.maximum(np.searchsorted(starts, fitted, side="right") - 1, 0)  # a row of weight zero may be below all

    def of_groups(values: np.ndarray) -> np.ndarray:
        return sums_by_group(comm, block, group, len(starts), weight * values)

    there = of_groups(np.ones(len(weight)))
    mean = of_groups(residual) / there
    return {
        "weight": there.tolist(),
        "fitted": (of_groups(fitted) / there).tolist(),
        "y": (of_groups(y) / there).tolist(),
        "residual": mean.tolist(),
        "sd": np.sqrt(of_groups((residual - mean[group]) ** 2) / there).tolist(),
        "below": (of_groups(y < fitted) / there).tolist(),
    }

"""Metrics over all rows of all ranks. Arguments are of this rank's slice; results are equal on all ranks.

block : rows of a canonical block, the unit of exact summing.
"""

from __future__ import annotations

import numpy as np
from mpigd_kernels import exact

from mpigd.comm import Comm


def regression(
    comm: Comm, y: np.ndarray, prediction: np.ndarray, weight: np.ndarray, block: int = 1
) -> dict[str, float]:
    """Weighted R², RMSE and MAE; y and prediction (rows, K), weight (rows,).

    R² is 1 - sum w (y - prediction)² / sum w (y - mean)²; where y is constant it is 1 for a perfect prediction
    and else 0, as in scikit-learn. Of several outputs each metric is the mean.
    """
    w = weight[:, None]
    total, *weighted = _sums(comm, block, w, w * y)
    error = y - prediction
    parts = _sums(comm, block, w * error**2, w * np.abs(error), w * (y - np.array(weighted) / total) ** 2)
    squares, absolute, spread = parts.reshape(3, -1)
    explained = np.where(spread > 0.0, 1.0 - squares / np.where(spread > 0.0, spread, 1.0), squares == 0.0)
    return {
        "r2": float(explained.mean()),
        "rmse": float(np.sqrt(squares / total).mean()),
        "mae": float((absolute / total).mean()),
    }


def classification(
    comm: Comm, y: np.ndarray, probability: np.ndarray, weight: np.ndarray, block: int = 1
) -> dict[str, float]:
    """Weighted accuracy and mean log loss; y (rows,) class numbers, probability (rows, K)."""
    of_label = probability[np.arange(len(y)), y.astype(np.int64)]
    # A probability that was rounded to zero counts as the smallest one, as in scikit-learn.
    loss = -np.log(np.maximum(of_label, np.finfo(np.float64).eps))
    right = np.argmax(probability, axis=1) == y
    total, correct, losses = _sums(comm, block, weight[:, None], (weight * right)[:, None], (weight * loss)[:, None])
    return {"accuracy": float(correct / total), "log_loss": float(losses / total)}


def _sums(comm: Comm, block: int, *terms: np.ndarray) -> np.ndarray:
    """Sums over all rows of the columns of terms (rows, …), exact from block to block."""
    return comm.sum_exactly(exact.of_blocks(np.hstack(terms), block), "metrics")

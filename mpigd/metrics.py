"""Metrics over all rows of all ranks. Arguments are of this rank's slice; results are equal on all ranks."""

from __future__ import annotations

import numpy as np

from mpigd.comm import Comm


def regression(comm: Comm, y: np.ndarray, prediction: np.ndarray, weight: np.ndarray) -> dict[str, float]:
    """Weighted R², RMSE and MAE; all arguments (rows,).

    R² is 1 - sum w (y - prediction)² / sum w (y - mean)²; where y is constant it is 1 for a perfect prediction
    and else 0, as in scikit-learn.
    """
    total, weighted = comm.sum(np.array([weight.sum(), weight @ y]))
    error = y - prediction
    squares, absolute, spread = comm.sum(
        np.array([weight @ error**2, weight @ np.abs(error), weight @ (y - weighted / total) ** 2])
    )
    return {
        "r2": float(1.0 - squares / spread) if spread > 0.0 else float(squares == 0.0),
        "rmse": float(np.sqrt(squares / total)),
        "mae": float(absolute / total),
    }


def classification(comm: Comm, y: np.ndarray, probability: np.ndarray, weight: np.ndarray) -> dict[str, float]:
    """Weighted accuracy and mean log loss; y (rows,) class numbers, probability (rows, K)."""
    of_label = probability[np.arange(len(y)), y.astype(np.int64)]
    # A probability that was rounded to zero counts as the smallest one, as in scikit-learn.
    loss = -np.log(np.maximum(of_label, np.finfo(np.float64).eps))
    right = np.argmax(probability, axis=1) == y
    total, correct, losses = comm.sum(np.array([weight.sum(), weight @ right, weight @ loss]))
    return {"accuracy": float(correct / total), "log_loss": float(losses / total)}

"""Classes of models as other programs have them, and whether the parts of a model from elsewhere belong together."""

from __future__ import annotations

import numpy as np
from mpigd_kernels import Loss

from mpigd.errors import DataError
from mpigd.model import Model


def check_shapes(model: Model) -> None:
    """Raise DataError unless the parts of a model belong together and its numbers are finite."""
    coef, intercept, classes = model.coef, model.intercept, model.classes
    if coef.ndim not in (1, 2) or not coef.size or len(coef) != len(model.feature_names):
        raise DataError(f"coef of shape {coef.shape}: expected a row for each of {len(model.feature_names)} columns")
    if intercept.shape != coef.shape[1:]:
        raise DataError(f"intercept of shape {intercept.shape}: expected {coef.shape[1:]}, as coef has it")
    expected = classes_of(model.loss, coef)
    if classes.shape != (expected,) or not (np.diff(classes) > 0.0).all():
        raise DataError(f"{classes.size} classes with loss {model.loss.name}: expected {expected} numbers, ascending")
    if not (np.isfinite(coef).all() and np.isfinite(intercept).all() and np.isfinite(classes).all()):
        raise DataError("coef, intercept or classes hold numbers that are not finite")


def classes_of(loss: Loss, coef: np.ndarray) -> int:
    """How many classes a model with a loss and coefficients (d,) or (d, K) tells apart; 0 for numbers."""
    if loss.target not in ("binary", "classes"):
        return 0
    return 2 if coef.ndim == 1 else int(coef.shape[1])


def labels_of(model: Model) -> np.ndarray:
    """The labels of classes, int64 where all are whole numbers that this can hold, else float64."""
    labels = model.classes
    whole = (labels == np.rint(labels)).all() and np.abs(labels).max(initial=0.0) < 2.0**63
    return labels.astype(np.int64) if whole else labels

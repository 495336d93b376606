"""Classification: logistic regression and support vector machines."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

from mpigd.estimators.classifier import Classifier


@dataclass(eq=False, repr=False)
class LogisticRegression(Classifier):
    """Logistic regression, with more than two classes multinomial, as `sklearn.linear_model.LogisticRegression`.

    C sum_i loss_i + (1 - l1_ratio) ||coef||^2 / 2 + l1_ratio ||coef||_1.
    """

    _: KW_ONLY

    C: float = 1.0
    """Weight of the loss; inf is no penalty."""

    l1_ratio: float = 0.0
    """Share of the penalty that makes coefficients zero."""

    @property
    def _likelihood(self) -> bool:
        return True

    def _loss(self, outputs: int) -> tuple[str, float | None]:
        return "logistic" if outputs == 2 else "softmax", None

    def _penalty(self, weight: float) -> dict[str, Any]:
        share = self._number("l1_ratio", high=1.0)
        strength = 1.0 / (self._positive("C") * weight)
        return {"l1": strength * share, "l2": strength * (1.0 - share)}


@dataclass(eq=False, repr=False)
class LinearSVC(Classifier):
    """A linear support vector machine with squared hinge loss, one for each class against the others if there are many.

    ||coef||^2 / 2 + C sum_i max(0, 1 - z_i)^2, as `sklearn.svm.LinearSVC`, which penalises the intercept, too.
    """

    _: KW_ONLY

    C: float = 1.0
    """Weight of the loss."""

    def _loss(self, outputs: int) -> tuple[str, float | None]:
        return "squared-hinge", None

    def _penalty(self, weight: float) -> dict[str, Any]:
        return {"l2": 0.5 / (self._positive("C") * weight)}  # the loss of mpigd is half of that above

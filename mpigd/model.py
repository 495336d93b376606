"""Fitted models as fits make them and jobs use them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mpigd_kernels import LOSSES, Loss

from mpigd import modelfile
from mpigd.errors import DataError
from mpigd.predictor import Predictor


@dataclass(frozen=True)
class Model(Predictor):
    """A linear model (see `Predictor`) with the loss and all that is known of its fit.

    config : the options that it was made with.  result : the numbers of the fit.
    fit : where the fit ended, so that it can be verified: theta and gradient (p, K) float64 as the solver had them,
    mean and scale (d,) of the columns.
    path : of fits for several strengths of the penalty, where asked for, the last of which is the model: strength,
    objective, passes, converged (m,), coef (m, d) or (m, d, K), intercept (m,) or (m, K).

    >>> slope = Model(np.array([2.0]), np.array(1.0), LOSSES["squared"], ("x",), np.zeros(0))
    >>> slope.predict(np.array([[0.0], [3.0]]))
    array([1., 7.])
    """

    coef: np.ndarray
    intercept: np.ndarray
    loss: Loss
    feature_names: tuple[str, ...]
    classes: np.ndarray
    config: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    fit: dict[str, np.ndarray] = field(default_factory=dict)
    path: dict[str, np.ndarray] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()

    @property
    def link(self) -> str:  # type: ignore[override]
        """Of the loss."""
        return self.loss.link

    @property
    def threshold(self) -> float | None:  # type: ignore[override]
        """As a fit chose it, or was told."""
        return self.result.get("threshold")

    @property
    def fingerprint(self) -> str:
        """Hash of the bytes of coefficients and intercept, 32 hexadecimal digits: equal only for the same bits."""
        return modelfile.fingerprint(self.coef, self.intercept)

    @property
    def parameter(self) -> float:
        """The parameter of the loss; 0 for one that has none."""
        if self.loss.parameter is None:
            return 0.0
        return float(self.config.get("loss_parameter", self.loss.parameter.default))

    def save(self, path: Path) -> None:
        """Write a model file."""
        modelfile.write(path, modelfile.Contents(**{**vars(self), "loss": self.loss.name, "link": self.link}))

    @classmethod
    def load(cls, path: Path) -> Model:
        """Read what `save` wrote; a file that is something else, or damaged, is a DataError."""
        found = dict(vars(modelfile.read(path)))
        del found["link"]
        if found["loss"] not in LOSSES:
            raise DataError(f"{path}: damaged model: there is no loss {found['loss']}")
        return cls(**{**found, "loss": LOSSES[found["loss"]]})

"""Fitted models: what they hold, how they predict, how they are stored."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from mpigd_kernels import LOSSES, Loss

from mpigd import __version__
from mpigd.errors import DataError
from mpigd.files import written_whole
from mpigd.hdf5 import open_file

FORMAT = "mpigd-model-1"


@dataclass(frozen=True)
class Model:
    """A linear model: eta = X coef + intercept.

    coef : (d,) float64, or (d, K) for K classes or outputs, on the scale of the original columns.
    intercept : () or (K,) float64.
    classes : (0,), (2,) or (K,) float64: the labels that class numbers stand for.
    result : the numbers of the fit.  config : the options that it was made with.
    fit : where the fit ended, so that it can be verified: theta and gradient (p, K) float64 as the solver had them,
    mean and scale (d,) of the columns.
    path : of fits for several strengths of the penalty, where asked for, the last of which is the model: strength,
    objective, passes, converged (m,), coef (m, d) or (m, d, K), intercept (m,) or (m, K).
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

    @property
    def fingerprint(self) -> str:
        """Hash of the bytes of coefficients and intercept, 32 hexadecimal digits: equal only for the same bits."""
        return _checksum(self.coef, self.intercept)[:32]

    @property
    def has_probabilities(self) -> bool:
        """Whether `mean` gives probabilities of classes: not for a loss that only tells the side."""
        return len(self.classes) > 0 and self.loss.link != "sign"

    @property
    def parameter(self) -> float:
        """The parameter of the loss; 0 for one that has none."""
        if self.loss.parameter is None:
            return 0.0
        return float(self.config.get("loss_parameter", self.loss.parameter.default))

    def columns(self) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients as (d, K) and intercept as (K,), for K = 1 too."""
        return self.coef.reshape(len(self.coef), -1), self.intercept.reshape(-1)

    def mean(self, eta: np.ndarray) -> np.ndarray:
        """The expected y, (n,) or (n, K), or the probability of each class (n, K), from eta (n, 1 or K)."""
        mean = self.loss.mean(eta)
        if self.loss.target == "binary":
            return np.hstack([1.0 - mean, mean])
        return mean if self.coef.ndim == 2 else mean[:, 0]

    @property
    def threshold(self) -> float | None:
        """The probability from which on a row is taken for the second of two classes; None for the larger one."""
        return self.result.get("threshold")

    def pick(self, mean: np.ndarray) -> np.ndarray:
        """Class numbers (n,) that rows are taken for: the most probable ones, or as the threshold says."""
        return np.argmax(mean, axis=1) if self.threshold is None else (mean[:, 1] >= self.threshold).astype(np.int64)

    def label(self, mean: np.ndarray) -> np.ndarray:
        """What `predict` answers: a class, (n,), or the expected y itself, (n,) or (n, K)."""
        return self.classes[self.pick(mean)] if len(self.classes) else mean

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Predict the rows of X (n, d), without MPI: class labels, or expected y; shape (n,).

        >>> slope = Model(np.array([2.0]), np.array(1.0), LOSSES["squared"], ("x",), np.zeros(0))
        >>> slope.predict(np.array([[0.0], [3.0]]))
        array([1., 7.])
        """
        coef, intercept = self.columns()
        return self.label(self.mean(np.asarray(X, np.float64) @ coef + intercept))

    def save(self, path: Path) -> None:
        """Write an HDF5 file: datasets coef, intercept, classes, feature_names, groups fit and path, and attributes."""
        with written_whole(path) as temporary, h5py.File(temporary, "w") as file:
            file["coef"], file["intercept"], file["classes"] = self.coef, self.intercept, self.classes
            file.create_dataset("feature_names", data=list(self.feature_names), dtype=h5py.string_dtype())
            file.attrs["format"] = FORMAT
            file.attrs["mpigd_version"] = __version__
            file.attrs["loss"] = self.loss.name
            file.attrs["link"] = self.loss.link
            file.attrs["config"] = json.dumps(self.config)
            file.attrs["result"] = json.dumps(self.result)
            for name, values in self.fit.items():
                file[f"fit/{name}"] = values
            for name, values in self.path.items():
                file[f"path/{name}"] = values
            file.attrs["fingerprint"] = self.fingerprint
            file.attrs["checksum"] = self._checksum()

    @classmethod
    def load(cls, path: Path) -> Model:
        """Read what `save` wrote; a file that is something else, or damaged, is a DataError."""
        with open_file(path) as file:
            if not is_model(file):
                raise DataError(f"{path}: not a model of mpigd (no attribute format = {FORMAT})")
            try:
                model = cls(
                    coef=file["coef"][()],
                    intercept=np.asarray(file["intercept"][()]),
                    loss=LOSSES[file.attrs["loss"]],
                    feature_names=tuple(file["feature_names"].asstr()[:]),
                    classes=file["classes"][()],
                    config=json.loads(file.attrs["config"]),
                    result=json.loads(file.attrs["result"]),
                    fit={name: values[()] for name, values in file.get("fit", {}).items()},
                    path={name: values[()] for name, values in file.get("path", {}).items()},
                )
                intact = file.attrs["checksum"] == model._checksum()
            except (KeyError, ValueError, OSError, AttributeError, TypeError) as error:
                raise DataError(f"{path}: damaged model: {error}") from None
            if not intact:
                raise DataError(f"{path}: damaged model: what it holds does not match its checksum")
            return model

    def _checksum(self) -> str:
        more = [group[name] for group in (self.fit, self.path) for name in sorted(group)]
        arrays = (self.coef, self.intercept, *more)
        return _checksum(*arrays, text=json.dumps([self.config, self.result], sort_keys=True))


def is_model(file: h5py.File) -> bool:
    """Whether an open HDF5 file is a model."""
    return bool(file.attrs.get("format", None) == FORMAT)


def _checksum(*arrays: np.ndarray, text: str = "") -> str:
    numbers = b"".join(array.astype("<f8").tobytes() for array in arrays)
    return hashlib.sha256(numbers + text.encode()).hexdigest()

"""Models for serving: a few numbers and plain numpy, without MPI, kernels or compilers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mpigd import modelfile
from mpigd.predictor import Predictor


@dataclass(frozen=True)
class Served(Predictor):
    """A model that answers for rows in memory (see `Predictor`), in microseconds for one row.

    >>> slope = Served(np.array([2.0]), np.array(1.0), "identity", ("x",), np.zeros(0))
    >>> float(slope.predict([3.0])), slope.predict({"x": [0.0, 3.0]})
    (7.0, array([1., 7.]))
    """

    coef: np.ndarray
    intercept: np.ndarray
    link: str
    feature_names: tuple[str, ...]
    classes: np.ndarray
    threshold: float | None = None
    class_names: tuple[str, ...] = ()


def load(path: Path | str) -> Served:
    """Read a model.h5 that train wrote, or the one in a run directory. DataError for anything else."""
    found = modelfile.read(modelfile.model_path(Path(path)))
    threshold = found.result.get("threshold")
    columns = found.coef, found.intercept, found.link, found.feature_names
    return Served(*columns, found.classes, threshold, found.class_names)

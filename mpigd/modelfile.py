"""Model files: HDF5, written whole, with a checksum of what they hold."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mpigd import __version__
from mpigd.errors import DataError
from mpigd.files import written_whole
from mpigd.hdf5 import open_file

FORMAT = "mpigd-model-1"
MODEL = "model.h5"  # its name in a run directory


@dataclass(frozen=True)
class Contents:
    """What a model file holds; all but the names of loss and link as `Model` has it."""

    coef: np.ndarray
    intercept: np.ndarray
    loss: str
    link: str
    feature_names: tuple[str, ...]
    classes: np.ndarray
    config: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    fit: dict[str, np.ndarray] = field(default_factory=dict)
    path: dict[str, np.ndarray] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()

    @property
    def checksum(self) -> str:
        """Of all numbers but the classes, and of the options and the numbers of the fit."""
        more = [group[name] for group in (self.fit, self.path) for name in sorted(group)]
        return checksum(self.coef, self.intercept, *more, text=json.dumps([self.config, self.result], sort_keys=True))


def write(path: Path, model: Contents) -> None:
    """Write datasets coef, intercept, classes, feature_names, class_names if known, groups and attributes."""
    with written_whole(path) as temporary, h5py.File(temporary, "w") as file:
        file["coef"], file["intercept"], file["classes"] = model.coef, model.intercept, model.classes
        file.create_dataset("feature_names", data=list(model.feature_names), dtype=h5py.string_dtype())
        if model.class_names:
            file.create_dataset("class_names", data=list(model.class_names), dtype=h5py.string_dtype())
        file.attrs["format"] = FORMAT
        file.attrs["mpigd_version"] = __version__
        file.attrs["loss"] = model.loss
        file.attrs["link"] = model.link
        file.attrs["config"] = json.dumps(model.config)
        file.attrs["result"] = json.dumps(model.result)
        for name, values in model.fit.items():
            file[f"fit/{name}"] = values
        for name, values in model.path.items():
            file[f"path/{name}"] = values
        file.attrs["fingerprint"] = fingerprint(model.coef, model.intercept)
        file.attrs["checksum"] = model.checksum


def read(path: Path) -> Contents:
    """Read what `write` wrote; a file that is something else, or damaged, is a DataError."""
    with open_file(path) as file:
        if not is_model(file):
            raise DataError(f"{path}: not a model of mpigd (no attribute format = {FORMAT})")
        try:
            model = Contents(
                coef=file["coef"][()],
                intercept=np.asarray(file["intercept"][()]),
                loss=str(file.attrs["loss"]),
                link=str(file.attrs["link"]),
                feature_names=tuple(file["feature_names"].asstr()[:]),
                classes=file["classes"][()],
                config=json.loads(file.attrs["config"]),
                result=json.loads(file.attrs["result"]),
                fit={name: values[()] for name, values in file.get("fit", {}).items()},
                path={name: values[()] for name, values in file.get("path", {}).items()},
                class_names=tuple(file["class_names"].asstr()[:]) if "class_names" in file else (),
            )
            intact = file.attrs["checksum"] == model.checksum
        except (KeyError, ValueError, OSError, AttributeError, TypeError) as error:
            raise DataError(f"{path}: damaged model: {error}") from None
        if not intact:
            raise DataError(f"{path}: damaged model: what it holds does not match its checksum")
        return model


def is_model(file: h5py.File) -> bool:
    """Whether an open HDF5 file is a model."""
    return bool(file.attrs.get("format", None) == FORMAT)


def model_path(path: Path) -> Path:
    """The model file: path itself, or the one in it where it is a run directory."""
    return path / MODEL if path.is_dir() else path


def fingerprint(coef: np.ndarray, intercept: np.ndarray) -> str:
    """Hash of the bytes of coefficients and intercept, 32 hexadecimal digits: equal only for the same bits."""
    return checksum(coef, intercept)[:32]


def checksum(*arrays: np.ndarray, text: str = "") -> str:
    """SHA-256 of the bytes of arrays, as little-endian float64, and of a text."""
    numbers = b"".join(array.astype("<f8").tobytes() for array in arrays)
    return hashlib.sha256(numbers + text.encode()).hexdigest()

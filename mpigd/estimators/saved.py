"""Fitted estimators in files: a model of mpigd, with what else belongs to an estimator among its results.

Everything is a number or text, so that reading a file runs no code, as reading a pickle would.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mpigd.errors import DataError
from mpigd.model import Model

KEY = "estimator"
T = TypeVar("T")


def write(estimator: Any, model: Model, path: Path) -> None:
    """Write an estimator with its model; TypeError for a parameter that is no plain value."""
    params = estimator.get_params(deep=False)
    params.pop("comm")
    about = {
        "class": type(estimator).__name__,
        "parameters": {name: _plain(name, value) for name, value in params.items()},
        "attributes": {name: _plain(name, value) for name, value in vars(estimator).items() if name in estimator.SAVED},
    }
    replace(model, result={**model.result, KEY: about}).save(path)


def read(cls: type[T], path: Path) -> T:
    """An estimator of a class; DataError where the file holds something else."""
    model = Model.load(path)
    about = model.result.pop(KEY, None)
    if about is None or about["class"] != cls.__name__:
        found = "a model without an estimator" if about is None else f"a {about['class']}"
        raise DataError(f"{path}: expected a {cls.__name__}, but it is {found}")
    estimator: Any = cls(**{name: _restored(value) for name, value in about["parameters"].items()})
    estimator._restore(model, {name: _restored(value) for name, value in about["attributes"].items()})
    return estimator  # type: ignore[no-any-return]


def _plain(name: str, value: Any) -> Any:
    """A value as JSON has it; what JSON has not as a list that begins with its kind."""
    if isinstance(value, np.ndarray):
        return ["array", "O" if value.dtype.kind == "O" else value.dtype.str, _plain(name, value.tolist())[1:]]
    if isinstance(value, dict):
        return ["dictionary", *([_plain(name, key), _plain(name, each)] for key, each in value.items())]
    if isinstance(value, (list, tuple)):
        return ["list", *(_plain(name, each) for each in value)]
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise TypeError(f"{name}={value!r} can't be saved: expected numbers, text, and dictionaries or lists of them")


def _restored(value: Any) -> Any:
    """What `_plain` was given."""
    if not isinstance(value, list):
        return value
    kind, *rest = value
    if kind == "array":
        return np.array([_restored(each) for each in rest[1]], dtype=rest[0])
    if kind == "dictionary":
        return {_restored(key): _restored(each) for key, each in rest}
    return [_restored(each) for each in rest]

"""Models as JSON, as model.schema.json beside this module describes it: what a model file holds, in text.

A number is written with as many digits as give the same bits back, so that nothing is lost on the way.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from mpigd_kernels import LOSSES

from mpigd import __version__
from mpigd.errors import DataError
from mpigd.exchange.shapes import check_shapes
from mpigd.model import Model
from mpigd.modelfile import FORMAT

SCHEMA = Path(__file__).with_name("model.schema.json")


def to_json(model: Model) -> str:
    """A model as one JSON object, a line for each key. DataError for numbers that JSON has not."""
    values = {
        "format": FORMAT,
        "mpigd_version": __version__,
        "loss": model.loss.name,
        "link": model.link,
        "parameter": None if model.loss.parameter is None else model.parameter,
        "feature_names": list(model.feature_names),
        "classes": model.classes.tolist(),
        "threshold": model.threshold,
        "coef": model.coef.tolist(),
        "intercept": model.intercept.tolist(),
        "config": _finite(model.config),
        "result": _finite(model.result),
        "fit": {name: array.tolist() for name, array in model.fit.items()},
        "path": {name: array.tolist() for name, array in model.path.items()},
        "fingerprint": model.fingerprint,
    }
    try:
        lines = (f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in values.items())
        return "{\n  " + ",\n  ".join(lines) + "\n}\n"
    except ValueError:
        raise DataError("the model holds numbers that are not finite, which JSON has not") from None


def from_json(text: str) -> Model:
    """The model that `to_json` was given, or one that another program wrote; DataError for anything else."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON: {error}") from None
    try:
        return _model(values)
    except KeyError as error:
        raise DataError(f"the model lacks the key {error}") from None
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(f"a key of the model holds what it may not: {error}") from None


def _model(values: dict[str, Any]) -> Model:
    """The model of a JSON object, its shapes checked."""
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise DataError(f"not a model of mpigd (no key format = {FORMAT})")
    loss = LOSSES.get(values["loss"])
    if loss is None or loss.link != values["link"]:
        raise DataError(f"there is no loss {values['loss']} with link {values['link']}")
    parameter = values.get("parameter")
    usual = loss.parameter is None or parameter == loss.parameter.default
    model = Model(
        coef=np.array(values["coef"], np.float64),
        intercept=np.array(values["intercept"], np.float64),
        loss=loss,
        feature_names=tuple(map(str, values["feature_names"])),
        classes=np.array(values["classes"], np.float64),
        config=_with(values.get("config"), "loss_parameter", None if usual else parameter),
        result=_with(values.get("result"), "threshold", values.get("threshold")),
        fit={name: _numbers(array) for name, array in values.get("fit", {}).items()},
        path={name: _numbers(array) for name, array in values.get("path", {}).items()},
    )
    check_shapes(model)
    if values.get("fingerprint", model.fingerprint) != model.fingerprint:
        raise DataError("damaged model: its coefficients do not match its fingerprint")
    return model


def _with(values: Any, key: str, value: float | None) -> dict[str, Any]:
    """Options, or numbers of a fit, with one that other programs read from the top, where they do not have it."""
    known = dict(values or {})
    return known if value is None else {key: float(value), **known}


def _numbers(values: Any) -> np.ndarray:
    """Lists in lists as an array."""
    array = np.array(values)
    if array.dtype.kind not in "bif":
        raise TypeError("expected numbers in fit and path")
    return array


def _finite(value: Any) -> Any:
    """The same with None for numbers that are not finite."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

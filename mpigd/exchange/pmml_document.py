"""Models as documents of PMML 4.4 (Data Mining Group, dmg.org/pmml/v4-4), which many systems score rows with."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import numpy as np

from mpigd import __version__
from mpigd.errors import UsageError
from mpigd.exchange.shapes import labels_of
from mpigd.model import Model

SPACE = "http://www.dmg.org/PMML-4_4"
# From the linear predictors to the answer, by link: see normalizationMethod of RegressionModel.
NORMALIZATION = {
    "identity": "none",
    "log": "exp",
    "logit": "logit",
    "probit": "probit",
    "complementary log-log": "cloglog",
    "multinomial logit": "softmax",
}
Labels = list[int] | list[float]
NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_pmml(model: Model) -> str:
    """A document with one model: its fields have the names of columns, the target is y, or y_ where a column is.

    It is a RegressionModel. Its output fields are prediction, or label and the probability of each label, as in
    probability_1. UsageError for a model of several outputs, which PMML has not, or names that it can't hold.
    """
    check(model)
    root = ET.Element("PMML", {"xmlns": SPACE, "version": "4.4"})
    header = child(root, "Header", description=f"{model.loss.name} regression")
    child(header, "Extension", extender="mpigd", name="fingerprint", value=model.fingerprint)
    child(header, "Application", name="mpigd", version=__version__)
    target, labels = target_name(model), labels_of(model).tolist()
    dictionary(root, model, target, labels)
    regression(root, model, target, labels)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def check(model: Model) -> None:
    """Raise UsageError for what PMML can't say."""
    outputs, names = model.columns()[0].shape[1], model.feature_names
    if outputs > 1 and not len(model.classes):
        raise UsageError(f"the model has {outputs} outputs, and a model of PMML has one; use ONNX or JSON")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"two columns of the model have the name '{twice}', and fields of PMML need different ones")
    for name in names:
        if not name or NOT_IN_XML.search(name):
            raise UsageError(f"a column of the model has the name {name!r}, which XML can't hold")


def child(parent: ET.Element, tag: str, **attributes: object) -> ET.Element:
    """A new element in another one; numbers with all their digits."""
    return ET.SubElement(parent, tag, {name: text(value) for name, value in attributes.items()})


def text(value: object) -> str:
    """As an attribute holds it."""
    return repr(float(value)) if isinstance(value, (float, np.floating)) else str(value)


def target_name(model: Model) -> str:
    """A name that no column has."""
    name = "y"
    while name in model.feature_names:
        name += "_"
    return name


def kind_of(labels: Labels) -> dict[str, str]:
    """What a field of answers is."""
    if not labels:
        return {"optype": "continuous", "dataType": "double"}
    return {"optype": "categorical", "dataType": "integer" if all(isinstance(x, int) for x in labels) else "double"}


def dictionary(root: ET.Element, model: Model, target: str, labels: Labels) -> None:
    """All fields."""
    fields = child(root, "DataDictionary", numberOfFields=len(model.feature_names) + 1)
    for name in model.feature_names:
        child(fields, "DataField", name=name, optype="continuous", dataType="double")
    field = child(fields, "DataField", name=target, **kind_of(labels))
    for label in labels:
        child(field, "Value", value=label)


def regression(root: ET.Element, model: Model, target: str, labels: Labels) -> None:
    """A table of coefficients for each class, or of two classes the second: the first is what is left."""
    function = "classification" if labels else "regression"
    # For a loss that only tells the side either keeps the order of predictors, which is all that a label needs.
    side = "softmax" if model.coef.ndim == 2 else "logit"
    method = side if model.link == "sign" else NORMALIZATION[model.link]
    element = child(root, "RegressionModel", modelName="mpigd", functionName=function, normalizationMethod=method)
    schema(element, model, target)
    output(element, model, labels)
    coef, intercept = model.columns()
    if labels and model.coef.ndim == 1:
        table(element, model, coef[:, 0], intercept[0], targetCategory=labels[1])
        child(element, "RegressionTable", intercept=0.0, targetCategory=labels[0])
        return
    for k in range(coef.shape[1]):
        category = {"targetCategory": labels[k]} if labels else {}
        table(element, model, coef[:, k], intercept[k], **category)


def table(parent: ET.Element, model: Model, coef: np.ndarray, intercept: float, **category: object) -> None:
    """The linear predictor of a class, or of y."""
    element = child(parent, "RegressionTable", intercept=intercept, **category)
    for name, value in zip(model.feature_names, coef, strict=True):
        child(element, "NumericPredictor", name=name, coefficient=value)


def schema(parent: ET.Element, model: Model, target: str) -> None:
    """What is used, and what for."""
    element = child(parent, "MiningSchema")
    child(element, "MiningField", name=target, usageType="target")
    for name in model.feature_names:
        child(element, "MiningField", name=name)


def output(parent: ET.Element, model: Model, labels: Labels) -> None:
    """What is answered."""
    element = child(parent, "Output")
    kind = kind_of(labels)
    if not labels:
        child(element, "OutputField", name="prediction", feature="predictedValue", **kind)
        return
    if model.has_probabilities:
        numbers = {"optype": "continuous", "dataType": "double", "feature": "probability"}
        for label in labels:
            child(element, "OutputField", name=f"probability_{label}", value=label, **numbers)
    if model.threshold is None:
        child(element, "OutputField", name="label", feature="predictedValue", **kind)
        return
    chosen = child(element, "OutputField", name="label", feature="transformedValue", **kind)
    either = child(chosen, "Apply", function="if")
    reached = child(either, "Apply", function="greaterOrEqual")
    child(reached, "FieldRef", field=f"probability_{labels[1]}")
    child(reached, "Constant", dataType="double").text = text(model.threshold)
    for label in (labels[1], labels[0]):
        child(either, "Constant", dataType=kind["dataType"]).text = text(label)

"""Models as ONNX graphs of plain operators, in double precision, so that answers are those of `Model.predict`.

The operators LinearRegressor and LinearClassifier of ai.onnx.ml are not used: they compute in single precision. Nor are
Sigmoid, whose small probabilities onnxruntime rounds to zero, and Erf, which it has in single precision only.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from mpigd_kernels.elementary import LARGEST_EXPONENT, LARGEST_EXPONENT_SINGLE, erfcx, erfcx_single

from mpigd import __version__
from mpigd.errors import UsageError
from mpigd.exchange.shapes import labels_of
from mpigd.model import Model

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

OPSET, FORMAT = 13, 7  # both of ONNX 1.8, which is of 2020: what is older has no Softmax along one axis
LARGEST = 2**31 - 2**20  # bytes of coefficients in a file, which holds 2 GiB at most


def to_onnx(model: Model, float32: bool = False) -> ModelProto:
    """A graph with the input X (rows, d) and, for a model of numbers, the output prediction, (rows,) or (rows, K).

    For classes the outputs are label (rows,), int64 where all labels are integers, and probability (rows, K); for
    a loss that only tells the side, eta, (rows,) or (rows, K), instead of the latter. Other numbers are float64.

    float32 : X, coefficients and answers in single precision, for runtimes and devices that have no other.
    UsageError where onnx is missing, or the model is larger than such a file may be.
    """
    try:
        from onnx import checker, helper
    except ImportError:
        raise UsageError("ONNX needs the package onnx: pip install 'mpigd[exchange]'") from None
    graph = Graph(np.float32 if float32 else np.float64)
    coef, intercept = model.columns()
    if coef.size * graph.type.itemsize > LARGEST:
        raise UsageError(f"{coef.size:,} coefficients are more than the 2 GiB of an ONNX file hold; use JSON")
    answer(graph, model, graph.input("X", len(coef)).apply("MatMul", graph.constant(coef)) + intercept)
    made = helper.make_model(
        graph.made(f"mpigd_{model.loss.name}"),
        producer_name="mpigd",
        producer_version=__version__,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=FORMAT,
    )
    about = {
        "fingerprint": model.fingerprint,
        "loss": model.loss.name,
        "link": model.link,
        "feature_names": json.dumps(list(model.feature_names)),
        "classes": json.dumps(model.classes.tolist()),
    }
    helper.set_model_props(made, about)
    checker.check_model(made, full_check=True)
    return made


class Graph:
    """Operators that follow one another, and constants that they take. Numbers have one type, float64 or float32."""

    def __init__(self, kind: type[np.floating[Any]]) -> None:
        self.type = np.dtype(kind)
        self.single = kind is np.float32
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def input(self, name: str, columns: int) -> Term:
        """The rows (n, columns) that answers are for."""
        self._inputs.append(_info(name, self.type, ["rows", columns]))
        return Term(self, name)

    def output(self, name: str, term: Term, dtype: np.dtype[Any], columns: int | None) -> None:
        """Answer a term under a name: (n,) where columns is None, else (n, columns)."""
        from onnx import helper

        self._nodes.append(helper.make_node("Identity", [term.name], [name]))
        self._outputs.append(_info(name, dtype, ["rows"] if columns is None else ["rows", columns]))

    def constant(self, values: Any) -> Term:
        """Numbers, in the type of the graph unless they are whole ones."""
        from onnx import numpy_helper

        array = np.asarray(values)
        array = array if array.dtype.kind == "i" else array.astype(self.type)
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        return Term(self, name)

    def apply(self, operator: str, *terms: Term, **attributes: Any) -> Term:
        """What an operator makes of terms."""
        from onnx import helper

        name = f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, [term.name for term in terms], [name], **attributes))
        return Term(self, name)

    def made(self, name: str) -> GraphProto:
        """The whole, for ONNX."""
        from onnx import helper

        return helper.make_graph(self._nodes, name, self._inputs, self._outputs, self._constants)


class Term:
    """A value in a graph. Arithmetic with it adds operators, so that a formula for numbers makes a graph as well."""

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph, self.name = graph, name

    def apply(self, operator: str, *others: Any, **attributes: Any) -> Term:
        """What an operator makes of this term and others, or numbers."""
        terms = (other if isinstance(other, Term) else self.graph.constant(other) for other in others)
        return self.graph.apply(operator, self, *terms, **attributes)

    def __add__(self, other: Any) -> Term:
        return self.apply("Add", other)

    def __sub__(self, other: Any) -> Term:
        return self.apply("Sub", other)

    def __rsub__(self, other: Any) -> Term:
        return self.graph.constant(other).apply("Sub", self)

    def __mul__(self, other: Any) -> Term:
        return self.apply("Mul", other)

    def __truediv__(self, other: Any) -> Term:
        return self.apply("Div", other)

    def __rtruediv__(self, other: Any) -> Term:
        return self.graph.constant(other).apply("Div", self)

    __radd__, __rmul__ = __add__, __mul__

    def where(self, yes: Any, no: Any) -> Term:
        """One where this term, a condition, holds, and the other where it does not."""
        return self.apply("Where", yes, no)


def answer(graph: Graph, model: Model, eta: Term) -> None:
    """Add what follows from eta (n, K), as `Predictor` does."""
    outputs = model.columns()[0].shape[1]
    columns = outputs if model.coef.ndim == 2 else None
    mean = expected(model.link, eta)
    if not len(model.classes):
        graph.output("prediction", mean if columns else squeezed(mean), graph.type, columns)
        return
    told = eta if model.link == "sign" else mean
    share = told if columns else (1.0 - mean).apply("Concat", mean, axis=1)
    if model.threshold is None:
        number = share.apply("ArgMax", axis=1, keepdims=0)
    else:
        reached = share.apply("Gather", np.array(1), axis=1).apply("GreaterOrEqual", model.threshold)
        number = reached.apply("Cast", to=_code(np.dtype(np.int64)))
    labels = labels_of(model)
    kind = labels.dtype if labels.dtype.kind == "i" else graph.type
    graph.output("label", graph.constant(labels).apply("Gather", number, axis=0), kind, None)
    if model.has_probabilities:
        graph.output("probability", share, graph.type, len(labels))
    else:
        graph.output("eta", eta if columns else squeezed(eta), graph.type, columns)


def expected(link: str, eta: Term) -> Term:
    """The mean of y (probabilities for classes) from eta, as `mpigd.predictor.expected`."""
    single = eta.graph.single
    if link == "identity":
        return eta
    if link == "sign":
        return eta.apply("Greater", 0.0).where(1.0, 0.0)
    if link == "log":
        return eta.apply("Min", LARGEST_EXPONENT_SINGLE if single else LARGEST_EXPONENT).apply("Exp")
    if link == "multinomial logit":
        return eta.apply("Softmax", axis=1)
    size, positive = eta.apply("Abs"), eta.apply("GreaterOrEqual", 0.0)
    if link == "logit":
        e = (0.0 - size).apply("Exp")
        return positive.where(1.0, e) / (1.0 + e)
    if link == "probit":
        # Phi(-|eta|), as the loss has it
        scaled = (erfcx_single if single else erfcx)(math.sqrt(0.5) * size)
        tail = 0.5 * (-0.5 * size * size).apply("Exp") * scaled
        return positive.where(1.0 - tail, tail)
    # 1 - exp(-mu) = 2 t / (1 + t) with t = tanh(mu / 2), which does not cancel where mu is small
    t = (0.5 * eta.apply("Min", 10.0).apply("Exp")).apply("Tanh")
    return 2.0 * t / (1.0 + t)


def squeezed(term: Term) -> Term:
    """(n, 1) without its second axis."""
    return term.apply("Squeeze", np.array([1]))


def _code(dtype: np.dtype[Any]) -> int:
    """The number of a type in ONNX."""
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(dtype))


def _info(name: str, dtype: np.dtype[Any], shape: list[Any]) -> Any:
    from onnx import helper

    return helper.make_tensor_value_info(name, _code(dtype), shape)

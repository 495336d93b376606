"""Models for other programs, and from them: `from mpigd.exchange import to_onnx`.

Each format is a module; the libraries that some need are imported when they are asked for.
"""

from mpigd.exchange.json_object import from_json, to_json
from mpigd.exchange.linear_models import from_sklearn
from mpigd.exchange.onnx_graph import to_onnx
from mpigd.exchange.pmml_document import to_pmml

__all__ = ["from_json", "from_sklearn", "to_json", "to_onnx", "to_pmml"]

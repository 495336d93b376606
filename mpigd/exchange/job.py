"""The jobs `export` and `import`: a model in another format, and back. One rank does them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mpigd.comm import Comm
from mpigd.errors import DataError
from mpigd.exchange.json_object import from_json, to_json
from mpigd.exchange.linear_models import from_skops
from mpigd.exchange.onnx_graph import to_onnx
from mpigd.exchange.pmml_document import to_pmml
from mpigd.files import check_writable, written_whole
from mpigd.model import Model
from mpigd.modelfile import model_path
from mpigd.options import Export, Import


def export_model(comm: Comm, options: Export, observers: Sequence[Any] = ()) -> dict[str, Any]:
    """Write a model as ONNX, PMML or JSON. A collective."""
    found: dict[str, Any] = {}
    with comm.agreement():
        if comm.rank == 0:
            check_writable(options.output)
            model = Model.load(model_path(options.model))
            written = as_bytes(model, options)
            with written_whole(options.output) as temporary:
                temporary.write_bytes(written)
            found = {"format": options.chosen, "bytes": len(written), "model_fingerprint": model.fingerprint}
    return {"output": str(options.output), **comm.share(found), "ranks": comm.size}


def as_bytes(model: Model, options: Export) -> bytes:
    """What the file is to hold."""
    if options.chosen == "onnx":
        return bytes(to_onnx(model, options.float32).SerializeToString(deterministic=True))
    return (to_pmml if options.chosen == "pmml" else to_json)(model).encode()


def import_model(comm: Comm, options: Import, observers: Sequence[Any] = ()) -> dict[str, Any]:
    """Make a model file of a model that another program wrote. A collective."""
    found: dict[str, Any] = {}
    with comm.agreement():
        if comm.rank == 0:
            check_writable(options.output)
            model = read(options.file)
            model.save(options.output)
            found = {"loss": model.loss.name, "columns": len(model.coef), "model_fingerprint": model.fingerprint}
    return {"output": str(options.output), **comm.share(found), "ranks": comm.size}


def read(path: Path) -> Model:
    """The model in a file; DataError, which names the file, for what is none."""
    try:
        return from_skops(path) if path.suffix == ".skops" else from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not JSON: it is no text in UTF-8") from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None

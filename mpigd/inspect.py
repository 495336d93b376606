"""The job `inspect`: what a file holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mpigd.comm import Comm
from mpigd.model import Model, is_model
from mpigd.options import Inspect
from mpigd.rundir import model_path
from mpigd.storage import Names, open_file, read_header


def run(comm: Comm, options: Inspect, observers: Sequence[Any] = ()) -> dict[str, Any]:
    """Describe a data file or a model as plain values, on rank 0; the others wait for the outcome."""
    summary: dict[str, Any] = {}
    with comm.agreement():
        if comm.rank == 0:
            path = model_path(options.file)
            with open_file(path) as file:
                model = is_model(file)
            summary = describe_model(path) if model else describe_data(path, Names(x=options.x, y=options.y))
    return comm.share(summary)


def describe_data(path: Path, names: Names) -> dict[str, Any]:
    """Shapes, types and layout of a data file, and the range of its target. Reads y, not X."""
    header = read_header(path, names)
    size = header.block
    summary = {
        "kind": "data",
        "file": str(path),
        "rows": header.n,
        "columns": header.d,
        "type": header.stored_dtype,
        "storage": header.storage,
        "bytes_in_memory": header.bytes,
        "block_rows": size,
        "blocks": -(-header.n // size),
        "sample_weight": header.sample_weight,
        "offset": header.offset,
        "feature_names": list(header.feature_names),
    }
    if header.outputs:
        summary["target"] = describe_target(path, header.names.y, header.n)
    return summary


def describe_target(path: Path, name: str, n: int, chunk: int = 1 << 20) -> dict[str, Any]:
    """Range, mean, and the labels with their counts if there are at most 20 whole ones; in chunks of rows."""
    low, high, total, counts = np.inf, -np.inf, 0.0, dict[float, int]()
    with open_file(path) as file:
        for start in range(0, n, chunk):
            values = file[name].astype(np.float64)[start : start + chunk].reshape(-1)
            low, high, total = min(low, values.min()), max(high, values.max()), total + values.sum()
            if len(counts) <= 20:
                for label, count in zip(*np.unique(values, return_counts=True), strict=True):
                    counts[float(label)] = counts.get(float(label), 0) + int(count)
    summary: dict[str, Any] = {"min": float(low), "max": float(high), "mean": float(total / n)}
    if len(counts) <= 20 and all(label.is_integer() for label in counts):
        summary["labels"] = {f"{label:g}": count for label, count in sorted(counts.items())}
    return summary


def describe_model(path: Path) -> dict[str, Any]:
    """Coefficients and provenance of a model."""
    model = Model.load(path)
    values = {key: value.tolist() for key, value in asdict(model).items() if isinstance(value, np.ndarray)}
    return {
        "kind": "model",
        "file": str(path),
        "loss": model.loss.name,
        "link": model.loss.link,
        "feature_names": list(model.feature_names),
        **values,
        "config": model.config,
        "result": model.result,
    }

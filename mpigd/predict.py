"""The jobs `predict` and `evaluate`: what a model says of data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mpigd.comm import Comm
from mpigd.dataset import Dataset, encode, prepare, read
from mpigd.errors import DataError
from mpigd.files import check_writable, publish, reported, temporary_name
from mpigd.metrics import classification, regression
from mpigd.model import Model
from mpigd.modelfile import model_path
from mpigd.options import Evaluate, Predict
from mpigd.problem import options_of, read_split
from mpigd.ranking import Goal, best_threshold, rank_scores
from mpigd.splits import NAMES as ROLES
from mpigd.splits import check_roles
from mpigd.storage import Names


def predict(comm: Comm, options: Predict, observers: Sequence[Any] = ()) -> dict[str, Any]:
    """Write the prediction of every row; each rank writes those of its own slice."""
    with comm.agreement():
        if comm.rank == 0:
            check_writable(options.output)
    model = load(comm, options.model)
    data = read(comm, options.data, Names(x=options.x))
    mean = model.mean(linear_predictor(comm, model, data))
    results = {"prediction": model.label(mean)}
    if model.has_probabilities:
        results["probability"] = mean
    write_rows(comm, options.output, data, results)
    return {"output": str(options.output), "rows": data.header.n, "ranks": comm.size}


def evaluate(comm: Comm, options: Evaluate, observers: Sequence[Any] = ()) -> dict[str, Any]:
    """Metrics of a model on a data file, over all rows of all ranks."""
    model = load(comm, options.model)
    if options.on == "all":
        data = read(comm, options.data, Names(x=options.x, y=options.y), target="real")
    else:
        with comm.agreement():
            chosen = options_of(model, options.model, options.data)
        split = read_split(comm, replace(chosen, x=options.x, y=options.y))
        check_roles(comm, split, (options.on,))
        data = split.part(ROLES.index(options.on))
    if len(model.classes) and not np.array_equal(data.classes, model.classes):
        with comm.agreement():
            data = encode(data, model.classes)
    rows = int(comm.sum(np.array([sum(np.count_nonzero(weight) for weight in data.weights())]))[0])
    labels = {"labels": model.classes.tolist()} if len(model.classes) else {}
    return {"rows": rows, **score(comm, model, data), **labels, "ranks": comm.size}


def score(comm: Comm, model: Model, data: Dataset) -> dict[str, Any]:
    """Metrics of a model on a slice that has been read, its classes numbered; equal on all ranks."""
    eta, block = linear_predictor(comm, model, data), data.header.block
    mean = model.mean(eta)
    if not len(model.classes):
        prediction, name = mean.reshape(data.rows, -1), model.loss.name
        return regression(comm, data.y, prediction, data.weight, block, name, model.parameter)
    by = eta if eta.shape[1] == 1 else None
    label, picked = data.y[:, 0], model.pick(mean)
    return classification(comm, label, mean, data.weight, block, by, picked, model.has_probabilities)


def chosen_threshold(comm: Comm, model: Model, data: Dataset, goal: Goal, costs: tuple[float, float]) -> float:
    """The probability from which on a row is best taken for the second of two classes. A collective."""
    probability = model.mean(linear_predictor(comm, model, data))[:, 1]
    return best_threshold(comm, rank_scores(comm, probability, data.y[:, 0] == 1.0, data.weight), goal, costs)


def load(comm: Comm, path: Path) -> Model:
    """Read a model once and give it to all ranks."""
    model: Model | None = None
    with comm.agreement():
        if comm.rank == 0:
            model = Model.load(model_path(path))
    shared = comm.share(model)
    if shared is None:
        raise AssertionError("rank 0 has read the model")
    return shared


def check_columns(comm: Comm, model: Model, data: Dataset) -> None:
    """Raise DataError on all ranks unless the data has as many columns as the model."""
    if data.header.d != len(model.coef):
        with comm.agreement():
            raise DataError(
                f"{data.header.label}: dataset '{data.header.names.x}' has {data.header.d} columns; "
                f"the model was fitted on {len(model.coef)}"
            )


def linear_predictor(comm: Comm, model: Model, data: Dataset) -> np.ndarray:
    """Eta (rows, K) of a slice."""
    check_columns(comm, model, data)
    coef, intercept = model.columns()
    prepare(comm, partial(data.slice.load, "linear_predictor", predictors=coef.shape[1]))
    return data.slice.linear_predictor(coef, intercept)


def write_rows(comm: Comm, path: Path, data: Dataset, results: dict[str, np.ndarray]) -> None:
    """Write arrays of which every rank has its slice (rows, …) to one HDF5 file. A collective.

    Ordinary HDF5 lets one process write at a time, so ranks take turns; no rank sees more than its slice.
    """
    temporary = temporary_name(path)

    def create() -> None:
        with reported(path), h5py.File(temporary, "w") as file:
            for name, values in results.items():
                file.create_dataset(name, shape=(data.header.n, *values.shape[1:]), dtype=values.dtype)

    def write() -> None:
        if data.rows:
            with reported(path), h5py.File(temporary, "r+") as file:
                for name, values in results.items():
                    file[name][data.start : data.stop] = values

    def complete() -> None:
        with reported(path):
            publish(path)

    try:
        with comm.agreement():
            if comm.rank == 0:
                create()
        comm.in_turn(write)
        with comm.agreement():
            if comm.rank == 0:
                complete()
    finally:
        if comm.rank == 0:
            temporary.unlink(missing_ok=True)

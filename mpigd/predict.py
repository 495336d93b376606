"""The jobs `predict` and `evaluate`: what a model says of data."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mpigd import __version__, bootstrap, writing
from mpigd.batches import Batches, batches
from mpigd.comm import Comm
from mpigd.conformal import conformal_quantile, intervals, residual_sizes
from mpigd.dataset import Dataset, encode, prepare
from mpigd.errors import DataError, UsageError, same_everywhere
from mpigd.metrics import Classification, Regression
from mpigd.model import Model
from mpigd.modelfile import model_path
from mpigd.options import Evaluate, Predict
from mpigd.problem import options_of, read_split
from mpigd.progress import Meter, Observer
from mpigd.ranking import Goal, best_threshold, rank_scores
from mpigd.splits import NAMES as ROLES
from mpigd.splits import check_roles
from mpigd.storage import Header, Names, names_of, unnamed_columns

ARRAYS = 6  # of eta's shape that are there while a batch is predicted


def predict(comm: Comm, options: Predict, observers: Sequence[Observer] = ()) -> dict[str, Any]:
    """Write what the model says of every row, some blocks at a time; each rank does so for its own slice."""
    model = load(comm, options.model)
    with comm.agreement():
        check_answers(model, options)
        writing.check(options.output)
    reach = None if options.interval is None else calibrate(comm, model, options)
    attributes = {"mpigd_version": __version__, "model_fingerprint": model.fingerprint}
    if reach is not None:
        attributes["interval"] = f"{options.interval:g}"
    with batches(comm, options.data, Names(x=options.x), options.memory_bytes, of_a_row(model)) as rows:
        prepare_for(comm, model, rows)
        meter = Meter(observers, f"writing {options.output}", rows.stop - rows.start)
        with writing.table(comm, options.output, rows.header.n, columns_of(model, options), attributes) as put:

            def write(batch: Dataset) -> None:
                put(batch.start, answers(model, eta_of(model, batch), options, reach))
                meter.advance(batch.rows)

            rows.each(comm, write)
        n = rows.header.n
    return {"output": str(options.output), "rows": n, "ranks": comm.size}


def check_answers(model: Model, options: Predict) -> None:
    """Raise UsageError for what the model can't say."""
    if options.proba and not model.has_probabilities:
        raise UsageError(f"--proba: loss {model.loss.name} gives no probabilities of classes")
    if options.interval is not None and len(model.classes):
        raise UsageError(f"--interval: loss {model.loss.name} is one of classes; use --proba")


def columns_of(model: Model, options: Predict) -> dict[str, writing.Column]:
    """What is written, by name."""
    outputs = model.columns()[0].shape[1]
    labels = tuple(f"{label:g}" for label in model.classes)
    several = tuple(map(str, range(outputs))) if outputs > 1 else ()
    found = {"prediction": writing.Column(() if labels else several)}
    if options.proba:
        found["probability"] = writing.Column(labels)
    if options.eta:
        found["eta"] = writing.Column(labels if labels and several else several)
    if options.interval is not None:
        found |= {"lower": writing.Column(several), "upper": writing.Column(several)}
    return found


def answers(model: Model, eta: np.ndarray, options: Predict, reach: np.ndarray | None) -> dict[str, np.ndarray]:
    """The columns of rows, from their eta (n, K)."""
    mean = model.mean(eta)
    found = {"prediction": model.label(mean)}
    if options.proba:
        found["probability"] = mean
    if options.eta:
        found["eta"] = eta.reshape(len(eta), *model.coef.shape[1:])
    if reach is not None:
        found["lower"], found["upper"] = (
            end.reshape(mean.shape) for end in intervals(model, mean.reshape(eta.shape), reach)
        )
    return found


def calibrate(comm: Comm, model: Model, options: Predict) -> np.ndarray:
    """How far intervals reach around predictions (K,), from rows with y that were kept for it. A collective."""
    assert options.interval is not None
    rows = answered(comm, model, options.calibrate, Names(x=options.x, y=options.y), options.memory_bytes)
    counted = rows.weight > 0.0
    size = residual_sizes(model, rows.y, rows.mean.reshape(rows.eta.shape))
    return conformal_quantile(comm, size[counted], options.interval)


def evaluate(comm: Comm, options: Evaluate, observers: Sequence[Observer] = ()) -> dict[str, Any]:
    """Metrics of a model on a data file, over all rows of all ranks."""
    model, names = load(comm, options.model), Names(x=options.x, y=options.y)
    if options.on == "all":
        rows = answered(comm, model, options.data, names, options.memory_bytes)
    else:
        with comm.agreement():
            chosen = options_of(model, options.model, options.data)
        split = read_split(comm, replace(chosen, x=options.x, y=options.y, memory=options.memory))
        check_roles(comm, split, (options.on,))
        data = split.part(ROLES.index(options.on))
        check_class_names(model, data.header)
        if len(model.classes) and not np.array_equal(data.classes, model.classes):
            with comm.agreement():
                data = encode(data, model.classes)
        rows = Answered.of(comm, model, data)
    count = int(comm.sum(np.array([np.count_nonzero(rows.weight)]))[0])
    labels: dict[str, Any] = {"labels": model.classes.tolist()} if len(model.classes) else {}
    if model.class_names:
        labels["class_names"] = list(model.class_names)
    metrics = rows.metrics(comm, model)
    found = {"rows": count, **metrics.all(rows.weight), **labels, "ranks": comm.size}
    if options.bootstrap:
        meter = Meter(observers, "drawing rows anew", options.bootstrap)

        def replicate(drawn: np.ndarray) -> dict[str, float]:
            meter.advance(1)
            return metrics.numbers(rows.weight * drawn)

        some = (rows.blocks, rows.block, len(rows.weight))
        draws = (bootstrap.counts(options.seed, k, *some) for k in range(options.bootstrap))
        found |= {"bootstrap": options.bootstrap, "level": options.level}
        found["intervals"] = bootstrap.intervals(replicate, draws, options.level)
    return found


@dataclass(frozen=True)
class Answered:
    """Rows of this rank, whole blocks, and what a model says of them.

    y (rows, outputs), or class numbers (rows, 1).  eta (rows, K).  mean : of y, as `Model.mean`.  weight (rows,).
    blocks : their numbers, (m,) int64.  block : rows of a block.
    """

    y: np.ndarray
    eta: np.ndarray
    mean: np.ndarray
    weight: np.ndarray
    blocks: np.ndarray
    block: int

    @classmethod
    def of(cls, comm: Comm, model: Model, data: Dataset) -> Answered:
        """Of a slice that has been read, its classes numbered. A collective."""
        eta = linear_predictor(comm, model, data)
        return cls(data.y, eta, model.mean(eta), data.weight, data.blocks, data.header.block)

    def metrics(self, comm: Comm, model: Model) -> Regression | Classification:
        """What gives the metrics over the rows of all ranks, for any weights. A collective."""
        if not len(model.classes):
            prediction = self.mean.reshape(self.eta.shape)
            return Regression(comm, self.y, prediction, self.block, model.loss.name, model.parameter)
        by = self.eta if self.eta.shape[1] == 1 else None
        label, picked = self.y[:, 0], model.pick(self.mean)
        return Classification(comm, label, self.mean, self.block, by, picked, model.has_probabilities)


def answered(comm: Comm, model: Model, paths: Sequence[Path], names: Names, memory: int | None) -> Answered:
    """What a model says of all rows of files with y, of which X is read once and not kept. A collective."""
    classes = model.classes if len(model.classes) else None
    with batches(comm, paths, names, memory, of_a_row(model), "real", classes) as rows:
        prepare_for(comm, model, rows)
        check_outputs(comm, model, rows.header)
        shapes = ((0, max(rows.header.outputs, 1)), (0, model.columns()[0].shape[1]), (0,))
        parts = [(*(np.zeros(shape) for shape in shapes), np.zeros(0, np.int64))]
        rows.each(comm, lambda batch: parts.append((batch.y, eta_of(model, batch), batch.weight, batch.blocks)))
        y, eta, weight, blocks = (np.concatenate(each) for each in zip(*parts, strict=True))
        if not comm.max(np.array([weight.max(initial=0.0)]))[0]:
            with comm.agreement():
                raise DataError(f"{rows.header.label}: dataset '{names.sample_weight}' is zero on every row")
    return Answered(y, eta, model.mean(eta), weight, blocks, rows.header.block)


def score(comm: Comm, model: Model, data: Dataset) -> dict[str, Any]:
    """Metrics of a model on a slice that has been read, its classes numbered; equal on all ranks."""
    rows = Answered.of(comm, model, data)
    return rows.metrics(comm, model).all(rows.weight)


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


def check_columns(comm: Comm, model: Model, data: Dataset | Batches) -> None:
    """Raise DataError on all ranks unless the data has the columns of the model, as far as they have names."""
    header, names = data.header, model.feature_names
    if header.d != len(model.coef):
        raise same_everywhere(
            DataError(
                f"{header.label}: dataset '{header.names.x}' has {header.d} columns; "
                f"the model was fitted on {len(model.coef)}"
            )
        )
    unnamed = unnamed_columns(header.d)
    if header.feature_names == names or unnamed in (header.feature_names, names):
        return
    j = next(j for j, (a, b) in enumerate(zip(names, header.feature_names, strict=True)) if a != b)
    raise same_everywhere(
        DataError(
            f"{header.label}: column {j} is '{header.feature_names[j]}', but '{names[j]}' where the model was fitted; "
            "make the file with the same columns in the same order (convert --like FILE, the one that was fitted on)"
        )
    )


def check_outputs(comm: Comm, model: Model, header: Header) -> None:
    """Raise DataError on all ranks unless y has as many columns as the model tells, and classes of the same names."""
    check_class_names(model, header)
    outputs = 1 if len(model.classes) else model.columns()[0].shape[1]
    if header.outputs != outputs:
        with comm.agreement():
            raise DataError(
                f"{header.label}: dataset '{header.names.y}' has {header.outputs} column(s); the model tells {outputs}"
            )


def check_class_names(model: Model, header: Header) -> None:
    """Raise DataError on all ranks if numbers of classes in y are called otherwise than where the model was fitted."""
    names = names_of(model.classes, header.class_names)
    if header.class_names and model.class_names and names != model.class_names:
        raise same_everywhere(
            DataError(
                f"{header.label}: '{header.names.y}' has classes {', '.join(header.class_names[:5])}, but "
                f"{', '.join(model.class_names[:5])} where the model was fitted; their numbers mean different things "
                "(convert --like FILE, the one that was fitted on)"
            )
        )


def linear_predictor(comm: Comm, model: Model, data: Dataset) -> np.ndarray:
    """Eta (rows, K) of a slice. A collective."""
    prepare_for(comm, model, data)
    with comm.agreement() if data.streams else nullcontext():
        return eta_of(model, data)


def prepare_for(comm: Comm, model: Model, data: Dataset | Batches) -> None:
    """Make ready what `eta_of` needs, and check that the columns are as many as those of the model. A collective."""
    check_columns(comm, model, data)
    prepare(comm, partial(data.slice.load, "linear_predictor", predictors=model.columns()[0].shape[1]))


def eta_of(model: Model, data: Dataset) -> np.ndarray:
    """Eta (rows, K) of a slice. Not a collective."""
    return data.slice.linear_predictor(*model.columns())


def of_a_row(model: Model) -> int:
    """Bytes that a row takes beside X while it is predicted."""
    outputs: int = model.columns()[0].shape[1]
    return ARRAYS * 8 * max(outputs, len(model.classes))

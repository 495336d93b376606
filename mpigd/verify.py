"""The job `verify`: whether a model is, bit for bit, what its data and its options give."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mpigd.comm import Comm
from mpigd.dataset import Dataset
from mpigd.errors import BitsError, DataError
from mpigd.model import Model
from mpigd.options import Train, Verify
from mpigd.predict import check_class_names, check_columns, load
from mpigd.problem import make_objective, make_solver, options_of, read_data
from mpigd.train import Observer, fit

# What a model file has to hold of its fit.
ARRAYS = {"theta", "gradient", "mean", "scale"}
NUMBERS = {"data_fingerprint", "objective", "steps", "ranks"}


@dataclass(frozen=True)
class Verification:
    """What was compared, by name, and whether its bits agree; the same on all ranks.

    note : why bits may differ although nothing is wrong; empty where they may not.
    """

    checks: dict[str, bool]
    note: str
    ranks: int
    seconds: float

    @property
    def agrees(self) -> bool:
        """Whether all bits do."""
        return all(self.checks.values())

    @property
    def exit_status(self) -> int:
        """Of the process."""
        return 0 if self.agrees else BitsError.exit_status

    def summary(self) -> dict[str, Any]:
        """What `verify --json` prints, as plain values."""
        return {
            "agrees": self.agrees,
            "checks": self.checks,
            "note": self.note,
            "ranks": self.ranks,
            "seconds": self.seconds,
        }


@np.errstate(over="ignore", invalid="ignore")  # a model of other data may be far from any that these give
def run(comm: Comm, options: Verify, observers: Sequence[Observer] = ()) -> Verification:
    """Compute what the model file holds anew, on this number of ranks, and compare bits."""
    begin = time.perf_counter()
    model = load(comm, options.model)
    with comm.agreement():
        train = checked_options(model, options)
    data = read_data(comm, train)
    check_columns(comm, model, data)
    check_target(comm, model, data)

    objective = make_objective(comm, data, train)
    theta = model.fit["theta"]
    value, gradient = make_solver(train, data)[0].evaluate(objective, theta, model.result["steps"])
    coef, intercept = objective.coefficients(theta)
    again = fit(comm, data, train, observers) if options.refit else None
    checks = {
        "data": (again.data_fingerprint if again else data.fingerprint(comm)) == model.result["data_fingerprint"],
        "standardisation": same(objective.scaling.mean, model.fit["mean"])
        and same(objective.scaling.scale, model.fit["scale"]),
        "coefficients": same(coef, model.coef) and same(intercept, model.intercept),
        "objective": same(np.array(value), np.array(model.result["objective"])),
        "gradient": same(gradient, model.fit["gradient"]),
    }
    if again:
        checks["refit"] = again.model.fingerprint == model.fingerprint
        checks["steps"] = again.state.step == model.result["steps"]
    return Verification(checks, note(train, model, comm.size), comm.size, time.perf_counter() - begin)


def check_target(comm: Comm, model: Model, data: Dataset) -> None:
    """Raise DataError on all ranks unless y has the classes, or as many columns, as the model was fitted on."""
    check_class_names(model, data.header)
    outputs = 1 if len(model.classes) else model.columns()[0].shape[1]
    with comm.agreement():
        if not np.array_equal(data.classes, model.classes) or data.slice.y.shape[1] != outputs:
            y = data.header.names.y
            raise DataError(
                f"{data.header.label}: dataset '{y}' has other classes or columns than the model was fitted on"
            )


def checked_options(model: Model, options: Verify) -> Train:
    """The options that a model was fitted with, on other data and threads; DataError if it does not know them."""
    lacking = ARRAYS - set(model.fit) | NUMBERS - set(model.result)
    if lacking or not model.config:
        raise DataError(f"{options.model}: the model does not say where its fit ended; fit it anew with `mpigd train`")
    return replace(options_of(model, options.model, options.data), threads=options.threads)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two float64 arrays have the same bytes, whatever their shapes."""
    return a.astype(np.float64).tobytes() == b.astype(np.float64).tobytes()


def note(train: Train, model: Model, ranks: int) -> str:
    """Why the bits of a model may differ from those of the same fit elsewhere."""
    if train.reduce != "exact":
        return f"fitted with --reduce {train.reduce}: digits depend on ranks, threads and MPI"
    if train.average == "ranks" and model.result["ranks"] != ranks:
        return f"fitted with --average ranks on {model.result['ranks']} ranks, which is another model than on {ranks}"
    return ""

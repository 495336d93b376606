"""The job `train`: from a data file to a model. The loop that drives a solver stands here, once."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import mpigd_kernels as kernels
import numpy as np

from mpigd.comm import Comm
from mpigd.dataset import Dataset, Names, read
from mpigd.errors import UsageError
from mpigd.fingerprint import of_data
from mpigd.history import CONVERGED, Record, Stopping, divergence
from mpigd.model import Model
from mpigd.objective import Objective
from mpigd.options import Train
from mpigd.rundir import RunDirectory
from mpigd.scaling import measure
from mpigd.solvers import SOLVERS, State
from mpigd.solvers.base import Solver

# Called with what is known at a step and an estimate of the fraction of the fit that is done.
Observer = Callable[[Record, float], None]
DEFAULT_SCHEDULE = {"gd": "constant", "sgd": "cosine"}


@dataclass(frozen=True)
class Fit:
    """A model and how it came about; the same on all ranks.

    times : the maximum over ranks.  run_dir : where it was written; known to rank 0 alone.
    """

    model: Model
    state: State
    reason: str
    ranks: int
    rows: int
    data_fingerprint: str
    times: dict[str, float]
    run_dir: str = ""

    def summary(self) -> dict[str, Any]:
        """What `train --json` prints, as plain values."""
        state = self.state
        return {
            "objective": state.value,
            "grad_norm": state.gradient_norm,
            "passes": state.passes,
            "setup_passes": state.setup_passes,
            "steps": state.step,
            "converged": CONVERGED[self.reason],
            "reason": self.reason,
            "learning_rate": state.learning_rate,
            "rows": self.rows,
            "columns": len(self.model.feature_names),
            "ranks": self.ranks,
            "model_fingerprint": self.model.fingerprint,
            "data_fingerprint": self.data_fingerprint,
            **self.times,
            **({"run_dir": self.run_dir} if self.run_dir else {}),
        }


def run(comm: Comm, options: Train, observers: Sequence[Observer] = ()) -> Fit:
    """Read, fit, write the run directory. Observers are called on the ranks that pass them."""
    begin = time.perf_counter()
    directory = RunDirectory(options.run_dir, "train") if comm.rank == 0 else None
    with comm.agreement():
        check_loss(options)
        if directory:
            directory.check()
            note_cores(options.threads)
    return fit_into(comm, read_data(comm, options), options, directory, observers, begin)


def read_data(comm: Comm, options: Train) -> Dataset:
    """Read the slice of this rank as the options ask for it. A collective."""
    computing = kernels.Computing(np.dtype(options.arithmetic), options.threads)
    names = Names(x=options.x, y=options.y)
    return read(comm, options.data, names, kernels.LOSSES[options.loss].target, computing)


def fit_into(
    comm: Comm,
    data: Dataset,
    options: Train,
    directory: RunDirectory | None,
    observers: Sequence[Observer] = (),
    begin: float | None = None,
) -> Fit:
    """Fit a slice that has been read and write the run directory, which rank 0 alone passes."""
    with comm.agreement():
        if directory:
            directory.create(options.to_dict(), comm.size)
            observers = [directory.record, *observers]
    try:
        fitted = fit(comm, data, options, observers, begin)
    finally:
        if directory:
            directory.close()
    with comm.agreement():
        if directory:
            directory.save(fitted.model)
            fitted = replace(fitted, run_dir=str(directory.path))
    return fitted


@np.errstate(over="ignore", invalid="ignore")  # overflow is what divergence looks like, and is reported as such
def fit(
    comm: Comm, data: Dataset, options: Train, observers: Sequence[Observer] = (), begin: float | None = None
) -> Fit:
    """Fit a slice that has been read. A collective; writes nothing. begin : perf_counter() at the job's start."""
    begin = time.perf_counter() - data.read_seconds if begin is None else begin
    comm_seconds = comm.seconds
    fingerprint = of_data(comm, data)
    objective = make_objective(comm, data, options)

    def seconds() -> dict[str, float]:
        return {
            "seconds": time.perf_counter() - begin,
            "read_seconds": data.read_seconds,
            "compute_seconds": objective.compute_seconds,
            "comm_seconds": comm.seconds - comm_seconds,
        }

    def observe(state: State, fraction: float) -> None:
        record = Record(state.step, state.passes, state.value, state.gradient_norm, **seconds())
        for observer in observers:
            observer(record, fraction)

    stopping = Stopping(options.tol, options.tol_objective, options.max_passes)
    state, reason = descend(comm, make_solver(options), objective, np.zeros(objective.shape), stopping, observe)
    measured = seconds()
    coef, intercept = objective.coefficients(state.theta)
    loss, scaling = kernels.LOSSES[options.loss], objective.scaling
    several = loss.target == "classes" or coef.shape[1] > 1
    model = Model(
        coef=coef if several else coef[:, 0],
        intercept=intercept if several else intercept[0],
        loss=loss,
        feature_names=data.header.feature_names,
        classes=data.classes,
        config=options.to_dict(),
        fit={"theta": state.theta, "gradient": state.gradient, "mean": scaling.mean, "scale": scaling.scale},
    )
    times = dict(zip(measured, comm.max(np.array(list(measured.values()))).tolist(), strict=True))
    fitted = Fit(model, state, reason, comm.size, objective.n, fingerprint, times)
    model.result.update(fitted.summary())
    return fitted


def make_objective(comm: Comm, data: Dataset, options: Train) -> Objective:
    """The objective that the options ask for. A collective."""
    return Objective(
        comm,
        data,
        kernels.LOSSES[options.loss],
        measure(comm, data, centre=options.intercept, standardize=options.standardize),
        options.l2,
        options.intercept,
        options.average,
        loss_parameter=loss_parameter(options),
        smoothing=options.smoothing,
        reduce=options.reduce,
    )


def loss_parameter(options: Train) -> float:
    """The parameter of the loss: as given, or its default; 0 for a loss that has none."""
    parameter = kernels.LOSSES[options.loss].parameter
    if options.loss_parameter is not None:
        return options.loss_parameter
    return parameter.default if parameter else 0.0


def check_loss(options: Train) -> None:
    """Raise UsageError where the loss can't be had with the other options."""
    loss, given = kernels.LOSSES[options.loss], options.loss_parameter
    if given is not None:
        if loss.parameter is None:
            raise UsageError(f"--loss-parameter {given:g}: loss {loss.name} has no parameter")
        if not loss.parameter.low < given < loss.parameter.high:
            raise UsageError(
                f"--loss-parameter {given:g}: {loss.parameter.name} of loss {loss.name} must be above "
                f"{loss.parameter.low:g} and below {loss.parameter.high:g}"
            )
    if loss.curvature is None and options.learning_rate == "auto":
        raise UsageError(
            f"--learning-rate auto: loss {loss.name} has no bound of its curvature to take it from; "
            "give a number, and a smaller one if it diverges"
        )


def note_cores(threads: int) -> None:
    """Say on standard error where threads will have to share cores: launchers bind ranks to one unless told."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads > cores:
        print(
            f"mpigd: note: --threads {threads}, but rank 0 may use {cores} core(s) only; "
            f"mpirun --map-by slot:PE={threads} gives each rank as many",
            file=sys.stderr,
            flush=True,
        )


def make_solver(options: Train) -> Solver:
    """The solver that the options ask for."""
    schedule = DEFAULT_SCHEDULE[options.solver] if options.schedule == "auto" else options.schedule
    parameters: dict[str, Any] = {
        "learning_rate": options.learning_rate,
        "schedule": schedule,
        "max_passes": options.max_passes,
    }
    if options.solver == "sgd":
        parameters |= {"batch_size": options.batch_size, "seed": options.seed}
    solver: Solver = SOLVERS[options.solver](**parameters)
    return solver


def descend(
    comm: Comm,
    solver: Solver,
    objective: Objective,
    theta: np.ndarray,
    stopping: Stopping,
    observe: Callable[[State, float], None],
) -> tuple[State, str]:
    """Step until it is time to stop; returns the last state and the reason."""
    first = last = state = solver.init(objective, theta)
    while True:
        if error := divergence(first, state):
            with comm.agreement():
                raise error
        reason = stopping.reason(first, last, state)
        if state.fresh:
            observe(state, 1.0 if reason else stopping.fraction(first, state))
            last = state
        if reason:
            return state, reason
        state = solver.step(objective, state)

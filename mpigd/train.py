"""The job `train`: from a data file to a model. The loop that drives a solver stands here, once."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import mpigd_kernels as kernels
import numpy as np

from mpigd.comm import Comm
from mpigd.dataset import Dataset, Names, read
from mpigd.errors import UsageError
from mpigd.fingerprint import of_data
from mpigd.history import CONVERGED, Record, Stopping, divergence
from mpigd.model import Model
from mpigd.objective import Objective, outputs_of
from mpigd.options import Train
from mpigd.rundir import RunDirectory
from mpigd.scaling import measure
from mpigd.solvers import CHOICES, SOLVERS, State, choose
from mpigd.solvers.base import Solver

# Called with what is known at a step and an estimate of the fraction of the fit that is done.
Observer = Callable[[Record, float], None]
NEAR = 1e-3  # tolerance on a part of the rows, whose minimum is not that of all anyway


@dataclass(frozen=True)
class Fit:
    """A model and how it came about; the same on all ranks.

    times : the maximum over ranks.  run_dir : where it was written; known to rank 0 alone.
    solver : its name.  why : why it was chosen, empty if it was asked for.
    """

    model: Model
    state: State
    reason: str
    ranks: int
    rows: int
    data_fingerprint: str
    times: dict[str, float]
    solver: str
    why: str
    run_dir: str = ""

    def summary(self) -> dict[str, Any]:
        """What `train --json` prints, as plain values."""
        state = self.state
        return {
            "solver": self.solver,
            "why": self.why,
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
        check_solver(options)
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
        make_solver(options, data)  # before anything is written
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
    with comm.agreement():
        solver, name, why = make_solver(options, data)

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
    first, state = begin_fit(comm, solver, objective, options.seed if name in CHOICES else None)
    state, reason = descend(comm, solver, objective, first, state, stopping, observe)
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
    fitted = Fit(model, state, reason, comm.size, objective.n, fingerprint, times, name, why)
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
    rated = all("learning_rate" in parameters_of(solver) for solver in likely_solvers(options))
    if loss.curvature is None and options.learning_rate == "auto" and rated:
        raise UsageError(
            f"--learning-rate auto: loss {loss.name} has no bound of its curvature to take it from; "
            "use --solver newton or lbfgs, which need none, or give a number, and a smaller one if it diverges"
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


def make_solver(options: Train, data: Dataset) -> tuple[Solver, str, str]:
    """The solver, its name, and why it was chosen: empty if the options say it. UsageError if it can't be had."""
    outputs = outputs_of(data, kernels.LOSSES[options.loss])
    name, why = choose(data.header.d, outputs) if options.solver == "auto" else (options.solver, "")
    if name == "newton" and outputs > 1:
        raise UsageError(f"--solver newton: there are {outputs} outputs, and newton takes one; use --solver lbfgs")
    # Defaults of the schedule differ between solvers.
    given = {key: value for key, value in vars(options).items() if (key, value) != ("schedule", "auto")}
    solver: Solver = SOLVERS[name](**{key: given[key] for key in parameters_of(name) & given.keys()})
    return solver, name, why


def parameters_of(solver: str) -> set[str]:
    """Names of the options that a solver has a use for."""
    return {field.name for field in fields(SOLVERS[solver])}


def likely_solvers(options: Train) -> tuple[str, ...]:
    """The solver that is asked for, or those that auto chooses from."""
    return CHOICES if options.solver == "auto" else (options.solver,)


def check_solver(options: Train) -> None:
    """Raise UsageError for an option that the solver would pass over."""
    likely = likely_solvers(options)
    for option in ("learning_rate", "schedule"):
        if getattr(options, option) != "auto" and not any(option in parameters_of(solver) for solver in likely):
            takers = ", ".join(solver for solver in SOLVERS if option in parameters_of(solver))
            raise UsageError(
                f"--{option.replace('_', '-')} {getattr(options, option)}: solver {' or '.join(likely)} has none; "
                f"give --solver, one of {takers}"
            )


def begin_fit(comm: Comm, solver: Solver, objective: Objective, seed: int | None) -> tuple[State, State]:
    """The state at theta = 0, which tolerances refer to, and the one to begin with. A collective.

    seed : where it is given and there are rows enough, the fit begins at the minimum of a part of the blocks, roughly;
    the first state then is that part's, and passes over it count by its share.
    """
    zero = np.zeros(objective.shape)
    one_in = 0 if seed is None else objective.one_in()
    if seed is None or not one_in:
        first = solver.init(objective, zero)
        return first, first
    part = objective.part(one_in, seed)
    first = solver.init(part, zero)
    near, _ = descend(comm, solver, part, first, first, Stopping(NEAR, 0.0, 20.0), lambda state, fraction: None)
    objective.compute_seconds += part.compute_seconds
    state = solver.init(objective, near.theta)
    passes = state.passes + near.passes / one_in
    if not state.value < first.value:  # the part was not like the rest
        state = solver.init(objective, zero)
        passes += state.passes
    return first, replace(state, passes=passes)


def descend(
    comm: Comm,
    solver: Solver,
    objective: Objective,
    first: State,
    state: State,
    stopping: Stopping,
    observe: Callable[[State, float], None],
) -> tuple[State, str]:
    """Step until it is time to stop; returns the last state and the reason.

    first : the state at theta = 0.  state : where to begin.
    """
    last = state
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

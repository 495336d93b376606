"""The job `train`: from a data file to a model. The loop that drives a solver stands here, once."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import mpigd_kernels as kernels
import numpy as np

from mpigd.comm import Comm
from mpigd.dataset import Dataset
from mpigd.errors import DataError
from mpigd.history import CONVERGED, Record, Stopping, divergence
from mpigd.model import Model
from mpigd.objective import Objective
from mpigd.options import Train
from mpigd.predict import check_columns, load, score
from mpigd.problem import check_loss, check_solver, make_objective, make_solver, read_split
from mpigd.replicated import falling
from mpigd.rundir import RunDirectory
from mpigd.solvers import ON_A_PART, Newton, State
from mpigd.solvers.base import Solver
from mpigd.solvers.choice import LBFGS_STEPS, NEWTON_STEPS

# Called with what is known at a step and an estimate of the fraction of the fit that is done.
Observer = Callable[[Record, float], None]
VANISHED = 1e-3  # of the objective of the null model
SEPARATED = (
    "the columns tell the classes apart without error: without a penalty there is no minimum, and coefficients grow as "
    "--tol falls; use --l2"
)
NEAR = 1e-3  # tolerance on a part of the rows, whose minimum is not that of all anyway
ALIKE = 0.25  # by how much the loss of the null model may differ between a part and all rows


@dataclass(frozen=True)
class Fit:
    """A model and how it came about; the same on all ranks.

    times : the maximum over ranks.  run_dir : where it was written; known to rank 0 alone.
    solver : its name.  why : why it was chosen, empty if it was asked for.
    note : what a user should know of the answer; empty if nothing.
    scores : metrics on rows that were held out, by name.
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
    note: str = ""
    run_dir: str = ""
    scores: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def nonzero(self) -> int:
        """How many coefficients are not zero, intercepts not counted."""
        return int(np.count_nonzero(self.model.coef))

    def summary(self) -> dict[str, Any]:
        """What `train --json` prints, as plain values."""
        state = self.state
        return {
            "solver": self.solver,
            "why": self.why,
            "note": self.note,
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
            "nonzero": self.nonzero,
            "ranks": self.ranks,
            "model_fingerprint": self.model.fingerprint,
            "data_fingerprint": self.data_fingerprint,
            **({"scores": self.scores} if self.scores else {}),
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
    split = read_split(comm, options)
    scored = {name: split.part(role) for name, role in split.roles_with_rows(comm).items()}
    return fit_into(comm, split.train, options, directory, observers, begin, scored)


def fit_into(
    comm: Comm,
    data: Dataset,
    options: Train,
    directory: RunDirectory | None,
    observers: Sequence[Observer] = (),
    begin: float | None = None,
    scored: Mapping[str, Dataset] = MappingProxyType({}),
) -> Fit:
    """Fit a slice that has been read and write the run directory, which rank 0 alone passes.

    scored : slices to score the model on, by name.
    """
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
    fitted = replace(fitted, scores={name: score(comm, fitted.model, some) for name, some in scored.items()})
    fitted.model.result.update(fitted.summary())
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
    fingerprint = data.fingerprint(comm)
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

    stopping = Stopping(options.tol, options.tol_objective, options.max_passes, objective.null.rounding)
    if options.init is not None:
        first, state = begin_at(comm, solver, objective, initial_theta(comm, options.init, data, objective))
    else:
        on_a_part = name in ON_A_PART and options.path == 1
        first, state = begin_fit(comm, solver, objective, options.seed if on_a_part else None)
    along: list[Along] = []
    if options.path > 1:
        state, reason, along = follow(comm, solver, objective, first, state, stopping, observe, options.path)
    else:
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
        path=arrays_of(along, several),
    )
    times = dict(zip(measured, comm.max(np.array(list(measured.values()))).tolist(), strict=True))
    note = SEPARATED if is_separated(data, objective, first, state) else ""
    fitted = Fit(model, state, reason, comm.size, objective.n, fingerprint, times, name, why, note)
    model.result.update(fitted.summary())
    return fitted


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


def is_separated(data: Dataset, objective: Objective, first: State, state: State) -> bool:
    """Whether the data term has all but vanished, and nothing else holds theta back."""
    free = objective.penalty.is_smooth and not objective.penalty.l2.any()
    return free and data.classes.size > 0 and state.value < VANISHED * first.value


def initial_theta(comm: Comm, path: Path, data: Dataset, objective: Objective) -> np.ndarray:
    """Theta of a model that was fitted before, to begin at. A collective; DataError if it is of other columns."""
    model = load(comm, path)
    check_columns(comm, model, data)
    coef, intercept = model.columns()
    theta = objective.scaling.from_coefficients(coef, intercept, objective.shape[0] > len(coef))
    with comm.agreement():
        if theta.shape != objective.shape:
            raise DataError(
                f"{path}: --init: the model has {theta.shape[1]} output(s), the fit {objective.shape[1]}; "
                "use a model with the same kind of loss and the same classes"
            )
    return theta


def begin_at(comm: Comm, solver: Solver, objective: Objective, theta: np.ndarray) -> tuple[State, State]:
    """The state of the null model, which tolerances refer to, and the one at theta, if that is better. A collective."""
    first = solver.init(objective, objective.null_theta)
    state = solver.init(objective, theta)
    return first, better(first, state)


def better(a: State, b: State) -> State:
    """Of two states at the start the one with the lower value, which has cost the passes of both."""
    passes, setup_passes = a.passes + b.passes, a.setup_passes + b.setup_passes
    return replace(b if b.value < a.value else a, passes=passes, setup_passes=setup_passes)


def begin_fit(comm: Comm, solver: Solver, objective: Objective, seed: int | None) -> tuple[State, State]:
    """The state of the null model, which tolerances refer to, and the one to begin with. A collective.

    seed : where it is given and there are rows enough, the fit begins at the minimum of a part of the blocks, roughly.
    The value of the first state is then that of all rows, which takes no pass; the gradient, which would take one, is
    that of the part. Passes over it count by its share.
    """
    cost, null = objective.cost, objective.null_theta
    one_in = cost.begins_on
    part = objective if seed is None else objective.part(one_in, seed)
    if part is objective:
        first = solver.init(objective, null)
        return first, first
    by_newton = cost.outputs == 1 and NEWTON_STEPS * (cost.hessian + cost.factor) <= LBFGS_STEPS * cost.gradient
    on_part: Any = Newton() if by_newton else solver
    begin, value = on_part.init(part, null), objective.null_value()
    passes = begin.passes / one_in
    size = max(abs(value), objective.null.size if objective.null.cancels else 0.0)
    if abs(begin.value - value) <= ALIKE * size:
        stopping = Stopping(NEAR, 0.0, 20.0, objective.null.rounding)
        near, _ = descend(comm, on_part, part, begin, begin, stopping, lambda state, fraction: None)
        state = solver.init(objective, near.theta)
        passes = state.passes + near.passes / one_in
        if state.value < value:
            return replace(begin, value=value), replace(state, passes=passes)
    first = solver.init(objective, null)  # the part is not like the rest
    return first, replace(first, passes=passes + first.passes)


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

    first : the state of the null model.  state : where to begin.
    """
    last, size = state, objective.null.size
    while True:
        if error := divergence(first, state, size):
            with comm.agreement():
                raise error
        reason = stopping.reason(first, last, state)
        if state.fresh:
            observe(state, 1.0 if reason else stopping.fraction(first, state))
            last = state
        if reason:
            return state, reason
        state = solver.step(objective, state)


class Along(NamedTuple):
    """One fit of those along a path of penalties, whose strength is relative to the penalty asked for."""

    strength: float
    objective: float
    passes: float
    converged: bool
    coef: np.ndarray
    intercept: np.ndarray


def arrays_of(along: Sequence[Along], several: bool) -> dict[str, np.ndarray]:
    """As arrays with one row for each fit; coef (m, d) and intercept (m,), or with outputs last."""
    arrays = {name: np.array(values) for name, values in zip(Along._fields, zip(*along, strict=True), strict=False)}
    if along and not several:
        arrays.update(coef=arrays["coef"][:, :, 0], intercept=arrays["intercept"][:, 0])
    return arrays


def follow(
    comm: Comm,
    solver: Solver,
    objective: Objective,
    first: State,
    state: State,
    stopping: Stopping,
    observe: Callable[[State, float], None],
    count: int,
) -> tuple[State, str, list[Along]]:
    """Fit for `count` strengths of the penalty, from where it leaves nothing down to the one asked for.

    They fall evenly in the logarithm; each fit begins where the one before has ended. Steps and passes go on counting,
    and the budget of passes is for each. Tolerances refer to the gradient of the null model with the penalty asked for:
    with the strongest it would be zero.
    """
    along: list[Along] = []
    reason, steps, passes, setup_passes = "", 0, state.passes, state.setup_passes
    slope, penalty = getattr(first, "slope", first.gradient), objective.penalty
    for k, strength in enumerate(falling(penalty.strongest(slope), count)):
        some = objective.with_penalty(penalty.times(strength))
        null = replace(first, value=first.value + (strength - 1.0) * penalty.total(first.theta))
        begin = solver.init(some, state.theta)
        if begin.value > null.value:  # as of a model to begin at, or where the penalty was weaker
            begin = better(begin, solver.init(some, first.theta))
        setup_passes += begin.setup_passes

        def note(at: State, fraction: float, k: int = k, steps: int = steps, passes: float = passes) -> None:
            observe(replace(at, step=steps + at.step, passes=passes + at.passes), (k + fraction) / count)

        state, reason = descend(comm, solver, some, null, begin, stopping, note)
        found = objective.coefficients(state.theta)
        along.append(Along(strength, state.value, state.passes, CONVERGED[reason], *found))
        steps, passes = steps + state.step, passes + state.passes
    return replace(state, step=steps, passes=passes, setup_passes=setup_passes), reason, along

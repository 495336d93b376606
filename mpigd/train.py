"""The job `train`: from a data file to a model. The loop that drives a solver stands here, once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mpigd_kernels as kernels
import numpy as np

from mpigd import platforms, tracking
from mpigd.comm import Comm, Member
from mpigd.dataset import Dataset
from mpigd.errors import DataError, LostError, MpigdError, RanksLostError, StoppedError, complain, same_everywhere
from mpigd.fitting import Along, Fitting, Progress, arrays_of
from mpigd.history import CONVERGED, EarlyStopping, Record, Stopping
from mpigd.keeper import Keeper
from mpigd.model import Model
from mpigd.objective import Objective
from mpigd.options import Train
from mpigd.predict import check_columns, chosen_threshold, load, score
from mpigd.problem import check_loss, check_solver, make_objective, make_solver, read_split, take_over_split
from mpigd.rundir import CURVES, TIMES, RunDirectory
from mpigd.solvers import ON_A_PART, State
from mpigd.splits import VALIDATION, Split
from mpigd.watch import Watch, why

# Called with what is known at a step and an estimate of the fraction of the fit that is done.
Observer = Callable[[Record, float], None]
VANISHED = 1e-3  # of the objective of the null model
SEPARATED = (
    "the columns tell the classes apart without error: without a penalty there is no minimum, and coefficients grow as "
    "--tol falls; use --l2"
)
# A rank is slow whose computing took so many times that of the median rank, and so many seconds more.
SLOW, SLOW_SECONDS = 2.0, 1.0
FIRST_LOOK = 16  # moves before ranks are compared, and again each time that there are twice as many


@dataclass(frozen=True)
class Fit:
    """A model and how it came about; the same on all ranks.

    times : the maximum over ranks.  run_dir : where it was written.
    solver : its name.  why : why it was chosen, empty if it was asked for.
    note : what a user should know of the answer; empty if nothing.
    scores : metrics on rows that were held out, by name.
    lost : ranks that died on the way.  slow : ranks that were.
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
    lost: tuple[str, ...] = ()
    slow: tuple[str, ...] = ()

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
            **({"lost": list(self.lost)} if self.lost else {}),
            **({"slow": list(self.slow)} if self.slow else {}),
            **({"scores": self.scores} if self.scores else {}),
            **self.times,
            **({"run_dir": self.run_dir} if self.run_dir else {}),
        }


def run(comm: Comm, options: Train, observers: Sequence[Observer] = (), split: Split | None = None) -> Fit:
    """Read, fit, write the run directory; go on where ranks die. Observers are called on rank 0.

    split : the rows that the options ask for, where they have been read.
    """
    begin = time.perf_counter() - (split.data.read_seconds if split else 0.0)
    with comm.agreement():
        check_loss(options)
        check_solver(options)
        if comm.rank == 0:
            tracking.check(options.log)
        if comm.rank == 0 and not options.quiet:
            note_cores(options.threads)
    path = comm.share(options.run_dir or RunDirectory.usual("train"))
    keeper = Keeper(comm, options, path)
    keeper.look()
    tracks = tracking.Tracking(comm, options.log, path, options.to_dict())
    training = Training(comm, options, [*observers, tracks.record], begin, keeper, split)
    with Watch(comm, path, options.stall_timeout, keeper.goes_on, lambda: keeper.save_now(training)) as watch:
        watch.deadline = keeper.deadline
        try:
            fit = training.survive()
        except MpigdError as error:
            keeper.end_badly(error)
            tracks.end("KILLED" if isinstance(error, StoppedError | LostError) else "FAILED", {})
            raise
    tracks.end("FINISHED", fit.summary())
    return fit


def fit_into(comm: Comm, data: Dataset, options: Train, path: Path, observers: Sequence[Observer] = ()) -> Fit:
    """Fit a slice that has been read and write the run directory. A collective."""
    return Training(comm, options, observers, None, Keeper(comm, options, path), Split(data)).go_on()


def fit(
    comm: Comm, data: Dataset, options: Train, observers: Sequence[Observer] = (), begin: float | None = None
) -> Fit:
    """Fit a slice that has been read. A collective; writes nothing. begin : perf_counter() at the job's start."""
    return Training(comm, options, observers, begin, None, Split(data)).go_on()


class Training:
    """A fit on its way, as this rank sees it.

    Whatever it has reached, `go_on` goes on from there. Where a rank dies, which may be anywhere, `recover` first
    brings all that are left to the same point.
    """

    def __init__(
        self,
        comm: Comm,
        options: Train,
        observers: Sequence[Observer],
        begin: float | None,
        keeper: Keeper | None,
        split: Split | None = None,
    ) -> None:
        self.comm, self.options, self.keeper = comm, options, keeper
        self._observers = observers
        self._begin, self._seconds_before = begin, comm.seconds
        self.split = split
        self.fingerprint = ""
        self.fitting: Fitting | None = None
        self.solver = self.why = ""
        self.at: Progress | None = None
        self.records: list[Record] = []
        self.lost: list[Member] = []
        self.slow: dict[int, str] = {}
        if keeper and keeper.resumed:
            self.at, self.records = keeper.resumed.at, list(keeper.resumed.records)
            self.fingerprint = keeper.resumed.fingerprint
            self._begin = None if begin is None else begin - self.records[-1].seconds

    def survive(self) -> Fit:
        """Go on to the end, whoever dies."""
        whole = True
        while True:
            try:
                if not whole:
                    self.recover()
                return self.go_on()
            except RanksLostError:
                if not self.comm.survives:
                    raise
                whole = False

    @np.errstate(over="ignore", invalid="ignore")  # overflow is what divergence looks like, and is reported as such
    def go_on(self) -> Fit:
        """Read, fit and write, from where it is. A collective."""
        if self.split is None:
            self.split = read_split(self.comm, self.options)
        if self.fitting is None:
            self.prepare(self.split.train)
        assert self.fitting is not None
        if self.at is None:
            self.arrive(self.fitting.begin())
        while self.at is not None and not self.at.ended:
            if self.comm.heard:
                self._stop()
            self.arrive(self.fitting.move(self.at))
            if self.at.count >= FIRST_LOOK and self.at.count & (self.at.count - 1) == 0:
                self._find_slow()
        return self._outcome()

    def recover(self) -> None:
        """Agree with those that are left on where the fit is, and take over what the dead had. A collective."""
        comm = self.comm
        comm.heard = 0
        lost = comm.repair()
        self.lost += lost
        count = -1 if self.at is None else self.at.count
        each = comm.gather((self.split is not None, self.fitting is not None, count))
        if self.keeper:
            self.keeper.adopt(self, lost)
        counts = [count for *_, count in each]
        if min(counts) < max(counts):  # a move was made by some: all others are given what came of it
            ahead = comm.share(self.at, root=counts.index(max(counts)))
            if count < max(counts) and ahead is not None:
                self.arrive(ahead)
        self._check_left()
        if not any(has_read for has_read, *_ in each):
            self.split = self.fitting = None
            return
        self.split = take_over_split(comm, self.options, self.split)
        if all(prepared for _, prepared, _ in each) and self.fitting is not None:
            self._check_data(self.split.train)
            self.fitting = self.fitting.on(self.fitting.objective.on(self.split.train), self._held())
        else:
            self.fitting = None

    def _check_left(self) -> None:
        """Raise LostError on all ranks where they are not to go on."""
        if asked := asked_to_stop(self.options, self.comm.size):
            message = f"{', '.join(map(str, self.lost))} died, and {self.comm.size} rank(s) are left ({asked})"
            raise same_everywhere(LostError(self._with_checkpoint(message)))

    def _stop(self) -> None:
        """Stop as ranks have asked for in the last sum."""
        assert self.at is not None
        message = f"stopped after step {self.at.overall.step}: {why(self.comm.heard)}"
        raise same_everywhere(StoppedError(self._with_checkpoint(message)))

    def _with_checkpoint(self, message: str) -> str:
        return self.keeper.saved(self, message) if self.keeper else message

    def prepare(self, data: Dataset) -> None:
        """The objective and the solver. A collective."""
        comm, options = self.comm, self.options
        self._check_data(data)
        objective = make_objective(comm, data, options)
        with comm.agreement():
            solver, name, why = make_solver(options, data)
        stopping = stopping_of(options, objective)
        theta = None if options.init is None else initial_theta(comm, options.init, data, objective)
        seed = options.seed if name in ON_A_PART and options.path == 1 else None
        if self.keeper:
            self.keeper.create(self.records)
        self.solver, self.why = name, why
        early = None if options.patience is None else EarlyStopping(options.patience, options.min_change)
        self.fitting = Fitting(objective, solver, stopping, seed, options.path, theta, early, self._held())

    def _held(self) -> kernels.Slice | None:
        """Rows to validate of this rank, where they may end the fit. A collective."""
        assert self.split is not None
        return None if self.options.patience is None else self.split.part(VALIDATION).weighted_rows(self.comm)

    def _check_data(self, data: Dataset) -> None:
        self.fingerprint = fingerprint_of(self.comm, data, self.fingerprint)

    def arrive(self, at: Progress) -> None:
        """The fit has come this far. Not a collective."""
        self.at = at
        if at.state.fresh and self.fitting is not None:
            state = at.overall
            loss = None if at.held is None else at.held.loss
            record = Record(
                state.step, state.passes, state.value, state.gradient_norm, **self._times(), validation_loss=loss
            )
            self.records.append(record)
            observers = [*self._observers, self.keeper.record] if self.keeper else self._observers
            for observer in observers:
                observer(record, self.fitting.fraction(at))
        if self.keeper:
            self.keeper.offer(self)

    def _times(self) -> dict[str, float]:
        """Seconds of this rank so far."""
        read_seconds = self.split.data.read_seconds if self.split else 0.0
        if self._begin is None:
            self._begin = time.perf_counter() - read_seconds
        return {
            "seconds": time.perf_counter() - self._begin,
            "read_seconds": read_seconds,
            "compute_seconds": self.fitting.objective.compute_seconds if self.fitting else 0.0,
            "comm_seconds": self.comm.seconds - self._seconds_before,
        }

    def _find_slow(self) -> None:
        """Note ranks whose computing takes much longer than that of the median rank. A collective."""
        seconds = self.comm.each(np.array([self._times()["compute_seconds"]]))[:, 0]
        usual = float(np.median(seconds))
        for rank in np.flatnonzero((seconds > SLOW * usual) & (seconds > usual + SLOW_SECONDS)).tolist():
            who = str(self.comm.members[rank]) if self.comm.members else f"rank {rank}"
            if rank not in self.slow and self.keeper:
                self.keeper.event("slow rank", who=who, seconds=float(seconds[rank]), median=usual)
            self.slow[rank] = f"{who} computed for {seconds[rank]:.1f} s, the median rank for {usual:.1f} s"

    def _outcome(self) -> Fit:
        """The model, its scores, and what is kept of them. A collective."""
        assert self.at is not None
        assert self.fitting is not None
        assert self.split is not None
        comm, options, at, objective = self.comm, self.options, self.at, self.fitting.objective
        data, state, measured = self.split.train, self.at.outcome, self._times()
        self._find_slow()
        model = model_at(objective, data, options, state, at.along)
        of_ranks = comm.each(np.array(list(measured.values()))).T
        times = dict(zip(measured, of_ranks.max(axis=1).tolist(), strict=True))
        fitted = Fit(
            model,
            state,
            at.reason,
            comm.size,
            objective.n,
            self.fingerprint,
            times,
            self.solver,
            self.why,
            note=SEPARATED if is_separated(data, objective, at.first, state) else "",
            run_dir=str(self.keeper.path) if self.keeper else "",
            lost=tuple(map(str, self.lost)),
            slow=tuple(self.slow[rank] for rank in sorted(self.slow)),
        )
        if options.threshold:
            rows = self.split.part(VALIDATION)
            model.result["threshold"] = chosen_threshold(comm, model, rows, options.threshold, options.costs)
        scored = {name: self.split.part(role) for name, role in self.split.roles_with_rows(comm).items()}
        fitted = replace(fitted, scores={name: score(comm, model, some) for name, some in scored.items()})
        model.result.update(fitted.summary())
        if self.keeper:
            hosts = {"hosts": [member.host for member in comm.members]}
            beside: dict[str, dict[str, Any]] = {}
            beside[TIMES] = {**dict(zip(measured, of_ranks.tolist(), strict=True)), **hosts}
            if options.report:
                from mpigd.shown import shown  # which few runs need, and all would wait for

                beside[CURVES] = shown(comm, model, self.split, options)
            self.keeper.complete(model, self.records, beside)
        return fitted


def stopping_of(options: Train, objective: Objective) -> Stopping:
    """When the options have a fit of an objective end. A collective, the first time."""
    return Stopping(options.tol, options.tol_objective, options.max_passes, objective.null.rounding)


def asked_to_stop(options: Train, left: int) -> str:
    """The option by which so many ranks that are left after deaths are not to go on; empty where they are."""
    if options.on_failure == "stop":
        return "--on-failure stop"
    return f"--min-ranks {options.min_ranks}" if left < options.min_ranks else ""


def fingerprint_of(comm: Comm, data: Dataset, begun: str) -> str:
    """Of the rows; DataError where they are not those that a fit or a search began with, if any. A collective."""
    found = data.fingerprint(comm)
    if begun and found != begun:
        raise same_everywhere(
            DataError(
                f"{data.header.label}: its rows are not those that the fit began with (fingerprint {found}, then "
                f"{begun}): the file, or how its rows are divided, has changed; begin anew without --resume"
            )
        )
    return found


def model_at(objective: Objective, data: Dataset, options: Train, state: State, along: Sequence[Along] = ()) -> Model:
    """The model of a state of a fit, and of those along a path of penalties."""
    coef, intercept = objective.coefficients(state.theta)
    loss, scaling = kernels.LOSSES[options.loss], objective.scaling
    several = loss.target == "classes" or coef.shape[1] > 1
    return Model(
        coef=coef if several else coef[:, 0],
        intercept=intercept if several else intercept[0],
        loss=loss,
        feature_names=data.header.feature_names,
        classes=data.classes,
        config=options.to_dict(),
        fit={"theta": state.theta, "gradient": state.gradient, "mean": scaling.mean, "scale": scaling.scale},
        path=arrays_of(along, several),
        class_names=data.class_names,
    )


def note_cores(threads: int) -> None:
    """Say on standard error where threads will have to share cores: launchers bind ranks to one unless told."""
    cores = platforms.own_cores()
    if threads > cores:
        complain(
            f"note: --threads {threads}, but rank 0 may use {cores} core(s) only; "
            f"mpirun --map-by slot:PE={threads} gives each rank as many"
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

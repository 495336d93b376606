"""Fits of candidates on folds, in lockstep: what a search makes of them, and how far it has come."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from mpigd_kernels.factor import factor

from mpigd.comm import Comm
from mpigd.dataset import Dataset
from mpigd.errors import DivergenceError, StoppedError, UsageError, same_everywhere
from mpigd.fitting import Fitting, Progress
from mpigd.folds import Folds, folds_of
from mpigd.history import Record
from mpigd.keeper import Keeper
from mpigd.lockstep import Lockstep
from mpigd.objective import Objective
from mpigd.options import Train, Tune
from mpigd.options.tune import Value
from mpigd.predict import score
from mpigd.problem import make_objective, make_solver, penalty_of
from mpigd.search import ETA, PENALTIES, Trial, rungs_of, those_that_go_on
from mpigd.searched import Outcome, Reached, Searched
from mpigd.solvers import ON_A_PART, LimitedMemoryBFGS, State
from mpigd.solvers.base import Solver
from mpigd.splits import TRAIN, Split
from mpigd.train import fingerprint_of, model_at, stopping_of
from mpigd.watch import why

ALL = -1  # instead of the number of a fold: all rows to train
OFFER = 0.1  # seconds between looks whether it is time for a checkpoint
# Bytes that Hessians of candidates may take while their fits on all rows go before those on folds.
HESSIANS = 1 << 28
# What an objective depends on beside its rows and its penalty.
OF_OBJECTIVE = (
    *("loss", "loss_parameter", "smoothing", "intercept", "standardize", "average", "reduce", "top_share"),
    *("arithmetic",),
)
# Solvers whose fits on folds begin where that on all rows has ended. What they end at does not depend on that.
START = 1e-3  # tolerance of fits that others begin where they end, which differ from it by more than that
CONVERGENT = ("newton", "newton-cg", "lbfgs", "prox-newton", "nesterov")
BY_HESSIAN = ("newton", "prox-newton")  # one fit at a time gains more from where the last one ended than from company


class CrossValidation:
    """Fits of candidates on folds, in lockstep. A keeper may keep it, and it goes on from what that has kept.

    Names of fits are the place of the candidate and the fold, as in "3 0"; of outcomes as well, or with the rung.
    """

    def __init__(self, comm: Comm, options: Tune, observers: Sequence[Any], keeper: Keeper | None = None) -> None:
        self._comm, self._options, self._observers, self._keeper = comm, options, observers, keeper
        self._objectives: dict[tuple[Any, ...], tuple[Objective, State]] = {}
        self._solvers: dict[Train, tuple[Solver, str]] = {}
        self._done, self._total = 0, 1
        self.records: list[Record] = []
        self.fingerprint = ""
        self._count, self._offered = 0, 0.0
        self._fits: dict[str, Progress] = {}
        self._outcomes: dict[str, Outcome] = {}
        if keeper and keeper.resumed:
            found: Searched = keeper.resumed.at
            self.fingerprint, self._count = keeper.resumed.fingerprint, found.count
            self._fits, self._outcomes = dict(found.fits), {outcome.fit: outcome for outcome in found.outcomes}

    @property
    def at(self) -> Searched | None:
        """How far it has come; None before the first move. Any thread may ask."""
        fits = tuple(Reached(*one) for one in tuple(self._fits.items()))
        return Searched(self._count, fits, tuple(self._outcomes.values())) if self._count else None

    def begin(self, split: Split) -> None:
        """With these rows. A collective."""
        comm, rows = self._comm, split.part(TRAIN)
        if self._keeper:
            self.fingerprint = fingerprint_of(comm, split.train, self.fingerprint)
            self._keeper.create(())
        self._folds: Folds = folds_of(comm, rows, self._options)
        self._lockstep = Lockstep(comm, split.data)
        joint, numbers = self._lockstep.joint, range(self._folds.count)
        self._train: dict[int, Dataset] = {ALL: joint(split.train)}
        self._train |= {k: joint(split.train.weighted(self._folds.train(k))) for k in numbers}
        # Balanced classes are for training: rows held out weigh what they weigh.
        self._held_out = {k: joint(rows.weighted(self._folds.held_out(k))) for k in numbers}

    def trials(self, candidates: list[dict[str, Value]]) -> list[Trial]:
        """What comes of candidates. A collective."""
        options = self._options
        fits = [options.with_values(values) for values in candidates]
        rungs = len(rungs_of(len(fits), 1.0, options.search))
        self._total = self._folds.count * sum(-(-len(fits) // ETA**rung) for rung in range(rungs))
        name = self._solver(fits[0])[1]
        penalties_alone = all(key in PENALTIES for values in candidates for key in values)
        with np.errstate(over="ignore", invalid="ignore"):  # what divergence looks like
            self._prepare(fits)
            if options.search == "halving":
                return self._halving(candidates, fits)
            if penalties_alone and name in CONVERGENT:
                return self._along_penalties(candidates, fits, name)
            return self._all_at_once(candidates, fits)

    def _prepare(self, fits: Sequence[Train]) -> None:
        """Objectives of all folds, which candidates share."""
        work: dict[tuple[Any, ...], Callable[[], None]] = {}
        for chosen in fits:
            for k in self._train:
                work.setdefault(_key(k, chosen), partial(self._make_objective, k, chosen))
        self._lockstep.run(list(work.values()))

    def _make_objective(self, k: int, chosen: Train) -> None:
        objective = make_objective(self._lockstep.comm, self._train[k], chosen)
        theta = objective.null_theta  # found once, and known to those that are made of this one
        value, gradient = objective.value_and_gradient(theta)
        self._objectives[_key(k, chosen)] = objective, State(theta, value, gradient, 0, 0.0, 1.0)

    def _objective(self, k: int, chosen: Train) -> tuple[Objective, State]:
        """The objective of a fold with a candidate's penalty, and the state of its null model."""
        objective, first = self._objectives[_key(k, chosen)]
        return objective.with_penalty(penalty_of(self._train[k], chosen, objective.scaling)), first

    def _solver(self, chosen: Train) -> tuple[Solver, str]:
        """That of a candidate, and its name. A collective, the first time."""
        if chosen not in self._solvers:
            with self._comm.agreement():
                solver, name, _ = make_solver(chosen, self._train[ALL])
            self._solvers[chosen] = solver, name
        return self._solvers[chosen]

    def _fitting(self, k: int, chosen: Train, solver: Solver | None = None, start: np.ndarray | None = None) -> Fitting:
        """A fit of a candidate to a fold, or to all rows. start : where it begins, instead of at the null model."""
        objective, first = self._objective(k, chosen)
        own, name = self._solver(chosen)
        stopping = stopping_of(chosen, objective)
        seed = chosen.seed if name in ON_A_PART else None
        smooth = first if objective.penalty.is_smooth else None
        return Fitting(objective, solver or own, stopping, seed, theta=start, first=smooth)

    def _score(self, k: int, fitting: Fitting, at: Progress, chosen: Train) -> float:
        """Of a fold, on the rows held out."""
        held, state = self._held_out[k], at.outcome
        if self._options.score == "loss":
            return fitting.objective.loss_on(held.slice, state.theta)
        model = model_at(fitting.objective, held, chosen, state)
        found = score(self._lockstep.comm, model, held)
        numbers = {name: value for name, value in found.items() if isinstance(value, float)}
        if self._options.score not in numbers:
            known = ", ".join(["loss", *numbers])
            raise same_everywhere(UsageError(f"--score {self._options.score}: expected one of {known}"))
        return numbers[self._options.score]

    def _along_penalties(self, candidates: list[dict[str, Value]], fits: list[Train], name: str) -> list[Trial]:
        """Fits to all rows first, each from where the one before has ended; those to folds begin where they end.

        A fold's minimum is near that of all rows, whose Hessian is a metric in which a few steps lead there. Each of
        them takes a gradient alone, of all candidates in one read.
        """
        p = self._objective(ALL, fits[0])[0].shape[0]
        alone = name in BY_HESSIAN and not self._reads_anew
        size = max(HESSIANS // (8 * p * p), 1) if name in ("newton", "lbfgs", "prox-newton") else len(fits)
        folds = range(self._folds.count)
        start: np.ndarray | None = None
        found: list[Outcome] = []
        for first in range(0, len(fits), size):
            some = range(first, min(first + size, len(fits)))
            known = all(_name(c, k) in self._outcomes for c in some for k in folds)
            if not known:
                begun: list[State] = []
                if alone:
                    for c in some:
                        begun += self._lockstep.run([partial(self._on_all_rows, c, fits[c], start)])
                        start = begun[-1].theta
                else:
                    begun = self._lockstep.run([partial(self._on_all_rows, c, fits[c], start) for c in some])
                whole = dict(zip(some, begun, strict=True))
                self._lockstep.run([partial(self._on_fold, c, k, fits[c], whole[c]) for c in some for k in folds])
            found += [self._outcomes[_name(c, k)] for c in some for k in folds]
            last = self._fits.get(_name(some[-1], ALL))
            if alone and last is not None:
                start = last.state.theta
            if not known and last is not None:
                self._fits = {_name(some[-1], ALL): last}  # what is needed no more takes much room
        return self._gathered(candidates, found)

    @property
    def _reads_anew(self) -> bool:
        """Whether rows are read from files for every pass, which is then what counts."""
        return self._options.memory is not None

    def _on_all_rows(self, c: int, chosen: Train, start: np.ndarray | None) -> State:
        """Where the fit of a candidate to all rows ends."""
        fitting = self._fitting(ALL, replace(chosen, tol=max(chosen.tol, START)), start=start)
        return self._moved(_name(c, ALL), fitting).state

    def _on_fold(self, c: int, k: int, chosen: Train, whole: State) -> Outcome:
        """What comes of a candidate on a fold. whole : the state of its fit to all rows."""
        objective, other = self._objective(k, chosen)[0], self._objective(ALL, chosen)[0]
        start = objective.scaling.from_coefficients(*other.coefficients(whole.theta), chosen.intercept)
        solver: Any = None
        hessian, metric = getattr(whole, "hessian", None), getattr(whole, "metric", None)
        if objective.penalty.is_smooth and hessian is not None and len(hessian):
            solver = LimitedMemoryBFGS(metric=factor(hessian))
        elif objective.penalty.is_smooth and metric is not None:
            solver = LimitedMemoryBFGS(metric=metric)
        return self._reached(c, k, chosen, self._fitting(k, chosen, solver, start))

    def _reached(
        self, c: int, k: int, chosen: Train, fitting: Fitting, passes: float = np.inf, rung: int | None = None
    ) -> Outcome:
        """What comes of a fit to a fold that goes on for so many passes."""
        fit = _name(c, k)
        name = fit if rung is None else f"{fit} {rung}"
        if name not in self._outcomes:
            try:
                at = self._moved(fit, fitting, passes)
            except DivergenceError as error:
                self._outcomes[name] = Outcome(name, np.nan, 0.0, f"fold {k}: {error}")
            else:
                self._outcomes[name] = Outcome(name, self._score(k, fitting, at, chosen), at.overall.passes, "")
            if rung is None:
                self._fits.pop(fit, None)
        self._tell()
        return self._outcomes[name]

    def _moved(self, fit: str, fitting: Fitting, passes: float = np.inf) -> Progress:
        """As far as it comes with so many passes, from where it is."""
        at = self._fits.get(fit) or fitting.begin()
        while not at.ended and at.overall.passes < passes:
            if self._comm.heard:
                self._stop()
            at = fitting.move(at)
            self._fits[fit] = at
            self._count += 1
            if self._keeper and (now := time.monotonic()) > self._offered + OFFER:
                self._keeper.offer(self)
                self._offered = now
        return at

    def end(self) -> None:
        """Stop where ranks have asked for it since the last sum. A collective."""
        self._comm.heard = int(self._comm.sum(np.array([self._comm.asks]))[0])
        if self._comm.heard:
            self._stop()

    def _stop(self) -> None:
        """Stop as ranks have asked for in the last sum. A collective."""
        message = f"stopped amid a search: {why(self._comm.heard)}"
        kept = self._keeper.saved(self, message) if self._keeper else f"{message}; nothing is kept of one in groups"
        raise same_everywhere(StoppedError(kept))

    def _all_at_once(self, candidates: list[dict[str, Value]], fits: list[Train]) -> list[Trial]:
        """Fits of all candidates to all folds, each by itself from the null model."""

        def one(c: int, k: int, chosen: Train) -> Outcome:
            return self._reached(c, k, chosen, self._fitting(k, chosen))

        folds = range(self._folds.count)
        work = [partial(one, c, k, chosen) for c, chosen in enumerate(fits) for k in folds]
        return self._gathered(candidates, self._lockstep.run(work))

    def _halving(self, candidates: list[dict[str, Value]], fits: list[Train]) -> list[Trial]:
        """All candidates with few passes; of those that are left ever fewer with ever more."""
        folds = range(self._folds.count)
        fittings = [[self._fitting(k, chosen) for k in folds] for chosen in fits]
        trials = [Trial(values) for values in candidates]
        left = list(range(len(fits)))
        rungs = rungs_of(len(fits), max(chosen.max_passes for chosen in fits), "halving")
        for number, passes in enumerate(rungs):
            work = [partial(self._reached, c, k, fits[c], fittings[c][k], passes, number) for c in left for k in folds]
            found = self._lockstep.run(work)
            some = self._gathered([candidates[c] for c in left], found)
            for c, trial in zip(left, some, strict=True):
                trials[c] = trial
            if number + 1 < len(rungs):
                goes_on = {left[place] for place in those_that_go_on(some, self._options.score)}
                for c in set(left) - goes_on:
                    trials[c] = replace(trials[c], note=trials[c].note or f"left out after {passes:g} passes")
                    fittings[c] = []
                    for k in folds:
                        self._fits.pop(_name(c, k), None)  # states take room
                left = sorted(goes_on)
        return trials

    def _gathered(self, candidates: list[dict[str, Value]], found: list[Outcome]) -> list[Trial]:
        """Trials from what came of each fold in turn."""
        count = self._folds.count
        trials = []
        for place, values in enumerate(candidates):
            _, scores, passes, notes = zip(*found[place * count : (place + 1) * count], strict=True)
            trials.append(Trial(values, scores, sum(passes) / count, next(filter(None, notes), "")))
        return trials

    def _tell(self) -> None:
        """One more fit has ended, or come to its rung."""
        self._done += 1
        said = f"{self._done} of {self._total} fits"
        for observer in self._observers if self._comm.rank == 0 else ():
            observer(said, min(self._done / self._total, 1.0))


def _key(k: int, chosen: Train) -> tuple[Any, ...]:
    return k, *(getattr(chosen, name) for name in OF_OBJECTIVE)


def _name(c: int, k: int) -> str:
    """Of the fit of a candidate to a fold, or to all rows."""
    return f"{c} {k}"

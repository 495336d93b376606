"""How a fit goes from its beginning to its end, a move at a time.

`Progress` is all that it needs to go on. It is the same on all ranks, and a move leaves the one before as it was: so a
move that did not come to its end, because a rank died, is made again, and a fit goes on from a copy on disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from mpigd_kernels import Slice

from mpigd.errors import same_everywhere
from mpigd.history import CONVERGED, EarlyStopping, Held, Mark, Stopping, divergence, mark
from mpigd.objective import Objective
from mpigd.replicated import falling
from mpigd.solvers import Newton, State
from mpigd.solvers.base import Solver
from mpigd.solvers.choice import LBFGS_STEPS, NEWTON_STEPS

NEAR = 1e-3  # tolerance on a part of the rows, whose minimum is not that of all anyway
ALIKE = 0.25  # by how much the loss of the null model may differ between a part and all rows


class Along(NamedTuple):
    """One fit of those along a path of penalties, whose strength is relative to the penalty asked for."""

    strength: float
    objective: float
    passes: float
    converged: bool
    coef: np.ndarray
    intercept: np.ndarray


@dataclass(frozen=True)
class Progress:
    """How far a fit has come; replicated.

    count : moves so far.
    first : the state of the null model, with the penalty asked for.  state : where the fit is.  last : its last record.
    strengths : of the penalty, falling, (m,); none where there is only the one asked for.  index : of the present one.
    along : the fits for those before.  steps, passes : of those, in all.  setup_passes : of all.
    reason : why the fit for the present strength has ended; empty while it goes on.
    held : of rows to validate, where they may end it.
    """

    count: int
    first: State
    state: State
    last: Mark
    strengths: np.ndarray
    index: int = 0
    along: tuple[Along, ...] = ()
    steps: int = 0
    passes: float = 0.0
    setup_passes: int = 0
    reason: str = ""
    held: Held | None = None

    @property
    def ended(self) -> bool:
        """Whether no move is left."""
        return bool(self.reason) and self.index + 1 >= len(self.strengths)

    @property
    def step(self) -> int:
        """Steps so far, those of the fits before it counted."""
        return self.steps + self.state.step

    @property
    def overall(self) -> State:
        """The state, with the steps and passes of the fits before it counted."""
        state = self.state
        return replace(
            state,
            step=self.step,
            passes=self.passes + state.passes,
            setup_passes=self.setup_passes,
        )

    @property
    def outcome(self) -> State:
        """The state that the model is to come from, with steps and passes as of `overall`."""
        overall = self.overall
        if self.held is None:
            return overall
        counts = {name: getattr(overall, name) for name in ("step", "passes", "setup_passes")}
        return replace(self.held.state, **counts)


class Fitting:
    """What moves a fit on: an objective, a solver, and when to stop. Every move is a collective.

    seed : of the part of the blocks that it begins on, where it may.  path : how many strengths of the penalty.
    theta : where to begin instead of at the null model, if that is better.  first : the state of the null model, if it
    is known; then the fit begins at theta whether that is better or not.
    early, held : when rows to validate end the fit, and those of this rank.
    """

    def __init__(
        self,
        objective: Objective,
        solver: Solver,
        stopping: Stopping,
        seed: int | None = None,
        path: int = 1,
        theta: np.ndarray | None = None,
        early: EarlyStopping | None = None,
        held: Slice | None = None,
        first: State | None = None,
    ) -> None:
        self._early, self._held, self._first = early, held, first
        self.objective, self.solver, self.stopping = objective, solver, stopping
        self._seed, self._path, self._theta = seed, path, theta
        self._some: dict[int, Objective] = {}  # by index of strength

    def on(self, objective: Objective, held: Slice | None) -> Fitting:
        """The same with the same objective, and the same rows to validate, on other ranks."""
        return Fitting(objective, self.solver, self.stopping, self._seed, self._path, self._theta, self._early, held)

    def begin(self) -> Progress:
        """The first progress."""
        objective, solver = self.objective, self.solver
        if self._theta is not None and self._first is not None:
            first, state = self._first, solver.init(objective, self._theta)
        elif self._theta is not None:
            first, state = begin_at(solver, objective, self._theta)
        else:
            first, state = begin_fit(solver, objective, self._seed)
        at = Progress(0, plain(first), state, mark(state), np.zeros(0), setup_passes=state.setup_passes)
        if self._path == 1:
            return self._judged(at)
        slope = getattr(first, "slope", first.gradient)
        strengths = np.array(falling(objective.penalty.strongest(slope), self._path))
        return self._with_strength(replace(at, strengths=strengths, passes=state.passes), 0)

    def move(self, at: Progress) -> Progress:
        """One step; where the fit has ended for one strength of the penalty, the begin of that for the next."""
        if at.reason:
            steps, passes = at.steps + at.state.step, at.passes + at.state.passes
            return self._with_strength(replace(at, steps=steps, passes=passes), at.index + 1)
        state = self.solver.step(self._objective(at), at.state)
        return self._judged(replace(at, count=at.count + 1, state=state))

    def fraction(self, at: Progress) -> float:
        """An estimate of how much of the fit is done, 0 … 1."""
        done = 1.0 if at.reason else self.stopping.fraction(self._null(at), at.state)
        return (at.index + done) / max(len(at.strengths), 1)

    def _with_strength(self, at: Progress, index: int) -> Progress:
        """Begin the fit for a strength where the one before has ended.

        Strengths fall evenly in the logarithm; the budget of passes is for each. Tolerances refer to the gradient of
        the null model with the penalty asked for: with the strongest it would be zero.
        """
        at = replace(at, count=at.count + 1, index=index, reason="")
        some = self._objective(at)
        begin = self.solver.init(some, at.state.theta)
        if begin.value > self._null(at).value:  # as of a model to begin at, or where the penalty was weaker
            begin = better(begin, self.solver.init(some, at.first.theta))
        setup_passes = at.setup_passes + begin.setup_passes
        return self._judged(replace(at, state=begin, last=mark(begin), setup_passes=setup_passes))

    def _objective(self, at: Progress) -> Objective:
        if not len(at.strengths):
            return self.objective
        if at.index not in self._some:
            strength = float(at.strengths[at.index])
            self._some = {at.index: self.objective.with_penalty(self.objective.penalty.times(strength))}
        return self._some[at.index]

    def _null(self, at: Progress) -> State:
        """The state of the null model with the present strength."""
        if not len(at.strengths):
            return at.first
        strength, penalty = float(at.strengths[at.index]), self.objective.penalty
        return replace(at.first, value=at.first.value + (strength - 1.0) * penalty.total(at.first.theta))

    def _judged(self, at: Progress) -> Progress:
        """With the reason to stop, if there is one."""
        at = judged(at, self._null(at), self.stopping, self.objective.null.size)
        if self._early is not None and self._held is not None and at.state.fresh:
            loss = self.objective.loss_on(self._held, at.state.theta)
            held = self._early.look(at.held, plain(at.state), loss)
            at = replace(at, held=held, reason=at.reason or self._early.reason(held))
        if at.reason and len(at.strengths):
            state, strength = at.state, float(at.strengths[at.index])
            found = self.objective.coefficients(state.theta)
            along = Along(strength, state.value, state.passes, CONVERGED[at.reason], *found)
            return replace(at, along=(*at.along, along))
        return at


def judged(at: Progress, null: State, stopping: Stopping, size: float) -> Progress:
    """Progress with the reason to stop where it is, if there is one; DivergenceError on all ranks. Not a collective."""
    if error := divergence(null, at.state, size):
        raise same_everywhere(error)
    reason = stopping.reason(null, at.last, at.state) or ""
    return replace(at, reason=reason, last=mark(at.state) if at.state.fresh else at.last)


def descend(solver: Solver, objective: Objective, state: State, stopping: Stopping) -> State:
    """The state where a fit without further ado ends that begins, as tolerances do, at a state."""
    size = objective.null.size
    at = judged(Progress(0, plain(state), state, mark(state), np.zeros(0)), state, stopping, size)
    while not at.reason:
        at = judged(replace(at, state=solver.step(objective, at.state)), state, stopping, size)
    return at.state


def begin_at(solver: Solver, objective: Objective, theta: np.ndarray) -> tuple[State, State]:
    """The state of the null model, which tolerances refer to, and the one at theta, if that is better. A collective."""
    first = solver.init(objective, objective.null_theta)
    return first, better(first, solver.init(objective, theta))


def better(a: State, b: State) -> State:
    """Of two states at the start the one with the lower value, which has cost the passes of both."""
    passes, setup_passes = a.passes + b.passes, a.setup_passes + b.setup_passes
    return replace(b if b.value < a.value else a, passes=passes, setup_passes=setup_passes)


def begin_fit(solver: Solver, objective: Objective, seed: int | None) -> tuple[State, State]:
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
        near = descend(on_part, part, begin, Stopping(NEAR, 0.0, 20.0, objective.null.rounding))
        state = solver.init(objective, near.theta)
        passes = state.passes + near.passes / one_in
        if state.value < value:
            return replace(begin, value=value), replace(state, passes=passes)
    first = solver.init(objective, null)  # the part is not like the rest
    return first, replace(first, passes=passes + first.passes)


def plain(state: State) -> State:
    """A state without what a solver keeps beside."""
    return State(**{each.name: getattr(state, each.name) for each in fields(State)})


def arrays_of(along: Sequence[Along], several: bool) -> dict[str, np.ndarray]:
    """As arrays with one row for each fit; coef (m, d) and intercept (m,), or with outputs last."""
    arrays = {name: np.array(values) for name, values in zip(Along._fields, zip(*along, strict=True), strict=False)}
    if along and not several:
        arrays.update(coef=arrays["coef"][:, :, 0], intercept=arrays["intercept"][:, 0])
    return arrays

"""What is known of a fit while it runs, and when it stops."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from mpigd.errors import DivergenceError
from mpigd.solvers import State

ROUNDING = 2.0**-44  # of a sum of terms: less may be rounding


@dataclass(frozen=True)
class Record:
    """One line of history.jsonl. Times are those of the rank that writes it (0), in seconds since the start.

    validation_loss : the data term on the rows to validate, where it can end the fit.
    """

    step: int
    passes: float
    objective: float
    grad_norm: float
    seconds: float
    read_seconds: float
    compute_seconds: float
    comm_seconds: float
    validation_loss: float | None = None


class Mark(NamedTuple):
    """Where a record was made."""

    step: int
    passes: float
    value: float


def mark(state: State) -> Mark:
    """Of a state that has one."""
    return Mark(state.step, state.passes, state.value)


@dataclass(frozen=True)
class Stopping:
    """When a fit ends. A function of states alone, so all ranks stop at the same step.

    rounding : as `NullModel.rounding`: where the null model is as good as any, its own gradient is rounding.
    """

    tol: float
    tol_objective: float
    max_passes: float
    rounding: float = 0.0

    def reason(self, first: State, last: Mark, state: State) -> str | None:
        """Why to stop at state, or None. `last` is where the record before was made, at the start that of state."""
        if not state.fresh:
            return None
        if state.gradient_norm <= self.enough(first):
            return "gradient"
        if state.stalled:
            return "rounding"
        change = abs(state.value - last.value)
        if state.step > last.step and change < self.tol_objective * max(abs(state.value), abs(last.value)):
            return "objective"
        next_record = state.passes + (state.passes - last.passes)
        return "passes" if state.passes >= self.max_passes or next_record > self.max_passes else None

    def enough(self, first: State) -> float:
        """The norm of a gradient that ends the fit."""
        return max(self.tol * first.gradient_norm, min(self.tol, ROUNDING) * self.rounding)

    def fraction(self, first: State, state: State) -> float:
        """An estimate of how much of the fit is done, 0 … 1, from the gradient's fall and the budget."""
        if state.gradient_norm == 0.0 or first.gradient_norm == 0.0:
            return 1.0
        fallen = math.log(state.gradient_norm / first.gradient_norm) / math.log(self.tol) if 0 < self.tol < 1 else 0.0
        return min(max(fallen, state.passes / self.max_passes, 0.0), 1.0)


@dataclass(frozen=True)
class Held:
    """What is known of the loss on rows that are held out.

    loss : at the last record.  state : the one where it was least.  least : what it was there.
    waited : records since then.
    """

    loss: float
    state: State
    least: float
    waited: int = 0


@dataclass(frozen=True)
class EarlyStopping:
    """Stops a fit when the loss on rows to validate has not fallen for so many records.

    This is the criterion UP of L. Prechelt, "Early stopping – but when?", in: Neural Networks: Tricks of the Trade,
    1998, with strips of one record.

    change : by what share it has to fall below the least one so far to count.
    """

    records: int
    change: float = 0.0

    def look(self, before: Held | None, state: State, loss: float) -> Held:
        """What is known after one more record: its state, and the loss there."""
        if before is None or loss < before.least - self.change * abs(before.least):
            return Held(loss, state, loss)
        return replace(before, loss=loss, waited=before.waited + 1)

    def reason(self, held: Held) -> str:
        """Why to stop; empty for no reason."""
        return "validation" if held.waited >= self.records else ""


CONVERGED = {"gradient": True, "objective": True, "rounding": False, "passes": False, "validation": False}


def divergence(first: State, state: State, size: float = 0.0) -> DivergenceError | None:
    """The error to raise when the iterates have left all reason, or None.

    A step length that is too large multiplies the error at every step, so the objective passes ten times
    its starting value within a few steps; noise of mini-batches does not take it there.

    size : as `NullModel.size`; the value itself may be near zero, where terms of a loss cancel or y is constant.
    """
    if not (math.isfinite(first.value) and math.isfinite(first.gradient_norm)):
        return DivergenceError(
            f"the objective is {first.value:g} and its gradient {first.gradient_norm:g} at the start: numbers of X, y "
            "or weights are too large or too small for double precision; rescale them"
        )
    bounded = bool(np.isfinite(state.theta).all())
    if state.fresh:
        bounded = bounded and state.value - first.value <= 10.0 * max(abs(first.value), size)
    if bounded:
        return None
    now = f" to {state.value:.6g}" if state.fresh else " without bound"
    return DivergenceError(
        f"diverged at step {state.step}: the objective rose from {first.value:.6g}{now} with learning rate "
        f"{state.learning_rate:.6g}; use --learning-rate auto, or {state.learning_rate / 10:.2g} or less"
    )

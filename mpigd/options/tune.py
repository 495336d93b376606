"""The options of `tune`, which takes all of `train`, too."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from mpigd.errors import UsageError
from mpigd.options.base import require
from mpigd.options.fit import Train
from mpigd.options.groups import Loss, Penalty, Solver, Steps

Value = float | int | str | bool
TUNABLE = (Loss, Penalty, Solver, Steps)  # groups of options that candidates may differ in
NOT_TUNABLE = frozenset({"loss", "path", "init", "group", "seed", "patience", "min_change"})
DEFAULT = "l2=1e-6..10/20"


@dataclass(frozen=True)
class Span:
    """What one option may be: values, or all from low to high, evenly in the logarithm.

    count : of a span, how many of them make a grid; 0 where it is to be drawn from.
    """

    name: str
    values: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0
    count: int = 0


@dataclass(frozen=True)
class Tune(Train):
    """Choose options of a fit of DATA by cross-validation, many fits in each read, then fit with the best."""

    over: tuple[str, ...] = ()
    """Options to choose, each with its values, as in l2=0.1,0.01, or as a span that is even in the logarithm, with how
    many of it for a grid, as in l2=1e-6..10/20 (the default) or learning_rate=1e-3..1 (to draw from). Candidates of a
    grid are all combinations."""

    search: Literal["grid", "random", "halving"] = "grid"
    """All combinations; as many as --candidates, drawn by seed; or these with few passes first, of which the best third
    goes on to three times as many, until --max-passes."""

    candidates: int = 20
    """How many are drawn, of random and halving."""

    folds: int = 5
    """Into how many parts the rows to train are divided: each is held out once."""

    fold_kind: Literal["plain", "stratified", "grouped", "time", "given"] = "plain"
    """Folds are drawn by seed from all rows, or from those of each class; rows of a group stay together; rows held out
    come after all that are fitted on; or a dataset gives the number of each row's fold."""

    fold_by: str | None = None
    """Name of a dataset (rows) of whole numbers: the groups of grouped folds, or the folds that are given, a negative
    number being none."""

    score: str = "loss"
    """What candidates are compared by on the rows held out: loss, which is that of the fit without its penalty, or a
    metric that evaluate knows: accuracy, balanced_accuracy, f1, roc_auc, average_precision, brier, r2, rmse, mae, …"""

    rule: Literal["best", "one-se"] = "best"
    """Take the best mean over folds; or, of those within one standard error of it that differ in the penalty alone, the
    one that is penalised most."""

    refit: bool = True
    """In the end fit all rows to train with what was chosen, and write that model."""

    rank_groups: int = 1
    """Divide ranks into so many groups, each of which holds all rows and fits a share of the candidates: for small
    data, where ranks wait for messages more than they compute."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.path == 1, "--path", self.path, "no path with tune: let --over l2=… or l1=… give the penalties")
        require(self.init is None, "--init", self.init, "none with tune")
        alone = self.rank_groups == 1
        require(alone or self.resume == "no", "--resume", self.resume, "no --rank-groups, which keep no checkpoints")
        parted = "1 with --search halving, which compares all candidates where groups try a part of them"
        require(alone or self.search != "halving", "--rank-groups", self.rank_groups, parted)
        require(self.patience is None, "--patience", self.patience, "none with tune: folds take its place")
        require(self.candidates >= 1, "--candidates", self.candidates, "a whole number ≥ 1")
        require(self.folds >= 2, "--folds", self.folds, "a whole number ≥ 2")
        by = self.fold_kind in ("grouped", "given")
        require(by == (self.fold_by is not None), "--fold-by", self.fold_by or "", "it with --fold-kind grouped, given")
        require(self.rank_groups >= 1, "--rank-groups", self.rank_groups, "a whole number ≥ 1")
        spans = self.spans
        require(len({span.name for span in spans}) == len(spans), "--over", " ".join(self.over), "each option once")
        for span in spans:
            some = self.search != "grid" or bool(span.values) or span.count > 0
            require(some, "--over", span.name, "a number of values, as in 1e-3..1/10")
            for value in span.values or (span.low, span.high):
                self.with_values({span.name: value})

    @property
    def spans(self) -> tuple[Span, ...]:
        """What --over asks for."""
        return tuple(parse_span(text) for text in self.over or (DEFAULT,))

    @property
    def fit(self) -> Train:
        """What train takes of it."""
        return Train(**{field.name: getattr(self, field.name) for field in fields(Train) if field.init})

    def with_values(self, values: dict[str, Value]) -> Train:
        """The options of a candidate. UsageError where they make no sense."""
        try:
            return replace(self.fit, **values)  # type: ignore[arg-type]
        except UsageError as error:
            raise UsageError(f"--over: {error}") from None


def parse_span(text: str) -> Span:
    """What an option is to be chosen from. UsageError for what can't be.

    >>> parse_span("l2=1e-3..10/5")
    Span(name='l2', values=(), low=0.001, high=10.0, count=5)
    >>> parse_span("batch-size=64,256").values
    (64, 256)
    """
    name, _, given = text.partition("=")
    name = name.strip().lstrip("-").replace("-", "_")
    known = tunable()
    if name not in known or not given:
        raise UsageError(f"--over {text}: expected an option and values, as in l2=0.1,0.01; of {', '.join(known)}")
    if found := re.fullmatch(r"(.+)\.\.([^/]+)(?:/(\d+))?", given):
        low, high = (_value(text, name, end) for end in (found[1], found[2]))
        if not (isinstance(low, int | float) and isinstance(high, int | float) and 0.0 < low < high < math.inf):
            raise UsageError(f"--over {text}: a span goes from one number > 0 to a larger one")
        return Span(name, (), float(low), float(high), int(found[3] or 0))
    return Span(name, tuple(_value(text, name, each) for each in given.split(",")))


def is_whole(name: str) -> bool:
    """Whether an option takes whole numbers alone."""
    return tunable()[name] is int


def tunable() -> dict[str, Any]:
    """The types of options that can be chosen."""
    hints = get_type_hints(Train)
    names = (name for group in TUNABLE for name in vars(group)["__annotations__"])
    return {name: hints[name] for name in names if name not in NOT_TUNABLE and hints[name] is not type(None)}


def _value(text: str, name: str, given: str) -> Value:
    """A value of an option as its type asks for."""
    given, wanted = given.strip(), tunable()[name]
    kinds = get_args(wanted) if get_origin(wanted) not in (None, Literal) else (wanted,)
    for kind in kinds:
        if get_origin(kind) is Literal and given in get_args(kind):
            return given
        if kind is bool and given in ("true", "false"):
            return given == "true"
        if kind in (int, float):
            try:
                number: Value = int(given) if kind is int else float(given)
            except ValueError:
                continue
            return number
    raise UsageError(f"--over {text}: {given} is no value of {name}")

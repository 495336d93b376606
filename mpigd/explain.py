"""The job `explain`: what the coefficients of a model, and its columns, are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mpigd.comm import Comm
from mpigd.importance import Importance, permutation_importance
from mpigd.inference import Inference, infer
from mpigd.model import Model
from mpigd.options import Explain
from mpigd.predict import check_columns, load
from mpigd.problem import options_of, read_split
from mpigd.splits import NAMES, check_roles
from mpigd.verify import check_target


@dataclass(frozen=True)
class Explanation:
    """What was found, the same on all ranks.

    importance : None where it was not asked for.  on : the rows that it was found on.
    """

    model: Model
    inference: Inference
    importance: Importance | None
    on: str
    ranks: int

    def summary(self) -> dict[str, Any]:
        """What `explain --json` prints, as plain values."""
        importance = {} if self.importance is None else {"importance": {"on": self.on, **self.importance.summary()}}
        return {"loss": self.model.loss.name, **self.inference.summary(), **importance, "ranks": self.ranks}


def run(comm: Comm, options: Explain, observers: Sequence[Any] = ()) -> Explanation:
    """Inference on the rows that a model was trained on, and the importance of columns, if it is asked for."""
    model = load(comm, options.model)
    with comm.agreement():
        found = options_of(model, options.model, options.data)
        # However the fit was computed: standard errors are to have all digits.
        train = replace(found, threads=options.threads, arithmetic="float64", reduce="exact")
    split = read_split(comm, train)
    check_columns(comm, model, split.data)
    check_target(comm, model, split.data)
    importance = None
    if options.permutation:
        rows = split.data
        if options.on != "all":
            check_roles(comm, split, (options.on,))
            rows = split.part(NAMES.index(options.on))
        importance = permutation_importance(comm, model, rows, train.smoothing, options.permutation, options.seed)
    inference = infer(comm, model, split.train, train, options.covariance, options.weights, options.level)
    return Explanation(model, inference, importance, options.on, comm.size)

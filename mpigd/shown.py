"""What a report shows of a model: curves on some of the rows, intervals from those that it was fitted on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mpigd.comm import Comm
from mpigd.curves import curves
from mpigd.inference import infer
from mpigd.model import Model
from mpigd.options import Train
from mpigd.predict import Answered
from mpigd.splits import NAMES, Split


def shown(comm: Comm, model: Model, split: Split, options: Train, on: str | None = None) -> dict[str, Any]:
    """Curves of a model, and inference on its coefficients, as plain values. A collective.

    split : of the data that the model was fitted on, with these options.  on : the part whose rows curves are of;
    None for those to test, without such those to validate, without these all that were fitted.
    """
    role, rows = split.most_held_out(comm) if on is None else (on, split.part(NAMES.index(on)))
    # However the fit was computed: standard errors are to have all digits.
    exact = replace(options, arithmetic="float64", reduce="exact")
    inference = infer(comm, model, split.train, exact).summary()
    return {"on": role, **curves(comm, model, Answered.of(comm, model, rows)), "inference": inference}

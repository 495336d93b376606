"""The main job: the article's example, linear regression on Boston housing, from the file to a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from mpigd_data import path_of
from mpigd_kernels import LOSSES

from mpigd.comm import Comm
from mpigd.dataset import read
from mpigd.least_squares import closed_form
from mpigd.model import Model
from mpigd.options import Demo, Train
from mpigd.predict import score
from mpigd.rundir import RunDirectory
from mpigd.storage import Header
from mpigd.train import Fit, Observer, fit_into

CLOSED_FORM = "closed form"
PARTS = 5  # one of five is the test set: the 80/20 split


@dataclass(frozen=True)
class Share:
    """What one rank owns."""

    host: str
    start: int
    stop: int
    blocks: int


@dataclass(frozen=True)
class Outcome:
    """All that the report shows; complete on rank 0.

    models : by name, the closed form first.  scores : by name, metrics on ("train", "test") rows.
    """

    header: Header
    shares: list[Share]
    train_rows: int
    models: dict[str, Model]
    scores: dict[str, tuple[dict[str, float], dict[str, float]]]
    fits: dict[str, Fit]
    run_dir: str

    def distance(self, name: str) -> tuple[float, float]:
        """How far a fit's coefficients, intercept included, are from the closed form's.

        Returns the relative distance in the Euclidean norm and the largest relative difference of one.
        """
        exact, fitted = (np.append(m.coef, m.intercept) for m in (self.models[CLOSED_FORM], self.models[name]))
        difference = np.abs(fitted - exact)
        return float(np.linalg.norm(difference) / np.linalg.norm(exact)), float(np.max(difference / np.abs(exact)))


def run(comm: Comm, options: Demo, observers: Sequence[Observer] = ()) -> Outcome:
    """Fit by gradient descent and by stochastic gradient descent; compare with the closed form."""
    base = Train((path_of("boston"),), solver="gd", tol=1e-10, max_passes=20_000)
    ways = {
        "gradient descent": ("gd", base),
        "stochastic": ("sgd", replace(base, solver="sgd", batch_size=32, max_passes=200)),
    }
    top = comm.share(RunDirectory.usual("boston"))
    with comm.agreement():
        if comm.rank == 0:
            RunDirectory(top).check()
    data = read(comm, base.data, target="real")
    size = data.header.block
    share = Share(comm.host(), data.start, data.stop, -(-data.rows // size))
    held_out = data.part_of_rows(base.seed, 0, PARTS) == 0
    train, test = data.weighted(~held_out), data.weighted(held_out)

    coef, intercept = closed_form(comm, train)
    exact = Model(coef, np.array(intercept), LOSSES["squared"], data.header.feature_names, data.classes)
    models, fits = {CLOSED_FORM: exact}, {}
    for name, (folder, chosen) in ways.items():
        fits[name] = fit_into(comm, train, chosen, top / folder, observers)
        models[name] = fits[name].model
    return Outcome(
        header=data.header,
        shares=comm.gather(share),
        train_rows=next(iter(fits.values())).rows,
        models=models,
        scores={name: (score(comm, model, train), score(comm, model, test)) for name, model in models.items()},
        fits=fits,
        run_dir=str(top),
    )

"""Stochastic gradient descent, which can also go on from rows to rows."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any, ClassVar

import mpigd_kernels as kernels
import numpy as np
from sklearn.utils import check_random_state

from mpigd.comm import Comm
from mpigd.dataset import Dataset
from mpigd.errors import DivergenceError, same_everywhere
from mpigd.estimators.base import LinearEstimator, Regressor, as_builtin_errors, communicator
from mpigd.estimators.classifier import Classifier
from mpigd.model import Model
from mpigd.options import Train
from mpigd.problem import make_objective, make_solver
from mpigd.solvers import BY_ROWS

MOST_SEEDS = 1 << 31


@dataclass(eq=False, repr=False)
class Stochastic(LinearEstimator):
    """What the two classes below share: mean loss + alpha ((1 - l1_ratio) ||coef||^2 / 2 + l1_ratio ||coef||_1).

    A step is made along the gradient of a mini-batch over all ranks. Columns should be scaled.
    """

    loss: str = ""

    _: KW_ONLY

    alpha: float = 0.0001
    """Strength of the penalty."""

    l1_ratio: float = 0.0
    """Share of the penalty that makes coefficients zero."""

    max_iter: int = 100
    """Epochs, at most."""

    tol: float = 1e-2
    """The fit ends where the norm of the gradient is this part of that of the null model."""

    solver: str = "sgd"
    """Or adagrad, rmsprop, adam, adamw, svrg, saga."""

    learning_rate: float | str = "auto"
    """A number, or auto, which takes it from a bound of the curvature."""

    schedule: str = "auto"
    """How the rate falls: constant, step, 1/t, cosine or dog. Auto is cosine over max_iter, and constant in
    `partial_fit`."""

    batch_size: int = 32
    """Rows of a mini-batch."""

    momentum: float = 0.0
    """What is left of a step in the next one, of solver sgd."""

    average: bool = False
    """Take the mean of iterates instead of the last one."""

    random_state: Any = None
    """Seed of the shuffles."""

    SOLVERS = BY_ROWS
    LOSSES: ClassVar[dict[str, str]]

    def _loss(self, outputs: int) -> tuple[str, float | None]:
        if self.loss not in self.LOSSES:
            raise ValueError(f"loss={self.loss!r}: expected one of {', '.join(self.LOSSES)}")
        return self.LOSSES[self.loss], None

    def _penalty(self, weight: float) -> dict[str, Any]:
        share = self._number("l1_ratio", high=1.0)
        alpha = self._number("alpha")
        return {"l1": alpha * share, "l2": alpha * (1.0 - share)}

    def _options(self, outputs: int, weight: float = 1.0, **more: Any) -> Train:
        chosen = {name: getattr(self, name) for name in ("learning_rate", "schedule", "batch_size", "momentum")}
        # An epoch is a pass in mini-batches and one to see where it has led.
        passes = 1.0 + 2.0 * self.max_iter
        return super()._options(outputs, weight, **{**chosen, "averaging": self.average, "max_passes": passes, **more})

    def _more(self, comm: Comm, data: Dataset) -> dict[str, Any]:
        seed = self.random_state
        if not isinstance(seed, (int, np.integer)):
            seed = comm.share(int(check_random_state(seed).randint(MOST_SEEDS)))
        return {"seed": int(seed)}

    def _steps(self, state: Any) -> int:
        return int(state.epoch)

    def _begins(self) -> bool:
        """Whether there is nothing yet that `partial_fit` could go on from."""
        return not hasattr(self, "coef_")

    def _go_on(self, comm: Comm, data: Dataset, outputs: int) -> None:
        """An epoch on some rows, from the coefficients so far. A collective."""
        width = outputs if outputs > 2 else 1
        more = {**self._more(comm, data), **({"schedule": "constant"} if self.schedule == "auto" else {})}
        with as_builtin_errors():
            options = self._options(outputs, **more)
        if self._begins():
            coef, intercept, before = np.zeros((data.header.d, width)), np.zeros(width), 0
        else:
            (coef, intercept), before = self.model_.columns(), self.n_iter_
        parts = self._parts(data, options)
        begins = [np.array_split(each, len(parts), axis=-1) for each in (coef, intercept)]
        with as_builtin_errors():
            ends = [epoch(comm, part, options, a, b, before) for part, a, b in zip(parts, *begins, strict=True)]
        coef, intercept = (np.concatenate(each, axis=-1) for each in zip(*ends, strict=True))
        model = Model(
            coef=coef if width > 1 else coef[:, 0],
            intercept=intercept if width > 1 else intercept[0],
            loss=kernels.LOSSES[options.loss],
            feature_names=data.header.feature_names,
            classes=data.classes,
            config=options.to_dict(),
        )
        self._keep(model, before + 1, data.header.d)


def epoch(
    comm: Comm, data: Dataset, options: Train, coef: np.ndarray, intercept: np.ndarray, before: int
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (d, K) and intercepts (K,) after an epoch on some rows, from those given. A collective.

    before : epochs that were made already, which count for the schedule.
    """
    objective = make_objective(comm, data, options)
    solver, _, _ = make_solver(options, data)
    theta = objective.scaling.from_coefficients(coef, intercept, options.intercept)
    state: Any = solver.init(objective, theta)
    state = replace(state, epoch=before, passes=2.0 * before, fresh=False)
    while not state.fresh:
        state = solver.step(objective, state)
    if not np.isfinite(state.theta).all():
        raise same_everywhere(
            DivergenceError("coefficients grow without bound: scale the columns, or give a lower learning_rate")
        )
    return objective.coefficients(state.theta)


@dataclass(eq=False, repr=False)
class SGDRegressor(Stochastic, Regressor):
    """Regression by stochastic gradient descent, in the manner of `sklearn.linear_model.SGDRegressor`."""

    loss: str = "squared_error"
    """Or huber, quantile, epsilon_insensitive, as of the estimators with those losses."""

    loss_parameter: float | None = field(default=None, kw_only=True)
    """Delta of huber (1.345), quantile of quantile (0.5), epsilon of epsilon_insensitive (0.1)."""

    LOSSES: ClassVar = {
        "squared_error": "squared",
        "huber": "huber",
        "quantile": "quantile",
        "epsilon_insensitive": "epsilon-insensitive",
    }

    def _loss(self, outputs: int) -> tuple[str, float | None]:
        return super()._loss(outputs)[0], self.loss_parameter

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> SGDRegressor:
        """Go on from the coefficients so far, at first zeros, for one epoch on some rows; arguments as of `fit`."""
        self._check_parameters()
        comm = communicator(self.comm)
        self._go_on(comm, self._rows(comm, X, y, sample_weight, first=self._begins()), 1)
        return self


@dataclass(eq=False, repr=False)
class SGDClassifier(Stochastic, Classifier):
    """Classification by stochastic gradient descent, in the manner of `sklearn.linear_model.SGDClassifier`.

    With log_loss several classes are fitted together, as multinomial logistic regression; else each against the others.
    """

    loss: str = "log_loss"
    """Or squared_hinge, modified_huber."""

    LOSSES: ClassVar = {"log_loss": "logistic", "squared_hinge": "squared-hinge", "modified_huber": "modified-huber"}

    def _loss(self, outputs: int) -> tuple[str, float | None]:
        loss, parameter = super()._loss(outputs)
        return "softmax" if loss == "logistic" and outputs > 2 else loss, parameter

    @property
    def _likelihood(self) -> bool:
        return self.loss == "log_loss"

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> SGDClassifier:
        """Go on from the coefficients so far, at first zeros, for one epoch on some rows; arguments as of `fit`.

        classes : all that there will be, (K,); needed the first time, as rows may lack some.
        """
        self._check_parameters()
        if self.class_weight == "balanced":
            raise ValueError("class_weight='balanced' needs all rows: give a dictionary for partial_fit")
        first = self._begins()
        if first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        known = np.unique(classes) if first else self.classes_
        if classes is not None and not np.array_equal(known, np.unique(classes)):
            raise ValueError(f"classes={classes!r} is not what the first call to partial_fit was given: {known!r}")
        comm = communicator(self.comm)
        data = self._with_factors(self._rows(comm, X, y, sample_weight, classes=known, first=first))
        self._go_on(comm, data, len(known))
        return self

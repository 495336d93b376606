"""What estimators share: how arrays of a user become a fit of mpigd, and how the fit is kept.

An estimator says which loss and penalty it stands for. scikit-learn's parameters weigh the loss against the penalty in
several ways; here the objective is always

    sum_i w_i loss_i / sum_i w_i + (l2 / 2) ||coef||^2 + l1 ||coef||_1,

so every estimator turns its parameters into l2 and l1, which may need the sum of weights. Columns are not scaled.
"""

from __future__ import annotations

import copy
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, replace
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import mpigd_kernels as kernels
import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_scalar
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.validation import check_is_fitted, validate_data

from mpigd import train
from mpigd.arrays import from_arrays
from mpigd.comm import Comm
from mpigd.dataset import Dataset
from mpigd.errors import DataError, DivergenceError, OutputError, UsageError
from mpigd.estimators import saved
from mpigd.model import Model
from mpigd.options import Train
from mpigd.problem import check_loss, check_solver, read_data
from mpigd.solvers import SOLVERS
from mpigd.storage import unnamed_columns
from mpigd.sums import sums

Self = TypeVar("Self", bound="LinearEstimator")
# Options of `mpigd train` that parameters do not stand for: those of every fit, and of rows that are read.
OPTIONS = (
    *("standardize", "lower", "upper", "tol_objective", "threads", "arithmetic", "average", "reduce", "top_share"),
    *("warmup", "batch_growth", "accumulate", "nesterov_momentum", "local_steps"),
)
OF_FILES = ("x", "y", "group", "memory", "scratch")
FLOATS = (np.float64, np.float32)  # of X; what is neither becomes the first


@dataclass(eq=False, repr=False)
class LinearEstimator(BaseEstimator):
    """A linear model with scikit-learn's conventions; parameters are fields."""

    _: KW_ONLY

    fit_intercept: bool = True
    """Fit an intercept, which is never penalised."""

    max_iter: int = 1000
    """Passes over the rows, at most."""

    tol: float = 1e-8
    """The fit ends where the norm of the gradient is this part of that of the null model."""

    solver: str = "auto"
    """As of `mpigd train`; auto chooses by the shape of the data."""

    options: dict[str, Any] | None = None
    """Further options of `mpigd train` by name, such as {"threads": 4, "memory": "2GiB"}."""

    comm: Any = None
    """The ranks that fit together, as an `mpi4py.MPI.Comm` or `mpigd.comm.Comm`: each passes its own rows, `fit` is a
    collective, and all hold the same model in the end. None is this process alone."""

    several_outputs: ClassVar[bool] = False  # whether y may have several columns
    SOLVERS: ClassVar[tuple[str, ...]] = ("auto", *SOLVERS)
    # Attributes that go to a file beside the model.
    SAVED: ClassVar = ("n_iter_", "n_features_in_", "feature_names_in_", "classes_")

    @abstractmethod
    def _loss(self, outputs: int) -> tuple[str, float | None]:
        """The name of the loss for so many outputs or classes, and its parameter."""

    def _penalty(self, weight: float) -> dict[str, Any]:
        """Options l2 and l1, where all weights add up to `weight`."""
        return {}

    def _more(self, comm: Comm, data: Dataset) -> dict[str, Any]:
        """Options that depend on the rows, or that ranks have to agree on. A collective."""
        return {}

    def _steps(self, state: Any) -> int:
        """What `n_iter_` counts."""
        return int(state.step)

    def _parts(self, data: Dataset, options: Train) -> list[Dataset]:
        """The rows as they are fitted: once, or for each class against the others."""
        return [data]

    def _check_parameters(self) -> None:
        """Raise a ValueError or TypeError where a parameter is not what it should be."""
        self._number("max_iter", 1)
        self._number("tol")
        if self.solver not in self.SOLVERS:
            raise ValueError(f"solver={self.solver!r}: expected one of {', '.join(self.SOLVERS)}")
        unknown = [name for name in self.options or {} if name not in (*OPTIONS, *OF_FILES)]
        if unknown:
            raise ValueError(f"options: no estimator has {unknown[0]!r}; expected some of {', '.join(OPTIONS)}")

    def _number(self, name: str, low: float = 0.0, high: float = np.inf) -> float:
        """A parameter that has to be a number from low to high."""
        return float(check_scalar(getattr(self, name), name, Real, min_val=low, max_val=high))

    def _positive(self, name: str) -> float:
        """A parameter that has to be a number above 0."""
        value = self._number(name)
        if value == 0.0:
            raise ValueError(f"{name}={getattr(self, name)}: expected a number > 0")
        return value

    def _options(self, outputs: int, weight: float = 1.0, **more: Any) -> Train:
        """The options of the fit that the parameters stand for."""
        loss, parameter = self._loss(outputs)
        chosen = {
            "loss": loss,
            "loss_parameter": parameter,
            "solver": self.solver,
            "intercept": bool(self.fit_intercept),
            "standardize": False,
            "max_passes": float(self.max_iter),
            "tol": float(self.tol),
            **self._penalty(weight),
            **more,
        }
        options = Train(**{"data": (), **chosen, **(self.options or {})})
        check_loss(options)
        check_solver(options)
        return options

    def _validated(self, comm: Comm, X: Any, y: Any, reset: bool, **how: Any) -> tuple[Any, Any]:
        """X and y of this rank as arrays. Not a collective."""
        alike = {"accept_sparse": "csr", "dtype": list(FLOATS)}
        if comm.size > 1 and y is not None and len(y) == 0:  # others have rows
            return validate_data(self, X, reset=reset, ensure_min_samples=0, **alike), np.zeros(np.shape(y))
        X, y = validate_data(self, X, y, reset=reset, **alike, **how)
        if hasattr(X, "indptr") and not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        return X, y

    def _fit_rows(self, comm: Comm, data: Dataset, outputs: int, weight: float) -> None:
        """Fit what all ranks have; warn where that has not come to its end. A collective."""
        with as_builtin_errors():
            options = self._options(outputs, weight, **self._more(comm, data))
            fits = [train.fit(comm, part, options) for part in self._parts(data, options)]
        if comm.rank == 0:  # one rank speaks for all
            self._warn(fits)
        model = side_by_side([fitted.model for fitted in fits], data.classes)
        self._keep(model, max(self._steps(fitted.state) for fitted in fits), data.header.d)

    def _warn(self, fits: Sequence[train.Fit]) -> None:
        """Say where fits have not come to an end, or there is none."""
        if any(fitted.reason == "passes" for fitted in fits):
            message = f"{type(self).__name__} has not converged in max_iter={self.max_iter}"
            warnings.warn(f"{message}: raise max_iter or tol, or scale the columns", ConvergenceWarning, stacklevel=4)
        if any(fitted.note for fitted in fits):
            message = "columns tell the classes apart without error, so coefficients have no bound without a penalty"
            warnings.warn(message, ConvergenceWarning, stacklevel=4)

    def _keep(self, model: Model, steps: int, columns: int) -> None:
        """Attributes of what was fitted."""
        self.model_ = model
        self.n_iter_ = max(steps, 1)
        self.n_features_in_ = columns
        self._keep_coefficients(model)

    @abstractmethod
    def _keep_coefficients(self, model: Model) -> None:
        """`coef_` and `intercept_`."""

    def _keep_names(self, names: Sequence[str]) -> None:
        """Names of columns that a file has given."""
        if tuple(names) != unnamed_columns(len(names)):
            self.feature_names_in_ = np.array(names, object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _eta(self, X: Any) -> np.ndarray:
        """The linear predictor of the rows of X, (n,) or (n, K)."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=list(FLOATS), reset=False)
        coef, intercept = self.model_.columns()
        eta: np.ndarray = safe_sparse_dot(X, coef, dense_output=True) + intercept
        return eta

    def save(self, path: str | PathLike[str]) -> None:
        """Write the fitted estimator to an HDF5 file, which is a model of mpigd as well. With `comm` a collective.

        Nothing in it is code: reading it runs none. TypeError for a parameter that is no plain value.
        """
        check_is_fitted(self)
        comm = communicator(self.comm)
        with same_error(comm):
            if comm.rank == 0:
                with as_builtin_errors():
                    saved.write(self, self.model_, Path(path))

    @classmethod
    def load(cls: type[Self], path: str | PathLike[str]) -> Self:
        """Read what `save` wrote. Not a collective: `comm` is None. ValueError where it is something else."""
        with as_builtin_errors():
            return saved.read(cls, Path(path))

    def _restore(self, model: Model, attributes: dict[str, Any]) -> None:
        """Become what was saved."""
        for name, value in attributes.items():
            setattr(self, name, value)
        self._keep(model, self.n_iter_, self.n_features_in_)

    def __getstate__(self) -> dict[str, Any]:
        # A communicator means nothing in another process.
        return {**super().__getstate__(), "comm": None}

    def __sklearn_clone__(self: Self) -> Self:
        # Nor can one be copied, but it can be shared.
        bare = copy.copy(self)
        bare.comm = None
        twin: Self = BaseEstimator.__sklearn_clone__(bare)
        twin.comm = self.comm
        return twin

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.required = True
        tags.target_tags.multi_output = self.several_outputs
        return tags


@dataclass(eq=False, repr=False)
class Regressor(RegressorMixin, LinearEstimator):
    """A linear model of numbers."""

    def fit(self: Any, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Fit to rows X (n, d), y (n,) and weights (n,); or to a file, or several, whose path is given as X alone.

        Returns self. ValueError for what can't be fitted, on all ranks of `comm`.
        """
        self._check_parameters()
        comm = communicator(self.comm)
        data = self._rows(comm, X, y, sample_weight)
        self._fit_rows(comm, data, data.header.outputs, total_weight(comm, data))
        return self

    def _rows(self, comm: Comm, X: Any, y: Any, sample_weight: Any, first: bool = True) -> Dataset:
        """The rows that all ranks fit to; the `first` that this estimator sees, or more of them. A collective."""
        with as_builtin_errors():
            options = self._options(1)
        if are_paths(comm, X):
            data = from_file(comm, options, X, y, sample_weight)
            self._keep_names(data.header.feature_names)
            return data
        check_in_memory(self.options)
        with same_error(comm):
            X, y = self._validated(comm, X, y, reset=first, y_numeric=True, multi_output=self.several_outputs)
            weight = checked_weight(sample_weight, len(y))
        with as_builtin_errors():
            return from_arrays(
                comm,
                X,
                np.asarray(y, np.float64),
                weight,
                target=kernels.LOSSES[options.loss].target,
                feature_names=getattr(self, "feature_names_in_", None),
                computing=computing_of(options),
            )

    def predict(self, X: Any) -> np.ndarray:
        """The expected y of rows X (n, d): (n,), or (n, K) where y had several columns."""
        eta = self._eta(X)
        return self.model_.mean(eta)

    def _keep_coefficients(self, model: Model) -> None:
        self.coef_ = model.coef.T.copy()
        self.intercept_ = model.intercept if model.coef.ndim == 2 else float(model.intercept)


# Communicators that were given, or None for this process alone, and what was made of them: once, as each takes one more
# of MPI's own, of which there are not many. None is dropped: ranks would have to drop the same.
MADE: list[tuple[Any, Comm]] = []


def communicator(given: Any) -> Comm:
    """What a parameter `comm` stands for. Not a collective."""
    if isinstance(given, Comm):
        return given
    for known, comm in MADE:
        if known is given:
            return comm
    comm = Comm.alone() if given is None else Comm(given)
    MADE.append((given, comm))
    return comm


def are_paths(comm: Comm, X: Any) -> bool:
    """Whether X names files rather than holding rows, on all ranks. A collective."""
    several = isinstance(X, (list, tuple)) and len(X) > 0
    own = isinstance(X, (str, PathLike)) or (several and all(isinstance(each, (str, PathLike)) for each in X))
    if comm.size > 1 and len(set(comm.gather(own))) > 1:
        raise ValueError("X is a path on some ranks and rows on others; pass the same kind on all")
    return own


def from_file(comm: Comm, options: Train, X: Any, y: Any, sample_weight: Any) -> Dataset:
    """The slice of this rank of the files that X names, as `mpigd train` reads it. A collective."""
    if y is not None or sample_weight is not None:
        raise ValueError("y and sample_weight are read from the file where X is a path; leave them out")
    paths = X if isinstance(X, (list, tuple)) else [X]
    with as_builtin_errors():
        return read_data(comm, replace(options, data=tuple(map(Path, paths))))


def check_in_memory(options: dict[str, Any] | None) -> None:
    """Raise a ValueError for an option that is of files alone."""
    for name in options or {}:
        if name in OF_FILES:
            raise ValueError(f"options: {name!r} is of files, but X holds rows; leave it out")


def computing_of(options: Train) -> kernels.Computing:
    """How kernels compute, as the options say."""
    return kernels.Computing(np.dtype(options.arithmetic), options.threads)


def checked_weight(sample_weight: Any, n: int) -> np.ndarray | None:
    """Weights of rows as float64 (n,), None for ones; a number stands for that of every row."""
    if sample_weight is None:
        return None
    if isinstance(sample_weight, Real):
        return np.full(n, float(sample_weight))
    weight: np.ndarray = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, ensure_min_samples=0, input_name="sample_weight"
    )
    if weight.shape != (n,):
        raise ValueError(f"sample_weight has shape {weight.shape}; expected ({n},)")
    return weight


def side_by_side(models: Sequence[Model], classes: np.ndarray) -> Model:
    """One model of several, each of which tells a class from the others; itself where it is one."""
    if len(models) == 1:
        return models[0]
    return replace(
        models[0],
        coef=np.column_stack([model.coef for model in models]),
        intercept=np.array([float(model.intercept) for model in models]),
        classes=classes,
        result={},
        fit={},
    )


def total_weight(comm: Comm, data: Dataset) -> float:
    """The sum of the weights of all rows. A collective."""
    return float(sums(comm, data.header.block, data.weight[:, None])[0])


@contextmanager
def same_error(comm: Comm) -> Iterator[None]:
    """Run a block that may fail on some ranks; all then raise the error of the lowest such rank.

    Unlike `Comm.agreement` it passes on errors that are not mpigd's own.
    """
    error: Exception | None = None
    try:
        yield
    except Exception as caught:
        if comm.size == 1:
            raise
        error = caught
    kinds = (TypeError, OSError, ValueError)
    kind = next((kind for kind in kinds if isinstance(error, kind)), RuntimeError)
    errors = comm.gather(None if error is None else (kind, f"{error} (rank {comm.rank})"))
    if error is not None and not any(errors[: comm.rank]):
        raise error
    for first, message in filter(None, errors):
        raise first(message)


@contextmanager
def as_builtin_errors() -> Iterator[None]:
    """What users of scikit-learn expect instead of mpigd's errors, which all ranks raise together."""
    try:
        yield
    except (DataError, UsageError, DivergenceError) as error:
        raise ValueError(str(error)) from error
    except OutputError as error:
        raise OSError(str(error)) from error

"""Linear models of scikit-learn as models of mpigd, with the same answers. Nothing of scikit-learn is imported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mpigd_kernels import LOSSES

from mpigd.errors import DataError, UsageError
from mpigd.exchange.shapes import check_shapes
from mpigd.model import Model
from mpigd.storage import unnamed_columns

# The losses of LinearSVC, LinearSVR, SGDClassifier and SGDRegressor that mpigd has, by their names there.
BY_NAME = {
    "squared_error": "squared",
    "huber": "huber",
    "epsilon_insensitive": "epsilon-insensitive",
    "log_loss": "logistic",
    "modified_huber": "modified-huber",
    "squared_hinge": "squared-hinge",
}
SQUARED = (
    *("LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV"),
    *("MultiTaskLasso", "MultiTaskLassoCV", "MultiTaskElasticNet", "MultiTaskElasticNetCV"),
    *("Lars", "LarsCV", "LassoLars", "LassoLarsCV", "LassoLarsIC"),
    *("OrthogonalMatchingPursuit", "OrthogonalMatchingPursuitCV", "BayesianRidge", "ARDRegression"),
)


def from_sklearn(estimator: Any, feature_names: Sequence[str] | None = None) -> Model:
    """The model of a fitted linear estimator, or of a pipeline of scalers and one, or of a search for one.

    feature_names : of the d columns; by default those of the data frame that it was fitted on, else x0, x1, …
    Labels of classes have to be numbers. DataError for an estimator, or a loss of it, that mpigd has not, with what it
    has: numbers stay the same where a model is made, and nothing is fitted anew.

    The result is equal to within rounding: of scalers, the coefficients are brought back to the original columns.
    """
    scalers, linear = _parts(estimator)
    if not hasattr(linear, "coef_"):
        raise DataError(f"{type(linear).__name__} has no coef_: expected a fitted linear model of scikit-learn")
    classes = _classes(linear)
    loss, parameter = _loss(linear, len(classes))
    coef, intercept = _coefficients(linear)
    for scaler in reversed(scalers):
        centre, scale = _centre_and_scale(scaler)
        coef = coef / np.reshape(scale, (-1, 1))
        intercept = intercept - np.sum(coef * np.reshape(centre, (-1, 1)), axis=0)
    if feature_names is None:
        feature_names = getattr(estimator, "feature_names_in_", unnamed_columns(len(coef)))
    several = loss == "softmax" or coef.shape[1] > 1
    model = Model(
        coef=coef if several else coef[:, 0],
        intercept=intercept if several else intercept[0],
        loss=LOSSES[loss],
        feature_names=tuple(map(str, feature_names)),
        classes=classes,
        config={} if parameter is None else {"loss_parameter": parameter},
        result={"imported": f"{type(linear).__module__.partition('.')[0]} {type(linear).__name__}"},
    )
    check_shapes(model)
    return model


def from_skops(path: Path) -> Model:
    """The same of a file that skops wrote, which is read without running what is in it.

    UsageError where skops is missing; DataError for a file that is damaged, or holds types that skops does not trust.
    """
    try:
        from skops import io
    except ImportError:
        raise UsageError("files of skops need the package skops: pip install 'mpigd[exchange]'") from None
    try:
        strange = io.get_untrusted_types(file=path)
        estimator = None if strange else io.load(path, trusted=[])
    except OSError:
        raise
    except Exception as error:  # of whatever kind: the file may hold anything
        raise DataError(f"not a file that skops can read: {error}") from None
    if strange:
        raise DataError(f"holds {', '.join(strange[:5])}, which skops does not trust: expected a linear model alone")
    return from_sklearn(estimator)


def _parts(estimator: Any) -> tuple[list[Any], Any]:
    """The scalers of a pipeline, in the order in which they are applied, and the linear model at its end."""
    if hasattr(estimator, "best_estimator_"):
        return _parts(estimator.best_estimator_)
    if not hasattr(estimator, "steps"):
        return [], estimator
    *before, (_, last) = estimator.steps
    scalers = [step for _, step in before if step is not None and not isinstance(step, str)]
    more, linear = _parts(last)
    return scalers + more, linear


def _classes(linear: Any) -> np.ndarray:
    """Labels as float64; none for a model of numbers."""
    classes = np.asarray(getattr(linear, "classes_", np.zeros(0)))
    if classes.dtype.kind not in "biuf":
        raise DataError(
            f"{type(linear).__name__} has the labels {classes.tolist()[:5]}; those of mpigd are numbers: "
            "fit it on numbers, as of sklearn.preprocessing.LabelEncoder"
        )
    return classes.astype(np.float64)


def _coefficients(linear: Any) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (d, K) and intercept (K,) float64."""
    coef = linear.coef_.toarray() if hasattr(linear.coef_, "toarray") else linear.coef_
    columns = np.atleast_2d(np.asarray(coef, np.float64)).T
    return columns, np.array(np.broadcast_to(np.asarray(linear.intercept_, np.float64), columns.shape[1:]))


def _loss(linear: Any, classes: int) -> tuple[str, float | None]:
    """The loss of a linear model and its parameter, None for one that has none."""
    name = next((each.__name__ for each in type(linear).__mro__ if each.__name__ in ESTIMATORS), None)
    if name is None:
        known = ", ".join(ESTIMATORS)
        raise DataError(f"{type(linear).__name__} is not among the linear models that mpigd knows: {known}")
    loss, parameter = ESTIMATORS[name](linear, classes)
    known_parameter = LOSSES[loss].parameter
    if known_parameter is None:
        return loss, None
    if not known_parameter.low < parameter < known_parameter.high:
        raise DataError(f"{name}: {known_parameter.name} {parameter:g} is none that loss {loss} of mpigd may have")
    return loss, float(parameter)


def _of_logistic_regression(linear: Any, classes: int) -> tuple[str, Any]:
    """Of versions of scikit-learn that still have it, multi_class may ask for what is not usual."""
    asked = getattr(linear, "multi_class", "auto")
    one_by_one = asked == "ovr" or linear.solver == "liblinear"
    if (classes > 2 and one_by_one) or (classes == 2 and asked == "multinomial"):
        raise DataError(f"LogisticRegression with {classes} classes and multi_class={asked!r}: expected 'auto'")
    return "logistic" if classes == 2 else "softmax", None


def _of_generalized(linear: Any, classes: int) -> tuple[str, Any]:
    """By the power of the variance and the link, which is by default the logarithm for powers above 0."""
    power = linear.power
    link = ("identity" if power <= 0.0 else "log") if linear.link == "auto" else linear.link
    if link == "identity" and power == 0.0:
        return "squared", None
    if link == "log" and 1.0 <= power <= 2.0:
        return {1.0: "poisson", 2.0: "gamma"}.get(power, "tweedie"), power
    raise DataError(f"TweedieRegressor with power {power:g} and link {link}: mpigd has the log for powers from 1 to 2")


def _of_named_loss(linear: Any, classes: int) -> tuple[str, Any]:
    """By the option loss; without a width, epsilon-insensitive is the median."""
    kind = type(linear).__name__
    if linear.loss not in BY_NAME:
        raise DataError(f"{kind} with loss {linear.loss!r}: of its losses mpigd has {', '.join(BY_NAME)}")
    loss = BY_NAME[linear.loss]
    if loss == "logistic" and classes > 2:
        raise DataError(f"{kind} with loss {linear.loss!r} and {classes} classes: mpigd has softmax for that")
    epsilon = getattr(linear, "epsilon", None)
    return ("quantile", 0.5) if loss == "epsilon-insensitive" and epsilon == 0.0 else (loss, epsilon)


# The loss and its parameter by (estimator, number of classes); the parameter is passed over where the loss has none.
ESTIMATORS: dict[str, Callable[[Any, int], tuple[str, Any]]] = {
    **dict.fromkeys(SQUARED, lambda linear, classes: ("squared", None)),
    "HuberRegressor": lambda linear, classes: ("huber", linear.epsilon * linear.scale_),
    "QuantileRegressor": lambda linear, classes: ("quantile", linear.quantile),
    "PoissonRegressor": lambda linear, classes: ("poisson", None),
    "GammaRegressor": lambda linear, classes: ("gamma", None),
    "TweedieRegressor": _of_generalized,
    "LogisticRegression": _of_logistic_regression,
    "LogisticRegressionCV": _of_logistic_regression,
    **dict.fromkeys(("SGDClassifier", "SGDRegressor", "LinearSVC", "LinearSVR"), _of_named_loss),
}


def _centre_and_scale(scaler: Any) -> tuple[Any, Any]:
    """Of what makes (x - centre) / scale of the columns x."""
    kind = type(scaler).__name__
    if kind == "StandardScaler":
        return scaler.mean_ if scaler.with_mean else 0.0, scaler.scale_ if scaler.with_std else 1.0
    if kind == "RobustScaler":
        return scaler.center_ if scaler.with_centering else 0.0, scaler.scale_ if scaler.with_scaling else 1.0
    if kind == "MaxAbsScaler" and not getattr(scaler, "clip", False):
        return 0.0, scaler.scale_
    if kind == "MinMaxScaler" and not scaler.clip:
        return -scaler.min_ / scaler.scale_, 1.0 / scaler.scale_
    raise DataError(
        f"{kind} in a pipeline: mpigd takes StandardScaler, RobustScaler, MaxAbsScaler and MinMaxScaler without clip"
    )

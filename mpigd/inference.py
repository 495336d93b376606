"""What estimated coefficients are worth: standard errors, tests, intervals, deviance, likelihood.

Statements are of the distribution of estimates over samples of the data, for the minimum of the data term alone. A
penalty or a bound draws estimates away from there, towards zero, so that intervals around them would not hold the true
coefficients as often as they promise: then there are none, and it is said why. Definitions are statsmodels'.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from mpigd_kernels.factor import factor

from mpigd.comm import Comm
from mpigd.covariance import inverse, sandwich
from mpigd.dataset import Dataset
from mpigd.fitted import Fitted, Weights, dispersion, goodness
from mpigd.likelihood import LOG_DENSITIES, special
from mpigd.model import Model
from mpigd.options import Train
from mpigd.solvers.choice import LARGEST_FACTOR

Covariance = Literal["auto", "model", "HC0", "HC1"]

# What the exponential of a coefficient is, by link: the factor that one more of its column means.
RATIOS = {
    "logit": "odds ratio",
    "multinomial logit": "odds ratio",
    "log": "rate ratio",
    "complementary log-log": "hazard ratio",
}
NEAR = 0.01  # standard errors from the minimum, up to which a fit has reached it
SEPARATED = 1e-4  # of the null deviance: what is left where classes can be told apart without an error
INTERCEPT = "(intercept)"


@dataclass(frozen=True)
class Uncertainty:
    """How far estimates may be from what they estimate.

    kind : model, HC0 or HC1 (see `mpigd.covariance`).  test : t, with n - p degrees of freedom, or z.  level : of
    intervals.  standard_error, statistic (that of the coefficient being zero), p_value (two-sided), lower, upper :
    (p, K), as the estimates are.
    covariance : of all coefficients, output after output, (1, p K, p K); of outputs that are fitted each for itself
    (K, p, p).
    """

    kind: str
    test: str
    level: float
    standard_error: np.ndarray
    statistic: np.ndarray
    p_value: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True)
class Inference:
    """What is known of the coefficients of a model; equal on all ranks.

    names : of the p coefficients, the intercept last.  outputs : what the K columns belong to; of softmax the classes
    but the first one, relative to which the others are.
    estimate : (p, K), on the scale of the original columns.  standardised : (d, K), the same times the standard
    deviation of the column.  ratio : what exp(estimate) is called, empty where it has no meaning.
    n : rows, as weights count them.  parameters : coefficients of an output, or all of softmax.
    fit : deviance, null_deviance, pearson_chi2, dispersion, log_likelihood, aic, bic, (K,) each, or (1,) of softmax;
    NaN where there is none.
    uncertainty : None where it can't be told, for the reasons that `invalid` gives.  notes : what else to know.
    """

    names: tuple[str, ...]
    outputs: tuple[str, ...]
    estimate: np.ndarray
    standardised: np.ndarray
    ratio: str
    n: float
    parameters: int
    fit: dict[str, np.ndarray]
    uncertainty: Uncertainty | None = None
    invalid: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def summary(self) -> dict[str, Any]:
        """As plain values; None where there is none."""
        found = self.uncertainty
        per_coefficient = {"estimate": self.estimate}
        several = len(self.outputs) > 1
        told: dict[str, Any] = {}
        if found is not None:
            names = ("standard_error", "statistic", "p_value", "lower", "upper")
            per_coefficient |= {name: getattr(found, name) for name in names}
            told = {"covariance": found.kind, "test": found.test, "level": found.level}
        if self.ratio:
            ends = {name: per_coefficient[name] for name in ("estimate", "lower", "upper") if name in per_coefficient}
            of_ends = {"estimate": "ratio", "lower": "ratio_lower", "upper": "ratio_upper"}
            per_coefficient |= {of_ends[name]: exponential(values) for name, values in ends.items()}
        d = len(self.standardised)  # the intercept, which has no column, comes after these
        rows = [
            {
                "name": name,
                **({"output": output} if several else {}),
                **{key: _plain(values[j, k]) for key, values in per_coefficient.items()},
                **({"standardised": _plain(self.standardised[j, k])} if j < d else {}),
            }
            for k, output in enumerate(self.outputs)
            for j, name in enumerate(self.names)
        ]
        fits = {key: [_plain(value) for value in values] for key, values in self.fit.items()}
        return {
            **told,
            "coefficients": rows,
            **({"ratio": self.ratio} if self.ratio else {}),
            "n": int(self.n) if self.n.is_integer() else self.n,
            "parameters": self.parameters,
            "degrees_of_freedom": self.n - self.parameters,
            **{key: values[0] if len(values) == 1 else values for key, values in fits.items()},
            "invalid": list(self.invalid),
            "notes": list(self.notes),
        }


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def exponential(values: np.ndarray) -> np.ndarray:
    """Of coefficients; infinite where it overflows."""
    with np.errstate(over="ignore"):
        found: np.ndarray = np.exp(values)
    return found


def infer(
    comm: Comm,
    model: Model,
    data: Dataset,
    options: Train,
    covariance: Covariance = "auto",
    weights: Weights = "frequency",
    level: float = 0.95,
) -> Inference:
    """Inference on the coefficients of a model from the rows that it was fitted on. A collective.

    data : their slice, classes numbered as the model does.  options : that it was fitted with.  covariance : auto is
    model where the loss is a likelihood, else HC0.
    """
    with comm.agreement():
        special()
    if covariance == "auto":
        covariance = "model" if model.loss.name in LOG_DENSITIES else "HC0"
    fitted = Fitted.of(comm, model, data, options, weights)
    invalid = list(objections(fitted, covariance))
    coef, intercept = model.columns()
    estimate = np.vstack([coef, intercept]) if options.intercept else coef
    if fitted.coupled:
        estimate, coef = estimate[:, 1:] - estimate[:, :1], coef[:, 1:] - coef[:, :1]
    found: list[tuple[np.ndarray, float]] = []
    determined = True
    if not invalid:
        for output in range(1 if fitted.coupled else estimate.shape[1]):
            own = _covariance(fitted, output, covariance)
            if isinstance(own, str):
                invalid, determined = [own], False
                break
            found.append(own)
    result = Inference(
        names=model.feature_names + (INTERCEPT,) * options.intercept,
        outputs=_outputs(model),
        estimate=estimate,
        standardised=coef * fitted.deviation[:, None],
        ratio=RATIOS.get(model.loss.link, "") if fitted.loss in LOG_DENSITIES else "",
        n=fitted.n,
        parameters=fitted.parameters,
        fit=goodness(fitted, determined and not fitted.penalised),
        invalid=tuple(invalid),
    )
    if invalid:
        return result
    matrices, distances = zip(*found, strict=True)
    uncertainty = _uncertainty(fitted, estimate, np.stack(matrices), covariance, level)
    return replace(result, uncertainty=uncertainty, notes=tuple(_notes(fitted, result, max(distances))))


def objections(fitted: Fitted, covariance: Covariance) -> Iterator[str]:
    """Why there can be no standard errors, each a sentence without its full stop."""
    options, loss = fitted.options, fitted.loss
    penalties = {f"--{name}": value for name in ("l2", "l1") if (value := getattr(options, name)) > 0.0}
    if penalties:
        shown = ", ".join(f"{name} {value:g}" for name, value in penalties.items())
        yield (
            f"the fit has a penalty ({shown}), which draws coefficients towards zero: estimates are biased, and "
            "intervals around them would hold the true ones less often than they say; fit without it"
        )
    if options.lower is not None or options.upper is not None:
        yield "coefficients have bounds, where estimates are not normally distributed; fit without --lower and --upper"
    if covariance == "model" and loss not in LOG_DENSITIES:
        yield f"loss {loss} is no likelihood, which the model-based covariance needs; use --covariance HC0"
    weighted = options.class_weight is not None or options.resample != "none"
    if weighted and (covariance == "model" or fitted.weights == "frequency"):
        yield (
            "rows were weighted by their class, or drawn again, and are no plain sample; "
            "use --covariance HC0 --weights variance"
        )
    if fitted.parameters > LARGEST_FACTOR:
        yield f"{fitted.parameters} coefficients are too many: a square matrix of at most {LARGEST_FACTOR} is inverted"
    elif fitted.n <= fitted.parameters:
        yield f"there are {fitted.parameters} coefficients and {fitted.n:g} rows: nothing is left to tell how rows vary"


def _covariance(fitted: Fitted, output: int, kind: Covariance) -> tuple[np.ndarray, float] | str:
    """The covariance for the stored columns, and how many standard errors the minimum is away; or why there is none."""
    matrix = fitted.information(output) if kind == "model" else fitted.hessian(output)
    bread = factor(matrix)
    dependent = fitted.rows.dependent(matrix, bread)
    if dependent:
        names = [fitted.model.feature_names[j] for j in dependent if j < len(fitted.deviation)]
        shown = ", ".join(f"'{name}'" for name in names[:5]) + (", …" if len(names) > 5 else "") or INTERCEPT
        return (
            f"the coefficients are not determined: column {shown} does not vary, or is a linear combination of those "
            "before it; leave it out"
        )
    if kind == "model":
        covariance = inverse(bread) * float(dispersion(fitted, output))
    else:
        correction = fitted.n / (fitted.n - fitted.parameters) if kind == "HC1" else 1.0
        covariance = correction * sandwich(bread, fitted.meat(output))
    step, error = bread.solve(fitted.slope(output)), _root_of_diagonal(covariance)
    distance = float(np.max(np.abs(step[error > 0.0]) / error[error > 0.0], initial=0.0))
    return fitted.rows.to_columns(covariance), distance


def _root_of_diagonal(covariance: np.ndarray) -> np.ndarray:
    root: np.ndarray = np.sqrt(np.maximum(np.diagonal(covariance), 0.0))
    return root


def _uncertainty(
    fitted: Fitted, estimate: np.ndarray, covariance: np.ndarray, kind: Covariance, level: float
) -> Uncertainty:
    """Wald's tests and intervals (A. Wald, Trans. Am. Math. Soc. 54, 1943)."""
    error = np.concatenate([_root_of_diagonal(own) for own in covariance]).reshape(-1, len(estimate)).T
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = estimate / error
    tail, df = 0.5 * (1.0 - level), fitted.n - fitted.parameters
    if fitted.loss == "squared" and kind == "model":
        test, below, reach = "t", partial(special().stdtr, df), -float(special().stdtrit(df, tail))
    else:
        test, below, reach = "z", special().ndtr, -float(special().ndtri(tail))
    return Uncertainty(
        kind=kind,
        test=test,
        level=level,
        standard_error=error,
        statistic=statistic,
        p_value=2.0 * below(-np.abs(statistic)),
        lower=estimate - reach * error,
        upper=estimate + reach * error,
        covariance=covariance,
    )


def _notes(fitted: Fitted, result: Inference, distance: float) -> Iterator[str]:
    """What to know of standard errors that there are."""
    if not distance <= NEAR:
        yield (
            f"the minimum on these rows is {distance:.2g} standard errors away: these are not the standard errors of a "
            "fitted optimum; give the rows that the model was fitted on, or fit it with a smaller --tol"
        )
    if (
        len(fitted.data.classes)
        and result.fit
        and (result.fit["deviance"] <= SEPARATED * result.fit["null_deviance"]).any()
    ):
        yield "the classes can be told apart without an error: coefficients have no finite estimates"


def _outputs(model: Model) -> tuple[str, ...]:
    """What columns of coefficients belong to."""
    if model.loss.coupled:
        return tuple(f"class {label}" for label in model.labels[1:])
    count = model.columns()[0].shape[1]
    return ("y",) if count == 1 else tuple(f"output {k}" for k in range(count))

"""Counts and amounts: generalised linear models with a log link."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from sklearn.metrics import d2_tweedie_score

from mpigd.estimators.base import Regressor

LOSSES = {0.0: "squared", 1.0: "poisson", 2.0: "gamma"}  # by power; tweedie between the last two


@dataclass(eq=False, repr=False)
class DevianceRegressor(Regressor):
    """Half the mean deviance + alpha ||coef||^2 / 2, with mean y = exp(X coef + intercept)."""

    alpha: float = 1.0
    """Strength of the penalty."""

    _power: ClassVar[float]

    def _loss(self, outputs: int) -> tuple[str, float | None]:
        return LOSSES[self._power], None

    def _penalty(self, weight: float) -> dict[str, Any]:
        return {"l2": self._number("alpha")}

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """D², the share of the deviance that the model explains, as in scikit-learn."""
        return float(d2_tweedie_score(y, self.predict(X), sample_weight=sample_weight, power=self._power))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = self._power > 0.0
        return tags


@dataclass(eq=False, repr=False)
class PoissonRegressor(DevianceRegressor):
    """Counts, y ≥ 0, as `sklearn.linear_model.PoissonRegressor`."""

    _power = 1.0


@dataclass(eq=False, repr=False)
class GammaRegressor(DevianceRegressor):
    """Amounts, y > 0, as `sklearn.linear_model.GammaRegressor`."""

    _power = 2.0


@dataclass(eq=False, repr=False)
class TweedieRegressor(DevianceRegressor):
    """The variance of y is a power of its mean, as `sklearn.linear_model.TweedieRegressor` with link="auto"."""

    _: KW_ONLY

    power: float = 0.0
    """0 is the normal distribution (with y = X coef + intercept), 1 Poisson's, 2 the gamma distribution; between 1 and
    2 y is zero or an amount. scikit-learn has others, too."""

    @property
    def _power(self) -> float:  # type: ignore[override]
        return float(self.power)

    def _loss(self, outputs: int) -> tuple[str, float | None]:
        self._number("power", high=2.0)
        if self._power not in LOSSES and self._power < 1.0:
            raise ValueError(f"power={self.power}: no distribution has it; expected 0, or from 1 to 2")
        return LOSSES.get(self._power, "tweedie"), None if self._power in LOSSES else self._power

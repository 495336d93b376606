"""Estimators with scikit-learn's conventions: `from mpigd.estimators import LogisticRegression`.

They need scikit-learn (`pip install 'mpigd[sklearn]'`); nothing else of mpigd does.
"""

from mpigd.estimators.classification import LinearSVC, LogisticRegression
from mpigd.estimators.counts import GammaRegressor, PoissonRegressor, TweedieRegressor
from mpigd.estimators.regression import (
    ElasticNet,
    HuberRegressor,
    Lasso,
    LinearRegression,
    LinearSVR,
    QuantileRegressor,
    Ridge,
)
from mpigd.estimators.stochastic import SGDClassifier, SGDRegressor

__all__ = [
    "ElasticNet",
    "GammaRegressor",
    "HuberRegressor",
    "Lasso",
    "LinearRegression",
    "LinearSVC",
    "LinearSVR",
    "LogisticRegression",
    "PoissonRegressor",
    "QuantileRegressor",
    "Ridge",
    "SGDClassifier",
    "SGDRegressor",
    "TweedieRegressor",
]

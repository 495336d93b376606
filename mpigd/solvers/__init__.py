"""Solvers: how theta is updated. They see an objective and nothing else."""

from typing import Any

from mpigd.solvers.base import CompositeState, State
from mpigd.solvers.choice import Choice, Shape, choose, share_for_metric
from mpigd.solvers.direct import Direct, EquationsState
from mpigd.solvers.gd import SEARCHED, GradientDescent, SearchState
from mpigd.solvers.lbfgs import LimitedMemoryBFGS, PairsState
from mpigd.solvers.nesterov import MomentumState, Nesterov
from mpigd.solvers.newton import Newton, NewtonState
from mpigd.solvers.newton_cg import NewtonCG, RegionState
from mpigd.solvers.prox_newton import MetricState, ProximalNewton
from mpigd.solvers.schedules import SCHEDULES
from mpigd.solvers.stochastic import (
    SAGA,
    SVRG,
    Adagrad,
    Adam,
    AdamW,
    RMSProp,
    StochasticGradientDescent,
    StochasticState,
)

SOLVERS: dict[str, type[Any]] = {
    "direct": Direct,
    "newton": Newton,
    "newton-cg": NewtonCG,
    "lbfgs": LimitedMemoryBFGS,
    "prox-newton": ProximalNewton,
    "nesterov": Nesterov,
    "gd": GradientDescent,
    "sgd": StochasticGradientDescent,
    "adagrad": Adagrad,
    "rmsprop": RMSProp,
    "adam": Adam,
    "adamw": AdamW,
    "svrg": SVRG,
    "saga": SAGA,
}
# What they return.
STATES: tuple[type[State], ...] = (
    *(State, CompositeState, EquationsState, NewtonState, RegionState, PairsState, MetricState, MomentumState),
    *(SearchState, StochasticState),
)
ONE_OUTPUT = ("direct", "newton", "prox-newton")  # they form Hessians
KINKS = ("prox-newton", "nesterov", "gd", "sgd", "svrg", "saga")  # what can do with them, and with bounds
RATED = ("nesterov", "gd", "sgd", "svrg", "saga")  # whose rate comes from a bound of the curvature
COMPRESSIBLE = ("sgd", "adagrad", "rmsprop", "adam", "adamw")  # whose gradients may be sent roughly
BY_ROWS = (*COMPRESSIBLE, "svrg", "saga")  # whose steps are on mini-batches
ON_A_PART = ("newton", "newton-cg", "lbfgs")  # what may begin on some of the rows

__all__ = [
    "BY_ROWS",
    "COMPRESSIBLE",
    "KINKS",
    "ONE_OUTPUT",
    "ON_A_PART",
    "RATED",
    "SCHEDULES",
    "SEARCHED",
    "SOLVERS",
    "STATES",
    "Choice",
    "Direct",
    "GradientDescent",
    "LimitedMemoryBFGS",
    "Nesterov",
    "Newton",
    "NewtonCG",
    "ProximalNewton",
    "Shape",
    "State",
    "StochasticGradientDescent",
    "choose",
    "share_for_metric",
]

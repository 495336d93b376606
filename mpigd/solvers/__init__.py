"""Solvers: how theta is updated. They see an objective and nothing else."""

from typing import Any

from mpigd.solvers.base import State
from mpigd.solvers.choice import Choice, Shape, choose, share_for_metric
from mpigd.solvers.direct import Direct
from mpigd.solvers.gd import SEARCHED, GradientDescent
from mpigd.solvers.lbfgs import LimitedMemoryBFGS
from mpigd.solvers.nesterov import Nesterov
from mpigd.solvers.newton import Newton
from mpigd.solvers.newton_cg import NewtonCG
from mpigd.solvers.prox_newton import ProximalNewton
from mpigd.solvers.schedules import SCHEDULES
from mpigd.solvers.sgd import StochasticGradientDescent

SOLVERS: dict[str, type[Any]] = {
    "direct": Direct,
    "newton": Newton,
    "newton-cg": NewtonCG,
    "lbfgs": LimitedMemoryBFGS,
    "prox-newton": ProximalNewton,
    "nesterov": Nesterov,
    "gd": GradientDescent,
    "sgd": StochasticGradientDescent,
}
ONE_OUTPUT = ("direct", "newton", "prox-newton")  # they form Hessians
KINKS = ("prox-newton", "nesterov", "gd", "sgd")  # what can do with them, and with bounds
ON_A_PART = ("newton", "newton-cg", "lbfgs")  # what may begin on some of the rows

__all__ = [
    "KINKS",
    "ONE_OUTPUT",
    "ON_A_PART",
    "SCHEDULES",
    "SEARCHED",
    "SOLVERS",
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

"""Solvers: how theta is updated. They see an objective and nothing else."""

from mpigd.solvers.base import State
from mpigd.solvers.choice import CHOICES, choose
from mpigd.solvers.gd import GradientDescent
from mpigd.solvers.lbfgs import LimitedMemoryBFGS
from mpigd.solvers.nesterov import Nesterov
from mpigd.solvers.newton import Newton
from mpigd.solvers.schedules import SCHEDULES
from mpigd.solvers.sgd import StochasticGradientDescent

SOLVERS = {
    "newton": Newton,
    "lbfgs": LimitedMemoryBFGS,
    "nesterov": Nesterov,
    "gd": GradientDescent,
    "sgd": StochasticGradientDescent,
}

__all__ = [
    "CHOICES",
    "SCHEDULES",
    "SOLVERS",
    "GradientDescent",
    "LimitedMemoryBFGS",
    "Nesterov",
    "Newton",
    "State",
    "StochasticGradientDescent",
    "choose",
]

"""Solvers: how theta is updated. They see an objective and nothing else."""

from mpigd.solvers.base import State
from mpigd.solvers.gd import GradientDescent
from mpigd.solvers.schedules import SCHEDULES
from mpigd.solvers.sgd import StochasticGradientDescent

SOLVERS = {"gd": GradientDescent, "sgd": StochasticGradientDescent}

__all__ = ["SCHEDULES", "SOLVERS", "GradientDescent", "State", "StochasticGradientDescent"]

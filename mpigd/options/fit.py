"""The options of `train`, and of `plan`, which takes them all."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mpigd.options.base import require
from mpigd.options.groups import Loss, Machine, Penalty, Rows, Run, Solver, Steps

# Options that say how a fit is run, not what it is.
RUNNING = frozenset(
    (
        *("data", "memory", "scratch", "threads", "run_dir", "json", "quiet", "verbose", "resume", "time_limit"),
        *("kernels", "report", "log"),
        *("checkpoint_steps", "checkpoint_seconds", "checkpoint_keep", "on_failure", "min_ranks", "stall_timeout"),
    )
)


@dataclass(frozen=True)
class Train(Run, Machine, Rows, Steps, Solver, Penalty, Loss):
    """Fit a model to DATA and write it to a run directory."""

    data: tuple[Path, ...]
    """HDF5 files, or patterns of names, whose rows come one after the other: X (rows, columns), dense or as AnnData's
    sparse rows, and y (rows) or (rows, outputs); sample_weight and offset are used where present."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.patience is None or self.validates, "--patience", self.patience, "rows to validate, too")
        require(self.patience is None or self.path == 1, "--patience", self.patience, "no --path with it")

    @property
    def identity(self) -> dict[str, Any]:
        """What a fit depends on, as plain values; of memory, whether it is limited, by which a solver is chosen."""
        own = {key: value for key, value in self.to_dict().items() if key not in RUNNING}
        return {**own, "memory": self.memory is not None}


@dataclass(frozen=True)
class Plan(Train):
    """Predict what a fit of DATA takes on several numbers of ranks, from a few seconds of measurements here."""

    ranks: int | None = None
    """How many ranks to plan for. Powers of two up to twice as many are compared with it; without it, up to 64, and
    what follows is for as many as are worth having."""

    nodes: int = 1
    """Machines, as this one, that the ranks are spread over evenly."""

    latency: float = 2.0
    """Microseconds that a message takes from one node to another."""

    bandwidth: float = 10.0
    """GB/s between two nodes."""

    read_rate: float | None = None
    """MB/s that files give a node. Without it, what was measured here, where files may have been in memory."""

    slurm: Path | None = None
    """Write a batch script for SLURM here."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.ranks is None or self.ranks >= 1, "--ranks", self.ranks, "a whole number ≥ 1")
        require(self.nodes >= 1, "--nodes", self.nodes, "a whole number ≥ 1")
        require(self.ranks is None or self.ranks >= self.nodes, "--nodes", self.nodes, "no more than --ranks")
        require(0.0 <= self.latency < math.inf, "--latency", self.latency, "microseconds ≥ 0")
        require(0.0 < self.bandwidth < math.inf, "--bandwidth", self.bandwidth, "GB/s > 0")
        rate = self.read_rate
        require(rate is None or 0.0 < rate < math.inf, "--read-rate", rate, "MB/s > 0")

    @property
    def fit(self) -> Train:
        """What train takes of it."""
        return Train(**{field.name: getattr(self, field.name) for field in fields(Train) if field.init})

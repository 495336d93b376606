"""The options of `explain`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal

from mpigd.options.base import Output, require


@dataclass(frozen=True)
class Explain(Output):
    """Say what the coefficients of MODEL are worth: standard errors, tests, intervals; what each column is worth."""

    model: Path
    """A model.h5 that train wrote, or its run directory."""

    data: tuple[Path, ...]
    """The HDF5 files that it was fitted on."""

    _: KW_ONLY

    covariance: Literal["auto", "model", "HC0", "HC1"] = "auto"
    """Where standard errors come from: model believes what the loss says of how y is distributed; HC0 and HC1 do not
    (sandwich estimators; HC1 is larger, for few rows). Auto is model, or HC0 for a loss that says nothing of it."""

    weights: Literal["frequency", "variance"] = "frequency"
    """What sample_weight counts: so many rows that are alike, or the inverse of the variance of y."""

    level: float = 0.95
    """How often intervals are to hold the true coefficient."""

    permutation: int = 0
    """Permute each column so many times, and say how much larger the loss then is."""

    on: Literal["all", "train", "validation", "test"] = "train"
    """Rows to permute, as the model's own options divide them. All else is of the rows that it was trained on."""

    seed: int = 0
    """Of permutations."""

    threads: int = 1
    """Threads of each rank."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0.0 < self.level < 1.0, "--level", self.level, "a share > 0 and < 1")
        require(self.permutation >= 0, "--permutation", self.permutation, "a whole number ≥ 0")
        require(0 <= self.seed < 2**64, "--seed", self.seed, "a whole number from 0 to 2^64 - 1")
        require(self.threads >= 1, "--threads", self.threads, "a whole number ≥ 1")

"""The options of `generate`."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal

from mpigd.options.base import Output, require


@dataclass(frozen=True)
class Generate(Output):
    """Write synthetic data of any size to OUTPUT: X, y, and the coefficients behind y."""

    output: Path
    """HDF5 file to write."""

    _: KW_ONLY

    rows: int
    """Number of rows."""

    columns: int
    """Number of columns."""

    loss: Literal["squared", "logistic", "softmax", "poisson"] = "squared"
    """What y is: a number, one of two classes, one of several, or a count."""

    classes: int = 3
    """How many there are, of softmax."""

    seed: int = 0
    """Other seeds give other data; the number of ranks does not."""

    dtype: Literal["float64", "float32", "float16", "int8"] = "float64"
    """Type of X; of int8, 32 stands for one standard deviation."""

    noise: float | None = None
    """Standard deviation of what is added to X coef + intercept; the default is 1 for squared loss, else 0."""

    correlation: float = 0.0
    """Of neighbouring columns, which falls off from there as its powers."""

    scale_spread: float = 0.0
    """Columns have log-normal units: the standard deviation of their logarithm."""

    nonzero: float | None = None
    """How many coefficients are not zero: a whole number, or a share below 1; the default is all."""

    density: float | None = None
    """Share of X that is stored, as sparse rows."""

    per_row: int | None = None
    """Numbers in each row, of sparse rows; instead of density."""

    missing: float = 0.0
    """Share of what X holds that is replaced by NaN, after y was found from it."""

    imbalance: float | None = None
    """Share of rows of class 1, of logistic loss; the default is about a half."""

    weights: bool = False
    """Write sample_weight, too: numbers from 0.5 to 1.5."""

    compression: Literal["none", "gzip", "zstd", "blosc2"] = "none"
    """Of X, in chunks; the last two need the package hdf5plugin."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.rows >= 1, "--rows", self.rows, "a whole number ≥ 1")
        require(1 <= self.columns < 2**31, "--columns", self.columns, "a whole number ≥ 1, below 2^31")
        require(self.classes >= 2, "--classes", self.classes, "a whole number ≥ 2")
        require(0 <= self.seed < 2**64, "--seed", self.seed, "a whole number from 0 to 2^64 - 1")
        require(0.0 <= (self.noise or 0.0) < math.inf, "--noise", self.noise, "a number ≥ 0")
        require(0.0 <= self.scale_spread <= 100.0, "--scale-spread", self.scale_spread, "a number from 0 to 100")
        require(0.0 <= self.missing < 1.0, "--missing", self.missing, "a share ≥ 0 and < 1")
        some = self.nonzero
        whole = some is None or 0.0 <= some < 1.0 or (some <= self.columns and some == int(some))
        require(whole, "--nonzero", some, "a share below 1, or a whole number up to that of columns")
        require(self.density is None or 0.0 < self.density <= 1.0, "--density", self.density, "a share > 0 and ≤ 1")
        per_row = self.per_row
        require(per_row is None or 0 <= per_row <= self.columns, "--per-row", per_row, "a number up to --columns")
        require(per_row is None or self.density is None, "--per-row", per_row, "no --density with it")
        rho = self.correlation
        require(-1.0 < rho < 1.0, "--correlation", rho, "a number between -1 and 1")
        require(rho == 0.0 or not self.sparse, "--correlation", rho, "no sparse rows with it")
        share = self.imbalance
        require(share is None or 0.0 < share < 1.0, "--imbalance", share, "a share > 0 and < 1")
        require(share is None or self.loss == "logistic", "--imbalance", share, "--loss logistic with it")
        numbers = self.dtype != "int8"
        require(numbers or self.missing == 0.0, "--missing", self.missing, "another --dtype: int8 has no NaN")
        require(numbers or self.scale_spread == 0.0, "--scale-spread", self.scale_spread, "another --dtype than int8")

    @property
    def sparse(self) -> bool:
        """Whether X is to be sparse."""
        return self.density is not None or self.per_row is not None

"""The options of what is done with a model, or with the data for one."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal

from mpigd.options.base import Group, Output, parse_bytes, require


@dataclass(frozen=True, kw_only=True)
class Reading(Group):
    """How rows are read."""

    memory: str | None = None
    """Bytes that each rank may take, as in 512MiB. Rows are read some blocks at a time anyway; with a limit, as few of
    them as have room. What evaluate keeps of every row, the prediction, y and the weight, is not counted."""

    @property
    def memory_bytes(self) -> int | None:
        """The limit of memory in bytes."""
        return None if self.memory is None else parse_bytes(self.memory)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.memory is None or parse_bytes(self.memory) > 0, "--memory", self.memory, "a number > 0")


@dataclass(frozen=True)
class Predict(Reading, Output):
    """Predict the rows of DATA with MODEL and write them to an HDF5 or Parquet file."""

    model: Path
    """A model.h5 that train wrote, or its run directory."""

    data: tuple[Path, ...]
    """HDF5 files, or patterns of names, with X (rows, columns)."""

    _: KW_ONLY

    output: Path = Path("predictions.h5")
    """File to write: prediction (rows), a label or the expected y, and what else is asked for. With the ending .parquet
    a Parquet file, or on several ranks a directory of one for each."""

    proba: bool = False
    """Write the probability (rows, classes) of each class, too."""

    eta: bool = False
    """Write the linear predictor eta, too."""

    interval: float | None = None
    """Write lower and upper ends of intervals, too, in which y lies with this probability, as 0.9; by split conformal
    prediction, whatever the distribution."""

    calibrate: tuple[Path, ...] = ()
    """HDF5 files with X and y of rows that the model was not fitted on, which intervals are taken from."""

    x: str = "X"
    """Name of the dataset with the columns."""

    y: str = "y"
    """Name of the dataset with the target, in the files to calibrate on."""

    def __post_init__(self) -> None:
        super().__post_init__()
        level = self.interval
        require(level is None or 0.0 < level < 1.0, "--interval", level, "a number above 0 and below 1")
        shown = " ".join(map(str, self.calibrate))
        require(level is None or bool(self.calibrate), "--interval", level, "--calibrate, too")
        require(level is not None or not self.calibrate, "--calibrate", shown, "--interval, too")


@dataclass(frozen=True)
class Evaluate(Reading, Output):
    """Compare the predictions of MODEL with y of DATA."""

    model: Path
    """A model.h5 that train wrote, or its run directory."""

    data: tuple[Path, ...]
    """HDF5 files, or patterns of names, with X (rows, columns) and y (rows)."""

    _: KW_ONLY

    on: Literal["all", "train", "validation", "test"] = "all"
    """Rows to score on, as the model's own options divide them; DATA are then what train was given as data."""

    x: str = "X"
    """Name of the dataset with the columns."""

    y: str = "y"
    """Name of the dataset with the target."""

    bootstrap: int = 0
    """Draw the rows anew so many times, for confidence intervals of the metrics; 0 for none, 1000 is usual."""

    level: float = 0.95
    """Probability with which an interval is to hold."""

    seed: int = 0
    """Of the draws."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.bootstrap == 0 or self.bootstrap >= 2, "--bootstrap", self.bootstrap, "0, or a number ≥ 2")
        require(self.bootstrap <= 100_000, "--bootstrap", self.bootstrap, "100000 at most")
        require(0.0 < self.level < 1.0, "--level", self.level, "a number above 0 and below 1")
        require(0 <= self.seed < 2**63, "--seed", self.seed, "a whole number ≥ 0")


@dataclass(frozen=True)
class Verify(Output):
    """Compute what MODEL holds anew from DATA and say whether the bits agree; exit status 6 if they do not."""

    model: Path
    """A model.h5 that train wrote, or its run directory."""

    data: tuple[Path, ...]
    """The HDF5 files that it was fitted on."""

    _: KW_ONLY

    refit: bool = False
    """Repeat the whole fit, too: not only the gradient where it ended."""

    threads: int = 1
    """Threads of each rank."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.threads >= 1, "--threads", self.threads, "a whole number ≥ 1")


@dataclass(frozen=True)
class Report(Output):
    """Write figures and tables of the run in RUN_DIR to one HTML file, which needs no network."""

    run_dir: Path
    """The directory of a run, whether it has ended or not."""

    _: KW_ONLY

    data: tuple[Path, ...] = ()
    """The files that train was given as data, or others with --on all: curves of the model are made on them. Without,
    those are shown that were made before."""

    on: Literal["test", "validation", "train", "all"] | None = None
    """Rows to make curves on, as the model's own options divide them; the default is the first kind that there is."""

    output: Path | None = None
    """File to write; the default is report.html in the run directory."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.on is None or bool(self.data), "--on", self.on, "--data, too")


@dataclass(frozen=True)
class Inspect(Output):
    """Show what is in DATA, column by column and what may give trouble; or a model."""

    data: tuple[Path, ...]
    """HDF5 files, or patterns of names, whose rows come one after the other; or one model.h5 or run directory."""

    _: KW_ONLY

    header: bool = False
    """Read no rows: only what files say of themselves."""

    columns: str | None = None
    """Names of the columns to show, or patterns such as 'age,temp*', separated by commas."""

    x: str = "X"
    """Name of the dataset with the columns."""

    y: str = "y"
    """Name of the dataset with the target."""


@dataclass(frozen=True)
class Demo(Output):
    """Fit Boston housing by distributed gradient descent, then by its stochastic form."""

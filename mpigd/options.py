"""Every option, defined once: the command line, config.toml and the Python API all follow from here.

A command is a dataclass; its positional fields are the arguments of the command, the others its options,
and the text under a field is its help. This module imports nothing heavy: all ranks load it.
"""

from __future__ import annotations

import math
import re
from dataclasses import KW_ONLY, asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from mpigd.errors import UsageError


@dataclass(frozen=True)
class Train:
    """Fit a model to DATA and write it to a run directory."""

    data: tuple[Path, ...]
    """HDF5 files, or patterns of names, whose rows come one after the other: X (rows, columns), dense or as AnnData's
    sparse rows, and y (rows) or (rows, outputs); sample_weight and offset are used where present."""

    _: KW_ONLY

    loss: Literal[
        "squared",
        "huber",
        "quantile",
        "epsilon-insensitive",
        "logistic",
        "probit",
        "cloglog",
        "squared-hinge",
        "modified-huber",
        "focal",
        "poisson",
        "gamma",
        "tweedie",
        "negative-binomial",
        "softmax",
    ] = "squared"
    """Squared to epsilon-insensitive are for numbers, logistic to focal for two classes, poisson to
    negative-binomial for counts and amounts (log link), softmax for two or more classes."""

    loss_parameter: float | None = None
    """Delta of huber (1.345), tau of quantile (0.5), epsilon of epsilon-insensitive (0.1), gamma of focal (2),
    power of tweedie (1.5), alpha of negative-binomial (1)."""

    smoothing: float = 0.1
    """Width, in units of y, over which the kinks of quantile and epsilon-insensitive are rounded."""

    solver: Literal[
        "auto",
        "direct",
        "newton",
        "newton-cg",
        "lbfgs",
        "prox-newton",
        "nesterov",
        "gd",
        "sgd",
        "adagrad",
        "rmsprop",
        "adam",
        "adamw",
        "svrg",
        "saga",
    ] = "auto"
    """Auto takes the one that should be fastest, and says why: normal equations (squared loss), Newton's method,
    limited-memory BFGS, or Newton's method for l1 and bounds. The others: Newton's method by conjugate gradients,
    accelerated gradient descent, gradient descent, and from sgd on steps on mini-batches."""

    l2: float = 0.0
    """Strength of the penalty (l2 / 2) ||theta||^2; the intercept is not penalised."""

    l1: float = 0.0
    """Strength of the penalty l1 ||theta||_1, which makes coefficients zero; with l2 it is the elastic net."""

    group: str | None = None
    """Name of a dataset (columns) of whole numbers, the group of each column: l1 then acts on the norm of each group,
    times the root of its size, so that whole groups are zero."""

    lower: float | None = None
    """Least value of every coefficient but the intercept; 0 for coefficients that are not negative."""

    upper: float | None = None
    """Largest value of every coefficient but the intercept."""

    intercept: bool = True
    """Fit an intercept."""

    standardize: bool = True
    """Give columns mean 0 and variance 1 for the fit; without an intercept, variance 1 only. The penalty
    then acts on the standardised columns; coefficients are reported for the original ones."""

    learning_rate: float | Literal["auto", "backtracking", "barzilai-borwein"] = "auto"
    """Step size of nesterov, gd and sgd; auto takes it from the largest eigenvalue of a bound of the Hessian. The last
    two find it at every step of gd."""

    schedule: Literal["auto", "constant", "step", "1/t", "cosine", "dog"] = "auto"
    """How the learning rate of gd and the stochastic solvers falls: step halves it every ten epochs, 1/t counts epochs,
    cosine goes over the budget of passes, dog finds it from how far theta has come. Auto is cosine for sgd and adaptive
    solvers, else constant."""

    warmup: float = 0.0
    """Epochs in which the learning rate rises, of stochastic solvers."""

    batch_size: int = 256
    """Rows of a mini-batch over all ranks."""

    batch_growth: float = 1.0
    """Factor of the batch size from epoch to epoch."""

    accumulate: int = 1
    """Mini-batches whose gradients are added up for one step; rows of one at a time are copied."""

    averaging: bool = False
    """Take the mean of iterates instead of the last one, of stochastic solvers."""

    momentum: float = 0.0
    """Of sgd: what is left of a step in the next one."""

    nesterov_momentum: bool = False
    """Add the gradient once more to a step with momentum."""

    local_steps: int = 1
    """Of sgd: steps that every block of rows goes by itself before the mean over blocks is taken. They share the
    block's rows of the mini-batch, which should have several for each."""

    memory: str | None = None
    """Bytes that each rank may take, as in 2GiB. Where X does not fit, it is read anew for every pass; with the same
    solver the result is the same."""

    scratch: Path | None = None
    """Directory of a local disk for a copy of what does not fit in memory, in the layout that passes read."""

    threads: int = 1
    """Threads of each rank. The result does not depend on it, nor on the number of ranks (but see reduce)."""

    arithmetic: Literal["float64", "float32"] = "float64"
    """Type of predictors, losses and products; float32 is faster where arithmetic, not memory, is the limit,
    and good to about six digits of the gradient."""

    average: Literal["rows", "ranks"] = "rows"
    """Mean over all rows, or the mean over ranks of each rank's mean. The result of 'ranks' depends by its
    formula on the number of ranks."""

    reduce: Literal["exact", "fast", "int8", "top-share"] = "exact"
    """Exact sums give the same bits on any number of ranks; fast ones send a third of the bytes, and the last
    digits depend on ranks, threads and MPI. The others are for mini-batches on slow networks: a twelfth of the bytes,
    or the largest numbers alone; what is left out is added to the next sum."""

    top_share: float = 0.01
    """Share of the gradient's numbers that --reduce top-share sends."""

    test_share: float = 0.0
    """Share of rows, drawn by seed, that are not used for the fit, and on which the model is scored in the end."""

    validation_share: float = 0.0
    """A second such share."""

    stratify: bool = False
    """Draw shares from each class."""

    split: str | None = None
    """Name of a dataset (rows) that says instead what each row is for: 0 train, 1 validation, 2 test."""

    test_data: tuple[Path, ...] = ()
    """Files, or patterns, that hold the rows to test instead."""

    validation_data: tuple[Path, ...] = ()
    """The same for validation."""

    class_weight: str | None = None
    """Factors of the weights of rows by their class: balanced, so that all classes weigh the same, or as in 0=1,1=5,
    labels that are not named having 1. They are for the rows to train alone."""

    resample: Literal["none", "under", "over"] = "none"
    """Draw rows to train so that all classes have as many: of the larger ones fewer, or of the smaller ones some more
    often. As all that is drawn, by seed, and without copying rows."""

    threshold: Literal["f1", "balanced-accuracy", "cost"] | None = None
    """Of two classes, choose the probability from which on a row is taken for the second one, so that this is best on
    the rows to validate; else it is a half."""

    costs: tuple[float, float] = (1.0, 1.0)
    """Of --threshold cost: that of a row of the first class which is taken for the second, and the other way round."""

    init: Path | None = None
    """A model.h5, or run directory, to begin at instead of the null model, if it is better than that."""

    path: int = 1
    """Fit for so many strengths of the penalty, falling from where nothing is left of the coefficients to the one that
    is given, each from where the one before ended. The model is that of the last; all are in its group 'path'."""

    max_passes: float = 1000.0
    """Stop after reading all rows this often, evaluations included."""

    tol: float = 1e-6
    """Stop when the norm of the gradient is at most this fraction of that of the null model: coefficients zero, and the
    best intercept."""

    tol_objective: float = 0.0
    """Stop when the objective changes relatively by less than this between records; 0 is never."""

    seed: int = 0
    """Of the choice of mini-batches, and of the parts of the rows that a fit begins on or is preconditioned by."""

    x: str = "X"
    """Name of the dataset with the columns."""

    y: str = "y"
    """Name of the dataset with the target."""

    run_dir: Path | None = None
    """Where the run is written; the default is a new directory below runs/. Files of an earlier run in
    this directory are replaced, unless it is resumed."""

    resume: Literal["no", "yes", "auto"] = "no"
    """Go on from the newest checkpoint in the run directory, on any number of ranks: the result has the same bits. Auto
    begins anew where there is none, which is what a batch script that may be requeued wants."""

    checkpoint_steps: int | None = None
    """Write a checkpoint every so many steps."""

    checkpoint_seconds: float | None = None
    """Write a checkpoint every so many seconds; the default is as often as takes at most 1% of the time, and never more
    than every 30 seconds. 0 is never, but for a stop."""

    checkpoint_keep: int = 2
    """How many checkpoints are kept."""

    time_limit: str | None = None
    """Stop ahead of this time, with a checkpoint: 90s, 30m, 2h or hours:minutes:seconds since the start. In a job of
    SLURM the default is the limit of that job; 'none' takes no notice of it."""

    on_failure: Literal["continue", "stop"] = "continue"
    """What the others do when ranks die, where the MPI library can go on: take over their rows, or stop."""

    min_ranks: int = 1
    """Stop when fewer ranks than this are left."""

    stall_timeout: float = 600.0
    """Seconds that ranks wait for one that does not come to a sum, before they go on without it, as when it had died,
    or the job ends; 0 is for ever."""

    json: bool = False
    """Print one JSON object on standard output and nothing else there."""

    def __post_init__(self) -> None:
        _several(self)
        _require(self.scratch is None or self.memory is not None, "--scratch", self.scratch, "--memory, too")
        _require(self.memory is None or parse_bytes(self.memory) > 0, "--memory", self.memory, "a number > 0")
        shares = self.test_share, self.validation_share
        _require(min(shares) >= 0.0, "--test-share, --validation-share", shares, "numbers ≥ 0")
        _require(sum(shares) < 1.0, "--test-share and --validation-share", sum(shares), "less than 1 together")
        ways = (sum(shares) > 0.0) + (self.split is not None) + bool(self.test_data or self.validation_data)
        _require(ways <= 1, "--split, shares and files", "", "one way to divide rows only")
        _require(sum(shares) > 0.0 or not self.stratify, "--stratify", "", "a share, too")
        if self.class_weight is not None:
            parse_class_weight(self.class_weight)
        validates = self.validation_share > 0.0 or self.split is not None or bool(self.validation_data)
        _require(self.threshold is None or validates, "--threshold", self.threshold, "rows to validate, too")
        _require(min(self.costs) >= 0.0 and sum(self.costs) > 0.0, "--costs", self.costs, "two numbers ≥ 0")
        _require(0.0 <= self.l2 < math.inf, "--l2", self.l2, "a number ≥ 0")
        _require(0.0 <= self.l1 < math.inf, "--l1", self.l1, "a number ≥ 0")
        low, high = self.bounds
        _require(low < high, "--lower and --upper", f"{low:g}, {high:g}", "the first to be less")
        _require(self.group is None or self.l1 > 0.0, "--group", self.group, "--l1, the strength, too")
        _require(self.group is None or (low, high) == (-math.inf, math.inf), "--group", self.group, "no bounds with it")
        _require(0.0 < self.smoothing < math.inf, "--smoothing", self.smoothing, "a number > 0")
        _require(self.threads >= 1, "--threads", self.threads, "a whole number ≥ 1")
        _require(self.batch_size >= 1, "--batch-size", self.batch_size, "a whole number ≥ 1")
        _require(0.0 < self.top_share <= 1.0, "--top-share", self.top_share, "a number > 0 and ≤ 1")
        _require(1.0 <= self.batch_growth < math.inf, "--batch-growth", self.batch_growth, "a number ≥ 1")
        _require(self.accumulate >= 1, "--accumulate", self.accumulate, "a whole number ≥ 1")
        _require(0.0 <= self.warmup < math.inf, "--warmup", self.warmup, "a number ≥ 0")
        _require(0.0 <= self.momentum < 1.0, "--momentum", self.momentum, "a number ≥ 0 and < 1")
        _require(self.momentum > 0.0 or not self.nesterov_momentum, "--nesterov-momentum", "", "--momentum, too")
        _require(self.local_steps >= 1, "--local-steps", self.local_steps, "a whole number ≥ 1")
        _require(self.max_passes >= 1, "--max-passes", self.max_passes, "a number ≥ 1")
        _require(self.path >= 1, "--path", self.path, "a whole number ≥ 1")
        _require(self.path == 1 or self.l1 + self.l2 > 0.0, "--path", self.path, "--l1 or --l2, the last penalty, too")
        _require(self.tol >= 0.0, "--tol", self.tol, "a number ≥ 0")
        _require(self.tol_objective >= 0.0, "--tol-objective", self.tol_objective, "a number ≥ 0")
        _require(0 <= self.seed < 2**64, "--seed", self.seed, "a whole number from 0 to 2^64 - 1")
        every = self.checkpoint_steps
        _require(every is None or every >= 1, "--checkpoint-steps", every, "a whole number ≥ 1")
        often = self.checkpoint_seconds
        _require(often is None or 0.0 <= often < math.inf, "--checkpoint-seconds", often, "a number ≥ 0")
        _require(self.checkpoint_keep >= 1, "--checkpoint-keep", self.checkpoint_keep, "a whole number ≥ 1")
        _require(self.resume != "yes" or self.run_dir is not None, "--resume", "", "--run-dir, which it is to go on in")
        _require(
            self.resume != "auto" or self.run_dir is not None, "--resume", "auto", "--run-dir, the same every time"
        )
        _require(self.min_ranks >= 1, "--min-ranks", self.min_ranks, "a whole number ≥ 1")
        _require(0.0 <= self.stall_timeout < math.inf, "--stall-timeout", self.stall_timeout, "seconds ≥ 0")
        if self.time_limit not in (None, "none"):
            parse_seconds(self.time_limit)
        rate = self.learning_rate
        _require(isinstance(rate, str) or 0.0 < rate < math.inf, "--learning-rate", rate, "auto or a number > 0")

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and largest value of a coefficient."""
        return (
            -math.inf if self.lower is None else self.lower,
            math.inf if self.upper is None else self.upper,
        )

    @property
    def kinks(self) -> bool:
        """Whether the objective has kinks or bounds."""
        return self.l1 > 0.0 or self.lower is not None or self.upper is not None

    @property
    def identity(self) -> dict[str, Any]:
        """What a fit depends on, as plain values; of memory, whether it is limited, by which a solver is chosen."""
        own = {key: value for key, value in self.to_dict().items() if key not in RUNNING}
        return {**own, "memory": self.memory is not None}

    def to_dict(self) -> dict[str, Any]:
        """The options as plain values, those that are None left out."""
        return {key: _plain(value) for key, value in asdict(self).items() if value not in (None, ()) and key != "_"}


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
        _require(self.ranks is None or self.ranks >= 1, "--ranks", self.ranks, "a whole number ≥ 1")
        _require(self.nodes >= 1, "--nodes", self.nodes, "a whole number ≥ 1")
        _require(self.ranks is None or self.ranks >= self.nodes, "--nodes", self.nodes, "no more than --ranks")
        _require(0.0 <= self.latency < math.inf, "--latency", self.latency, "microseconds ≥ 0")
        _require(0.0 < self.bandwidth < math.inf, "--bandwidth", self.bandwidth, "GB/s > 0")
        rate = self.read_rate
        _require(rate is None or 0.0 < rate < math.inf, "--read-rate", rate, "MB/s > 0")

    @property
    def fit(self) -> Train:
        """What train takes of it."""
        return Train(**{field.name: getattr(self, field.name) for field in fields(Train) if field.init})


@dataclass(frozen=True)
class Predict:
    """Predict the rows of DATA with MODEL and write them to an HDF5 file."""

    model: Path
    """A model.h5 that train wrote, or its run directory."""

    data: tuple[Path, ...]
    """HDF5 files, or patterns of names, with X (rows, columns)."""

    _: KW_ONLY

    output: Path = Path("predictions.h5")
    """File to write: prediction (rows), and for classes probability (rows, classes)."""

    x: str = "X"
    """Name of the dataset with the columns."""

    json: bool = False
    """Print one JSON object on standard output and nothing else there."""

    def __post_init__(self) -> None:
        _several(self)


@dataclass(frozen=True)
class Evaluate:
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

    json: bool = False
    """Print one JSON object on standard output and nothing else there."""

    def __post_init__(self) -> None:
        _several(self)


@dataclass(frozen=True)
class Verify:
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

    json: bool = False
    """Print one JSON object on standard output and nothing else there."""

    def __post_init__(self) -> None:
        _several(self)
        _require(self.threads >= 1, "--threads", self.threads, "a whole number ≥ 1")


@dataclass(frozen=True)
class Inspect:
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

    json: bool = False
    """Print one JSON object on standard output and nothing else there: all columns."""

    def __post_init__(self) -> None:
        _several(self)


@dataclass(frozen=True)
class Generate:
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

    json: bool = False
    """Print one JSON object on standard output and nothing else there."""

    def __post_init__(self) -> None:
        _require(self.rows >= 1, "--rows", self.rows, "a whole number ≥ 1")
        _require(1 <= self.columns < 2**31, "--columns", self.columns, "a whole number ≥ 1, below 2^31")
        _require(self.classes >= 2, "--classes", self.classes, "a whole number ≥ 2")
        _require(0 <= self.seed < 2**64, "--seed", self.seed, "a whole number from 0 to 2^64 - 1")
        _require(0.0 <= (self.noise or 0.0) < math.inf, "--noise", self.noise, "a number ≥ 0")
        _require(0.0 <= self.scale_spread <= 100.0, "--scale-spread", self.scale_spread, "a number from 0 to 100")
        _require(0.0 <= self.missing < 1.0, "--missing", self.missing, "a share ≥ 0 and < 1")
        some = self.nonzero
        whole = some is None or 0.0 <= some < 1.0 or (some <= self.columns and some == int(some))
        _require(whole, "--nonzero", some, "a share below 1, or a whole number up to that of columns")
        _require(self.density is None or 0.0 < self.density <= 1.0, "--density", self.density, "a share > 0 and ≤ 1")
        per_row = self.per_row
        _require(per_row is None or 0 <= per_row <= self.columns, "--per-row", per_row, "a number up to --columns")
        _require(per_row is None or self.density is None, "--per-row", per_row, "no --density with it")
        rho = self.correlation
        _require(-1.0 < rho < 1.0, "--correlation", rho, "a number between -1 and 1")
        _require(rho == 0.0 or not self.sparse, "--correlation", rho, "no sparse rows with it")
        share = self.imbalance
        _require(share is None or 0.0 < share < 1.0, "--imbalance", share, "a share > 0 and < 1")
        _require(share is None or self.loss == "logistic", "--imbalance", share, "--loss logistic with it")
        numbers = self.dtype != "int8"
        _require(numbers or self.missing == 0.0, "--missing", self.missing, "another --dtype: int8 has no NaN")
        _require(numbers or self.scale_spread == 0.0, "--scale-spread", self.scale_spread, "another --dtype than int8")

    @property
    def sparse(self) -> bool:
        """Whether X is to be sparse."""
        return self.density is not None or self.per_row is not None


@dataclass(frozen=True)
class Convert:
    """Make an HDF5 data file from tables: CSV, Parquet, Arrow, svmlight, NumPy or HDF5."""

    paths: tuple[Path, ...]
    """The files to read, all of one kind (rows one after the other), and last the HDF5 file to write."""

    _: KW_ONLY

    target: str | None = None
    """Column that becomes y, or none; of HDF5 a dataset such as obs/label. The default is the last column; the label of
    svmlight; y of NumPy and HDF5. Text becomes numbers of classes."""

    weight: str | None = None
    """Column that becomes sample_weight."""

    offset: str | None = None
    """Column that becomes offset."""

    columns: tuple[str, ...] = ()
    """Names or patterns (as of a shell) of the columns that X takes; the default is all."""

    exclude: tuple[str, ...] = ()
    """Names or patterns of columns to leave out."""

    categorical: tuple[str, ...] = ()
    """Names or patterns of columns to encode one-hot; columns of text are without being named."""

    drop_first: bool = False
    """Leave out the first level of every categorical column."""

    max_levels: int = 1000
    """Refuse a categorical column with more levels."""

    hash_bits: int | None = None
    """Hash the levels of all categorical columns into 2 to the power of so many columns, instead of one for each."""

    interactions: tuple[str, ...] = ()
    """Pairs a:b of columns whose products are added as columns."""

    missing: Literal["refuse", "mean", "median", "drop"] = "refuse"
    """What to do about missing values: stop, put the mean or median of the column there, or drop the row."""

    layout: Literal["auto", "dense", "sparse"] = "auto"
    """How X is stored; auto is sparse where that takes less space."""

    dtype: Literal["auto", "float64", "float32", "float16", "int8", "uint8"] = "auto"
    """Type of X; auto is float32 if that holds every value exactly, else float64."""

    compression: Literal["none", "gzip", "zstd", "lz4", "blosc2"] = "none"
    """How datasets are compressed. None, the default, is fastest to read in slices."""

    chunk_rows: int | None = None
    """Rows of a chunk of X. The default is near 1 MiB, and no slice of a fit shares a chunk; without compression there
    are no chunks."""

    format: Literal["auto", "csv", "parquet", "arrow", "svmlight", "npy", "npz", "hdf5"] = "auto"
    """What the files are; auto goes by their names."""

    delimiter: str | None = None
    """Of CSV; the default is a tab for .tsv and .tab, else a comma."""

    header: bool = True
    """Whether the first line of CSV names the columns; without, they are x0, x1, …"""

    memory: str = "1GiB"
    """What a rank may hold in memory, as 512MiB, 2GiB or a number of bytes, roughly; the rest waits on disk, beside the
    output."""

    json: bool = False
    """Print one JSON object on standard output and nothing else there."""

    def __post_init__(self) -> None:
        shown = " ".join(map(str, self.paths))
        _require(len(self.paths) >= 2, "paths", shown, "files to read and last the file to write")
        _require(self.output not in self.sources, "paths", shown, "an output that is none of the inputs")
        _require(self.max_levels >= 1, "--max-levels", self.max_levels, "a whole number ≥ 1")
        bits = self.hash_bits
        _require(bits is None or 1 <= bits <= 30, "--hash-bits", bits, "a whole number from 1 to 30")
        _require(
            not (bits and self.drop_first), "--drop-first", "", "no --hash-bits with it: levels share columns there"
        )
        for pair in self.interactions:
            _require(
                pair.count(":") == 1 and not pair.startswith(":") and not pair.endswith(":"),
                "--interactions",
                pair,
                "a:b",
            )
        _require(self.chunk_rows is None or self.chunk_rows >= 1, "--chunk-rows", self.chunk_rows, "a whole number ≥ 1")
        delimiter = self.delimiter
        _require(
            delimiter in (None, "tab") or (len(delimiter) == 1 and delimiter.isascii() and delimiter not in '"\r\n'),
            "--delimiter",
            delimiter,
            "one character, or tab",
        )
        _require(parse_bytes(self.memory) >= 1 << 20, "--memory", self.memory, "at least 1MiB")

    @property
    def sources(self) -> tuple[Path, ...]:
        """The files to read."""
        return self.paths[:-1]

    @property
    def output(self) -> Path:
        """The file to write."""
        return self.paths[-1]


@dataclass(frozen=True)
class Demo:
    """Fit Boston housing by distributed gradient descent, then by its stochastic form."""

    json = False


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _several(options: Train | Predict | Evaluate | Verify | Inspect) -> None:
    """Let one file stand for a tuple of one."""
    for name in {"data", "test_data", "validation_data"} & vars(options).keys():
        given: Any = getattr(options, name)
        given = (given,) if isinstance(given, (str, Path)) else given
        object.__setattr__(options, name, tuple(map(Path, given)))


# Options that say how a fit is run, not what it is.
RUNNING = frozenset(
    (
        *("data", "memory", "scratch", "threads", "run_dir", "json", "resume", "time_limit"),
        *("checkpoint_steps", "checkpoint_seconds", "checkpoint_keep", "on_failure", "min_ranks", "stall_timeout"),
    )
)
UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


def parse_bytes(text: str) -> int:
    """A number of bytes: plain, or with KiB, MiB, GiB, TiB (K, M, G, T and KB, … mean the same)."""
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?)\s*([KMGT]?)(?:I?B)?\s*", text, re.IGNORECASE)
    if not found:
        raise UsageError(f"{text}: expected a number of bytes, as in 512MiB or 2GiB")
    return int(float(found[1]) * (1 << UNITS[found[2].upper()]))


def parse_class_weight(text: str) -> Literal["balanced"] | dict[float, float]:
    """Weights by label: 'balanced', or as in '0=1,1=5'. UsageError for anything else.

    >>> parse_class_weight("0=1, 1=2.5")
    {0.0: 1.0, 1.0: 2.5}
    """
    if text == "balanced":
        return "balanced"
    try:
        pairs = [part.split("=") for part in text.split(",")]
        weights = {float(label): float(weight) for label, weight in pairs}
    except ValueError:
        raise UsageError(f"--class-weight {text}: expected 'balanced', or labels and weights as in 0=1,1=5") from None
    if not all(0.0 <= weight < math.inf for weight in weights.values()) or not any(weights.values()):
        raise UsageError(f"--class-weight {text}: weights must be numbers ≥ 0, not all of them 0")
    return weights


def parse_seconds(text: str) -> float:
    """Seconds of a time as in 90, 90s, 30m, 2h, 1d, or as SLURM writes it, [days-][hours:]minutes:seconds.

    >>> parse_seconds("1-00:00:30"), parse_seconds("30m"), parse_seconds("05:00")
    (86430.0, 1800.0, 300.0)
    """
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text):
        return float(match[1]) * {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}[match[2]]
    if match := re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text):
        days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
        return ((days * 24.0 + hours) * 60.0 + minutes) * 60.0 + seconds
    raise UsageError(f"{text}: expected a time, as in 90s, 30m, 2h or 1:30:00")


Options = Train | Plan | Predict | Evaluate | Verify | Inspect | Generate | Convert | Demo


def _require(holds: bool, option: str, value: object, expected: str) -> None:
    if not holds:
        raise UsageError(f"{option} {value}: expected {expected}")

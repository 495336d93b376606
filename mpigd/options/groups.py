"""The options of a fit, in the groups in which the help shows them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mpigd.options.base import Group, Output, parse_bytes, parse_class_weight, parse_seconds, require


@dataclass(frozen=True, kw_only=True)
class Rows(Group):
    """What rows are for."""

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

    x: str = "X"
    """Name of the dataset with the columns."""

    y: str = "y"
    """Name of the dataset with the target."""

    def __post_init__(self) -> None:
        super().__post_init__()
        shares = self.test_share, self.validation_share
        require(min(shares) >= 0.0, "--test-share, --validation-share", shares, "numbers ≥ 0")
        require(sum(shares) < 1.0, "--test-share and --validation-share", sum(shares), "less than 1 together")
        ways = (sum(shares) > 0.0) + (self.split is not None) + bool(self.test_data or self.validation_data)
        require(ways <= 1, "--split, shares and files", "", "one way to divide rows only")
        require(sum(shares) > 0.0 or not self.stratify, "--stratify", "", "a share, too")
        if self.class_weight is not None:
            parse_class_weight(self.class_weight)
        require(self.threshold is None or self.validates, "--threshold", self.threshold, "rows to validate, too")
        require(min(self.costs) >= 0.0 and sum(self.costs) > 0.0, "--costs", self.costs, "two numbers ≥ 0")

    @property
    def validates(self) -> bool:
        """Whether rows to validate are asked for."""
        return self.validation_share > 0.0 or self.split is not None or bool(self.validation_data)


@dataclass(frozen=True, kw_only=True)
class Loss(Group):
    """The model."""

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

    intercept: bool = True
    """Fit an intercept."""

    standardize: bool = True
    """Give columns mean 0 and variance 1 for the fit; without an intercept, variance 1 only. The penalty
    then acts on the standardised columns; coefficients are reported for the original ones."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0.0 < self.smoothing < math.inf, "--smoothing", self.smoothing, "a number > 0")


@dataclass(frozen=True, kw_only=True)
class Penalty(Group):
    """The penalty."""

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

    path: int = 1
    """Fit for so many strengths of the penalty, falling from where nothing is left of the coefficients to the one that
    is given, each from where the one before ended. The model is that of the last; all are in its group 'path'."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0.0 <= self.l2 < math.inf, "--l2", self.l2, "a number ≥ 0")
        require(0.0 <= self.l1 < math.inf, "--l1", self.l1, "a number ≥ 0")
        low, high = self.bounds
        require(low < high, "--lower and --upper", f"{low:g}, {high:g}", "the first to be less")
        require(self.group is None or self.l1 > 0.0, "--group", self.group, "--l1, the strength, too")
        require(self.group is None or (low, high) == (-math.inf, math.inf), "--group", self.group, "no bounds with it")
        require(self.path >= 1, "--path", self.path, "a whole number ≥ 1")
        require(self.path == 1 or self.l1 + self.l2 > 0.0, "--path", self.path, "--l1 or --l2, the last penalty, too")

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


@dataclass(frozen=True, kw_only=True)
class Solver(Group):
    """The solver."""

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

    max_passes: float = 1000.0
    """Stop after reading all rows this often, evaluations included."""

    tol: float = 1e-6
    """Stop when the norm of the gradient is at most this fraction of that of the null model: coefficients zero, and the
    best intercept."""

    tol_objective: float = 0.0
    """Stop when the objective changes relatively by less than this between records; 0 is never."""

    patience: int | None = None
    """Stop when the loss on the rows to validate has not fallen for so many records, of which full passes over the rows
    make one a step and mini-batches one an epoch; the model is the one where that loss was least."""

    min_change: float = 0.0
    """By what share that loss has to fall below its least value so far to count as fallen."""

    init: Path | None = None
    """A model.h5, or run directory, to begin at instead of the null model, if it is better than that."""

    seed: int = 0
    """Of the choice of mini-batches, and of the parts of the rows that a fit begins on or is preconditioned by."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.max_passes >= 1, "--max-passes", self.max_passes, "a number ≥ 1")
        require(self.tol >= 0.0, "--tol", self.tol, "a number ≥ 0")
        require(self.tol_objective >= 0.0, "--tol-objective", self.tol_objective, "a number ≥ 0")
        patience, change = self.patience, self.min_change
        require(patience is None or patience >= 1, "--patience", patience, "a whole number ≥ 1")
        require(0.0 <= change < 1.0, "--min-change", change, "a share ≥ 0 and < 1")
        require(change == 0.0 or patience is not None, "--min-change", change, "--patience, too")
        require(0 <= self.seed < 2**64, "--seed", self.seed, "a whole number from 0 to 2^64 - 1")


@dataclass(frozen=True, kw_only=True)
class Steps(Group):
    """Steps of gradient descent and on mini-batches."""

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

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.batch_size >= 1, "--batch-size", self.batch_size, "a whole number ≥ 1")
        require(1.0 <= self.batch_growth < math.inf, "--batch-growth", self.batch_growth, "a number ≥ 1")
        require(self.accumulate >= 1, "--accumulate", self.accumulate, "a whole number ≥ 1")
        require(0.0 <= self.warmup < math.inf, "--warmup", self.warmup, "a number ≥ 0")
        require(0.0 <= self.momentum < 1.0, "--momentum", self.momentum, "a number ≥ 0 and < 1")
        require(self.momentum > 0.0 or not self.nesterov_momentum, "--nesterov-momentum", "", "--momentum, too")
        require(self.local_steps >= 1, "--local-steps", self.local_steps, "a whole number ≥ 1")
        rate = self.learning_rate
        require(isinstance(rate, str) or 0.0 < rate < math.inf, "--learning-rate", rate, "auto or a number > 0")


@dataclass(frozen=True, kw_only=True)
class Machine(Group):
    """The machine."""

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

    kernels: str | None = None
    """Where kernels come from, with the same bits: jit compiles them for this processor, once a machine; aot takes them
    from libmpigd, or a path from that file, and needs no compiler. The default is what MPIGD_KERNELS says, else jit."""

    average: Literal["rows", "ranks"] = "rows"
    """Mean over all rows, or the mean over ranks of each rank's mean. The result of 'ranks' depends by its
    formula on the number of ranks."""

    reduce: Literal["exact", "fast", "int8", "top-share"] = "exact"
    """Exact sums give the same bits on any number of ranks; fast ones send a third of the bytes, and the last
    digits depend on ranks, threads and MPI. The others are for mini-batches on slow networks: a twelfth of the bytes,
    or the largest numbers alone; what is left out is added to the next sum."""

    top_share: float = 0.01
    """Share of the gradient's numbers that --reduce top-share sends."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.scratch is None or self.memory is not None, "--scratch", self.scratch, "--memory, too")
        require(self.memory is None or parse_bytes(self.memory) > 0, "--memory", self.memory, "a number > 0")
        require(self.threads >= 1, "--threads", self.threads, "a whole number ≥ 1")
        require(0.0 < self.top_share <= 1.0, "--top-share", self.top_share, "a number > 0 and ≤ 1")


@dataclass(frozen=True, kw_only=True)
class Run(Output):
    """The run."""

    run_dir: Path | None = None
    """Where the run is written; the default is a new directory below runs/. Files of an earlier run in
    this directory are replaced, unless it is resumed."""

    resume: Literal["no", "yes", "auto"] = "no"
    """Go on from the newest checkpoint in the run directory, on any number of ranks: the result has the same bits. Auto
    begins anew where there is none, which is what a batch script that may be requeued wants."""

    report: bool = False
    """Write report.html, figures and tables of the run, too: on the rows to test; without such on those to validate,
    or to train. Needs matplotlib and jinja2."""

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

    log: tuple[Literal["tensorboard", "mlflow"], ...] = ()
    """Show the fit in TensorBoard (event files in the run directory) or MLflow (where MLFLOW_TRACKING_URI says)."""

    min_ranks: int = 1
    """Stop when fewer ranks than this are left."""

    stall_timeout: float = 600.0
    """Seconds that ranks wait for one that does not come to a sum, before they go on without it, as when it had died,
    or the job ends; 0 is for ever."""

    def __post_init__(self) -> None:
        super().__post_init__()
        every = self.checkpoint_steps
        require(every is None or every >= 1, "--checkpoint-steps", every, "a whole number ≥ 1")
        often = self.checkpoint_seconds
        require(often is None or 0.0 <= often < math.inf, "--checkpoint-seconds", often, "a number ≥ 0")
        require(self.checkpoint_keep >= 1, "--checkpoint-keep", self.checkpoint_keep, "a whole number ≥ 1")
        require(self.resume != "yes" or self.run_dir is not None, "--resume", "", "--run-dir, which it is to go on in")
        require(self.resume != "auto" or self.run_dir is not None, "--resume", "auto", "--run-dir, the same every time")
        require(self.min_ranks >= 1, "--min-ranks", self.min_ranks, "a whole number ≥ 1")
        require(0.0 <= self.stall_timeout < math.inf, "--stall-timeout", self.stall_timeout, "seconds ≥ 0")
        if self.time_limit not in (None, "none"):
            parse_seconds(self.time_limit)

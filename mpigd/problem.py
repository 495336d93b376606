"""What the options of a fit stand for: the data, the objective, the solver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import mpigd_kernels as kernels
import numpy as np

from mpigd.balance import class_factors, resampled
from mpigd.comm import Comm
from mpigd.dataset import Dataset, read, take_over
from mpigd.errors import DataError, UsageError
from mpigd.model import Model
from mpigd.objective import Objective, cost_of, outputs_of
from mpigd.options import RUNNING, Train, Tune, parse_bytes, parse_class_weight
from mpigd.penalties import Penalty, penalty
from mpigd.scaling import Scaling, measure
from mpigd.solvers import BY_ROWS, COMPRESSIBLE, KINKS, ONE_OUTPUT, RATED, SEARCHED, SOLVERS, choose, share_for_metric
from mpigd.solvers.base import Solver
from mpigd.splits import Split, by_dataset, by_file, by_share, check_roles
from mpigd.storage import Names, find_files
from mpigd.streaming import StreamedSlice

# Bytes that solvers keep of each row: curvature; the order in which mini-batches take rows.
KEPT_OF, KEPT_BY_ROWS = {"newton-cg": 8}, 40
NOT_AGAIN = RUNNING - {"data", "memory", "threads"}  # options of a fit that do not go for one that repeats it
# Options that not every solver has a use for.
OF_SOME = (
    *("learning_rate", "schedule", "warmup", "batch_size", "batch_growth", "accumulate", "averaging"),
    *("momentum", "nesterov_momentum", "local_steps"),
)


def read_data(comm: Comm, options: Train) -> Dataset:
    """Read the slice of this rank as the options ask for it; rows not to train have weight zero. A collective."""
    return read_split(comm, options).train


def read_split(comm: Comm, options: Train) -> Split:
    """Read the slice of this rank, and what its rows are for. A collective."""
    with comm.agreement():
        files = _files(options)
    of_a_row = KEPT_BY_ROWS if options.solver in BY_ROWS else KEPT_OF.get(options.solver, 0)
    paths = [path for some in files for path in some]
    data = read(comm, paths, names_of(options), **_how(options), of_a_row=of_a_row)
    return _divided(comm, options, data)


def take_over_split(comm: Comm, options: Train, split: Split | None) -> Split:
    """As `read_split` where ranks have died: what this one has, None for nothing yet, and its share of their rows.

    A collective; some rank has read its slice.
    """
    return _divided(comm, options, take_over(comm, None if split is None else split.data, **_how(options)))


def _divided(comm: Comm, options: Train, data: Dataset) -> Split:
    """A slice, and what its rows are for. A collective."""
    roles: np.ndarray | None = None
    wanted: tuple[str, ...] = ("train",)
    if options.validation_data or options.test_data:
        with comm.agreement():
            roles = by_file(data, [len(some) for some in _files(options)])
    elif options.split is not None:
        roles = by_dataset(comm, data, options.split)
    elif options.test_share or options.validation_share:
        roles = by_share(
            comm, data, options.seed, options.validation_share, options.test_share, stratify=options.stratify
        )
        shares = {"validation": options.validation_share, "test": options.test_share}
        wanted += tuple(name for name, share in shares.items() if share)
    split = Split(data, roles)
    check_roles(comm, split, wanted)
    return replace(split, factor=_factor(comm, options, split.train))


def _factor(comm: Comm, options: Train, rows: Dataset) -> np.ndarray | None:
    """Factors of the weights of rows to train that balance their classes, as asked for. A collective."""
    factor = None
    if options.resample != "none":
        factor = resampled(comm, rows, options.seed, options.resample)
    if options.class_weight is not None:
        weighted = rows if factor is None else rows.weighted(factor)
        of_class = class_factors(comm, weighted, parse_class_weight(options.class_weight))
        factor = of_class if factor is None else factor * of_class
    return factor


def _files(options: Train) -> list[list[Path]]:
    """The files to train on, to validate with and to test with."""
    return [find_files(names) for names in (options.data, options.validation_data, options.test_data)]


def names_of(options: Train) -> Names:
    """Names of the datasets."""
    of_rows: tuple[str, ...] = () if options.split is None else (options.split,)
    if isinstance(options, Tune) and options.fold_by is not None:
        of_rows += (options.fold_by,)
    return Names(x=options.x, y=options.y, group=options.group, of_rows=of_rows)


def _how(options: Train) -> dict[str, Any]:
    """How `read` and `take_over` are to read."""
    return {
        "target": kernels.LOSSES[options.loss].target,
        "computing": kernels.Computing(np.dtype(options.arithmetic), options.threads),
        "memory": None if options.memory is None else parse_bytes(options.memory),
        "scratch": options.scratch,
    }


def options_of(model: Model, path: Path, data: Sequence[Path]) -> Train:
    """The options that a model was fitted with, on data that may lie elsewhere now. DataError if it has none."""
    if "data" not in model.config:
        raise DataError(f"{path}: the model does not say how it was fitted: it was not by `mpigd train`")
    known = {key: value for key, value in model.config.items() if key not in NOT_AGAIN}
    try:
        return replace(Train(**known), data=tuple(data))
    except (TypeError, UsageError) as error:
        raise DataError(f"{path}: fitted with options that this version does not know: {error}") from None


def penalty_of(data: Dataset, options: Train, scaling: Scaling) -> Penalty:
    """The penalty that the options ask for, of theta of columns that are scaled so."""
    outputs = outputs_of(data, kernels.LOSSES[options.loss])
    how = (scaling.scale, outputs, options.intercept, options.bounds, data.header.group)
    return penalty(options.l2, options.l1, *how)


def make_objective(comm: Comm, data: Dataset, options: Train) -> Objective:
    """The objective that the options ask for. A collective."""
    scaling = measure(comm, data, centre=options.intercept, standardize=options.standardize)
    return Objective(
        comm,
        data,
        kernels.LOSSES[options.loss],
        scaling,
        penalty_of(data, options, scaling),
        options.intercept,
        options.average,
        loss_parameter=loss_parameter(options),
        smoothing=options.smoothing,
        reduce=options.reduce,
        top_share=options.top_share,
    )


def loss_parameter(options: Train) -> float:
    """The parameter of the loss: as given, or its default; 0 for a loss that has none."""
    parameter = kernels.LOSSES[options.loss].parameter
    if options.loss_parameter is not None:
        return options.loss_parameter
    return parameter.default if parameter else 0.0


def check_loss(options: Train) -> None:
    """Raise UsageError where the loss can't be had with the other options."""
    loss, given = kernels.LOSSES[options.loss], options.loss_parameter
    for option, asked in (
        ("--class-weight", options.class_weight is not None),
        ("--resample", options.resample != "none"),
    ):
        if asked and loss.target not in ("binary", "classes"):
            raise UsageError(f"{option}: loss {loss.name} is not one of classes")
    if options.threshold is not None and (loss.target != "binary" or loss.link == "sign"):
        raise UsageError(f"--threshold: loss {loss.name} gives no probability of one of two classes")
    if options.smoothing != default_of("smoothing") and not loss.smoothed:
        smoothed = " and ".join(name for name, other in kernels.LOSSES.items() if other.smoothed)
        raise UsageError(f"--smoothing {options.smoothing:g}: loss {loss.name} has none; it is of {smoothed}")
    if given is not None:
        if loss.parameter is None:
            raise UsageError(f"--loss-parameter {given:g}: loss {loss.name} has no parameter")
        if not loss.parameter.low < given < loss.parameter.high:
            raise UsageError(
                f"--loss-parameter {given:g}: {loss.parameter.name} of loss {loss.name} must be above "
                f"{loss.parameter.low:g} and below {loss.parameter.high:g}"
            )
    rated = options.schedule != "dog" and all(solver in RATED for solver in likely_solvers(options))
    if loss.curvature is None and options.learning_rate == "auto" and rated:
        raise UsageError(
            f"--learning-rate auto: loss {loss.name} has no bound of its curvature to take it from; "
            "use --solver newton or lbfgs, which need none, or give a number, and a smaller one if it diverges"
        )


def make_solver(options: Train, data: Dataset) -> tuple[Solver, str, str]:
    """The solver, its name, and why it was chosen: empty if the options say it. UsageError if it can't be had."""
    loss = kernels.LOSSES[options.loss]
    outputs = outputs_of(data, loss)
    cost = cost_of(data, loss, (data.header.d + options.intercept, outputs), options.kinks)
    # Whether rows are read for every pass depends on the ranks; what is chosen must not.
    cost = replace(cost, streams=options.memory is not None)
    one_step = options.path == 1 and options.init is None  # else direct gains nothing from where it begins
    chosen = choose(replace(cost, quadratic=cost.quadratic and one_step))
    name, why = (chosen.solver, chosen.why) if options.solver == "auto" else (options.solver, "")
    if name in BY_ROWS and isinstance(data.slice, StreamedSlice) and not data.slice.parts.rows.in_one_piece:
        raise UsageError(
            f"--solver {name}: its mini-batches take rows from everywhere, and X lies in chunks that do not fit in "
            "--memory; give --scratch, a directory for a copy, or another solver"
        )
    if name in ONE_OUTPUT and outputs > 1:
        raise UsageError(f"--solver {name}: there are {outputs} outputs, and {name} takes one; use --solver lbfgs")
    # Defaults of the schedule differ between solvers.
    given = {key: value for key, value in vars(options).items() if (key, value) != ("schedule", "auto")}
    given["one_in"] = share_for_metric(replace(cost, streams=False))
    solver: Solver = SOLVERS[name](**{key: given[key] for key in parameters_of(name) & given.keys()})
    return solver, name, why


def parameters_of(solver: str) -> set[str]:
    """Names of the options that a solver has a use for."""
    return {field.name for field in fields(SOLVERS[solver])}


def default_of(option: str) -> Any:
    """What an option is if it is not given."""
    return next(field.default for field in fields(Train) if field.name == option)


def likely_solvers(options: Train) -> tuple[str, ...]:
    """The solver that is asked for, or those that auto chooses from."""
    if options.solver != "auto":
        return (options.solver,)
    return ("prox-newton", "nesterov") if options.kinks else ("direct", "newton", "lbfgs")


def check_solver(options: Train) -> None:
    """Raise UsageError for an option that the solver would pass over."""
    likely = likely_solvers(options)
    if options.kinks and options.solver not in ("auto", *KINKS):
        raise UsageError(
            f"--solver {options.solver}: --l1, --lower and --upper need one that can do with kinks: {', '.join(KINKS)}"
        )
    if options.solver == "direct" and options.loss != "squared":
        raise UsageError(f"--solver direct: it solves the equations of the squared loss; for {options.loss} use newton")
    for option, given in (("--path", options.path > 1), ("--init", options.init is not None)):
        if options.solver == "direct" and given:
            raise UsageError(f"{option}: solver direct gains nothing from where it begins; use another one")
    if options.learning_rate in SEARCHED and options.solver != "gd":
        raise UsageError(f"--learning-rate {options.learning_rate}: --solver gd alone searches for it")
    if options.schedule == "dog" and (options.solver == "gd" or options.learning_rate != "auto"):
        raise UsageError("--schedule dog: it needs a stochastic solver, and no --learning-rate")
    if options.schedule == "dog" and options.warmup:
        raise UsageError("--warmup: --schedule dog has no rate that could rise")
    if options.reduce != "top-share" and options.top_share != default_of("top_share"):
        raise UsageError(f"--top-share {options.top_share:g}: it is of --reduce top-share")
    if options.reduce in ("int8", "top-share"):
        if options.solver not in COMPRESSIBLE:
            raise UsageError(
                f"--reduce {options.reduce}: only gradients of mini-batches, and of those not what is a difference of "
                f"two: --solver {', '.join(COMPRESSIBLE)}"
            )
        if options.average == "ranks" or options.local_steps > 1:
            raise UsageError(f"--reduce {options.reduce}: not with --average ranks, nor with --local-steps")
    if options.solver == "saga" and (options.accumulate > 1 or options.batch_growth != 1.0):
        raise UsageError("--solver saga: its mini-batches stay the same; leave out --accumulate and --batch-growth")
    if options.local_steps > 1 and options.momentum:
        raise UsageError("--local-steps: blocks go by themselves without --momentum")
    for option in OF_SOME:
        if getattr(options, option) != default_of(option) and not any(option in parameters_of(name) for name in likely):
            takers = ", ".join(solver for solver in SOLVERS if option in parameters_of(solver))
            raise UsageError(
                f"--{option.replace('_', '-')} {getattr(options, option)}: solver {' or '.join(likely)} has none; "
                f"give --solver, one of {takers}"
            )

"""The command line. Rank 0 parses and prints; the other ranks are told what to do and import no user interface."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from mpigd import options
from mpigd.comm import Comm
from mpigd.errors import UsageError

COMMANDS: dict[str, type[Any]] = {
    "train": options.Train,
    "predict": options.Predict,
    "evaluate": options.Evaluate,
    "inspect": options.Inspect,
    "convert": options.Convert,
}

# Where the job of each command stands; its module is imported when it is asked for.
# A job is a function (comm, options, observers) -> outcome.
JOBS: dict[type[Any], tuple[str, str]] = {
    options.Train: ("mpigd.train", "run"),
    options.Predict: ("mpigd.predict", "predict"),
    options.Evaluate: ("mpigd.predict", "evaluate"),
    options.Inspect: ("mpigd.inspect", "run"),
    options.Convert: ("mpigd.convert", "run"),
    options.Demo: ("mpigd.demo", "run"),
}

HELP = """Distributed gradient descent for linear models.

mpirun -n 8 python -m mpigd   without a command fits the Boston housing example on 8 ranks.

Exit status: 0 done, 1 internal error, 2 wrong options, 3 bad input, 4 diverged, 5 output can't be written,
130 interrupted.
"""


@dataclass(frozen=True)
class Finished:
    """Parsing has already done all that was asked (help, version)."""


def parse(arguments: list[str]) -> options.Options | Finished:
    """Turn command-line arguments into the options of a command. Prints help if that is what they ask for."""
    from typing import Annotated

    import cyclopts

    from mpigd import __version__

    if not arguments:
        return options.Demo()
    app = cyclopts.App(
        name="mpigd", help=HELP, help_format="plaintext", version=__version__, default_parameter=cyclopts.Parameter(
            negative_iterable=(), show_default=True
        ),
    )
    for name, command in COMMANDS.items():

        def construct(chosen: Any) -> Any:
            return chosen

        construct.__annotations__ = {"chosen": Annotated[command, cyclopts.Parameter(name="*")]}
        construct.__doc__ = command.__doc__
        app.command(construct, name=name)
    try:
        called, bound, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
        chosen = called(*bound.args, **bound.kwargs)
    except cyclopts.CycloptsError as error:
        command_name = arguments[0] if arguments[0] in COMMANDS else ""
        hint = " ".join(["mpigd", command_name, "--help"]).replace("  ", " ")
        raise UsageError(f"{error} (see {hint})") from None
    return chosen if isinstance(chosen, options.Options) else Finished()


def dispatch(comm: Comm, arguments: list[str]) -> int:
    """Parse on rank 0, run the job on all ranks, print its outcome on rank 0."""
    chosen: options.Options | Finished = Finished()
    with comm.agreement():
        if comm.rank == 0:
            chosen = parse(arguments)
    chosen = comm.share(chosen)
    if isinstance(chosen, Finished):
        return 0
    module, function = JOBS[type(chosen)]
    job = getattr(import_module(module), function)
    if comm.rank > 0:
        job(comm, chosen)
        return 0
    from mpigd.console import Console

    console = Console()
    try:
        outcome = job(comm, chosen, [console.progress])
    finally:
        console.end_progress()
    if chosen.json:
        print(json.dumps(outcome.summary() if hasattr(outcome, "summary") else outcome))
    else:
        console.show(outcome)
    return 0

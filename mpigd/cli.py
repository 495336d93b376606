"""The command line. Rank 0 parses and prints; the other ranks are told what to do and import no user interface."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any, NamedTuple

from mpigd import options
from mpigd.comm import Comm
from mpigd.errors import UsageError


class Command(NamedTuple):
    """The options of a command and the job, a function (comm, options, observers) -> outcome, that it names.

    The job's module is imported when it is asked for.
    """

    options: type[Any]
    module: str
    job: str


COMMANDS = {
    "train": Command(options.Train, "mpigd.train", "run"),
    "plan": Command(options.Plan, "mpigd.plan", "run"),
    "predict": Command(options.Predict, "mpigd.predict", "predict"),
    "evaluate": Command(options.Evaluate, "mpigd.predict", "evaluate"),
    "verify": Command(options.Verify, "mpigd.verify", "run"),
    "inspect": Command(options.Inspect, "mpigd.inspect", "run"),
    "generate": Command(options.Generate, "mpigd.generate", "run"),
    "convert": Command(options.Convert, "mpigd.convert.job", "run"),
}
MAIN_JOB = Command(options.Demo, "mpigd.demo", "run")

HELP = """Distributed gradient descent for linear models.

Start it with `mpirun -n 8 python -m mpigd COMMAND …`; without a command it fits the Boston housing example.

Exit status: 0 done, 1 internal error, 2 wrong options, 3 bad input, 4 diverged, 5 output can't be written,
6 bits differ that should be the same, 7 stopped before its end, with a checkpoint, 8 ranks died, 130 interrupted.
"""


@dataclass(frozen=True)
class Finished:
    """Parsing has already done all that was asked (help, version)."""


def parse(arguments: list[str]) -> options.Options | Finished:
    """Turn command-line arguments into the options of a command. Prints help if that is what they ask for."""
    if not arguments:
        return options.Demo()
    from typing import Annotated

    import cyclopts

    from mpigd import __version__
    from mpigd.console import plain

    app = cyclopts.App(
        name="mpigd",
        help=HELP,
        help_format="markdown",  # it joins the lines of an option's text
        version=__version__,
        console=plain(),
        # An option may be given several values at once: --columns age "dose*".
        default_parameter=cyclopts.Parameter(consume_multiple=True, negative_iterable=()),
    )
    for name, command in COMMANDS.items():

        def construct(chosen: Any) -> Any:
            return chosen

        construct.__annotations__ = {"chosen": Annotated[command.options, cyclopts.Parameter(name="*")]}
        construct.__doc__ = command.options.__doc__
        app.command(construct, name=name)
    arguments = with_values(arguments)
    try:
        called, bound, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
        chosen = called(*bound.args, **bound.kwargs)
    except cyclopts.CycloptsError as error:
        command_name = arguments[0] if arguments[0] in COMMANDS else ""
        hint = " ".join(["mpigd", command_name, "--help"]).replace("  ", " ")
        raise UsageError(f"{error} (see {hint})") from None
    return chosen if isinstance(chosen, options.Options) else Finished()


def with_values(arguments: list[str]) -> list[str]:
    """Arguments in which --resume has a value: by itself it means yes."""
    values = ("yes", "no", "auto")
    return [
        f"{argument}=yes" if argument == "--resume" and following not in values else argument
        for argument, following in zip(arguments, [*arguments[1:], ""], strict=True)
    ]


def preload(arguments: list[str], draws: bool) -> None:
    """Import what the command will need. Not a collective.

    Imports are most of the start-up. Every rank sees the arguments, so all do this at once, on all cores,
    before the first of them waits for another.
    """
    command = COMMANDS.get(arguments[0]) if arguments else MAIN_JOB
    if command is None:
        return
    import_module(command.module)
    if draws:
        import_module("mpigd.console")


def dispatch(comm: Comm, arguments: list[str]) -> int:
    """Parse on rank 0, run the job on all ranks, print its outcome on rank 0."""
    chosen: options.Options | Finished = Finished()
    with comm.agreement():
        if comm.rank == 0:
            chosen = parse(arguments)
        preload(arguments, draws=comm.rank == 0)
    chosen = comm.share(chosen)
    if isinstance(chosen, Finished):
        return 0
    command = next(c for c in (MAIN_JOB, *COMMANDS.values()) if c.options is type(chosen))
    job = getattr(import_module(command.module), command.job)
    terminal = Terminal(comm)
    try:
        outcome = job(comm, chosen, [terminal.progress])
    finally:
        terminal.end_progress()
    if comm.rank == 0:
        if chosen.json:
            print(json.dumps(outcome.summary() if hasattr(outcome, "summary") else outcome))
        else:
            terminal.console.show(outcome)
    return exit_status(outcome)


class Terminal:
    """What a person sees: drawn by the rank that is 0 now, which is another one after its death."""

    def __init__(self, comm: Comm) -> None:
        self._comm = comm

    @cached_property
    def console(self) -> Any:
        """The one of this rank, made when it is wanted: other ranks import no user interface."""
        return import_module("mpigd.console").Console()

    def progress(self, record: Any, fraction: float) -> None:
        """Draw how far a job is."""
        if self._comm.rank == 0:
            self.console.progress(record, fraction)

    def end_progress(self) -> None:
        """Go on below it."""
        if "console" in vars(self):
            self.console.end_progress()


def exit_status(outcome: Any) -> int:
    """0, unless an outcome has another: a job that did what was asked, and the answer is no."""
    return getattr(outcome, "exit_status", 0)

"""The command line. Rank 0 parses and prints; the other ranks are told what to do and import no user interface."""

from __future__ import annotations

import json
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from mpigd_kernels import prebuilt

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
    reports: bool = False  # whether it has a run directory, and the option --report


COMMANDS = {
    "train": Command(options.Train, "mpigd.train", "run", reports=True),
    "tune": Command(options.Tune, "mpigd.tune", "run", reports=True),
    "plan": Command(options.Plan, "mpigd.plan", "run"),
    "predict": Command(options.Predict, "mpigd.predict", "predict"),
    "evaluate": Command(options.Evaluate, "mpigd.predict", "evaluate"),
    "report": Command(options.Report, "mpigd.report.job", "run"),
    "verify": Command(options.Verify, "mpigd.verify", "run"),
    "explain": Command(options.Explain, "mpigd.explain", "run"),
    "export": Command(options.Export, "mpigd.exchange.job", "export_model"),
    "import": Command(options.Import, "mpigd.exchange.job", "import_model"),
    "inspect": Command(options.Inspect, "mpigd.inspect", "run"),
    "generate": Command(options.Generate, "mpigd.generate", "run"),
    "convert": Command(options.Convert, "mpigd.convert.job", "run"),
}
MAIN_JOB = Command(options.Demo, "mpigd.demo", "run")


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
    chosen: options.Options | None = None
    with comm.agreement():
        if comm.rank == 0:
            # A user interface, which the other ranks do not import.
            parse = import_module("mpigd.arguments").parse
            chosen = parse(arguments, {name: command.options for name, command in COMMANDS.items()})
        preload(arguments, draws=comm.rank == 0)
    chosen = comm.share(chosen)
    if chosen is None:
        return 0
    command = next(c for c in (MAIN_JOB, *COMMANDS.values()) if c.options is type(chosen))
    with comm.agreement():
        choose_kernels(getattr(chosen, "kernels", None))
    reports = command.reports and isinstance(chosen, options.Train) and chosen.report
    if reports:
        with comm.agreement():
            if comm.rank == 0:
                import_module("mpigd.report.page")  # says what it lacks before there is anything to report on
    job = getattr(import_module(command.module), command.job)
    terminal = Terminal(comm, chosen.verbose)
    try:
        outcome = job(comm, chosen, [] if chosen.quiet else [terminal.progress])
    finally:
        terminal.end_progress()
    if reports:
        with comm.agreement():
            if comm.rank == 0:
                import_module("mpigd.report.page").write(Path(outcome.run_dir))
    if comm.rank == 0:
        if chosen.json:
            print(json.dumps(outcome.summary() if hasattr(outcome, "summary") else outcome))
        else:
            terminal.console.show(outcome)
    return exit_status(outcome)


def choose_kernels(asked: str | None) -> None:
    """Have kernels come from where --kernels, or the environment, says. UsageError where there are none."""
    try:
        prebuilt.choose(asked)
    except prebuilt.UnusableLibraryError as error:
        raise UsageError(f"--kernels: {error}") from None


class Terminal:
    """What a person sees: drawn by the rank that is 0 now, which is another one after its death."""

    def __init__(self, comm: Comm, verbose: bool) -> None:
        self._comm, self._verbose = comm, verbose

    @cached_property
    def console(self) -> Any:
        """The one of this rank, made when it is wanted: other ranks import no user interface."""
        return import_module("mpigd.console").Console(self._verbose)

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

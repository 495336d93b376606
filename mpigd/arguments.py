"""From command-line arguments, files of options and the environment to the options of a command. Of rank 0 alone."""

from __future__ import annotations

import inspect
import re
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, NoReturn, get_type_hints

import cyclopts
import tomli_w
from cyclopts.config import Env, Toml
from docstring_parser import parse_from_object

from mpigd import __version__, options
from mpigd.console import plain
from mpigd.errors import UsageError

HELP = """Distributed gradient descent for linear models.

Start it with `mpirun -n 8 python -m mpigd COMMAND …`; without a command it fits the Boston housing example.
`mpigd COMMAND --help` shows what a command takes, `--help-all` with all that there is to say.
"""
EPILOGUE = """Options may stand in a file, too (`--config FILE`), or in the environment (`MPIGD_TRAIN_L2=0.1`); what
stands nearer counts: the command line, then the file, then the environment. `--print-config` prints such a file.
`mpigd --completion bash` (zsh, fish) prints a script that lets the shell complete commands and options.

Exit status: 0 done, 1 internal error, 2 wrong options, 3 bad input, 4 diverged, 5 output can't be written,
6 bits differ that should be the same, 7 stopped before its end, with a checkpoint, 8 ranks died, 130 interrupted.
"""
EXAMPLES = {
    "train": (
        "train houses.h5 --l2 0.01",
        "train clicks.h5 --loss logistic --test-share 0.2 --run-dir runs/clicks",
        "train 'part-*.h5' --loss poisson --memory 2GiB --time-limit 2h",
    ),
    "tune": (
        "tune clicks.h5 --loss logistic --over l2=1e-6..1/13 --fold-kind stratified --rule one-se",
        "tune clicks.h5 --loss logistic --solver sgd --search halving --over learning_rate=1e-3..1 batch_size=64,256",
    ),
    "plan": ("plan clicks.h5 --loss logistic --ranks 256 --slurm job.sbatch",),
    "predict": ("predict runs/clicks new.h5 --output predictions.h5",),
    "evaluate": ("evaluate runs/clicks clicks.h5 --on test",),
    "report": ("report runs/clicks", "report runs/clicks --data clicks.h5 --on train"),
    "verify": ("verify runs/clicks clicks.h5 --refit",),
    "explain": ("explain runs/clicks clicks.h5 --permutation 5",),
    "export": ("export runs/clicks clicks.onnx", "export runs/clicks clicks.json"),
    "import": ("import clicks.json clicks.h5",),
    "inspect": ("inspect clicks.h5 --columns 'age,dose*'", "inspect runs/clicks"),
    "generate": ("generate made.h5 --rows 1000000 --columns 30 --loss logistic",),
    "convert": ("convert clicks.csv clicks.h5 --target clicked",),
}
ENVIRONMENT = "MPIGD_"
SHELLS = ("bash", "zsh", "fish")


class _Aside(ArgumentParser):
    """Options of the command line itself, which no command has."""

    def __init__(self) -> None:
        super().__init__(add_help=False, allow_abbrev=False)
        self.add_argument("--config", type=Path)
        self.add_argument("--print-config", action="store_true")
        self.add_argument("--help-all", action="store_true")
        self.add_argument("--completion", choices=SHELLS)

    def error(self, message: str) -> NoReturn:
        raise UsageError(message.replace("argument ", ""))


def parse(arguments: list[str], commands: Mapping[str, type[options.Group]]) -> options.Options | None:
    """The options of a command; None where all that was asked for is printed. UsageError for what makes no sense."""
    if not arguments:
        return options.Demo()
    aside, rest = _Aside().parse_known_args(arguments)
    app = _app(commands, aside)
    if aside.completion:
        print(app.generate_completion(shell=aside.completion))
        return None
    given = with_values([*rest, "--help"] if aside.help_all else rest)
    try:
        called, bound, _ = app.parse_args(given, exit_on_error=False, print_error=False)
    except cyclopts.CycloptsError as error:
        command_name = given[0] if given and given[0] in commands else ""
        hint = " ".join(["mpigd", command_name, "--help"]).replace("  ", " ")
        raise UsageError(f"{error} (see {hint})") from None
    chosen = called(*bound.args, **bound.kwargs)
    if not isinstance(chosen, options.Group):
        return None
    if aside.print_config:
        name = next(name for name, kind in commands.items() if type(chosen) is kind)
        sys.stdout.write(tomli_w.dumps({name: chosen.to_dict()}))
        return None
    return chosen  # type: ignore[return-value]


def _app(commands: Mapping[str, type[options.Group]], aside: Any) -> cyclopts.App:
    """What cyclopts makes of the commands."""
    sources: list[Any] = [Env(ENVIRONMENT, show=False)]
    if aside.config is not None:
        file = Toml(aside.config, must_exist=True)
        try:
            _ = file.config  # read now, so that an error is known to be the file's
        except FileNotFoundError:
            raise UsageError(f"--config {aside.config}: no such file") from None
        except (cyclopts.CycloptsError, OSError) as error:
            raise UsageError(f"--config {aside.config}: {error}") from None
        sources.insert(0, file)
    app = cyclopts.App(
        name="mpigd",
        help=HELP,
        help_epilogue=EPILOGUE,
        help_format="markdown",  # it joins the lines of an option's text
        version=__version__,
        console=plain(),
        config=sources,
        # An option may be given several values at once: --columns age "dose*".
        default_parameter=cyclopts.Parameter(consume_multiple=True, negative_iterable=()),
    )
    for name, kind in commands.items():
        lines = "".join(f"- `mpigd {example}`\n" for example in EXAMPLES.get(name, ()))
        app.command(
            function_of(kind, aside.help_all), name=name, help_epilogue=f"Examples:\n\n{lines}" if lines else ""
        )
    return app


def function_of(kind: type[options.Group], whole: bool) -> Callable[..., options.Group]:
    """A function of the options of a command, which makes them, as cyclopts looks at it.

    whole : whether the help is to say all, or the first sentence of each option.
    """

    def make(*values: Any, **named: Any) -> options.Group:
        return kind(*values, **named)

    hints, texts, homes = get_type_hints(kind), {}, {}
    for each in reversed(kind.__mro__[:-1]):
        texts.update({text.arg_name: text.description or "" for text in parse_from_object(each).params})
        homes.update(dict.fromkeys(vars(each).get("__annotations__", ()), each))
    titles = {home: "Options" if home is kind else (home.__doc__ or "").rstrip(".") for home in homes.values()}
    groups = {home: cyclopts.Group.create_ordered(title) for home, title in titles.items()}
    parameters = []
    for field in fields(kind):
        if not field.init:
            continue
        way = inspect.Parameter.KEYWORD_ONLY if field.kw_only else inspect.Parameter.POSITIONAL_OR_KEYWORD
        text = texts[field.name] if whole else first_sentence(texts[field.name])
        said = cyclopts.Parameter(help=text, group=groups[homes[field.name]] if field.kw_only else None)
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        parameters.append(
            inspect.Parameter(field.name, way, default=default, annotation=Annotated[hints[field.name], said])
        )
    parameters.sort(key=lambda parameter: parameter.kind)
    make.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    make.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    make.__doc__ = kind.__doc__
    return make


def first_sentence(text: str) -> str:
    """The first sentence of a text.

    >>> first_sentence("Of y, as in 1. 5; more is slower. It is read once.")
    'Of y, as in 1. 5; more is slower.'
    """
    found = re.match(r".*?\.(?=\s+[A-Z]|$)", text, re.DOTALL)
    return found[0] if found else text


def with_values(arguments: list[str]) -> list[str]:
    """Arguments in which --resume has a value: by itself it means yes."""
    values = ("yes", "no", "auto")
    return [
        f"{argument}=yes" if argument == "--resume" and following not in values else argument
        for argument, following in zip(arguments, [*arguments[1:], ""], strict=True)
    ]

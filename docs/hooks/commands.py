"""Pages of the commands and their options, made of the definitions that the command line itself is made of."""

from __future__ import annotations

import html
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from mkdocs.structure.files import File, Files

from mpigd import arguments
from mpigd.cli import COMMANDS

KINDS = {float: "number", int: "whole number", str: "text", Path: "path"}


def on_config(config: Any) -> Any:
    """Put a page for each command into the navigation."""
    reference = next(part["Reference"] for part in config.nav if "Reference" in part)
    entry = next(part for part in reference if "Commands" in part)
    entry["Commands"] = [{"all": entry["Commands"]}, *({name: address(name)} for name in COMMANDS)]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add these pages, and one with all of them."""
    files.append(File.generated(config, address("index"), content="\n".join(overview())))
    for name, command in COMMANDS.items():
        files.append(File.generated(config, address(name), content="\n".join(page(name, command.options))))
    return files


def address(name: str) -> str:
    """Where the page of a command is."""
    return f"reference/commands/{name}.md"


def overview() -> Iterator[str]:
    """Lines of the page of all commands."""
    yield f"# Commands\n\n{arguments.HELP}\n\n| command | |\n| --- | --- |"
    yield from (f"| [{name}]({name}.md) | {plain(command.options.__doc__)} |" for name, command in COMMANDS.items())
    yield f"\n{arguments.EPILOGUE}"


def page(name: str, kind: Any) -> Iterator[str]:
    """Lines of the page of a command."""
    parameters = inspect.signature(arguments.function_of(kind, whole=True)).parameters.values()
    positional = [p for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    yield f"# mpigd {name}\n\n{plain(kind.__doc__)}\n"
    usage = " ".join(p.name.upper().replace("_", "-") + " …" * is_several(hint(p)) for p in positional)
    yield f"```text\nmpigd {name} {usage} [OPTIONS]\n```\n"
    yield from (f"`{p.name.upper().replace('_', '-')}`\n:   {plain(said(p).help)}\n" for p in positional)
    if examples := arguments.EXAMPLES.get(name):
        lines = "\n".join(f"mpigd {example}" for example in examples)
        yield f"## Examples\n\n```bash\n{lines}\n```\n"
    named = [p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    for title in dict.fromkeys(title_of(p) for p in named):
        yield f"## {title}\n"
        yield from (option(p) for p in named if title_of(p) == title)


def option(parameter: inspect.Parameter) -> str:
    """An option as an entry of a definition list."""
    wanted, default = hint(parameter), parameter.default
    flag = "--" + parameter.name.replace("_", "-")
    if wanted is bool:
        other = ", which is the default; `--no-" + flag[2:] + "`" if default else ""
        return f"`{flag}`{other}\n:   {plain(said(parameter).help)}\n"
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
    given = "" if default in (None, ()) else f", by default `{shown}`"
    return f"`{flag}` *{described(wanted)}*{given}\n:   {plain(said(parameter).help)}\n"


def described(wanted: Any) -> str:
    """What values a type has, in words."""
    if get_origin(wanted) is Literal:
        return ", ".join(map(str, get_args(wanted)))
    if get_origin(wanted) is tuple:
        inner = get_args(wanted)
        several = "one or more of: " if inner[-1] is Ellipsis else f"{len(inner)} times: "
        return several + described(inner[0])
    if parts := [part for part in get_args(wanted) if part is not type(None)]:
        return " or ".join(map(described, parts))
    return KINDS[wanted]


def is_several(wanted: Any) -> bool:
    """Whether an argument may be given several times."""
    return get_origin(wanted) is tuple


def hint(parameter: inspect.Parameter) -> Any:
    """The type of an option."""
    return get_args(parameter.annotation)[0]


def said(parameter: inspect.Parameter) -> Any:
    """What the command line says of an option."""
    return get_args(parameter.annotation)[1]


def title_of(parameter: inspect.Parameter) -> str:
    """The group that an option stands in."""
    title: str = said(parameter).group[0].name
    return title


def plain(text: str) -> str:
    """Text in which nothing is markup."""
    return html.escape(text, quote=False).replace("*", "\\*").replace("_", "\\_").replace("\n", "\n    ")

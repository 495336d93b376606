"""What a run directory holds, read for a report. Whatever is not there, or not yet, is left out."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpigd.errors import DataError
from mpigd.model import Model
from mpigd.modelfile import MODEL
from mpigd.rundir import CONFIG, CURVES, EVENTS, HISTORY, TIMES, TUNING, RunDirectory

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Run:
    """A run as plain values.

    config, environment : of config.toml.  records : lines of history.jsonl.  events : lines of events.jsonl.
    curves : as `mpigd.curves` makes them, and "on", what the rows are.  times : seconds by phase, of each rank.
    tuning : what `tune` tells of candidates.
    """

    path: Path
    status: str
    config: dict[str, Any]
    environment: dict[str, Any]
    records: list[dict[str, Any]]
    events: list[dict[str, Any]]
    model: Model | None
    curves: dict[str, Any]
    times: dict[str, Any]
    tuning: dict[str, Any]

    @property
    def result(self) -> dict[str, Any]:
        """The numbers of the fit; none before it has ended."""
        return self.model.result if self.model else {}


def read_run(path: Path) -> Run:
    """Read a run directory. DataError where it is none, or damaged."""
    if not any((path / name).is_file() for name in (CONFIG, TUNING)):
        raise DataError(f"{path}: not the directory of a run (it has no {CONFIG})")
    try:
        told = tomllib.loads(_text(path / CONFIG))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{path / CONFIG}: damaged: {error}") from None
    model = path / MODEL
    return Run(
        path=path,
        status=RunDirectory(path).status,
        config=told.get("train", {}),
        environment=told.get("environment", {}),
        records=_lines(path / HISTORY),
        events=_lines(path / EVENTS),
        model=Model.load(model) if model.is_file() else None,
        curves=_object(path / CURVES),
        times=_object(path / TIMES),
        tuning=_object(path / TUNING),
    )


def _lines(path: Path) -> list[dict[str, Any]]:
    """Objects of a file of one a line; the last line may have been cut short when a run was killed."""
    lines = _text(path).splitlines()
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(json.loads(line))
        except ValueError:
            if number < len(lines):
                raise DataError(f"{path}: line {number} is damaged") from None
    return found


def _object(path: Path) -> dict[str, Any]:
    text = _text(path)
    try:
        found: dict[str, Any] = json.loads(text) if text else {}
    except ValueError as error:
        raise DataError(f"{path}: damaged: {error}") from None
    return found


def _text(path: Path) -> str:
    """What is in a file; nothing where there is none."""
    try:
        return path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: can't be read: {error}") from None

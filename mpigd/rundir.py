"""The directory of a run. Used by rank 0 alone."""

from __future__ import annotations

import json
import platform
import sys
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

from mpigd import __version__
from mpigd.files import check_writable, reported, written_whole
from mpigd.history import Record
from mpigd.model import Model

MODEL, HISTORY, CONFIG = "model.h5", "history.jsonl", "config.toml"


class RunDirectory:
    """Holds config.toml (options, versions, command), history.jsonl and, once the fit has ended, model.h5."""

    def __init__(self, path: Path | None, job: str) -> None:
        self.path = path or Path("runs") / f"{job}-{time.strftime('%Y%m%d-%H%M%S')}"
        self._history: TextIO | None = None

    def check(self) -> None:
        """Raise OutputError unless the directory can be made. Creates nothing."""
        check_writable(self.path / MODEL)

    def create(self, config: dict[str, Any], ranks: int) -> None:
        """Make the directory with its config.toml; files of an earlier run in it are removed."""
        import tomli_w

        environment = {
            "mpigd": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "numba", "h5py", "mpi4py")},
            "ranks": ranks,
            "host": platform.node(),
            "command": " ".join(["mpigd", *sys.argv[1:]]),
        }
        with reported(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            for name in (MODEL, HISTORY):
                (self.path / name).unlink(missing_ok=True)
            with written_whole(self.path / CONFIG) as temporary:
                temporary.write_text(tomli_w.dumps({"train": config, "environment": environment}), encoding="utf-8")
            self._history = (self.path / HISTORY).open("w", encoding="utf-8")

    def record(self, record: Record, fraction: float) -> None:
        """Append a line to history.jsonl: an observer of a fit."""
        if self._history is not None:
            with reported(self.path / HISTORY):
                self._history.write(json.dumps(asdict(record)) + "\n")

    def close(self) -> None:
        """Complete history.jsonl."""
        if self._history is not None:
            with reported(self.path / HISTORY):
                self._history.close()
            self._history = None

    def save(self, model: Model) -> Path:
        """Write model.h5; its presence says that the run has ended well."""
        model.save(self.path / MODEL)
        return self.path / MODEL


def model_path(path: Path) -> Path:
    """The model file that a user means by a file or a run directory."""
    return path / MODEL if path.is_dir() else path

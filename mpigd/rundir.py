"""The directory of a run. Used by one rank alone: 0, or after its death the one that then has that number."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

from mpigd import __version__, checkpoint
from mpigd.errors import OutputError, complain
from mpigd.files import check_writable, reported, written_whole
from mpigd.history import Record
from mpigd.model import Model
from mpigd.modelfile import MODEL

HISTORY, CONFIG, EVENTS, STATUS = "history.jsonl", "config.toml", "events.jsonl", "STATUS"
TIMES, CURVES, REPORT, TUNING = "times.json", "curves.json", "report.html", "tuning.json"
RUNNING, DONE, STOPPED, FAILED = "running", "done", "stopped", "failed"


class RunDirectory:
    """Holds config.toml (options, versions, command), STATUS, history.jsonl, events.jsonl, checkpoints/ and model.h5.

    Beside them times.json has the seconds of each rank, and curves.json and report.html are there if asked for.

    STATUS is one word: running, done, stopped (before its end, with a checkpoint), or failed. A run that was killed
    leaves running: it has ended well only where it says done.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._history: TextIO | None = None
        self._written = 0  # records in the history; what could not be written is tried again at the end

    @staticmethod
    def usual(job: str) -> Path:
        """A new one below runs/."""
        return Path("runs") / f"{job}-{time.strftime('%Y%m%d-%H%M%S')}"

    @property
    def status(self) -> str:
        """What STATUS says; empty where there is none."""
        try:
            return (self.path / STATUS).read_text(encoding="ascii").strip()
        except OSError:
            return ""

    def check(self) -> None:
        """Raise OutputError unless the directory can be made. Creates nothing."""
        check_writable(self.path / MODEL)

    def create(self, config: dict[str, Any], ranks: int) -> None:
        """Make the directory with its config.toml; files of an earlier run in it are removed."""
        with reported(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            for name in (MODEL, HISTORY, EVENTS, TIMES, CURVES, REPORT, TUNING):
                (self.path / name).unlink(missing_ok=True)
            checkpoint.thin_out(self.path, 0)
        self.begin(config, ranks)

    def begin(self, config: dict[str, Any], ranks: int, records: Sequence[Record] = ()) -> None:
        """Write config.toml, begin the history with the records of an earlier run, and say that this one is running."""
        import tomli_w

        environment = {
            "mpigd": __version__,
            "python": platform.python_version(),
            **versions(("numpy", "numba", "h5py", "mpi4py")),
            "ranks": ranks,
            "host": platform.node(),
            "command": " ".join(["mpigd", *sys.argv[1:]]),
        }
        with reported(self.path), written_whole(self.path / CONFIG) as temporary:
            temporary.write_text(tomli_w.dumps({"train": config, "environment": environment}), encoding="utf-8")
        self.set_status(RUNNING)
        with reported(self.path / HISTORY):
            self.write_history(records)

    def set_status(self, word: str) -> None:
        """Have STATUS say this."""
        with reported(self.path), written_whole(self.path / STATUS) as temporary:
            temporary.write_text(word + "\n", encoding="ascii")

    def write_history(self, records: Sequence[Record]) -> None:
        """Begin history.jsonl anew with these records."""
        self._close()
        self._history, self._written = (self.path / HISTORY).open("w", encoding="utf-8"), 0
        for record in records:
            self._append(record)

    def record(self, record: Record, fraction: float) -> None:
        """Append a line to history.jsonl: an observer of a fit. A full disk does not end the fit."""
        try:
            self._append(record)
        except OSError as error:
            self._history = None
            complain(f"{self.path / HISTORY}: can't be written: {error.strerror}; the fit goes on without it")

    def _append(self, record: Record) -> None:
        if self._history is not None:
            known = {key: value for key, value in asdict(record).items() if value is not None}
            self._history.write(json.dumps(known) + "\n")
            self._history.flush()
            self._written += 1

    def event(self, what: str, **values: Any) -> None:
        """Append to events.jsonl what happened to the job: ranks lost, a stop, a slow rank. Never fails."""
        line = json.dumps({"event": what, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **values})
        try:
            with (self.path / EVENTS).open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            complain(f"{self.path / EVENTS}: can't be written: {error.strerror}; it would say: {line}")

    def write(self, name: str, values: dict[str, Any]) -> None:
        """Write plain values to a file of JSON."""
        with reported(self.path / name), written_whole(self.path / name) as temporary:
            temporary.write_text(json.dumps(values, allow_nan=False) + "\n", encoding="utf-8")

    def close(self, records: Sequence[Record]) -> None:
        """Complete history.jsonl; raises OutputError where it can't be."""
        with reported(self.path / HISTORY):
            if self._written < len(records):
                self.write_history(records)
            self._close()

    def _close(self) -> None:
        if self._history is not None:
            self._history.close()
            self._history = None

    def save(self, model: Model) -> Path:
        """Write model.h5, and that the run is done; checkpoints are of no more use.

        Where the model can't be written there, it is kept in the directory for temporary files, and the error says so.
        """
        path = self.path / MODEL
        try:
            model.save(path)
        except OutputError as error:
            kept = elsewhere(path)
            try:
                model.save(kept)
            except OutputError:
                raise error from None
            raise OutputError(f"{error}. The model is complete: it is in {kept}") from None
        self.set_status(DONE)
        checkpoint.thin_out(self.path, 0)
        return path


def elsewhere(path: Path) -> Path:
    """Where a file is kept that can't be written to its place."""
    import tempfile

    return Path(tempfile.gettempdir()) / f"mpigd-{path.absolute().parent.name}-{time.strftime('%H%M%S')}-{path.name}"


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Of those that are installed: where kernels are prebuilt, Numba need not be."""
    found = {}
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found

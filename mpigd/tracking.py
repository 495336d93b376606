"""A fit as TensorBoard and MLflow show it, through their own libraries. Rank 0 alone writes.

What they need may be far away and slow, or not there any more: whatever fails is said once, and the fit goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from mpigd.comm import Comm
from mpigd.errors import UsageError, complain
from mpigd.history import Record

NEEDS = {"tensorboard": "tensorboardX", "mlflow": "mlflow"}  # what is imported for each
FOLDER = "tensorboard"  # in the run directory


class Tracker(Protocol):
    """Where a fit is logged."""

    def record(self, record: Record) -> None:
        """What is known at a step."""

    def end(self, status: str, result: dict[str, Any]) -> None:
        """How it ended; result : plain values, those of the fit."""


def check(names: Sequence[str]) -> None:
    """Raise UsageError where a library is missing."""
    for name in names:
        try:
            import_module(NEEDS[name])
        except ImportError:
            raise UsageError(f"--log {name}: needs the package {NEEDS[name]}: pip install 'mpigd[log]'") from None


class TensorBoard:
    """Event files in the run directory, for `tensorboard --logdir`; the horizontal axis counts steps."""

    def __init__(self, path: Path, options: dict[str, Any]) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(path / FOLDER))
        self._writer.add_text("options", "\n".join(f"    {key} = {value}" for key, value in options.items()))

    def record(self, record: Record) -> None:
        """See `Tracker`."""
        for name, value in _numbers(record).items():
            self._writer.add_scalar(name, value, record.step)

    def end(self, status: str, result: dict[str, Any]) -> None:
        """See `Tracker`."""
        for name, value in _scores(result).items():
            self._writer.add_scalar(name, value, result.get("steps", 0))
        self._writer.close()


class MLflow:
    """A run where MLFLOW_TRACKING_URI says, with the options as parameters and the files of the run directory."""

    def __init__(self, path: Path, options: dict[str, Any]) -> None:
        import mlflow

        self._path = path
        mlflow.start_run(run_name=path.name)
        mlflow.log_params(options)

    def record(self, record: Record) -> None:
        """See `Tracker`."""
        import mlflow

        # Sent in the background: no rank waits for a server.
        mlflow.log_metrics(_numbers(record), step=record.step, synchronous=False)

    def end(self, status: str, result: dict[str, Any]) -> None:
        """See `Tracker`."""
        import mlflow

        mlflow.log_metrics(_scores(result), step=result.get("steps", 0))
        if status == "FINISHED":
            mlflow.log_artifacts(str(self._path))
        mlflow.end_run(status)


TRACKERS: dict[str, Callable[[Path, dict[str, Any]], Tracker]] = {"tensorboard": TensorBoard, "mlflow": MLflow}


class Tracking:
    """All that a fit is logged to: an observer of it. Made on every rank, so that any can be rank 0."""

    def __init__(self, comm: Comm, names: Sequence[str], path: Path, options: dict[str, Any]) -> None:
        self._comm, self._path, self._options = comm, path, options
        self._left = list(names)  # those that have not failed
        self._trackers: dict[str, Tracker] = {}

    def record(self, record: Record, fraction: float) -> None:
        """What is known at a step."""
        self._each(lambda tracker: tracker.record(record))

    def end(self, status: str, result: dict[str, Any]) -> None:
        """How the fit ended: FINISHED, FAILED or KILLED, and its values."""
        self._each(lambda tracker: tracker.end(status, result))

    def _each(self, action: Callable[[Tracker], None]) -> None:
        if self._comm.rank > 0:
            return
        for name in list(self._left):
            try:
                if name not in self._trackers:
                    self._trackers[name] = TRACKERS[name](self._path, self._options)
                action(self._trackers[name])
            except Exception as error:  # whatever a server, a disk or their library may come up with
                self._left.remove(name)
                complain(f"--log {name}: {error}; the fit goes on without it")


def _numbers(record: Record) -> dict[str, float]:
    return {name: float(value) for name, value in asdict(record).items() if value is not None and name != "step"}


def _scores(result: dict[str, Any]) -> dict[str, float]:
    """Metrics on rows that were held out, as in test/accuracy."""
    return {
        f"{rows}/{name}": value
        for rows, scores in result.get("scores", {}).items()
        for name, value in scores.items()
        if isinstance(value, float)
    }

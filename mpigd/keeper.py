"""What is kept of a fit while it runs: its run directory and its checkpoints. Rank 0 writes, and holds nobody up."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from mpigd import checkpoint
from mpigd.comm import Comm, Member
from mpigd.errors import DataError, DoneError, LostError, MpigdError, OutputError, StoppedError, UsageError, complain
from mpigd.history import Record
from mpigd.launch import end_of_job, note
from mpigd.model import Model
from mpigd.options import Train, parse_seconds
from mpigd.rundir import DONE, FAILED, STOPPED, RunDirectory

ENDS = "note: where a rank dies this MPI ends the job; Open MPI 5 goes on if it is started with mpirun --with-ft ulfm"
SHARE = 0.01  # of the time that writing checkpoints may take
SELDOM = 30.0  # seconds between them, at least, unless they are asked for more often
MARGIN, MARGIN_SHARE = 5.0, 0.1  # seconds before a time limit, at most that share of it, beside two steps and copies
# Directories, and folders in them, of what has begun and not ended: there it goes on if a death has it begin again.
_begun: set[tuple[Path, str]] = set()


class Point(Protocol):
    """Where a fit is, or a search: what it needs to go on. It does not change; what goes on is at another point.

    count : moves so far.  step : what numbers its checkpoints.  ended : whether there is nothing to go on to.
    """

    @property
    def count(self) -> int: ...  # noqa: D102

    @property
    def step(self) -> int: ...  # noqa: D102

    @property
    def ended(self) -> bool: ...  # noqa: D102


class Kept(NamedTuple):
    """What a checkpoint holds."""

    at: Any
    records: tuple[Record, ...]
    fingerprint: str
    identity: str


class Fit(Protocol):
    """What is kept of a fit, or a search, that runs."""

    fingerprint: str
    records: list[Record]

    @property
    def at(self) -> Point | None: ...  # noqa: D102


class Keeper:
    """Keeps a fit in a run directory. The same on all ranks, so that any can go on with it when rank 0 dies.

    folder : of the directory, for checkpoints.
    resumed : what an earlier run has kept.
    """

    def __init__(self, comm: Comm, options: Train, path: Path, folder: str = checkpoint.FIT) -> None:
        self._comm, self._options, self.path, self._folder = comm, options, path, folder
        self._begin = time.time()
        self._directory: RunDirectory | None = None
        self.resumed: Kept | None = None
        self._created = False
        self._end: float | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._writing: Future[Path | None] | None = None
        self._saved = -1, 0, 0.0  # moves and steps of the last checkpoint, and when that was
        self._cost, self._longest, self._last = 0.0, 0.0, 0.0  # seconds of a checkpoint, of a move; when the last was

    @property
    def goes_on(self) -> bool:
        """Whether the others do when ranks die."""
        return self._comm.survives and self._options.on_failure == "continue"

    def look(self) -> None:
        """Look for what an earlier run has kept, if the fit is to go on from it, before rows are read. A collective."""
        comm, options = self._comm, self._options
        with comm.agreement():
            if comm.rank == 0:
                RunDirectory(self.path).check()
                self.resumed = self._find() if options.resume != "no" or (self.path, self._folder) in _begun else None
                self._end = None if options.time_limit == "none" else end_of_job()
                if options.time_limit not in (None, "none"):
                    self._end = self._begin + parse_seconds(options.time_limit)
        self.resumed, self._end = comm.share((self.resumed, self._end))

    def _find(self) -> Kept | None:
        if RunDirectory(self.path).status == DONE:
            wrong = DoneError if self._options.resume == "auto" else UsageError
            raise wrong(f"{self.path}: --resume: this run is done, its model is there")
        found = checkpoint.newest(self.path, self._folder)
        if found is None:
            if self._options.resume == "yes":
                raise DataError(
                    f"{self.path}: --resume: there is no checkpoint; begin without it, or use --resume auto"
                )
            return None
        path, values, problems = found
        for problem in problems:
            complain(f"{problem}; going on from {path.name} instead")
        kept = Kept(**values)
        then, now = json.loads(kept.identity), json.loads(self._identity)
        differ = sorted(key for key in then.keys() | now.keys() if then.get(key) != now.get(key))
        if differ:
            was = ", ".join(f"--{key.replace('_', '-')} was {then.get(key, 'not given')}" for key in differ)
            raise UsageError(f"{path}: --resume: the fit had other options: {was}; give the same, or begin anew")
        return kept

    @property
    def _identity(self) -> str:
        return json.dumps(self._options.identity, sort_keys=True)

    def create(self, records: Sequence[Record]) -> None:
        """Make the run directory, if that was not done before; what an earlier run left there goes. A collective."""
        if self._created:
            return
        with self._comm.agreement():
            if self._comm.rank == 0:
                self._directory = RunDirectory(self.path)
                config, ranks = self._options.to_dict(), self._comm.size
                if self.resumed:
                    self._directory.begin(config, ranks, records)
                    self._directory.event("resumed", step=self.resumed.at.step, ranks=ranks)
                else:
                    self._directory.create(config, ranks)
                    checkpoint.thin_out(self.path, 0, self._folder)
                note("directory", self.path)
                ends = not self._comm.survives and self._options.on_failure == "continue"
                if self._folder == checkpoint.FIT and ranks > 1 and ends and not self._options.quiet:
                    complain(ENDS)
        _begun.add((self.path, self._folder))
        self._created, self._last = True, time.monotonic()

    def adopt(self, fit: Fit, lost: Sequence[Member]) -> None:
        """Note that ranks are lost; where rank 0 was among them, this rank may have that number now."""
        if self._comm.rank > 0:
            return
        names, left = ", ".join(map(str, lost)), self._comm.size
        complain(f"{names} died; {left} rank(s) are left")
        if self._created:
            if self._directory is None:
                self._directory = RunDirectory(self.path)
                self._guarded(lambda directory: directory.write_history(fit.records))
            step = fit.at.step if fit.at else 0
            self._directory.event("ranks lost", ranks=[str(member) for member in lost], left=left, step=step)

    def record(self, record: Record, fraction: float) -> None:
        """Add to the history: an observer of a fit."""
        if self._directory:
            self._directory.record(record, fraction)

    def event(self, what: str, **values: object) -> None:
        """Note what happened to the job."""
        if self._directory:
            self._directory.event(what, **values)

    def offer(self, fit: Fit) -> None:
        """Begin to write a checkpoint if it is time for one. Not a collective."""
        now = time.monotonic()
        if self._last:
            self._longest = max(self._longest, now - self._last)
        self._last = now
        if self._directory is None or (at := fit.at) is None or at.ended:
            return
        _, steps, when = self._saved
        every, often = self._options.checkpoint_steps, self._options.checkpoint_seconds
        if often is None:
            often = max(SELDOM, self._cost / SHARE)
        due = every is not None and at.step >= steps + every
        if not when:
            self._saved = -1, steps, now  # seconds count from the first move on
        elif often and now - when >= often:
            due = True
        if due and (self._writing is None or self._writing.done()):
            self.save_now(fit)

    def save_now(self, fit: Fit) -> None:
        """Begin to write a checkpoint of where a fit is. Any thread of rank 0 may call it."""
        if self._directory is None or fit.at is None:
            return
        begin, count = time.monotonic(), -1
        while (at := fit.at) is not None and at.count != count:  # while arrays are copied, the fit may have gone on
            count = at.count
            kept = Kept(copy.deepcopy(at), tuple(fit.records), fit.fingerprint, self._identity)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, "mpigd-checkpoint")
        self._writing = self._pool.submit(self._write, kept, time.monotonic() - begin)

    def save(self, fit: Fit) -> Path | None:
        """Write a checkpoint of where a fit is and wait for it; the file, None where that could not be."""
        path = self._writing.result() if self._writing else None
        if (at := fit.at) is not None and self._saved[0] != at.count:
            self.save_now(fit)
            path = self._writing.result() if self._writing else None
        return path

    def saved(self, fit: Fit, message: str) -> str:
        """Write a checkpoint, if anything is to be kept; on rank 0 the message, with where to go on. A collective."""
        with self._comm.agreement():
            if self._comm.rank == 0:
                path = self.save(fit)
                where = f"go on with --resume --run-dir {self.path} ({path.name})" if path else "no checkpoint"
                message = f"{message}; {where}"
        return message

    def _write(self, kept: Kept, copying: float) -> Path | None:
        begin, step = time.monotonic(), kept.at.step
        path = checkpoint.path_of(self.path, step, self._folder)
        try:
            path.parent.mkdir(exist_ok=True)
            checkpoint.write(path, **kept._asdict())
            checkpoint.thin_out(self.path, self._options.checkpoint_keep, self._folder)
        except (OutputError, OSError) as error:
            complain(f"no checkpoint after step {step}: {error}")
            return None
        end = time.monotonic()
        self._saved, self._cost = (kept.at.count, step, end), copying + end - begin
        return path

    def deadline(self) -> float:
        """When the fit is to stop so that a checkpoint comes ahead of a limit, as time.time()."""
        if self._end is None:
            return float("inf")
        margin = min(MARGIN, MARGIN_SHARE * (self._end - self._begin))
        return self._end - margin - 2.0 * (self._longest + self._cost)

    @property
    def seconds_left(self) -> float:
        """Before a limit."""
        return float("inf") if self._end is None else max(self._end - time.time(), 0.0)

    def release(self, status: str | None = None) -> None:
        """Leave the directory to somebody else, or with this status. A collective."""
        _begun.discard((self.path, self._folder))
        with self._comm.agreement():
            if self._directory:
                self._finish_writing()
                self._directory.close(())
                if status:
                    self._directory.set_status(status)

    def leave(self) -> None:
        """Close what is open, where all begins again after a death and another keeper goes on. Not a collective."""
        if self._directory:
            self._finish_writing()
            self._guarded(lambda directory: directory.close(()))

    def complete(self, model: Model, records: Sequence[Record], beside: dict[str, dict[str, Any]]) -> None:
        """Write the model: the run is done. A collective. beside : what else there is to write, by names of files."""
        _begun.discard((self.path, self._folder))
        with self._comm.agreement():
            if self._directory:
                self._finish_writing()
                self._directory.save(model)
                self._guarded(lambda directory: directory.close(records))
                for name, values in beside.items():
                    self._guarded(partial(RunDirectory.write, name=name, values=values))

    def end_badly(self, error: MpigdError) -> None:
        """Note that the fit ended before its time. Not a collective."""
        _begun.discard((self.path, self._folder))
        if self._directory:
            self._finish_writing()
            word = STOPPED if isinstance(error, StoppedError | LostError) else FAILED
            self.event(word, why=str(error))
            self._guarded(lambda directory: directory.set_status(word))
            self._guarded(lambda directory: directory.close(()))

    def _finish_writing(self) -> None:
        if self._pool:
            self._pool.shutdown()
            self._pool = None

    def _guarded(self, action: Callable[[RunDirectory], None]) -> None:
        """What should be written, but is not worth a failure."""
        try:
            if self._directory:
                action(self._directory)
        except (OutputError, OSError) as error:
            complain(str(error))

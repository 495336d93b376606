"""What a rank has an eye on while it computes: signals, the time that is left, and ranks that do not come to a sum.

In a thread of its own: a signal handler in Python runs only when a call into MPI has returned, which it may never do.
"""

from __future__ import annotations

import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from mpigd import platforms
from mpigd.comm import Comm, Member
from mpigd.errors import LostError, complain

PERIOD = 0.2  # seconds between looks
# What a rank asks for in a sum: small numbers of which sums tell how many ranks asked for what.
FOR_SIGNAL, FOR_TIME = 1, 1 << 20
TWICE = 1.0  # seconds after which a second signal is meant as one: launchers and schedulers may both send the first
WAITING = ".waiting"  # directory of a run; a rank that waits for long has a file there


def why(heard: int) -> str:
    """What the ranks that asked to stop had heard of."""
    return "its time limit is near" if heard >= FOR_TIME else "a signal asked for it"


class Watch:
    """A context manager, on every rank.

    directory : of the run, which all ranks see.  stall_timeout : seconds that ranks wait for one that does not come;
    0 for ever.  goes_on : whether the job does without it.
    on_signal : called in the thread at the first signal, as the process may not live until the end of a step.
    """

    def __init__(
        self, comm: Comm, directory: Path, stall_timeout: float, goes_on: bool, on_signal: Callable[[], None]
    ) -> None:
        self._comm, self._stall_timeout, self._goes_on = comm, stall_timeout, goes_on
        self._folder, self._on_signal = directory / WAITING, on_signal
        self._first_signal, self._marked, self._accused = 0.0, False, False
        self.deadline: Callable[[], float] | None = None  # as time.time(), when there should be a stop
        self._end = threading.Event()

    def __enter__(self) -> Watch:
        self._heard, self._wake = socket.socketpair()  # Windows can't wait for a pipe
        self._wake.setblocking(False)
        self._handlers = {}
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, lambda *_: None) for number in platforms.STOPPING}
            self._woken = signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._look, name="mpigd-watch", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._end.set()
        self._thread.join()
        if self._handlers:
            signal.set_wakeup_fd(self._woken)
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
        self._comm.asks = 0
        self._unmark()
        self._heard.close()
        self._wake.close()

    def _look(self) -> None:
        while not self._end.is_set():
            if select.select([self._heard], [], [], PERIOD)[0]:
                for number in self._heard.recv(64):
                    if number in self._handlers:
                        self._signalled(number)
            if self.deadline and self._comm.rank == 0 and time.time() >= self.deadline():
                self._comm.asks = self._comm.asks or FOR_TIME
            if self._stall_timeout:
                self._look_for_stalled()

    def _signalled(self, number: int) -> None:
        now = time.monotonic()
        if not self._first_signal:
            self._first_signal = now
            self._comm.asks = FOR_SIGNAL
            self._on_signal()
        elif now - self._first_signal > TWICE:
            complain(f"{signal.Signals(number).name} once more: stopped at once")
            self._comm.abort(128 + number)

    def _look_for_stalled(self) -> None:
        since = self._comm.waiting
        waits = time.monotonic() - since if since else 0.0
        if waits < 0.5 * self._stall_timeout or not self._comm.members:
            self._unmark()
            return
        if not self._marked:
            with suppress(OSError):
                self._folder.mkdir(exist_ok=True)
                (self._folder / str(self._me.rank)).touch()
            self._marked = True
        if waits >= self._stall_timeout and not self._accused:
            self._accused = True
            waiting = {int(path.name) for path in self._folder.glob("*")} if self._folder.is_dir() else set()
            stalled = [member for member in self._comm.members if member.rank not in waiting]
            if stalled:
                self._accuse(stalled, [member for member in self._comm.members if member.rank in waiting], waits)

    def _accuse(self, stalled: list[Member], waiting: list[Member], waits: float) -> None:
        """Say who does not come, once; and end it, or the job."""
        near = {member.host for member in waiting}
        goes_on = self._goes_on and all(member.host in near for member in stalled)
        if waiting and self._me == waiting[0]:
            names = ", ".join(f"{member} (process {member.pid})" for member in stalled)
            then = "going on without it" if goes_on else "ending the job; go on with --resume"
            complain(
                f"{names} has not come to a sum for {waits:.0f} s: stopped, swapped out, or stuck in a file; {then}"
            )
            if not goes_on:
                self._comm.abort(LostError.exit_status)
        for member in stalled if goes_on else ():
            first = next(other for other in waiting if other.host == member.host)
            if first == self._me:
                platforms.kill(member.pid)

    @property
    def _me(self) -> Member:
        return self._comm.members[self._comm.rank]

    def _unmark(self) -> None:
        self._accused = False
        if self._marked:
            self._marked = False
            with suppress(OSError):
                (self._folder / str(self._me.rank)).unlink()
                self._folder.rmdir()

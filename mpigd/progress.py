"""How far a job is that goes through rows: told to whoever draws it, now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

# Called with what is being done and the fraction of it that is done.
Observer = Callable[[str, float], None]
QUIET, EVERY = 1.0, 0.2  # seconds: before the first call, and from one to the next


class Meter:
    """Counts what is done of `total` on this rank; jobs that end soon are not worth a bar."""

    def __init__(self, observers: Sequence[Observer], what: str, total: int) -> None:
        self._observers, self._what, self._total, self._done = observers, what, max(total, 1), 0
        self._next: float | None = None
        self._drawn = False

    def advance(self, amount: int) -> None:
        """So much more is done."""
        self._done += amount
        now = time.monotonic()
        if self._next is None:  # the time counts from the first rows on: kernels may have been compiled before
            self._next = now + QUIET
        finished = self._drawn and self._done >= self._total
        if self._observers and (now >= self._next or finished):
            self._next, self._drawn = now + EVERY, True
            for observer in self._observers:
                observer(self._what, min(self._done / self._total, 1.0))

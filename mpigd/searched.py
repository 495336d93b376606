"""How far a search has come: what of it a checkpoint holds. The same on all ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from mpigd.fitting import Progress


class Reached(NamedTuple):
    """Where a fit of a search is."""

    fit: str
    at: Progress


class Outcome(NamedTuple):
    """What came of a fit: its score on rows held out, the passes it took, and what went wrong, if anything did."""

    fit: str
    score: float
    passes: float
    note: str


@dataclass(frozen=True)
class Searched:
    """All fits of a search that have begun, by their names.

    count : moves so far, of all fits together.
    """

    count: int
    fits: tuple[Reached, ...]
    outcomes: tuple[Outcome, ...]
    ended: bool = False

    @property
    def step(self) -> int:
        """What numbers its checkpoints."""
        return self.count

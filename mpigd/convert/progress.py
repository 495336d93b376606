"""How far a conversion has come. Imports nothing: the console looks at it for every command."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Advance:
    """What an observer is told. step : 0 begins a new bar.  text : what is being done."""

    step: int
    text: str

"""What options are made of: groups of them, checks, and texts that stand for numbers."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from mpigd.errors import UsageError


@dataclass(frozen=True)
class Group:
    """Some options that belong together, each with its check. A command has one or more of them."""

    def __post_init__(self) -> None:
        """Raise UsageError for what can't be: each group first calls that of the next, then checks its own options.

        Files may be given as text, and one stands for a tuple of one.
        """
        for each in fields(self):
            given: Any = getattr(self, each.name, None)
            if each.type == "tuple[Path, ...]":
                some = (given,) if isinstance(given, str | Path) else given
                object.__setattr__(self, each.name, tuple(map(Path, some)))
            elif str(each.type).startswith("Path") and isinstance(given, str):
                object.__setattr__(self, each.name, Path(given))

    def to_dict(self) -> dict[str, Any]:
        """The options as plain values, those that are None or empty left out."""
        return {key: _plain(value) for key, value in asdict(self).items() if value not in (None, ()) and key != "_"}


@dataclass(frozen=True, kw_only=True)
class Output(Group):
    """What is printed."""

    json: bool = False
    """Print one JSON object on standard output and nothing else there."""

    quiet: bool = False
    """Print nothing on standard error but errors: no progress, no notes."""

    verbose: bool = False
    """Print a line for every record of a fit on standard error, with its seconds and the rest of what is known."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(not (self.quiet and self.verbose), "--quiet", "", "no --verbose with it")


def require(holds: bool, option: str, value: object, expected: str) -> None:
    """Raise UsageError, which says what was expected of an option, unless it holds."""
    if not holds:
        shown = f"{option} {value}".rstrip()
        raise UsageError(f"{shown}: expected {expected}")


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


def parse_bytes(text: str) -> int:
    """A number of bytes: plain, or with KiB, MiB, GiB, TiB (K, M, G, T and KB, … mean the same)."""
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?)\s*([KMGT]?)(?:I?B)?\s*", text, re.IGNORECASE)
    if not found:
        raise UsageError(f"{text}: expected a number of bytes, as in 512MiB or 2GiB")
    return int(float(found[1]) * (1 << UNITS[found[2].upper()]))


def parse_class_weight(text: str) -> Literal["balanced"] | dict[float, float]:
    """Weights by label: 'balanced', or as in '0=1,1=5'. UsageError for anything else.

    >>> parse_class_weight("0=1, 1=2.5")
    {0.0: 1.0, 1.0: 2.5}
    """
    if text == "balanced":
        return "balanced"
    try:
        pairs = [part.split("=") for part in text.split(",")]
        weights = {float(label): float(weight) for label, weight in pairs}
    except ValueError:
        raise UsageError(f"--class-weight {text}: expected 'balanced', or labels and weights as in 0=1,1=5") from None
    if not all(0.0 <= weight < math.inf for weight in weights.values()) or not any(weights.values()):
        raise UsageError(f"--class-weight {text}: weights must be numbers ≥ 0, not all of them 0")
    return weights


def parse_seconds(text: str) -> float:
    """Seconds of a time as in 90, 90s, 30m, 2h, 1d, or as SLURM writes it, [days-][hours:]minutes:seconds.

    >>> parse_seconds("1-00:00:30"), parse_seconds("30m"), parse_seconds("05:00")
    (86430.0, 1800.0, 300.0)
    """
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text):
        return float(match[1]) * {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}[match[2]]
    if match := re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text):
        days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
        return ((days * 24.0 + hours) * 60.0 + minutes) * 60.0 + seconds
    raise UsageError(f"{text}: expected a time, as in 90s, 30m, 2h or 1:30:00")

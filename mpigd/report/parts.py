"""What a page is made of, and how its numbers and names are written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LONGEST = 20  # letters of a name in a figure


@dataclass(frozen=True)
class Table:
    """Rows of text below a head; the first column names them. folded : shown when it is asked for."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    folded: bool = False


@dataclass(frozen=True)
class Figure:
    """An image as SVG. alt : one sentence that says what is seen."""

    name: str
    title: str
    alt: str
    svg: str
    table: Table | None = None


@dataclass(frozen=True)
class Section:
    """A part of the page. facts : names and what they are."""

    name: str
    title: str
    text: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.text or self.facts or self.figures or self.tables)


def number(value: float | None) -> str:
    """A number to four digits, whole ones in full.

    >>> number(1234567), number(0.00012344), number(None), number(float("nan"))
    ('1,234,567', '0.0001234', '–', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.4g}"


def ends(values: np.ndarray) -> str:
    """The least and the largest of some numbers.

    >>> ends(np.array([2.0, 1.0, 3.0]))
    'from 1 to 3'
    """
    return f"from {number(values.min())} to {number(values.max())}"


def percent(share: float) -> str:
    """A share in hundredths.

    >>> percent(0.1234), percent(1.0)
    ('12.3%', '100%')
    """
    return f"{100.0 * share:.3g}%"


def plain(name: str) -> str:
    """A name without what can't be shown."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)


def short(name: str, longest: int = LONGEST) -> str:
    """A name that fits into a figure: its middle is left out if it is long.

    >>> short("a_name_that_is_much_too_long_for_a_figure", 15)
    'a_name_…_figure'
    """
    name = plain(name)
    half = longest // 2
    return name if len(name) <= longest else f"{name[: longest - half - 1]}…{name[-half:]}"


def thinned(values: Sequence[Any], most: int) -> list[Any]:
    """At most so many of some values, evenly, the first and the last among them."""
    count = len(values)
    if count <= most:
        return list(values)
    return [values[round(k * (count - 1) / (most - 1))] for k in range(most)]

"""Docstrings as the site shows them: what they say of arguments, and examples, which they write in fewer signs."""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"(?:^>>> .*\n?(?:^(?!>>> )\S.*\n?)*)+", re.MULTILINE)
ARGUMENT = re.compile(r"(?:^|(?<=\.) {2,})(\w+(?:, \w+)*) : ", re.MULTILINE)  # name : what it is.  other : the same.


class Shown(griffe.Extension):
    """Makes code of examples and a list of arguments."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of an object."""
        if obj.docstring:
            text = EXAMPLE.sub(lambda found: f"```pycon\n{found[0].rstrip()}\n```\n", obj.docstring.value)
            obj.docstring.value = "\n\n".join(map(listed, text.split("\n\n")))


def listed(paragraph: str) -> str:
    """A paragraph in which each argument is an entry of a list.

    >>> print(listed("x : (n,) float64.  y : as x."))
    - `x`: (n,) float64.
    - `y`: as x.
    """
    if not ARGUMENT.match(paragraph):
        return paragraph
    return ARGUMENT.sub(r"\n- `\1`: ", paragraph).lstrip()

"""How a file that convert writes was made, kept in it, so that new rows get the same columns (`--like`)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mpigd.convert.hdf5 import opened_file
from mpigd.convert.source import readable
from mpigd.errors import DataError, UsageError
from mpigd.options import Convert

ATTRIBUTE = "recipe"
# Options that are repeated for new rows, and those that can't be given with --like.
REPEATED = ("columns", "exclude", "drop_first", "hash_bits", "interactions", "missing", "max_levels", "dtype")
SETTLED = ("weight", "offset", "columns", "exclude", "categorical", "drop_first", "hash_bits", "interactions")


@dataclass(frozen=True)
class Recipe:
    """All that new rows need, as plain values.

    target, weight, offset : names of columns, or None.  features : names of the others that X takes, in its order.
    categorical : names of those, and of the target, that are categories.  levels : of every category of X, in order.
    classes : texts of the target.  fills : what is put in place of missing numbers, of every column of numbers.
    first, width : of sparse rows the number of the first column, and how many there are; of a table 0 and None.
    names : of the columns of X, where they have any.  stored, layout : type and layout of X.
    The others are options of `convert`.
    """

    target: str | None
    weight: str | None
    offset: str | None
    features: list[str]
    categorical: list[str]
    levels: dict[str, list[str]]
    classes: list[str]
    fills: dict[str, float]
    first: int
    width: int | None
    names: list[str]
    stored: str
    layout: str
    options: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """As the attribute of the file has it."""
        return json.dumps(asdict(self), ensure_ascii=False)


def read(path: Path) -> Recipe:
    """The recipe in a file; DataError if it has none."""
    with readable(path, "an HDF5 file"), opened_file(path) as file:
        text = file.attrs.get(ATTRIBUTE)
    if text is None:
        raise DataError(
            f"{path}: no attribute '{ATTRIBUTE}': expected a file that convert has written; write it again with this "
            "version"
        )
    with readable(path, "a file of convert"):
        try:
            return Recipe(**json.loads(text))
        except TypeError as error:
            raise ValueError(f"attribute '{ATTRIBUTE}': {error}") from None


def repeated(options: Convert, recipe: Recipe) -> Convert:
    """The options for new rows: those of the file that they are to be like. UsageError for those that contradict it."""
    default = Convert(options.paths)
    for name in SETTLED:
        if getattr(options, name) != getattr(default, name):
            option = "--" + name.replace("_", "-")
            raise UsageError(f"{option}: expected no --like with it: columns are those of {options.like}")
    again: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in recipe.options.items()
    }
    if options.missing not in ("refuse", "drop", again["missing"]):
        raise UsageError(
            f"--missing {options.missing}: expected {again['missing']}, as {options.like} was made, or drop"
        )
    if options.missing != "refuse":
        again["missing"] = options.missing
    if options.dtype != "auto":
        again["dtype"] = options.dtype
    if options.layout == "auto":
        again["layout"] = recipe.layout
    again |= {
        "target": options.target or recipe.target or "none",
        "weight": recipe.weight,
        "offset": recipe.offset,
        "categorical": tuple(recipe.categorical),
        "max_levels": max(again["max_levels"], options.max_levels),
    }
    return replace(options, **again)

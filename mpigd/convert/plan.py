"""What becomes of each column, from the options and the headers alone: the same on all ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from mpigd.convert.recipe import Recipe
from mpigd.convert.source import Column, Source, column_of
from mpigd.errors import DataError, UsageError
from mpigd.options import Convert

ROLES = ("target", "weight", "offset")


@dataclass(frozen=True)
class Plan:
    """Columns by their use.

    target, weight, offset : columns, or None.  features : the others that X takes, in the order of the file.
    categorical : names of those columns that are categories.  interactions : pairs of names of features.
    sparse : whether the sources hold sparse rows, of which X takes all or a part.
    """

    target: Column | None
    weight: Column | None
    offset: Column | None
    features: tuple[Column, ...]
    categorical: frozenset[str]
    interactions: tuple[tuple[str, str], ...]
    sparse: bool

    @property
    def special(self) -> dict[str, Column]:
        """Columns that are not of X, by their role."""
        found = {"target": self.target, "weight": self.weight, "offset": self.offset}
        return {role: column for role, column in found.items() if column is not None}

    @property
    def wanted(self) -> tuple[Column, ...]:
        """All columns that have to be read, each once."""
        return tuple({column.name: column for column in (*self.features, *self.special.values())}.values())


def plan(sources: Sequence[Source], options: Convert, recipe: Recipe | None = None) -> Plan:
    """Decide what becomes of each column; DataError or UsageError if options and columns don't fit."""
    source = sources[0]
    if recipe is not None:
        return _repeated(source, options, recipe)
    special = {role: _special(source, role, options) for role in ("weight", "offset")}
    special["target"] = _target(source, options, [c.name for c in special.values() if c])
    taken = [column.name for column in special.values() if column]
    for role, column in special.items():
        if column and taken.count(column.name) > 1:
            raise UsageError(f"--{role} {column.name}: expected a column that is not target, weight or offset already")
    names = [column.name for column in source.columns if column.name not in taken]
    sparse = source.width is not None
    if sparse:
        _check_sparse(source, options)
        names = []
    else:
        names = chosen(source, names, options)
    features = tuple(column for column in source.columns if column.name in set(names))
    categorical = _categorical(source, features, special["target"], options)
    if not sparse and not features:
        raise DataError(f"{source.path}: no columns are left for X")
    made = Plan(**special, features=features, categorical=categorical, interactions=(), sparse=sparse)
    return _checked(source, made, options)


def _checked(source: Source, made: Plan, options: Convert) -> Plan:
    """The plan with interactions, of columns that can be what they are to be."""
    made = replace(made, interactions=_interactions(made, source, options))
    _check_sorts(source, made, options)
    return _as_text(made)


def _repeated(source: Source, options: Convert, recipe: Recipe) -> Plan:
    """What becomes of the columns of new rows: what became of those in the file that they are to be like.

    Nobody may know the target of new rows yet, nor their weight; without its offset a row means something else.
    """
    sparse = source.width is not None
    if sparse != (recipe.width is not None):
        kinds = ("a table of columns", "sparse rows")
        raise DataError(f"{source.path}: holds {kinds[sparse]}; {options.like} was made from {kinds[not sparse]}")
    if sparse:
        _check_sparse(source, replace(options, categorical=()))
    special = {role: _special(source, role, options) for role in ROLES if _is_there(source, role, options, recipe)}
    found = {name: column_of(source, name) for name in recipe.features}
    absent = [name for name, column in found.items() if column is None]
    if absent:
        more = f", nor {len(absent) - 1} more," if len(absent) > 1 else ","
        raise DataError(f"{source.path}: no column '{absent[0]}'{more} of which {options.like} made X")
    made = Plan(
        target=special.get("target"),
        weight=special.get("weight"),
        offset=special.get("offset"),
        features=tuple(column for column in found.values() if column),
        categorical=frozenset(recipe.categorical)
        | {column.name for role, column in special.items() if role == "target" and column and recipe.classes},
        interactions=(),
        sparse=sparse,
    )
    return _checked(source, made, options)


def _is_there(source: Source, role: str, options: Convert, recipe: Recipe) -> bool:
    """Whether a column for target, weight or offset is to be read; that of the recipe may be absent but for offset."""
    name = getattr(options, role)
    if name is None or column_of(source, name) is not None:
        return name is not None
    return role == "offset" or (role == "target" and name not in ("none", recipe.target))


def matching(names: Sequence[str], patterns: Sequence[str], option: str, source: Source) -> set[str]:
    """Names that any of the patterns matches; DataError for a pattern that matches none."""
    found = set[str]()
    for pattern in patterns:
        hits = {name for name in names if name == pattern} or {name for name in names if fnmatchcase(name, pattern)}
        if not hits:
            raise DataError(f"{source.path}: no column '{pattern}' for {option}; there are: {listed(names)}")
        found |= hits
    return found


def chosen(source: Source, names: Sequence[str], options: Convert) -> list[str]:
    """Names that --columns and --exclude leave."""
    kept = matching(names, options.columns, "--columns", source) if options.columns else set(names)
    # What is excluded may be any column of the file: a pattern for the target, too, does no harm.
    known = list(dict.fromkeys([*names, *(column.name for column in source.columns)]))
    kept -= matching(known, options.exclude, "--exclude", source)
    return [name for name in names if name in kept]


def listed(names: Sequence[str]) -> str:
    """Some names for a message."""
    return ", ".join(names[:20]) + (f", … ({len(names)})" if len(names) > 20 else "")


def _special(source: Source, role: str, options: Convert) -> Column | None:
    name = getattr(options, role)
    if name is None:
        default = source.special.get(role)
        return None if default is None else column_of(source, default)
    column = column_of(source, name)
    if column is None:
        names = [column.name for column in source.columns]
        raise DataError(f"{source.path}: no column '{name}' for --{role}; there are: {listed(names)}")
    return column


def _target(source: Source, options: Convert, taken: Sequence[str]) -> Column | None:
    if options.target == "none" and column_of(source, "none") is None:
        return None
    if options.target is None:
        default = source.special.get("target")
        if default in taken:  # the last column is a weight: the target is the last of the others
            return next((column for column in reversed(source.columns) if column.name not in taken), None)
        if default is None:
            raise DataError(f"{source.path}: holds no y; name the target with --target, or say --target none")
    return _special(source, "target", options)


def _check_sparse(source: Source, options: Convert) -> None:
    for option, value in (
        ("--categorical", options.categorical),
        ("--interactions", options.interactions),
        ("--hash-bits", options.hash_bits),
        ("--drop-first", options.drop_first),
        ("--missing", options.missing in ("mean", "median")),
    ):
        if value:
            shown = options.missing if option == "--missing" else ""
            raise UsageError(f"{option} {shown}: expected a table of columns; {source.path} holds sparse rows")


def _categorical(source: Source, features: Sequence[Column], target: Column | None, options: Convert) -> frozenset[str]:
    possible = [column.name for column in (*features, *([target] if target else []))]
    named = matching(possible, options.categorical, "--categorical", source)
    return frozenset(named | {c.name for c in (*features, *([target] if target else [])) if c.sort == "text"})


def _interactions(made: Plan, source: Source, options: Convert) -> tuple[tuple[str, str], ...]:
    names = [column.name for column in made.features]
    pairs = []
    for text in options.interactions:
        a, _, b = text.partition(":")
        for name in (a, b):
            if name not in names:
                raise DataError(f"{source.path}: no column '{name}' for --interactions {text}; X has: {listed(names)}")
            if options.hash_bits and name in made.categorical:
                raise UsageError(f"--interactions {text}: expected columns of numbers; '{name}' is hashed")
        pairs.append((a, b))
    return tuple(pairs)


def _check_sorts(source: Source, made: Plan, options: Convert) -> None:
    for column in made.wanted:
        if column.name in made.categorical and column.sort in ("number", "text", "date"):
            continue
        where = f"{source.path}: column '{column.name}'"
        if column.sort == "date":
            raise DataError(
                f"{where} holds dates ({column.kind}); leave it out with --exclude, or replace it by numbers such as "
                "the year or days since a date"
            )
        if column.sort == "other":
            raise DataError(f"{where} has type {column.kind}, which is no number; leave it out with --exclude")
        if column.sort == "text" and column not in (made.weight, made.offset):
            raise DataError(f"{where} holds text; it has numbers in {options.like}")
    for role in ("weight", "offset"):
        special = made.special.get(role)
        if special and special.sort != "number":
            raise DataError(
                f"{source.path}: column '{special.name}' for --{role} holds {special.kind}; expected numbers"
            )


def _as_text(made: Plan) -> Plan:
    """The plan with columns that are named categorical read as text, where a file leaves the choice."""

    def read(column: Column | None) -> Column | None:
        return replace(column, sort="text") if column and column.name in made.categorical else column

    features = tuple(column for column in map(read, made.features) if column)
    return replace(made, target=read(made.target), features=features)

"""What all ranks agree on after the first look: which rows are whose, the columns of X, its type and layout."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpigd.comm import Comm
from mpigd.convert import fill
from mpigd.convert.encode import Encoder, Feature, Product, Selection, Term, check_finite
from mpigd.convert.plan import Plan, chosen, listed
from mpigd.convert.recipe import Recipe
from mpigd.convert.source import Source
from mpigd.convert.survey import GAP, Found, Survey, is_fatal, merged, too_many_levels
from mpigd.errors import DataError
from mpigd.options import Convert
from mpigd.storage import unnamed_columns

MOST_COLUMNS = 1 << 31
SPARSE_FROM = 10  # numbers of a dense X for each that is not zero


@dataclass(frozen=True)
class Settled:
    """The result. Equal on all ranks, but for `first_row`, `first_stored` and what the encoder knows of codes.

    n, stored : rows, and numbers of X that are not zero.  first_row, first_stored : how many are before this rank's.
    classes : texts that the numbers in y stand for, or empty.  class_codes : numbers of this rank's codes.
    filled : what stands for missing values, of the columns that have some.  fills : of every column of numbers.
    first_column : of sparse rows, the number of the first one.  unknown : rows by level, see `Found`.
    """

    encoder: Encoder | Selection
    n: int
    stored: int
    first_row: int
    first_stored: int
    dtype: np.dtype
    sparse: bool
    levels: dict[str, list[str]]
    classes: list[str]
    class_codes: np.ndarray | None
    dropped: int
    filled: dict[str, float | str]
    fills: dict[str, float]
    first_column: int
    unknown: dict[str, int]


def settle(
    comm: Comm,
    sources: Sequence[Source],
    plan: Plan,
    options: Convert,
    survey: Survey,
    batches: Iterable[Any],
    recipe: Recipe | None = None,
) -> Settled:
    """Agree on everything. A collective; errors are the same on all ranks."""
    own = survey.finish()
    everyone = comm.gather(own)
    found = merged(everyone)
    _refuse_missing(comm, plan, options, survey, everyone)
    target = plan.target.name if plan.target and plan.target.name in plan.categorical else None
    with comm.agreement():
        _check(sources, plan, options, found)
        if recipe is not None:
            _check_classes(sources[0], options, recipe, found.levels.get(target, []) if target else [])
            found.levels = recipe.levels | ({target: recipe.classes} if target else {})
    fills = recipe.fills if recipe else _fills(comm, plan, options, found, batches)
    filled = {name: value for name, value in fills.items() if found.missing.get(name)}
    first_column = recipe.first if recipe else int(sources[0].width == 0 and found.first_column > 0)
    with comm.agreement():
        _check_fills(sources[0], options, filled)
        encoder: Encoder | Selection
        if plan.sparse:
            encoder = _selection(sources[0], options, found, first_column, recipe)
            if recipe is not None and list(encoder.names) != recipe.names:
                raise DataError(f"{sources[0].path}: columns have other names than in {options.like}")
        else:
            encoder = _encoder(plan, options, found, own, filled)
        if encoder.d == 0 or encoder.d >= MOST_COLUMNS:
            raise DataError(f"{sources[0].path}: X would have {encoder.d} columns")
    exact = _exact_fills(options, found, filled)
    counts = [_nonzero(plan, found_there, filled) for found_there in everyone]
    if plan.sparse or plan.interactions or options.hash_bits or options.drop_first:
        count, exact = _counted(comm, plan, options, encoder, batches, exact)
        counts = [int(each) for each in comm.each(np.array([count]))[:, 0]]
    dtype = np.dtype(("float32" if exact else "float64") if options.dtype == "auto" else options.dtype)
    if recipe is not None and options.dtype == "auto":
        dtype = np.result_type(dtype, recipe.stored)
    gaps = {column.name: GAP for column in plan.features if column.name in plan.categorical}
    classes = found.levels.get(target, []) if target else []
    return Settled(
        encoder=encoder,
        n=found.rows,
        stored=sum(counts),
        first_row=sum(each.rows for each in everyone[: comm.rank]),
        first_stored=sum(counts[: comm.rank]),
        dtype=dtype,
        sparse=_is_sparse(options, found.rows, encoder.d, sum(counts)),
        levels={name: levels for name, levels in found.levels.items() if name != target},
        classes=classes,
        class_codes=_codes(own.levels.get(target, []), classes) if target else None,
        dropped=found.dropped,
        filled=filled | {name: level for name, level in gaps.items() if found.missing.get(name)},
        fills=fills,
        first_column=first_column,
        unknown=found.unknown,
    )


def _refuse_missing(comm: Comm, plan: Plan, options: Convert, survey: Survey, everyone: Sequence[Found]) -> None:
    """One error for all missing values that nothing can stand for."""
    counts = merged(everyone).missing
    fatal = {name: count for name, count in counts.items() if is_fatal(plan, options, name)}
    if not fatal:
        return
    mine = any(is_fatal(plan, options, name) for name in everyone[comm.rank].missing)
    first = next(rank for rank, each in enumerate(everyone) if any(is_fatal(plan, options, n) for n in each.missing))
    with comm.agreement():
        if comm.rank == first and mine and survey.first_missing is not None:
            source, piece, row, name = survey.first_missing
            total = sum(fatal.values())
            where = ", ".join(f"{count} in '{_shown(name)}'" for name, count in sorted(fatal.items())[:10])
            where += ", …" if len(fatal) > 10 else ""
            raise DataError(
                f"{source.path}: {source.place(piece, row)}, column '{_shown(name)}': a value is missing; of all "
                f"values {total} are ({where}). {_advice(plan, options)}"
            )


def _shown(name: str) -> str:
    return "X" if name.startswith("values of") else name


def _advice(plan: Plan, options: Convert) -> str:
    if options.missing == "refuse":
        return "Choose what to do with --missing " + ("drop" if plan.sparse else "mean, median or drop")
    return f"--missing {options.missing} is for X alone; use --missing drop"


def _check(sources: Sequence[Source], plan: Plan, options: Convert, found: Found) -> None:
    if found.rows == 0:
        rest = f" (all {found.dropped} have missing values)" if found.dropped else ""
        raise DataError(f"{sources[0].path}: holds no rows{rest or ' after the header line or shape'}")
    for name, levels in found.levels.items():
        if len(levels) > options.max_levels:
            raise too_many_levels(plan, sources[0], name, options)


def _check_classes(source: Source, options: Convert, recipe: Recipe, classes: Sequence[str]) -> None:
    """Raise DataError for a text of the target that has no number."""
    unknown = [text for text in classes if text not in recipe.classes]
    if unknown:
        raise DataError(
            f"{source.path}: class '{unknown[0]}' is none of those in {options.like} ({listed(recipe.classes)}); leave "
            "out these rows, or the target with --target none"
        )


def _fills(comm: Comm, plan: Plan, options: Convert, found: Found, batches: Iterable[Any]) -> dict[str, float]:
    """What is put in place of missing numbers, by column; of those that have none, too, for new rows."""
    if options.missing not in ("mean", "median"):
        return {}
    names = [column.name for column in plan.features if column.name not in plan.categorical]
    if options.missing == "mean":
        values = [fill.mean(found, name) for name in names]
    else:
        values = fill.medians(comm, batches, names, found)
    return dict(zip(names, values, strict=True))


def _check_fills(source: Source, options: Convert, filled: dict[str, float]) -> None:
    """Raise DataError for a column without values, and for a number that the type asked for does not hold."""
    for name, value in filled.items():
        if value != value:
            raise DataError(f"{source.path}: column '{name}' holds no value at all; leave it out with --exclude")
        if options.dtype != "auto":
            dtype = np.dtype(options.dtype)
            check_finite(np.array([value]), dtype, dtype.kind != "f", f"the {options.missing} of column '{name}'")


def _exact_fills(options: Convert, found: Found, filled: dict[str, float]) -> bool:
    """Whether float32 holds all numbers that were read or filled in, of dtype auto."""
    if options.dtype != "auto" or not all(tally.exact for tally in found.tallies.values()):
        return False
    with np.errstate(over="ignore"):
        return all(float(np.float32(value)) == value for value in filled.values())


def _nonzero(plan: Plan, found: Found, filled: dict[str, float]) -> int:
    """Numbers of X that are not zero in the rows of a rank, from its tallies."""
    total = sum(tally.nonzero for tally in found.tallies.values())
    total += sum(found.missing.get(name, 0) for name, value in filled.items() if value)
    hot = found.rows * sum(column.name in plan.categorical for column in plan.features)
    return total + hot - sum(found.unknown.values())


def _counted(
    comm: Comm, plan: Plan, options: Convert, encoder: Encoder | Selection, batches: Iterable[Any], exact: bool
) -> tuple[int, bool]:
    """Numbers of X that are not zero in this rank's rows, and whether float32 holds all of all ranks, by encoding."""
    count = 0
    exact = exact or plan.sparse
    asked = np.dtype("float64" if options.dtype == "auto" else options.dtype)
    with comm.agreement():
        for batch in batches:
            values = encoder.sparse(batch).values
            count += len(values)
            check_finite(values, asked, asked.kind != "f", "a value of X")
            with np.errstate(over="ignore"):
                exact = exact and options.dtype == "auto" and bool((values.astype(np.float32) == values).all())
    return count, not comm.max(np.array([int(not exact)]))[0]


def _is_sparse(options: Convert, n: int, d: int, stored: int) -> bool:
    if options.layout != "auto":
        return options.layout == "sparse"
    # A number of a sparse row takes a kernel about as long as ten of a dense one.
    return SPARSE_FROM * stored < n * d


def _codes(own: Sequence[str], agreed: Sequence[str], drop_first: bool = False) -> np.ndarray:
    """Places among the agreed levels of this rank's codes, -1 for unknown ones and at the end."""
    at = {level: place - drop_first for place, level in enumerate(agreed)}
    return np.array([at.get(level, -1) for level in own] + [-1], np.int64)


def _encoder(plan: Plan, options: Convert, found: Found, own: Found, filled: dict[str, float]) -> Encoder:
    features: dict[str, Feature] = {}
    for column in plan.features:
        name = column.name
        if name not in plan.categorical:
            features[name] = Feature(name, (name,), fill=filled.get(name, float("nan")))
        elif options.hash_bits:
            features[name] = Feature(name, (), categorical=True)
        else:
            levels = found.levels.get(name, [])
            codes = _codes(own.levels.get(name, []), levels, options.drop_first)
            shown = tuple(f"{name}={level}" for level in levels[options.drop_first :])
            features[name] = Feature(name, shown, categorical=True, codes=codes)
    kept = [f for f in features.values() if f.names or options.hash_bits]  # one level, which is dropped: nothing left
    products = [Product(features[a], features[b]) for a, b in plan.interactions]
    terms: list[Term] = [*kept, *(product for product in products if product.names)]
    # Hashed columns come last; so do their terms, for the order of columns in sparse rows.
    terms.sort(key=lambda term: not term.names)
    hashed = any(not term.names for term in terms)
    return Encoder(terms, 1 << options.hash_bits if options.hash_bits and hashed else 0)


def _selection(source: Source, options: Convert, found: Found, first: int, recipe: Recipe | None) -> Selection:
    """Of sparse rows the columns that X takes. first : number of the first one, 0 or 1 in svmlight."""
    width = source.width or max(found.last_column + 1 - first, 0)
    if recipe is not None and recipe.width is not None:
        same = width <= recipe.width and found.first_column >= first if source.width == 0 else width == recipe.width
        if not same:
            raise DataError(
                f"{source.path}: has other columns; {options.like} was made from {recipe.width}, from number {first} on"
            )
        width = recipe.width
    if not options.columns and not options.exclude:
        return Selection(source.names, width, width, first, None)
    names = source.names or unnamed_columns(width)
    kept = chosen(source, list(names), options)
    places = np.full(width, -1, np.int64)
    at = {name: place for place, name in enumerate(names)}
    places[[at[name] for name in kept]] = np.arange(len(kept))
    return Selection(tuple(kept), len(kept), width, first, places)

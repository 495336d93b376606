"""What all ranks agree on after the first look: which rows are whose, the columns of X, its type and layout."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpigd.comm import Comm
from mpigd.convert import fill
from mpigd.convert.encode import Encoder, Feature, Product, Selection, Term, check_finite
from mpigd.convert.plan import Plan, chosen
from mpigd.convert.source import Source, numbered
from mpigd.convert.survey import Found, Survey, is_fatal, merged, too_many_levels
from mpigd.errors import DataError
from mpigd.options import Convert

MOST_COLUMNS = 1 << 31
SPARSE_FROM = 10  # numbers of a dense X for each that is not zero


@dataclass(frozen=True)
class Settled:
    """The result. Equal on all ranks, but for `first_row`, `first_stored` and what the encoder knows of codes.

    n, stored : rows, and numbers of X that are not zero.  first_row, first_stored : how many are before this rank's.
    classes : texts that the numbers in y stand for, or empty.  class_codes : numbers of this rank's codes.
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
    filled: dict[str, float]


def settle(
    comm: Comm, sources: Sequence[Source], plan: Plan, options: Convert, survey: Survey, batches: Iterable[Any]
) -> Settled:
    """Agree on everything. A collective; errors are the same on all ranks."""
    own = survey.finish()
    everyone = comm.gather(own)
    found = merged(everyone)
    _refuse_missing(comm, plan, options, survey, everyone)
    with comm.agreement():
        _check(sources, plan, options, found)
    filled = _fills(comm, sources, plan, options, found, batches)
    with comm.agreement():
        encoder: Encoder | Selection
        encoder = _selection(sources[0], options, found) if plan.sparse else _encoder(plan, options, found, own, filled)
        if encoder.d == 0 or encoder.d >= MOST_COLUMNS:
            raise DataError(f"{sources[0].path}: X would have {encoder.d} columns")
    exact = _exact_fills(options, found, filled)
    counts = [_nonzero(plan, found_there, filled) for found_there in everyone]
    if plan.sparse or plan.interactions or options.hash_bits or options.drop_first:
        count, exact = _counted(comm, plan, options, encoder, batches, exact)
        counts = [int(each) for each in comm.each(np.array([count]))[:, 0]]
    dtype = np.dtype(("float32" if exact else "float64") if options.dtype == "auto" else options.dtype)
    target = plan.target.name if plan.target and plan.target.name in plan.categorical else None
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
        filled=filled,
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
    return f"--missing {options.missing} is for numbers in X; use --missing drop"


def _check(sources: Sequence[Source], plan: Plan, options: Convert, found: Found) -> None:
    if found.rows == 0:
        rest = f" (all {found.dropped} have missing values)" if found.dropped else ""
        raise DataError(f"{sources[0].path}: holds no rows{rest or ' after the header line or shape'}")
    for name, levels in found.levels.items():
        if len(levels) > options.max_levels:
            raise too_many_levels(plan, sources[0], name, options)


def _fills(
    comm: Comm, sources: Sequence[Source], plan: Plan, options: Convert, found: Found, batches: Iterable[Any]
) -> dict[str, float]:
    """What is put in place of missing numbers, by column."""
    if options.missing not in ("mean", "median"):
        return {}
    names = [column.name for column in plan.features if found.missing.get(column.name)]
    if options.missing == "mean":
        values = [fill.mean(found, name) for name in names]
    else:
        values = fill.medians(comm, batches, names, found)
    filled = dict(zip(names, values, strict=True))
    with comm.agreement():
        for name, value in filled.items():
            if value != value:
                raise DataError(
                    f"{sources[0].path}: column '{name}' holds no value at all; leave it out with --exclude"
                )
            if options.dtype != "auto":
                dtype = np.dtype(options.dtype)
                check_finite(np.array([value]), dtype, dtype.kind != "f", f"the {options.missing} of column '{name}'")
    return filled


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
    return total + found.rows * sum(column.name in plan.categorical for column in plan.features)


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
    """Places among the agreed levels of this rank's codes, and -1 at the end."""
    at = {level: place for place, level in enumerate(agreed)}
    return np.array([at[level] - drop_first for level in own] + [-1], np.int64)


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


def _selection(source: Source, options: Convert, found: Found) -> Selection:
    first = 0
    width = source.width or 0
    if not width:  # svmlight: numbered from 0 or 1
        first = 0 if found.first_column == 0 else 1
        width = max(found.last_column + 1 - first, 0)
    if not options.columns and not options.exclude:
        return Selection(source.names, width, first, None)
    names = source.names or numbered(width)
    kept = chosen(source, list(names), options)
    places = np.full(width, -1, np.int64)
    at = {name: place for place, name in enumerate(names)}
    places[[at[name] for name in kept]] = np.arange(len(kept))
    return Selection(tuple(kept), len(kept), first, places)

"""The job `convert`: every rank reads its share of the inputs, all agree on what X is, every rank writes its rows."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from mpigd import __version__
from mpigd.comm import Comm
from mpigd.convert import inputs, scan, write
from mpigd.convert.arrow import single_thread
from mpigd.convert.encode import Selection
from mpigd.convert.plan import Plan, plan
from mpigd.convert.recipe import ATTRIBUTE, REPEATED, Recipe, repeated
from mpigd.convert.recipe import read as read_recipe
from mpigd.convert.settle import Settled, settle
from mpigd.convert.source import Share, Source
from mpigd.convert.spool import Spool
from mpigd.convert.survey import Survey
from mpigd.errors import OutputError
from mpigd.files import check_writable
from mpigd.options import Convert, parse_bytes
from mpigd.progress import Observer

READING = 0.8  # of the bar; the rest is writing


def run(comm: Comm, options: Convert, observers: Sequence[Observer] = ()) -> dict[str, Any]:
    """Convert the inputs. A collective; on an error, which is the same on all ranks, nothing is left behind."""
    begin = time.perf_counter()
    single_thread()
    steps = Steps(observers)
    sources, planned, options, recipe = _opened(comm, options)
    scanned = scan.scan(comm, sources)
    name = f".{options.output.name}.rows-of-rank-{comm.rank}"
    spool = Spool(options.output.with_name(name), parse_bytes(options.memory) // 2)
    try:
        survey = Survey(planned, options, spool, recipe)
        with comm.agreement():
            _read(sources, scan.shares(comm, sources, scanned), planned, survey, steps)
        settled = settle(comm, sources, planned, options, survey, spool, recipe)
        mine = max(survey.found.rows, 1)
        done = 0

        def advance(rows: int) -> None:
            nonlocal done
            done += rows
            steps.tell("writing", READING + (1.0 - READING) * done / mine)

        recipe = recipe or _recipe(options, planned, settled)
        attributes = _attributes(options, settled, recipe, [each.described() for each in scanned])
        write.write(comm, options, planned, settled, spool, attributes, advance)
    finally:
        spool.remove()
    steps.tell("done", 1.0)
    return _summary(options, planned, settled, time.perf_counter() - begin)


class Steps:
    """Tells observers how far this rank is."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    def tell(self, text: str, fraction: float) -> None:
        """What is being done, and how much of the whole is."""
        for observe in self._observers:
            observe(text, fraction)


Opened = tuple[tuple[Source, ...], Plan, Convert, Recipe | None]


def _opened(comm: Comm, options: Convert) -> Opened:
    """Headers, read on rank 0, what becomes of columns, and options with those of the file that rows are to be like."""
    opened: Opened | None = None
    with comm.agreement():
        if comm.rank == 0:
            check_writable(options.output)
            if not options.output.absolute().parent.is_dir():
                raise OutputError(f"{options.output}: can't be written: {options.output.parent} is not a directory")
            write.filters(options)
            recipe = None
            if options.like is not None:
                recipe = read_recipe(options.like)
                options = repeated(options, recipe)
            sources = inputs.opened(options)
            opened = sources, plan(sources, options, recipe), options, recipe
    opened = comm.share(opened)
    if opened is None:
        raise AssertionError("rank 0 has opened the sources")
    return opened


def _read(sources: Sequence[Source], shares: Sequence[Share], planned: Plan, survey: Survey, steps: Steps) -> None:
    """All pieces of this rank's shares. Not a collective."""
    units = max(sum(share.stop - share.start for share in shares), 1)
    before = 0
    for source, share in zip(sources, shares, strict=True):
        for count, piece in enumerate(source.pieces(share, planned.wanted), start=1):
            survey.add(source, piece)
            # Units vary in size: so far, as much of this share as there have been pieces of some megabytes.
            part = (share.stop - share.start) * (1.0 - 1.0 / (1.0 + 0.1 * count))
            steps.tell(f"reading {source.path.name}", READING * (before + part) / units)
        before += share.stop - share.start


def _recipe(options: Convert, planned: Plan, settled: Settled) -> Recipe:
    """All that new rows need to get the same columns."""
    names = {role: column.name for role, column in planned.special.items()}
    return Recipe(
        target=names.get("target"),
        weight=names.get("weight"),
        offset=names.get("offset"),
        features=[column.name for column in planned.features],
        categorical=sorted(planned.categorical),
        levels=settled.levels,
        classes=settled.classes,
        fills=settled.fills,
        first=settled.first_column,
        width=settled.encoder.width if isinstance(settled.encoder, Selection) else None,
        names=list(settled.encoder.names) if planned.sparse else [],
        stored=str(settled.dtype),
        layout="sparse" if settled.sparse else "dense",
        options={name: getattr(options, name) for name in REPEATED},
    )


def _attributes(options: Convert, settled: Settled, recipe: Recipe, sources: list[dict[str, Any]]) -> dict[str, str]:
    """Where the file comes from. Nothing in it depends on the number of ranks."""
    chosen = {name: value for name, value in asdict(options).items() if name not in ("paths", "json", "memory")}
    return {
        "mpigd_version": __version__,
        "sources": json.dumps(sources),
        "options": json.dumps(chosen, default=str),
        "levels": json.dumps(settled.levels, ensure_ascii=False),
        "filled": json.dumps(settled.filled),
        ATTRIBUTE: recipe.to_json(),
    }


def _summary(options: Convert, planned: Plan, settled: Settled, seconds: float) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "output": str(options.output),
        "rows": settled.n,
        "columns": settled.encoder.d,
        "target": planned.target.name if planned.target else None,
        "layout": "sparse" if settled.sparse else "dense",
        "dtype": str(settled.dtype),
        "nonzero": settled.stored,
        "seconds": seconds,
    }
    if settled.classes:
        summary["classes"] = settled.classes
    if options.missing == "drop":
        summary["rows_dropped"] = settled.dropped
    if settled.filled:
        summary["filled"] = settled.filled
    if settled.unknown:
        summary["unknown_levels"] = settled.unknown
    return summary

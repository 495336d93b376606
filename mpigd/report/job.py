"""The job `report`: curves of a model on rows, if data are given, and a page about its run."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from mpigd.comm import Comm
from mpigd.curves import curves
from mpigd.files import check_writable
from mpigd.options import Report
from mpigd.predict import answered, load
from mpigd.problem import names_of, options_of, read_split
from mpigd.rundir import CURVES, REPORT, RunDirectory
from mpigd.shown import shown
from mpigd.splits import check_roles
from mpigd.verify import check_target


def run(comm: Comm, options: Report, observers: Sequence[Any] = ()) -> dict[str, Any]:
    """Write a page about a run; all ranks read the data, if there are any, and one draws. A collective."""
    output = options.output or options.run_dir / REPORT
    with comm.agreement():
        if comm.rank == 0:
            import_module("mpigd.report.page")  # says what it lacks before rows are read
            check_writable(output)
    found = measured(comm, options) if options.data else {}
    with comm.agreement():
        if comm.rank == 0:
            if found:
                RunDirectory(options.run_dir).write(CURVES, found)
            import_module("mpigd.report.page").write(options.run_dir, output)
    rows = {"on": found["on"], "rows": found["rows"]} if found else {}
    return {"output": str(output), **rows, "ranks": comm.size}


def measured(comm: Comm, options: Report) -> dict[str, Any]:
    """Curves of the model on rows of the data, and what rows these are; intervals of coefficients. A collective."""
    model = load(comm, options.run_dir)
    with comm.agreement():
        train = options_of(model, options.run_dir, options.data)
    if options.on == "all":
        answers = answered(comm, model, options.data, names_of(train), None)
        return {"on": options.on, **curves(comm, model, answers)}
    split = read_split(comm, train)
    check_target(comm, model, split.data)
    if options.on:
        check_roles(comm, split, (options.on,))
    return shown(comm, model, split, train, options.on)

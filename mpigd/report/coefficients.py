"""Figures and tables of the coefficients of a model."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mpigd.model import Model
from mpigd.report.drawing import MUTED, STYLES, A, cells, figure, legend, log
from mpigd.report.parts import Figure, Table, number, plain, short

MOST_DRAWN = 30  # columns of a figure
MOST_LISTED = 100  # and of a table
MOST_OUTPUTS = 20  # classes or outputs side by side


class Interval(NamedTuple):
    """Ends of the intervals of coefficients, (d,), at a level such as 0.95."""

    low: np.ndarray
    high: np.ndarray
    level: float


def coefficients(model: Model, inference: dict[str, Any]) -> tuple[tuple[Figure, ...], tuple[Table, ...]]:
    """The largest coefficients, for columns of one standard deviation where the fit has given them that.

    inference : what `mpigd.inference` tells of them; {} for nothing.
    """
    coef, _ = model.columns()
    scale = model.fit["scale"] if "scale" in model.fit else np.ones(len(coef))
    size = np.abs(coef * scale[:, None]).max(axis=1)
    order = np.argsort(-size, kind="stable")
    tables = (_table(model, order[:MOST_LISTED], scale), *_tests(inference))
    order = order[: min(MOST_DRAWN, int(np.count_nonzero(size)))]
    figures: tuple[Figure, ...] = ()
    if len(order):
        one = coef.shape[1] == 1
        figures = (_dots(model, order, scale, _interval(inference)) if one else _map(model, order, scale),)
    return (*figures, *along_path(model, order, scale)), tables


def _interval(inference: dict[str, Any]) -> Interval | None:
    """Of the coefficients of one output, if there are intervals."""
    if "level" not in inference:
        return None
    rows = inference["coefficients"]
    low, high = (np.array([row[end] for row in rows], np.float64) for end in ("lower", "upper"))
    return Interval(low, high, inference["level"])


def _tests(inference: dict[str, Any]) -> tuple[Table, ...]:
    """Estimates with standard errors, tests and intervals, the smallest p-values first."""
    if "level" not in inference:
        return ()
    rows = sorted(inference["coefficients"], key=lambda row: math.inf if row["p_value"] is None else row["p_value"])
    several = "output" in rows[0]
    keys = ("estimate", "standard_error", "statistic", "p_value", "lower", "upper")
    level = f"{100.0 * inference['level']:g}%"
    head = ("standard error", inference["test"], "p", f"{level} from", "to")
    listed = tuple(
        (plain(row["name"]), *([row["output"]] if several else []), *(number(row[key]) for key in keys))
        for row in rows[:MOST_LISTED]
    )
    some = "" if len(listed) == len(rows) else f", the {len(listed)} with the smallest p of {len(rows):,}"
    caption = f"Estimates with {level} intervals{some}"
    return (Table(caption, ("column", *(["output"] if several else []), "estimate", *head), listed, folded=True),)


def _of_all(model: Model, count: int) -> str:
    d = len(model.coef)
    return f"all {d} coefficients" if count == d else f"the {count} largest of {d:,} coefficients"


def _unit(scale: np.ndarray) -> str:
    return "coefficient × sd of its column" if np.any(scale != 1.0) else "coefficient"


def _dots(model: Model, order: np.ndarray, scale: np.ndarray, interval: Interval | None) -> Figure:
    """One coefficient a line, with its interval."""
    value = model.columns()[0][order, 0] * scale[order]
    names = [short(model.feature_names[j]) for j in order]

    def paint(axes: Axes) -> None:
        place = np.arange(len(order))
        axes.axvline(0.0, color=MUTED, linewidth=1.0)
        if interval is not None:
            low, high = (side[order] * scale[order] for side in (interval.low, interval.high))
            axes.hlines(place, low, high, color=A, linewidth=2.0)
        else:
            axes.hlines(place, 0.0, value, color=A, linewidth=1.2)
        axes.plot(value, place, "o", color=A, markersize=5)
        axes.set_yticks(place, names)
        axes.xaxis.set_major_locator(MaxNLocator(4))  # names leave little room
        axes.set(xlabel=_unit(scale), ylim=(len(order) - 0.4, -0.6))
        axes.tick_params(axis="y", length=0)

    with_ends = f" with {100.0 * interval.level:g}% intervals" if interval is not None else ""
    alt = (
        f"Dots{with_ends} of {_of_all(model, len(order))}, largest first: "
        f"{plain(model.feature_names[order[0]])} has {number(value[0])}."
    )
    return figure("coefficients", f"Coefficients{with_ends}", alt, paint, 60.0 + 17.0 * len(order))


def _map(model: Model, order: np.ndarray, scale: np.ndarray) -> Figure:
    """Squares of columns by classes or outputs."""
    value = (model.columns()[0] * scale[:, None])[order]
    outputs = np.sort(np.argsort(-np.abs(value).max(axis=0), kind="stable")[:MOST_OUTPUTS])
    value = value[:, outputs]
    most = np.abs(value).max()
    levels = np.rint(4.0 + 4.0 * value / most).astype(np.int64)
    named = [model.labels[k] if model.labels else str(k) for k in outputs]
    what = "class" if len(model.classes) else "output"

    def paint(axes: Axes) -> None:
        cells(axes, levels, "d", [short(model.feature_names[j], 18) for j in order], named, most_ticks=MOST_DRAWN)
        axes.set(xlabel=what)

    row, column = np.unravel_index(np.argmax(np.abs(value)), value.shape)
    some = "" if len(outputs) == model.columns()[0].shape[1] else f" for the {len(outputs)} with the largest"
    alt = (
        f"Squares of {_of_all(model, len(order))}, a column for each {what}{some}, blue above zero and orange below: "
        f"the largest is {number(value[row, column])}, of {plain(model.feature_names[order[row]])} for {what} "
        f"{named[column]}."
    )
    title = f"{_unit(scale).capitalize()}, by {what}: orange −{number(most)}, blue {number(most)}"
    return figure("coefficients", title, alt, paint, 60.0 + 17.0 * len(order))


def along_path(model: Model, order: np.ndarray, scale: np.ndarray) -> tuple[Figure, ...]:
    """The largest coefficients against the strength of the penalty, where a model has that."""
    if not model.path or not len(order) or model.path["coef"].ndim > 2:
        return ()
    strength, coef = model.path["strength"], model.path["coef"] * scale
    named = order[: len(STYLES)]

    def paint(axes: Axes) -> None:
        for j in order[len(STYLES) :]:
            axes.plot(strength, coef[:, j], color=MUTED, linewidth=0.8)
        for j, style in zip(named, STYLES, strict=False):
            axes.plot(strength, coef[:, j], label=short(model.feature_names[j], 20), **style)
        log(axes, "x")
        axes.set(xlabel="strength of the penalty, times the one asked for", ylabel=_unit(scale))
        axes.invert_xaxis()
        legend(axes)

    alt = (
        f"Lines of {_of_all(model, len(order))} as the penalty falls from {number(strength[0])} to "
        f"{number(strength[-1])} times the one asked for: {np.count_nonzero(coef[0])} are not zero at first, "
        f"{np.count_nonzero(coef[-1])} at last."
    )
    return (figure("path", "Coefficients along the path of penalties", alt, paint, 290.0),)


def _table(model: Model, order: np.ndarray, scale: np.ndarray) -> Table:
    """Coefficients of the columns as they are stored, with what is known of these."""
    coef, intercept = model.columns()
    outputs = range(min(coef.shape[1], MOST_OUTPUTS))
    named = ["coefficient"]
    if coef.shape[1] > 1:
        named = [model.labels[k] if model.labels else f"output {k}" for k in outputs]
    head = ["column", *named]
    rows = [[plain(model.feature_names[j]), *(number(coef[j, k]) for k in outputs)] for j in order]
    first = ["intercept", *(number(intercept[k]) for k in outputs)]
    if np.any(scale != 1.0):
        head += ["mean of the column", "sd"]
        first += ["", ""]
        for row, j in zip(rows, order, strict=True):
            row += [number(model.fit["mean"][j]), number(scale[j])]
    caption = f"Intercept and {_of_all(model, len(order))}"
    return Table(caption, tuple(head), tuple(map(tuple, [first, *rows])), folded=True)

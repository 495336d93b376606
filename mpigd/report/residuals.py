"""Figures of a model of numbers on rows: what was fitted, and what is left over."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from mpigd.report.drawing import MUTED, A, B, figure, log
from mpigd.report.parts import Figure, Table, ends, number, percent

NAMES = {"deviance": "deviance residual", "y - fitted": "residual y − fitted"}


def of_numbers(outputs: list[dict[str, Any]], loss: str, level: float, powers: bool) -> tuple[Figure, ...]:
    """All figures of residuals, for each output.

    level : of quantile loss.  powers : whether axes may be of powers of ten.
    """
    found: tuple[Figure, ...] = ()
    for k, values in enumerate(outputs):
        if not values:
            continue
        suffix = f"-{k}" if len(outputs) > 1 else ""
        of_output = f", output {k}" if suffix else ""
        found += (fitted(values, suffix, of_output, powers),)
        if loss == "quantile":
            found += (below(values, suffix, of_output, level),)
        found += (spread(values, suffix, of_output, powers), histogram(values, suffix, of_output))
        found += (quantiles(values, suffix, of_output),)
    return found


def fitted(values: dict[str, Any], suffix: str, of_output: str, powers: bool) -> Figure:
    """Means of y against means of what is fitted."""
    groups = values["groups"]
    x, y = np.array(groups["fitted"]), np.array(groups["y"])
    powers = powers and y.min() > 0.0 and _wide(x)

    def paint(axes: Axes) -> None:
        equal = [min(x.min(), y.min()), max(x.max(), y.max())]
        axes.plot(equal, equal, color=MUTED, linewidth=1.0, linestyle=":")
        axes.plot(x, y, "o", color=A, markersize=5.5)
        axes.set(xlabel="fitted, mean of a group", ylabel="y, mean of a group")
        if powers:
            log(axes, "x", "y")

    alt = (
        f"{len(x)} dots, for groups of rows by what is fitted, of the mean of y against that of what is fitted, and a "
        f"dotted line where both are equal: fitted {ends(x)}, y {ends(y)}."
    )
    keys = ("fitted", "y", "residual", "sd", "weight")
    rows = tuple(tuple(number(groups[key][k]) for key in keys) for k in range(len(x)))
    head = ("mean fitted", "mean y", "mean residual", "sd of residual", "weight of rows")
    table = Table(f"Groups of rows{of_output}", head, rows, folded=True)
    return figure(f"fitted{suffix}", f"Fitted and observed{of_output}", alt, paint, table=table)


def spread(values: dict[str, Any], suffix: str, of_output: str, powers: bool) -> Figure:
    """Mean and standard deviation of residuals against what is fitted."""
    groups = values["groups"]
    x, mean, sd = (np.array(groups[key]) for key in ("fitted", "residual", "sd"))

    def paint(axes: Axes) -> None:
        axes.axhline(0.0, color=MUTED, linewidth=1.0)
        axes.vlines(x, mean - sd, mean + sd, color=A, linewidth=1.2)
        axes.plot(x, mean, "o", color=A, markersize=5)
        axes.set(xlabel="fitted, mean of a group", ylabel=NAMES[values["kind"]])
        if powers and _wide(x):
            log(axes, "x")

    alt = (
        f"Dots with bars of one standard deviation, of the mean {NAMES[values['kind']]} in {len(x)} groups of rows by "
        f"what is fitted: means {ends(mean)}, deviations {ends(sd)}."
    )
    return figure(f"spread{suffix}", f"Residuals against fitted{of_output}", alt, paint)


def _wide(x: np.ndarray) -> bool:
    return bool(x.min() > 0.0 and x.max() > 20.0 * x.min())


def histogram(values: dict[str, Any], suffix: str, of_output: str) -> Figure:
    """How residuals are distributed."""
    edges, weight = np.array(values["histogram"]["ends"]), np.array(values["histogram"]["weight"])
    share = weight / weight.sum()

    def paint(axes: Axes) -> None:
        axes.bar(edges[:-1], share, width=np.diff(edges), align="edge", color=A, linewidth=0.0)
        axes.axvline(0.0, color=MUTED, linewidth=1.0)
        axes.set(xlabel=NAMES[values["kind"]], ylabel="share of rows")
        axes.grid(axis="x", visible=False)

    alt = (
        f"Bars of the share of rows by {NAMES[values['kind']]}: mean {number(values['mean'])}, standard deviation "
        f"{number(values['sd'])}; what lies further than four of these from the mean is in the outermost bars."
    )
    return figure(f"histogram{suffix}", f"Distribution of residuals{of_output}", alt, paint)


def quantiles(values: dict[str, Any], suffix: str, of_output: str) -> Figure:
    """Quantiles of residuals against those of the normal distribution with their mean and standard deviation."""
    above = np.array(values["quantiles"]["above"])
    middle = 1.0 - (above + np.concatenate([[0.0], above[:-1]])) / 2.0  # of the weight between two points
    residual = np.array(values["quantiles"]["residual"])
    normal = NormalDist(values["mean"], values["sd"] or 1.0)
    expected = np.array([normal.inv_cdf(p) for p in middle])

    def paint(axes: Axes) -> None:
        axes.plot(expected[[0, -1]], expected[[0, -1]], color=MUTED, linewidth=1.0, linestyle=":")
        axes.plot(expected, residual, "o", color=A, markersize=3.5)
        axes.set(xlabel="quantile of a normal distribution", ylabel=NAMES[values["kind"]])

    alt = (
        f"Dots of {len(residual)} quantiles of residuals against those of a normal distribution, and a dotted line "
        f"where both are equal: the largest is {number(residual[0])}, of a normal one {number(expected[0])}; the least "
        f"{number(residual[-1])} and {number(expected[-1])}."
    )
    return figure(f"quantiles{suffix}", f"Quantiles of residuals{of_output}", alt, paint)


def below(values: dict[str, Any], suffix: str, of_output: str, level: float) -> Figure:
    """How often y lies below the quantile that is fitted."""
    groups = values["groups"]
    x, share, weight = (np.array(groups[key]) for key in ("fitted", "below", "weight"))
    in_all = float(np.average(share, weights=weight))

    def paint(axes: Axes) -> None:
        axes.axhline(level, color=B, linewidth=1.5, linestyle=(0, (5, 1.5)))
        axes.plot(x, share, "o", color=A, markersize=5.5)
        axes.set(xlabel="fitted, mean of a group", ylabel="share of y below", ylim=(-0.04, 1.04))

    alt = (
        f"Dots of the share of y below what is fitted in {len(x)} groups of rows, and a dashed line at "
        f"{percent(level)}, which was asked for: in all it is {percent(in_all)}."
    )
    return figure(f"below{suffix}", f"Share of y below the fitted quantile{of_output}", alt, paint)

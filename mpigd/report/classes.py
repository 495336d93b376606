"""Figures of a classifier on rows: ROC, precision against recall, calibration, confusion."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from mpigd.report.drawing import MUTED, STYLES, A, cells, figure, legend, on_step, step_of
from mpigd.report.parts import Figure, Table, number, percent

MOST_LINES = 4  # that are told apart; of more the best and the worst
MOST_NUMBERED = 12  # classes with a number in each square
MOST_PAIRS = 20  # of classes in a table of confusions


def roc(curves: list[dict[str, Any]], labels: list[str]) -> tuple[Figure, ...]:
    """True against false positive rate."""
    head = ("class", "area below ROC", "average precision", "share of rows")
    rows = tuple(
        (labels[c["class"]], number(c["roc_auc"]), number(c["average_precision"]), percent(c["share"])) for c in curves
    )
    alt = _areas("Curves of the true against the false positive rate", "area", "roc_auc", curves, labels)

    def paint(axes: Axes) -> None:
        axes.plot([0.0, 1.0], [0.0, 1.0], color=MUTED, linewidth=1.0, linestyle=":")
        ends = ([0.0, *c["false_positive_rate"]] for c in curves), ([0.0, *c["true_positive_rate"]] for c in curves)
        _lines(axes, [*zip(*ends, strict=True)], "roc_auc", curves, labels)
        axes.set(xlabel="false positive rate", ylabel="true positive rate")

    return (
        figure(
            "roc", "ROC, and the area below", alt, paint, 300.0, Table("Areas below curves", head, rows, folded=True)
        ),
    )


def precision_recall(curves: list[dict[str, Any]], labels: list[str]) -> tuple[Figure, ...]:
    """Precision against recall."""
    alt = _areas("Curves of precision against recall", "average precision", "average_precision", curves, labels)

    def paint(axes: Axes) -> None:
        if len(curves) == 1:
            axes.axhline(curves[0]["share"], color=MUTED, linewidth=1.0, linestyle=":")
        ends = [([0.0, *c["true_positive_rate"]], [c["precision"][0], *c["precision"]]) for c in curves]
        _lines(axes, ends, "average_precision", curves, labels, drawstyle="steps-pre")
        axes.set(xlabel="recall", ylabel="precision", ylim=(-0.03, 1.03))

    return (
        figure("precision-recall", "Precision, recall, and average precision", alt, paint, 300.0, _thresholds(curves)),
    )


def _areas(what: str, area: str, key: str, curves: list[dict[str, Any]], labels: list[str]) -> str:
    if len(curves) == 1:
        return f"{what} of class {labels[curves[0]['class']]}: {area} {number(curves[0][key])}."
    worst, best = (choose(curves, key=lambda c: float(c[key])) for choose in (min, max))
    return (
        f"{what} of {len(curves)} classes: {area} from {number(worst[key])} of class {labels[worst['class']]} "
        f"to {number(best[key])} of class {labels[best['class']]}."
    )


def _lines(
    axes: Axes,
    ends: list[tuple[list[float], list[float]]],
    key: str,
    curves: list[dict[str, Any]],
    labels: list[str],
    **look: Any,
) -> None:
    """A line for each class; of many classes the worst and the best before the others."""
    named = list(range(len(curves)))
    if len(curves) > MOST_LINES:
        by_area = sorted(named, key=lambda k: float(curves[k][key]))
        named = [by_area[0], by_area[-1]]
        for k in by_area[1:-1]:
            axes.plot(*ends[k], color=MUTED, linewidth=0.8, **look)
    for k, style in zip(named, STYLES, strict=False):
        label = f"class {labels[curves[k]['class']]}: {number(curves[k][key])}"
        axes.plot(*ends[k], label=label, **{**look, **style})
    legend(axes)


def _thresholds(curves: list[dict[str, Any]]) -> Table | None:
    """Of two classes, what some thresholds give."""
    if len(curves) > 1:
        return None
    (curve,) = curves
    recall = np.array(curve["true_positive_rate"])
    shown = sorted({int(np.argmax(recall >= share)) for share in np.linspace(0.05, 1.0, 20)})
    keys = ("threshold", "true_positive_rate", "precision", "false_positive_rate")
    rows = tuple(tuple(number(curve[key][k]) for key in keys) for k in shown)
    return Table("Thresholds", ("threshold", "recall", "precision", "false positive rate"), rows, folded=True)


def calibration(found: dict[str, list[float]], two: bool) -> tuple[Figure, ...]:
    """The share of rows that are what they are said to be, against the probability that was given."""
    x, y, weight = (np.array(found[key]) for key in ("probability", "share", "weight"))
    off = float(np.sum(weight * np.abs(x - y)) / weight.sum())
    of_what = "the second class" if two else "the most probable class"

    def paint(axes: Axes) -> None:
        axes.plot([0.0, 1.0], [0.0, 1.0], color=MUTED, linewidth=1.0, linestyle=":")
        axes.plot(x, y, color=A, linewidth=1.2)
        axes.scatter(x, y, s=8.0 + 120.0 * weight / weight.max(), color=A, zorder=3)
        axes.set(xlabel=f"probability of {of_what}", ylabel="share of rows that are")
        axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))

    alt = (
        f"Dots, larger for more rows, of the share of rows of {of_what} against the probability given, and a dotted "
        f"line where both are equal: they differ by {number(off)} in the mean."
    )
    rows = tuple((number(a), number(b), number(w)) for a, b, w in zip(x, y, weight, strict=True))
    table = Table("Calibration", ("mean probability", "share of rows", "weight of rows"), rows, folded=True)
    return (figure("calibration", "Calibration", alt, paint, 300.0, table),)


def confusion(counts: list[list[float]], labels: list[str]) -> tuple[Figure, ...]:
    """What rows of each class are taken for."""
    matrix = np.array(counts)
    there = matrix.sum(axis=1, keepdims=True)
    share = matrix / np.where(there > 0.0, there, 1.0)
    size = len(matrix)
    levels = np.where(matrix > 0.0, step_of(share), -1)

    def paint(axes: Axes) -> None:
        cells(axes, levels, "s", labels, labels, most_ticks=MOST_NUMBERED)
        axes.set(xlabel="taken for class", ylabel="class")
        if size <= MOST_NUMBERED:
            for (row, column), value in np.ndenumerate(matrix):
                colour = on_step(max(int(levels[row, column]), 0))
                small = 12.0 if size < 6 else 9.0
                axes.text(column, row, number(value), color=colour, ha="center", va="center", fontsize=small)
        axes.spines[:].set_visible(True)
        axes.spines[:].set_color(MUTED)

    right = float(np.trace(matrix) / matrix.sum())
    off = matrix - np.diag(np.diag(matrix))
    row, column = np.unravel_index(np.argmax(off), off.shape)
    alt = f"A square for each pair of {size} classes, of more colour for a larger share: {percent(right)} are right"
    if off.any():
        alt += f"; most errors are of class {labels[row]} taken for {labels[column]}, {number(off[row, column])}"
    height = 120.0 + 34.0 * size if size <= 6 else 340.0
    return (figure("confusion", "Confusion matrix", f"{alt}.", paint, height, _confusions(off, there[:, 0], labels)),)


def _confusions(off: np.ndarray, there: np.ndarray, labels: list[str]) -> Table | None:
    """The pairs of classes that are confused most."""
    order = np.argsort(-off, axis=None, kind="stable")[:MOST_PAIRS]
    pairs = [divmod(int(k), len(off)) for k in order if off.flat[k] > 0.0]
    if not pairs:
        return None
    rows = tuple((labels[i], labels[j], number(off[i, j]), percent(off[i, j] / there[i])) for i, j in pairs)
    return Table("Most frequent errors", ("class", "taken for", "rows", "of the class"), rows, folded=True)


def of_classes(on: dict[str, Any], labels: list[str]) -> tuple[Figure, ...]:
    """All figures of classes on some rows, for which there are numbers. on : as `mpigd.curves` gives it."""
    found: tuple[Figure, ...] = ()
    if on.get("curves"):
        found += roc(on["curves"], labels) + precision_recall(on["curves"], labels)
    known = on.get("calibration") or on["scores"].get("calibration")
    if known and known["weight"]:
        found += calibration(known, len(labels) == 2)
    if "confusion" in on["scores"]:
        found += confusion(on["scores"]["confusion"], labels)
    return found

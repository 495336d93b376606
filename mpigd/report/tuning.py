"""The figure of a search for options: scores of candidates, by the options that differ between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from mpigd.report.drawing import MUTED, A, B, C, cells, figure, legend, step_of
from mpigd.report.parts import Figure, Table, number, plain, short

MOST_LISTED = 100
Places = tuple[np.ndarray, list[str]]
Marks = dict[int, tuple[str, str, str]]  # what candidates are called, their colour and their marker


def surface(
    candidates: Sequence[dict[str, Any]],
    scores: Sequence[float | None],
    errors: Sequence[float | None],
    name: str,
    best: int,
    chosen: int,
) -> Figure | None:
    """Scores against the options that differ: a curve for one, squares for two, for more a line for each candidate.

    candidates : options by name.  scores, errors : the mean over folds and its standard error, None where a candidate
    has none.  name : of the score.  best, chosen : places of candidates.  None where nothing differs.
    """
    varied = [key for key in candidates[0] if len({repr(candidate[key]) for candidate in candidates}) > 1]
    if not varied:
        return None
    score, error = np.array(scores, np.float64), np.array(errors, np.float64)
    rising = bool(score[best] == np.nanmax(score))  # whether larger is better
    order = np.argsort(-score if rising else score, kind="stable")  # those without a score come last
    places = [_places([candidate[key] for candidate in candidates]) for key in varied]
    marks = {chosen: ("chosen", C, "s"), best: ("best", B, "D")}  # the best one if both are the same

    def paint(axes: Axes) -> None:
        if len(varied) == 1:
            end = score[best] - error[best] if rising else score[best] + error[best]
            _curve(axes, *places[0], score, error, marks, end)
            axes.set(xlabel=varied[0], ylabel=name)
        elif len(varied) == 2:
            _squares(axes, places, _levels(score if rising else -score), marks)
            axes.set(xlabel=varied[0], ylabel=varied[1])
        else:
            _parallel(axes, varied, places, order, marks)

    what = {
        1: f"Dots with bars of one standard error, of {name} for {len(candidates)} values of {varied[0]}",
        2: f"Squares, of more colour for a better {name} among all, by {' and '.join(varied[:2])}",
    }.get(len(varied), f"A line for each of {len(candidates)} candidates through their {len(varied)} options")
    picked = ", ".join(f"{key} {_text(candidates[best][key])}" for key in varied)
    alt = f"{what}: the best {name} is {number(score[best])} ± {number(error[best])}, of {picked}."
    return figure("tuning", f"Tuning: {name}", alt, paint, 290.0, _table(candidates, varied, score, error, order, name))


def _table(
    candidates: Sequence[dict[str, Any]],
    varied: list[str],
    score: np.ndarray,
    error: np.ndarray,
    order: np.ndarray,
    name: str,
) -> Table:
    """The best candidates first."""
    shown = order[:MOST_LISTED]
    rows = tuple((*(_text(candidates[k][key]) for key in varied), number(score[k]), number(error[k])) for k in shown)
    some = "" if len(rows) == len(candidates) else f", the best {len(rows)} of {len(candidates)}"
    return Table(f"Candidates{some}", (*varied, name, "standard error"), rows, folded=True)


def _text(value: Any) -> str:
    return number(value) if _is_number(value) else plain(str(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _places(values: list[Any]) -> Places:
    """Where values lie among the different ones, which are in order if they are numbers; and what these are called."""
    numbers = all(map(_is_number, values))
    keys = values if numbers else [str(value) for value in values]
    different = sorted(set(keys)) if numbers else list(dict.fromkeys(keys))
    return np.array([different.index(key) for key in keys]), [short(_text(value), 12) for value in different]


def _curve(
    axes: Axes,
    at: np.ndarray,
    names: list[str],
    score: np.ndarray,
    error: np.ndarray,
    marks: Marks,
    end: float,
) -> None:
    order = np.argsort(at, kind="stable")
    axes.errorbar(at[order], score[order], error[order], color=A, marker="o", markersize=5, linewidth=1.5, capsize=3)
    for place, (label, colour, marker) in marks.items():
        axes.plot(at[place], score[place], marker, color=colour, markersize=8, linestyle="", label=label, zorder=4)
    axes.axhline(end, color=MUTED, linewidth=1.2, linestyle=":", label="best ± standard error")
    shown = range(0, len(names), -(-len(names) // 6))
    axes.set_xticks(list(shown), [names[k] for k in shown])
    legend(axes)


def _levels(score: np.ndarray) -> np.ndarray:
    """Steps of a scale by the order of scores, which may differ by powers of ten; -1 where there is none."""
    known = np.isfinite(score)
    different, place = np.unique(score[known], return_inverse=True)
    levels = np.full(len(score), -1)
    levels[known] = step_of(place / max(len(different) - 1, 1))
    return levels


def _squares(axes: Axes, places: list[Places], of_candidates: np.ndarray, marks: Marks) -> None:
    (column, columns), (row, rows) = places
    levels = np.full((len(rows), len(columns)), -1)
    levels[row, column] = of_candidates
    cells(axes, levels, "s", rows, columns, most_ticks=6)
    for place, (label, colour, marker) in marks.items():
        axes.plot(column[place], row[place], marker, linestyle="", label=label, **_frame(colour))
    legend(axes)


def _frame(colour: str) -> dict[str, Any]:
    """The look of a marker around a square."""
    return {"markersize": 14.0, "markeredgewidth": 2.5, "markerfacecolor": "none", "markeredgecolor": colour}


def _parallel(axes: Axes, varied: list[str], places: list[Places], order: np.ndarray, marks: Marks) -> None:
    heights = np.stack([at / max(len(names) - 1, 1) for at, names in places])
    x = np.arange(len(varied))
    for k in order:
        axes.plot(x, heights[:, k], color=MUTED, linewidth=0.7, alpha=0.6)
    for k, (label, colour, marker) in marks.items():
        axes.plot(x, heights[:, k], color=colour, linewidth=2.5, marker=marker, label=label, zorder=4)
    axes.set_xticks(x, [short(name, 14) for name in varied])
    for place, (_, names) in enumerate(places):
        for height, label in ((0.0, names[0]), (1.0, names[-1])):
            axes.annotate(label, (place, height), (4, 5 if height else -13), textcoords="offset points", fontsize=11)
    axes.set(yticks=[], ylim=(-0.12, 1.12), xlim=(-0.1, len(varied) - 0.6))
    axes.grid(axis="x", color=MUTED)
    legend(axes)

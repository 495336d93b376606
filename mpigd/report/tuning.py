"""The figure of a search for options: scores of candidates, by the options that differ between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from mpigd.report.drawing import MUTED, A, B, cells, figure, legend, step_of
from mpigd.report.parts import Figure, Table, number, plain, short

MOST_LISTED = 100


def surface(
    candidates: Sequence[dict[str, Any]],
    scores: Sequence[float],
    errors: Sequence[float],
    name: str,
    larger_is_better: bool = True,
) -> Figure | None:
    """Scores against the options that differ: a curve for one, squares for two, for more a line for each.

    candidates : options by name.  scores, errors : the mean over folds, and its standard error.  name : of the score.
    None where nothing differs. The table has the best first.
    """
    varied = [key for key in candidates[0] if len({repr(candidate[key]) for candidate in candidates}) > 1]
    if not varied:
        return None
    score, error = np.array(scores, np.float64), np.array(errors, np.float64)
    order = np.argsort(-score if larger_is_better else score, kind="stable")  # those without a score come last
    best = int(order[0])
    chosen = ", ".join(f"{key} {_text(candidates[best][key])}" for key in varied)
    end = f"the best {name} is {number(score[best])} ± {number(error[best])}, of {chosen}."
    rows = tuple(
        (*(_text(candidates[k][key]) for key in varied), number(score[k]), number(error[k]))
        for k in order[:MOST_LISTED]
    )
    some = "" if len(rows) == len(candidates) else f", the best {len(rows)} of {len(candidates)}"
    table = Table(f"Candidates{some}", (*varied, name, "standard error"), rows, folded=True)
    places = [_places([candidate[key] for candidate in candidates]) for key in varied]
    if len(varied) == 1:
        bound = score[best] - error[best] if larger_is_better else score[best] + error[best]

        def paint(axes: Axes) -> None:
            _curve(axes, *places[0], score, error, best, bound)
            axes.set(xlabel=varied[0], ylabel=name)

        alt = f"Dots with bars of one standard error, of {name} for {len(candidates)} values of {varied[0]}: {end}"
    elif len(varied) == 2:

        def paint(axes: Axes) -> None:
            _squares(axes, places, score, best, larger_is_better)
            axes.set(xlabel=varied[0], ylabel=varied[1])

        alt = f"Squares of {name} by {varied[0]} and {varied[1]}, the best one framed: {end}"
    else:

        def paint(axes: Axes) -> None:
            _parallel(axes, varied, places, order)

        alt = f"A line for each of {len(candidates)} candidates through their {len(varied)} options: {end}"
    return figure("tuning", f"Tuning: {name}", alt, paint, 290.0, table)


def _text(value: Any) -> str:
    return number(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else plain(str(value))


def _places(values: list[Any]) -> tuple[np.ndarray, list[str]]:
    """Where values lie among the different ones, which are in order if they are numbers; and what these are called."""
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    keys = values if numbers else [str(value) for value in values]
    different = sorted(set(keys)) if numbers else list(dict.fromkeys(keys))
    return np.array([different.index(key) for key in keys]), [short(_text(value), 12) for value in different]


def _curve(
    axes: Axes, at: np.ndarray, names: list[str], score: np.ndarray, error: np.ndarray, best: int, bound: float
) -> None:
    order = np.argsort(at, kind="stable")
    axes.errorbar(at[order], score[order], error[order], color=A, marker="o", markersize=5, linewidth=1.5, capsize=3)
    axes.plot(at[best], score[best], "o", color=B, markersize=9, label="best")
    axes.axhline(bound, color=MUTED, linewidth=1.2, linestyle=":", label="one standard error from it")
    shown = range(0, len(names), -(-len(names) // 8))
    axes.set_xticks(list(shown), [names[k] for k in shown])
    legend(axes)


def _squares(
    axes: Axes, places: list[tuple[np.ndarray, list[str]]], score: np.ndarray, best: int, larger_is_better: bool
) -> None:
    (column, columns), (row, rows) = places
    levels = np.full((len(rows), len(columns)), -1)
    known = np.isfinite(score)
    low, high = score[known].min(), score[known].max()
    share = (score[known] - low) / ((high - low) or 1.0)
    levels[row[known], column[known]] = step_of(share if larger_is_better else 1.0 - share)
    cells(axes, levels, "s", rows, columns)
    axes.plot(
        column[best], row[best], "s", markersize=14, markerfacecolor="none", markeredgecolor=B, markeredgewidth=2.5
    )


def _parallel(axes: Axes, varied: list[str], places: list[tuple[np.ndarray, list[str]]], order: np.ndarray) -> None:
    heights = np.stack([at / max(len(names) - 1, 1) for at, names in places])
    x = np.arange(len(varied))
    for k in order[:0:-1]:
        axes.plot(x, heights[:, k], color=MUTED, linewidth=0.7, alpha=0.6)
    axes.plot(x, heights[:, order[0]], color=B, linewidth=2.5, marker="o", label="best")
    axes.set_xticks(x, [short(name, 14) for name in varied])
    for place, (_, names) in enumerate(places):
        for height, label in ((0.0, names[0]), (1.0, names[-1])):
            axes.annotate(label, (place, height), (4, 4 if height else -12), textcoords="offset points", fontsize=10)
    axes.set(yticks=[], ylim=(-0.12, 1.12), xlim=(-0.1, len(varied) - 0.6))
    axes.grid(axis="x", color=MUTED)
    legend(axes)

"""Figures of how a fit went: convergence, and the time of each rank."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from mpigd.report.drawing import MUTED, STYLES, A, B, C, figure, legend, log
from mpigd.report.parts import Figure, Table, number, percent, thinned

MOST_POINTS = 400  # of a line
MOST_ROWS = 60  # of the table of records
MOST_RANKS = 24  # that have a bar each
PHASES = ("read", "compute", "comm")
WORDS = {"read": "reading", "compute": "computing", "comm": "between ranks", "other": "other"}


def convergence(records: list[dict[str, Any]]) -> tuple[Figure, ...]:
    """How the gradient and the objective fell, against passes and seconds; and the loss on rows to validate."""
    if len(records) < 2:
        return ()
    first, last = records[0], records[-1]
    objective = np.array([record["objective"] for record in records])
    gradient = np.array([record["grad_norm"] for record in records])
    gap = objective - objective.min()
    lines = {
        "gradient norm": gradient / (gradient.max() or 1.0),
        "objective, above its least": gap / (gap.max() or 1.0),
    }
    head = ("step", "passes", "seconds", "objective", "gradient norm")
    keys = ("step", "passes", "seconds", "objective", "grad_norm")
    rows = tuple(tuple(number(record[key]) for key in keys) for record in thinned(records, MOST_ROWS))
    some = "" if len(rows) == len(records) else f" ({len(rows)} of {len(records)})"
    tables = {"passes": Table(f"Records of the fit{some}", head, rows, folded=True), "seconds": None}
    found = []
    for axis, table in tables.items():
        x = np.array([record[axis] for record in records])

        def paint(axes: Axes, x: np.ndarray = x, axis: str = axis) -> None:
            for (label, y), style in zip(lines.items(), STYLES, strict=False):
                falls = np.flatnonzero(y > 0.0)
                shown = thinned(falls.tolist(), MOST_POINTS)
                axes.plot(x[shown], y[shown], label=label, marker="o" if len(shown) < 30 else "", ms=3.5, **style)
            log(axes, "y")
            axes.set(xlabel=axis, ylabel="share of the largest value", xlim=(0.0, None))
            legend(axes)

        alt = (
            f"Lines that fall: over {number(last[axis])} {axis} the norm of the gradient went from "
            f"{number(first['grad_norm'])} to {number(last['grad_norm'])}, and the objective from "
            f"{number(first['objective'])} to {number(last['objective'])}."
        )
        found.append(figure(f"convergence-{axis}", f"Convergence against {axis}", alt, paint, table=table))
    return (*found, *validation(records))


def validation(records: list[dict[str, Any]]) -> tuple[Figure, ...]:
    """The loss on rows to validate, beside the objective, against passes."""
    known = [record for record in records if record.get("validation_loss") is not None]
    if len(known) < 2:
        return ()
    best = min(known, key=lambda record: float(record["validation_loss"]))

    def paint(axes: Axes) -> None:
        shown = thinned(known, MOST_POINTS)
        passes = [record["passes"] for record in shown]
        axes.plot(passes, [record["validation_loss"] for record in shown], label="loss, rows to validate", **STYLES[0])
        axes.plot(passes, [record["objective"] for record in shown], label="objective, rows to train", **STYLES[1])
        axes.axvline(best["passes"], color=MUTED, linestyle=":", linewidth=1.2)
        axes.set(xlabel="passes")
        legend(axes)

    alt = (
        f"Two lines: the loss on rows to validate is least, {number(best['validation_loss'])}, after "
        f"{number(best['passes'])} passes, which a dotted line marks, and {number(known[-1]['validation_loss'])} "
        "at the end."
    )
    return (figure("validation", "Loss on rows to validate", alt, paint),)


def times(seconds: dict[str, Any]) -> tuple[Figure, ...]:
    """Seconds by phase of each rank; of many ranks the least, the median and the most."""
    if not seconds:
        return ()
    phases = {phase: np.array(seconds[f"{phase}_seconds"]) for phase in PHASES}
    total = np.array(seconds["seconds"])
    phases["other"] = np.maximum(total - sum(phases.values()), 0.0)
    ranks, hosts = len(total), seconds.get("hosts") or []
    head = ("rank", *(["host"] if hosts else []), *(WORDS[phase] for phase in phases), "in all")
    rows = tuple(
        (
            str(rank),
            *([hosts[rank]] if hosts else []),
            *(number(phase[rank]) for phase in phases.values()),
            number(total[rank]),
        )
        for rank in range(min(ranks, 200))
    )
    shares = ", ".join(
        f"{WORDS[name]} {percent(phase.sum() / max(total.sum(), 1e-300))}" for name, phase in phases.items()
    )
    table = Table(
        "Seconds of each rank" + ("" if ranks <= 200 else f", the first 200 of {ranks}"), head, rows, folded=True
    )
    if ranks <= MOST_RANKS:
        alt = f"Bars of the seconds of {ranks} rank(s), the longest {number(total.max())} s; of all: {shares}."
        height = 86.0 + 20.0 * ranks

        def paint(axes: Axes) -> None:
            _bars(axes, phases, ranks)
    else:
        alt = f"Bars from the least to the most seconds of {ranks} ranks, a dot at the median; of all: {shares}."
        height = 190.0

        def paint(axes: Axes) -> None:
            _spread(axes, phases)

    return (figure("times", "Time by phase and rank", alt, paint, height, table),)


def _bars(axes: Axes, phases: dict[str, np.ndarray], ranks: int) -> None:
    left = np.zeros(ranks)
    for (name, seconds), colour in zip(phases.items(), (A, B, C, MUTED), strict=True):
        axes.barh(np.arange(ranks), seconds, left=left, label=WORDS[name], height=0.7, color=colour)
        left += seconds
    axes.set(xlabel="seconds", ylabel="rank", ylim=(ranks - 0.4, -0.6))
    axes.set_yticks(range(0, ranks, -(-ranks // 12)))
    axes.grid(axis="y", visible=False)
    legend(axes)


def _spread(axes: Axes, phases: dict[str, np.ndarray]) -> None:
    for place, seconds in enumerate(phases.values()):
        axes.plot([seconds.min(), seconds.max()], [place, place], color=A, linewidth=5, solid_capstyle="butt")
        axes.plot(np.median(seconds), place, "o", color=B, markersize=8)
    axes.set_yticks(range(len(phases)), [WORDS[name] for name in phases])
    axes.set(xlabel="seconds", ylim=(len(phases) - 0.5, -0.5))
    axes.grid(axis="y", visible=False)

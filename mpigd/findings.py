"""What a person should know of data before fitting: warnings from summaries of columns, one sentence each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from mpigd.storage import Header
from mpigd.summary import NOWHERE, Summary

MOST_NAMED = 5
FEW_ROWS_EACH = 10  # a target of that many rows a value is rather one of classes
RARE = 0.05  # share of a class
MOST_SPREAD = 1e6  # ratio of standard deviations
# Mean over sd from which on columns lose digits that a fit needs: half of those of the type, and some.
FAR = {8: 1e6, 4: 1e3, 2: 1e2}


def of_columns(header: Header, x: Summary) -> list[str]:
    """About X."""
    names = header.feature_names
    found = not_numbers(header, header.names.x, x, names)
    if x.constant.any():
        found.append(f"{_columns(names, x.constant)} the same in all rows: a fit can't tell them from the intercept")
    found += duplicates(names, x)
    varies = ~x.constant & np.isfinite(x.sd) & (x.sd > 0.0)
    with np.errstate(all="ignore"):
        ratio = np.where(varies, np.abs(x.mean) / x.sd, 0.0)
    if header.dtype.kind == "f":
        far = ratio > FAR[header.dtype.itemsize]
        if far.any():
            worst = int(np.argmax(ratio))
            found.append(
                f"{_columns(names, far)} far from zero for how little they vary ('{names[worst]}': mean "
                f"{x.mean[worst]:.3g}, sd {x.sd[worst]:.3g}), which loses digits: subtract a constant"
            )
    if varies.any():
        sd = np.where(varies, x.sd, np.nan)
        small, large = int(np.nanargmin(sd)), int(np.nanargmax(sd))
        if sd[large] > MOST_SPREAD * sd[small]:
            found.append(
                f"columns differ in scale by {sd[large] / sd[small]:.0e}: sd {sd[small]:.3g} of '{names[small]}', "
                f"{sd[large]:.3g} of '{names[large]}'; fit with --standardize, which is the default"
            )
    return found


def of_target(header: Header, y: Summary, labels: dict[float, int] | None) -> list[str]:
    """About y. labels : its values and how often each occurs, where they are few."""
    found = not_numbers(header, header.names.y, y, [f"output {k}" for k in range(len(y.mean))])
    if y.constant.any():
        return [*found, f"dataset '{header.names.y}' holds the same value in all rows: there is nothing to fit"]
    if not labels or len(labels) * FEW_ROWS_EACH > header.n:
        return found
    broken = [label for label in labels if label != np.floor(label)]
    if broken:
        found.append(
            f"dataset '{header.names.y}' has {len(labels)} different values, not all whole ({broken[0]:g}): losses for "
            "classes need whole numbers as labels"
        )
        return found
    total = sum(labels.values())
    rare = [label for label, count in labels.items() if count < RARE * total]
    if len(rare) > 0:
        label = min(rare, key=lambda rare_label: labels[rare_label])
        found.append(
            f"classes are out of balance, if they are classes: only {labels[label]} of {total} rows "
            f"({100 * labels[label] / total:.2g} %) have {header.names.y} = {label:g}"
        )
    return found


def of_extra(header: Header, name: str, values: Summary, weight: bool) -> list[str]:
    """About weights or offsets."""
    found = not_numbers(header, name, values, [name])
    if weight and values.low[0] < 0.0:
        found.append(f"dataset '{name}' has negative values, down to {values.low[0]:g}: train refuses them")
    if weight and values.high[0] == 0.0 and values.low[0] == 0.0:
        found.append(f"dataset '{name}' is zero on every row: train refuses it")
    return found


def not_numbers(header: Header, name: str, values: Summary, names: Sequence[str]) -> list[str]:
    """About missing and infinite values: how many, where the first is."""
    found = []
    for what, counts, places in (
        ("missing (NaN)", values.missing, values.first_missing),
        ("infinite", values.infinite, values.first_infinite),
    ):
        if counts.any():
            row = int(places.min())
            column = int(np.argmax(places == row)) if row != NOWHERE else 0
            path, place = header.place(row)
            where = f"row {place}" + (f", column {column} ({names[column]})" if len(names) > 1 else "")
            total, many = int(counts.sum()), int((counts > 0).sum())
            in_columns = f" in {many} column{'s' if many > 1 else ''}" if len(names) > 1 else ""
            found.append(
                f"dataset '{name}' has {total} {what} value{'s' if total > 1 else ''}{in_columns}, the first at "
                f"{where} of {path}: train refuses such rows; remove or impute them"
            )
    return found


def duplicates(names: Sequence[str], x: Summary) -> list[str]:
    """About columns of the same values, found by their hashes; constant ones are reported by themselves."""
    groups = defaultdict(list)
    order = np.argsort(x.hashes, kind="stable")
    same = np.flatnonzero(x.hashes[order][1:] == x.hashes[order][:-1])
    for j in sorted({int(order[at]) for at in same} | {int(order[at + 1]) for at in same}):
        if not x.constant[j]:
            groups[int(x.hashes[j])].append(names[j])
    alike = [group for group in groups.values() if len(group) > 1]
    found = [f"columns {_listed(group)} hold the same values: keep one of them" for group in alike[:MOST_NAMED]]
    if len(alike) > MOST_NAMED:
        found.append(f"{len(alike) - MOST_NAMED} more groups of columns hold the same values")
    return found


def _columns(names: Sequence[str], which: np.ndarray) -> str:
    """Some columns by name, and the verb."""
    chosen = [names[j] for j in np.flatnonzero(which).tolist()]
    return f"column {_listed(chosen)} is" if len(chosen) == 1 else f"{len(chosen)} columns ({_listed(chosen)}) are"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:MOST_NAMED])
    return shown + (", …" if len(names) > MOST_NAMED else "")

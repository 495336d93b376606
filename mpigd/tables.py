"""The tables of `inspect`, `evaluate` and `explain`. Imported by rank 0 alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from mpigd.explain import Explanation
from mpigd.inference import Inference, exponential
from mpigd.tune import Tuned

MOST_ROWS, MOST_OUTPUTS, MOST_TRIALS, WIDEST = 20, 5, 30, 120
LEVELS = "▁▂▃▄▅▆▇█"
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def print_uncut(out: Console, table: Table) -> None:
    """Print a table that is rather wrapped by a narrow terminal than cut."""
    width = out.width
    out.width = max(width, WIDEST)
    out.print(table)
    out.width = width


def show_data(out: Console, values: dict[str, Any]) -> None:
    """Print what `inspect` found in data files."""
    files = values["files"]
    more = f" and {len(files) - 1} more file{'s' if len(files) > 2 else ''}" if len(files) > 1 else ""
    out.print(f"{files[0]}{more}: {values['rows']:,} rows × {values['columns']:,} columns", soft_wrap=True)
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    kept = values["type_in_memory"]
    table.add_row("type", values["type"] + ("" if kept == values["type"] else f", in memory {kept}"))
    table.add_row("storage", Text(values["storage"]))
    table.add_row("size", f"{_size(values['bytes_on_disk'])} on disk, X {_size(values['bytes_in_memory'])} in memory")
    table.add_row("blocks", f"{values['blocks']:,} of {values['block_rows']} rows")
    if "density" in values:
        table.add_row("density", f"{100 * values['density']:.3g} % of X is not zero")
    beside = [name for name in ("sample_weight", "offset") if values[name]]
    if values["outputs"]:
        beside.insert(0, "y" if values["outputs"] == 1 else f"y ({values['outputs']} columns)")
    table.add_row("beside X", ", ".join(beside) or "nothing")
    if "column_summaries" not in values:
        names = values["feature_names"]
        table.add_row("columns", Text(", ".join(names[:MOST_ROWS]) + (", …" if len(names) > MOST_ROWS else "")))
    out.print(table)
    if "column_summaries" in values:
        _show_summaries(out, values)
    if "labels" in values and values["labels"] is not None:
        _show_labels(out, values["labels"], values["class_names"])
    _show_warnings(out, values["warnings"], rows="column_summaries" in values)


def _show_summaries(out: Console, values: dict[str, Any]) -> None:
    columns, beside = values["column_summaries"], []
    for k, summary in enumerate(values.get("target", [])[:MOST_OUTPUTS]):
        beside.append({"name": "(y)" if values["outputs"] == 1 else f"(y {k})", **summary})
    beside += [{"name": f"({name})", **values[name]} for name in ("sample_weight", "offset") if values[name]]
    above, below = columns, []
    if len(columns) > MOST_ROWS:
        above, below = columns[: MOST_ROWS // 2], columns[-MOST_ROWS // 2 :]
    shown = [*above, *below, *beside]
    table = Table(box=None)
    for name in ("column", "min", "max", "mean", "sd", "zeros"):
        table.add_column(name, justify="left" if name == "column" else "right", no_wrap=True)
    marked = [name for name in ("missing", "infinite") if any(row[name] for row in shown)]
    for name in marked:
        table.add_column({"missing": "NaN", "infinite": "inf"}[name], justify="right", no_wrap=True, min_width=3)
    table.add_column("from min to max", no_wrap=True)
    for place, row in enumerate(shown):
        if below and place == len(above):
            table.add_row("…")
        numbers = ["–" if row[key] is None else f"{row[key]:.4g}" for key in ("low", "high", "mean", "sd")]
        counts = [f"{row[key]:,}" if row[key] else "" for key in ("zeros", *marked)]
        table.add_row(_shortened(row["name"]), *numbers, *counts, sparkline(row["histogram"]))
    out.print()
    print_uncut(out, table)
    if len(columns) > MOST_ROWS:
        left = len(columns) - MOST_ROWS
        out.print(f"{left} columns are left out: see --columns 'NAME,PATTERN*', or --json for all")


def _show_labels(out: Console, labels: dict[str, int], names: Sequence[str]) -> None:
    total, named = sum(labels.values()), {str(number): f"{number} ({name})" for number, name in enumerate(names)}
    table = Table(box=None)
    table.add_column("y", justify="right")
    for name in ("rows", "share"):
        table.add_column(name, justify="right")
    for label, count in labels.items():
        share = count / total
        table.add_row(Text(named.get(label, label)), f"{count:,}", f"{100 * share:.2f} %", "█" * round(30 * share))
    out.print()
    out.print(table)


def _show_warnings(out: Console, warnings: Sequence[str], rows: bool) -> None:
    if warnings or rows:
        out.print()
    for warning in warnings:
        out.print(Text(f"Warning: {warning}."), soft_wrap=True)
    if rows and not warnings:
        out.print("Nothing found that would trouble a fit.")


def show_model(out: Console, values: dict[str, Any]) -> None:
    """Print what `inspect` found in a model."""
    names, result, config = values["feature_names"], values["result"], values["config"]
    outputs = len(values["intercept"]) if isinstance(values["intercept"], list) else 1
    out.print(f"{values['file']}: {values['loss']} loss, {values['link']} link, {len(names):,} columns", soft_wrap=True)
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    if values["classes"]:
        names = values["class_names"]
        labels = (f"{label:g}" + (f" ({names[k]})" if names else "") for k, label in enumerate(values["classes"]))
        table.add_row("classes", Text(", ".join(labels)))
    fitted = "solver" in result  # and not made by another program
    if fitted:
        ended = "converged" if result.get("converged") else f"stopped ({result.get('reason')})"
        table.add_row("solver", Text(f"{result.get('solver')}, {ended} (passes: {result.get('passes'):g})"))
        table.add_row("objective", f"{result.get('objective'):.8g}, gradient norm {result.get('grad_norm'):.1e}")
        table.add_row("fitted on", Text(f"{result.get('rows'):,} rows, {result.get('ranks')} rank(s): {_data(config)}"))
        table.add_row("data fingerprint", str(result.get("data_fingerprint")))
    if "imported" in result:
        table.add_row("imported from", Text(str(result["imported"])))
    table.add_row("model fingerprint", values["fingerprint"])
    table.add_row("mpigd", values["mpigd_version"])
    penalties = {key: config[key] for key in ("l2", "l1", "group", "lower", "upper") if config.get(key)}
    if fitted:
        table.add_row("penalty", Text(", ".join(f"{key} {value}" for key, value in penalties.items()) or "none"))
    if values["strengths"]:
        table.add_row("path", f"{len(values['strengths'])} fits")
    out.print(table)
    out.print()
    _show_coefficients(out, values, outputs)


def _data(config: dict[str, Any]) -> str:
    given = config.get("data", [])
    given = [given] if isinstance(given, str) else given
    return ", ".join(given[:3]) + (", …" if len(given) > 3 else "")


def _show_coefficients(out: Console, values: dict[str, Any], outputs: int) -> None:
    """Those of most effect first: a coefficient times the standard deviation of its column, where that is known."""
    rows = [c if isinstance(c, list) else [c] for c in values["coef"]]
    intercept = values["intercept"] if outputs > 1 or isinstance(values["intercept"], list) else [values["intercept"]]
    known = any(scale != 1.0 for scale in values["scale"])
    scale = values["scale"] if known else [1.0] * len(rows)
    effects = [max(abs(c) for c in row) * s for row, s in zip(rows, scale, strict=True)]
    order = sorted(range(len(rows)), key=lambda j: -effects[j])
    table = Table(box=None)
    table.add_column("column", no_wrap=True)
    classes = values["classes"] if len(values["classes"]) == outputs else []
    for k in range(min(outputs, MOST_OUTPUTS)):
        several = f"class {classes[k]:g}" if classes else f"output {k}"
        table.add_column("coefficient" if outputs == 1 else several, justify="right")
    if known:
        table.add_column("per sd" if outputs == 1 else "largest per sd", justify="right")
    for j in order[:MOST_ROWS]:
        effect = [f"{rows[j][0] * scale[j] if outputs == 1 else effects[j]:.5g}"] if known else []
        table.add_row(_shortened(values["feature_names"][j]), *(f"{c:.8g}" for c in rows[j][:MOST_OUTPUTS]), *effect)
    table.add_row("(intercept)", *(f"{c:.8g}" for c in intercept[:MOST_OUTPUTS]))
    out.print(table)
    zeros = sum(effect == 0.0 for effect in effects)
    if zeros:
        out.print(f"{zeros} of {len(rows)} columns have coefficients of zero")
    if len(rows) > MOST_ROWS or outputs > MOST_OUTPUTS:
        out.print(f"… {len(rows)} × {outputs} coefficients in all: see --json")


def sparkline(counts: Sequence[int]) -> str:
    """Counts as bars of eight heights; what is not zero is seen.

    >>> sparkline([0, 1, 50, 100])
    ' ▁▄█'
    """
    most = max([*counts, 1])
    return "".join(LEVELS[max(-(-len(LEVELS) * count // most) - 1, 0)] if count else " " for count in counts)


def _shortened(name: str, most: int = 24) -> Text:
    return Text(name if len(name) <= most else name[: most - 1] + "…")


def _size(count: int) -> str:
    amount, unit = float(count), 0
    while amount >= 1024.0 and unit < len(UNITS) - 1:
        amount, unit = amount / 1024.0, unit + 1
    return f"{amount:.4g} {UNITS[unit]}"


def show_scores(out: Console, values: dict[str, Any]) -> None:
    """Print what `evaluate` found of classes: tables of each class, of confusions, and of probabilities."""
    labels = [escape(name) for name in values.get("class_names", ())] or [f"{label:g}" for label in values["labels"]]
    shown, of_class = labels[:MOST_ROWS], values["classes"]
    shares = zip(*(of_class[name] for name in ("precision", "recall", "f1", "weight")), strict=True)
    rows = [[f"{p:.4f}", f"{r:.4f}", f"{f:.4f}", f"{w:,.6g}"] for p, r, f, w in shares]
    columns: tuple[str, ...] = ("class", "precision", "recall", "F1", "weight of its rows")
    _titled(out, "By class", columns, [[label, *row] for label, row in zip(shown, rows, strict=False)])
    if len(labels) <= MOST_ROWS // 2:
        rows = [
            [label, *(f"{value:,.6g}" for value in row)] for label, row in zip(labels, values["confusion"], strict=True)
        ]
        _titled(out, "Rows of each class (down) that were taken for each (across)", ("class", *labels), rows)
    if "calibration" in values:
        parts = zip(*(values["calibration"][key] for key in ("probability", "share", "weight")), strict=True)
        columns = ("mean probability", "share that is", "weight of rows")
        rows = [[f"{probability:.4f}", f"{share:.4f}", f"{weight:,.6g}"] for probability, share, weight in parts]
        _titled(out, f"Rows by their probability of class {labels[1]}", columns, rows)


def show_trials(out: Console, found: Tuned) -> None:
    """Print the candidates that `tune` has tried, or the best of many."""
    shown = sorted({*found.best_first()[:MOST_TRIALS], found.best, found.chosen})
    names = list(found.trials[0].values)
    rows = []
    for place in shown:
        trial = found.trials[place]
        said = [word for word, at in (("best", found.best), ("chosen", found.chosen)) if at == place]
        values = [f"{value:g}" if isinstance(value, float) else str(value) for value in trial.values.values()]
        numbers = [f"{trial.mean:.6g}", f"{trial.standard_error:.2g}", f"{trial.passes:.4g}"]
        rows.append([*values, *numbers, ", ".join(said) or trial.note])
    few = "" if len(shown) == len(found.trials) else f", the best {len(shown)} of {len(found.trials)}"
    title = f"Candidates, by their mean {found.score} on {found.folds} folds{few}"
    _titled(out, title, (*names, "mean", "std. error", "passes", ""), rows)
    out.print(f"{found.seconds:.3f} s of reading and searching", soft_wrap=True)


def show_explanation(out: Console, found: Explanation) -> None:
    """Print what `explain` found."""
    inference, loss = found.inference, found.model.loss.name
    for k, output in enumerate(inference.outputs[:MOST_OUTPUTS]):
        title = f"Coefficients of {f'the {loss} loss' if len(inference.outputs) == 1 else escape(output)}"
        relative = f", relative to class {escape(found.model.labels[0])}" if found.model.loss.coupled else ""
        _titled(out, title + relative, *_of_coefficients(inference, k), left=1)
    if len(inference.outputs) > MOST_OUTPUTS or len(inference.names) > MOST_ROWS:
        out.print(f"… {inference.estimate.size} coefficients in all, of which some are shown: see --json")
    out.print()
    for line in _of_fit(inference):
        out.print(line, soft_wrap=True)
    for reason in inference.invalid:
        out.print(Text(f"No standard errors: {reason}."), soft_wrap=True)
    for note in inference.notes:
        out.print(Text(f"Note: {note}."), soft_wrap=True)
    if found.importance is not None:
        columns = found.importance.summary()["columns"]
        shown = sorted(columns, key=lambda column: -column["increase"])[:MOST_ROWS]
        rows = [
            (_shortened(c["name"]), f"{c['increase']:.5g}", "" if c["sd"] is None else f"{c['sd']:.2g}") for c in shown
        ]
        title = f"Increase of the mean loss, {found.importance.loss:.6g}, where a column is permuted ({found.on} rows)"
        _titled(out, title, ("column", "increase", "sd"), rows, left=1)


def _of_coefficients(inference: Inference, k: int) -> tuple[Sequence[str], Sequence[Sequence[str | Text]]]:
    """Headings and rows of the table of an output."""
    told, ratio, d = inference.uncertainty, inference.ratio, len(inference.standardised)
    sizes = np.abs((inference.estimate if told is None else told.statistic)[:, k])
    picked = np.sort(np.argsort(-np.nan_to_num(sizes), kind="stable")[:MOST_ROWS]).tolist()
    headings = ["column", "coefficient"]
    if told is not None:
        headings += ["std. error", told.test, "p", "from", f"to ({100 * told.level:g} %)"]
    headings += [*([ratio] if ratio else []), "per sd"]
    rows: list[list[str | Text]] = []
    for j in picked:
        value = inference.estimate[j, k]
        row: list[str | Text] = [_shortened(inference.names[j]), f"{value:.6g}"]
        if told is not None:
            row += [f"{told.standard_error[j, k]:.4g}", f"{told.statistic[j, k]:.3f}", f"{told.p_value[j, k]:.2g}"]
            row += [f"{told.lower[j, k]:.5g}", f"{told.upper[j, k]:.5g}"]
        row += [f"{exponential(value):.5g}"] if ratio else []
        rows.append([*row, f"{inference.standardised[j, k]:.4g}" if j < d else ""])
    return headings, rows


def _of_fit(inference: Inference) -> Iterator[str]:
    """Lines on how well a model fits."""
    n, told = inference.n, inference.uncertainty
    kind = "" if told is None else f", covariance {told.kind}"
    left = n - inference.parameters
    yield f"{n:,.10g} rows, {inference.parameters} coefficients, {left:,.10g} degrees of freedom{kind}"
    names = ("deviance", "null_deviance", "dispersion", "log_likelihood", "aic", "bic")
    known = [(name, inference.fit[name]) for name in names if name in inference.fit]
    for name, values in known:
        if np.isfinite(values).any():
            shown = ", ".join(f"{value:.8g}" for value in values[:MOST_OUTPUTS])
            yield f"{name.replace('_', ' ')}: {shown}"


def _titled(
    out: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str | Text]], left: int = 0
) -> None:
    """Print a table of numbers below a line; its first columns may be text, on the left."""
    table = Table(box=None)
    for place, name in enumerate(columns):
        table.add_column(name, justify="left" if place < left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    out.print(f"\n{title}", soft_wrap=True)
    print_uncut(out, table)

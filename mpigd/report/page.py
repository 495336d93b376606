"""The page: what a run directory holds, as sections of facts, figures and tables. For the rank that writes it alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from mpigd.errors import UsageError
from mpigd.files import reported, written_whole
from mpigd.options import Train
from mpigd.report.parts import Section, Table, number, percent, plain
from mpigd.report.source import Run, read_run
from mpigd.rundir import REPORT

try:
    import jinja2

    from mpigd.report import classes, coefficients, progress, residuals, tuning
    from mpigd.report.palette import DARK, LIGHT, css
except ImportError as missing:
    name = str(missing.name).partition(".")[0]
    raise UsageError(f"a report needs {name}: pip install 'mpigd[report]'") from None

TEMPLATE = "report.html.j2"
SAID = {"done": "done", "running": "running, or killed", "stopped": "stopped before its end", "failed": "failed"}
REASONS = {
    "gradient": "the gradient is small enough",
    "rounding": "no step makes the objective smaller any more",
    "objective": "the objective no longer changes",
    "passes": "it had its passes",
    "validation": "the loss on rows to validate no longer fell",
}
ROWS = {"train": "rows to train", "validation": "rows to validate", "test": "rows to test", "all": "all rows given"}
LABELS = {  # of scores, those shown first ahead
    "roc_auc": "ROC AUC",
    "accuracy": "accuracy",
    "log_loss": "log loss",
    "r2": "R²",
    "rmse": "RMSE",
    "mae": "MAE",
    "d2": "D²",
    "deviance": "mean deviance",
    "pinball_loss": "pinball loss",
    "brier": "Brier score",
    "average_precision": "average precision",
    "balanced_accuracy": "balanced accuracy",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
}
MOST_CLASSES = 200  # in a table


def write(directory: Path, output: Path | None = None) -> None:
    """Write the page about a run, to report.html in its directory if not elsewhere.

    DataError where the directory is not that of a run, OutputError where the page can't be written.
    """
    output = output or directory / REPORT
    page = render(read_run(directory))
    with reported(output), written_whole(output) as temporary:
        temporary.write_text(page, encoding="utf-8")


def render(run: Run, parts: Iterable[Section] | None = None) -> str:
    """The page as text; the same for the same directory. parts : what it has, instead of all that is known."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mpigd.report", ""), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    name = plain(run.path.resolve().name)
    page: str = environment.get_template(TEMPLATE).render(
        name=name,
        status=SAID.get(run.status, run.status),
        sections=[part for part in (sections(run) if parts is None else parts) if not part.empty],
        light=css(LIGHT),
        dark=css(DARK),
        version=run.environment.get("mpigd", ""),
    )
    return page


def sections(run: Run) -> Iterator[Section]:
    """The parts of the page, in order; some are empty."""
    yield of_outcome(run)
    yield of_data(run)
    yield Section("convergence", "Convergence", figures=progress.convergence(run.records))
    yield of_scores(run)
    yield from of_curves(run)
    yield of_coefficients(run)
    yield of_tuning(run)
    yield Section("time", "Time", figures=progress.times(run.times))
    yield of_configuration(run)
    yield of_fingerprints(run)
    yield of_events(run)


def of_outcome(run: Run) -> Section:
    """What was fitted, and how it ended."""
    result = run.result
    facts = [("Loss", str(run.config.get("loss", "squared")))] if run.config else []
    if result:
        why = f", {result['why']}" if result.get("why") else ""
        facts += [
            ("Solver", result["solver"] + why),
            ("Ended as", REASONS.get(result["reason"], result["reason"]) + _converged(result)),
            ("Objective", f"{result['objective']:.10g}"),
            ("Gradient norm", number(result["grad_norm"])),
            ("Steps", number(result["steps"])),
            ("Passes over the rows", number(result["passes"] + result["setup_passes"])),
            ("Seconds", number(result["seconds"])),
            ("Ranks", number(result["ranks"])),
        ]
        if run.model:
            facts.append(("Coefficients not zero", f"{result['nonzero']:,} of {run.model.coef.size:,}"))
        facts += [("Threshold", number(result["threshold"]))] if "threshold" in result else []
        facts += [("Ranks lost", ", ".join(result["lost"]))] if result.get("lost") else []
        facts += [("Slow ranks", "; ".join(result["slow"]))] if result.get("slow") else []
    elif run.records:
        last = run.records[-1]
        facts += [("Step", number(last["step"])), ("Objective", f"{last['objective']:.10g}")]
    return Section("outcome", "Outcome", result.get("note", ""), tuple(facts))


def _converged(result: dict[str, Any]) -> str:
    return "" if result["converged"] else " (not converged)"


def of_data(run: Run) -> Section:
    """The rows that the model was fitted on, and those that curves were made on."""
    files = [str(file) for name in ("data", "validation_data", "test_data") for file in run.config.get(name, ())]
    facts = [("Files", ", ".join(map(plain, files)))] if files else []
    tables = []
    if run.model:
        facts += [("Rows to train", number(run.result["rows"])), ("Columns", number(run.result["columns"]))]
        if len(run.model.classes):
            facts.append(("Classes", number(len(run.model.classes))))
    if run.curves:
        facts.append((ROWS[run.curves["on"]].capitalize() + ", of weight above 0", number(run.curves["rows"])))
        for k, values in enumerate(run.curves.get("residuals", ())):
            of_output = f", output {k}" if len(run.curves["residuals"]) > 1 else ""
            if values:
                mean, sd = (number(values["y"][key]) for key in ("mean", "sd"))
                facts.append((f"y of these{of_output}", f"{mean} ± {sd} (sd)"))
    on, scores = _scored(run)
    if run.model and "classes" in scores:
        tables.append(_classes(scores["classes"], labels_of(run), on))
    return Section("data", "Data", facts=tuple(facts), tables=tuple(tables))


def _classes(found: dict[str, list[float]], labels: list[str], on: str) -> Table:
    total = sum(found["weight"])
    keys = ("precision", "recall", "f1")
    rows = tuple(
        (label, number(weight), percent(weight / total), *(number(found[key][k]) for key in keys))
        for k, (label, weight) in enumerate(zip(labels[:MOST_CLASSES], found["weight"], strict=False))
    )
    some = f", the first {MOST_CLASSES} of {len(labels)}" if len(labels) > MOST_CLASSES else ""
    head = ("class", "weight of rows", "share", "precision", "recall", "F1")
    return Table(f"Classes, {ROWS[on]}{some}", head, rows, folded=len(rows) > 6)


def labels_of(run: Run) -> list[str]:
    """What classes are called."""
    return list(run.model.labels) if run.model else []


def _scored(run: Run) -> tuple[str, dict[str, Any]]:
    """Scores on the rows of the curves, else on those that are held out most; and which rows these are."""
    if run.curves:
        return run.curves["on"], run.curves["scores"]
    scores = run.result.get("scores") or {"train": {}}
    on = list(scores)[-1]
    return on, scores[on]


def of_scores(run: Run) -> Section:
    """Metrics on rows of each kind."""
    every = {**run.result.get("scores", {}), **({run.curves["on"]: run.curves["scores"]} if run.curves else {})}
    if not every:
        return Section("scores", "Scores")
    keys = [key for key in LABELS if any(key in scores for scores in every.values())]
    head = ("score", *(ROWS[on] for on in every))
    rows = tuple((LABELS[key], *(number(scores.get(key)) for scores in every.values())) for key in keys)
    return Section("scores", "Scores", tables=(Table("Scores", head, rows),))


def of_curves(run: Run) -> Iterator[Section]:
    """Figures of what the model says of rows."""
    if run.model is None:
        return
    on, scores = _scored(run)
    if len(run.model.classes):
        figures = classes.of_classes(run.curves or {"scores": scores}, labels_of(run))
        yield Section("classes", f"Classes, {ROWS[on]}", figures=figures)
    elif run.curves:
        loss = run.model.loss
        figures = residuals.of_numbers(run.curves["residuals"], loss.name, run.model.parameter, loss.link == "log")
        yield Section("residuals", f"Residuals, {ROWS[on]}", figures=figures)


def of_coefficients(run: Run) -> Section:
    """The coefficients of the model."""
    if run.model is None:
        return Section("coefficients", "Coefficients")
    inference = run.curves.get("inference", {})
    figures, tables = coefficients.coefficients(run.model, inference)
    why = f"There are no intervals: {'; '.join(inference['invalid'])}." if inference.get("invalid") else ""
    return Section("coefficients", "Coefficients", why, figures=figures, tables=tables)


def of_tuning(run: Run) -> Section:
    """The candidates of a search for options."""
    found = run.tuning
    if not found:
        return Section("tuning", "Tuning")
    trials = found["trials"]
    values, means, errors = ([trial[key] for trial in trials] for key in ("values", "mean", "standard_error"))
    drawn = tuning.surface(values, means, errors, found["score"], found["best"], found["chosen"])
    chosen = ", ".join(f"{key} {plain(str(value))}" for key, value in values[found["chosen"]].items())
    facts = (
        ("Score", found["score"]),
        ("Folds", number(found["folds"])),
        ("Candidates", number(len(trials))),
        ("Given up", number(sum(bool(trial["note"]) for trial in trials))),
        ("Rule", found["rule"]),
        ("Chosen", chosen),
    )
    return Section("tuning", "Tuning", facts=facts, figures=(drawn,) if drawn else ())


def of_configuration(run: Run) -> Section:
    """Options, those that are not the defaults first, and what the run ran on."""
    default = {field.name: field.default for field in fields(Train)}
    given = {key: value for key, value in run.config.items() if key != "data" and _plain(default.get(key)) != value}

    def table(caption: str, values: dict[str, Any], folded: bool = False) -> Table:
        rows = tuple((key.replace("_", "-"), plain(str(value))) for key, value in values.items())
        return Table(caption, ("option" if values is not run.environment else "what", "value"), rows, folded)

    tables = [table("Options that are not the defaults", given)] if given else []
    tables += [table("All options", run.config, folded=True)] if run.config else []
    tables += [table("Versions and machine", run.environment, folded=True)] if run.environment else []
    return Section("configuration", "Configuration", tables=tuple(tables))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def of_fingerprints(run: Run) -> Section:
    """By which bits can be compared."""
    found = (("Model", run.model.fingerprint), ("Data", run.result.get("data_fingerprint", "–"))) if run.model else ()
    return Section("fingerprints", "Fingerprints", facts=found)


def of_events(run: Run) -> Section:
    """What happened to the job."""
    rows = tuple(
        (
            str(event.get("time", "")),
            str(event.get("event", "")),
            plain(", ".join(f"{key} {value}" for key, value in event.items() if key not in ("time", "event"))),
        )
        for event in run.events
    )
    return Section("events", "Events", tables=(Table("Events", ("time", "what", "more"), rows),) if rows else ())

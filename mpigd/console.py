"""What a person sees on a terminal. Imported by rank 0 alone.

Results go to standard output; progress and messages to standard error.
"""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import asdict
from typing import Any

from rich.console import Console as Rich
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

from mpigd import __version__
from mpigd.demo import Outcome
from mpigd.explain import Explanation
from mpigd.history import Record
from mpigd.model import Model
from mpigd.plan import Planned
from mpigd.problem import parameters_of
from mpigd.tables import print_uncut, show_data, show_explanation, show_model, show_scores, show_trials
from mpigd.train import Fit
from mpigd.tune import Tuned
from mpigd.verify import Verification

SURE, SURE_SHARE = 1.0, 0.02  # seconds and share of a fit before it is said how long it will take
LINE_EVERY = 1.0  # seconds between lines of progress where they can't be drawn in place
BAR = 30
SCALE = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1}
TABLES = ("labels", "class_names", "classes", "confusion", "calibration")  # of `evaluate`: shown as tables
MOST_ROWS = 20  # of a table, before its middle is left out


def plain() -> Rich:
    """A console for results: text without colours, also where standard output seems to be a terminal.

    A launcher may hand a rank a pseudo-terminal although its own output goes to a file. The reverse holds for
    standard error, a pipe although the launcher has a terminal: a script that knows better says so with
    TTY_INTERACTIVE=1, which rich looks at.
    """
    return Rich(force_terminal=False, width=shutil.get_terminal_size((100, 24)).columns, highlight=False)


class Console:
    """Draws the progress of a fit and the outcome of every job.

    verbose : print a line for each record of a fit instead of a bar.
    """

    def __init__(self, verbose: bool = False) -> None:
        self._verbose = verbose
        self._out = plain()
        self._err = Rich(stderr=True)
        self._bar: Progress | None = None
        self._last_line = 0.0

    def progress(self, record: Record | str, fraction: float) -> None:
        """Draw the state of a fit, of which step 0 begins a new bar, or of what is being done."""
        if self._verbose and isinstance(record, Record):
            print(
                "  ".join(f"{key} {value:.10g}" for key, value in asdict(record).items() if value is not None),
                file=sys.stderr,
                flush=True,
            )
            return
        if not self._err.is_interactive:
            self._progress_line(record, fraction)
            return
        if self._bar is None or (isinstance(record, Record) and record.step == 0):
            self.end_progress()
            columns = (BarColumn(BAR), TaskProgressColumn(), TextColumn("{task.description}"))
            self._bar = Progress(*columns, console=self._err)
            self._bar.add_task("", total=1.0)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=fraction, description=_describe(record, fraction))

    def end_progress(self) -> None:
        """Leave the bar as it is and go on below it."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _progress_line(self, record: Record | str, fraction: float) -> None:
        now = time.monotonic()
        if fraction >= 1.0 or now - self._last_line >= LINE_EVERY:
            self._last_line = now
            done = round(BAR * min(fraction, 1.0))
            bar = "━" * done + "·" * (BAR - done)
            print(f"{bar} {fraction:4.0%}  {_describe(record, fraction)}", file=sys.stderr, flush=True)

    def show(self, outcome: Any) -> None:
        """Print the outcome of a job."""
        self.end_progress()
        if isinstance(outcome, Outcome):
            self._show_demo(outcome)
        elif isinstance(outcome, Fit):
            self._show_fit(outcome)
        elif isinstance(outcome, Planned):
            self._show_plan(outcome)
        elif isinstance(outcome, Tuned):
            show_trials(self._out, outcome)
            if outcome.fit:
                self._show_fit(outcome.fit)
        elif isinstance(outcome, Verification):
            self._show_verification(outcome)
        elif isinstance(outcome, Explanation):
            show_explanation(self._out, outcome)
        elif outcome.get("kind") == "data":
            show_data(self._out, outcome)
        elif outcome.get("kind") == "model":
            show_model(self._out, outcome)
        elif "labels" in outcome:
            self._show_values({key: value for key, value in outcome.items() if key not in TABLES})
            show_scores(self._out, outcome)
        else:
            self._show_values(outcome)

    def _show_fit(self, fit: Fit) -> None:
        self._print_coefficients({"coefficient": fit.model})
        if fit.nonzero < fit.model.coef.size:
            self._out.print(f"{fit.nonzero} of {fit.model.coef.size} coefficients are not zero")
        if fit.model.path:
            self._print_path(fit.model.path)
        self._out.print(f"solver: {fit.solver}" + (f" ({fit.why})" if fit.why else ""), soft_wrap=True)
        self._out.print(_how_it_ended(fit))
        if fit.note:
            self._out.print(f"Note: {fit.note}.", soft_wrap=True)
        for name, scores in fit.scores.items():
            numbers = {key: value for key, value in scores.items() if isinstance(value, float)}
            shown = ", ".join(f"{key} {value:.6g}" for key, value in numbers.items())
            self._out.print(f"on the {name} rows: {shown}", soft_wrap=True)
        self._out.print(_split_of_time(fit.times))
        self._out.print(f"Fingerprints: model {fit.model.fingerprint}, data {fit.data_fingerprint}", soft_wrap=True)
        self._out.print(f"Written to {fit.run_dir}", soft_wrap=True)

    def _show_plan(self, plan: Planned) -> None:
        header = plan.job.header
        self._out.print(f"{header.label}: {header.n} rows × {header.d} columns, {_size(header.bytes)} in memory")
        for sentence in plan.sentences:
            self._out.print(sentence, soft_wrap=True)
        table = Table(box=None)
        for column in ("ranks", "nodes", "memory", "read", "a pass", "a sum", "comm", "passes", "fit", "speed-up", ""):
            table.add_column(column, justify="left" if not column else "right", no_wrap=True)
        for f in plan.forecasts:
            notes = ["←"] * (f.ranks == plan.worth) + ["streams"] * f.streams + ["too little memory"] * (not f.fits)
            seconds = map(_brief_seconds, (f.read_seconds, f.pass_seconds, f.comm_seconds))
            table.add_row(
                *(str(f.ranks), str(f.nodes), _size(f.memory.total), *seconds),
                *(f"{f.comm_share:.0%}", f"{f.passes:.3g}", _brief_seconds(f.seconds)),
                *(f"{f.speed_up:.3g} ({f.efficiency:.0%})", ", ".join(notes)),
            )
        print_uncut(self._out, table)
        self._out.print(plan.advice, soft_wrap=True)
        for note in plan.notes:
            self._out.print(f"Note: {note}.", soft_wrap=True)
        if plan.script:
            self._out.print(f"Written to {plan.script}", soft_wrap=True)

    def _show_verification(self, outcome: Verification) -> None:
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        for name, agrees in outcome.checks.items():
            table.add_row(name, "the same bits" if agrees else "OTHER BITS")
        self._out.print(table)
        if outcome.agrees:
            verdict = f"The model is what these data and its options give, here on {outcome.ranks} rank(s)."
        elif outcome.checks["data"]:
            verdict = f"The data are those of the fit, but not all numbers come out again, on {outcome.ranks} rank(s)."
        else:
            verdict = (
                "These are not the data that the model was fitted on: rows, y, weights or offsets differ, or X is "
                "stored as another type. (The models of the main job are fitted on four fifths of its rows.)"
            )
        self._out.print(verdict, soft_wrap=True)
        if outcome.note:
            self._out.print(f"Note: {outcome.note}.", soft_wrap=True)

    def _show_values(self, values: dict[str, Any]) -> None:
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        intervals = values.get("intervals", {})
        for key, value in values.items():
            if key != "intervals":
                around = ("{:.6g} to {:.6g}".format(*intervals[key]),) if key in intervals else ()
                table.add_row(key.replace("_", " "), Text(_brief(value)), *around)
        self._out.print(table)

    def _show_demo(self, outcome: Outcome) -> None:
        header, shares = outcome.header, outcome.shares
        hosts = len({share.host for share in shares})
        self._out.print(
            f"mpigd {__version__}: Boston housing, {header.n} rows × {header.d} columns, on {len(shares)} rank(s) "
            f"of {hosts} host(s)\n{outcome.train_rows} rows to train, {header.n - outcome.train_rows} to test\n",
            highlight=False,
        )
        self._out.print("What each rank owns")
        table = Table(box=None)
        for column in ("rank", "host", "rows", "blocks"):
            table.add_column(column, justify="left" if column == "host" else "right")
        for rank, share in _ends(list(enumerate(shares))):
            rows = f"{share.start}–{share.stop - 1}" if share.stop > share.start else "none"
            table.add_row(str(rank), share.host, rows, str(share.blocks))
        self._out.print(table)
        self._out.print()
        self._print_coefficients(outcome.models)
        self._out.print()

        self._out.print("Quality and cost")
        table = Table(box=None)
        table.add_column("")
        for name in outcome.models:
            table.add_column(name, justify="right")
        for index, rows in enumerate(("train", "test")):
            table.add_row(f"R² on {rows} rows", *(f"{scores[index]['r2']:.6f}" for scores in outcome.scores.values()))
        distances = [outcome.distance(name) for name in outcome.fits]
        table.add_row("relative distance from closed form", "", *(f"{whole:.1e}" for whole, _ in distances))
        table.add_row("  of the worst coefficient", "", *(f"{worst:.1e}" for _, worst in distances))
        for label, key in (("steps", "steps"), ("passes over the data", "passes")):
            table.add_row(label, "", *(f"{fit.summary()[key]:g}" for fit in outcome.fits.values()))
        for phase in ("read", "compute", "comm"):
            seconds = (f"{fit.times[f'{phase}_seconds']:.3f}" for fit in outcome.fits.values())
            table.add_row(f"seconds in {phase}", "", *seconds)
        table.add_row("seconds in all", "", *(f"{fit.times['seconds']:.3f}" for fit in outcome.fits.values()))
        self._out.print(table)
        self._out.print()
        for name, fit in outcome.fits.items():
            self._out.print(f"{name}: {_how_it_ended(fit)}")
        self._out.print("Fingerprints of the training rows and of the models, the same on any number of ranks:")
        table = Table(show_header=False, box=None)
        table.add_row("data", next(iter(outcome.fits.values())).data_fingerprint)
        for name, fit in outcome.fits.items():
            table.add_row(name, fit.model.fingerprint)
        self._out.print(table)
        self._out.print(f"Written to {outcome.run_dir}", soft_wrap=True)

    def _print_path(self, path: dict[str, Any]) -> None:
        self._out.print("Fits along the path of penalties, each as many times as strong as the one asked for")
        table = Table(box=None)
        for column in ("strength", "not zero", "objective", "passes", "converged"):
            table.add_column(column, justify="right")
        counts = (path["coef"].reshape(len(path["strength"]), -1) != 0.0).sum(axis=1)
        rows = zip(path["strength"], counts, path["objective"], path["passes"], path["converged"], strict=True)
        for strength, count, objective, passes, converged in rows:
            ended = "yes" if converged else "no"
            table.add_row(f"{strength:.4g}", str(count), f"{objective:.8g}", f"{passes:.4g}", ended)
        self._out.print(table)

    def _print_coefficients(self, models: dict[str, Any]) -> None:
        self._out.print("Coefficients, for the original columns")
        table = Table(box=None)
        table.add_column("column")
        first = next(iter(models.values()))
        outputs = first.columns()[0].shape[1]
        for name in models:
            for k in range(min(outputs, 5)):
                table.add_column(name if outputs == 1 else _name_of_output(first, k), justify="right")
        for j, name in _ends(list(enumerate(first.feature_names))):
            values = (f"{c:.8g}" for model in models.values() for c in model.columns()[0][j, :5])
            table.add_row(Text(name), *values)
        table.add_row("(intercept)", *(f"{c:.8g}" for model in models.values() for c in model.columns()[1][:5]))
        self._out.print(table)
        if outputs > 5 or len(first.feature_names) > MOST_ROWS:
            shape = f"{len(first.feature_names)} × {outputs}"
            self._out.print(f"… {shape} coefficients in all: see 'mpigd inspect --json' or model.h5")


def _name_of_output(model: Model, k: int) -> str:
    return f"class {escape(model.labels[k])}" if model.labels else f"output {k}"


def _describe(record: Record | str, fraction: float) -> str:
    if isinstance(record, str):
        return record
    said = f"step {record.step}, objective {record.objective:.6g}, gradient {record.grad_norm:.1e}"
    if record.validation_loss is not None:
        said += f", validation {record.validation_loss:.6g}"
    seconds = record.seconds - record.read_seconds
    if seconds > 0.0 and record.step > 0:
        said += f", {record.passes / seconds:.3g} passes/s"
    if SURE_SHARE <= fraction < 1.0 and seconds >= SURE:
        said += f", {_brief_seconds(seconds * (1.0 - fraction) / fraction)} left"
    return said


def _how_it_ended(fit: Fit) -> str:
    reasons = {
        "gradient": "converged: the gradient fell to the tolerance",
        "objective": "converged: the objective no longer changes",
        "rounding": "stopped: no step lowers the objective any more, what is left of the gradient is rounding",
        "passes": "stopped: the budget of passes is spent",
        "validation": "stopped: the loss on the rows to validate no longer falls; the model is where it was least",
    }
    state = fit.state
    return (
        f"{reasons[fit.reason]} (objective {state.value:.8g}, gradient norm {state.gradient_norm:.1e}, "
        f"{state.step} steps, {state.passes:g} passes"
        + (f", learning rate {state.learning_rate:.3g})" if "learning_rate" in parameters_of(fit.solver) else ")")
    )


def _split_of_time(times: dict[str, float]) -> str:
    return (
        f"{times['seconds']:.3f} s in all: reading {times['read_seconds']:.3f}, "
        f"computing {times['compute_seconds']:.3f}, communicating {times['comm_seconds']:.3f}"
    )


def _size(count: float) -> str:
    """Bytes, with a unit that suits them."""
    unit = next(unit for unit in ("GiB", "MiB", "KiB", "B") if count >= SCALE[unit] or unit == "B")
    return f"{count / SCALE[unit]:.3g} {unit}"


def _brief_seconds(seconds: float) -> str:
    """Seconds, with a unit that suits them."""
    for unit, of in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= of:
            return f"{seconds / of:.3g} {unit}" if seconds < 1000.0 * of else f"{seconds / of:.0f} {unit}"
    return f"{seconds / 1e-6:.3g} µs"


def _ends(rows: list[Any]) -> list[Any]:
    """The first and last of many rows."""
    return rows if len(rows) <= MOST_ROWS else rows[: MOST_ROWS // 2] + rows[-MOST_ROWS // 2 :]


def _brief(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        value = [f"{key}: {_brief(item)}" for key, item in value.items()]
    if isinstance(value, list):
        shown = ", ".join(_brief(item) for item in value[:16])
        return shown + (f", … ({len(value)})" if len(value) > 16 else "")
    return str(value)

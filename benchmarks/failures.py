"""What going on after deaths costs while nobody dies, and what a death costs.

    ./run.sh setup && .venv/bin/python benchmarks/failures.py

Gradient descent on two ranks, with and without Open MPI's --with-ft ulfm, in turn, and with a checkpoint every two
seconds; seconds of computing and communicating of the fit, as it says itself. Then, on two ranks and more rows, one is
killed amid the fit: the longest time between two lines of the history, beside a usual step of the rank that is left and
the time in which it had read as many rows. Writes benchmarks/failures.md.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import describe

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))
import chaos  # noqa: E402

PAIRS, DEATHS = 9, 7
ROWS, STEPS = 400_000, 4000
MANY_ROWS, FEW_STEPS = 4_000_000, 200
OPTIONS = ("--solver", "gd", "--tol", "0", "--max-passes")


def seconds(data: Path, folder: Path, *launch: str, options: tuple[str, ...] = ()) -> float:
    """Of a fit on two ranks."""
    mpirun = (HERE.parent / ".venv" / ".mpirun").read_text()
    fit = [
        sys.executable,
        "-m",
        "mpigd",
        "train",
        str(data),
        *OPTIONS,
        str(STEPS),
        "--run-dir",
        str(folder),
        "--json",
        *options,
    ]
    mca = {"OMPI_MCA_pml": "ob1", "OMPI_MCA_mtl": "^ofi", "OMPI_MCA_btl": "^ofi,uct,openib"}
    root = {f"{of}_ALLOW_RUN_AS_ROOT{more}": "1" for of in ("OMPI", "PRTE") for more in ("", "_CONFIRM")}
    done = subprocess.run(
        [mpirun, *launch, "-n", "2", *fit], env=os.environ | mca | root, capture_output=True, text=True, check=True
    )
    result = json.loads(done.stdout)
    return float(result["seconds"] - result["read_seconds"])


def death(data: Path, folder: Path) -> tuple[float, float, float]:
    """Of a fit one of whose ranks is killed, seconds: a step of the rank that is left, the longest, and reading."""
    job = chaos.Job(folder, data, (*OPTIONS, str(FEW_STEPS)), 2)
    chaos.pause(job, lambda: job.records > FEW_STEPS // 4)
    os.kill(max(chaos.ranks_of(job.process.pid)), signal.SIGKILL)
    if job.wait()[0] != 0:
        sys.exit(job.said)
    records = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    steps = [b["seconds"] - a["seconds"] for a, b in itertools.pairwise(records[20:])]
    return statistics.median(steps[-FEW_STEPS // 4 :]), max(steps), records[0]["read_seconds"]


def main() -> None:
    """Measure, print, write the page."""
    survive = ("--with-ft", "ulfm")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = chaos.make_data(folder, rows=ROWS)["dense"]
        seconds(data, folder / "warm")
        plain, able, kept = [], [], []
        for k in range(PAIRS):
            plain.append(seconds(data, folder / f"a{k}"))
            able.append(seconds(data, folder / f"b{k}", *survive))
            kept.append(seconds(data, folder / f"c{k}", *survive, options=("--checkpoint-seconds", "2")))
        data.unlink()
        data = chaos.make_data(folder, rows=MANY_ROWS)["dense"]
        deaths = [death(data, folder / f"d{k}") for k in range(DEATHS)]

    def ratio(some: list[float]) -> str:
        ratios = sorted(b / a for a, b in zip(plain, some, strict=True))
        return f"{statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"

    step, longest, reading = (1e3 * statistics.median(column) for column in zip(*deaths, strict=True))
    lost = sorted(1e3 * (most - usual) for usual, most, _ in deaths)
    lines = [
        f"# What failures cost: gradient descent, {ROWS} × 12, float32, {STEPS} steps",
        "",
        f"Machine: {describe()}. Medians of {PAIRS} rounds; in brackets the least and the largest.",
        "",
        "| two ranks, nobody dies | seconds, to those without |",
        "| --- | --- |",
        f"| `--with-ft ulfm` | {ratio(able)} |",
        f"| and a checkpoint every 2 s | {ratio(kept)} |",
        "",
        f"One of two ranks killed, {DEATHS} times, {MANY_ROWS} × 12: the step amid which it died took {longest:.0f} ms "
        f"(median), {statistics.median(lost):.0f} ms ({lost[0]:.0f} to {lost[-1]:.0f}) more than the {step:.1f} ms of "
        f"a step of the one that was left; it had read as many rows as it then took over in {reading:.0f} ms.",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    (HERE / "failures.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

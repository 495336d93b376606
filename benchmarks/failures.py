"""What going on after deaths costs while nobody dies, and what a death costs.

    ./run.sh setup && .venv/bin/python benchmarks/failures.py

Gradient descent on two ranks, with and without Open MPI's --with-ft ulfm, in turn, and with a checkpoint every two
seconds; seconds of computing and communicating of the fit, as it says itself. Then, on three ranks, one is killed amid
the fit: the longest time between two lines of the history, beside the usual one. Writes benchmarks/failures.md.
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

PAIRS, DEATHS = 7, 7
ROWS, STEPS = 400_000, 1500
OPTIONS = ("--solver", "gd", "--tol", "0", "--max-passes", str(STEPS))


def seconds(data: Path, folder: Path, *launch: str, options: tuple[str, ...] = ()) -> float:
    """Of a fit on two ranks."""
    mpirun = (HERE.parent / ".venv" / ".mpirun").read_text()
    fit = [sys.executable, "-m", "mpigd", "train", str(data), *OPTIONS, "--run-dir", str(folder), "--json", *options]
    mca = {"OMPI_MCA_pml": "ob1", "OMPI_MCA_mtl": "^ofi", "OMPI_MCA_btl": "^ofi,uct,openib"}
    root = {f"{of}_ALLOW_RUN_AS_ROOT{more}": "1" for of in ("OMPI", "PRTE") for more in ("", "_CONFIRM")}
    done = subprocess.run(
        [mpirun, *launch, "-n", "2", *fit], env=os.environ | mca | root, capture_output=True, text=True, check=True
    )
    result = json.loads(done.stdout)
    return float(result["seconds"] - result["read_seconds"])


def death(data: Path, folder: Path) -> tuple[float, float]:
    """The usual time of a step in seconds, and the longest, of a fit one of whose ranks is killed."""
    job, history = chaos.Job(folder, data, OPTIONS, 3), folder / "history.jsonl"
    while not history.exists() or history.read_text().count("\n") < STEPS // 4:
        pass
    os.kill(max(chaos.ranks_of(job.process.pid)), signal.SIGKILL)
    if job.wait()[0] != 0:
        sys.exit(job.said)
    times = [json.loads(line)["seconds"] for line in history.read_text().splitlines()]
    steps = [b - a for a, b in itertools.pairwise(times[100:])]
    return statistics.median(steps), max(steps)


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
        lost = [death(data, folder / f"d{k}") for k in range(DEATHS)]

    def ratio(some: list[float]) -> str:
        ratios = sorted(b / a for a, b in zip(plain, some, strict=True))
        return f"{statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"

    share = ROWS // 3
    lines = [
        f"# What failures cost: gradient descent, {ROWS} × 12, float32",
        "",
        f"Machine: {describe()}. Medians of {PAIRS} rounds; in brackets the least and the largest.",
        "",
        "| two ranks, nobody dies | seconds, to those without |",
        "| --- | --- |",
        f"| `--with-ft ulfm` | {ratio(able)} |",
        f"| and a checkpoint every 2 s | {ratio(kept)} |",
        "",
        f"One of three ranks killed, {DEATHS} times: a step took {1e3 * statistics.median(s for s, _ in lost):.2f} ms, "
        f"the one with the death {1e3 * statistics.median(m for _, m in lost):.0f} ms (median), in which {share} rows "
        "were read by the others.",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    (HERE / "failures.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

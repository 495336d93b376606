"""Jobs whose ranks are killed at random moments, compared bit by bit with undisturbed ones.

    ./run.sh setup && .venv/bin/python tests/chaos.py [--kills 200] [--seed 0]

Every job fits one of some data sets with one of some solvers on two to eight ranks, and some of these, at most all but
one, are ended with SIGKILL: at random moments from its start on, or at what `AIMS` names. `--whole` kills all ranks at
once instead, launcher and all, again and again, and the job goes on with --resume. Prints a line for each job and a
table at the end; the exit status is 0 if no job hung, gave other bits, or ended without saying why. Needs an MPI that
goes on after deaths.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

RUN = Path(__file__).resolve().parent.parent / "run.sh"
BEGINNING = 20  # seconds in which all ranks have to begin: a death before that can not be survived
PATIENCE = 90.0  # seconds of a job, after which it counts as hung
MOST_RANKS = 8
# When ranks are killed: at random from the job's start on, while rows are read, while a checkpoint is written (most
# often the rank that does), or several, so that all but the first fall into the repair.
AIMS = ("any moment", "reading", "checkpoint", "repair")
# Solver and options, the kind of data: long enough that most deaths are amid steps.
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "gd": ("dense", ("--solver", "gd", "--tol", "0", "--max-passes", "1500")),
    "lbfgs": (
        "dense",
        ("--solver", "lbfgs", "--loss", "logistic", "--l2", "1e-6", "--tol", "0", "--max-passes", "300"),
    ),
    "newton": ("dense", ("--solver", "newton", "--loss", "logistic", "--l2", "1e-3", "--tol", "1e-12")),
    "newton-cg": ("dense", ("--solver", "newton-cg", "--loss", "logistic", "--l2", "1e-6", "--tol", "1e-10")),
    "sgd": ("dense", ("--solver", "sgd", "--tol", "0", "--max-passes", "40", "--batch-size", "512")),
    "saga": ("dense", ("--solver", "saga", "--tol", "0", "--max-passes", "40", "--batch-size", "512")),
    "svrg": ("chunked", ("--solver", "svrg", "--tol", "0", "--max-passes", "40", "--batch-size", "512")),
    "nesterov-l1": ("chunked", ("--solver", "nesterov", "--l1", "1e-3", "--tol", "0", "--max-passes", "1000")),
    "prox-newton-path": ("dense", ("--l1", "1e-3", "--path", "20", "--tol", "1e-9")),
    "streamed": ("large", ("--solver", "gd", "--tol", "0", "--max-passes", "40", "--memory", "240MiB")),
    "sparse": ("sparse", ("--solver", "gd", "--tol", "0", "--max-passes", "600", "--test-share", "0.2")),
    "direct": ("dense", ()),
}


@dataclass
class Tally:
    """What became of jobs."""

    kills: int = 0
    jobs: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    by_aim: dict[str, Counter[str]] = field(default_factory=dict)

    def count(self, end: str, aim: str, kills: int) -> None:
        """One more job."""
        self.jobs, self.kills = self.jobs + 1, self.kills + kills
        self.ends[end] += 1
        here = self.by_aim.setdefault(aim, Counter())
        here[end] += 1
        here["jobs"] += 1
        here["kills"] += kills
        if end == "survived":
            here["kills survived"] += kills

    def table(self) -> str:
        """By what kills were aimed at."""
        columns = ("kills", "jobs", "survived", "kills survived", "undisturbed", "ended, and said so", "hung", "wrong")
        lines = [f"| aimed at | {' | '.join(columns)} |", "|" + " --- |" * (len(columns) + 1)]
        lines += [f"| {aim} | {' | '.join(str(here[c]) for c in columns)} |" for aim, here in self.by_aim.items()]
        return "\n".join(lines)

    @property
    def bad(self) -> int:
        """Jobs that hung, were wrong, or ended without a word."""
        return self.ends["hung"] + self.ends["wrong"] + self.ends["unclear"]


def make_data(directory: Path, rows: int = 40_000, columns: int = 12, large: bool = False) -> dict[str, Path]:
    """Data sets by kind."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((rows, columns)) @ (np.eye(columns) + 0.5 * rng.standard_normal((columns, columns)))
    y = (X @ rng.standard_normal(columns) + rng.standard_normal(rows) > 0.0).astype(float)
    paths = {kind: directory / f"{kind}.h5" for kind in ("dense", "chunked", "sparse")}
    with h5py.File(paths["dense"], "w") as file:
        file["X"], file["y"] = X.astype(np.float32), y
    with h5py.File(paths["chunked"], "w") as file:
        file.create_dataset("X", data=X.astype(np.float32), chunks=(500, columns), compression="gzip")
        file["y"] = y
    X[rng.random(X.shape) < 0.7] = 0.0
    with h5py.File(paths["sparse"], "w") as file:
        group = file.create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "shape": X.shape})
        row, column = np.nonzero(X)
        group["data"], group["indices"] = X[row, column], column
        group["indptr"] = np.searchsorted(row, np.arange(rows + 1))
        file["y"] = y
    if large:  # more than ranks may keep of it in memory, at most four of them
        X = rng.standard_normal((100_000, 640), np.float32)
        paths["large"] = directory / "large.h5"
        with h5py.File(paths["large"], "w") as file:
            file["X"], file["y"] = X, X[:, :50].sum(axis=1) + rng.standard_normal(len(X))
    return paths


def data_for(directory: Path, cases: Sequence[str]) -> dict[str, Path]:
    """Data sets that cases need, by kind."""
    return make_data(directory, large=any(CASES[name][0] == "large" for name in cases))


def ranks_of(launcher: int) -> list[int]:
    """Process numbers of the ranks that a launcher has started so far."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                below.setdefault(parent, []).append(int(entry.name))
    found, queue = [], [launcher]
    while queue:
        queue += (children := below.get(queue.pop(), []))
        for child in children:
            with suppress(OSError):
                if b"-m\0mpigd\0" in (Path("/proc") / str(child) / "cmdline").read_bytes():
                    found.append(child)
    return [pid for pid in found if not is_launcher(pid)]


def is_launcher(pid: int) -> bool:
    """Whether a process is not a rank itself, but runs mpirun."""
    with suppress(OSError):
        name = (Path("/proc") / str(pid) / "cmdline").read_bytes().split(b"\0")[0]
        return b"python" not in name
    return True


class Job:
    """A job under run.sh.

    more : further options.  command : of mpigd.  prefix : words before all, as for another host.  settings : of its
    environment.
    """

    def __init__(
        self,
        directory: Path,
        data: Path,
        options: Sequence[str],
        ranks: int,
        *more: str,
        prefix: Sequence[str] = (),
        command: str = "train",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        handle, name = tempfile.mkstemp(prefix="chaos-")
        self._said = Path(name)
        atexit.register(self._said.unlink, missing_ok=True)
        words = [*prefix, str(RUN), "-n", str(ranks), command, str(data), *options, "--run-dir", str(directory)]
        self.begin = time.monotonic()
        self.process = subprocess.Popen(
            [*words, "--json", *more],
            stdout=subprocess.DEVNULL,
            stderr=handle,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "MPIGD_BEGIN_SECONDS": str(BEGINNING), **(settings or {})},
        )
        os.close(handle)

    def wait(self) -> tuple[int | None, float]:
        """Status, None where it hung, and seconds."""
        try:
            status: int | None = self.process.wait(max(PATIENCE - (time.monotonic() - self.begin), 1.0))
        except subprocess.TimeoutExpired:
            status = None
            self.end()
        return status, time.monotonic() - self.begin

    def end(self) -> None:
        """Kill all of it."""
        for pid in ranks_of(self.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def reach(self, steps: int) -> None:
        """Wait until its history has so many lines."""
        self._wait_for(lambda: self.records >= steps)

    def underway(self) -> None:
        """Wait until its run directory says that it runs."""
        self._wait_for(lambda: self.status == "running")

    def _wait_for(self, holds: Callable[[], bool]) -> None:
        while not holds():
            assert self.process.poll() is None, self.said
            time.sleep(0.02)

    @property
    def said(self) -> str:
        """What it wrote on standard error."""
        return self._said.read_text(encoding="utf-8", errors="replace")

    @property
    def records(self) -> int:
        """Lines of its history so far."""
        return records_of(self.directory)

    @property
    def status(self) -> str:
        """What its run directory says of it."""
        return status_of(self.directory)

    def model(self) -> tuple[str, int] | None:
        """See `model_of`."""
        return model_of(self.directory)


@contextmanager
def ended() -> Iterator[list[Job]]:
    """A list of jobs, of which none is left in the end."""
    jobs: list[Job] = []
    try:
        yield jobs
    finally:
        for job in jobs:
            if job.process.poll() is None:
                job.end()


def records_of(run: Path) -> int:
    """Lines of the history of a run so far."""
    history = run / "history.jsonl"
    return history.read_text().count("\n") if history.exists() else 0


def status_of(run: Path) -> str:
    """What a run directory says of the run; empty before it does."""
    path = run / "STATUS"
    return path.read_text().strip() if path.exists() else ""


def events_of(run: Path) -> list[dict[str, Any]]:
    """What happened in a run."""
    path = run / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def model_of(run: Path) -> tuple[str, int] | None:
    """Fingerprint of the model of a run, and a hash of its history; None before there is one."""
    path = run / "model.h5"
    if not path.exists():
        return None
    with h5py.File(path) as file:
        fingerprint = str(file.attrs["fingerprint"])
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    keys = ("step", "passes", "objective", "grad_norm")
    return fingerprint, hash(tuple(tuple(record[key] for key in keys) for record in history))


def undisturbed(directory: Path, data: dict[str, Path], cases: Sequence[str]) -> dict[str, tuple[Any, float]]:
    """Model and seconds of every case, on two ranks."""
    found = {}
    for name in cases:
        kind, options = CASES[name]
        Job(directory / name, data[kind], options, 2).wait()  # kernels are compiled
        job = Job(directory / name, data[kind], options, 2)
        status, seconds = job.wait()
        if status != 0:
            sys.exit(f"{name}: the undisturbed job failed: {job.said}")
        found[name] = job.model(), seconds
    return found


def pause(job: Job, until: Callable[[], bool]) -> None:
    """Wait for something that a job does, or for its end."""
    while job.process.poll() is None and not until():
        time.sleep(0.002)


def victims(rng: random.Random, job: Job, ranks: int, seconds: float, aim: str) -> Iterator[int]:
    """Ranks to kill, each at the moment when it is yielded. seconds : that the job takes, about."""
    count = min(rng.choice([1, 1, 1, 2, 2, 3, 7]), ranks - 1)
    if aim == "any moment":
        moments = sorted(rng.uniform(0.2, 1.1) * seconds for _ in range(count))
        if count > 1 and rng.random() < 0.3:
            moments = [moments[0]] * count  # at once
    else:
        started = job.begin + PATIENCE
        if aim == "reading":
            pause(job, lambda: job.status == "running")
            started = time.monotonic() + rng.uniform(0.0, 0.1)
        elif aim == "checkpoint":
            after = rng.randint(0, 100)
            pause(job, lambda: job.records > after and any((job.directory / "checkpoints").glob(".*.partial")))
            started = time.monotonic()
        elif aim == "repair":
            after = rng.randint(0, 50)
            pause(job, lambda: job.records > after)
            started, count = time.monotonic(), min(max(count, 2), ranks - 1)
        # What follows the first falls into the repair of it.
        moments = [started - job.begin + (rng.uniform(0.0, 0.05) if k else 0.0) for k in range(count)]
    for moment in moments:
        time.sleep(max(job.begin + moment - time.monotonic(), 0.0))
        left = sorted(ranks_of(job.process.pid))
        if job.process.poll() is not None or len(left) < 2:
            return
        # Checkpoints are written by the first rank.
        yield left[0] if aim == "checkpoint" and rng.random() < 0.7 else rng.choice(left)


def disturb(rng: random.Random, job: Job, ranks: int, seconds: float, aim: str) -> int:
    """Kill some ranks at random moments; how many."""
    killed: set[int] = set()
    for victim in victims(rng, job, ranks, seconds, aim):
        if victim not in killed:
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                killed.add(victim)
    return len(killed)


def judge(job: Job, status: int | None, wanted: Any, kills: int) -> str:
    """What became of a job."""
    if status is None:
        return "hung"
    if status == 0:
        return ("survived" if kills else "undisturbed") if job.model() == wanted else "wrong"
    said = job.said
    if "internal error" not in said and (
        "mpigd: " in said
        or "did not come to its end" in said
        or "MPI_Init" in said
        or "PRTE" in said
        or "prterun" in said
        or "signal 9" in said
        or "signal 14" in said
    ):
        return "ended, and said so"
    return "unclear"


def kill_ranks(
    rng: random.Random, directory: Path, kills: int, cases: Sequence[str], aims: Sequence[str] = AIMS
) -> Tally:
    """Jobs that are to survive."""
    data, tally = data_for(directory, cases), Tally()
    wanted = undisturbed(directory, data, cases)
    while tally.kills < kills:
        name, aim = rng.choice(cases), rng.choice(aims)
        ranks = rng.randint(2, MOST_RANKS if CASES[name][0] != "large" else 4)
        (kind, options), (model, seconds) = CASES[name], wanted[name]
        more = ("--checkpoint-steps", "5") if aim == "checkpoint" else ()
        job = Job(directory / f"{name}-{tally.jobs}", data[kind], options, ranks, *more)
        killed = disturb(rng, job, ranks, seconds * (1.0 + ranks / 4.0), aim)
        status, took = job.wait()
        end = judge(job, status, model, killed)
        tally.count(end, aim, killed)
        print(
            f"{tally.jobs} {name} on {ranks} ranks, {killed} killed ({aim}): {end} (status {status}, {took:.1f} s)",
            flush=True,
        )
        if end not in ("survived", "undisturbed"):
            print(job.said, flush=True)
    return tally


def kill_whole(rng: random.Random, directory: Path, kills: int, cases: Sequence[str]) -> Tally:
    """Jobs that are killed as a whole and go on with --resume."""
    data, tally = data_for(directory, cases), Tally()
    wanted = undisturbed(directory, data, cases)
    while tally.kills < kills:
        name = rng.choice(cases)
        (kind, options), (model, seconds) = CASES[name], wanted[name]
        folder, begins = directory / f"{name}-{tally.jobs}", 0
        while True:
            ranks = rng.randint(1, 4)
            job = Job(folder, data[kind], options, ranks, "--resume", "auto", "--checkpoint-steps", "5")
            begins += 1
            if begins > 6 or rng.random() < 0.1:
                status, took = job.wait()
                break
            time.sleep(rng.uniform(0.2, 1.2) * seconds)
            if job.process.poll() is not None:
                status, took = job.wait()
                break
            job.end()
        end = judge(job, status, model, begins - 1)
        tally.count(end, "whole job", begins - 1)
        print(f"{tally.jobs} {name}, killed {begins - 1} times: {end} (status {status}, {took:.1f} s)", flush=True)
        if end not in ("survived", "undisturbed"):
            print(job.said, flush=True)
    return tally


def main() -> None:
    """Kill, compare, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--aims", nargs="*", default=list(AIMS), choices=list(AIMS))
    parser.add_argument("--whole", action="store_true", help="kill whole jobs, which are then resumed")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rng, directory = random.Random(chosen.seed), Path(folder)
        if chosen.whole:
            tally = kill_whole(rng, directory, chosen.kills, chosen.cases)
        else:
            tally = kill_ranks(rng, directory, chosen.kills, chosen.cases, chosen.aims)
    print(tally.table())
    print(f"{tally.kills} kills in {tally.jobs} jobs: " + ", ".join(f"{n} {end}" for end, n in tally.ends.items()))
    sys.exit(1 if tally.bad else 0)


if __name__ == "__main__":
    main()

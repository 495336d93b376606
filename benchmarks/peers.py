"""Time to a given accuracy, beside other programs on the same file.

    ./run.sh setup && .venv/bin/python benchmarks/peers.py [tall | wide | small]

L2-penalised logistic regression without an intercept, columns of different units that are correlated. Peers are
installed in .venv/peers; where one can't be, it is left out. A time is that of the fit, the data being in memory. The
excess of the objective over its minimum, relative to the minimum, is computed here, in double precision, for all alike.
mpigd's come from its history, after one run; a peer is run with one tolerance after the other, and the time to an
accuracy is that of its fastest run that reached it. Prints a table and writes benchmarks/peers-WORKLOAD.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from machine import describe

HERE = Path(__file__).resolve().parent
RUN, VENV = HERE.parent / "run.sh", HERE.parent / ".venv" / "peers"
PACKAGES = ("scikit-learn", "scikit-learn-intelex", "snapml")
TOLERANCES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8)
ACCURACIES = (1e-3, 1e-6, 1e-9)
L2, LIMIT = 1e-4, 200.0  # seconds of a peer's run
REPEATS = 3


@dataclass(frozen=True)
class Workload:
    """Rows, columns, and what runs on it."""

    rows: int
    columns: int
    peers: tuple[str, ...]


MANY = ("scikit-learn lbfgs", "scikit-learn-intelex lbfgs", "snapml")
WORKLOADS = {
    "tall": Workload(2_000_000, 28, (*MANY, "scikit-learn newton-cholesky", "scikit-learn liblinear")),
    "wide": Workload(100_000, 2_000, MANY),
    "small": Workload(20_000, 28, (*MANY, "scikit-learn newton-cholesky", "scikit-learn liblinear")),
}


def write(path: Path, workload: Workload) -> None:
    """Correlated columns of different units, labels from a logistic model of them."""
    rng = np.random.default_rng(0)
    n, d = workload.rows, workload.columns
    units = np.exp(rng.standard_normal(d)).astype(np.float32)
    coef = rng.standard_normal(d).astype(np.float32) / np.sqrt(np.float32(d))
    with h5py.File(path, "w") as file:
        X, y = file.create_dataset("X", (n, d), np.float32), file.create_dataset("y", (n,), np.float32)
        for start in range(0, n, 50_000):
            Z = rng.standard_normal((min(50_000, n - start), d), np.float32)
            Z[:, 1:] = 0.7 * Z[:, :-1] + 0.7 * Z[:, 1:]
            p = 1.0 / (1.0 + np.exp(-(Z @ coef)))
            X[start : start + len(Z)], y[start : start + len(Z)] = Z * units, rng.random(len(Z)) < p


class Truth:
    """The objective in double precision, by numpy, a few rows at a time; and its minimum, by Newton's method."""

    def __init__(self, path: Path) -> None:
        with h5py.File(path) as file:
            self.X, self.y = file["X"][:], file["y"][:].astype(np.float64)
        theta = np.zeros(self.X.shape[1])
        for _ in range(12):
            theta = theta - self._step(theta)
        self.minimum = self.value(theta)

    def value(self, theta: np.ndarray) -> float:
        """F(theta)."""
        total = 0.0
        for rows in self._parts():
            eta = self.X[rows].astype(np.float64) @ theta
            total += float(np.sum(np.logaddexp(0.0, eta) - self.y[rows] * eta))
        return total / len(self.y) + 0.5 * L2 * float(theta @ theta)

    def excess(self, theta: np.ndarray) -> float:
        """Of the objective over the minimum, relative to it."""
        return (self.value(theta) - self.minimum) / self.minimum

    def _step(self, theta: np.ndarray) -> np.ndarray:
        d, n = len(theta), len(self.y)
        gradient, hessian = L2 * theta, L2 * np.eye(d)
        for rows in self._parts():
            X = self.X[rows].astype(np.float64)
            p = 1.0 / (1.0 + np.exp(-(X @ theta)))
            gradient = gradient + X.T @ (p - self.y[rows]) / n
            hessian += (X.T * (p * (1.0 - p))) @ X / n
        return np.linalg.solve(hessian, gradient)

    def _parts(self) -> list[slice]:
        return [slice(start, start + 20_000) for start in range(0, len(self.y), 20_000)]


def install() -> None:
    """Make the environment of the peers."""
    if VENV.exists():
        return
    subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    for package in ("h5py", *PACKAGES):
        subprocess.run([VENV / "bin" / "pip", "install", "--quiet", package], check=False)


def run_peer(name: str, data: Path, truth: Truth, directory: Path) -> list[tuple[float, float]]:
    """Seconds and excess for each tolerance, until nothing is gained."""
    found: list[tuple[float, float]] = []
    for tolerance in TOLERANCES:
        output = directory / "coef.npy"
        command = [VENV / "bin" / "python", HERE / "peer.py", name, data, str(L2), str(tolerance), output]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=True)
        except subprocess.TimeoutExpired:
            break
        except subprocess.CalledProcessError as error:
            print(f"{name} is left out: {error.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
            break
        found.append((float(done.stdout.split()[-1]), truth.excess(np.load(output))))
        if found[-1][1] < min(ACCURACIES):
            break
    return found


def run_mpigd(ranks: int, solver: str, data: Path, truth: Truth, directory: Path) -> list[tuple[float, float]]:
    """Seconds since the data was in memory and excess, step by step."""
    run = directory / f"{solver}-{ranks}"
    command = [RUN, "-n", str(ranks), "train", data, "--loss", "logistic", "--l2", str(L2), "--tol", "1e-8"]
    command += ["--no-intercept", "--no-standardize", "--solver", solver, "--run-dir", run, "--json"]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    history = [json.loads(line) for line in (run / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    with h5py.File(run / "model.h5") as file:
        end = truth.excess(file["coef"][:])
    # Both compute the same function: the difference of the two at the end is rounding.
    if abs(end - (history[-1]["objective"] - truth.minimum) / truth.minimum) > 1e-11:
        raise AssertionError(f"mpigd says {history[-1]['objective']}, numpy {end} above {truth.minimum}")
    return [
        (line["seconds"] - line["read_seconds"], (line["objective"] - truth.minimum) / truth.minimum)
        for line in history
    ]


def time_to(found: list[tuple[float, float]], accuracy: float) -> float | None:
    """The least seconds in which an accuracy was reached."""
    return min((seconds for seconds, excess in found if excess <= accuracy), default=None)


def main(name: str = "tall") -> None:
    """Measure, print, write the table."""
    workload = WORKLOADS[name]
    install()
    lines = [
        f"| | {' | '.join(f'seconds to {accuracy:g}' for accuracy in ACCURACIES)} | least excess |",
        "|" + " --- |" * 5,
    ]
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        data = directory / "data.h5"
        write(data, workload)
        truth = Truth(data)

        def show(label: str, runs: list[list[tuple[float, float]]]) -> None:
            times = []
            for accuracy in ACCURACIES:
                each = [time_to(found, accuracy) for found in runs]
                known = sorted(seconds for seconds in each if seconds is not None)
                times.append(f"{known[len(known) // 2]:.3g}" if known else "–")
            least = min((excess for found in runs for _, excess in found), default=float("nan"))
            lines.append(f"| {label} | {' | '.join(times)} | {max(least, 0.0):.1e} |")
            print(lines[-1], flush=True)

        print("\n".join(lines))
        for solver in ("auto", "lbfgs"):
            for ranks in (1, 2):
                run_mpigd(ranks, solver, data, truth, directory)  # the first may compile
                runs = [run_mpigd(ranks, solver, data, truth, directory) for _ in range(REPEATS)]
                show(f"mpigd, {solver}, {ranks} rank(s)", runs)
        for peer in workload.peers:
            show(peer, [run_peer(peer, data, truth, directory)])
    text = (
        f"# Peers, {name}: {workload.rows:,} × {workload.columns:,}\n\nMachine: {describe()}. Logistic loss, float32 "
        f"columns, l2 = {L2:g}, no intercept. Excess of the objective relative to its minimum. Of mpigd, medians of "
        f"{REPEATS} runs.\n\n"
    )
    (HERE / f"peers-{name}.md").write_text(text + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])

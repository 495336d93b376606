"""Twenty penalties on five folds, beside one fit and beside scikit-learn, on the same file.

    ./run.sh setup && .venv/bin/pip install scikit-learn scipy
    .venv/bin/python benchmarks/tuning.py [REPEATS]

Logistic regression of the tall workload of peers.py, columns as they are, with folds that stand in the file. Fits and
searches take turns; times are medians. Of mpigd there are seconds of computing alone, those of the whole job with
reading, and those from the start of the process to its end. scikit-learn's LogisticRegressionCV has the data in memory;
its fastest solver for so few columns is newton-cholesky. Prints a table and writes benchmarks/tuning.md.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from machine import describe
from peers import WORKLOADS, write
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import PredefinedSplit

HERE = Path(__file__).resolve().parent
RUN, RANKS = HERE.parent / "run.sh", 2
PENALTIES, FOLDS = np.geomspace(1e-6, 1e-1, 20), 5
PEERS = (("newton-cholesky", 1e-8), ("lbfgs", 1e-4))  # solvers and tolerances; the first for scores, too


def job(*arguments: object) -> tuple[float, dict[str, Any]]:
    """Seconds of a whole process, and what it says."""
    begin = time.perf_counter()
    command = [str(RUN), "-n", str(RANKS), *map(str, arguments), "--json", "--quiet"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    return time.perf_counter() - begin, json.loads(done.stdout)


def peer(path: Path, solver: str, tol: float) -> tuple[float, np.ndarray, float]:
    """Seconds of scikit-learn's search, the mean loss of each penalty on the folds, and the penalty it takes."""
    with h5py.File(path) as file:
        X, y, fold = file["X"][:].astype(np.float64), file["y"][:], file["fold"][:]
    rows = len(y) * (FOLDS - 1) // FOLDS
    search = LogisticRegressionCV(
        Cs=1.0 / (PENALTIES * rows),
        cv=PredefinedSplit(fold),
        scoring="neg_log_loss",
        solver=solver,
        tol=tol,
        max_iter=1000,
        refit=False,
        n_jobs=RANKS,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        begin = time.perf_counter()
        search.fit(X, y)
        seconds = time.perf_counter() - begin
    [scores] = search.scores_.values()
    losses = -np.mean(scores, axis=0)
    return seconds, losses, float(PENALTIES[np.argmin(losses)])


def main(repeats: int = 5) -> None:
    """Measure and write the table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tall.h5"
        write(path, WORKLOADS["tall"])
        with h5py.File(path, "r+") as file:
            n = len(file["y"])
            file["fold"] = np.random.default_rng(0).permutation(np.arange(n, dtype=np.int8) % FOLDS)
        common = (path, "--loss", "logistic", "--no-standardize")
        over = "l2=" + ",".join(map(repr, PENALTIES.tolist()))
        search = (*common, "--over", over, "--fold-kind", "given", "--fold-by", "fold", "--no-refit")
        fits, searches = [], []
        for turn in range(repeats + 1):
            one = job("train", *common, "--l2", "1e-4", "--run-dir", Path(folder) / "train")
            many = job("tune", *search, "--run-dir", Path(folder) / "tune")
            if turn:  # the first one fills caches
                fits.append(one)
                searches.append(many)
        found = searches[-1][1]
        losses = np.array([trial["mean"] for trial in found["trials"]])[::-1]  # the least penalised first
        chosen = found["trials"][found["chosen"]]["values"]["l2"]
        peers = {solver: peer(path, solver, tol) for solver, tol in PEERS}
    whole_fit = statistics.median(seconds for seconds, _ in fits)
    whole_search = statistics.median(seconds for seconds, _ in searches)
    in_fit = statistics.median(said["seconds"] for _, said in fits)
    in_search = statistics.median(said["search_seconds"] for _, said in searches)
    solving = statistics.median(said["seconds"] - said["read_seconds"] for _, said in fits)
    reading = statistics.median(said["read_seconds"] for _, said in fits)
    lines = [
        "# Twenty penalties on five folds",
        "",
        f"Logistic regression, {n:,} × {WORKLOADS['tall'].columns}, float32; {RANKS} ranks; {describe()}.",
        f"Made by benchmarks/tuning.py; medians of {repeats} turns.",
        "",
        "| seconds | one fit | 20 × 5 fits | ratio |",
        "| --- | --- | --- | --- |",
        f"| from start to end of the process | {whole_fit:.2f} | {whole_search:.2f} | {whole_search / whole_fit:.1f} |",
        f"| reading and fitting | {in_fit:.2f} | {in_search:.2f} | {in_search / in_fit:.1f} |",
        f"| fitting alone | {solving:.3f} | {in_search - reading:.2f} | {(in_search - reading) / solving:.1f} |",
        "",
        "| scikit-learn's LogisticRegressionCV, data in memory | seconds | mpigd is faster by | same penalty |"
        " largest difference of mean scores |",
        "| --- | --- | --- | --- | --- |",
    ]
    for solver, (seconds, theirs, penalty) in peers.items():
        same = "yes" if np.isclose(penalty, chosen) else f"no: {penalty:.3g}, not {chosen:.3g}"
        difference = float(np.max(np.abs(theirs - losses)))
        lines.append(f"| {solver} | {seconds:.1f} | {seconds / in_search:.0f} × | {same} | {difference:.1e} |")
    text = "\n".join(lines) + "\n"
    print(text)
    (HERE / "tuning.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

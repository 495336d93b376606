"""What a row costs where a model is served: `mpigd.load(path)` in a fresh process, and its predict, row by row.

    ./run.sh setup && .venv/bin/python benchmarks/serving.py [REPEATS]

Models of random coefficients. Each time is the least of REPEATS, of many calls each; beside it scikit-learn's model of
the same coefficients on the same rows. Writes benchmarks/serving.md.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import timeit
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from machine import describe
from sklearn.linear_model import LinearRegression, LogisticRegression

import mpigd
from mpigd.modelfile import Contents, write

HERE = Path(__file__).resolve().parent
MANY = 1000
# Name in the table, loss, link, columns, predictors.
MODELS = (
    ("least squares, 13 columns", "squared", "identity", 13, 1),
    ("logistic, 28 columns", "logistic", "logit", 28, 1),
    ("logistic, 1000 columns", "logistic", "logit", 1000, 1),
    ("softmax, 64 columns, 10 classes", "softmax", "multinomial logit", 64, 10),
)


def peer_of(coef: np.ndarray, intercept: np.ndarray, classes: np.ndarray) -> LinearRegression | LogisticRegression:
    """The same model in scikit-learn."""
    peer = LogisticRegression() if len(classes) else LinearRegression()
    peer.coef_, peer.intercept_ = (coef.T, intercept) if len(classes) else (coef[:, 0], intercept[0])
    if len(classes):
        peer.classes_ = classes
    return peer


def microseconds(call: Callable[[], object], repeats: int) -> float:
    """The least time of a call."""
    timer = timeit.Timer(call)
    count, _ = timer.autorange()
    return min(timer.repeat(repeats, count)) / count * 1e6


def fresh(code: str, repeats: int, *arguments: str) -> float:
    """Milliseconds that code says it took, in a process of its own: the median."""
    command = [
        sys.executable,
        "-c",
        f"import time; begin = time.perf_counter(); {code}; print(time.perf_counter() - begin)",
    ]
    runs = [subprocess.run([*command, *arguments], check=True, capture_output=True, text=True) for _ in range(repeats)]
    return statistics.median(float(run.stdout.split()[-1]) for run in runs) * 1e3


def main(repeats: int = 9) -> None:
    """Measure, print, write the table."""
    rng, lines = np.random.default_rng(0), []
    with tempfile.TemporaryDirectory() as directory:
        for label, loss, link, d, outputs in MODELS:
            coef, intercept = rng.standard_normal((d, outputs)) / np.sqrt(d), rng.standard_normal(outputs)
            classes = np.arange(max(outputs, 2), dtype=float) if loss != "squared" else np.zeros(0)
            names = tuple(f"x{j}" for j in range(d))
            one = (coef[:, 0], np.array(intercept[0])) if outputs == 1 else (coef, intercept)
            path = Path(directory) / f"{d}-{loss}.h5"
            write(path, Contents(*one, loss, link, names, classes))
            model, peer = mpigd.load(path), peer_of(coef, intercept, classes)
            rows = rng.standard_normal((MANY, d))
            np.testing.assert_allclose(model.predict(rows), peer.predict(rows))
            single, by_name = rows[0], dict(zip(names, rows[0].tolist(), strict=True))
            calls = (model.predict, single), (model.predict, by_name), (peer.predict, single[None])
            times = [microseconds(partial(*call), repeats) for call in calls]
            times += [microseconds(partial(each.predict, rows), repeats) / MANY for each in (model, peer)]
            lines.append(f"| {label} | " + " | ".join(f"{t:.3g}" for t in times) + " |")
        loading = fresh("import mpigd, sys; mpigd.load(sys.argv[1])", repeats, str(path))
        imports = fresh("import numpy, h5py", repeats)
    text = (
        f"# Serving a model\n\nMachine: {describe()}, numpy {np.__version__}. One thread.\n\n"
        f"Microseconds a row, the least of {repeats} repeats; {MANY} rows at once in the last two columns.\n\n"
        "| | one row | by name | scikit-learn | of many | scikit-learn |\n| --- | --- | --- | --- | --- | --- |\n"
        + "\n".join(lines)
        + f"\n\n`import mpigd; mpigd.load(path)` in a fresh process takes {loading:.0f} ms, of which "
        f"`import numpy, h5py` alone takes {imports:.0f} ms (medians of {repeats}).\n"
    )
    print(text)
    (HERE / "serving.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

"""One fit of another program, for benchmarks/peers.py.

    python peer.py NAME FILE L2 SETTING COEFFICIENTS.npy

Runs in the virtual environment of the peers, without mpigd. Prints the seconds of the fit alone, the data being in
memory in the layout that the program likes; logistic regression without an intercept.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

Fit = Callable[[np.ndarray, np.ndarray, float, float], np.ndarray]


def scikit_learn(solver: str) -> Fit:
    """scikit-learn's LogisticRegression; its loss is a sum."""

    def fit(X: np.ndarray, y: np.ndarray, l2: float, tol: float) -> np.ndarray:
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=1.0 / (l2 * len(y)), solver=solver, tol=tol, max_iter=10_000, fit_intercept=False)
        return np.asarray(model.fit(X, y).coef_[0])

    return fit


def scikit_learn_intelex(X: np.ndarray, y: np.ndarray, l2: float, tol: float) -> np.ndarray:
    """The same, patched by Intel's extension, on all cores."""
    from sklearnex import patch_sklearn

    patch_sklearn(verbose=False)
    return scikit_learn("lbfgs")(X, y, l2, tol)


def snap_ml(X: np.ndarray, y: np.ndarray, l2: float, tol: float) -> np.ndarray:
    """Snap ML's LogisticRegression on all cores."""
    from snapml import LogisticRegression

    model = LogisticRegression(
        regularizer=l2 * len(y), tol=tol, max_iter=10_000, fit_intercept=False, n_jobs=2, normalize=False
    )
    return np.asarray(model.fit(X, y).coef_).reshape(-1)


PEERS: dict[str, Fit] = {
    "scikit-learn lbfgs": scikit_learn("lbfgs"),
    "scikit-learn newton-cholesky": scikit_learn("newton-cholesky"),
    "scikit-learn liblinear": scikit_learn("liblinear"),
    "scikit-learn-intelex lbfgs": scikit_learn_intelex,
    "snapml": snap_ml,
}


def main(name: str, file: str, l2: str, setting: str, output: str) -> None:
    """Fit once, time it, write the coefficients."""
    warnings.simplefilter("ignore")
    with h5py.File(file) as data:
        X: Any = data["X"][:]
        y = data["y"][:]
    PEERS[name](X[:1000], y[:1000], float(l2), 1e-2)  # imports, first use
    begin = time.perf_counter()
    coef = PEERS[name](X, y, float(l2), float(setting))
    print(time.perf_counter() - begin)
    np.save(output, coef)


if __name__ == "__main__":
    main(*sys.argv[1:])

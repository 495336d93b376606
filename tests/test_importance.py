"""What columns are worth, on any number of ranks; and that all of `explain` has the same bits on any."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpigd.comm import Comm
from mpigd.explain import run as explain
from mpigd.importance import PURPOSE, permutation_importance
from mpigd.options import Explain, Train
from mpigd.problem import read_data
from mpigd.sampling import permuted
from mpigd.train import fit, run

pytestmark = pytest.mark.mpi

N, D = 700, 11  # more columns than are taken at once


def draw(loss: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    X = np.sort(rng.standard_normal((N, D)), axis=0) * np.linspace(0.5, 2.0, D) + 1.0  # so that places of rows matter
    X[:, 1::2] = rng.permuted(X[:, 1::2], axis=0)
    eta = 0.3 * (X @ np.linspace(-1.0, 1.0, D))
    y = {
        "squared": lambda: eta + rng.standard_normal(N),
        "logistic": lambda: rng.random(N) < 1.0 / (1.0 + np.exp(-eta)),
        "gamma": lambda: rng.gamma(3.0, np.exp(eta)),
        "softmax": lambda: np.argmax(np.outer(eta, [0.0, 1.0, -1.0]) + rng.gumbel(size=(N, 3)), axis=1),
    }[loss]()
    return {"X": X, "y": y.astype(float), "sample_weight": rng.integers(0, 3, N).astype(float)}


def losses(loss: str, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
    return {
        "squared": lambda: 0.5 * (eta[:, 0] - y) ** 2,
        "logistic": lambda: np.logaddexp(0.0, eta[:, 0]) - y * eta[:, 0],
        "softmax": lambda: np.logaddexp.reduce(eta, axis=1) - eta[np.arange(len(y)), y.astype(int)],
    }[loss]()


@pytest.mark.parametrize("loss", ["squared", "logistic", "softmax"])
def test_importance_is_that_of_permuted_rows(comm: Comm, write_data: Callable[..., Path], loss: str) -> None:
    arrays = draw(loss)
    train = Train(write_data(**arrays), loss=loss, l2=1e-3)
    data = read_data(comm, train)
    model = fit(comm, data, train).model
    found = permutation_importance(comm, model, data, 0.1, repeats=2, seed=3)

    X, y, weight = arrays["X"], arrays["y"], arrays["sample_weight"]
    counted = np.flatnonzero(weight)
    coef, intercept = model.columns()

    def mean(X: np.ndarray) -> float:
        return float(np.average(losses(loss, X @ coef + intercept, y), weights=weight))

    assert found.loss == pytest.approx(mean(X), rel=1e-10)
    for k in range(2):
        place = np.empty(len(counted), int)
        place[permuted(3, PURPOSE + k, np.arange(len(counted)), len(counted))] = np.arange(len(counted))
        for j in range(D):
            changed = X.copy()
            changed[counted, j] = X[counted[place], j]
            assert found.increase[j, k] == pytest.approx(mean(changed) - mean(X), rel=1e-7, abs=1e-10)


def test_importance_is_what_the_column_explains(comm: Comm, write_data: Callable[..., Path]) -> None:
    """Of least squares half of 2 coef² var(x), on average over permutations: residuals know nothing of columns."""
    arrays = draw("squared")
    del arrays["sample_weight"]
    train = Train(write_data(**arrays))
    data = read_data(comm, train)
    model = fit(comm, data, train).model
    found = permutation_importance(comm, model, data, 0.1, repeats=20, seed=0)
    expected = model.coef**2 * arrays["X"].var(axis=0)
    error = found.increase.std(axis=1) / np.sqrt(20)
    assert (np.abs(found.increase.mean(axis=1) - expected) < 4.5 * error).all()
    assert (found.increase.mean(axis=1)[[0, -1]] > 0.1).all()


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        ("logistic", {"covariance": "HC1", "on": "test"}),
        ("gamma", {"weights": "variance", "on": "all"}),
        ("softmax", {"covariance": "HC0"}),
    ],
)
def test_bits_do_not_depend_on_ranks(
    comm: Comm, shared_path: Path, write_data: Callable[..., Path], loss: str, options: dict[str, Any]
) -> None:
    path = write_data(**draw(loss))
    run(comm, Train(path, loss=loss, test_share=0.3, run_dir=shared_path / "run"))
    asked = Explain(shared_path / "run", path, permutation=1, **options)
    together, alone = (explain(each, asked).summary() for each in (comm, Comm.alone()))
    assert together.pop("ranks") == comm.size
    assert alone.pop("ranks") == 1
    assert not together["invalid"]
    assert together["coefficients"][0]["standard_error"] > 0.0
    assert together == alone

"""Least squares of the Statistical Reference Datasets of NIST, whose coefficients are certified to 15 digits.

National Institute of Standards and Technology, StRD, Linear Regression; the numbers in strd.json are theirs, and in the
public domain.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import linalg

from mpigd.comm import Comm
from mpigd.options import Train
from mpigd.problem import read_data
from mpigd.train import fit

SETS: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("strd.json").read_text(encoding="utf-8"))


def columns_of(name: str) -> tuple[np.ndarray, np.ndarray]:
    """X as it is given, or powers of x, and y."""
    given = SETS[name]
    x, powers = np.array(given["x"]), len(given["certified"]) - given["intercept"]
    return x if given["kind"] == "columns" else x[:, None] ** np.arange(1, powers + 1), np.array(given["y"])


def digits(name: str, coefficients: np.ndarray) -> float:
    """Decimal digits that all coefficients, the intercept first, have right."""
    certified = np.array(SETS[name]["certified"])
    wrong = float(np.max(np.abs(coefficients - certified) / np.abs(certified)))
    return min(-np.log10(max(wrong, 1e-16)), 15.0)


def test_there_are_all_linear_sets() -> None:
    names = ("Longley", "Filip", "NoInt1", "NoInt2", "Norris", "Pontius", *(f"Wampler{k}" for k in range(1, 6)))
    assert sorted(SETS) == sorted(names)


@pytest.mark.mpi
@pytest.mark.parametrize("name", SETS)
def test_as_many_certified_digits_as_lstsq_or_eight(comm: Comm, write_data: Callable[..., Path], name: str) -> None:
    """The direct solver, told to go to rounding. Filip's columns are beyond normal equations: see docs/solvers.md."""
    X, y = columns_of(name)
    intercept = SETS[name]["intercept"]
    A = np.column_stack([np.ones(len(y)), X]) if intercept else X
    length = np.linalg.norm(A, axis=0)
    reference = digits(name, linalg.lstsq(A / length, y)[0] / length)
    options = Train(write_data(X=X, y=y), solver="direct", intercept=intercept, tol=0.0, max_passes=30.0)
    model = fit(comm, read_data(comm, options), options).model
    found = digits(name, np.append(model.intercept, model.coef) if intercept else model.coef)
    if name == "Filip":
        assert reference < 8.0
        return
    assert found >= min(reference, 8.0)


@pytest.mark.mpi
@pytest.mark.parametrize("solver", ["auto", "lbfgs", "newton", "newton-cg"])
def test_longley_at_the_usual_tolerance(comm: Comm, write_data: Callable[..., Path], solver: str) -> None:
    X, y = columns_of("Longley")
    options = Train(write_data(X=X, y=y), solver=solver)
    fitted = fit(comm, read_data(comm, options), options)
    assert fitted.reason == "gradient"
    assert digits("Longley", np.append(fitted.model.intercept, fitted.model.coef)) > 3.0


@pytest.mark.mpi
def test_filip_by_newtons_method_with_conjugate_gradients(comm: Comm, write_data: Callable[..., Path]) -> None:
    """No equations are solved there: six digits and more of columns whose condition number is 4e9."""
    X, y = columns_of("Filip")
    options = Train(write_data(X=X, y=y), solver="newton-cg", tol=0.0, max_passes=2000.0)
    model = fit(comm, read_data(comm, options), options).model
    assert digits("Filip", np.append(model.intercept, model.coef)) > 5.0

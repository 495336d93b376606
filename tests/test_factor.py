"""Cholesky's factorisation against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from mpigd_kernels import factor
from scipy import linalg


@pytest.mark.parametrize("d", [1, 2, 7, 31, 32, 33, 100, 257])
@pytest.mark.parametrize("condition", [1e0, 1e6])
def test_solutions_equal_scipys(d: int, condition: float) -> None:
    rng = np.random.default_rng(d)
    q, _ = np.linalg.qr(rng.standard_normal((d, d)))
    matrix = (q * np.geomspace(1.0, condition, d)) @ q.T
    matrix, right = (matrix + matrix.T) / 2.0, rng.standard_normal(d)
    found = factor.factor(matrix).solve(right)
    np.testing.assert_allclose(
        found, linalg.solve(matrix, right, assume_a="pos"), rtol=1e-13 * condition * d, atol=1e-14
    )


def test_dependent_columns_are_left_out() -> None:
    """A column twice, one that is the sum of others, one of zeros: what is left is solved exactly."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 4))
    x = np.column_stack([x, x[:, 0], x[:, 1] + x[:, 2], np.zeros(50)])
    right = x.T @ rng.standard_normal(50)
    found = factor.factor(x.T @ x).solve(right)
    assert found[4:].tolist() == [0.0, 0.0, 0.0]
    np.testing.assert_allclose(x.T @ x @ found, right, atol=1e-12)

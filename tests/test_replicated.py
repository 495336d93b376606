"""Arithmetic that is the same on every processor, against numpy, math and fractions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpigd import replicated
from mpigd.sampling import uniform
from mpigd.solvers.schedules import cosine


@pytest.mark.parametrize("columns", [1, 4])
def test_dot_and_norm(columns: int) -> None:
    a, b = np.random.default_rng(0).standard_normal((2, 1000, columns))
    wanted = [math.fsum(x * y) for x, y in zip(a.T, b.T, strict=True)]
    np.testing.assert_allclose(replicated.dot(a, b), wanted, rtol=1e-12)
    np.testing.assert_allclose(replicated.dot(a[:, 0], b), a[:, 0] @ b, rtol=1e-11)
    assert replicated.norm(a) == pytest.approx(np.linalg.norm(a), rel=1e-14)


def test_a_dot_of_nothing_is_zero() -> None:
    np.testing.assert_array_equal(replicated.dot(np.zeros(0), np.zeros((0, 3))), np.zeros(3))


def test_a_digest_sees_every_bit() -> None:
    a = np.linspace(0.0, 1.0, 100).reshape(50, 2)
    digests = {replicated.digest(a)}
    for place in np.ndindex(a.shape):
        changed = a.copy()
        changed[place] = np.nextafter(changed[place], 2.0)
        digests.add(replicated.digest(changed))
    assert len(digests) == 101
    assert replicated.digest(a.T.copy().T) == replicated.digest(a)


@given(st.floats(0.0, math.pi))
def test_cosine(x: float) -> None:
    assert cosine(x) == pytest.approx(math.cos(x), abs=2.3e-16)


def test_uniform_numbers() -> None:
    numbers = uniform(3, (100, 50))
    assert numbers.tobytes() == uniform(3, (5000,)).tobytes() != uniform(4, (5000,)).tobytes()
    assert -0.5 <= numbers.min() < numbers.max() < 0.5
    assert abs(numbers.mean()) < 4.0 / math.sqrt(12.0 * 5000)
    assert numbers.var() == pytest.approx(1.0 / 12.0, rel=0.05)

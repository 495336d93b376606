"""Kernels against plain numpy in float64 and against numerical differences."""

from __future__ import annotations

from dataclasses import dataclass

import mpigd_kernels as kernels
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from reference import EXAMPLES_OF_Y, VALUE, parameters
from scipy import special


@dataclass(frozen=True)
class Problem:
    """Rows in plain arrays and in tiles."""

    loss: kernels.Loss
    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None
    offset: np.ndarray | None
    coef: np.ndarray
    intercept: np.ndarray
    rows: int

    def tiled(self, values: np.ndarray | None, padding: float = 0.0) -> np.ndarray:
        if values is None:
            return np.zeros((0, self.rows))
        tiles = np.full((kernels.tile_count(len(self.y), self.rows), self.rows), padding)
        tiles.reshape(-1)[: len(values)] = values
        return tiles

    def tiles(self) -> np.ndarray:
        n, d = self.X.shape
        tiles = np.zeros((kernels.tile_count(n, self.rows), d, self.rows), self.X.dtype)
        kernels.fill_tiles(self.X[: n // 2], 0, tiles)
        kernels.fill_tiles(self.X[n // 2 :], n // 2, tiles)
        return tiles

    def value_gradient(self, coef: np.ndarray) -> tuple[float, np.ndarray, float]:
        d, outputs = coef.shape
        gradient, sums = np.full((d + 1, outputs), np.nan), np.full(2, np.nan)
        scratch, lanes = (np.full(shape, np.nan) for shape in kernels.work_shapes(d, outputs, self.rows))
        kernels.value_gradient(
            self.loss.tile,
            *parameters(self.loss),
            self.tiles(),
            len(self.y),
            self.tiled(self.y, 1.0),
            self.tiled(self.weight),
            self.tiled(self.offset),
            coef,
            self.intercept,
            scratch,
            lanes,
            gradient,
            sums,
        )
        return sums[0], gradient, sums[1]

    def eta(self) -> np.ndarray:
        eta = self.X.astype(np.float64) @ self.coef + self.intercept
        return eta if self.offset is None else eta + self.offset[:, None]


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    loss = kernels.LOSSES[draw(st.sampled_from(sorted(kernels.LOSSES)))]
    n, d = draw(st.integers(1, 140)), draw(st.integers(1, 6))
    outputs = draw(st.integers(2, 5)) if loss.target == "classes" else 1
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    weight = rng.integers(0, 3, n).astype(float) if draw(st.booleans()) else None
    return Problem(
        loss,
        rng.standard_normal((n, d)).astype(dtype),
        rng.choice(EXAMPLES_OF_Y.get(loss.target, np.arange(max(outputs, 2.0))), n),
        weight,
        rng.standard_normal(n) if draw(st.booleans()) else None,
        rng.standard_normal((d, outputs)),
        rng.standard_normal(outputs),
        rows=draw(st.sampled_from([16, 32, 64])),
    )


def reference(problem: Problem) -> tuple[float, np.ndarray]:
    """Value and gradient of the coefficients and intercept, in the plainest numpy."""
    eta, y, loss = problem.eta(), problem.y, problem.loss
    weight = np.ones(len(y)) if problem.weight is None else problem.weight
    if loss.row:
        value = VALUE[loss.name](eta[:, 0], y, *parameters(loss))
        # Derivatives are held against independent ones in test_losses.
        first = np.array([[loss.row(e, t, *parameters(loss))[1]] for e, t in zip(eta[:, 0], y, strict=True)])
    else:
        label = np.eye(eta.shape[1])[y.astype(int)]
        value = -(label * special.log_softmax(eta, axis=1)).sum(axis=1)
        first = special.softmax(eta, axis=1) - label
    weighted = first * weight[:, None]
    return float(weight @ value), np.vstack([problem.X.astype(np.float64).T @ weighted, weighted.sum(axis=0)])


@given(problem=problems())
def test_value_gradient_equals_numpy(problem: Problem) -> None:
    value, gradient, total = problem.value_gradient(problem.coef)
    expected_value, expected_gradient = reference(problem)
    assert value == pytest.approx(expected_value, rel=1e-12, abs=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-10, atol=1e-11)
    assert total == (len(problem.y) if problem.weight is None else problem.weight.sum())


@given(problem=problems())
def test_gradient_equals_numerical_differences(problem: Problem) -> None:
    assume(problem.loss.link not in ("identity", "sign") or problem.loss.name == "squared")  # kinks: test_losses
    _, gradient, _ = problem.value_gradient(problem.coef)
    h = 1e-3
    for index in np.ndindex(problem.coef.shape):

        def value(step: float, index: tuple[int, ...] = index) -> float:
            coef = problem.coef.copy()
            coef[index] += step
            return problem.value_gradient(coef)[0]

        difference = (value(-2 * h) - 8 * value(-h) + 8 * value(h) - value(2 * h)) / (12 * h)
        assert gradient[index] == pytest.approx(difference, rel=1e-7, abs=1e-7)


@given(problem=problems())
def test_linear_predictor_equals_numpy(problem: Problem) -> None:
    out = np.full((len(problem.y), problem.coef.shape[1]), np.nan)
    scratch = np.empty((problem.coef.shape[1], problem.rows))
    kernels.linear_predictor(
        problem.tiles(), len(problem.y), problem.tiled(problem.offset), problem.coef, problem.intercept, scratch, out
    )
    np.testing.assert_allclose(out, problem.eta(), rtol=1e-12, atol=1e-12)


@given(problem=problems())
def test_moments_and_row_norms_equal_numpy(problem: Problem) -> None:
    X, d = problem.X.astype(np.float64), problem.X.shape[1]
    weight = np.ones(len(X)) if problem.weight is None else problem.weight
    shift, scale = np.linspace(-1, 1, d), np.linspace(0.5, 2, d)
    total, first, second = np.zeros(1), np.zeros(d), np.zeros(d)
    tiled_weight = problem.tiled(problem.weight)
    kernels.column_moments(problem.tiles(), len(X), tiled_weight, shift, total, first, second)
    assert total[0] == weight.sum()
    np.testing.assert_allclose(first, weight @ (X - shift), atol=1e-11)
    np.testing.assert_allclose(second, weight @ (X - shift) ** 2, atol=1e-11)
    largest = np.zeros(1)
    kernels.largest_row_norm(problem.tiles(), len(X), tiled_weight, shift, scale, np.zeros(problem.rows), largest)
    norms = (((X - shift) / scale) ** 2).sum(axis=1)[weight > 0]
    assert largest[0] == pytest.approx(norms.max(initial=0.0), rel=1e-12)


@given(problem=problems(), data=st.data())
def test_gathered_rows_are_the_rows(problem: Problem, data: st.DataObject) -> None:
    n = len(problem.y)
    picked = np.array(data.draw(st.lists(st.integers(0, n - 1), max_size=20)), np.int64)
    rows = kernels.tile_rows(len(picked))
    count = kernels.tile_count(len(picked), rows)
    weight, offset = problem.tiled(problem.weight), problem.tiled(problem.offset)
    to_tiles = np.full((count, problem.X.shape[1], rows), np.nan, problem.X.dtype)
    to_y = np.zeros((count, rows))
    to_weight, to_offset = (np.zeros((count if a.shape[0] else 0, rows)) for a in (weight, offset))
    kernels.gather_rows(
        problem.tiles(), problem.tiled(problem.y), weight, offset, picked, to_tiles, to_y, to_weight, to_offset
    )
    flat = to_tiles.transpose(0, 2, 1).reshape(-1, problem.X.shape[1])
    np.testing.assert_array_equal(flat[: len(picked)], problem.X[picked])
    assert not flat[len(picked) :].any()
    for target, source in ((to_y, problem.y), (to_weight, problem.weight), (to_offset, problem.offset)):
        if source is not None:
            np.testing.assert_array_equal(target.reshape(-1)[: len(picked)], source[picked])


def test_rows_of_weight_zero_contribute_nothing_even_where_the_loss_overflows() -> None:
    X = np.array([[1.0], [1e300]])
    problem = Problem(
        kernels.LOSSES["squared"], X, np.zeros(2), np.array([1.0, 0.0]), None, np.full((1, 1), 1e10), np.zeros(1), 16
    )
    value, gradient, total = problem.value_gradient(problem.coef)
    assert (value, total) == (0.5e20, 1.0)
    assert np.isfinite(gradient).all()


def test_a_loss_of_the_users_own() -> None:
    """Three functions of (eta, y) become a loss that the kernel runs; compared with its closed form."""
    cosh = kernels.Loss(
        "log-cosh",
        kernels.of_three(
            lambda eta, y: np.log(np.cosh(eta - y)),
            lambda eta, y: np.tanh(eta - y),
            lambda eta, y: 1.0 / np.cosh(eta - y) ** 2,
        ),
        "real",
        "identity",
        lambda parameter, smoothing: 1.0,
    )
    rng = np.random.default_rng(0)
    X, y, coef = rng.standard_normal((50, 3)), rng.standard_normal(50), rng.standard_normal((3, 1))
    problem = Problem(cosh, X, y, None, None, coef, np.zeros(1), 16)
    value, gradient, _ = problem.value_gradient(coef)
    residual = X @ coef[:, 0] - y
    assert value == pytest.approx(np.log(np.cosh(residual)).sum(), rel=1e-12)
    np.testing.assert_allclose(gradient[:3, 0], X.T @ np.tanh(residual), rtol=1e-10)

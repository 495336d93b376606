"""Elementary functions against mpmath, as compiled, in units of the last place (ulp) of the exact value."""

from __future__ import annotations

import mpigd_kernels.elementary as elementary
import mpmath
import numpy as np
import pytest
from mpigd_kernels.elementary import erfcx, exp, log, log1p, log1p_and_share
from mpigd_kernels.native import Kernel, Work1, stage


@stage
def apply_exp(out: Work1, x: Work1) -> None:
    for i in range(out.shape[0]):
        out[i] = exp(x[i])


@stage
def apply_log(out: Work1, x: Work1) -> None:
    for i in range(out.shape[0]):
        out[i] = log(x[i])


@stage
def apply_log1p(out: Work1, x: Work1) -> None:
    for i in range(out.shape[0]):
        out[i] = log1p(x[i])


@stage
def apply_log1p_with_share(out: Work1, x: Work1) -> None:
    for i in range(out.shape[0]):
        out[i] = log1p_and_share(x[i])[0]


@stage
def apply_share(out: Work1, x: Work1) -> None:
    for i in range(out.shape[0]):
        out[i] = log1p_and_share(x[i])[1]


@stage
def apply_erfcx(out: Work1, x: Work1) -> None:
    for i in range(out.shape[0]):
        out[i] = erfcx(x[i])


def evaluate(function: Kernel, x: np.ndarray) -> np.ndarray:
    out = np.empty_like(x)
    function(out, x)
    return out


def worst_ulp(function: Kernel, x: np.ndarray, exact) -> float:
    """The largest error, in units of the last place of the exact value in the type of x."""
    with mpmath.workprec(200):
        errors = []
        for value, argument in zip(evaluate(function, x), x, strict=True):
            true = exact(mpmath.mpf(float(argument)))
            ulp = mpmath.mpf(float(np.spacing(x.dtype.type(abs(float(true))))))
            errors.append(abs((mpmath.mpf(float(value)) - true) / ulp))
        return float(max(errors))


def points(low: float, high: float, dtype: str) -> np.ndarray:
    return np.random.default_rng(0).uniform(low, high, 3000).astype(dtype)


def exact_erfcx(x):
    return mpmath.exp(x * x) * mpmath.erfc(x)


@pytest.mark.parametrize(
    ("function", "exact", "low", "high", "dtype", "bound"),
    [
        *[(apply_exp, mpmath.exp, -r, r, "float64", 1.0) for r in (1e-3, 1.0, 40.0, 689.0)],
        *[(apply_exp, mpmath.exp, -r, r, "float32", 1.5) for r in (1e-3, 1.0, 40.0, 79.0)],
        *[
            (apply_log1p, mpmath.log1p, low, high, dtype, 2.0)
            for low, high in ((0.0, 1e-12), (0.0, 1e-2), (-0.5, 1.0), (0.99, 1.0), (-0.5, -0.49))
            for dtype in ("float64", "float32")
        ],
        *[
            (function, exact, low, high, dtype, bound)
            for function, exact, bound in (
                (apply_log1p_with_share, mpmath.log1p, 2.0),
                (apply_share, lambda x: 1 / (1 + x), 3.0),
            )
            for low, high in ((0.0, 1e-12), (0.0, 1e-2), (0.0, 1.0), (0.99, 1.0))
            for dtype in ("float64", "float32")
        ],
        *[
            (apply_log, mpmath.log, low, high, dtype, 2.0)
            for low, high in ((1e-30, 1e-20), (0.4, 3.0), (0.99, 1.01), (1.0, 1e30))
            for dtype in ("float64", "float32")
        ],
        *[
            (apply_erfcx, exact_erfcx, low, high, dtype, 3.5)
            for low, high in ((0.0, 1e-3), (0.0, 1.0), (0.5, 10.0), (5.0, 100.0), (100.0, 1e4))
            for dtype in ("float64", "float32")
        ],
    ],
)
def test_error_in_units_of_the_last_place(function, exact, low, high, dtype, bound) -> None:
    assert worst_ulp(function, points(low, high, dtype), exact) <= bound


def test_exp_of_special_arguments() -> None:
    found = evaluate(apply_exp, np.array([0.0, -0.0, 690.0, 1e300, -1e300]))
    assert found[:2].tolist() == [1.0, 1.0]
    assert found[2] == pytest.approx(np.exp(690.0), rel=1e-15)
    assert found[3] == found[2]
    assert 0.0 < found[4] < 1e-299
    single = evaluate(apply_exp, np.array([0.0, 1e30, -1e30], np.float32))
    assert single[0] == 1.0
    assert single[1] == pytest.approx(np.exp(80.0), rel=1e-6)
    assert 0.0 < single[2] < 1e-34


def test_logarithms_at_their_ends() -> None:
    found = evaluate(apply_log1p, np.array([0.0, 1.0, 5e-324]))
    np.testing.assert_array_max_ulp(found, np.array([0.0, np.log(2.0), 5e-324]), 1)
    np.testing.assert_array_equal(evaluate(apply_log, np.array([1.0, 2.0])), [0.0, np.log(2.0)])


def test_erfcx_at_zero() -> None:
    assert evaluate(apply_erfcx, np.array([0.0]))[0] == pytest.approx(1.0, rel=1e-15)


def test_plain_python_agrees() -> None:
    """The source under the compiled function, whose fused operations round twice in Python."""
    x = np.linspace(-30.0, 30.0, 101)
    plain = [elementary.exp(np.float64(v)) for v in x]
    np.testing.assert_allclose(evaluate(apply_exp, x), plain, rtol=1e-15)

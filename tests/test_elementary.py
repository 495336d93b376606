"""Elementary functions against mpmath, as compiled, in units of the last place (ulp) of the exact value."""

from __future__ import annotations

import mpigd_kernels.elementary as elementary
import mpmath
import numpy as np
import pytest
from mpigd_kernels.native import Floats1, Kernel, Rows, kernel


@kernel
def apply_exp(rows: Rows, out: Floats1) -> None:
    for i in range(out.shape[0]):
        out[i] = exp(rows[0, i])  # noqa: F821


@kernel
def apply_log1p_unit(rows: Rows, out: Floats1) -> None:
    for i in range(out.shape[0]):
        out[i] = log1p_unit(rows[0, i])  # noqa: F821


def evaluate(function: Kernel, x: np.ndarray) -> np.ndarray:
    out = np.empty(len(x))
    function(np.ascontiguousarray(x[None, :]), out)
    return out


def worst_ulp(found: np.ndarray, x: np.ndarray, exact) -> float:
    with mpmath.workprec(120):
        errors = []
        for value, argument in zip(found.tolist(), x.tolist(), strict=True):
            true = exact(mpmath.mpf(argument))
            errors.append(abs((mpmath.mpf(value) - true) / mpmath.mpf(float(np.spacing(abs(float(true)))))))
        return float(max(errors))


@pytest.mark.parametrize(("low", "high"), [(-1e-3, 1e-3), (-1.0, 1.0), (-40.0, 40.0), (-689.0, 689.0)])
def test_exp_is_within_one_ulp(low: float, high: float) -> None:
    x = np.random.default_rng(0).uniform(low, high, 4000)
    assert worst_ulp(evaluate(apply_exp, x), x, mpmath.exp) <= 1.0


def test_exp_of_special_arguments() -> None:
    found = evaluate(apply_exp, np.array([0.0, -0.0, 690.0, 1e300, -1e300]))
    assert found[:2].tolist() == [1.0, 1.0]
    assert found[2] == pytest.approx(np.exp(690.0), rel=1e-15)
    assert found[3] == found[2]
    assert 0.0 < found[4] < 1e-299


@pytest.mark.parametrize(("low", "high"), [(0.0, 1e-12), (0.0, 1e-2), (0.0, 1.0), (0.41, 0.42)])
def test_log1p_unit_is_within_two_ulp(low: float, high: float) -> None:
    x = np.random.default_rng(1).uniform(low, high, 4000)
    assert worst_ulp(evaluate(apply_log1p_unit, x), x, mpmath.log1p) <= 2.0


def test_log1p_unit_at_its_ends() -> None:
    found = evaluate(apply_log1p_unit, np.array([0.0, 1.0, 5e-324]))
    np.testing.assert_array_equal(found, [0.0, np.log(2.0), 5e-324])


def test_plain_python_agrees() -> None:
    """The source under the compiled function, whose fused operations round twice in Python."""
    x = np.linspace(-30.0, 30.0, 101)
    plain = [elementary.exp(np.float64(v)) for v in x]
    np.testing.assert_allclose(evaluate(apply_exp, x), plain, rtol=1e-15)

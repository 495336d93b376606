"""The exact sum against Python's fractions and math.fsum, in every order and grouping that hypothesis draws."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpigd_kernels import exact

finite = st.floats(allow_nan=False, allow_infinity=False)
adversarial = st.one_of(
    finite,
    st.floats(-1.0, 1.0),
    st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 1e-300, 1e300]),
    st.builds(lambda m, e: math.ldexp(m, e), st.floats(-1.0, 1.0), st.integers(-1074, 1000)),
    st.integers(-(2**53), 2**53).map(float),
)


def accumulated(values: list[float]) -> np.ndarray:
    return exact.of_blocks(np.array(values, np.float64).reshape(-1, 1))


@settings(max_examples=300)
@given(values=st.lists(adversarial, max_size=40), data=st.data())
def test_any_order_and_grouping_gives_the_same_accumulator(values: list[float], data: st.DataObject) -> None:
    whole = accumulated(values)
    shuffled = data.draw(st.permutations(values))
    total = exact.empty(1)
    while shuffled:
        count = data.draw(st.integers(1, len(shuffled)))
        exact.merge(accumulated(shuffled[:count]), total)
        shuffled = shuffled[count:]
    np.testing.assert_array_equal(total, whole)


@settings(max_examples=300)
@given(values=st.lists(adversarial, min_size=1, max_size=40))
def test_error_is_within_the_stated_bound(values: list[float]) -> None:
    true = sum(map(Fraction, values), Fraction(0))
    found = exact.rounded(accumulated(values))[0]
    if math.isinf(found):
        assert abs(true) > Fraction(1.797e308)
        return
    largest = max(map(abs, values))
    bound = len(values) * Fraction(largest) / 2**76 + Fraction(math.ulp(found))
    assert abs(Fraction(found) - true) <= bound


@given(values=st.lists(st.floats(1.0, 2.0), min_size=1, max_size=1000))
def test_well_scaled_sums_are_within_one_ulp_of_the_correctly_rounded_one(values: list[float]) -> None:
    true = math.fsum(values)
    assert abs(exact.rounded(accumulated(values))[0] - true) <= math.ulp(true)


@given(values=st.lists(st.floats(), max_size=30))
def test_infinities_and_nan_come_through(values: list[float]) -> None:
    found = exact.rounded(accumulated(values))[0]
    with np.errstate(all="ignore"):
        special = [v for v in values if not math.isfinite(v)]
        if special:
            np.testing.assert_equal(found, np.sum(special))
        else:
            assert not math.isnan(found)


def test_nothing_sums_to_zero() -> None:
    assert exact.rounded(exact.empty(3)).tolist() == [0.0, 0.0, 0.0]
    assert exact.rounded(accumulated([1e300, -1e300])).tolist() == [0.0]
    assert exact.rounded(accumulated([-0.0])).tolist() == [0.0]


def test_a_sum_beyond_the_largest_double_is_infinite() -> None:
    assert exact.rounded(accumulated([1.7e308, 1.7e308])).tolist() == [np.inf]
    assert exact.rounded(accumulated([1.7e308, 1.7e308, -1.7e308])).tolist() == [1.7e308]


@pytest.mark.parametrize("scale", [1.0, 1e-310, 1e290])
def test_many_terms_against_fsum(scale: float) -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal(100_000) * scale * 10.0 ** rng.integers(-5, 5, 100_000)
    true = math.fsum(values)
    assert abs(exact.rounded(exact.of_blocks(values[:, None]))[0] - true) <= math.ulp(true)

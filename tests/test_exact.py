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
subnormal = st.integers(-(2**60), 2**60).map(lambda m: math.ldexp(m, -1074))
adversarial = st.one_of(
    subnormal,
    finite,
    st.floats(-1.0, 1.0),
    st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 1e-300, 1e300]),
    st.builds(lambda m, e: math.ldexp(m, e), st.floats(-1.0, 1.0), st.integers(-1074, 1000)),
    st.integers(-(2**53), 2**53).map(float),
)


shifts = st.integers(0, exact.BITS - 1)


def accumulated(values: list[float], shift: int = 0) -> np.ndarray:
    total = exact.empty(1, np.array([shift]))
    exact.add_rows(np.array(values, np.float64).reshape(-1, 1), 1, np.empty(1), total)
    return total


@settings(max_examples=300)
@given(values=st.lists(adversarial, max_size=40), shift=shifts, data=st.data())
def test_any_order_and_grouping_gives_the_same_accumulator(
    values: list[float], shift: int, data: st.DataObject
) -> None:
    whole = accumulated(values, shift)
    shuffled = data.draw(st.permutations(values))
    total = accumulated([], shift)
    while shuffled:
        count = data.draw(st.integers(1, len(shuffled)))
        exact.merge(accumulated(shuffled[:count], shift), total)
        shuffled = shuffled[count:]
    np.testing.assert_array_equal(total, whole)


def exchanged(parts: list[np.ndarray], window: np.ndarray) -> tuple[np.ndarray, int]:
    """What ranks make of their accumulators (5, 1): the sum, and how many windows were wrong."""
    messages = []
    for part in parts:
        messages.append(np.empty(4, np.int64))
        exact.to_message(part, window, len(parts), messages[-1])
    out, wrong = np.empty(1), np.empty(1, np.int64)
    exact.from_message(sum(messages[1:], messages[0]), window, parts[0][4], out, wrong)
    return out, int(wrong[0])


@settings(max_examples=300)
@given(parts=st.lists(st.lists(adversarial, max_size=12), min_size=1, max_size=6), shift=shifts)
def test_messages_add_up_to_what_one_rank_would_have(parts: list[list[float]], shift: int) -> None:
    """And every window but the right one is found to be wrong."""
    whole = accumulated([value for part in parts for value in part], shift)
    own = [accumulated(part, shift) for part in parts]
    out, wrong = exchanged(own, whole[0].copy())
    assert wrong == 0
    assert out.tobytes() == exact.rounded(whole).tobytes()
    for off in (-1, 1, 2, 5):
        assert exchanged(own, whole[0] + off)[1] > 0


@settings(max_examples=300)
@given(values=st.lists(adversarial, min_size=1, max_size=40), shift=shifts)
def test_error_is_within_the_stated_bound(values: list[float], shift: int) -> None:
    true = sum(map(Fraction, values), Fraction(0))
    found = exact.rounded(accumulated(values, shift))[0]
    if math.isinf(found):
        assert abs(true) > Fraction(1.797e308)
        return
    cut = len(values) * Fraction(max(map(abs, values))) / 2**76
    rounding = Fraction(math.ulp(found)) * (Fraction(1, 2) + Fraction(1, 2**50))
    assert abs(Fraction(found) - true) <= cut + rounding


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


@given(magnitude=st.floats(5e-324, 1.7e308), turn=st.floats(2.0**-18, 2.0**17))
def test_shifts_put_a_magnitude_amid_a_bin(magnitude: float, turn: float) -> None:
    [shift] = exact.shifts_for(np.array([magnitude]))
    near = magnitude * turn
    if 0.0 < near < math.inf:
        assert accumulated([near], shift)[0, 0] == accumulated([magnitude], shift)[0, 0]


def test_blocks_are_added_up_in_turn_first() -> None:
    """1 is lost beside 2^60 within a block, and kept between blocks."""
    terms = np.array([[2.0**60], [1.0], [-(2.0**60)]])
    assert [exact.rounded(exact.of_blocks(terms, block))[0] for block in (1, 2, 3)] == [1.0, 0.0, 0.0]


def test_more_terms_than_limbs_hold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "MOST_TERMS", 10)
    exact.of_blocks(np.ones((20, 1)), 2)
    with pytest.raises(OverflowError, match="11 blocks: an exact sum takes 10 terms"):
        exact.of_blocks(np.ones((21, 1)), 2)


def test_as_many_terms_as_are_allowed_do_not_overflow() -> None:
    """2^24 terms with all bits of their highest bin set, on one rank and on many; then too many, which is noticed."""
    total = accumulated([math.ldexp(1.0 - 2.0**-53, 66)])
    assert total[1, 0] == 2**38 - 1
    total[1:4] *= exact.MOST_TERMS
    true = exact.MOST_TERMS * math.ldexp(1.0 - 2.0**-53, 66)
    assert exact.rounded(total)[0] == true
    share = total.copy()
    share[1:4] //= 16
    out, wrong = exchanged([share] * 16, total[0].copy())
    assert (out[0], wrong) == (true, 0)
    assert exchanged([total] * 16, total[0].copy())[1] >= exact.TOO_LARGE


@pytest.mark.parametrize("scale", [1.0, 1e-310, 1e290])
def test_many_terms_against_fsum(scale: float) -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal(100_000) * scale * 10.0 ** rng.integers(-5, 5, 100_000)
    true = math.fsum(values)
    assert abs(exact.rounded(exact.of_blocks(values[:, None]))[0] - true) <= math.ulp(true)

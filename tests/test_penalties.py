"""Penalties: proximal operators and shortest subgradients, from what defines them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpigd.penalties import Penalty, penalty


@st.composite
def penalties(draw: Any) -> tuple[Penalty, np.random.Generator]:
    """Elastic nets, group lassos and bounds, one or three outputs, with an intercept or without."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    d, outputs, intercept = draw(st.integers(1, 8)), draw(st.sampled_from([1, 3])), draw(st.booleans())
    strengths = draw(st.sampled_from([0.0, 0.3])), draw(st.sampled_from([0.0, 0.1, 1.0, 10.0]))
    kind = draw(st.sampled_from(["lasso", "bounds", "from zero", "groups"]))
    bounds = {"bounds": (-0.7, 1.2), "from zero": (0.0, np.inf)}.get(kind, (-np.inf, np.inf))
    group = rng.integers(0, 3, d) if kind == "groups" else None
    if group is not None:
        group = np.unique(group, return_inverse=True)[1]
    return penalty(*strengths, rng.uniform(0.1, 3.0, d), outputs, intercept, bounds, group), rng


def some_theta(given: Penalty, rng: np.random.Generator) -> np.ndarray:
    """A point within bounds, some of whose elements, or groups, are zero or at a bound."""
    theta = rng.standard_normal(given.group.shape) * rng.choice([0.0, 1.0, 2.0], len(given.strength))[given.group]
    return np.clip(theta, given.low, given.high)


@given(drawn=penalties(), rate=st.floats(1e-3, 1e3))
def test_nothing_is_better_than_the_proximal_point(drawn: tuple[Penalty, np.random.Generator], rate: float) -> None:
    found, rng = drawn
    theta = 2.0 * rng.standard_normal(found.group.shape)
    z = found.proximal(theta, rate)
    assert ((z >= found.low) & (z <= found.high)).all()

    def value(at: np.ndarray) -> float:
        return float(np.sum((at - theta) ** 2) / (2.0 * rate)) + found.value(at)

    for scale in (1e-6, 1e-3, 0.1, 1.0, 1.0, 1.0):
        other = np.clip(z + scale * rng.standard_normal(z.shape), found.low, found.high)
        other = np.where(rng.random(z.shape) < 0.3, np.clip(0.0, found.low, found.high), other)
        assert value(z) <= value(other) * (1.0 + 1e-12) + 1e-15


@given(drawn=penalties())
def test_the_shortest_subgradient_is_how_fast_the_objective_can_fall(
    drawn: tuple[Penalty, np.random.Generator],
) -> None:
    """Along it the slope is minus its square, and no direction that bounds allow falls faster than its length."""
    found, rng = drawn
    theta, gradient = some_theta(found, rng), rng.standard_normal(found.group.shape)
    shortest, h = found.subgradient(theta, gradient), 1e-7

    def slope(direction: np.ndarray) -> float:
        there = theta + h * direction
        fall = float(np.sum(gradient * direction)) + (found.value(there) - found.value(theta)) / h
        assert ((there >= found.low) & (there <= found.high)).all()
        return fall

    square = float(np.sum(shortest**2))
    assert slope(-shortest) == pytest.approx(-square, rel=1e-5, abs=1e-5)
    for _ in range(20):
        direction = rng.standard_normal(theta.shape)
        direction = np.where(theta >= found.high, -abs(direction), direction)
        direction = np.where(theta <= found.low, abs(direction), direction)
        length = float(np.linalg.norm(direction))
        assert slope(direction / length) >= -np.sqrt(square) - 1e-5


def test_without_kinks_nothing_is_done() -> None:
    plain = penalty(0.5, 0.0, np.ones(3), 1, intercept=True)
    theta, gradient = np.arange(4.0)[:, None], np.ones((4, 1))
    assert plain.is_smooth
    assert plain.smooth_value(theta) == 0.25 * (0.0 + 1.0 + 4.0)
    np.testing.assert_array_equal(plain.smooth_gradient(theta)[:, 0], [0.0, 0.5, 1.0, 0.0])
    assert plain.subgradient(theta, gradient) is gradient
    assert plain.proximal(theta, 2.0) is theta


def test_some_rows_have_the_penalty_of_their_groups() -> None:
    """A group counts the root of its size, whichever groups stay."""
    group = np.array([2, 0, 2, 1])
    whole = penalty(0.1, 3.0, np.ones(4), 1, intercept=True, group=group)
    assert whole.strength.tolist() == [3.0, 3.0, 3.0 * np.sqrt(2.0), 0.0]
    some = whole.rows(np.array([0, 2, 4]))
    assert some.group[:, 0].tolist() == [0, 0, 1]
    assert some.value(np.array([[3.0], [4.0], [7.0]])) == pytest.approx(5.0 * 3.0 * np.sqrt(2.0), rel=1e-15)

"""Losses against differences and against scipy."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpigd_kernels import LOSSES
from mpigd_kernels.losses import logistic, softmax, squared
from scipy import special

SCALAR = {"squared": squared, "logistic": logistic}
eta_values = st.floats(-30.0, 30.0)


def difference(f, x: float, h: float = 1e-3) -> float:
    """Fourth-order central difference."""
    return (f(x - 2 * h) - 8 * f(x - h) + 8 * f(x + h) - f(x + 2 * h)) / (12 * h)


@pytest.mark.parametrize("name", SCALAR)
@given(eta=eta_values, y=st.sampled_from([0.0, 1.0]))
def test_derivatives_of_scalar_losses(name: str, eta: float, y: float) -> None:
    loss = SCALAR[name]
    _, first, second = loss(eta, y)
    assert first == pytest.approx(difference(lambda e: loss(e, y)[0], eta), rel=1e-8, abs=1e-9)
    assert second == pytest.approx(difference(lambda e: loss(e, y)[1], eta), rel=1e-8, abs=1e-9)
    assert 0.0 <= second <= LOSSES[name].curvature * (1 + 1e-15)


@given(eta=eta_values, y=st.sampled_from([0.0, 1.0]))
def test_logistic_is_the_bernoulli_likelihood(eta: float, y: float) -> None:
    value, first, _ = logistic(eta, y)
    sign = 2.0 * y - 1.0
    assert value == pytest.approx(-special.log_expit(sign * eta), rel=1e-14)
    assert first == pytest.approx(-sign * special.expit(-sign * eta), rel=1e-14)


@given(eta=st.lists(eta_values, min_size=2, max_size=12), data=st.data())
def test_softmax_is_the_multinomial_likelihood(eta: list[float], data: st.DataObject) -> None:
    y = data.draw(st.integers(0, len(eta) - 1))
    first, value = np.array(eta)[:, None], np.zeros(1)
    softmax(first, np.array([float(y)]), value)
    assert value[0] == pytest.approx(-special.log_softmax(eta)[y], rel=1e-13, abs=1e-13)
    expected = special.softmax(eta)
    expected[y] -= 1.0
    np.testing.assert_allclose(first[:, 0], expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("eta", [-1e4, -745.2, -40.0, 0.0, 40.0, 745.2, 1e4])
@pytest.mark.parametrize("y", [0.0, 1.0])
def test_losses_are_safe_at_extremes(eta: float, y: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for loss in SCALAR.values():
            assert np.isfinite(loss(eta, y)).all()
        assert logistic(eta, y)[0] == pytest.approx(max(0.0, -(2 * y - 1) * eta), abs=0.7)
        first, value = np.array([[eta], [0.0], [-eta]]), np.zeros(1)
        softmax(first, np.array([y]), value)
        assert np.isfinite(first).all()
        assert np.isfinite(value).all()


@pytest.mark.parametrize("name", LOSSES)
def test_mean_inverts_the_link(name: str) -> None:
    eta = np.array([[-800.0, 3.0], [0.5, -2.0], [900.0, 900.0]])
    expected = {"squared": eta, "logistic": special.expit(eta), "softmax": special.softmax(eta, axis=1)}[name]
    np.testing.assert_allclose(LOSSES[name].mean(eta), expected, rtol=1e-14)

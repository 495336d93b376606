"""Losses against differences, against naive forms in scipy, and against scikit-learn."""

from __future__ import annotations

import pickle
import warnings
from typing import get_args, get_type_hints

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from mpigd_kernels import LOSSES
from mpigd_kernels.losses import complementary_log_log, logistic, probit
from reference import EXAMPLES_OF_Y, VALUE, parameters
from scipy import special
from sklearn._loss import loss as peers

from mpigd import predictor
from mpigd.options import Train

SCALAR = sorted(name for name, loss in LOSSES.items() if loss.row)


def some_y(name: str) -> st.SearchStrategy[float]:
    return st.sampled_from(EXAMPLES_OF_Y.get(LOSSES[name].target, [0.0, 1.0]))


def difference(f, x: float, h: float = 1e-3) -> float:
    """Fourth-order central difference."""
    return (f(x - 2 * h) - 8 * f(x - h) + 8 * f(x + h) - f(x + 2 * h)) / (12 * h)


def test_every_loss_can_be_asked_for() -> None:
    assert list(get_args(get_type_hints(Train)["loss"])) == list(LOSSES)


@pytest.mark.parametrize("name", SCALAR)
@given(data=st.data(), eta=st.floats(-8.0, 8.0))
def test_value_is_that_of_the_naive_form(name: str, data: st.DataObject, eta: float) -> None:
    y = data.draw(some_y(name))
    p, h = parameters(LOSSES[name])
    found = LOSSES[name].row(eta, y, p, h)[0]
    assert found == pytest.approx(float(VALUE[name](np.float64(eta), y, p, h)), rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("name", SCALAR)
@given(data=st.data(), eta=st.floats(-8.0, 8.0))
def test_derivatives_by_differences(name: str, data: st.DataObject, eta: float) -> None:
    loss, y = LOSSES[name], data.draw(some_y(name))
    p, h = parameters(loss)
    values = [loss.row(eta + k * 1e-3, y, p, h) for k in range(-3, 4)]
    # Differences across a kink of the second derivative are not those of a smooth function.
    assume(loss.link not in ("identity", "sign") or len({v[2] for v in values}) == 1)
    _, first, second = loss.row(eta, y, p, h)
    assert first == pytest.approx(difference(lambda e: loss.row(e, y, p, h)[0], eta), rel=1e-8, abs=1e-9)
    assert second == pytest.approx(difference(lambda e: loss.row(e, y, p, h)[1], eta), rel=1e-8, abs=1e-9)
    if loss.curvature:
        assert second <= loss.curvature(p, h) * (1 + 1e-15)


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("squared", peers.HalfSquaredError()),
        ("logistic", peers.HalfBinomialLoss()),
        ("poisson", peers.HalfPoissonLoss()),
        ("gamma", peers.HalfGammaLoss()),
        ("tweedie", peers.HalfTweedieLoss(power=1.5)),
        ("huber", peers.HuberLoss(delta=1.345)),
    ],
)
def test_derivative_equals_scikit_learns(name: str, peer) -> None:
    rng = np.random.default_rng(0)
    eta = rng.uniform(-5, 5, 200)
    y = rng.choice(EXAMPLES_OF_Y.get(LOSSES[name].target, [0.0, 1.0]), 200)
    expected = peer.gradient(y_true=y, raw_prediction=eta)
    found = [LOSSES[name].row(e, t, *parameters(LOSSES[name]))[1] for e, t in zip(eta, y, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


@given(eta=st.floats(-30.0, 30.0), y=st.sampled_from([0.0, 1.0]))
def test_logistic_keeps_its_relative_accuracy(eta: float, y: float) -> None:
    value, first, _ = logistic(eta, y, 0.0, 0.0)
    sign = 2.0 * y - 1.0
    assert value == pytest.approx(-special.log_expit(sign * eta), rel=1e-14)
    assert first == pytest.approx(-sign * special.expit(-sign * eta), rel=1e-14)


@given(eta=st.floats(-300.0, 30.0), y=st.sampled_from([0.0, 1.0]))
def test_probit_keeps_its_relative_accuracy_in_the_tails(eta: float, y: float) -> None:
    z = (2.0 * y - 1.0) * eta
    with mpmath.workdps(60):
        phi, tail = mpmath.npdf(z), mpmath.erfc(-mpmath.mpf(z) / mpmath.sqrt(2)) / 2
        value, ratio = -mpmath.log(tail), phi / tail
        expected = float(value), float(-(2.0 * y - 1.0) * ratio), float(ratio * (z + ratio))
    found = probit(eta, y, 0.0, 0.0)
    assert found[0] == pytest.approx(expected[0], rel=1e-13, abs=1e-200)
    assert found[1] == pytest.approx(expected[1], rel=1e-13, abs=1e-200)
    assert found[2] == pytest.approx(expected[2], rel=1e-10, abs=1e-200)


@given(eta=st.floats(-300.0, 6.0))
def test_complementary_log_log_keeps_its_relative_accuracy(eta: float) -> None:
    with mpmath.workdps(300):
        mu = mpmath.exp(mpmath.mpf(eta))
        q = mu / mpmath.expm1(mu)
        expected = float(-mpmath.log(-mpmath.expm1(-mu))), float(-q), float(q * (mu + q - 1))
    assert complementary_log_log(eta, 1.0, 0.0, 0.0) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("eta", [-1e4, -745.2, -40.0, 0.0, 40.0, 745.2, 1e4])
@pytest.mark.parametrize("name", SCALAR)
def test_losses_are_safe_at_extremes(name: str, eta: float) -> None:
    loss = LOSSES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for y in EXAMPLES_OF_Y.get(loss.target, [0.0, 1.0]):
            assert np.isfinite(loss.row(np.float64(eta), y, *parameters(loss))).all()


@pytest.mark.parametrize("name", LOSSES)
def test_mean_inverts_the_link(name: str) -> None:
    eta = np.array([[-800.0, 3.0], [0.5, -2.0], [680.0, 680.0]])
    expected = {
        "identity": eta,
        "log": np.exp(eta),
        "logit": special.expit(eta),
        "probit": special.ndtr(eta),
        "complementary log-log": -np.expm1(-np.exp(np.minimum(eta, 100.0))),
        "sign": (eta > 0).astype(float),
        "multinomial logit": special.softmax(eta, axis=1),
    }[LOSSES[name].link]
    np.testing.assert_allclose(predictor.expected(LOSSES[name].link, eta), expected, rtol=1e-14)


def test_losses_travel_between_ranks_by_name() -> None:
    for loss in LOSSES.values():
        assert pickle.loads(pickle.dumps(loss)) is loss

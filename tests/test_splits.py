"""Rows to train, to validate and to test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import load_table
from hypothesis import given
from hypothesis import strategies as st
from sklearn import linear_model
from sklearn.metrics import log_loss

from mpigd.comm import Comm
from mpigd.errors import DataError, UsageError
from mpigd.options import Evaluate, Train
from mpigd.predict import evaluate
from mpigd.problem import read_split
from mpigd.splits import TEST, TRAIN, VALIDATION
from mpigd.train import run

pytestmark = pytest.mark.mpi


def roles_of(comm: Comm, ranks: Comm, path: Path | tuple[Path, ...], **options: Any) -> np.ndarray:
    """Of all rows, on every rank."""
    own = read_split(ranks, Train(path, **options)).roles
    assert own is not None
    return np.concatenate(ranks.gather(own))


@given(
    validation=st.sampled_from([0.0, 0.1, 0.25, 1 / 3]), test=st.sampled_from([0.05, 0.2, 0.5]), seed=st.integers(0, 9)
)
def test_shares_are_exact_and_do_not_depend_on_ranks(validation: float, test: float, seed: int) -> None:
    comm, path = Comm.world(), load_table("boston").path
    options = {"validation_share": validation, "test_share": test, "seed": seed}
    roles = roles_of(comm, comm, path, **options)
    np.testing.assert_array_equal(roles, roles_of(comm, Comm.alone(), path, **options))
    counts = np.bincount(roles, minlength=3)
    assert counts[VALIDATION] + counts[TEST] == round(506 * (validation + test))
    assert abs(counts[TEST] - 506 * test) <= 1.0
    # Every block of 8 gives its share, and so any part of the file does.
    assert abs(np.count_nonzero(roles[:256] == TEST) - 256 * test) <= 17


@pytest.mark.parametrize("share", [0.2, 0.37])
def test_every_class_gives_its_share(comm: Comm, share: float) -> None:
    table = load_table("digits")
    roles = roles_of(comm, comm, table.path, loss="softmax", test_share=share, stratify=True)
    np.testing.assert_array_equal(
        roles, roles_of(comm, Comm.alone(), table.path, loss="softmax", test_share=share, stratify=True)
    )
    for label in np.unique(table.y):
        own = roles[table.y == label]
        assert abs(np.count_nonzero(own == TEST) - share * len(own)) <= 0.5


def test_seeds_draw_other_rows(comm: Comm) -> None:
    path = load_table("boston").path
    first, second = (roles_of(comm, comm, path, test_share=0.3, seed=seed) for seed in (0, 1))
    assert np.mean((first == TEST) & (second == TEST)) == pytest.approx(0.3**2, abs=0.03)


def test_the_model_is_that_of_the_training_rows(comm: Comm, shared_path: Path) -> None:
    """And its scores those of the others, as scikit-learn has them."""
    table = load_table("breast_cancer")
    roles = roles_of(comm, comm, table.path, loss="logistic", test_share=0.3, validation_share=0.1)
    options = {"loss": "logistic", "l2": 0.01, "tol": 1e-10, "test_share": 0.3, "validation_share": 0.1}
    fitted = run(comm, Train(table.path, **options, run_dir=shared_path / "run"))
    train = table.X[roles == TRAIN]
    mean, scale = train.mean(axis=0), train.std(axis=0)
    peer = linear_model.LogisticRegression(C=1.0 / (0.01 * len(train)), tol=1e-12, max_iter=10_000)
    peer.fit((train - mean) / scale, table.y[roles == TRAIN])
    np.testing.assert_allclose(fitted.model.coef * scale, peer.coef_[0], rtol=1e-5)
    assert fitted.rows == len(train)
    for name, role in (("validation", VALIDATION), ("test", TEST)):
        some = roles == role
        probability = peer.predict_proba((table.X[some] - mean) / scale)
        assert fitted.scores[name]["log_loss"] == pytest.approx(log_loss(table.y[some], probability), rel=1e-5)
        found = evaluate(comm, Evaluate(shared_path / "run", table.path, on=name))
        assert found["rows"] == np.count_nonzero(some)
        assert {key: found[key] for key in fitted.scores[name]} == fitted.scores[name]


def test_a_dataset_or_files_may_say_what_rows_are_for(comm: Comm, write_data: Callable[..., Path]) -> None:
    table = load_table("boston")
    roles = np.random.default_rng(0).integers(0, 3, len(table.y))
    path = write_data(X=table.X, y=table.y, part=roles)
    np.testing.assert_array_equal(roles_of(comm, comm, path, split="part"), roles)
    parts = [write_data(f"{k}.h5", X=table.X[roles == k], y=table.y[roles == k]) for k in range(3)]
    found = roles_of(comm, comm, parts[0], validation_data=parts[1], test_data=(parts[2],))
    np.testing.assert_array_equal(found, np.sort(roles))
    one = run(comm, Train(path, split="part", tol=0.0, run_dir=path.parent / "one"))
    other = run(comm, Train(parts[0], validation_data=parts[1], test_data=parts[2], run_dir=path.parent / "other"))
    np.testing.assert_allclose(one.model.coef, other.model.coef, rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_share": 0.6, "validation_share": 0.5}, "less than 1 together"),
        ({"test_share": -0.1}, "numbers ≥ 0"),
        ({"stratify": True}, "a share, too"),
        ({"test_share": 0.1, "split": "part"}, "one way to divide rows only"),
    ],
)
def test_options_that_contradict_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Train(Path("data.h5"), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_share": 0.2, "stratify": True}, "--stratify needs classes"),
        ({"test_share": 1e-4}, "no row is left for test"),
        ({"split": "none"}, "no dataset 'none'"),
        ({"split": "y"}, r"dataset 'y' is not 0 \(train\), 1 \(validation\) or 2 \(test\) at row 0"),
    ],
)
def test_what_data_can_not_give_is_said_once(comm: Comm, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_split(comm, Train(load_table("boston").path, **options))
    assert caught.value.agreed


def test_streamed_rows_are_split_alike(comm: Comm, monkeypatch: pytest.MonkeyPatch) -> None:
    import fits

    from mpigd import dataset

    options = Train(load_table("boston").path, test_share=0.2)
    whole = read_split(comm, options)
    monkeypatch.setattr(dataset, "room_for_rows", fits.cramped)
    some = read_split(comm, replace(options, memory="1GiB"))
    assert some.data.slice.streams
    assert whole.roles is not None
    assert some.roles is not None
    np.testing.assert_array_equal(whole.roles, some.roles)

"""Searches: what scikit-learn finds with the same folds, in lockstep and with the same bits on any ranks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import load_table
from sklearn import linear_model
from sklearn.metrics import f1_score, log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mpigd import crossvalidation
from mpigd.comm import Comm
from mpigd.crossvalidation import CrossValidation
from mpigd.errors import DataError, RanksLostError, StoppedError, UsageError
from mpigd.keeper import Keeper
from mpigd.lockstep import Lockstep
from mpigd.model import Model
from mpigd.objective import Objective
from mpigd.options import Train, Tune
from mpigd.problem import make_objective, read_data
from mpigd.search import Trial
from mpigd.train import run as train
from mpigd.tune import Tuned, run

pytestmark = pytest.mark.mpi


def tuned(comm: Comm, path: Path, directory: Path, *over: str, **options: Any) -> Tuned:
    return run(comm, Tune((path,), over=over, run_dir=directory, **options))


def with_folds(write_data: Callable[..., Path], name: str, count: int = 4) -> tuple[Any, np.ndarray, Path]:
    """A shipped table with a column that says each row's fold."""
    table = load_table(name)
    number = np.random.default_rng(0).permutation(len(table.y)) % count
    return table, number, write_data(f"{name}.h5", X=table.X, y=table.y, fold=number)


def scores_of(peer: Any, table: Any, number: np.ndarray, score: Callable[[Any, np.ndarray], float]) -> list[float]:
    found = []
    for k in range(number.max() + 1):
        held = number == k
        fitted = peer(np.count_nonzero(~held)).fit(table.X[~held], table.y[~held])
        found.append(score(fitted, held))
    return found


def assert_scores(found: Tuned, expected: list[list[float]], rtol: float = 1e-6) -> None:
    for trial, scores in zip(found.trials, expected, strict=True):
        np.testing.assert_allclose(trial.scores, scores, rtol=rtol)
        assert trial.note == ""


GIVEN = {"fold_kind": "given", "fold_by": "fold", "tol": 1e-9}


def test_logistic_regression(comm: Comm, write_data: Callable[..., Path], shared_path: Path) -> None:
    table, number, path = with_folds(write_data, "breast_cancer")
    found = tuned(comm, path, shared_path / "run", "l2=1e-3,0.03,1", loss="logistic", **GIVEN)

    def peer(l2: float) -> Callable[[int], Any]:
        return lambda rows: make_pipeline(
            StandardScaler(), linear_model.LogisticRegression(C=1.0 / (l2 * rows), tol=1e-12, max_iter=10_000)
        )

    def score(fitted: Any, held: np.ndarray) -> float:
        return log_loss(table.y[held], fitted.predict_proba(table.X[held]))

    expected = [scores_of(peer(l2), table, number, score) for l2 in (1.0, 0.03, 1e-3)]
    assert_scores(found, expected, rtol=1e-5)
    assert found.chosen == int(np.argmin(np.mean(expected, axis=1)))
    # The model is that of train with the options that were chosen.
    l2 = float(found.trials[found.chosen].values["l2"])
    alone = train(comm, Train((path,), loss="logistic", l2=l2, tol=1e-9, run_dir=shared_path / "alone"))
    assert found.fit is not None
    assert found.fit.model.fingerprint == alone.model.fingerprint
    if comm.rank == 0:
        written = json.loads((shared_path / "run" / "tuning.json").read_text())
        assert [trial["scores"] for trial in written["trials"]] == [list(trial.scores) for trial in found.trials]
        assert Model.load(shared_path / "run" / "model.h5").config["l2"] == l2


def test_rows_held_out_weigh_what_they_weigh(comm: Comm, write_data: Callable[..., Path], shared_path: Path) -> None:
    """Weights of classes are for the fit alone."""
    table, number, path = with_folds(write_data, "breast_cancer")
    weighted = {"loss": "logistic", "class_weight": "0=1,1=5", "standardize": False, "refit": False}
    found = tuned(comm, path, shared_path / "run", "l2=1", **weighted, **GIVEN)
    weight = np.where(table.y == 1.0, 5.0, 1.0)

    def fitted(held: np.ndarray) -> Any:
        peer = linear_model.LogisticRegression(
            C=1.0 / weight[~held].sum(), class_weight={0: 1, 1: 5}, solver="newton-cholesky", tol=1e-12, max_iter=1000
        )
        return peer.fit(table.X[~held], table.y[~held])

    expected = [
        log_loss(table.y[held], fitted(held).predict_proba(table.X[held])) for held in (number == k for k in range(4))
    ]
    assert_scores(found, [expected], rtol=1e-5)


def test_the_model_is_that_of_the_rule(comm: Comm, shared_path: Path) -> None:
    found = tuned(comm, load_table("breast_cancer").path, shared_path, "l2=1e-4..1/5", loss="logistic", rule="one-se")
    assert found.chosen != found.best
    assert found.fit is not None
    assert found.fit.model.config["l2"] == found.trials[found.chosen].values["l2"]


def test_a_metric_instead_of_the_loss(comm: Comm, write_data: Callable[..., Path], shared_path: Path) -> None:
    table, number, path = with_folds(write_data, "breast_cancer")
    found = tuned(comm, path, shared_path / "run", "l2=0.01,1", loss="logistic", score="f1", refit=False, **GIVEN)

    def score(fitted: Any, held: np.ndarray) -> float:
        return f1_score(table.y[held], fitted.predict(table.X[held]), average="macro")

    def peer(l2: float) -> Callable[[int], Any]:
        return lambda rows: make_pipeline(StandardScaler(), linear_model.LogisticRegression(C=1.0 / (l2 * rows)))

    assert_scores(found, [scores_of(peer(l2), table, number, score) for l2 in (1.0, 0.01)])
    assert found.fit is None


@pytest.mark.parametrize("solver", ["auto", "lbfgs"])
def test_ridge(comm: Comm, write_data: Callable[..., Path], shared_path: Path, solver: str) -> None:
    table, number, path = with_folds(write_data, "boston")
    found = tuned(comm, path, shared_path / "run", "l2=1e-3..10/4", solver=solver, refit=False, **GIVEN)

    def peer(l2: float) -> Callable[[int], Any]:
        return lambda rows: make_pipeline(StandardScaler(), linear_model.Ridge(alpha=l2 * rows))

    def score(fitted: Any, held: np.ndarray) -> float:
        return 0.5 * np.mean((fitted.predict(table.X[held]) - table.y[held]) ** 2)

    strengths = [trial.values["l2"] for trial in found.trials]
    assert strengths == [10.0, 0.464159, 0.0215443, 0.001]
    assert_scores(found, [scores_of(peer(l2), table, number, score) for l2 in strengths])


def test_lasso(comm: Comm, write_data: Callable[..., Path], shared_path: Path) -> None:
    table, number, path = with_folds(write_data, "boston")
    found = tuned(comm, path, shared_path / "run", "l1=0.01,0.3,3", refit=False, score="rmse", **GIVEN)

    def peer(l1: float) -> Callable[[int], Any]:
        return lambda rows: make_pipeline(StandardScaler(), linear_model.Lasso(l1, tol=1e-12, max_iter=100_000))

    def score(fitted: Any, held: np.ndarray) -> float:
        return np.sqrt(np.mean((fitted.predict(table.X[held]) - table.y[held]) ** 2))

    assert_scores(found, [scores_of(peer(l1), table, number, score) for l1 in (3.0, 0.3, 0.01)])


def test_softmax(comm: Comm, write_data: Callable[..., Path], shared_path: Path) -> None:
    table, number, path = with_folds(write_data, "digits", 3)
    found = tuned(
        comm, path, shared_path / "run", "l2=0.01,0.1", loss="softmax", standardize=False, refit=False, **GIVEN
    )

    def peer(l2: float) -> Callable[[int], Any]:
        return lambda rows: linear_model.LogisticRegression(
            C=1.0 / (l2 * rows), solver="newton-cg", tol=1e-9, max_iter=10_000
        )

    def score(fitted: Any, held: np.ndarray) -> float:
        return log_loss(table.y[held], fitted.predict_proba(table.X[held]))

    assert_scores(found, [scores_of(peer(l2), table, number, score) for l2 in (0.1, 0.01)])


CASES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "newton": (("l2=1e-3..1/5",), {"loss": "logistic", "rule": "one-se"}),
    "loss parameters": (("l2=0.1,1", "loss_parameter=1,2"), {"loss": "focal"}),
    "nesterov": (("l2=0.1,1",), {"loss": "logistic", "solver": "nesterov"}),
    "lasso": (("l1=1e-3..0.1/3",), {"loss": "logistic"}),
    "sgd": (("learning_rate=0.01,0.1", "batch_size=32,100"), {"loss": "logistic", "solver": "sgd", "max_passes": 5}),
    "local": (("learning_rate=0.01,0.1",), {"loss": "logistic", "solver": "sgd", "max_passes": 4, "local_steps": 3}),
    "halving": (
        ("learning_rate=1e-3..1",),
        {"loss": "logistic", "solver": "adam", "search": "halving", "candidates": 5, "max_passes": 9},
    ),
    "balanced": (
        ("l2=0.1,1",),
        {"loss": "logistic", "class_weight": "balanced", "test_share": 0.2, "score": "roc_auc"},
    ),
    "fast": (("l2=0.1,1",), {"loss": "logistic", "reduce": "fast"}),
}


@pytest.mark.parametrize("case", CASES)
def test_bits_do_not_depend_on_ranks(comm: Comm, write_data: Callable[..., Path], shared_path: Path, case: str) -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(-3, 4, (1500, 6)).astype(float)
    y = (X[:, 0] + X[:, 1] + 3.0 * rng.standard_normal(1500) > 0.0).astype(float)
    path = write_data(X=X, y=y)
    over, options = CASES[case]
    together = tuned(comm, path, shared_path / "all", *over, **options)
    alone = tuned(Comm.alone(), path, shared_path / f"alone-{comm.rank}", *over, **options)
    if case == "fast":
        for one, other in zip(together.trials, alone.trials, strict=True):
            np.testing.assert_allclose(one.scores, other.scores, rtol=1e-9)
        return
    assert together.trials == alone.trials
    assert together.chosen == alone.chosen
    assert together.fit is not None
    assert alone.fit is not None
    assert together.fit.model.fingerprint == alone.fit.model.fingerprint


STOPPED: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "along penalties": (("l2=1e-3,0.03,1",), {"solver": "lbfgs"}),
    "along penalties in parts": (("l2=1e-3,0.03,0.3,1,3",), {"solver": "newton"}),
    "all at once": (("learning_rate=0.03,0.1",), {"solver": "sgd", "max_passes": 4}),
    "halving": (("learning_rate=1e-3..1",), {"solver": "sgd", "search": "halving", "candidates": 6, "max_passes": 9}),
}


@dataclass
class Moves:
    """Moves of searches that were made, and after which one ranks ask to stop."""

    made: int = 0
    last: int = 0


@pytest.fixture
def moves(comm: Comm, monkeypatch: pytest.MonkeyPatch) -> Moves:
    found = Moves()

    def offer(self: Keeper, fit: Any) -> None:
        if isinstance(fit, CrossValidation):
            found.made += 1
            comm.asks = comm.asks or int(found.made == found.last)

    monkeypatch.setattr(crossvalidation, "OFFER", -1.0)  # after every move
    monkeypatch.setattr(Keeper, "offer", offer)
    return found


@pytest.mark.parametrize("case", STOPPED)
def test_a_search_that_is_stopped_goes_on(
    comm: Comm, shared_path: Path, monkeypatch: pytest.MonkeyPatch, moves: Moves, case: str
) -> None:
    """At whatever move it is stopped: scores and model have the bits of a search that is not."""
    monkeypatch.setattr(crossvalidation, "HESSIANS", 2 * 8 * 31**2)  # two candidates at a time
    over, options = STOPPED[case]
    chosen = Tune((load_table("breast_cancer").path,), over=over, loss="logistic", folds=3, **options)
    whole = run(comm, replace(chosen, run_dir=shared_path / "whole"))
    every, resume = moves.made, replace(chosen, run_dir=shared_path / "run", resume="yes")
    assert whole.fit is not None
    for share in (0.0, 0.2, 0.5, 0.8, 1.0):
        moves.made, moves.last = 0, max(int(share * every), 1)
        with pytest.raises(StoppedError, match="stopped amid a search: a signal asked for it"):
            run(comm, replace(resume, resume="no"))
        moves.made, moves.last, comm.heard = 0, 0, 0
        comm.leave()
        found = run(comm, resume)
        assert moves.made <= every - max(int(share * every), 1)
        assert found.trials == whole.trials
        assert found.fit is not None
        assert found.fit.model.fingerprint == whole.fit.model.fingerprint
        comm.leave()
        assert not (shared_path / "run" / "search").exists()


def test_a_search_that_begins_again_after_a_death_goes_on(
    comm: Comm, shared_path: Path, monkeypatch: pytest.MonkeyPatch, moves: Moves
) -> None:
    over, sgd = STOPPED["all at once"]
    chosen = Tune((load_table("breast_cancer").path,), over=over, loss="logistic", folds=3, **sgd)
    whole = run(comm, replace(chosen, run_dir=shared_path / "whole"))
    every, counted = moves.made, Keeper.offer

    def dies(self: Keeper, fit: Any) -> None:
        counted(self, fit)
        if moves.made == every // 2:
            if comm.rank == 0:
                assert self.save(fit) is not None
            raise RanksLostError

    monkeypatch.setattr(Keeper, "offer", dies)
    moves.made = 0
    with pytest.raises(RanksLostError):
        run(comm, replace(chosen, run_dir=shared_path / "run"))
    comm.leave()
    monkeypatch.setattr(Keeper, "offer", counted)
    moves.made = 0
    found = run(comm, replace(chosen, run_dir=shared_path / "run"))
    assert moves.made == every - every // 2
    assert found.trials == whole.trials


def test_a_search_goes_on_with_the_same_options_and_rows_alone(
    comm: Comm, write_data: Callable[..., Path], shared_path: Path, moves: Moves
) -> None:
    table = load_table("boston")
    path = write_data("table.h5", X=table.X, y=table.y)
    options = Tune((path,), over=("l2=1,2",), solver="lbfgs", run_dir=shared_path / "run")
    moves.last = 3
    with pytest.raises(StoppedError):
        run(comm, options)
    comm.heard = 0
    with pytest.raises(UsageError, match="--resume: the fit had other options: --over was"):
        run(comm, replace(options, over=("l2=1,3",), resume="auto"))
    comm.leave()
    write_data("table.h5", X=table.X, y=table.y + 1.0)
    with pytest.raises(DataError, match="its rows are not those that the fit began with"):
        run(comm, replace(options, resume="yes"))


def test_groups_of_ranks_find_the_same(comm: Comm, shared_path: Path) -> None:
    path = load_table("breast_cancer").path
    options: dict[str, Any] = {"loss": "logistic", "refit": False, "tol": 1e-9}
    whole = tuned(comm, path, shared_path / "run", "l2=1e-4..1/5", **options)
    for groups in {min(2, comm.size), comm.size}:
        parted = tuned(comm, path, shared_path / "run", "l2=1e-4..1/5", rank_groups=groups, **options)
        for one, other in zip(whole.trials, parted.trials, strict=True):
            # A group begins its candidates elsewhere, so that fits end a little elsewhere.
            np.testing.assert_allclose(one.scores, other.scores, rtol=1e-5)
        assert parted.chosen == whole.chosen
    with pytest.raises(UsageError, match="--rank-groups"):
        tuned(comm, path, shared_path / "run", rank_groups=comm.size + 1)
    with pytest.raises(UsageError, match="--rank-groups 2: expected 1 with --search halving"):
        Tune((path,), search="halving", rank_groups=2)
    with pytest.raises(UsageError, match="--resume auto: expected no --rank-groups"):
        Tune((path,), resume="auto", rank_groups=2, run_dir=shared_path / "run")


def test_lockstep_changes_nothing(comm: Comm, stored: Callable[..., Train]) -> None:
    """Values, gradients and Hessians of several objectives at once are those of each alone, but for rounding."""
    rng = np.random.default_rng(0)
    X = rng.integers(-3, 4, (900, 5)) * (rng.random((900, 5)) < 0.5)
    y = rng.integers(0, 2, 900).astype(float)
    options = stored(X.astype(float), y, loss="logistic")
    data = read_data(comm, options)
    lockstep = Lockstep(comm, data)
    joint = lockstep.joint(data)
    masks = [rng.random(900)[data.numbers] < share for share in (0.3, 0.8)]
    thetas = [rng.standard_normal((6, 1)) for _ in range(3)]
    alone = [make_objective(comm, data.weighted(mask), options) for mask in masks]
    together = lockstep.run(
        [lambda mask=mask: make_objective(lockstep.comm, joint.weighted(mask), options) for mask in masks]
    )

    def looked_at(objective: Objective, theta: np.ndarray) -> list[np.ndarray]:
        value, gradient = objective.value_and_gradient(theta)
        again, _, hessian = objective.second_order(theta)
        product = objective.hessian_product(theta, gradient)
        return [np.array([value, again, objective.loss_on(objective._data.slice, theta)]), gradient, hessian, product]

    pairs = [(k, theta) for k in range(2) for theta in (*thetas, thetas[0])]
    found = lockstep.run([lambda k=k, theta=theta: looked_at(together[k], theta) for k, theta in pairs])
    for (k, theta), own in zip(pairs, found, strict=True):
        for one, other in zip(own, looked_at(alone[k], theta), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)
    # Those of the same rows at the same place are one.
    assert [a.tobytes() for a in found[0]] == [a.tobytes() for a in found[3]]


def test_one_pass_many_models(comm: Comm, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many objectives ask for their gradients, rows are swept once for each fold, and one sum is sent."""
    data = read_data(comm, Train((load_table("breast_cancer").path,), loss="logistic"))
    lockstep = Lockstep(comm, data)
    joint = lockstep.joint(data)
    options = Train((Path("-"),), loss="logistic")
    objectives = [make_objective(lockstep.comm, joint.weighted(data.numbers % 3 != k), options) for k in range(3)]
    sweeps, sums = [], []
    kind, whole = type(data.slice), Comm.sum_exactly
    sweep = kind.value_gradient
    monkeypatch.setattr(kind, "value_gradient", lambda *a, **b: sweeps.append(1) or sweep(*a, **b))
    monkeypatch.setattr(Comm, "sum_exactly", lambda *a, **b: sums.append(1) or whole(*a, **b))
    rng = np.random.default_rng(0)
    lockstep.run(
        [
            lambda k=k, theta=theta: objectives[k].value_and_gradient(theta)
            for k in range(3)
            for theta in rng.standard_normal((10, 31, 1))
        ]
    )
    assert (len(sweeps), len(sums)) == (3, 1)


def test_bits_do_not_depend_on_company(comm: Comm, write_data: Callable[..., Path]) -> None:
    rng = np.random.default_rng(0)
    path = write_data(X=rng.standard_normal((20_000, 6)), y=rng.integers(0, 2, 20_000))  # blocks of several tiles
    data = read_data(comm, Train((path,), loss="logistic"))
    lockstep = Lockstep(comm, data)
    objective = make_objective(lockstep.comm, lockstep.joint(data), Train((Path("-"),), loss="logistic"))
    thetas = rng.standard_normal((7, 7, 1))

    def gradients(some: np.ndarray) -> list[bytes]:
        found = lockstep.run([lambda theta=theta: objective.value_and_gradient(theta) for theta in some])
        return [gradient.tobytes() + np.float64(value).tobytes() for value, gradient in found]

    assert gradients(thetas) == [one for theta in thetas for one in gradients(theta[None])]


def test_a_sum_waits_for_those_that_still_compute(comm: Comm, monkeypatch: pytest.MonkeyPatch) -> None:
    data = read_data(comm, Train((load_table("boston").path,)))
    lockstep = Lockstep(comm, data)
    joint = lockstep.joint(data)
    objective = make_objective(lockstep.comm, joint, Train((Path("-"),)))
    sums, whole = [], Comm.sum_exactly
    monkeypatch.setattr(Comm, "sum_exactly", lambda *a, **b: sums.append(1) or whole(*a, **b))

    def late() -> None:
        joint.slice.column_moments(np.zeros(13))
        objective.value_and_gradient(np.ones((14, 1)))

    lockstep.run([late, lambda: objective.value_and_gradient(np.zeros((14, 1)))])
    assert len(sums) == 1


def test_an_error_of_one_fit_ends_all_on_all_ranks(comm: Comm) -> None:
    data = read_data(comm, Train((load_table("boston").path,)))
    lockstep = Lockstep(comm, data)
    objective = make_objective(lockstep.comm, lockstep.joint(data), Train((Path("-"),)))

    def one(number: int) -> None:
        for step in range(5):
            objective.value_and_gradient(np.full((14, 1), float(step)))
            if (number, step) == (2, 3):
                with comm.agreement():
                    if comm.rank == comm.size - 1:
                        raise DataError("this one")

    with pytest.raises(DataError, match="this one"):
        lockstep.run([lambda number=number: one(number) for number in range(4)])
    assert lockstep.run([lambda: 7]) == [7]


def test_a_candidate_that_diverges_is_noted(comm: Comm, shared_path: Path) -> None:
    path = load_table("boston").path
    found = tuned(comm, path, shared_path / "run", "learning_rate=1e-3,100", solver="gd", max_passes=30)
    assert found.chosen == 0
    assert found.trials[1] == Trial({"learning_rate": 100.0}, found.trials[1].scores, 0.0, found.trials[1].note)
    assert np.isnan(found.trials[1].scores).all()
    assert "diverged" in found.trials[1].note
    with pytest.raises(DataError, match="no candidate came to an end: fold 0: diverged"):
        tuned(comm, path, shared_path / "run", "learning_rate=100,200", solver="gd", max_passes=30)


def test_wrong_scores_and_signals(comm: Comm, shared_path: Path) -> None:
    path = load_table("boston").path
    with pytest.raises(UsageError, match="--score f1: expected one of loss, r2, rmse, mae") as caught:
        tuned(comm, path, shared_path / "run", "l2=1", score="f1")
    assert caught.value.agreed
    comm.asks = 1
    try:
        with pytest.raises(StoppedError, match="a signal asked for it"):
            tuned(comm, path, shared_path / "run", "l2=1,2", solver="lbfgs")
    finally:
        comm.asks = comm.heard = 0
    comm.leave()
    assert (shared_path / "run" / "STATUS").read_text() == "stopped\n"

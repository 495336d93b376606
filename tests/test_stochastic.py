"""Stochastic solvers: every update against the same in numpy, and where they end against scikit-learn."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import load_table
from sklearn.linear_model import LogisticRegression

from mpigd.comm import Comm
from mpigd.errors import UsageError
from mpigd.options import Train
from mpigd.problem import make_objective, make_solver, read_data
from mpigd.sampling import deal, shuffled
from mpigd.train import Fit, fit, run

ROWS, COLUMNS, L2, SEED = 200, 4, 0.1, 3
BATCH, RATE = 50, 0.3
COUNT = ROWS // BATCH


def table() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((ROWS, COLUMNS))
    return X, X @ [1.0, -2.0, 0.5, 0.0] + rng.standard_normal(ROWS), rng.random(ROWS) + 0.5


class Reference:
    """Ridge regression without an intercept: gradients on the mini-batches that mpigd deals, by numpy."""

    def __init__(self, block: int) -> None:
        self.X, self.y, self.w = table()
        self.block = block

    def gradient(self, theta: np.ndarray, rows: np.ndarray, weight: float = 0.0) -> np.ndarray:
        X, y, w = self.X[rows], self.y[rows], self.w[rows]
        return X.T @ (w * (X @ theta - y)) / (weight or w.sum()) + L2 * theta

    def rows(self, epoch: int, *which: int) -> np.ndarray:
        part = deal(SEED, epoch, np.arange(-(-ROWS // self.block)), self.block, ROWS, COUNT)
        return np.flatnonzero(np.isin(part, which))

    @property
    def all(self) -> np.ndarray:
        return np.arange(ROWS)


Updates = Callable[[Reference, int], np.ndarray]


def moments(update: Callable[[np.ndarray, list[Any], int], np.ndarray]) -> Updates:
    """Steps by a rule (gradient, its memory, t) -> change of theta."""

    def steps(problem: Reference, count: int) -> np.ndarray:
        theta, memory = np.zeros(COLUMNS), [np.zeros(COLUMNS), np.zeros(COLUMNS), np.zeros(COLUMNS)]
        for t in range(count):
            epoch, index = divmod(t, COUNT)
            memory[2] = theta
            theta = theta + update(problem.gradient(theta, problem.rows(epoch, index)), memory, t + 1)
        return theta

    return steps


def momentum(g: np.ndarray, memory: list[Any], t: int) -> np.ndarray:
    memory[0] = 0.8 * memory[0] + g
    return -RATE * memory[0]


def nesterov(g: np.ndarray, memory: list[Any], t: int) -> np.ndarray:
    memory[0] = 0.8 * memory[0] + g
    return -RATE * (g + 0.8 * memory[0])


def adagrad(g: np.ndarray, memory: list[Any], t: int) -> np.ndarray:
    memory[0] = memory[0] + g**2
    return -RATE * g / (np.sqrt(memory[0]) + 1e-8)


def rmsprop(g: np.ndarray, memory: list[Any], t: int) -> np.ndarray:
    memory[0] = 0.99 * memory[0] + 0.01 * g**2
    return -RATE * g / (np.sqrt(memory[0]) + 1e-8)


def adam(g: np.ndarray, memory: list[Any], t: int) -> np.ndarray:
    memory[0] = 0.9 * memory[0] + 0.1 * g
    memory[1] = 0.999 * memory[1] + 0.001 * g**2
    return -RATE * (memory[0] / (1 - 0.9**t)) / (np.sqrt(memory[1] / (1 - 0.999**t)) + 1e-8)


def adamw(g: np.ndarray, memory: list[Any], t: int) -> np.ndarray:
    decay = L2 * memory[2]
    return adam(g - decay, memory, t) - RATE * decay


def accumulated(problem: Reference, count: int) -> np.ndarray:
    theta = np.zeros(COLUMNS)
    for t in range(count):  # two steps an epoch: of three mini-batches, and of the one that is left
        epoch, half = divmod(t, 2)
        which = (0, 1, 2) if half == 0 else (3,)
        theta = theta - RATE * problem.gradient(theta, problem.rows(epoch, *which))
    return theta


def svrg(problem: Reference, count: int) -> np.ndarray:
    theta = np.zeros(COLUMNS)
    for t in range(count):
        epoch, index = divmod(t, COUNT)
        if index == 0:
            anchor, full = theta, problem.gradient(theta, problem.all)
        rows = problem.rows(epoch, index)
        theta = theta - RATE * (problem.gradient(theta, rows) - problem.gradient(anchor, rows) + full)
    return theta


def saga(problem: Reference, count: int) -> np.ndarray:
    theta, kept = np.zeros(COLUMNS), np.zeros((COUNT, COLUMNS))
    for t in range(count):
        epoch, index = divmod(t, COUNT)
        place = shuffled(SEED, epoch, COUNT)[index]
        g = problem.gradient(theta, problem.rows(0, place), problem.w.sum() / COUNT)
        direction = g if epoch == 0 else g - kept[place] + kept.mean(axis=0)
        kept[place] = g
        theta = theta - RATE * direction
    return theta


def averaged(problem: Reference, count: int) -> np.ndarray:
    """The mean since the last epoch that is a power of two began."""
    theta, iterates = np.zeros(COLUMNS), []
    for t in range(count):
        epoch, index = divmod(t, COUNT)
        theta = theta - RATE * problem.gradient(theta, problem.rows(epoch, index))
        if index == 0 and epoch in (0, 1, 2, 4):
            iterates = []
        iterates.append(theta)
    return np.mean(iterates, axis=0)


def dog(problem: Reference, count: int) -> np.ndarray:
    theta, farthest, squares = np.zeros(COLUMNS), 1e-6, 0.0
    for t in range(count):
        epoch, index = divmod(t, COUNT)
        g = problem.gradient(theta, problem.rows(epoch, index))
        farthest, squares = max(farthest, float(np.linalg.norm(theta))), squares + float(g @ g)
        theta = theta - farthest / math.sqrt(squares) * g
    return theta


def local(problem: Reference, count: int) -> np.ndarray:
    theta, blocks = np.zeros(COLUMNS), np.arange(ROWS) // problem.block
    for t in range(count):
        epoch, index = divmod(t, COUNT)
        rows, total, weights = problem.rows(epoch, index), np.zeros(COLUMNS), 0.0
        for block in np.unique(blocks[rows]):
            own, at = rows[blocks[rows] == block], theta
            for k in range(2):
                if len(own[k::2]):
                    at = at - RATE * problem.gradient(at, own[k::2])
            total, weights = total + problem.w[own].sum() * at, weights + problem.w[own].sum()
        theta = total / weights
    return theta


CASES: dict[str, tuple[dict[str, Any], Updates]] = {
    "plain": ({"solver": "sgd"}, moments(lambda g, memory, t: -RATE * g)),
    "momentum": ({"solver": "sgd", "momentum": 0.8}, moments(momentum)),
    "nesterov": ({"solver": "sgd", "momentum": 0.8, "nesterov_momentum": True}, moments(nesterov)),
    "adagrad": ({"solver": "adagrad"}, moments(adagrad)),
    "rmsprop": ({"solver": "rmsprop"}, moments(rmsprop)),
    "adam": ({"solver": "adam"}, moments(adam)),
    "adamw": ({"solver": "adamw"}, moments(adamw)),
    "accumulate": ({"solver": "sgd", "accumulate": 3}, accumulated),
    "svrg": ({"solver": "svrg"}, svrg),
    "saga": ({"solver": "saga"}, saga),
    "averaging": ({"solver": "sgd", "averaging": True}, averaged),
    "dog": ({"solver": "sgd", "schedule": "dog", "learning_rate": "auto"}, dog),
    "local steps": ({"solver": "sgd", "local_steps": 2}, local),
    "step": (
        {"solver": "sgd", "schedule": "step"},
        moments(lambda g, memory, t: -RATE * 0.5 ** ((t - 1) // COUNT // 10) * g),
    ),
    "warm-up": (
        {"solver": "sgd", "warmup": 3.0},
        moments(lambda g, memory, t: -RATE * min(((t - 1) / COUNT + 1.0) / 4.0, 1.0) * g),
    ),
}


@pytest.mark.mpi
@pytest.mark.parametrize("name", CASES)
def test_updates_equal_numpy(comm: Comm, write_data: Callable[..., Path], name: str) -> None:
    """Two epochs and a half of each, or twelve where it takes that long to show."""
    options, reference = CASES[name]
    X, y, w = table()
    plain: dict[str, Any] = {"l2": L2, "intercept": False, "standardize": False, "seed": SEED, "batch_size": BATCH}
    chosen = Train(
        write_data(X=X, y=y, sample_weight=w), **{"schedule": "constant", "learning_rate": RATE, **plain, **options}
    )
    data = read_data(comm, chosen)
    objective, (solver, *_) = make_objective(comm, data, chosen), make_solver(chosen, data)
    steps = 49 if name == "step" else 5 if name == "accumulate" else 10
    state = solver.init(objective, np.zeros(objective.shape))
    for _ in range(steps):
        state = solver.step(objective, state)
    wanted = reference(Reference(data.header.block), steps)
    np.testing.assert_allclose(state.theta[:, 0], wanted, rtol=1e-9, atol=1e-12)
    assert state.step == steps


@pytest.mark.mpi
@pytest.mark.parametrize("solver", ["sgd", "adagrad", "rmsprop", "adam", "svrg", "saga"])
def test_where_they_end_is_near_scikit_learn(comm: Comm, solver: str) -> None:
    """Breast cancer, default rates and schedules: the excess of the objective is small."""
    data = load_table("breast_cancer")
    chosen = Train(data.path, loss="logistic", l2=0.02, solver=solver, batch_size=64, max_passes=600.0, tol=1e-3)
    fitted = fit(comm, read_data(comm, chosen), chosen)
    mean, scale = data.X.mean(axis=0), data.X.std(axis=0)
    other = LogisticRegression(C=1.0 / (0.02 * len(data.y)), tol=1e-10, max_iter=10_000).fit(
        (data.X - mean) / scale, data.y
    )

    def value(coef: np.ndarray, intercept: float) -> float:
        eta = (data.X - mean) / scale @ coef + intercept
        return float(np.mean(np.logaddexp(0.0, eta) - data.y * eta) + 0.01 * coef @ coef)

    best = value(other.coef_[0], float(other.intercept_[0]))
    theta = fitted.state.theta[:, 0]
    assert value(theta[:-1], theta[-1]) - best < 1e-3 * best


@pytest.mark.mpi
def test_growing_mini_batches_end_closer_than_small_ones(comm: Comm, write_data: Callable[..., Path]) -> None:
    """At a constant rate the noise of a mini-batch is what is left, and less of it where they grow."""
    X, y, _ = table()
    path = write_data(X=X, y=y)

    def left(**options: Any) -> Fit:
        chosen = Train(path, solver="sgd", schedule="constant", batch_size=10, max_passes=60.0, tol=0.0, **options)
        return fit(comm, read_data(comm, chosen), chosen)

    plain, grown = left(), left(batch_growth=1.2)
    assert grown.state.gradient_norm < 0.1 * plain.state.gradient_norm
    assert grown.state.step < plain.state.step


@pytest.mark.mpi
@pytest.mark.parametrize("solver", ["saga", "svrg"])
def test_mini_batches_of_unequal_weights_have_the_minimum_of_all_rows(
    comm: Comm, write_data: Callable[..., Path], solver: str
) -> None:
    """Weighted least squares by numpy; residuals depend on X, so that other weights have another minimum."""
    rng = np.random.default_rng(0)
    X, w = rng.standard_normal((400, 3)), np.exp(1.5 * rng.standard_normal(400))
    y = X @ [1.0, 2.0, 3.0] + 3.0 * abs(X[:, 0]) * rng.standard_normal(400)
    chosen = Train(write_data(X=X, y=y, sample_weight=w), solver=solver, batch_size=40, max_passes=600.0)
    fitted = fit(comm, read_data(comm, chosen), chosen)
    A = np.column_stack([X, np.ones(400)])
    best = np.linalg.solve((A.T * w) @ A, (A.T * w) @ y)
    assert fitted.reason == "gradient"
    np.testing.assert_allclose(np.append(fitted.model.coef, fitted.model.intercept), best, rtol=1e-4)


@pytest.mark.mpi
@pytest.mark.parametrize(
    "options", [{"local_steps": 2}, {"reduce": "int8"}, {"reduce": "top-share"}, {"solver": "saga"}]
)
def test_mini_batches_may_have_no_rows(comm: Comm, write_data: Callable[..., Path], options: dict[str, Any]) -> None:
    """Six rows have all the weight, so that of their mini-batches of one some are empty."""
    X, y, _ = table()
    w = np.zeros(ROWS)
    w[::40] = 1.0
    chosen = Train(
        write_data(X=X, y=y, sample_weight=w),
        **{"solver": "sgd", "batch_size": 1, "learning_rate": 0.01, "schedule": "constant", "tol": 0.0, **options},
    )
    data = read_data(comm, chosen)
    objective, (solver, *_) = make_objective(comm, data, chosen), make_solver(chosen, data)
    count = objective.batch_count(1)
    assert count == 5
    blocks = np.arange(-(-ROWS // data.header.block))
    dealt = [deal(chosen.seed, epoch, blocks, data.header.block, ROWS, count)[::40] for epoch in range(12)]
    state, empty = solver.init(objective, np.ones(objective.shape)), 0
    for t in range(12 * count):
        epoch, index = divmod(t, count)
        after = solver.step(objective, state)
        assert np.isfinite(after.theta).all()
        if index not in dealt[epoch]:
            empty += 1
            if chosen.local_steps > 1:  # others have a memory of gradients
                np.testing.assert_array_equal(after.theta, state.theta)
        state = after
    assert empty > 5


@pytest.mark.mpi
def test_local_steps_at_dogs_rate_count_both_gradients(comm: Comm, write_data: Callable[..., Path]) -> None:
    X, y, _ = table()
    chosen = Train(write_data(X=X, y=y), solver="sgd", schedule="dog", local_steps=2, batch_size=BATCH)
    data = read_data(comm, chosen)
    objective, (solver, *_) = make_objective(comm, data, chosen), make_solver(chosen, data)
    state = solver.init(objective, np.zeros(objective.shape))
    for _ in range(COUNT):
        state = solver.step(objective, state)
    assert state.passes == 4.0  # at the start, two gradients of each mini-batch, at the end


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 1.0}, "--momentum 1"),
        ({"nesterov_momentum": True}, "--nesterov-momentum: expected --momentum"),
        ({"batch_growth": 0.5}, "--batch-growth 0.5"),
        ({"accumulate": 0}, "--accumulate 0"),
        ({"local_steps": 0}, "--local-steps 0"),
        ({"warmup": -1.0}, "--warmup -1"),
    ],
)
def test_impossible_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Train(Path("data.h5"), **options)


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "lbfgs", "batch_size": 10}, "--batch-size 10: solver lbfgs has none; give --solver, one of sgd"),
        ({"solver": "adam", "momentum": 0.9}, "--momentum 0.9: solver adam has none; give --solver, one of sgd$"),
        ({"solver": "sgd", "local_steps": 3, "momentum": 0.9}, "--local-steps: blocks go by themselves"),
        ({"solver": "gd", "schedule": "dog"}, "--schedule dog: it needs a stochastic solver"),
        ({"solver": "adam", "l1": 0.1}, "--solver adam: --l1"),
        ({"solver": "saga", "accumulate": 2}, "--solver saga: its mini-batches stay the same"),
        ({"solver": "sgd", "schedule": "dog", "warmup": 2.0}, "--warmup: --schedule dog has no rate that could rise"),
        ({"solver": "sgd", "top_share": 0.1}, "--top-share 0.1: it is of --reduce top-share"),
        ({"solver": "sgd", "smoothing": 0.2}, "--smoothing 0.2: loss squared has none; it is of quantile and"),
    ],
)
def test_options_that_do_not_go_together(comm: Comm, shared_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(comm, Train(load_table("boston").path, run_dir=shared_path / "run", **options))
    assert not (shared_path / "run").exists()

"""Fingerprints of data, and the job `verify`: what it confirms, and what it must not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fits
import numpy as np
import pytest
from conftest import load_table

from mpigd import reader
from mpigd.comm import Comm
from mpigd.dataset import read
from mpigd.errors import BitsError, DataError
from mpigd.model import Model
from mpigd.objective import Objective
from mpigd.options import Train, Verify
from mpigd.train import fit, run
from mpigd.verify import run as verify

pytestmark = pytest.mark.mpi


def fingerprint(comm: Comm, path: Path, **options: Any) -> str:
    return read(comm, path, **options).fingerprint(comm)


@pytest.fixture
def tables(comm: Comm, shared_path: Path) -> Path:
    with comm.agreement():
        if comm.rank == 0:
            fits.write_files(shared_path)
    return shared_path


@pytest.mark.parametrize("storage", [*fits.DENSE, *fits.SPARSE])
def test_a_fingerprint_does_not_depend_on_ranks(comm: Comm, tables: Path, storage: str) -> None:
    path = tables / f"{storage}.h5"
    assert fingerprint(comm, path) == fingerprint(Comm.alone(), path)
    assert len(fingerprint(comm, path)) == 32


def test_a_fingerprint_depends_on_type_not_on_layout(comm: Comm, tables: Path) -> None:
    found = {name: fingerprint(comm, tables / f"{name}.h5") for name in (*fits.DENSE, *fits.SPARSE)}
    assert found["float64"] == found["big-endian"] == found["chunked"]
    assert found["float32"] == found["compressed"]  # which holds 16-bit integers
    assert len(set(found.values())) == 6


def test_how_much_is_read_at_once_changes_nothing(comm: Comm, tables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tables / f"{name}.h5" for name in ("float64", "compressed", "sparse")]
    whole = [fingerprint(comm, path) for path in paths]
    for name in ("PIECE_BYTES", "CHUNKED_BYTES", "NUMBERS"):
        monkeypatch.setattr(reader, name, 1000)
    assert [fingerprint(comm, path) for path in paths] == whole


def test_a_fingerprint_sees_every_number_and_its_place(comm: Comm, write_data: Callable[..., Path]) -> None:
    rng = np.random.default_rng(0)
    arrays = {"X": rng.standard_normal((300, 3)), "y": rng.standard_normal(300), "sample_weight": np.ones(300)}
    found = [fingerprint(comm, write_data(f"{len(arrays)}.h5", **arrays), target="real")]
    del arrays["sample_weight"]
    assert fingerprint(comm, write_data("unweighted.h5", **arrays), target="real") == found[0]

    def changed(number: int, name: str, change: Callable[[np.ndarray], object]) -> None:
        other = {key: values.copy() for key, values in {"sample_weight": np.ones(300), **arrays}.items()}
        change(other[name])
        found.append(fingerprint(comm, write_data(f"changed-{number}.h5", **other), target="real"))

    changed(0, "X", lambda X: X.__setitem__((299, 2), np.nextafter(X[299, 2], 9.0)))
    changed(1, "X", lambda X: X.__setitem__([0, 1], X[[1, 0]]))
    changed(2, "X", lambda X: X.__setitem__((slice(0, 16), slice(None)), X[16:32]))
    changed(3, "y", lambda y: y.__setitem__(150, 0.0))
    changed(4, "sample_weight", lambda w: w.__setitem__(7, 0.0))
    swapped = np.r_[16:32, 0:16, 32:300]  # two whole blocks
    found.append(
        fingerprint(comm, write_data("swapped.h5", X=arrays["X"][swapped], y=arrays["y"][swapped]), target="real")
    )
    found.append(
        fingerprint(comm, write_data("longer.h5", X=np.vstack([arrays["X"], np.zeros((1, 3))]), y=np.ones(301)))
    )
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "squared", "solver": "gd", "max_passes": 30.0},
        {"loss": "logistic", "y": "binary", "solver": "sgd", "max_passes": 6.0, "l2": 0.1, "seed": 5},
        {"loss": "softmax", "y": "classes", "standardize": False, "intercept": False, "max_passes": 6.0},
        {"loss": "squared", "y": "outputs", "arithmetic": "float32", "max_passes": 6.0},
        {"loss": "poisson", "y": "nonnegative", "solver": "gd", "learning_rate": 1e-3, "max_passes": 6.0},
        {"loss": "gamma", "y": "positive", "max_passes": 6.0},
    ],
    ids=lambda o: o["loss"],
)
@pytest.mark.parametrize("storage", ["float64", "sparse"])
def test_a_model_fitted_alone_is_verified_by_all(
    comm: Comm, tables: Path, storage: str, options: dict[str, Any]
) -> None:
    path, model = tables / f"{storage}.h5", tables / "run"
    if comm.rank == 0:
        run(Comm.alone(), Train(path, **{"y": "real", **options}, run_dir=model))
    comm.leave()
    told = verify(comm, Verify(model, path, refit=True, threads=2))
    assert set(told.checks) == {*("data", "standardisation", "coefficients", "objective", "gradient", "refit", "steps")}
    assert told.agrees
    assert told.exit_status == 0
    assert told.note == ""


CHANGES: dict[str, tuple[Callable[[Model], Model], set[str]]] = {
    "a coefficient": (
        lambda m: replace(m, coef=np.nextafter(m.coef, 9.0) * (np.arange(13) == 7) + m.coef * (np.arange(13) != 7)),
        {"coefficients", "refit"},
    ),
    "where it ended": (
        lambda m: replace(m, fit={**m.fit, "theta": m.fit["theta"] * (1.0 + 2.0**-40)}),
        {*("coefficients", "objective", "gradient")},
    ),
    "steps": (lambda m: replace(m, result={**m.result, "steps": 3}), {"steps"}),
    "objective": (lambda m: replace(m, result={**m.result, "objective": 3.0}), {"objective"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_model_is_found_out(comm: Comm, shared_path: Path, change: str) -> None:
    path = load_table("boston").path
    fitted = run(comm, Train(path, solver="gd", max_passes=12.0, run_dir=shared_path))
    alter, differ = CHANGES[change]
    with comm.agreement():
        if comm.rank == 0:
            alter(fitted.model).save(shared_path / "model.h5")
    told = verify(comm, Verify(shared_path, path, refit=True))
    assert {name for name, agrees in told.checks.items() if not agrees} == differ
    assert told.exit_status == 6
    assert told.summary()["agrees"] is False


def test_other_data_are_found_out(comm: Comm, shared_path: Path, write_data: Callable[..., Path]) -> None:
    table = load_table("boston")
    run(comm, Train(table.path, max_passes=5.0, run_dir=shared_path))
    y = table.y.copy()
    y[-1] = np.nextafter(y[-1], 0.0)
    told = verify(comm, Verify(shared_path, write_data(X=table.X, y=y)))
    assert not told.checks["data"]
    assert told.checks["standardisation"]
    with pytest.raises(DataError, match="has 30 columns; the model was fitted on 13"):
        verify(comm, Verify(shared_path, load_table("breast_cancer").path))


def test_other_classes_are_refused(comm: Comm, shared_path: Path, write_data: Callable[..., Path]) -> None:
    X, y = np.arange(80.0).reshape(40, 2), np.tile([0.0, 1.0], 20)
    run(comm, Train(write_data("a.h5", X=X, y=y), loss="softmax", max_passes=5.0, run_dir=shared_path))
    with pytest.raises(DataError, match="other classes or columns than the model was fitted on"):
        verify(comm, Verify(shared_path, write_data("b.h5", X=X, y=2.0 * y)))


@pytest.mark.parametrize("columns", [1, 2])
def test_other_columns_of_y_are_refused(
    comm: Comm, shared_path: Path, write_data: Callable[..., Path], columns: int
) -> None:
    X, y = np.random.default_rng(0).random((2, 40, 3))
    run(comm, Train(write_data("a.h5", X=X, y=y), max_passes=5.0, run_dir=shared_path))
    with pytest.raises(DataError, match="other classes or columns than the model was fitted on"):
        verify(comm, Verify(shared_path, write_data("b.h5", X=X, y=y[:, :columns])))


def test_a_model_that_does_not_know_its_fit(comm: Comm, shared_path: Path) -> None:
    path = load_table("boston").path
    model = fit(comm, read(comm, path, target="real"), Train(path, max_passes=2.0)).model
    for number, (strange, message) in enumerate(
        [
            (replace(model, fit={}), "does not say where its fit ended"),
            (replace(model, config={}), "does not say where its fit ended"),
            (replace(model, result={}), "does not say where its fit ended"),
            (replace(model, config={**model.config, "warp": 9}), "options that this version does not know: .*warp"),
            (replace(model, config={**model.config, "l2": -1.0}), "options that this version does not know: --l2 -1"),
        ]
    ):
        with comm.agreement():
            if comm.rank == 0:
                strange.save(shared_path / f"{number}.h5")
        with pytest.raises(DataError, match=message):
            verify(comm, Verify(shared_path / f"{number}.h5", path))


def test_notes_on_what_is_not_promised(comm: Comm, shared_path: Path) -> None:
    path = load_table("boston").path
    run(comm, Train(path, solver="gd", max_passes=5.0, reduce="fast", run_dir=shared_path / "fast"))
    assert "--reduce fast" in verify(comm, Verify(shared_path / "fast", path)).note
    if comm.rank == 0:
        run(Comm.alone(), Train(path, solver="gd", max_passes=5.0, average="ranks", run_dir=shared_path / "ranks"))
    comm.leave()
    note = verify(comm, Verify(shared_path / "ranks", path)).note
    assert note == (
        "" if comm.size == 1 else f"fitted with --average ranks on 1 ranks, which is another model than on {comm.size}"
    )


@pytest.mark.parametrize("reduce", ["exact", "fast"])
def test_a_fit_stops_where_ranks_drift_apart(comm: Comm, reduce: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bit of theta of one rank changes between two steps: the next step finds out, on all ranks."""
    original, calls = Objective.value_and_gradient, []

    def flawed(self: Objective, theta: np.ndarray) -> tuple[float, np.ndarray]:
        calls.append(1)
        if len(calls) == 4 and comm.rank == comm.size - 1:
            theta = theta.copy()
            theta[3] = np.nextafter(theta[3], 9.0)
        return original(self, theta)

    monkeypatch.setattr(Objective, "value_and_gradient", flawed)
    path = load_table("boston").path
    if comm.size == 1:
        fit(comm, read(comm, path, target="real"), Train(path, solver="gd", max_passes=9.0, reduce=reduce))
        return
    with pytest.raises(BitsError, match="hold different theta"):
        fit(comm, read(comm, path, target="real"), Train(path, solver="gd", max_passes=9.0, reduce=reduce))
    assert len(calls) == 4


def test_many_columns_are_sent_once(comm: Comm, write_data: Callable[..., Path]) -> None:
    """Bins begin where no column's sums are, so that windows fit from step to step, whatever the columns' units."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 300)) * np.exp(5.0 * rng.standard_normal(300))
    y = rng.integers(0, 2, 2000)
    path = write_data(X=X.astype(np.float32), y=y)
    for solver in ("gd", "sgd"):
        options = Train(path, loss="logistic", solver=solver, max_passes=20.0, tol=0.0)
        before = comm.resent
        fitted = fit(comm, read(comm, path, target="binary"), options)
        assert fitted.state.step >= 19
        assert comm.resent - before <= 3

"""Synthetic data: the same bytes on any number of ranks, and what was asked for."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import h5py
import mpigd_kernels.synthetic as kernels
import numpy as np
import pytest
from conftest import mpirun
from scipy import sparse, stats
from sklearn import linear_model

from mpigd import generate
from mpigd.comm import Comm
from mpigd.errors import OutputError, UsageError
from mpigd.options import Generate
from mpigd.storage import read_header
from mpigd.synthetic import Recipe


def made(comm: Comm, path: Path, **options: Any) -> h5py.File:
    """The file that these ranks make, opened; the summary is checked."""
    told = generate.run(comm, Generate(path, **options))
    assert (told["rows"], told["bytes"]) == (options["rows"], path.stat().st_size)
    return h5py.File(path)


def alone(tmp_path: Path, **options: Any) -> dict[str, np.ndarray]:
    """The datasets of a file that one rank makes."""
    with made(Comm.alone(), tmp_path / "data.h5", **options) as file:
        found: dict[str, np.ndarray] = {}
        file.visititems(lambda name, item: found.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return found


CASES: dict[str, dict[str, Any]] = {
    "plain": {"rows": 3001, "columns": 7},
    "one row": {"rows": 1, "columns": 3},
    "wide": {"rows": 40, "columns": 30_000, "dtype": "float32"},
    "all options": {
        "rows": 2000,
        "columns": 20,
        "loss": "softmax",
        "classes": 4,
        "seed": 2**64 - 1,
        "dtype": "float16",
        "noise": 0.5,
        "correlation": -0.5,
        "scale_spread": 2.0,
        "nonzero": 0.5,
        "missing": 0.1,
        "weights": True,
    },
    "gzip": {"rows": 3001, "columns": 7, "compression": "gzip", "weights": True},
    "zstd": {"rows": 900, "columns": 9, "compression": "zstd", "dtype": "int8", "loss": "logistic"},
    "blosc2": {"rows": 900, "columns": 9, "compression": "blosc2", "loss": "poisson"},
    "sparse": {"rows": 3001, "columns": 100, "density": 0.033, "loss": "logistic", "missing": 0.01},
    "empty rows": {"rows": 300, "columns": 50, "density": 0.01, "dtype": "float32"},
    "sparse, compressed": {"rows": 3001, "columns": 100, "per_row": 3, "compression": "gzip"},
    "nothing stored": {"rows": 30, "columns": 5, "per_row": 0},
}


@pytest.mark.mpi
@pytest.mark.parametrize("case", CASES)
def test_the_same_bytes_on_any_number_of_ranks(comm: Comm, shared_path: Path, case: str) -> None:
    path, own = shared_path / "together.h5", shared_path / f"rank-{comm.rank}.h5"
    made(comm, path, **CASES[case]).close()
    made(Comm.alone(), own, **CASES[case]).close()
    assert path.read_bytes() == own.read_bytes()
    header = read_header(path)
    assert (header.n, header.d) == (CASES[case]["rows"], CASES[case]["columns"])
    comm.leave()
    assert not list(shared_path.glob(".*"))


EXPECTED_X = ["-0x1.6ee374acaacd1p+0", "-0x1.c76939aa8ac2ep-3", "-0x1.a6d53d4bc0f48p-1"]
EXPECTED_Y = [1.0, 6.0, 2.0, 8.0, 1.0, 1.0, 3.0, 4.0]


def test_bytes_are_those_of_earlier_versions(tmp_path: Path) -> None:
    # A change here means that a seed no longer stands for the same data: say so in CHANGELOG.
    found = alone(tmp_path, rows=100, columns=3, correlation=0.5, loss="poisson")
    assert [float(x).hex() for x in found["X"][99]] == EXPECTED_X
    assert found["y"][:8].tolist() == EXPECTED_Y
    again = alone(tmp_path, rows=100, columns=3, correlation=0.5, loss="poisson", seed=1)
    assert not np.isin(again["X"], found["X"]).any()


def test_normal_numbers_are_scipys() -> None:
    words = np.random.default_rng(0).integers(-(2**63), 2**63, 50_000, dtype=np.int64)
    words[0], words[1] = 0, -1  # the ends
    out = np.empty(100_000)
    kernels.normals(words, out)
    shares = (words.view("<u4") + 0.5) * 2.0**-32
    np.testing.assert_allclose(out, stats.norm.ppf(shares), rtol=1e-13, atol=1e-15)


def test_columns_have_the_distribution_asked_for(tmp_path: Path) -> None:
    X = alone(tmp_path, rows=40_000, columns=6, correlation=0.6)["X"]
    assert stats.kstest(X[:, 0], "norm").pvalue > 1e-4
    np.testing.assert_allclose(X.mean(axis=0), 0.0, atol=0.025)
    expected = 0.6 ** np.abs(np.subtract.outer(np.arange(6), np.arange(6)))
    np.testing.assert_allclose(np.cov(X.T), expected, atol=0.03)


def test_options_that_change_x(tmp_path: Path) -> None:
    spread = alone(tmp_path, rows=2000, columns=400, scale_spread=3.0)
    logs = np.log(spread["X"].std(axis=0))
    assert logs.std() == pytest.approx(3.0, rel=0.12)
    gone = alone(tmp_path, rows=2000, columns=50, missing=0.2)
    assert np.isnan(gone["X"]).mean() == pytest.approx(0.2, abs=0.006)
    kept = ~np.isnan(gone["X"])
    np.testing.assert_array_equal(gone["X"][kept], alone(tmp_path, rows=2000, columns=50)["X"][kept])
    byte = alone(tmp_path, rows=5000, columns=4, dtype="int8")
    assert byte["X"].std() == pytest.approx(32.0, rel=0.02)
    few = alone(tmp_path, rows=10, columns=30, nonzero=4)
    assert np.count_nonzero(few["coef"]) == 4
    share = alone(tmp_path, rows=10, columns=30, nonzero=0.5)
    assert np.count_nonzero(share["coef"]) == 15
    weight = alone(tmp_path, rows=5000, columns=1, weights=True)["sample_weight"]
    assert stats.kstest(weight, stats.uniform(0.5, 1.0).cdf).pvalue > 1e-4


@pytest.mark.parametrize(("asked", "each"), [({"density": 0.033}, 3.3), ({"per_row": 7}, 7.0)])
def test_sparse_rows(tmp_path: Path, asked: dict[str, Any], each: float) -> None:
    found = alone(tmp_path, rows=4000, columns=100, **asked)
    X = sparse.csr_array((found["X/data"], found["X/indices"], found["X/indptr"]), shape=(4000, 100))
    counts = np.diff(X.indptr)
    assert X.nnz == round(4000 * each)
    assert set(counts.tolist()) <= {int(each), int(np.ceil(each))}
    assert X.has_canonical_format  # ascending, none twice
    expected = 4000 * each / 100
    np.testing.assert_allclose(np.bincount(X.indices, minlength=100), expected, atol=6.0 * np.sqrt(expected))
    eta = X @ found["coef"] + found["intercept"]
    assert (found["y"] - eta).std() == pytest.approx(1.0, rel=0.05)
    assert (X @ found["coef"]).std() == pytest.approx(1.0, rel=0.15)


def coefficients(kind: str, found: dict[str, np.ndarray]) -> np.ndarray:
    """What scikit-learn finds, without a penalty."""
    if kind == "squared":
        return np.asarray(linear_model.LinearRegression().fit(found["X"], found["y"]).coef_)
    if kind == "poisson":
        return np.asarray(linear_model.PoissonRegressor(alpha=0.0, tol=1e-6).fit(found["X"], found["y"]).coef_)
    model = linear_model.LogisticRegression(C=1e6, max_iter=1000).fit(found["X"], found["y"])
    return np.asarray(model.coef_.T if kind == "softmax" else model.coef_[0])


@pytest.mark.parametrize("kind", ["squared", "logistic", "softmax", "poisson"])
def test_y_follows_the_model(tmp_path: Path, kind: str) -> None:
    found = alone(tmp_path, rows=30_000, columns=5, loss=kind, correlation=0.3)
    truth, fitted = found["coef"], coefficients(kind, found)
    if kind == "softmax":  # only differences of classes matter
        truth, fitted = truth - truth.mean(axis=1)[:, None], fitted - fitted.mean(axis=1)[:, None]
        assert set(found["y"].tolist()) == {0.0, 1.0, 2.0}
    np.testing.assert_allclose(fitted, truth, atol=0.08)
    if kind == "poisson":
        assert found["y"].mean() == pytest.approx(np.exp(found["X"] @ truth + found["intercept"]).mean(), rel=0.02)


def test_imbalance_and_noise(tmp_path: Path) -> None:
    y = alone(tmp_path, rows=200_000, columns=3, loss="logistic", imbalance=0.03)["y"]
    assert y.mean() == pytest.approx(0.03, abs=0.0015)  # four standard deviations
    exact = alone(tmp_path, rows=500, columns=3, noise=0.0)
    np.testing.assert_allclose(exact["X"] @ exact["coef"] + exact["intercept"], exact["y"], rtol=1e-12, atol=1e-12)


def test_the_file_says_how_it_was_made(tmp_path: Path) -> None:
    with made(Comm.alone(), tmp_path / "data.h5", rows=20, columns=2, seed=5) as file:
        told = json.loads(file.attrs["generated"])
        assert (told["rows"], told["seed"], told["noise"]) == (20, 5, 1.0)
    recipe = Recipe(Generate(tmp_path / "data.h5", rows=10**9, columns=10))
    assert recipe.part * 10 <= 2**18  # rows in memory do not grow with the data


@pytest.mark.mpi
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_full_disk_is_one_error_and_leaves_nothing(
    comm: Comm, shared_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if comm.rank == (comm.size - 1 if compression == "none" else 0):
        monkeypatch.setattr(os, "pwrite", full)
        monkeypatch.setattr(generate, "_unpack", full)
    path = shared_path / "data.h5"
    path.write_text("what was there") if comm.rank == 0 else None
    comm.leave()
    with pytest.raises(OutputError, match=r"data\.h5: can't be written: No space left on device"):
        generate.run(comm, Generate(path, rows=2000, columns=3, compression=compression))
    comm.leave()
    assert [other.name for other in shared_path.iterdir()] == ["data.h5"]
    assert path.read_text() == "what was there"


@pytest.mark.mpi
def test_places_that_can_not_be_written(comm: Comm, shared_path: Path) -> None:
    with pytest.raises(OutputError, match="it is a directory"):
        generate.run(comm, Generate(shared_path, rows=5, columns=2))
    with pytest.raises(OutputError, match="there is no directory"):
        generate.run(comm, Generate(shared_path / "none" / "data.h5", rows=5, columns=2))
    with pytest.raises(OutputError, match=r"it takes 8,\d+,\d+,\d+,.* bytes, and .* are free"):
        generate.run(comm, Generate(shared_path / "data.h5", rows=10**12, columns=1000))
    assert not list(shared_path.iterdir())


@pytest.mark.parametrize(
    "options",
    [
        {"rows": 0},
        {"correlation": 1.0},
        {"nonzero": 1.5},
        {"nonzero": 3},
        {"density": 0.5, "per_row": 1},
        {"density": 0.5, "correlation": 0.5},
        {"imbalance": 0.1},
        {"dtype": "int8", "missing": 0.1},
        {"per_row": 3},
    ],
)
def test_impossible_options(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--" + [*options][-1].replace("_", "-")):
        Generate(Path("data.h5"), **{"rows": 5, "columns": 2, **options})


@pytest.mark.parametrize("compression", ["none", "zstd"])  # the latter by a filter that every rank has to load
def test_generate_and_train(tmp_path: Path, compression: str) -> None:
    options = ["--rows", 5000, "--columns", 4, "--noise", 0, "--compression", compression]
    done = mpirun("generate", "data.h5", *options, cwd=tmp_path, ranks=2)
    assert done.status == 0, done.err
    assert "rows" in done.out
    trained = mpirun("train", "data.h5", "--run-dir", "run", cwd=tmp_path, ranks=2)
    assert trained.status == 0, trained.err
    with h5py.File(tmp_path / "run" / "model.h5") as model, h5py.File(tmp_path / "data.h5") as data:
        np.testing.assert_allclose(model["coef"][:], data["coef"][:], rtol=1e-9)
        assert model["intercept"][()] == pytest.approx(data["intercept"][()])

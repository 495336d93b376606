"""Whole jobs under mpirun, as a user starts them: the contract of the command line, and every error once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import Outcome, assert_ended, launcher, load_table, mpirun
from mpigd_data import path_of
from scipy import linalg

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def test_train_keeps_its_contract(tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = mpirun("train", path_of("boston"), "--l2", 0.1, "--tol", 1e-9, "--run-dir", run, "--json", ranks=4)
    assert done.status == 0
    assert done.out.count("\n") == 1
    told = done.json()
    for key in ("objective", "grad_norm", "passes", "steps", "converged", "reason", "seconds"):
        assert key in told
    assert told["converged"] is True
    assert (told["ranks"], told["rows"], told["columns"]) == (4, 506, 13)
    names = ["STATUS", "config.toml", "history.jsonl", "model.h5", "times.json"]
    assert sorted(path.name for path in run.iterdir()) == names
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    keys = "step passes objective grad_norm seconds read_seconds compute_seconds comm_seconds"
    assert list(history[0]) == keys.split()
    assert (history[-1]["step"], history[-1]["objective"]) == (told["steps"], told["objective"])
    assert history[-1]["grad_norm"] <= 1e-9 * history[0]["grad_norm"]
    config = tomllib.loads((run / "config.toml").read_text())
    assert config["train"]["l2"] == 0.1
    assert config["environment"]["ranks"] == 4
    with h5py.File(run / "model.h5") as file:
        assert file["coef"].shape == (13,)
        assert file["intercept"].shape == ()
        assert file["coef"].dtype == file["intercept"].dtype == np.float64
        assert file.attrs["loss"] == "squared"


@pytest.mark.parametrize("ranks", [1, 8])
def test_the_main_job(tmp_path: Path, ranks: int) -> None:
    done = mpirun(ranks=ranks, cwd=tmp_path)
    assert done.status == 0, done.err
    for text in (f"on {ranks} rank(s)", "What each rank owns", "closed form", "R² on test rows", "seconds in comm"):
        assert text in done.out
    assert "━" in done.err  # the progress bar
    [run] = (tmp_path / "runs").iterdir()
    data = load_table("boston")
    with h5py.File(run / "gd" / "model.h5") as file:
        theta = np.append(file["coef"][:], file["intercept"][()])
    # The test rows are one part of five; find the training rows as the job does, and fit them independently.
    from mpigd.sampling import deal
    from mpigd.storage import block_rows

    training = deal(0, 0, np.arange(-(-506 // block_rows(506))), block_rows(506), 506, 5) != 0
    A = np.column_stack([data.X, np.ones(506)])[training]
    np.testing.assert_allclose(theta, linalg.lstsq(A, data.y[training])[0], rtol=1e-6)
    assert (run / "sgd" / "model.h5").exists()


def test_all_commands_on_a_table_of_the_users_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 2))
    label = (X @ [1.0, -1.0] + 0.3 * rng.standard_normal(300) > 0).astype(int)
    rows = "\n".join(f"{a!r},{b!r},{c}" for (a, b), c in zip(X.tolist(), label, strict=True))
    (tmp_path / "own.csv").write_text(f"left,right,class\n{rows}\n")
    assert mpirun("convert", "own.csv", "own.h5", cwd=tmp_path).status == 0
    shown = mpirun("inspect", "own.h5", cwd=tmp_path)
    assert "300 rows × 2 columns" in shown.out
    assert "Nothing found" in shown.out
    trained = mpirun("train", "own.h5", "--loss", "logistic", "--l2", 0.01, "--run-dir", "run", cwd=tmp_path)
    assert trained.status == 0
    assert "left" in trained.out
    assert "converged" in trained.out
    scores = mpirun("evaluate", "run", "own.h5", "--json", cwd=tmp_path).json()
    assert scores["accuracy"] > 0.9
    assert mpirun("predict", "run", "own.h5", "--output", "p.h5", cwd=tmp_path).status == 0
    with h5py.File(tmp_path / "p.h5") as file:
        assert np.mean(file["prediction"][:] == label) == pytest.approx(scores["accuracy"])
    model = mpirun("inspect", "run", "--json", cwd=tmp_path).json()
    assert model["feature_names"] == ["left", "right"]
    assert model["coef"][0] > 0 > model["coef"][1]


def test_train_and_verify_several_outputs(tmp_path: Path) -> None:
    X, y = np.random.default_rng(0).standard_normal((2, 60, 3))
    data_file(tmp_path / "data.h5", X=X, y=y)
    trained = mpirun("train", "data.h5", "--run-dir", "run", cwd=tmp_path)
    assert trained.status == 0, trained.err
    assert "output 2" in trained.out
    [line] = [line for line in trained.out.splitlines() if line.startswith("Fingerprints")]
    with h5py.File(tmp_path / "run" / "model.h5") as file:
        assert f"model {file.attrs['fingerprint']}," in line
    verified = mpirun("verify", "run", "data.h5", "--refit", cwd=tmp_path, ranks=2)
    assert verified.status == 0, verified.err
    assert verified.out.count("the same bits") == 7
    data_file(tmp_path / "data.h5", X=X, y=y + 1.0)
    refuted = mpirun("verify", "run", "data.h5", "--json", cwd=tmp_path, ranks=2)
    assert refuted.status == 6
    assert refuted.complaints() == []
    checks = refuted.json()["checks"]
    assert (checks["data"], checks["standardisation"]) == (False, True)


def test_help_and_version() -> None:
    shown = mpirun("train", "--help", ranks=2)
    assert shown.status == 0
    assert shown.out.count("--learning-rate") == 1
    assert mpirun("--version", ranks=2).out.strip().count("\n") == 0


# ---- errors ----


def refused(done: Outcome, status: int, *texts: str) -> None:
    """One complaint, which says all of texts; the exit status; nothing on standard output."""
    assert done.status == status, done.err
    [complaint] = done.complaints()
    for text in texts:
        assert text in complaint
    assert "Traceback" not in done.err
    assert done.out == ""


def data_file(path: Path, **replaced: object) -> Path:
    """A good file of 40 rows and two columns, with some datasets replaced, or left out for None."""
    good = {"X": np.arange(80.0).reshape(40, 2), "y": np.arange(40.0)}
    with h5py.File(path, "w") as file:
        for name, values in {**good, **replaced}.items():
            if values is not None:
                file[name] = values
    return path


def with_value(shape: tuple[int, ...], place: tuple[int, ...], value: float) -> np.ndarray:
    values = np.ones(shape)
    values[place] = value
    return values


BAD_DATA = {
    "no X": ({"X": None}, [], ["no dataset 'X'", "the file holds: y"]),
    "no y": ({"y": None}, [], ["no dataset 'y'", "the file holds: X"]),
    "one-dimensional X": ({"X": np.ones(40)}, [], ["'X'", "(rows, columns)", "(40,)"]),
    "y too short": ({"y": np.ones(39)}, [], ["'y'", "(39,)", "40 rows"]),
    "no rows": ({"X": np.ones((0, 2)), "y": np.ones(0)}, [], ["'X'", "(0, 2)", "nothing to fit"]),
    "text in X": ({"X": np.full((40, 2), b"a")}, [], ["'X'", "expected numbers"]),
    "NaN in X": ({"X": with_value((40, 2), (37, 1), np.nan)}, [], ["'X'", "nan at row 37, column 1 (x1)"]),
    "Inf in X": ({"X": with_value((40, 2), (20, 0), np.inf)}, [], ["'X'", "inf at row 20, column 0 (x0)"]),
    "NaN in y": ({"y": with_value((40,), (39,), np.nan)}, [], ["'y'", "row 39"]),
    "negative weight": ({"sample_weight": with_value((40,), (3,), -1.0)}, [], ["'sample_weight'", "row 3"]),
    "zero weights": ({"sample_weight": np.zeros(40)}, [], ["'sample_weight'", "zero on every row"]),
    "three classes": ({"y": np.arange(40.0) % 3}, ["--loss", "logistic"], ["3 different label(s)", "--loss softmax"]),
    "one class": ({"y": np.ones(40)}, ["--loss", "softmax"], ["1 different label(s)", "at least two"]),
    "negative counts": (
        {"y": with_value((40,), (8,), -1.0)},
        ["--loss", "poisson"],
        ["'y' is not nonnegative, as the loss needs, at row 8"],
    ),
    "labels not whole": (
        {"y": with_value((40,), (21,), 0.5)},
        ["--loss", "logistic"],
        ["not a whole number", "row 21"],
    ),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_is_refused_once_with_its_place(tmp_path: Path, case: str) -> None:
    replaced, options, texts = BAD_DATA[case]
    path = data_file(tmp_path / "bad.h5", **replaced)
    done = mpirun("train", path, *options, "--run-dir", tmp_path / "run", "--json")
    refused(done, 3, str(path), *texts)
    assert not (tmp_path / "run").exists()


def test_missing_file(tmp_path: Path) -> None:
    refused(mpirun("train", tmp_path / "none.h5", cwd=tmp_path), 3, "none.h5: no such file")
    assert not list(tmp_path.iterdir())


def test_not_hdf5(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("a,b\n1,2\n")
    refused(mpirun("train", tmp_path / "text.h5", cwd=tmp_path), 3, "text.h5: not an HDF5 file")


def test_truncated_file(tmp_path: Path) -> None:
    whole = path_of("boston").read_bytes()
    (tmp_path / "short.h5").write_bytes(whole[: len(whole) // 2])
    refused(mpirun("train", tmp_path / "short.h5", cwd=tmp_path), 3, "short.h5: the file is truncated")


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        (["--l2", "-1"], ["--l2 -1", "≥ 0"]),
        (["--batch-size", "0"], ["--batch-size 0", "≥ 1"]),
        (["--learning-rate", "0"], ["--learning-rate 0", "> 0"]),
        (["--learning-rate", "fast"], ["--learning-rate", '"fast"']),
        (["--loss", "logit"], ["--loss", "logistic"]),
        (["--loss", "tweedie", "--loss-parameter", "3"], ["--loss-parameter 3", "power of loss tweedie", "below 2"]),
        (["--loss-parameter", "1"], ["--loss-parameter 1", "loss squared has no parameter"]),
        (["--loss", "poisson", "--solver", "gd"], ["--learning-rate auto", "poisson has no bound"]),
        (
            ["--learning-rate", "0.1"],
            ["--learning-rate 0.1: solver direct or newton or lbfgs has none", "nesterov, gd, sgd"],
        ),
        (["--solver", "lbfgs", "--schedule", "1/t"], ["--schedule 1/t: solver lbfgs has none", "gd, sgd"]),
        (["--stanardize"], ["--stanardize", "Did you mean"]),
    ],
)
def test_impossible_options(tmp_path: Path, options: list[str], texts: list[str]) -> None:
    refused(mpirun("train", path_of("boston"), *options, cwd=tmp_path), 2, *texts)
    assert not list(tmp_path.iterdir())


def test_unknown_command(tmp_path: Path) -> None:
    refused(mpirun("tarin", "x", cwd=tmp_path), 2, 'Unknown command "tarin". Did you mean "train"?')


def test_unwritable_run_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = mpirun("train", path_of("boston"), "--run-dir", tmp_path / "file" / "run")
    refused(done, 5, "file/run", "can't be written", "not a directory")


def test_divergence(tmp_path: Path) -> None:
    options = ["--solver", "gd", "--learning-rate", 100, "--run-dir", tmp_path / "run", "--json"]
    done = mpirun("train", path_of("boston"), *options)
    assert done.status == 4
    assert "diverged at step" in done.complaints()[0]
    assert len(done.complaints()) == 1
    assert not (tmp_path / "run" / "model.h5").exists()


ONE_RANK_FAILS = """
import sys, h5py, runpy
from mpi4py import MPI
rank, kind = MPI.COMM_WORLD.rank, sys.argv.pop(1)
original = h5py.File
def failing(path, *arguments, **options):
    if rank == 2 and str(path).endswith("boston.h5"):
        raise {"os": OSError(5, "Input/output error"), "defect": ZeroDivisionError("a defect")}[kind]
    return original(path, *arguments, **options)
h5py.File = failing
sys.argv[0] = "mpigd"
runpy.run_module("mpigd", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("kind", ["os", "defect"])
def test_one_rank_alone_can_not_open_the_file(tmp_path: Path, kind: str) -> None:
    script = tmp_path / "job.py"
    script.write_text(ONE_RANK_FAILS)
    done = mpirun(script, kind, "train", path_of("boston"), "--run-dir", tmp_path / "run", module=False, ranks=4)
    assert not (tmp_path / "run").exists()
    if kind == "os":
        refused(done, 3, "boston.h5: can't be opened", "Input/output error")
    else:
        assert done.status == 1
        [complaint] = done.complaints()
        assert "internal error on rank 2" in complaint
        assert "ZeroDivisionError: a defect" in done.err


@pytest.mark.skipif(os.name != "posix", reason="signals are a POSIX matter")
@pytest.mark.parametrize("ranks", [1, 3])
def test_ctrl_c_ends_all_ranks(tmp_path: Path, ranks: int) -> None:
    mark = f"interrupt-{os.getpid()}-{ranks}"
    command = [launcher(), "-n", str(ranks)]
    command += [sys.executable, "-m", "mpigd", "train", str(path_of("digits")), "--loss", "softmax"]
    command += ["--solver", "gd", "--tol", "0", "--max-passes", "1e9", "--run-dir", str(tmp_path / "run")]
    job = subprocess.Popen(
        command, env={**os.environ, "MPIGD_TEST_MARK": mark}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        history = tmp_path / "run" / "history.jsonl"
        while not (history.exists() and history.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert history.exists(), "the job did not start"
        job.send_signal(signal.SIGINT)
        assert job.wait(timeout=30) != 0
    finally:
        job.kill()
    assert_ended(mark)
    assert not (tmp_path / "run" / "model.h5").exists()
    assert not list((tmp_path / "run").glob("*.partial"))

"""Fits are logged through TensorBoard's and MLflow's own libraries, and go on without them."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from conftest import load_table

from mpigd import tracking
from mpigd.comm import Comm
from mpigd.errors import DivergenceError, UsageError
from mpigd.options import Train
from mpigd.train import Fit, run

pytest.importorskip("tensorboardX")
mlflow = pytest.importorskip("mlflow")


def fitted(path: Path, *log: str, **options: object) -> Fit:
    boston = load_table("boston").path
    more = {"solver": "gd", "tol": 1e-2, "test_share": 0.2, "run_dir": path, **options}
    return run(Comm.alone(), Train((boston,), log=log, **more))


def records(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (path / "history.jsonl").read_text().splitlines()]


def scalars(path: Path) -> dict[str, dict[int, float]]:
    """Scalars of the event files of a directory, by name and step."""
    from tensorboardX.proto.event_pb2 import Event

    found: dict[str, dict[int, float]] = {}
    for file in (path / "tensorboard").iterdir():
        content, place = file.read_bytes(), 0
        while place < len(content):  # records of TensorFlow: length, its checksum, as many bytes, their checksum
            (length,) = struct.unpack_from("<Q", content, place)
            event = Event.FromString(content[place + 12 : place + 12 + length])
            place += 16 + length
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    uri = f"file:{tmp_path / 'mlruns'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return uri


def test_tensorboard_shows_every_record(tmp_path: Path) -> None:
    fit = fitted(tmp_path / "run", "tensorboard")
    found, history = scalars(tmp_path / "run"), records(tmp_path / "run")
    for name in ("objective", "grad_norm", "passes"):
        assert found[name] == pytest.approx({record["step"]: record[name] for record in history}, rel=1e-6)
    assert found["test/r2"] == pytest.approx({fit.state.step: fit.scores["test"]["r2"]}, rel=1e-6)


def test_mlflow_has_options_records_scores_and_files(tmp_path: Path, store: str) -> None:
    fit = fitted(tmp_path / "run", "mlflow", l2=0.5)
    client = mlflow.MlflowClient(store)
    [told] = client.search_runs([client.get_experiment_by_name("Default").experiment_id])
    assert told.info.status == "FINISHED"
    assert told.info.run_name == "run"
    assert told.data.params["l2"] == "0.5"
    assert told.data.metrics["test/rmse"] == pytest.approx(fit.scores["test"]["rmse"])
    history = {metric.step: metric.value for metric in client.get_metric_history(told.info.run_id, "objective")}
    assert history == {record["step"]: record["objective"] for record in records(tmp_path / "run")}
    assert "model.h5" in {file.path for file in client.list_artifacts(told.info.run_id)}


def test_a_fit_that_fails_is_marked(tmp_path: Path, store: str) -> None:
    with pytest.raises(DivergenceError):
        fitted(tmp_path / "run", "mlflow", learning_rate=1e3)
    client = mlflow.MlflowClient(store)
    [told] = client.search_runs([client.get_experiment_by_name("Default").experiment_id])
    assert told.info.status == "FAILED"


def test_what_can_not_be_logged_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken:
        def __init__(self, path: Path, options: object) -> None:
            self.calls = 0

        def record(self, record: object) -> None:
            self.calls += 1
            if self.calls == 2:
                raise ConnectionError("the server is gone")

    monkeypatch.setitem(tracking.TRACKERS, "tensorboard", Broken)
    fit = fitted(tmp_path / "run", "tensorboard")
    assert fit.reason == "gradient"
    [line] = capsys.readouterr().err.splitlines()
    assert line == "mpigd: --log tensorboard: the server is gone; the fit goes on without it"


def test_a_missing_library_is_named_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tracking.NEEDS, "mlflow", "no_such_package")
    with pytest.raises(UsageError, match="--log mlflow: needs the package no_such_package"):
        fitted(tmp_path / "run", "mlflow")
    assert not (tmp_path / "run").exists()

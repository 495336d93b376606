"""Model files: written whole, checked when read."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from mpigd_kernels import LOSSES

from mpigd.errors import DataError, OutputError
from mpigd.files import written_whole
from mpigd.model import Model


@pytest.fixture
def model() -> Model:
    return Model(np.array([1.0, -2.0]), np.array(0.5), LOSSES["logistic"], ("a", "ü"), np.array([-1.0, 1.0]))


def test_round_trip(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "m.h5")
    loaded = Model.load(tmp_path / "m.h5")
    assert loaded.feature_names == ("a", "ü")
    assert loaded.loss is model.loss
    np.testing.assert_array_equal(loaded.predict([[1.0, 0.0], [0.0, 1.0]]), [1.0, -1.0])


def test_a_changed_coefficient_is_noticed(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        file["coef"][0] = 1.5
    with pytest.raises(DataError, match="does not match its checksum"):
        Model.load(tmp_path / "m.h5")


@pytest.mark.parametrize("victim", ["coef", "feature_names"])
def test_a_missing_part_is_noticed(model: Model, tmp_path: Path, victim: str) -> None:
    model.save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        del file[victim]
    with pytest.raises(DataError, match="damaged model"):
        Model.load(tmp_path / "m.h5")


def test_a_truncated_model_is_an_error_at_any_length(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "m.h5")
    whole = (tmp_path / "m.h5").read_bytes()
    for length in range(0, len(whole), max(len(whole) // 60, 1)):
        (tmp_path / "torn.h5").write_bytes(whole[:length])
        with pytest.raises(DataError):
            Model.load(tmp_path / "torn.h5")


def test_a_data_file_is_not_a_model(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["X"] = np.ones((2, 2))
    with pytest.raises(DataError, match="not a model of mpigd"):
        Model.load(tmp_path / "data.h5")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail() -> None:
        with written_whole(path) as temporary:
            temporary.write_text("half of the n")
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="file: can't be written: No space left on device"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]

"""The tables that ship: the HDF5 files are what the text files say, and that is what the sources say."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from mpigd_data import TABLES, path_of
from mpigd_data.make import main as make
from sklearn import datasets


@pytest.mark.parametrize("name", TABLES)
def test_shipped_file_is_what_the_script_makes(name: str, tmp_path: Path) -> None:
    make(tmp_path)
    with h5py.File(path_of(name)) as shipped, h5py.File(tmp_path / f"{name}.h5") as made:
        assert set(shipped) == set(made) == {"X", "y", "feature_names"}
        for key in shipped:
            np.testing.assert_array_equal(shipped[key][:], made[key][:])
        assert shipped["X"].chunks is None


@pytest.mark.parametrize(
    ("name", "source"), [("breast_cancer", datasets.load_breast_cancer), ("digits", datasets.load_digits)]
)
def test_classification_tables_equal_scikit_learns(name: str, source) -> None:
    original = source()
    with h5py.File(path_of(name)) as file:
        np.testing.assert_array_equal(file["X"][:], original.data)
        np.testing.assert_array_equal(file["y"][:], original.target)


def test_boston_has_its_published_facts() -> None:
    """D. Harrison, D. Rubinfeld, J. Environ. Econ. Manag. 5, 1978: 506 tracts; median values capped at 50."""
    with h5py.File(path_of("boston")) as file:
        X, y, names = file["X"][:], file["y"][:], list(file["feature_names"].asstr()[:])
    assert X.shape == (506, 13)
    assert names == ["CRIM", "ZN", "INDUS", "CHAS", "NOX", "RM", "AGE", "DIS", "RAD", "TAX", "PTRATIO", "B", "LSTAT"]
    assert (y.max(), np.count_nonzero(y == 50.0)) == (50.0, 16)
    assert set(X[:, 3]) == {0.0, 1.0}
    assert np.count_nonzero(X[:, 3]) == 35  # tracts that bound the Charles River
    assert y.mean() == pytest.approx(22.5328, abs=1e-4)

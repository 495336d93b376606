"""CSV to HDF5."""

from __future__ import annotations

import gzip
from pathlib import Path

import h5py
import numpy as np
import pytest

from mpigd import convert
from mpigd.errors import DataError

DOUBLE = np.dtype(np.float64)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_table_with_a_named_target(tmp_path: Path) -> None:
    source = written(tmp_path, 'a,"the y",b\n1,10,-2.5\n3,30,1e3\n\n')
    summary = convert.convert_csv(source, tmp_path / "out.h5", "the y", np.dtype(np.float32))
    assert (summary["rows"], summary["columns"]) == (2, 2)
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["X"].dtype == np.float32
        np.testing.assert_array_equal(file["X"][:], [[1, -2.5], [3, 1e3]])
        np.testing.assert_array_equal(file["y"][:], [10, 30])
        assert list(file["feature_names"].asstr()[:]) == ["a", "b"]


@pytest.mark.parametrize("rows", [1, 6, 7, 8, 21])
def test_long_tables_are_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(convert, "CHUNK_ROWS", 7)
    values = np.arange(2.0 * rows).reshape(rows, 2)
    lines = "\n".join(",".join(map(repr, row)) for row in values.tolist())
    source = tmp_path / "table.csv.gz"
    source.write_bytes(gzip.compress(f"x,y\n{lines}\n".encode()))
    convert.convert_csv(source, tmp_path / "out.h5", None, DOUBLE)
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_array_equal(file["X"][:, 0], values[:, 0])
        np.testing.assert_array_equal(file["y"][:], values[:, 1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1 must name at least two columns"),
        ("a,b\n", "holds no rows after the header line"),
        ("a,b,a\n1,2,3\n", "line 1 names column 'a' twice"),
        ("a,b\n1,2\n3\n", "line 3 has 1 fields; line 1 names 2"),
        ("a,b\n1,2\nx,4\n", "line 3, column 'a': 'x' is not a number"),
        ("a,b\n1,2\n\n3,\n", "line 4, column 'b': a value is missing"),
    ],
)
def test_bad_tables_are_refused_with_the_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        convert.convert_csv(written(tmp_path, text), tmp_path / "out.h5", None, DOUBLE)
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_unknown_target_lists_the_columns(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'z' for --target; there are: a, b"):
        convert.convert_csv(written(tmp_path, "a,b\n1,2\n"), tmp_path / "out.h5", "z", DOUBLE)


def test_damaged_gzip_is_named(tmp_path: Path) -> None:
    source = tmp_path / "table.csv.gz"
    source.write_bytes(gzip.compress(b"a,b\n1,2\n" * 100)[:-20])
    with pytest.raises(DataError, match="damaged gzip file"):
        convert.convert_csv(source, tmp_path / "out.h5", None, DOUBLE)

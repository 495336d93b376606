"""What convert refuses: one message that names the place and says what to do, and nothing left behind."""

from __future__ import annotations

import gzip
import sys
from datetime import date
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from tables import convert, save

from mpigd.errors import DataError, MpigdError, OutputError, UsageError
from mpigd.options import Convert

CSV: list[tuple[str, dict[str, Any], str]] = [
    ("", {}, "line 1 must name the columns; the file is empty"),
    ("a,b\n", {}, "holds no rows after the header line"),
    ("a,b,a\n1,2,3\n", {}, "line 1 names column 'a' twice"),
    ("a,,b\n1,2,3\n", {}, "line 1 has no name for column 2"),
    ("y\n1\n", {}, "no columns are left for X"),
    ("a,b\n1,2\n3\n", {}, "line 3 has 1 fields; expected 2"),
    ('a,b\n"1",2\n\n3,4,5\n', {}, "line 4 has 3 fields; expected 2"),
    ("a,b\n1,2\nx,4\n", {}, "line 3, column 'a': 'x' is not a number"),
    ("a,b\ntrue,2\n3,4\n", {}, "line 3, column 'a': '3' is neither true nor false"),
    ("a,b\n1,2\n\n3,\n", {}, r"line 4, column 'b': a value is missing; of all values 1 are \(1 in 'b'\). Choose"),
    ("a,b,c\n1,2,\n,,3\nNaN,5,6\n", {}, r"line 2, column 'c'.* 4 are \(2 in 'a', 1 in 'b', 1 in 'c'\)"),
    ("a,b\n1,2\n3,\n", {"missing": "mean"}, r"line 3, column 'b': .*--missing mean is for X alone; use"),
    ("t,b\nu,2\n,3\n", {}, r"line 3, column 't': a value is missing"),
    ("a;b\n1;2\n", {}, r"the first line is one column, 'a;b'; .*--delimiter ';'"),
    ("1\t2\n3\t4\n", {"header": False}, r"the first line is one column, '1.2'; .*--delimiter tab"),
    ("a,b\n,2\n,3\n", {"missing": "mean"}, "column 'a' holds no value at all"),
    ("a,b\n,2\n,3\n", {"missing": "drop"}, r"holds no rows \(all 2 have missing values\)"),
    ("a,b\n1,2\ninf,3\n", {}, "line 3, column 'a': inf is not a finite number"),
    ("a,w,b\n1,2,1\n1,-2,2\n", {"weight": "w"}, "line 3, column 'w': is negative"),
    ("a,w,b\n1,t,1\n", {"weight": "w"}, "column 'w' for --weight holds text; expected numbers"),
    ("a,d,b\n1,2024-05-01,2\n", {}, r"column 'd' holds dates \(a date\); leave it out with --exclude, or"),
    ("a,b\n1.5,1\n300,2\n", {"dtype": "uint8"}, "line 2, column 'a': 1.5 does not fit --dtype uint8"),
    ("a,b\n1,1\n1e6,2\n", {"dtype": "float16"}, r"line 3, column 'a': 1e\+06 does not fit --dtype float16"),
    ("a,b\n1,1\n,2\n2,2\n", {"dtype": "int8", "missing": "mean"}, "the mean of column 'a': 1.5 does not fit"),
    ("a,b\n200,1\n", {"dtype": "uint8", "interactions": ("a:a",)}, "a value of X: 40000 does not fit type uint8"),
    ("a,b\nu,1\nv,2\nw,3\n", {"max_levels": 2}, "column 'a' has more than 2 levels, .*--hash-bits"),
    ("a,b\n1,u\n2,v\n", {"max_levels": 1}, "column 'b' has more than 1 classes"),
    ('a,b\n1,x"y\n', {}, "line 2: a quote in the middle of a field"),
    ('a,b\n1,"y\n', {}, "line 2: a quote in the middle of a field, or one without its partner"),
    ("a,b\n+1,2\nx,2\n", {}, "line 3, column 'a': 'x' is not a number"),
    ("a,b\n1,2\n", {"target": "z"}, "no column 'z' for --target; there are: a, b"),
    ("a,b\n1,2\n", {"columns": ("z*",)}, r"no column 'z\*' for --columns; there are: a"),
    ("a,b\n1,2\n", {"exclude": ("z",)}, "no column 'z' for --exclude"),
    ("a,b\n1,2\n", {"categorical": ("z",)}, "no column 'z' for --categorical"),
    ("a,b\n1,2\n", {"interactions": ("a:z",)}, "no column 'z' for --interactions a:z"),
]


@pytest.mark.parametrize(("content", "options", "message"), CSV)
def test_csv_is_refused_with_the_place(tmp_path: Path, content: str, options: dict[str, Any], message: str) -> None:
    (tmp_path / "in.csv").write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        convert(tmp_path / "in.csv", tmp_path / "out.h5", **options)
    assert str(tmp_path / "in.csv") in str(caught.value) or "of column" in message or "value of X" in message
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b"a,b\nx,1\n\xe9,2\n")
    with pytest.raises(DataError, match="line 3: not UTF-8 text"):
        convert(tmp_path / "in.csv", tmp_path / "out.h5")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1 1:2\nx 1:2\n", "line 2: label 'x' is not a number"),
        ("1 1:2\n\n1,2 1:2\n", "line 3: label '1,2' is not a number; several labels"),
        ("1 1:2\n1 2\n", "line 2: '2' is not a pair"),
        ("1 1:2 3 4:\n1 5 2:3\n", "line 1: '3' is not a pair"),
        ("1 -1:2\n", "line 1: '-1:2' is not a pair"),
        ("1 1:2 1:3\n", "line 1: column 1 stands twice"),
        ("1 1:x\n", "line 1: 'x' of column 1 is not a number"),
        ("1 1:2\n1 1:nan\n", "line 2, column 'X': a value is missing"),
        ("1 1:2\n1 1:inf\n", "line 2, column 1: inf is not a finite number"),
        ("", "holds no rows"),
    ],
)
def test_svmlight_is_refused_with_the_place(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "in.svm").write_text(content)
    with pytest.raises(DataError, match=message):
        convert(tmp_path / "in.svm", tmp_path / "out.h5")


@pytest.mark.parametrize("kind", ["csv", "parquet", "feather", "npy", "npz", "h5", "csv.gz", "csv.zst"])
def test_files_that_are_something_else(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"in.{kind}"
    with pytest.raises(DataError, match="no such file"):
        convert(path, tmp_path / "out.h5")
    path.write_bytes(b"\0\1\2")
    with pytest.raises(DataError, match=str(path)):
        convert(path, tmp_path / "out.h5")
    assert list(tmp_path.iterdir()) == [path]


def test_damaged_gzip_is_named(tmp_path: Path) -> None:
    text = "a,b\n" + "\n".join(f"{x},{y}" for x, y in np.random.default_rng(0).random((60_000, 2)))
    (tmp_path / "in.csv.gz").write_bytes(gzip.compress(text.encode())[:-20])
    with pytest.raises(DataError, match="not a whole gzip file"):
        convert(tmp_path / "in.csv.gz", tmp_path / "out.h5")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"a": [1.0], "z": [2.0], "y": [1.0]}, "b.parquet has no column 'b', which .*a.parquet has"),
        ({"b": [1.0], "a": [2.0], "y": [1.0]}, "b.parquet has column 'b' where .*a.parquet has 'a'"),
        ({"a": ["t"], "b": [2.0], "y": [1.0]}, "b.parquet has .*string in column 'a', but .*a.parquet has double"),
    ],
)
def test_files_that_differ(tmp_path: Path, other: dict[str, list[Any]], message: str) -> None:
    first = save(pd.DataFrame({"a": [1.0], "b": [2.0], "y": [3.0]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=message):
        convert(first, save(pd.DataFrame(other), tmp_path / "b.parquet"), tmp_path / "out.h5")
    with pytest.raises(DataError, match=r"b.csv is csv, but .*a.parquet is parquet"):
        convert(first, tmp_path / "b.csv", tmp_path / "out.h5")


def test_types_that_are_no_numbers(tmp_path: Path) -> None:
    dates = save(pd.DataFrame({"d": [date(2024, 5, 1)], "y": [1.0]}), tmp_path / "d.parquet")
    with pytest.raises(DataError, match=r"column 'd' holds dates \(date32\[day\]\); leave it out with --exclude"):
        convert(dates, tmp_path / "out.h5")
    lists = save(pd.DataFrame({"l": [[1, 2]], "y": [1.0]}), tmp_path / "l.parquet")
    with pytest.raises(DataError, match=r"column 'l' has type list.*leave it out"):
        convert(lists, tmp_path / "out.h5")


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", np.array([{"a": 1}], object))
    with pytest.raises(DataError, match=r"not a NumPy file, or damaged: Array can't be memory-mapped|type object"):
        convert(tmp_path / "in.npy", tmp_path / "out.h5")
    np.savez(tmp_path / "in.npz", X=np.array([{"a": 1}], object))
    with pytest.raises(DataError, match="array 'X' has type object; expected numbers"):
        convert(tmp_path / "in.npz", tmp_path / "out.h5")


def test_hdf5_without_a_target(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["X"], file["z"] = np.ones((3, 2)), np.ones(4)
    with pytest.raises(DataError, match="holds no y; name the target with --target, or say --target none"):
        convert(tmp_path / "in.h5", tmp_path / "out.h5")
    with pytest.raises(DataError, match=r"dataset 'z' has shape \(4,\); expected \(3,\)"):
        convert(tmp_path / "in.h5", tmp_path / "out.h5", target="z")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": "much"}, "much: expected a number of bytes, as in 512MiB or 2GiB"),
        ({"memory": "10"}, "--memory 10: expected at least 1MiB"),
        ({"hash_bits": 31}, "--hash-bits 31: expected a whole number from 1 to 30"),
        ({"interactions": ("a",)}, "--interactions a: expected a:b"),
        ({"delimiter": "ab"}, "--delimiter ab: expected one character, or tab"),
        ({"chunk_rows": 0}, "--chunk-rows 0: expected"),
        ({"hash_bits": 3, "drop_first": True}, "--drop-first"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Convert((Path("in.csv"), Path("out.h5")), **options)
    with pytest.raises(UsageError, match="expected files to read and last the file to write"):
        Convert((Path("in.csv"),))
    with pytest.raises(UsageError, match="none of the inputs"):
        Convert((Path("in.h5"), Path("in.h5")))


def test_options_for_tables_alone(tmp_path: Path) -> None:
    (tmp_path / "in.svm").write_text("1 1:2\n")
    with pytest.raises(UsageError, match="--missing mean: expected a table of columns"):
        convert(tmp_path / "in.svm", tmp_path / "out.h5", missing="mean")


def test_unknown_endings(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"can't tell what it is from its name .*--format"):
        convert(tmp_path / "in.data", tmp_path / "out.h5")
    with pytest.raises(DataError, match="of compressed files, CSV and svmlight can be read"):
        convert(tmp_path / "in.parquet.gz", tmp_path / "out.h5")
    (tmp_path / "in.data").write_text("a,b\n1,2\n")
    assert convert(tmp_path / "in.data", tmp_path / "out.h5", format="csv")["rows"] == 1


def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("a,b\n1,2\n")
    with pytest.raises(OutputError, match="is not a directory"):
        convert(tmp_path / "in.csv", tmp_path / "in.csv" / "out.h5")


def test_pyarrow_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("mpigd.convert")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MpigdError, match=r"convert needs pyarrow .*; install mpigd\[convert\]"):
        import mpigd.convert.job  # noqa: F401

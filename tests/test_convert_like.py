"""New rows get the columns that the rows of a fit have had."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import mpirun
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_svmlight_file
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder
from tables import content, convert, save, save_sparse, some_sparse

import mpigd
from mpigd import inspect, predict, train
from mpigd.comm import Comm
from mpigd.console import Console
from mpigd.convert import text
from mpigd.errors import DataError, MpigdError, UsageError
from mpigd.model import Model
from mpigd.options import Evaluate, Inspect, Train
from mpigd.storage import read_header


def homes(rows: int, seed: int, cities: str = "abc") -> pd.DataFrame:
    """Two columns of numbers and one of words, all with gaps, and a target of words."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "id": np.arange(rows),
            "size": rng.standard_normal(rows),
            "city": rng.choice(list(cities), rows).astype(object),
            "rooms": rng.integers(1, 9, rows).astype(float),
            "zip": rng.integers(10, 14, rows),
            "sold": rng.choice(["no", "yes"], rows),
        }
    )
    for name in ("size", "city", "rooms"):
        frame.loc[rng.random(rows) < 0.1, name] = np.nan
    return frame


def expected(old: pd.DataFrame, new: pd.DataFrame, missing: str) -> np.ndarray:
    """X of new rows by scikit-learn, fitted on old ones; gaps of words are the last level, as in get_dummies."""
    fill = SimpleImputer(strategy=missing)
    words = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    both = ColumnTransformer(
        [("a", fill, ["size"]), ("b", words, ["city"]), ("c", fill, ["rooms"]), ("d", words, ["zip"])]
    )
    both.fit(old.fillna({"city": "~"}))
    return np.asarray(both.transform(new.fillna({"city": "~"})))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("layout", ["dense", "sparse"])
@pytest.mark.parametrize("missing", ["mean", "median"])
def test_new_rows_are_encoded_as_scikit_learn_does(tmp_path: Path, kind: str, layout: str, missing: str) -> None:
    old, new = homes(300, 0), homes(90, 1, "cbxy")
    new.loc[3, "zip"] = 99
    options: dict[str, Any] = {"missing": missing, "layout": layout, "categorical": ("zip",), "exclude": ("id",)}
    convert(save(old, tmp_path / f"old.{kind}"), tmp_path / "old.h5", target="sold", **options)
    fitted = content(tmp_path / "old.h5")
    np.testing.assert_allclose(fitted["X"], expected(old, old, missing), rtol=1e-14)
    assert fitted["names"][1:5] == ["city=a", "city=b", "city=c", "city=(missing)"]
    shuffled = new[["zip", "rooms", "city", "size"]]  # neither a target nor the old order
    summary = convert(save(shuffled, tmp_path / f"new.{kind}"), tmp_path / "new.h5", like=tmp_path / "old.h5")
    found = content(tmp_path / "new.h5")
    np.testing.assert_allclose(found["X"], expected(old, new, missing), rtol=1e-14)
    assert found["names"] == fitted["names"]
    assert "y" not in found
    assert (summary["target"], summary["layout"], summary["nonzero"]) == (None, layout, np.count_nonzero(found["X"]))
    seen = Counter(new["city"])
    assert summary["unknown_levels"] == {"city=x": seen["x"], "city=y": seen["y"], "zip=99": 1}


def test_dummies_of_pandas_with_gaps(tmp_path: Path) -> None:
    frame = homes(200, 0)[["city", "rooms"]].fillna({"rooms": 0.0})
    summary = convert(save(frame, tmp_path / "in.csv"), tmp_path / "out.h5", missing="median", layout="dense")
    truth = pd.get_dummies(frame["city"], dummy_na=True)
    np.testing.assert_array_equal(content(tmp_path / "out.h5")["X"], truth)
    assert summary["filled"] == {"city": "(missing)"}
    convert(save(frame, tmp_path / "in.csv"), tmp_path / "hash.h5", missing="median", hash_bits=3, layout="dense")
    np.testing.assert_array_equal(content(tmp_path / "hash.h5")["X"].sum(axis=1), 1.0)


def test_a_column_without_gaps_has_a_number_for_those_of_new_rows(tmp_path: Path) -> None:
    old = pd.DataFrame({"a": [1.0, 2.0, 9.0], "c": ["u", "v", "v"], "y": [0.0, 1.0, 2.0]})
    convert(save(old, tmp_path / "old.csv"), tmp_path / "old.h5", missing="median")
    new = pd.DataFrame({"a": [np.nan, 4.0], "c": ["v", None], "y": [5.0, 6.0]})
    summary = convert(save(new, tmp_path / "new.csv"), tmp_path / "new.h5", like=tmp_path / "old.h5")
    found = content(tmp_path / "new.h5")
    np.testing.assert_array_equal(found["X"], [[2.0, 0.0, 1.0], [4.0, 0.0, 0.0]])
    np.testing.assert_array_equal(found["y"], [5.0, 6.0])
    assert summary["unknown_levels"] == {"c=(missing)": 1}


def test_classes_interactions_and_types_stay(tmp_path: Path) -> None:
    old = homes(200, 0).dropna()
    options: dict[str, Any] = {"interactions": ("size:city", "rooms:zip"), "drop_first": True, "exclude": ("id",)}
    convert(save(old, tmp_path / "old.csv"), tmp_path / "old.h5", **options)
    new = old[old["sold"] == "yes"]
    convert(save(new, tmp_path / "new.csv"), tmp_path / "new.h5", like=tmp_path / "old.h5")
    # And rows like those that are like the first.
    convert(tmp_path / "new.csv", tmp_path / "newer.h5", like=tmp_path / "new.h5")
    whole, found = content(tmp_path / "old.h5"), content(tmp_path / "new.h5")
    np.testing.assert_array_equal(found["X"], whole["X"][(old["sold"] == "yes").to_numpy()])
    np.testing.assert_array_equal(found["y"], 1.0)
    assert found["classes"] == whole["classes"] == ["no", "yes"]
    newer = content(tmp_path / "newer.h5")
    np.testing.assert_array_equal(newer["X"], found["X"])
    assert newer["attributes"]["recipe"] == whole["attributes"]["recipe"]
    assert json.loads(newer["attributes"]["options"])["like"].endswith("new.h5")


@pytest.mark.parametrize(
    ("values", "asked", "stored"),
    [
        ([0.5, 0.25], "auto", "float32"),
        ([0.1, 0.25], "auto", "float64"),
        ([3, 4], "int8", "int8"),
    ],
)
def test_the_type_holds_new_rows(tmp_path: Path, values: list[float], asked: str, stored: str) -> None:
    save(pd.DataFrame({"a": [1.0, 2.0], "y": [0, 1]}), tmp_path / "old.csv")
    convert(tmp_path / "old.csv", tmp_path / "old.h5", dtype=asked)
    save(pd.DataFrame({"a": values, "y": [0, 1]}), tmp_path / "new.csv")
    convert(tmp_path / "new.csv", tmp_path / "new.h5", like=tmp_path / "old.h5")
    x = content(tmp_path / "new.h5")["X"]
    assert x.dtype == stored
    np.testing.assert_array_equal(x[:, 0], values)


def test_sparse_rows_have_as_many_columns(tmp_path: Path) -> None:
    X, y = some_sparse()
    convert(save_sparse(tmp_path / "old.svm", X, y), tmp_path / "old.h5", exclude=("x3",))
    few = sp.csr_matrix(X[:, :20])
    summary = convert(save_sparse(tmp_path / "new.svm", few, y), tmp_path / "new.h5", like=tmp_path / "old.h5")
    assert summary["columns"] == 29
    truth = load_svmlight_file(str(tmp_path / "new.svm"), n_features=30)[0].toarray()
    np.testing.assert_array_equal(content(tmp_path / "new.h5")["X"], np.delete(truth, 3, axis=1))
    wide = save_sparse(tmp_path / "wide.svm", sp.csr_matrix(sp.hstack([X, X])), y)
    with pytest.raises(DataError, match=r"wide.svm: has other columns; .*old.h5 was made from 30, from number 1 on"):
        convert(wide, tmp_path / "new.h5", like=tmp_path / "old.h5")


@pytest.mark.parametrize(
    ("new", "options", "message"),
    [
        ("a,y\n1,no\n", {}, r"no column 'c', of which .*old.h5 made X"),
        ("c,y\nu,no\n", {}, r"no column 'a', of which"),
        ("z\n1\n", {}, r"no column 'a', nor 1 more, of which"),
        ("a,c,y\n1,u,maybe\n", {}, r"class 'maybe' is none of those in .*old.h5 \(no, yes\)"),
        ("a,c,y\nt,u,no\n", {}, r"column 'a' holds text; it has numbers in .*old.h5"),
        ("a,c,y\n1,u,no\n2,,no\n", {}, r"line 3, column 'c': a value is missing"),
        ("a,c,y\n1,u,no\n", {"target": "t"}, r"no column 't' for --target"),
        ("a,c,y\n1,u,no\n", {"drop_first": True}, r"--drop-first: expected no --like"),
        ("a,c,y\n1,u,no\n", {"exclude": ("a",)}, r"--exclude: expected no --like"),
        ("a,c,y\n1,u,no\n", {"missing": "mean"}, r"--missing mean: expected refuse, as .*old.h5 was made, or drop"),
    ],
)
def test_rows_that_cannot_be_like_the_others(tmp_path: Path, new: str, options: dict[str, Any], message: str) -> None:
    (tmp_path / "old.csv").write_text("a,c,y\n1,u,no\n2,v,yes\n")
    convert(tmp_path / "old.csv", tmp_path / "old.h5")
    (tmp_path / "new.csv").write_text(new)
    with pytest.raises(MpigdError, match=message):
        convert(tmp_path / "new.csv", tmp_path / "new.h5", like=tmp_path / "old.h5", **options)
    assert not (tmp_path / "new.h5").exists()


def test_files_that_convert_has_not_written(tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("a,y\n1,2\n")
    with pytest.raises(DataError, match=r"old.h5: no such file"):
        convert(tmp_path / "new.csv", tmp_path / "new.h5", like=tmp_path / "old.h5")
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file["X"] = np.ones((2, 2))
    with pytest.raises(DataError, match=r"old.h5: no attribute 'recipe': expected a file that convert has written"):
        convert(tmp_path / "new.csv", tmp_path / "new.h5", like=tmp_path / "old.h5")
    with h5py.File(tmp_path / "old.h5", "r+") as file:
        file.attrs["recipe"] = "{}"
    with pytest.raises(DataError, match=r"old.h5: not a file of convert, or damaged"):
        convert(tmp_path / "new.csv", tmp_path / "new.h5", like=tmp_path / "old.h5")
    with pytest.raises(UsageError, match=r"--like .*: expected a file other than the output"):
        convert(tmp_path / "new.csv", tmp_path / "old.h5", like=tmp_path / "old.h5")


@pytest.mark.mpi
def test_rows_like_others_do_not_depend_on_ranks(
    comm: Comm, shared_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "UNIT", 211)
    if comm.rank == 0:
        save(homes(150, 0), shared_path / "old.csv")
        save(homes(80, 1, "cbxy"), shared_path / "new.csv")
    comm.leave()
    for alone in (False, True):
        if not alone or comm.rank == 0:
            some: dict[str, Any] = {"comm": None if alone else comm}
            end = "one" if alone else "all"
            convert(shared_path / "old.csv", shared_path / f"old-{end}.h5", missing="median", **some)
            like = shared_path / "old-all.h5"
            convert(shared_path / "new.csv", shared_path / f"new-{end}.h5", like=like, **some)
    if comm.rank == 0:
        for name in ("old", "new"):
            one, every = ((shared_path / f"{name}-{end}.h5").read_bytes() for end in ("one", "all"))
            assert one == every
    comm.leave()


def test_a_model_predicts_new_rows_by_the_command_line(tmp_path: Path) -> None:
    save(homes(200, 0), tmp_path / "old.csv")
    save(homes(50, 1, "cbx").drop(columns="sold"), tmp_path / "new.csv")
    for arguments in (
        ("convert", "old.csv", "old.h5", "--exclude", "id", "--missing", "median"),
        ("train", "old.h5", "--loss", "logistic", "--l2", "0.1", "--run-dir", "run"),
        ("convert", "new.csv", "new.h5", "--like", "old.h5"),
        ("predict", "run", "new.h5", "--output", "labels.h5"),
    ):
        done = mpirun(*arguments, ranks=1, cwd=tmp_path)
        assert done.status == 0, done.complaints()
        if arguments[:2] == ("convert", "new.csv"):
            assert "unknown levels  city=x:" in done.out
    with h5py.File(tmp_path / "labels.h5") as file:
        assert all(len(item) == 50 for item in file.values())


def named_classes(path: Path, words: list[str]) -> Path:
    """A file of 60 rows, converted, whose target are words that go with the columns."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.standard_normal((60, 2)), columns=["a", "b"])
    frame["y"] = [words[k] for k in np.argmax(frame[["a", "b"]].to_numpy() @ rng.standard_normal((2, 3)), axis=1)]
    convert(save(frame, path.with_suffix(".csv")), path)
    return path


def test_names_of_classes_reach_the_model_and_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = named_classes(tmp_path / "in.h5", ["low", "[mid]", "top"])
    options = Train(data=(data,), loss="softmax", l2=0.1, run_dir=tmp_path / "run")
    fit = train.run(Comm.alone(), options)
    named = Model.load(tmp_path / "run" / "model.h5")
    assert named.class_names == named.labels == ("[mid]", "low", "top")
    assert mpigd.load(tmp_path / "run").class_names == named.class_names
    with h5py.File(data, "r+") as file:
        del file["y"].attrs["classes"]
    plain = train.run(Comm.alone(), replace(options, run_dir=tmp_path / "plain")).model
    assert (plain.class_names, plain.labels) == ((), ("0", "1", "2"))
    assert (plain.fingerprint, plain.result["data_fingerprint"]) == (
        named.fingerprint,
        named.result["data_fingerprint"],
    )
    console = Console()
    console.show(fit)
    console.show(predict.evaluate(Comm.alone(), Evaluate(tmp_path / "run", (data,))))
    console.show(inspect.run(Comm.alone(), Inspect((tmp_path / "run",))))
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("class [mid]", "class top", " [mid] ", "0 ([mid]), 1 (low), 2 (top)"))


def test_classes_of_other_names_are_refused(tmp_path: Path) -> None:
    one = named_classes(tmp_path / "one.h5", ["low", "mid", "top"])
    two = named_classes(tmp_path / "two.h5", ["high", "low", "mid"])
    train.run(Comm.alone(), Train(data=(one,), loss="softmax", l2=0.1, run_dir=tmp_path / "run"))
    for on in ("all", "train"):
        with pytest.raises(DataError, match=r"'y' has classes high, low, mid, but low, mid, top where the model"):
            predict.evaluate(Comm.alone(), Evaluate(tmp_path / "run", (two,), on=on))
    with pytest.raises(DataError, match=r"two.h5: 'y' has classes high, low, mid, but low, mid, top in .*one.h5"):
        read_header([one, two])
    with h5py.File(two, "r+") as file:
        del file["y"].attrs["classes"]
    assert read_header([one, two]).class_names == ()

"""What convert makes of columns: categories, interactions, missing values, types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import OneHotEncoder
from tables import content, convert, save, some_numbers

from mpigd.convert import spool, survey
from mpigd.convert.arrow import pa
from mpigd.errors import DataError
from mpigd.options import Convert, parse_bytes


def mixed(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    """Numbers, text, booleans and whole numbers."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "size": rng.standard_normal(rows),
            "colour": rng.choice(["red", "green", "blue", "grün"], rows),
            "year": rng.integers(1999, 2004, rows),
            "sold": rng.random(rows) < 0.5,
            "price": rng.standard_normal(rows),
        }
    )


@pytest.mark.parametrize("kind", ["csv", "parquet", "feather"])
@pytest.mark.parametrize("layout", ["dense", "sparse"])
@pytest.mark.parametrize("drop_first", [False, True])
def test_one_hot_is_that_of_scikit_learn(tmp_path: Path, kind: str, layout: str, drop_first: bool) -> None:
    frame = mixed()
    options: dict[str, Any] = {"categorical": ("ye*",), "drop_first": drop_first, "layout": layout}
    summary = convert(save(frame, tmp_path / f"in.{kind}"), tmp_path / "out.h5", **options)
    encoder = OneHotEncoder(sparse_output=False, drop="first" if drop_first else None)
    hot = encoder.fit_transform(frame[["colour", "year"]])
    truth = np.column_stack([frame["size"], hot, frame["sold"]])
    found = content(tmp_path / "out.h5")
    np.testing.assert_array_equal(found["X"], truth)
    assert summary["nonzero"] == np.count_nonzero(truth)
    names = encoder.get_feature_names_out()
    assert found["names"] == ["size", *(name.replace("_", "=", 1) for name in names), "sold"]
    levels = json.loads(found["attributes"]["levels"])
    assert levels == {"colour": sorted(set(frame["colour"])), "year": [str(year) for year in range(1999, 2004)]}


def test_dictionaries_of_arrow_are_their_values(tmp_path: Path) -> None:
    frame = mixed().astype({"colour": "category"})
    convert(save(frame, tmp_path / "in.parquet"), tmp_path / "out.h5", columns=("colour",), layout="dense")
    hot = OneHotEncoder(sparse_output=False).fit_transform(mixed()[["colour"]])
    np.testing.assert_array_equal(content(tmp_path / "out.h5")["X"], hot)


@pytest.mark.parametrize("layout", ["dense", "sparse"])
def test_hashed_levels(tmp_path: Path, layout: str) -> None:
    frame = mixed()
    options: dict[str, Any] = {"hash_bits": 2, "categorical": ("year",), "layout": layout}
    summary = convert(save(frame, tmp_path / "in.csv"), tmp_path / "out.h5", **options)
    truth = np.zeros((len(frame), 4))
    for row, (colour, year) in enumerate(zip(frame["colour"], frame["year"], strict=True)):
        for text in (f"colour={colour}", f"year={year}"):
            truth[row, xxhash.xxh3_64_intdigest(text.encode()) % 4] += 1
    truth = np.column_stack([frame["size"], frame["sold"], truth])
    found = content(tmp_path / "out.h5")
    np.testing.assert_array_equal(found["X"], truth)
    assert truth[:, 2:].max() == 2.0, "no two levels of a row share a column"
    assert summary["nonzero"] == np.count_nonzero(truth)
    assert found["names"] == ["size", "sold", "hash0", "hash1", "hash2", "hash3"]


@pytest.mark.parametrize("layout", ["dense", "sparse"])
def test_interactions_are_products(tmp_path: Path, layout: str) -> None:
    frame = mixed()
    pairs = ("size:sold", "size:colour", "colour:year", "size:size")
    options: dict[str, Any] = {"categorical": ("year",), "interactions": pairs, "layout": layout}
    summary = convert(save(frame, tmp_path / "in.csv"), tmp_path / "out.h5", **options)
    found = content(tmp_path / "out.h5")
    at = {name: found["X"][:, j] for j, name in enumerate(found["names"])}
    np.testing.assert_array_equal(at["size:sold"], frame["size"] * frame["sold"])
    np.testing.assert_array_equal(at["size:size"], frame["size"] ** 2)
    np.testing.assert_array_equal(at["size:colour=red"], frame["size"] * (frame["colour"] == "red"))
    both = (frame["colour"] == "blue") & (frame["year"] == 2001)
    np.testing.assert_array_equal(at["colour=blue:year=2001"], both)
    assert len(at) == 1 + 4 + 5 + 1 + 1 + 4 + 20 + 1
    assert summary["nonzero"] == np.count_nonzero(found["X"])


def test_text_as_the_target_becomes_classes(tmp_path: Path) -> None:
    frame = mixed()
    convert(save(frame, tmp_path / "in.csv"), tmp_path / "out.h5", target="colour")
    found = content(tmp_path / "out.h5")
    assert found["classes"] == ["blue", "green", "grün", "red"]
    assert [found["classes"][int(code)] for code in found["y"]] == list(frame["colour"])
    assert "sold" in found["names"]


def test_many_classes_fit_an_attribute(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": np.arange(6000.0), "y": [f"class {i:04}" for i in range(6000)]})
    convert(save(frame, tmp_path / "in.csv"), tmp_path / "out.h5", max_levels=10_000)
    assert content(tmp_path / "out.h5")["classes"] == list(frame["y"])


@pytest.mark.parametrize("missing", ["mean", "median", "drop"])
@pytest.mark.parametrize("kind", ["csv", "parquet", "npy"])
@pytest.mark.parametrize("layout", ["dense", "sparse"])
def test_missing_values(tmp_path: Path, missing: str, kind: str, layout: str) -> None:
    frame = some_numbers()
    gaps = np.random.default_rng(1).random(frame.shape) < 0.1
    gaps[:, -1] &= missing == "drop"
    frame[gaps] = np.nan
    summary = convert(save(frame, tmp_path / f"in.{kind}"), tmp_path / "out.h5", missing=missing, layout=layout)
    kept = frame.dropna() if missing == "drop" else frame
    x = kept.iloc[:, :-1]
    truth = x if missing == "drop" else x.fillna(x.median() if missing == "median" else x.mean())
    found = content(tmp_path / "out.h5")
    np.testing.assert_allclose(found["X"], truth, rtol=1e-14)
    assert summary.get("rows_dropped", 0) == len(frame) - len(kept)
    assert summary["nonzero"] == np.count_nonzero(found["X"])


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=40))
def test_sums_are_exact(values: list[float]) -> None:
    from fractions import Fraction

    truth = sum(map(Fraction, values), Fraction(0))
    assert Fraction(survey.exact_sum(np.array(values)), 1 << survey.UNIT) == truth


@pytest.mark.parametrize(
    ("values", "asked", "stored"),
    [
        ([1.5, -2.0], "auto", "float32"),
        ([0.1, -2.0], "auto", "float64"),
        ([1e300, 1.0], "auto", "float64"),
        ([0.1, 1.0], "float32", "float32"),
        ([0.5, 1.0], "float16", "float16"),
        ([-128, 127], "int8", "int8"),
        ([255, 1], "uint8", "uint8"),
    ],
)
def test_types_of_x(tmp_path: Path, values: list[float], asked: str, stored: str) -> None:
    frame = pd.DataFrame({"x": values, "y": [0, 1]})
    convert(save(frame, tmp_path / "in.parquet"), tmp_path / "out.h5", dtype=asked)
    x = content(tmp_path / "out.h5")["X"]
    assert x.dtype == stored
    np.testing.assert_array_equal(x[:, 0], np.array(values).astype(stored))


def test_where_the_file_comes_from_is_in_it(tmp_path: Path) -> None:
    path = save(mixed(), tmp_path / "in.csv")
    convert(path, tmp_path / "out.h5", columns=("s*",))
    attributes = content(tmp_path / "out.h5")["attributes"]
    [source] = json.loads(attributes["sources"])
    digest = xxhash.xxh3_128_digest(path.read_bytes())
    assert source == {
        "name": "in.csv",
        "bytes": path.stat().st_size,
        "xxh3_128_of_mebibytes": xxhash.xxh3_128_hexdigest(digest),
    }
    assert json.loads(attributes["options"])["columns"] == ["s*"]
    assert "mpigd_version" in attributes


def test_the_last_line_needs_no_end_to_decide_what_a_column_is(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("a,b,c\n,1,true\nx,2,false")
    convert(tmp_path / "in.csv", tmp_path / "out.h5", missing="drop")
    found = content(tmp_path / "out.h5")
    assert found["names"] == ["a=x", "b"]
    np.testing.assert_array_equal(found["y"], [0.0])


def test_no_target_weights_last(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "y": [3.0, 4.0], "w": [1.0, 0.5]})
    path = save(frame, tmp_path / "in.csv")
    convert(path, tmp_path / "out.h5", weight="w")
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["y"].attrs["name"] == "y"
        assert list(file["feature_names"].asstr()) == ["a"]
    convert(path, tmp_path / "none.h5", target="none")
    found = content(tmp_path / "none.h5")
    assert "y" not in found
    assert found["names"] == ["a", "y", "w"]


def test_rows_wait_on_disk_beyond_the_memory(tmp_path: Path) -> None:
    kept = spool.Spool(tmp_path / "spool", room=100)
    batches = [pa.record_batch({"a": pa.array(np.arange(5) + 5.0 * i)}) for i in range(4)]
    batches.append(pa.record_batch({"a": pa.array(np.arange(20, 25))}))
    for batch in batches:
        kept.add(batch)
    for _ in range(2):
        assert [value for batch in kept for value in batch.column("a").to_pylist()] == list(range(25))
    assert [path.name for path in tmp_path.iterdir()] == ["spool"]
    kept.remove()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "size"),
    [("1048576", 1 << 20), ("512MiB", 512 << 20), ("2GiB", 2 << 30), ("1.5kB", 1536), ("3 m", 3 << 20)],
)
def test_sizes_in_words(text: str, size: int) -> None:
    assert parse_bytes(text) == size


def test_paths_end_with_the_output() -> None:
    options = Convert((Path("a.csv"), Path("b.csv"), Path("c.h5")))
    assert (len(options.sources), options.output.name) == (2, "c.h5")


def test_a_rare_level_beyond_the_sample(tmp_path: Path) -> None:
    rows = ["1,a"] * 100_000 + ["2,b"]
    (tmp_path / "in.csv").write_text("x,c\n" + "\n".join(rows))
    convert(tmp_path / "in.csv", tmp_path / "out.h5", target="x", layout="dense")
    assert content(tmp_path / "out.h5")["names"] == ["c=a", "c=b"]
    with pytest.raises(DataError, match="no column 'z'"):
        convert(tmp_path / "in.csv", tmp_path / "out.h5", target="z")

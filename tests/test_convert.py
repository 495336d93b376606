"""Tables to HDF5: values, formats, several ranks."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import mpirun
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_svmlight_file
from tables import FORMATS, content, convert, save, save_sparse, some_numbers, some_sparse

from mpigd import dataset, storage
from mpigd.comm import Comm
from mpigd.convert import delimited, job, source, spool, text, write
from mpigd.errors import DataError, OutputError


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_numbers(tmp_path: Path, kind: str) -> None:
    frame = some_numbers()
    summary = convert(save(frame, tmp_path / f"in.{kind}"), tmp_path / "out.h5")
    found = content(tmp_path / "out.h5")
    assert (summary["rows"], summary["columns"], summary["dtype"], summary["layout"]) == (300, 4, "float64", "dense")
    np.testing.assert_array_equal(found["X"], frame.to_numpy()[:, :-1])
    np.testing.assert_array_equal(found["y"], frame["y"])
    assert found["names"] == ["x0", "x1", "x2", "x3"]


@pytest.mark.parametrize("kind", FORMATS)
def test_several_files_are_one_table(tmp_path: Path, kind: str) -> None:
    frame = some_numbers()
    halves = [save(frame[:100], tmp_path / f"b.{kind}"), save(frame[100:], tmp_path / f"a.{kind}")]
    convert(*halves, tmp_path / "out.h5")
    np.testing.assert_array_equal(content(tmp_path / "out.h5")["X"], frame.to_numpy()[:, :-1])


@pytest.mark.parametrize("name", ["in.svm", "in.svm.gz", "in.h5"])
@pytest.mark.parametrize("layout", ["dense", "sparse"])
def test_sparse_rows(tmp_path: Path, name: str, layout: str) -> None:
    X, y = some_sparse()
    path = save_sparse(tmp_path / name, X, y)
    target = "obs/label" if name.endswith("h5") else None
    convert(path, tmp_path / "out.h5", target=target, layout=layout, dtype="float64")
    found = content(tmp_path / "out.h5")
    truth = X.toarray() if name.endswith("h5") else load_svmlight_file(str(path))[0].toarray()
    np.testing.assert_array_equal(found["X"], truth)
    np.testing.assert_array_equal(found["y"], y)


def test_svmlight_counts_from_zero_if_it_has_a_column_zero(tmp_path: Path) -> None:
    X, y = some_sparse()
    convert(save_sparse(tmp_path / "in.svm", X, y, zero_based=True), tmp_path / "out.h5")
    # The writer rounds to 16 digits.
    np.testing.assert_allclose(content(tmp_path / "out.h5")["X"], X.toarray(), rtol=1e-15)


def test_svmlight_with_comments_queries_and_any_order(tmp_path: Path) -> None:
    lines = b"# made by hand\r\n+1 qid:3 3:2.5 1:-1e3 # last\r\n\r\n  -1\n0 2:0 3:.5\n"
    (tmp_path / "in.svm").write_bytes(lines)
    convert(tmp_path / "in.svm", tmp_path / "out.h5")
    found = content(tmp_path / "out.h5")
    np.testing.assert_array_equal(found["X"], [[-1e3, 0, 2.5], [0, 0, 0], [0, 0, 0.5]])
    np.testing.assert_array_equal(found["y"], [1, -1, 0])


def test_columns_of_sparse_rows_can_be_chosen(tmp_path: Path) -> None:
    X, y = some_sparse()
    path = save_sparse(tmp_path / "in.svm", X, y)
    convert(path, tmp_path / "out.h5", columns=("x1*", "x0"), exclude=("x12",), dtype="float64")
    kept = [0, 1, *range(10, 12), *range(13, 20)]
    found = content(tmp_path / "out.h5")
    np.testing.assert_array_equal(found["X"], load_svmlight_file(str(path))[0].toarray()[:, kept])
    assert found["names"] == [f"x{j}" for j in kept]


def test_anndata_with_categories_and_names(tmp_path: Path) -> None:
    X, _ = some_sparse(rows=6, columns=3)
    save_sparse(tmp_path / "in.h5ad", X, np.zeros(6))
    with h5py.File(tmp_path / "in.h5ad", "r+") as file:
        file["obs/kind/codes"], file["obs/kind/categories"] = np.array([1, 0, 1, 1, 0, 1], np.int8), ["T", "B"]
        file["var/genes"] = ["g1", "g2", "g3"]
        file["var"].attrs["_index"] = "genes"
    convert(tmp_path / "in.h5ad", tmp_path / "out.h5", target="obs/kind", weight="obs/label")
    found = content(tmp_path / "out.h5")
    assert (found["classes"], found["names"]) == (["B", "T"], ["g1", "g2", "g3"])
    np.testing.assert_array_equal(found["y"], [0, 1, 0, 0, 1, 0])
    assert "sample_weight" in found


def test_a_single_array_of_npz_and_column_order(tmp_path: Path) -> None:
    values = some_numbers().to_numpy()
    np.savez(tmp_path / "in.npz", anything=values)
    convert(tmp_path / "in.npz", tmp_path / "out.h5")
    np.testing.assert_array_equal(content(tmp_path / "out.h5")["y"], values[:, -1])
    np.save(tmp_path / "in.npy", np.asfortranarray(values))
    convert(tmp_path / "in.npy", tmp_path / "out2.h5")
    np.testing.assert_array_equal(content(tmp_path / "out2.h5")["X"], values[:, :-1])


FIELD = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1, max_size=5).map(lambda t: f"t{t}"),
    st.sampled_from(['"', "a,b", "two\nlines", 'x""y', "é", " padded "]).map(lambda t: f"t{t}"),
)


@given(
    st.lists(st.tuples(st.floats(allow_nan=False, allow_infinity=False), FIELD), min_size=1, max_size=30),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.sampled_from([16, 64, 1 << 20]),
)
def test_csv_comes_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, str]], end: str, bom: bool, piece: int
) -> None:
    directory = tmp_path_factory.mktemp("csv")
    frame = pd.DataFrame(rows, columns=["number", "text, quoted"])
    written = frame.to_csv(index=False, lineterminator=end)
    (directory / "in.csv").write_bytes((b"\xef\xbb\xbf" if bom else b"") + written.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "PIECE_BYTES", piece)
        patch.setattr(delimited, "PIECE_FIELDS", 0)
        convert(directory / "in.csv", directory / "out.h5")
    found = content(directory / "out.h5")
    np.testing.assert_array_equal(found["X"][:, 0], frame["number"])
    assert [found["classes"][int(code)] for code in found["y"]] == [field for _, field in rows]


@pytest.mark.parametrize(
    ("content_", "options"),
    [
        ("1;2\n3;4\n", {"delimiter": ";", "header": False}),
        ("\n\na\tb\n1\t2\n\n3\t4", {"delimiter": "tab"}),
        ('"a","b"\n"1"," 2"\r\n\r\n"3","4 "\r\n', {}),
    ],
)
def test_dialects_of_csv(tmp_path: Path, content_: str, options: dict[str, Any]) -> None:
    (tmp_path / "in.csv").write_text(content_, newline="")
    convert(tmp_path / "in.csv", tmp_path / "out.h5", **options)
    found = content(tmp_path / "out.h5")
    np.testing.assert_array_equal(np.column_stack([found["X"], found["y"]]), [[1, 2], [3, 4]])


def test_the_named_target_leaves_x(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('a,"the y",b,w,o\n1,10,-2.5,1,0\n3,30,1e3,2,7\n')
    convert(tmp_path / "in.csv", tmp_path / "out.h5", target="the y", weight="w", offset="o")
    found = content(tmp_path / "out.h5")
    assert found["X"].dtype == np.float32
    assert found["names"] == ["a", "b"]
    for name, values in {"y": [10, 30], "sample_weight": [1, 2], "offset": [0, 7]}.items():
        assert found[name].dtype == np.float64
        np.testing.assert_array_equal(found[name], values)


def test_the_output_can_be_read_by_a_fit(tmp_path: Path) -> None:
    frame = some_numbers()
    convert(save(frame, tmp_path / "in.csv"), tmp_path / "out.h5")
    data = dataset.read(Comm.alone(), tmp_path / "out.h5", target="real")
    assert data.header.storage == "contiguous"
    np.testing.assert_array_equal(data.y[:, 0], frame["y"])


@pytest.mark.parametrize("layout", ["dense", "sparse"])
@pytest.mark.parametrize("compression", ["gzip", "zstd", "lz4", "blosc2"])
def test_compressed_chunks_are_whole_parts_of_blocks(tmp_path: Path, compression: str, layout: str) -> None:
    pytest.importorskip("hdf5plugin")
    frame = some_numbers(rows=5000, columns=40)
    convert(save(frame, tmp_path / "in.parquet"), tmp_path / "out.h5", compression=compression, layout=layout)
    np.testing.assert_array_equal(content(tmp_path / "out.h5")["X"], frame.to_numpy()[:, :-1])
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["y"].fletcher32
        if layout == "dense":
            assert file["X"].fletcher32
            assert storage.block_rows(5000, 40) % file["X"].chunks[0] == 0
    data = dataset.read(Comm.alone(), tmp_path / "out.h5", target="real")
    np.testing.assert_array_equal(data.y[:, 0], frame["y"])


@pytest.mark.mpi
@pytest.mark.parametrize("kind", [*FORMATS, "svm", "sparse.h5"])
def test_any_number_of_ranks_writes_the_same_bytes(
    comm: Comm, shared_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(text, "UNIT", 211)
    monkeypatch.setattr(source, "PIECE_ROWS", 10)
    paths = [shared_path / f"{name}.{kind}" for name in "ab"]
    options: dict[str, Any] = {}
    if comm.rank == 0:
        for seed, path in enumerate(paths):
            if kind in ("svm", "sparse.h5"):
                save_sparse(path, *some_sparse(seed=seed))
            else:
                save(awkward(some_numbers(rows=90, seed=seed), kind), path)
    comm.leave()
    if kind == "sparse.h5":
        options = {"target": "obs/label"}
    elif kind not in ("npy", "npz", "h5", "svm"):
        options = {"missing": "median", "interactions": ("x1:c", "c:t", "x1:x1")}
    convert(*paths, shared_path / "out.h5", comm=comm, memory="1MiB", **options)
    if comm.rank == 0:
        convert(*paths, shared_path / "one.h5", **options)
        assert (shared_path / "one.h5").read_bytes() == (shared_path / "out.h5").read_bytes()
        assert len(list(shared_path.iterdir())) == 4
    comm.leave()


def awkward(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    """With text that holds quotes and newlines, and missing values, if the format has such."""
    if kind in ("npy", "npz", "h5"):
        return frame
    rng = np.random.default_rng(len(frame))
    frame.insert(1, "c", rng.choice(["u", 'a "b"', "line\nbreak", "x,y"], len(frame)))
    frame.insert(3, "t", rng.choice(["p", "q"], len(frame)))
    frame["x1"] = np.round(rng.standard_normal(len(frame)), 2)
    frame.loc[rng.random(len(frame)) < 0.1, "x2"] = np.nan
    return frame


@pytest.mark.mpi
@pytest.mark.parametrize("missing", ["mean", "median", "drop"])
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_imputed_values_do_not_depend_on_ranks(
    comm: Comm, shared_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, compression: str
) -> None:
    monkeypatch.setattr(text, "UNIT", 500)
    frame = some_numbers(rows=400)
    frame[np.random.default_rng(1).random(frame.shape) < 0.05] = np.nan
    frame["y"] = frame["y"].fillna(0.0) if missing != "drop" else frame["y"]
    if comm.rank == 0:
        save(frame, shared_path / "in.csv")
    comm.leave()
    convert(shared_path / "in.csv", shared_path / "out.h5", comm=comm, missing=missing, compression=compression)
    found = content(shared_path / "out.h5")
    kept = frame.dropna() if missing == "drop" else frame
    x = kept.iloc[:, :-1]
    truth = x.fillna(x.median()) if missing == "median" else x.fillna(x.mean())
    np.testing.assert_allclose(found["X"], truth, rtol=1e-14)
    np.testing.assert_array_equal(found["y"], kept["y"])


@pytest.mark.mpi
def test_a_fault_on_one_rank_is_an_error_on_all(comm: Comm, shared_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "UNIT", 64)
    if comm.rank == 0:
        rows = [f"{i},{i}" for i in range(100)]
        rows[83] = "83,oops"
        (shared_path / "in.csv").write_text("a,b\n" + "\n".join(rows))
    comm.leave()
    with pytest.raises(DataError, match=r"line 85, column 'b': 'oops' is not a number") as caught:
        convert(shared_path / "in.csv", shared_path / "out.h5", comm=comm)
    assert caught.value.agreed
    comm.leave()
    assert [path.name for path in shared_path.iterdir()] == ["in.csv"]


@pytest.mark.mpi
@pytest.mark.parametrize("where", ["rows on disk", "contiguous", "chunked"])
def test_a_full_disk_of_one_rank_leaves_nothing(
    comm: Comm, shared_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(text, "UNIT", 1000)
    if comm.rank == 0:
        save(some_numbers(), shared_path / "in.csv")
    comm.leave()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if comm.rank == comm.size - 1:
        if where == "rows on disk":
            monkeypatch.setattr(spool.pa.ipc, "new_stream", full)
        else:
            monkeypatch.setattr(write, "fill", full)
    if where == "rows on disk":
        monkeypatch.setattr(job, "parse_bytes", lambda *_: 2)
    with pytest.raises(OutputError, match="can't be written: No space left on device"):
        convert(
            shared_path / "in.csv",
            shared_path / "out.h5",
            comm=comm,
            compression="gzip" if where == "chunked" else "none",
        )
    comm.leave()
    assert [path.name for path in shared_path.iterdir()] == ["in.csv"]


@pytest.mark.parametrize("bad", ["x", ""])
def test_a_bad_value_on_the_second_rank_is_one_message(tmp_path: Path, bad: str) -> None:
    rows = [f"{i},0.123456789,1" for i in range(150_000)]
    rows[149_000] = f"149000,{bad},1"
    (tmp_path / "in.csv").write_text("a,b,c\n" + "\n".join(rows) + "\n")
    assert (tmp_path / "in.csv").stat().st_size > 2 * text.UNIT
    done = mpirun("convert", "in.csv", "out.h5", "--memory", "1MiB", ranks=2, cwd=tmp_path)
    assert done.status == 3
    [line] = done.complaints()
    assert "line 149002, column 'b'" in line
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_converted_on_two_ranks_by_the_command_line(tmp_path: Path) -> None:
    frame = some_numbers(rows=30_000)
    save(frame, tmp_path / "in.csv")
    arguments = ("in.csv", "out.h5", "--columns", "x0", "x[12]", "--memory", "1MiB", "--json")
    done = mpirun("convert", *arguments, ranks=2, cwd=tmp_path)
    assert done.json()["rows"] == 30_000
    np.testing.assert_array_equal(content(tmp_path / "out.h5")["X"], frame[["x0", "x1", "x2"]])


@pytest.mark.parametrize(("density", "layout"), [(0.07, "sparse"), (0.4, "dense")])
def test_sparse_where_rows_are_fitted_faster_so(tmp_path: Path, density: float, layout: str) -> None:
    dense = sp.random(300, 20, density, rng=np.random.default_rng(0)).toarray()
    np.savez(tmp_path / "in.npz", X=dense, y=dense[:, 0])
    assert convert(tmp_path / "in.npz", tmp_path / "out.h5")["layout"] == layout
    np.testing.assert_array_equal(content(tmp_path / "out.h5")["X"], dense)

"""What `inspect` says of data and models, against numpy and pandas-like truth, on any number of ranks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import Table, mpirun
from mpigd_data import path_of
from scipy import sparse

from mpigd import inspect
from mpigd.comm import Comm
from mpigd.errors import DataError, UsageError
from mpigd.options import Inspect
from mpigd.tables import sparkline

ROWS = 1500
Write = Callable[..., Path]


def look(comm: Comm, *paths: Path, **options: Any) -> dict[str, Any]:
    """What `inspect` says, the same on these ranks as on one alone; it holds JSON's values."""
    chosen = Inspect(paths, **options)
    found = inspect.run(comm, chosen)
    assert found == inspect.run(Comm.alone(), chosen)
    return dict(json.loads(json.dumps(found, allow_nan=False)))


def told(found: dict[str, Any], *texts: str) -> bool:
    """Whether one warning says all of texts."""
    return any(all(text in warning for text in texts) for warning in found["warnings"])


def column(found: dict[str, Any], key: str) -> list[Any]:
    return [summary[key] for summary in found["column_summaries"]]


def awkward() -> np.ndarray:
    """Columns of numbers, NaN, infinities, one value alone, far from zero, tiny, and the same as another."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((ROWS, 9))
    X[:, 1] = 0.1
    X[:, 4] = X[:, 0]
    X[:, 5] += 1e8
    X[:, 6] *= 1e-9
    X[:, 7] = np.nan
    X[rng.integers(300, ROWS, 40), 2] = np.nan
    X[700, 3], X[701, 3] = np.inf, -np.inf
    X[rng.random(ROWS) < 0.3, 8] = 0.0
    return X


@pytest.mark.mpi
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_summaries_are_those_of_numpy(comm: Comm, write_data: Write, dtype: str) -> None:
    with np.errstate(over="ignore"):
        X = awkward().astype(dtype)
    found = look(comm, write_data(X=X))
    wide = X.astype(np.float64)
    kept = [wide[np.isfinite(wide[:, j]), j] for j in range(9)]
    assert column(found, "missing") == np.isnan(X).sum(axis=0).tolist()
    assert column(found, "infinite") == np.isinf(X).sum(axis=0).tolist()
    assert column(found, "zeros") == (X == 0.0).sum(axis=0).tolist()
    for j, values in enumerate(kept):
        summary = found["column_summaries"][j]
        if not len(values):
            assert [summary[key] for key in ("low", "high", "mean", "sd")] == [None] * 4
            continue
        assert (summary["low"], summary["high"]) == (values.min(), values.max())
        assert summary["mean"] == pytest.approx(values.mean(), rel=1e-12)
        assert summary["sd"] == pytest.approx(values.std(), rel=1e-7 if j == 5 else 1e-12)
        counts = np.histogram(values, bins=12)[0] if values.min() < values.max() else [len(values)] + [0] * 11
        # The same but where a value lies on the edge of a bin, which numpy finds from rounded edges.
        assert np.abs(np.cumsum(np.subtract(summary["histogram"], counts))).max() <= (3 if dtype == "float16" else 0)
    assert found["density"] == pytest.approx(np.mean(X != 0.0), rel=1e-12)


@pytest.mark.mpi
def test_what_would_trouble_a_fit_is_told(comm: Comm, write_data: Write) -> None:
    rng = np.random.default_rng(1)
    y = (rng.random(ROWS) < 0.02).astype(float)
    y[900] = np.nan
    X = awkward()
    path = write_data(X=X, y=y, sample_weight=-rng.random(ROWS), offset=np.zeros(ROWS))
    found = look(comm, path)
    missing = int(np.isnan(X).sum())
    assert told(found, f"'X' has {missing} missing", "in 2 columns", "row 0, column 7 (x7)", str(path))
    assert told(found, "2 infinite values", "row 700, column 3 (x3)")
    assert told(found, "column 'x1' is the same in all rows")
    assert told(found, "columns 'x0', 'x4' hold the same values")
    assert told(found, "column 'x5' is far from zero")
    assert told(found, "differ in scale by 1e+09", "'x6'")
    assert told(found, "'y' has 1 missing", "row 900")
    assert told(found, "out of balance", "y = 1")
    assert told(found, "'sample_weight' has negative values")
    assert found["labels"] == {"0": int((y == 0).sum()), "1": int((y == 1).sum())}
    assert found["offset"]["zeros"] == ROWS
    assert len(found["warnings"]) == 9


@pytest.mark.mpi
def test_tables_that_ship(comm: Comm, any_table: Table) -> None:
    found = look(comm, any_table.path)
    assert (found["rows"], found["columns"]) == any_table.X.shape
    np.testing.assert_allclose(column(found, "mean"), any_table.X.mean(axis=0), rtol=1e-13)
    constant = any_table.X.std(axis=0) == 0.0
    assert told(found, "the same in all rows") == constant.any()
    assert not told(found, "hold the same values")
    values, counts = np.unique(any_table.y, return_counts=True)
    few = len(values) <= 20
    assert found["labels"] == ({f"{v:g}": c for v, c in zip(values, counts, strict=True)} if few else None)


@pytest.mark.mpi
@pytest.mark.parametrize("files", [1, 2])
def test_sparse_rows_count_zeros_that_are_not_stored(
    comm: Comm, shared_path: Path, write_sparse: Write, files: int
) -> None:
    X = sparse.random_array((900, 40), density=0.1, format="csr", rng=np.random.default_rng(0))
    X.data -= 0.5
    X.data[::7] = 0.0
    X.data[11] = np.nan
    X = sparse.csr_array(sparse.hstack([X, X[:, [3]], sparse.csr_array(np.ones((900, 1)))], format="csr"))
    y = np.random.default_rng(0).standard_normal((900, 2))
    rows = 900 // files
    parts = [slice(k * rows, (k + 1) * rows) for k in range(files)]
    for k, part in enumerate(parts):
        write_sparse(sparse.csr_array(X[part]), name=f"part-{k}.h5", y=y[part])
    found = look(comm, shared_path / "part-*.h5")
    dense = X.toarray()
    assert found["rows"] == 900
    assert len(found["files"]) == files
    assert column(found, "zeros") == (dense == 0.0).sum(axis=0).tolist()
    np.testing.assert_array_equal(column(found, "low"), np.nanmin(dense, axis=0))
    np.testing.assert_array_equal(column(found, "high"), np.nanmax(dense, axis=0))
    np.testing.assert_allclose(column(found, "mean"), np.nanmean(dense, axis=0), rtol=1e-12, atol=1e-17)
    np.testing.assert_allclose(column(found, "sd"), np.nanstd(dense, axis=0), rtol=1e-12)
    assert np.sum(column(found, "histogram"), axis=1).tolist() == (~np.isnan(dense)).sum(axis=0).tolist()
    bad = int(np.argwhere(np.isnan(dense))[0, 0])
    assert told(found, "1 missing", f"row {bad % rows}", f"part-{bad // rows}.h5")
    assert told(found, "'x3', 'x40' hold the same values")
    assert told(found, "column 'x41' is the same in all rows")
    np.testing.assert_allclose([y["mean"] for y in found["target"]], y.mean(axis=0), rtol=1e-12)


@pytest.mark.mpi
def test_an_index_out_of_range_is_an_error_on_all_ranks(comm: Comm, write_sparse: Write) -> None:
    X = sparse.random_array((300, 5), density=0.5, format="csr", rng=np.random.default_rng(0))
    X.indices[-1] = 7
    with pytest.raises(DataError, match=r"'X/indices' has 7 at row 299; there are 5 columns"):
        inspect.run(comm, Inspect((write_sparse(X),)))


@pytest.mark.mpi
def test_damaged_chunks_are_one_error_on_all_ranks(comm: Comm, shared_path: Path) -> None:
    path = shared_path / "data.h5"
    if comm.rank == 0:
        with h5py.File(path, "w") as file:
            x = file.create_dataset(
                "X", data=np.random.default_rng(0).random((512, 4)), chunks=(64, 4), fletcher32=True
            )
            place = x.id.get_chunk_info(7).byte_offset
        with path.open("r+b") as raw:
            raw.seek(place)
            raw.write(b"damaged!")
    comm.leave()
    with pytest.raises(DataError, match=r"data\.h5: dataset 'X', rows .* can't be read"):
        inspect.run(comm, Inspect((path,)))


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("chunks", "text"),
    [((100_000, 1), "short parts"), ((1, 24), "bytes each"), ((50_000, 24), "along the rows"), ((1000, 24), None)],
)
def test_chunks_that_make_slices_slow(comm: Comm, shared_path: Path, chunks: tuple[int, int], text: str | None) -> None:
    path = shared_path / "data.h5"
    if comm.rank == 0:
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)  # all chunks are there, of zeros
        with h5py.File(path, "w") as file:
            file.create_dataset("X", (100_000, 24), np.float64, chunks=chunks, dcpl=layout)
    comm.leave()
    found = inspect.run(comm, Inspect((path,), header=True))
    assert found["chunk"] == list(chunks)
    assert "column_summaries" not in found
    if text:
        assert told(found, text, "mpigd convert")
    else:
        assert found["warnings"] == []


@pytest.mark.mpi
def test_labels(comm: Comm, write_data: Write) -> None:
    X, rng = np.ones((400, 1)), np.random.default_rng(0)
    y = rng.choice([0.5, 1.0, 2.0], 400)
    found = look(comm, write_data(X=X, y=y))
    assert found["labels"] == {str(v).removesuffix(".0"): int((y == v).sum()) for v in (0.5, 1.0, 2.0)}
    assert told(found, "not all whole (0.5)")
    assert told(look(comm, write_data("one.h5", X=X, y=np.ones(400))), "the same value in all rows")
    many = look(comm, write_data("many.h5", X=X, y=rng.integers(0, 21, 400)))
    assert many["labels"] is None


@pytest.mark.mpi
def test_columns_by_name_and_pattern(comm: Comm) -> None:
    found = look(comm, path_of("boston"), columns="LSTAT,Z*, [AB]*")
    assert column(found, "name") == ["ZN", "AGE", "B", "LSTAT"]
    with pytest.raises(UsageError, match=r"--columns lstat: .* has no such column; it has CRIM, ZN"):
        inspect.run(comm, Inspect((path_of("boston"),), columns="lstat"))


def test_columns_that_differ_in_sign_or_order_are_not_the_same(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(-2, 3, 400).astype(float)
    other = x.copy()
    other[[3, 4]] = x[3] + 1.0, x[4] - 1.0
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["X"] = np.column_stack([x, -x, x[::-1], np.roll(x, 1), 2.0 * x, other, x])
    found = inspect.run(Comm.alone(), Inspect((tmp_path / "data.h5",)))
    assert [w for w in found["warnings"] if "same values" in w] == [
        "columns 'x0', 'x6' hold the same values: keep one of them"
    ]


def test_numbers_at_the_end_of_the_range(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["X"] = np.array([[1.7e308, 5e-324], [-1.7e308, 0.0], [1.7e308, 0.0]] * 8)
    found = inspect.run(Comm.alone(), Inspect((tmp_path / "data.h5",)))
    json.dumps(found, allow_nan=False)
    assert column(found, "high") == [1.7e308, 5e-324]


def test_sparkline() -> None:
    assert sparkline([0, 1, 50, 100]) == " ▁▄█"
    assert sparkline([0, 0]) == "  "


def test_tables_on_a_terminal(tmp_path: Path) -> None:
    shown = mpirun("inspect", path_of("digits"), ranks=2)
    assert shown.status == 0, shown.err
    for text in ("1,797 rows × 64 columns", "pixel_0_3", "44 columns are left out", "Warning: 3 columns ('pixel_0_0'"):
        assert text in shown.out
    assert shown.out.count("pixel") == 20 + 3
    header = mpirun("inspect", path_of("digits"), "--header", ranks=1)
    assert "pixel_0_0, pixel_0_1" in header.out
    assert "Warning" not in header.out
    options = ["--loss", "logistic", "--l2", 0.1, "--run-dir", tmp_path / "run"]
    trained = mpirun("train", path_of("breast_cancer"), *options, ranks=2)
    assert trained.status == 0
    model = mpirun("inspect", tmp_path / "run", ranks=2)
    assert model.status == 0, model.err
    for text in ("logistic loss", "l2 0.1", "converged", "569 rows", "per sd", "(intercept)", "model fingerprint"):
        assert text in model.out
    assert "{" not in model.out

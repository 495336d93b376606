"""Which rows a rank reads, and that they are what h5py reads."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from mpigd import reader, storage
from mpigd.errors import DataError
from mpigd.reader import Reader, slice_rows
from mpigd.reading import rows_of
from mpigd.storage import read_header


def dense(path: Path, X: np.ndarray, **layout: Any) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("X", data=X, **layout)
    return path


def rows_by_size(path: Path, size: int) -> list[tuple[int, int]]:
    with Reader(read_header(path)) as opened:
        return [slice_rows(opened, size, rank) for rank in range(size)]


def assert_divided(slices: list[tuple[int, int]], n: int) -> None:
    assert slices[0][0] == 0
    assert slices[-1][1] == n
    assert all(a[1] == b[0] for a, b in itertools.pairwise(slices))


LENGTHS = {1: 70_000, 7: 70_000, 64: 70_000, 100: 70_000, 1000: 70_000, 8192: 2_000_000, 12_288: 2_000_000}


@given(chunk=st.sampled_from(list(LENGTHS)), size=st.integers(1, 9))
def test_no_chunk_is_read_on_two_ranks(tmp_path_factory: pytest.TempPathFactory, chunk: int, size: int) -> None:
    n = LENGTHS[chunk]
    path = dense(tmp_path_factory.mktemp("data") / "x.h5", np.zeros((n, 1), np.int8), chunks=(chunk, 1))
    block, slices = read_header(path).block, rows_by_size(path, size)
    assert_divided(slices, n)
    unit = np.lcm(block, chunk)
    assert all(start % block == 0 for start, _ in slices)
    if unit * reader.UNITS_EACH * size <= n:
        assert all(start % chunk == 0 for start, _ in slices)
    else:  # few large chunks are divided, so that no rank is left without rows
        assert max(stop - start for start, stop in slices) - min(stop - start for start, stop in slices) <= block


def write_sparse(path: Path, rows: sparse.csr_array) -> Path:
    with h5py.File(path, "w") as file:
        group = file.create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "shape": rows.shape})
        group["data"], group["indices"], group["indptr"] = rows.data, rows.indices, rows.indptr
    return path


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_sparse_rows_are_divided_by_their_numbers(tmp_path: Path, size: int) -> None:
    """Of rows that grow longer, the last rank has fewer."""
    n, d = 20_000, 60
    rng = np.random.default_rng(0)
    rows = sparse.csr_array(rng.random((n, d)) < np.linspace(0.0, 1.0, n)[:, None], dtype=np.float32)
    path = write_sparse(tmp_path / "x.h5", rows)
    slices = rows_by_size(path, size)
    assert_divided(slices, n)
    cost = [rows.indptr[stop] - rows.indptr[start] + stop - start for start, stop in slices]
    assert max(cost) - min(cost) <= 2 * read_header(path).block * (d + 1)


def test_row_starts_that_fall_do_not_hide_rows(tmp_path: Path) -> None:
    rows = sparse.random_array((500, 4), density=0.5, format="csr", rng=0)
    rows.indptr[100:400] = 2**30
    path = write_sparse(tmp_path / "x.h5", rows)
    with Reader(read_header(path)) as opened:
        start, stop = slice_rows(opened, 1, 0)
        assert (start, stop) == (0, 500)
        with pytest.raises(DataError, match="'X/indptr' does not rise"):
            opened.indptr(start, stop)


WAYS: dict[str, dict[str, Any]] = {
    "in one piece": {},
    "chunks of rows": {"chunks": (30, 5)},
    "chunks of columns": {"chunks": (100, 2)},
    "compressed": {"chunks": (70, 5), "compression": "gzip", "shuffle": True, "fletcher32": True},
}


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int8", "uint8", "int16", "int32", "bool", ">f4"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("piece", [100, 1 << 20])
def test_pieces_are_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, way: str, piece: int) -> None:
    monkeypatch.setattr(reader, "PIECE_BYTES", piece)
    monkeypatch.setattr(reader, "CHUNKED_BYTES", piece)
    X = np.random.default_rng(0).integers(-100, 100, (777, 5)).astype(dtype)
    path = dense(tmp_path / "x.h5", X, **WAYS[way])
    with Reader(read_header(path)) as opened:
        pieces = [(first, some.copy()) for first, some in opened.pieces(16, 700)]
    np.testing.assert_array_equal(np.concatenate([some for _, some in pieces]), X[16:700])
    assert [first for first, _ in pieces] == list(itertools.accumulate([16] + [len(some) for _, some in pieces[:-1]]))


def narrow(file: h5py.File, X: np.ndarray) -> None:
    """A type of 12 bits, which HDF5 widens."""
    kind = h5py.h5t.STD_I16LE.copy()
    kind.set_precision(12)
    space = h5py.h5s.create_simple(X.shape)
    h5py.h5d.create(file.id, b"X", kind, space).write(space, space, X)


def external(file: h5py.File, X: np.ndarray) -> None:
    """Bytes in another file."""
    place = Path(file.filename).with_name("bytes")
    place.write_bytes(X.tobytes())
    file.create_dataset("X", X.shape, X.dtype, external=[(str(place), 0, X.nbytes)])


@pytest.mark.parametrize("write", [narrow, external])
def test_what_hdf5_has_to_translate_is_left_to_it(tmp_path: Path, write: Callable[[h5py.File, Any], None]) -> None:
    X = np.arange(-40, 40, dtype=np.int16).reshape(20, 4)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        write(file, X)
    header = read_header(tmp_path / "x.h5")
    assert not header.in_one_piece
    with Reader(header) as opened:
        np.testing.assert_array_equal(next(opened.pieces(0, 20))[1], X)


def test_a_file_in_chunks_that_was_not_written_to_its_end_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("X", (100, 2), np.float32, chunks=(10, 2))[:50] = 1.0
    with pytest.raises(DataError, match="has only 5 of 10 chunks: the file was not written to its end"):
        read_header(tmp_path / "x.h5")


def test_an_index_that_leads_out_of_the_file_is_refused(tmp_path: Path) -> None:
    path = dense(tmp_path / "x.h5", np.ones((100, 2)), chunks=(50, 2))
    with h5py.File(path) as file:
        place = file["X"].id.get_chunk_info(1).byte_offset.to_bytes(8, "little")
    data = path.read_bytes()
    assert data.count(place) == 1
    path.write_bytes(data.replace(place, (1 << 40).to_bytes(8, "little")))
    with pytest.raises(DataError, match="the index of its chunks leads to bytes"):
        read_header(path)


def test_checksums_are_looked_at(tmp_path: Path) -> None:
    path = dense(tmp_path / "x.h5", np.ones((100, 2)), chunks=(50, 2), fletcher32=True)
    with h5py.File(path) as file:
        place = file["X"].id.get_chunk_info(1).byte_offset
    data = bytearray(path.read_bytes())
    data[place + 8] ^= 1
    path.write_bytes(data)
    with Reader(read_header(path)) as opened, pytest.raises(DataError, match=r"'X', rows 0 to 99 can't be read"):
        list(opened.pieces(0, 100))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.__setitem__("X", np.ones((5, 3))), "'X' has 3 columns, but 2 in"),
        (lambda file: file.__setitem__("y", np.ones(5)), "dataset 'y' is in one of them only"),
        (lambda file: file.__setitem__("feature_names", ["a", "b"]), "column 0 is 'a', but 'x0' in"),
        (lambda file: file.__setitem__("feature_names", ["a", "a"]), "has 'a' twice, for columns 0 and 1"),
    ],
)
def test_files_that_do_not_go_together(tmp_path: Path, change: Callable[[h5py.File], None], message: str) -> None:
    for name in ("a.h5", "b.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            if name == "b.h5":
                change(file)
            if "X" not in file:
                file["X"] = np.ones((5, 2))
    with pytest.raises(DataError, match=message) as caught:
        read_header([tmp_path / "*.h5"])
    assert "b.h5" in str(caught.value)


def test_files_are_found_by_pattern_in_order(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        dense(tmp_path / f"{name}.h5", np.full((5, 1), ord(name)))
    header = read_header([tmp_path / "[ab].h5", tmp_path / "c.h5"])
    assert [file.path.stem for file in header.files] == ["a", "b", "c"]
    with Reader(header) as opened:
        (_, rows), *_ = opened.pieces(0, 15)
        np.testing.assert_array_equal(rows[:, 0], np.repeat([ord("a"), ord("b"), ord("c")], 5))
    assert header.place(7) == (tmp_path / "b.h5", 2)
    with pytest.raises(DataError, match=r"no file matches"):
        storage.find_files([tmp_path / "*.nothing"])
    with pytest.raises(DataError, match=r"is named twice"):
        storage.find_files([tmp_path / "a.h5", tmp_path / "*.h5"])


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    path = dense(tmp_path / "x.h5", np.arange(200.0).reshape(100, 2))
    with Reader(read_header(path)) as opened:
        before = rows_of(opened).fields(0, 100)["tiles"].copy()
        moved = path.rename(tmp_path / "y.h5")  # gone, but what is open is there
        np.testing.assert_array_equal(rows_of(opened).fields(0, 100)["tiles"], before)
        moved.rename(path)
        os.utime(path, ns=(0, 0))
        with pytest.raises(DataError, match=r"x\.h5: has changed while it was read"):
            rows_of(opened).fields(0, 100)

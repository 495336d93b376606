"""Damaged files, many in one job: each has to end in a model of what the file holds, or in one error on all ranks.

    mpirun -n RANKS python tests/fuzz.py DIRECTORY SEED KIND FIRST COUNT

Rank 0 writes DIRECTORY/outcomes.jsonl, one line for each file, as it goes: a file may end the job.
"""

from __future__ import annotations

import faulthandler
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.datasets import dump_svmlight_file, load_svmlight_file

from mpigd.comm import Comm
from mpigd.convert import job
from mpigd.dataset import Dataset
from mpigd.errors import DivergenceError, MpigdError
from mpigd.options import Convert, Train
from mpigd.problem import read_data
from mpigd.train import fit

ROWS, COLUMNS = 90, 4
PATIENCE = 60.0  # seconds for one file, after which it counts as a hang


def table() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((ROWS, COLUMNS)) * (rng.random((ROWS, COLUMNS)) < 0.7)
    return X, X @ np.arange(COLUMNS) + rng.standard_normal(ROWS)


def write(path: Path, layout: dict[str, Any], stored: str = "dense") -> None:
    X, y = table()
    with h5py.File(path, "w") as file:
        file.create_dataset("y", data=y, **({**layout, "chunks": (16,)} if layout else {}))
        file["sample_weight"] = np.ones(ROWS)
        file.create_dataset("feature_names", data=list("abcd"), dtype=h5py.string_dtype())
        if stored == "dense":
            file.create_dataset("X", data=X, **layout)
            return
        rows = sparse.csr_array(X)
        group = file.create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "shape": X.shape})
        for part in ("data", "indices", "indptr"):
            group.create_dataset(part, data=getattr(rows, part), **({**layout, "chunks": (32,)} if layout else {}))


def write_csv(path: Path) -> None:
    X, y = table()
    pd.DataFrame(np.column_stack([X, y]), columns=[*"abcd", "y"]).to_csv(path, index=False)


def write_svmlight(path: Path) -> None:
    dump_svmlight_file(*table(), str(path), zero_based=False)


CHECKED = {"chunks": (16, COLUMNS), "compression": "gzip", "fletcher32": True}
KINDS: dict[str, Callable[[Path], None]] = {
    "dense": lambda path: write(path, {}),
    "chunked": lambda path: write(path, CHECKED),
    "sparse": lambda path: write(path, {}, "sparse"),
    "sparse chunked": lambda path: write(path, CHECKED, "sparse"),
    "csv": write_csv,
    "svm": write_svmlight,
}
TEXT = ("csv", "svm")


def flip(rng: np.random.Generator, data: bytearray) -> None:
    """Some bytes become others; most of them near the beginning, where HDF5 says what is where."""
    end = len(data) if rng.random() < 0.5 else min(len(data), 4096)
    for place in rng.integers(0, end, rng.integers(1, 9)):
        data[place] ^= int(rng.integers(1, 256))


def truncate(rng: np.random.Generator, data: bytearray) -> None:
    del data[int(rng.integers(0, len(data))) :]


def blank(rng: np.random.Generator, data: bytearray) -> None:
    """A run of bytes that was never written."""
    start = int(rng.integers(0, len(data)))
    stop = min(start + int(rng.integers(1, 600)), len(data))
    data[start:stop] = bytes(stop - start)


def repeat(rng: np.random.Generator, data: bytearray) -> None:
    """A run of bytes where another should be."""
    size = int(rng.integers(1, 300))
    source, target = (int(place) for place in rng.integers(0, max(len(data) - size, 1), 2))
    data[target : target + size] = data[source : source + size]


def retype(rng: np.random.Generator, data: bytearray) -> None:
    """A character of a text becomes another one."""
    for place in rng.integers(0, len(data), rng.integers(1, 3)):
        data[place] = int(rng.choice(list(b'0123456789.,eE+-\n\r"; :#x')))


BYTES = (flip, flip, truncate, blank, repeat)
BYTES_OF_TEXT = (flip, truncate, repeat, retype, retype, retype)


def number(rng: np.random.Generator) -> float:
    return float(rng.choice([np.nan, np.inf, -np.inf, -1.0, 1e308, 2.0**63, 0.5, 1e-320]))


def edit(rng: np.random.Generator, path: Path) -> None:
    """What a careless program could have written: another shape, type, attribute or value."""
    with h5py.File(path, "r+") as file:
        names = [name for name in ("X", "y", "sample_weight", "feature_names") if name in file]
        name = str(rng.choice(names))
        item = file[name]
        if isinstance(item, h5py.Group):
            part = str(rng.choice(["data", "indices", "indptr", "shape", "encoding-type"]))
            if part in ("shape", "encoding-type"):
                wrong: list[Any] = [[3], [-1, 4], [10**12, 4], [ROWS, 2**40], "csc_matrix", 5, [0, 0], b"\xff"]
                item.attrs[part] = wrong[int(rng.integers(len(wrong)))]
                return
            name, item = f"{name}/{part}", item[part]
        values = item[()]
        ways: list[Callable[[], Any]] = [
            lambda: values[: int(rng.integers(0, len(values) + 1))],
            lambda: values.reshape(-1),
            lambda: values[..., None],
            lambda: np.array("text", h5py.string_dtype()),
            lambda: values.astype("complex64") if values.dtype.kind in "fiu" else values,
            lambda: values[::-1],
            lambda: np.zeros((0, *values.shape[1:]), values.dtype),
            lambda: 1.0,
        ]
        if values.dtype.kind in "fiu" and rng.random() < 0.6:
            place = tuple(int(rng.integers(size)) for size in values.shape)
            with np.errstate(all="ignore"):
                changed = values.astype(np.float64)
                changed[place] = number(rng)
                found: Any = changed if rng.random() < 0.5 else changed.astype(values.dtype)
        else:
            found = ways[int(rng.integers(len(ways)))]()
        del file[name]
        file[name] = found


def damage(rng: np.random.Generator, path: Path, whole: bytes) -> None:
    """Write a damaged form of a file."""
    path.unlink(missing_ok=True)
    path.write_bytes(whole)
    if rng.random() < 0.4 and path.suffix == ".h5":
        edit(rng, path)
        return
    data = bytearray(whole)
    ways = BYTES if path.suffix == ".h5" else BYTES_OF_TEXT
    ways[int(rng.integers(len(ways)))](rng, data)
    path.write_bytes(data)


def holds(data: Dataset, path: Path) -> bool:
    """Whether a slice is what h5py alone reads at its place."""
    with h5py.File(path) as file:
        X = file["X"]
        if isinstance(X, h5py.Group):
            parts = (X["data"][:], X["indices"][:], X["indptr"][:])
            rows = sparse.csr_array(parts, shape=tuple(X.attrs["shape"])).toarray()
        else:
            rows = X[:]
        y = file["y"][:].reshape(len(rows), -1)
    own = slice(data.start, data.stop)
    eta = data.slice.linear_predictor(np.eye(rows.shape[1]), np.zeros(rows.shape[1])) - data.offset[:, None]
    same = np.allclose(eta, rows[own].astype(np.float64), 1e-12, 0.0)  # numbers of one place are added up
    return same and np.array_equal(data.y, y[own].astype(np.float64))


def attempt(comm: Comm, path: Path) -> str:
    """What comes of a file: fitted, refused, or a defect in words."""
    try:
        with np.errstate(all="ignore"):
            options = Train((path,), max_passes=5.0, solver="gd")
            data = read_data(comm, options)
            wrong = comm.max(np.array([int(data.header.d < 100 and not holds(data, path))]))[0]
            fitted = fit(comm, data, options)
    except MpigdError as error:
        named = path.name in str(error) or isinstance(error, DivergenceError)
        return "refused" if error.agreed and named else f"defect: {error!r}"
    if wrong:
        return "defect: other numbers than the file holds"
    return "fitted" if np.isfinite(fitted.state.value) else "defect: no finite objective"


def convert(comm: Comm, path: Path) -> str:
    """What comes of a table in text: converted, refused, or a defect in words."""
    output = path.with_name("out.h5")
    if comm.rank == 0:
        output.unlink(missing_ok=True)
    comm.leave()
    before = set(path.parent.iterdir())
    comm.leave()
    try:
        done = job.run(comm, Convert((path, output), dtype="float64", layout="dense"))
    except MpigdError as error:
        clean = error.agreed and path.name in str(error) and set(path.parent.iterdir()) == before
        return "refused" if clean else f"defect: {error!r}, {set(path.parent.iterdir()) - before}"
    same = comm.share(converted_alike(path, output, done) if comm.rank == 0 else None)
    return "fitted" if same else "defect: other numbers than the table holds"


def converted_alike(path: Path, output: Path, done: dict[str, Any]) -> bool:
    """Whether another program, where it takes the table for one of numbers, reads the same."""
    with h5py.File(output) as file:
        X, y, levels = file["X"][:], file["y"][:], json.loads(file.attrs["levels"])
    if levels or done.get("classes"):
        return True
    try:
        if path.suffix == ".csv":
            frame = pd.read_csv(path, float_precision="round_trip")
            rows, target = frame.to_numpy(np.float64)[:, :-1], frame.to_numpy(np.float64)[:, -1]
        else:
            found, target = load_svmlight_file(str(path))
            rows = found.toarray()
    except (ValueError, OverflowError):
        return True
    return rows.shape != X.shape or (np.array_equal(rows, X) and np.array_equal(target, y))


def main(directory: Path, seed: int, kind: str, first: int, count: int) -> None:
    """Damage files, see what comes of them, note it."""
    comm, whole_path = Comm.world(), directory / "whole"
    if comm.rank == 0:
        KINDS[kind](whole_path)
    whole = comm.share(whole_path.read_bytes() if comm.rank == 0 else None)
    assert whole is not None
    for k in range(first, count):
        damaged = directory / (f"damaged.{kind}" if kind in TEXT else "damaged.h5")
        if comm.rank == 0:
            damage(np.random.default_rng([seed, k]), damaged, whole)
            (directory / "last").write_text(f"{kind} {seed} {k}")
        comm.leave()
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        found = sorted(set(comm.gather((convert if kind in TEXT else attempt)(comm, damaged))))
        faulthandler.cancel_dump_traceback_later()
        if comm.rank == 0:
            with (directory / "outcomes.jsonl").open("a") as file:
                file.write(json.dumps([kind, k, found]) + "\n")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
    except BaseException:
        traceback.print_exc()
        Comm.world().abort(1)

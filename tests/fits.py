"""Many small fits in one job, and a digest of the bits of each: what `test_bits` starts in many ways.

    mpirun -n RANKS python tests/fits.py DIRECTORY [NAME=VALUE …]

DIRECTORY holds the files that `write_files` has made. The arguments are options of every fit, cases=some for a few of
them only, scores=no to leave out metrics, stream=yes to read rows for every pass. Rank 0 prints one JSON
object: a digest for each case.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import mpigd_kernels as kernels
import numpy as np
from mpigd_kernels import vector
from scipy import sparse

from mpigd import dataset
from mpigd.comm import Comm
from mpigd.history import Record
from mpigd.options import Train
from mpigd.predict import score
from mpigd.problem import read_data
from mpigd.solvers import BY_ROWS
from mpigd.storage import Header
from mpigd.streaming import Room
from mpigd.train import fit

ROWS, COLUMNS = 777, 9
# Ways to store the same whole numbers, none of which may change a bit.
DENSE = (
    *("float64", "float32", "float16", "int8", "big-endian", "chunked", "compressed", "zstd", "blosc2"),
    *("files-?", "virtual"),
)
SPARSE = ("sparse", "sparse-float32", "sparse-chunked", "sparse-files-?")
CHUNKED = ("chunked", "compressed", "zstd", "blosc2", "files-?", "virtual", "sparse-chunked", "big-endian")
PARTS = (0, 5, 300, ROWS)  # where files of several begin
LONG = ("long", "long-sparse")  # enough rows for a fit to begin on a part of them
LONG_ROWS, LONG_COLUMNS = 3000, 3
WIDE_COLUMNS = 400  # enough for a fit to work on some of them
Case = tuple[str, str, dict[str, Any]]


def make_table(rows: int, columns: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Whole numbers with a different spread in every column, more than half of them zero; targets, weights, offsets."""
    rng = np.random.default_rng(0)
    spread = rng.integers(1, 60, columns)
    X = rng.integers(-spread, spread + 1, (rows, columns)) * (rng.random((rows, columns)) < 0.4)
    eta = (X / spread) @ rng.standard_normal(columns) + rng.standard_normal(rows)
    return X, {
        "real": eta,
        "binary": eta > 0.0,
        "nonnegative": np.floor(np.exp(np.minimum(eta, 3.0))),
        "positive": np.exp(eta / 2.0),
        "classes": np.digitize(eta, [-1.0, 1.0]),
        "outputs": np.column_stack([eta, eta**2, np.sin(eta)]),
        "sample_weight": rng.random(rows),
        "offset": rng.standard_normal(rows) / 10.0,
    }


def write_files(directory: Path) -> None:
    """The tables, one file for each way to store them."""
    X, beside = make_table(ROWS, COLUMNS)
    long, beside_long = make_table(LONG_ROWS, LONG_COLUMNS)
    wide = np.random.default_rng(1).integers(-9, 10, (ROWS, WIDE_COLUMNS)).astype("float32")
    stored: dict[str, tuple[Any, dict[str, Any]]] = {
        **{dtype: (X.astype(dtype), {}) for dtype in ("float64", "float32", "float16", "int8")},
        "big-endian": (X.astype(">f8"), {}),
        "chunked": (X.astype("float64"), {"chunks": (100, 5)}),
        "compressed": (X.astype("int16"), {"chunks": (37, 4), "compression": "gzip", "shuffle": True}),
        "sparse": (sparse.csr_array(X.astype("float64")), {}),
        "sparse-float32": (sparse.csr_array(X.astype("float32")), {}),
        "sparse-chunked": (sparse.csr_array(X.astype("float32")), {"chunks": (50,), "compression": "gzip"}),
        "zstd": (X.astype("float32"), {"chunks": (16, 9), **hdf5plugin.Zstd()}),
        "blosc2": (X.astype("int32"), {"chunks": (128, 9), "fletcher32": True, **hdf5plugin.Blosc2()}),
        "long": (long.astype("float64"), {}),
        "wide": (wide, {}),
        "long-sparse": (sparse.csr_array(long.astype("float64")), {}),
    }
    for name, (values, layout) in stored.items():
        write_file(directory / f"{name}.h5", values, beside_long if name in LONG else beside, layout)
    for number, (a, b) in enumerate(itertools.pairwise(PARTS)):
        some = {key: np.asarray(array)[a:b] for key, array in beside.items()}
        write_file(directory / f"files-{number}.h5", X[a:b].astype("float32"), some, {"chunks": (1, 9)} if a else {})
        write_file(directory / f"sparse-files-{number}.h5", sparse.csr_array(X[a:b].astype("float64")), some, {})
    virtual = h5py.VirtualLayout(X.shape, "float32")
    for number, (a, b) in enumerate(itertools.pairwise(PARTS)):
        virtual[a:b] = h5py.VirtualSource(directory / f"files-{number}.h5", "X", (b - a, COLUMNS))
    write_file(directory / "virtual.h5", virtual, beside, {})


def write_file(path: Path, values: Any, beside: dict[str, np.ndarray], layout: dict[str, Any]) -> None:
    """One file: X with what belongs to its rows."""
    with h5py.File(path, "w") as file:
        for key, array in beside.items():
            file[key] = np.asarray(array, np.float64)
        file["group"] = np.arange(values.shape[1]) // 2
        if isinstance(values, h5py.VirtualLayout):
            file.create_virtual_dataset("X", values)
        elif not sparse.issparse(values):
            file.create_dataset("X", data=values, **layout)
        else:
            group = file.create_group("X")
            group.attrs.update({"encoding-type": "csr_matrix", "shape": values.shape})
            for key in ("data", "indices", "indptr"):
                group.create_dataset(key, data=getattr(values, key), **layout)


def cases() -> Iterator[Case]:
    """Every loss, storage and option that a fit may have, with every solver."""
    for solver in ("gd", "sgd"):
        base = {"solver": solver, "max_passes": 8.0, "tol": 0.0, "l2": 0.01}
        base.update({"batch_size": 100} if solver == "sgd" else {})
        for name, loss in kernels.LOSSES.items():
            rate = "auto" if loss.curvature else 1e-3
            yield f"{solver} {name}", "float64", {**base, "loss": name, "learning_rate": rate}
        for storage in (*DENSE, *SPARSE):
            for name in ("logistic", "softmax"):
                yield f"{solver} {name} {storage}", storage, {**base, "loss": name}
        others: list[dict[str, Any]] = [
            {"l2": 0.0},
            {"standardize": False},
            {"intercept": False},
            {"arithmetic": "float32"},
            {"y": "outputs"},
            {"schedule": "1/t"},
            {"schedule": "cosine", "seed": 7},
        ]
        for other in others:
            yield f"{solver} {other}", "float64", {**base, **other}
    few: dict[str, Any] = {"max_passes": 8.0, "tol": 0.0, "l2": 0.01}
    for solver in ("newton", "newton-cg", "lbfgs", "nesterov", "prox-newton"):
        base = {**few, "solver": solver}
        for name, storage in (("squared", "float64"), ("logistic", "float32"), ("logistic", "sparse")):
            yield f"{solver} {name} {storage}", storage, {**base, "loss": name}
        for other in ({"standardize": False}, {"intercept": False}, {"arithmetic": "float32"}):
            yield f"{solver} {other}", "float64", {**base, "loss": "logistic", **other}
    for storage in LONG:
        for solver in ("newton", "newton-cg", "lbfgs", "prox-newton"):
            yield f"{solver} {storage}", storage, {"solver": solver, "loss": "logistic", "l2": 0.01}
            yield f"{solver} huber {storage}", storage, {"solver": solver, "loss": "huber", "l2": 0.01}
    for name, options in (("softmax", {}), ("poisson", {}), ("squared", {"y": "outputs"})):
        for solver in ("lbfgs", "newton-cg"):
            yield f"{solver} {name} {options}", "float64", {**few, "solver": solver, "loss": name, **options}
    for options in ({"tol": 0.0}, {"standardize": False, "intercept": False}, {"arithmetic": "float32"}):
        yield f"direct {options}", "float64", {"solver": "direct", "max_passes": 8.0, **options}
    for rate in ("backtracking", "barzilai-borwein"):
        yield f"{rate} gd", "float64", {**few, "solver": "gd", "loss": "logistic", "learning_rate": rate}
    kinks: list[dict[str, Any]] = [{"l1": 0.02}, {"lower": -0.1, "upper": 0.2}, {"l1": 0.02, "group": "group"}]
    for kink in kinks:
        for solver in ("prox-newton", "nesterov", "gd", "sgd", "svrg"):
            batch = {"batch_size": 100} if solver in ("sgd", "svrg") else {}
            yield f"{solver} {kink}", "float64", {**few, "solver": solver, "loss": "logistic", **kink, **batch}
    yield "path", "float64", {**few, "loss": "logistic", "l1": 0.01, "path": 4}
    yield "wide", "wide", {"l1": 0.1, "tol": 1e-9}
    stochastic: list[dict[str, Any]] = [
        *({"solver": solver} for solver in ("adagrad", "rmsprop", "adam", "adamw", "svrg", "saga")),
        {"solver": "sgd", "momentum": 0.9},
        {"solver": "sgd", "momentum": 0.9, "nesterov_momentum": True, "warmup": 2.0, "schedule": "step"},
        {"solver": "sgd", "batch_growth": 1.5, "averaging": True},
        {"solver": "sgd", "accumulate": 3, "schedule": "dog"},
        {"solver": "sgd", "local_steps": 3},
    ]
    for other in stochastic:
        for name, storage in (("logistic", "float32"), ("softmax", "sparse")):
            yield f"{name} {other}", storage, {**few, "loss": name, "batch_size": 100, **other}


def some(every: Iterator[Case]) -> Iterator[Case]:
    """One case of each kernel and solver."""
    kept = ("gd squared", "sgd logistic", "gd softmax", "gd logistic sparse", "sgd logistic float16", "gd poisson")
    kept += (
        "newton logistic float32",
        "lbfgs logistic sparse",
        "prox-newton {'l1': 0.02}",
        "wide",
        "direct {'tol': 0.0}",
    )
    return (case for case in every if case[0] in kept)


def digest(comm: Comm, directory: Path, storage: str, options: dict[str, Any], scores: bool) -> str:
    """Hash of the bits of the coefficients, the history and, where wanted, the metrics of a fit."""
    loss = kernels.LOSSES[options.get("loss", "squared")]
    if "memory" in options and options.get("solver") in BY_ROWS and storage in CHUNKED:
        options = {**options, "scratch": directory}  # mini-batches need it
    chosen = Train((directory / f"{storage}.h5",), **{"y": loss.target, **options})
    data = read_data(comm, chosen)
    records: list[Record] = []
    fitted = fit(comm, data, chosen, [lambda record, _: records.append(record)])
    assert len(records) > 1
    bits = hashlib.sha256(fitted.model.coef.tobytes() + np.asarray(fitted.model.intercept).tobytes())
    told: list[Any] = [(r.step, r.passes, r.objective, r.grad_norm) for r in records]
    told += [fitted.state.learning_rate, fitted.state.setup_passes]
    if scores:
        told.append(score(comm, fitted.model, data))
    bits.update(repr(told).encode())
    return bits.hexdigest()[:16]


def arithmetic() -> list[str]:
    """What tells processors apart, as libraries see them: a name, and bits of functions that depend on it."""
    numbers = np.random.default_rng(0).random((2, 1000))
    results = (np.exp(numbers), np.log(numbers), numbers[0] @ numbers[1])
    return [vector.processor()[0], *(hashlib.sha256(np.asarray(result).tobytes()).hexdigest() for result in results)]


def cramped(header: Header, rows: int, memory: int, of_a_row: int = 0) -> Room:
    """Room for twelve blocks, so that six stay in memory, and three are read at a time."""
    block = max(header.bytes * header.block // header.n, 1)
    return Room(12 * block, 1 << 40, block)


def main(directory: Path, *settings: str) -> None:
    """Run the cases and print their digests."""
    given: dict[str, Any] = dict(setting.split("=") for setting in settings)
    chosen = some(cases()) if given.pop("cases", "") == "some" else cases()
    scores = given.pop("scores", "yes") == "yes"
    if "threads" in given:
        given["threads"] = int(given["threads"])
    if given.pop("stream", "no") == "yes":
        given["memory"] = "1GiB"  # of which there is hardly any
        dataset.room_for_rows = cramped
    comm = Comm.world()
    digests = {name: digest(comm, directory, stored, {**options, **given}, scores) for name, stored, options in chosen}
    if comm.rank == 0:
        print(json.dumps({"ranks": comm.size, "digests": digests, "arithmetic": arithmetic()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])

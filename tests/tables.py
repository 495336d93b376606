"""Tables in every format that convert reads, and what it wrote of them."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import scipy.sparse as sp
from pyarrow import feather, parquet
from sklearn.datasets import dump_svmlight_file

from mpigd.comm import Comm
from mpigd.convert import job
from mpigd.options import Convert

FORMATS = ("csv", "csv.gz", "csv.zst", "tsv", "parquet", "feather", "arrow", "npy", "npz", "h5")


def some_numbers(rows: int = 300, columns: int = 4, seed: int = 0) -> pd.DataFrame:
    """Numbers of very different sizes; the last column is y."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((rows, columns + 1)) * 10.0 ** rng.integers(-20, 20, (rows, columns + 1))
    return pd.DataFrame(values, columns=[*(f"x{j}" for j in range(columns)), "y"])


def save(frame: pd.DataFrame, path: Path) -> Path:
    """Write a table in the format that the name of path says."""
    name = path.name
    if ".csv" in name or ".tsv" in name:
        text = frame.to_csv(index=False, sep="\t" if ".tsv" in name else ",").encode()
        if name.endswith(".gz"):
            text = gzip.compress(text)
        elif name.endswith(".zst"):
            text = pa.compress(text, codec="zstd", asbytes=True)
        path.write_bytes(text)
    elif name.endswith(".parquet"):
        parquet.write_table(pa.Table.from_pandas(frame), path, row_group_size=37)
    elif name.endswith(".feather"):
        feather.write_feather(frame, str(path), chunksize=41)
    elif name.endswith(".arrow"):
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, pa.Schema.from_pandas(frame)) as file:
            file.write_table(pa.Table.from_pandas(frame), max_chunksize=43)
    elif name.endswith(".npy"):
        np.save(path, frame.to_numpy())
    elif name.endswith(".npz"):
        np.savez_compressed(path, X=frame.to_numpy()[:, :-1], y=frame.to_numpy()[:, -1])
    elif name.endswith(".h5"):
        with h5py.File(path, "w") as file:
            file["X"], file["y"] = frame.to_numpy()[:, :-1], frame.to_numpy()[:, -1]
            file["feature_names"] = list(frame.columns[:-1])
    return path


def save_sparse(path: Path, X: sp.csr_matrix, y: np.ndarray, zero_based: bool = False) -> Path:
    """Write sparse rows as svmlight text (.svm, .svm.gz) or as AnnData's HDF5."""
    if ".svm" in path.name:
        dump_svmlight_file(X, y, str(path), zero_based=zero_based)
        if path.name.endswith(".gz"):
            path.write_bytes(gzip.compress(path.read_bytes()))
        return path
    with h5py.File(path, "w") as file:
        group = file.create_group("X")
        group["data"], group["indices"], group["indptr"] = X.data, X.indices, X.indptr
        group.attrs.update({"encoding-type": "csr_matrix", "shape": X.shape})
        file["obs/label"] = y
    return path


def some_sparse(rows: int = 200, columns: int = 30, seed: int = 0) -> tuple[sp.csr_matrix, np.ndarray]:
    """A matrix of which every fifth value is not zero, and a target."""
    rng = np.random.default_rng(seed)
    X = sp.random(rows, columns, 0.2, "lil", rng=rng)
    X[0, 0], X[0, columns - 1] = 1.5, -2.5  # the first and last column are there
    return sp.csr_matrix(X), rng.integers(0, 3, rows).astype(float)


def convert(*paths: Path, comm: Comm | None = None, **options: Any) -> dict[str, Any]:
    """Run the job on the ranks of a communicator, this one alone by default."""
    return job.run(comm or Comm.alone(), Convert(paths, **options))


def content(path: Path) -> dict[str, Any]:
    """Datasets and attributes of a file, X as a dense array."""
    found: dict[str, Any] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
        found["attributes"] = dict(file.attrs)
        if "feature_names" in file:
            found["names"] = list(file["feature_names"].asstr()[:])
        if "classes" in getattr(file.get("y"), "attrs", {}):
            found["classes"] = list(file["y"].attrs["classes"])
        if isinstance(file["X"], h5py.Group):
            parts = tuple(file["X"][name][()] for name in ("data", "indices", "indptr"))
            found["X"] = sp.csr_matrix(parts, shape=file["X"].attrs["shape"]).toarray()
    return found

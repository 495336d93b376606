"""What Python finds, for the tests of libmpigd to compare with: `python vectors.py --output DIRECTORY`.

Arrays by name in vectors.bin, and model files. Kernels are those that Numba compiles, never the library's own.
"""

from __future__ import annotations

import argparse
import os
import struct
from pathlib import Path
from typing import Any

os.environ["MPIGD_KERNELS"] = "jit"

import h5py
import mpigd_kernels as kernels
import numpy as np
from mpigd_kernels import exact

from mpigd import train
from mpigd.comm import Comm
from mpigd.model import Model
from mpigd.options import Train
from mpigd.problem import make_objective, read_data
from mpigd.storage import block_rows

ROWS, COLUMNS, CLASSES = 700, 9, 3
TYPES = ("float64", "float32", "float16", "int8", "uint8")
CODES = {"float64": "d", "float32": "f", "float16": "e", "int8": "b", "uint8": "B", "int64": "q", "int32": "i"}


class Vectors:
    """The file of arrays: each with its name, type and shape before it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def put(self, **arrays: Any) -> None:
        """Write arrays, or text, under names that end in /name."""
        for name, value in arrays.items():
            array = np.frombuffer(value.encode(), np.int8) if isinstance(value, str) else np.ascontiguousarray(value)
            label = f"{self.prefix}/{name}".encode()
            head = struct.pack("<i", len(label)) + label + CODES[str(array.dtype)].encode()
            self._file.write(head + struct.pack(f"<i{array.ndim}q", array.ndim, *array.shape) + array.tobytes())

    def begin(self, prefix: str) -> None:
        """What follows belongs to this case."""
        self.prefix = prefix

    def close(self) -> None:
        """End the file."""
        self._file.close()


def target(rng: np.random.Generator, loss: kernels.Loss, eta: np.ndarray) -> np.ndarray:
    """A y that the loss can do with."""
    n = len(eta)
    if loss.target in ("nonnegative", "positive"):
        return rng.poisson(np.exp(0.3 * eta)).astype(float) + (0.5 if loss.target == "positive" else 0.0)
    if loss.target == "real":
        return eta + rng.standard_normal(n)
    return rng.integers(0, CLASSES, n).astype(float) if loss.coupled else (rng.random(n) < 0.5).astype(float)


def per_row(values: np.ndarray | None, block: int, padding: float, n: int) -> np.ndarray:
    """In the layout of kernels."""
    rows = kernels.tile_rows(block)
    if values is None:
        return np.zeros((0, 1, rows))
    result = np.full(kernels.tile_count(n, rows) * rows, padding)
    result[:n] = values
    return result.reshape(-1, 1, rows)


def slice_of(x: Any, y: np.ndarray, weight: np.ndarray | None, offset: np.ndarray | None) -> kernels.Slice:
    """Rows, dense or (values, columns, starts), as `mpigd.dataset` has them."""
    dense, n = isinstance(x, np.ndarray), len(y)
    block = block_rows(n) if dense else block_rows(n, COLUMNS, len(x[0]))
    fields: dict[str, Any] = {"n": n, "block": block, "computing": kernels.Computing(), "y": per_row(y, block, 1.0, n)}
    fields |= {"weight": per_row(weight, block, 0.0, n), "offset": per_row(offset, block, 0.0, n)}
    if not dense:
        return kernels.SparseSlice(**fields, values=x[0], columns=x[1], starts=x[2], columns_count=COLUMNS)
    rows = kernels.tile_rows(block)
    tiles = kernels.aligned((kernels.tile_count(n, rows), x.shape[1], rows), x.dtype)
    tiles[-1:] = 0
    kernels.fill_tiles(x, 0, tiles, np.zeros((1, 8)))
    return kernels.DenseSlice(**fields, tiles=tiles)


def rows_of_x(rng: np.random.Generator, n: int, kind: str) -> np.ndarray:
    """X of a type."""
    x = 3.0 * rng.standard_normal((n, COLUMNS))
    return (np.abs(x) if kind == "uint8" else x).astype(kind)


def sparse(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The numbers of a dense X that are not between -2 and 2: values, columns, starts."""
    kept = np.abs(x) > 2.0
    starts = np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int64)
    return x[kept], np.nonzero(kept)[1].astype(np.int32), starts


def means(out: Vectors, case: str, loss: kernels.Loss, n: int, kind: str, is_sparse: bool = False) -> None:
    """Value, gradient and Hessian product of a loss on a slice, with weights and offsets on every second case."""
    rng = np.random.default_rng(len(case))
    x = rows_of_x(rng, n, kind)
    y = target(rng, loss, 0.1 * x.sum(axis=1, dtype=float))
    extra = len(case) % 2 == 0
    weight, offset = (rng.random(n) * (rng.random(n) < 0.9), 0.1 * rng.standard_normal(n)) if extra else (None, None)
    outputs = CLASSES if loss.coupled else 1
    parameter = loss.parameter.default if loss.parameter else 0.0
    rows = slice_of(sparse(x) if is_sparse else x, y, weight, offset)
    coef, intercept = 0.1 * rng.standard_normal((COLUMNS, outputs)), 0.1 * rng.standard_normal(outputs)
    direction = rng.standard_normal((COLUMNS + 1, outputs))
    at = kernels.At(loss, coef, intercept, parameter, 0.1)
    sums = exact.rounded(rows.value_gradient(at))
    products = exact.rounded(rows.hessian_product(at, direction[:-1], direction[-1]))
    p = (COLUMNS + 1) * outputs
    mean = sums / sums[-1]
    out.begin(f"means/{case}")
    classes = outputs if loss.coupled else 2 * int(loss.target == "binary")
    out.put(loss=loss.name, y=y, coef=coef, intercept=intercept, direction=direction, outputs=np.int64(outputs))
    out.put(classes=np.int64(classes))
    out.put(value=mean[p:-1].sum(), gradient=mean[:p].reshape(-1, outputs), weights=sums[-1])
    out.put(product=(products[:p] / sums[-1]).reshape(-1, outputs), eta=rows.linear_predictor(coef, intercept))
    if extra:
        out.put(weight=weight, offset=offset)
    if is_sparse:
        out.put(**dict(zip(("values", "columns", "starts"), sparse(x), strict=True)))
    else:
        out.put(x=x)


def fits(out: Vectors, directory: Path, case: str, loss: kernels.Loss, standardize: bool, intercept: bool) -> None:
    """The objective at a point, and a fit, as the job `train` has them; with its model file."""
    rng = np.random.default_rng(7)
    x = rows_of_x(rng, ROWS, "float64") + np.arange(COLUMNS)
    y = target(rng, loss, 0.1 * (x.sum(axis=1) - 36.0))
    weight = rng.random(ROWS)
    path = directory / "rows.h5"
    with h5py.File(path, "w") as file:
        file["X"], file["y"], file["sample_weight"] = x, y, weight
    comm = Comm.alone()
    solver = "lbfgs" if loss.coupled else "newton"
    options = Train(data=(path,), loss=loss.name, l2=0.01, tol=1e-13, solver=solver, quiet=True)
    options = Train(**{**vars(options), "standardize": standardize, "intercept": intercept})
    data = read_data(comm, options)
    objective = make_objective(comm, data, options)
    theta, direction = 0.1 * rng.standard_normal(objective.shape), rng.standard_normal(objective.shape)
    value, gradient = objective.value_and_gradient(theta)
    model = train.fit(comm, data, options).model
    model.save(directory / f"{case}.h5")
    out.begin(f"fits/{case}")
    out.put(loss=loss.name, x=x, y=y, weight=weight, outputs=np.int64(objective.shape[1]))
    out.put(standardize=np.int64(standardize), intercept=np.int64(intercept), theta=theta, direction=direction)
    out.put(value=value, gradient=gradient, product=objective.hessian_product(theta, direction))
    if not loss.coupled:
        _, slope, hessian = objective.second_order(theta)
        out.put(slope=slope, hessian=hessian)
    coef, at = model.columns()
    out.put(fitted_coef=coef, fitted_intercept=at, labels=model.classes)


def models(out: Vectors, directory: Path, case: str, loss: kernels.Loss, threshold: float | None) -> None:
    """What a model says of rows, and its file, with all that a file may hold."""
    rng = np.random.default_rng(11)
    outputs = CLASSES if loss.coupled else 1
    classes = 10.0 * np.arange(CLASSES) if loss.coupled else np.array([-1.0, 1.0])
    classes = classes if loss.target in ("binary", "classes") else np.zeros(0)
    coef, intercept = rng.standard_normal((COLUMNS, outputs)), rng.standard_normal(outputs)
    result = {
        "scores": {"test": {"threshold": 0.9, "b": 1e-20, "a": True}},
        "note": 'a "quoted" é, [x]',
        "list": [1, {}],
    }
    model = Model(
        coef if loss.coupled else coef[:, 0],
        intercept if loss.coupled else intercept[0],
        loss,
        tuple(f"column {j} é" for j in range(COLUMNS)),
        classes,
        config={"z": None, "a": [1.5, -0.0, 1e300, "text"], "loss": loss.name},
        result={**result, **({"threshold": threshold} if threshold else {})},
        fit={"theta": coef, "gradient": coef, "mean": coef[:, 0], "scale": coef[:, 0]},
        path={"converged": np.array([True, False]), "strength": np.array([1.0, 2.0]), "coef": np.zeros((2, COLUMNS))},
    )
    model.save(directory / f"{case}.h5")
    x = rng.standard_normal((37, COLUMNS))
    eta = slice_of(x, np.zeros(len(x)), None, None).linear_predictor(*model.columns())
    mean = model.mean(eta)
    out.begin(f"models/{case}")
    out.put(loss=loss.name, x=x, eta=eta, mean=mean, labels=model.classes, coef=model.columns()[0])
    out.put(answer=model.label(mean), feature=model.feature_names[3], threshold=np.float64(threshold or np.nan))


def main() -> None:
    """Write all cases that kernels were emitted for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--types", default=",".join(TYPES))
    parser.add_argument("--losses", default="all")
    given = parser.parse_args()
    directory: Path = given.output
    directory.mkdir(parents=True, exist_ok=True)
    types = given.types.split(",")
    losses = list(kernels.LOSSES) if given.losses == "all" else given.losses.split(",")
    out = Vectors(directory / "vectors.bin")
    first = kernels.LOSSES[losses[0]]
    for name in losses:
        means(out, name, kernels.LOSSES[name], ROWS, types[0])
    for kind in types:
        means(out, f"of-{kind}", first, ROWS, kind)
    means(out, "of-large-tiles", first, 9000, types[0])
    for name in losses if given.losses != "all" else ("logistic", "softmax"):
        means(out, f"sparse-{name}", kernels.LOSSES[name], ROWS, "float64", is_sparse=True)
    few = [name for name in ("logistic", "poisson", "softmax") if name in losses]
    for name in few:
        for standardize, intercept in ((True, True), (False, False)):
            fits(out, directory, f"{name}-{int(standardize)}", kernels.LOSSES[name], standardize, intercept)
    for name in losses:
        models(out, directory, name, kernels.LOSSES[name], None)
    if "logistic" in losses:
        models(out, directory, "threshold", kernels.LOSSES["logistic"], 0.8)
    out.close()


if __name__ == "__main__":
    main()

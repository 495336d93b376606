"""One fit of another program, for benchmarks/peers.py.

    python peer.py NAME FILE PROBLEM.json SETTING COEFFICIENTS.npy

Runs in the virtual environment of the peers, without mpigd. Prints the seconds of the fit alone, the data being in
memory in the layout that the program likes; no intercept. PROBLEM holds loss, l1, l2; SETTING is a tolerance.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy import sparse

Problem = dict[str, Any]  # with X, y, offset
Fit = Callable[[Problem, float], np.ndarray]
CORES, MANY = 2, 100_000


def scikit_learn(solver: str) -> Fit:
    """scikit-learn; its loss is a sum, or with squared and Poisson a mean."""

    def fit(problem: Problem, tol: float) -> np.ndarray:
        from sklearn import linear_model

        X, y, l1, l2 = problem["X"], problem["y"], problem["l1"], problem["l2"]
        if problem["loss"] == "squared":
            model = linear_model.Lasso(l1, fit_intercept=False, tol=tol, max_iter=MANY)
            return np.asarray(model.fit(X, y).coef_)
        if problem["loss"] == "poisson":  # an offset is an exposure: that of the weights, and of what is divided
            exposure = np.exp(problem["offset"])
            alpha = l2 * len(y) / exposure.sum()
            model = linear_model.PoissonRegressor(
                alpha=alpha, solver=solver, fit_intercept=False, tol=tol, max_iter=MANY
            )
            return np.asarray(model.fit(X, y / exposure, sample_weight=exposure).coef_)
        model = linear_model.LogisticRegression(
            C=1.0 / (l2 * len(y)), solver=solver, tol=tol, max_iter=MANY, fit_intercept=False
        )
        return np.asarray(model.fit(X, y).coef_).T

    return fit


def scikit_learn_intelex(problem: Problem, tol: float) -> np.ndarray:
    """The same, patched by Intel's extension, on all cores."""
    from sklearnex import patch_sklearn

    patch_sklearn(verbose=False)
    return scikit_learn("lbfgs")(problem, tol)


def snap_ml(problem: Problem, tol: float) -> np.ndarray:
    """Snap ML on all cores; its loss is a sum."""
    import snapml

    X, y = problem["X"], problem["y"]
    if problem["loss"] == "squared":
        model = snapml.LinearRegression(
            penalty="l1",
            dual=False,
            regularizer=problem["l1"] * len(y),
            tol=tol,
            max_iter=MANY,
            fit_intercept=False,
            n_jobs=CORES,
        )
    else:
        model = snapml.LogisticRegression(
            regularizer=problem["l2"] * len(y), tol=tol, max_iter=MANY, fit_intercept=False, n_jobs=CORES
        )
    return np.asarray(model.fit(X, y).coef_).reshape(-1)


def torch_lbfgs(problem: Problem, tol: float) -> np.ndarray:
    """L-BFGS of torch in the type of the data, its gradients by automatic differentiation, on all cores."""
    import torch

    torch.set_num_threads(CORES)
    coef, evaluate = _torch_objective(problem)
    _torch_minimise([coef], evaluate, tol)
    return coef.detach().numpy().astype(np.float64)


def torch_ddp(problem: Problem, tol: float) -> np.ndarray:
    """The same over DistributedDataParallel: a process for each core, its share of the rows, gloo between them."""
    import torch

    global begin
    with tempfile.TemporaryDirectory() as scratch:
        given = (problem, tol, scratch)
        torch.multiprocessing.start_processes(_torch_rank, given, nprocs=CORES, start_method="fork")
        seconds, coef = np.load(Path(scratch) / "seconds.npy"), np.load(Path(scratch) / "coef.npy")
    begin = time.perf_counter() - float(seconds)  # without the start of the processes
    return coef


def _torch_rank(rank: int, problem: Problem, tol: float, scratch: str) -> None:
    """What one process of torch_ddp does."""
    import torch

    torch.set_num_threads(1)
    store = torch.distributed.FileStore(f"{scratch}/store", CORES)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=CORES)
    n = len(problem["y"])
    rows = slice(rank * n // CORES, (rank + 1) * n // CORES)
    mine = {key: problem[key][rows] if problem[key] is not None else None for key in ("X", "y", "offset")}
    coef, evaluate = _torch_objective({**problem, **mine}, distributed=True, share=CORES * (rows.stop - rows.start) / n)
    torch.distributed.barrier()
    start = time.perf_counter()
    _torch_minimise([coef], evaluate, tol)
    if rank == 0:
        np.save(f"{scratch}/seconds.npy", time.perf_counter() - start)
        np.save(f"{scratch}/coef.npy", coef.detach().numpy().astype(np.float64).T)
    torch.distributed.destroy_process_group()


def _torch_objective(problem: Problem, distributed: bool = False, share: float = 1.0) -> tuple[Any, Callable[[], Any]]:
    """Coefficients, (d, K) or those of a linear layer, and what evaluates value and gradient at them.

    Distributed, DDP takes the mean of the processes' gradients; `share` is the weight of this one's rows in it.
    """
    import torch

    X, y = torch.from_numpy(problem["X"]), torch.from_numpy(problem["y"])
    loss, l2 = problem["loss"], problem["l2"]
    outputs = int(y.max()) + 1 if loss == "softmax" else 1
    offset = torch.from_numpy(problem["offset"].astype(np.float32)) if loss == "poisson" else None
    functions = torch.nn.functional
    if distributed:
        layer = torch.nn.Linear(X.shape[1], outputs, bias=False)
        torch.nn.init.zeros_(layer.weight)
        model: Any = torch.nn.parallel.DistributedDataParallel(layer)
        coef: Any = layer.weight
    else:
        coef = torch.zeros((X.shape[1], outputs), requires_grad=True)
        model = lambda rows: rows @ coef  # noqa: E731

    def evaluate() -> Any:
        coef.grad = None
        eta = model(X)
        if loss == "softmax":
            value = functions.cross_entropy(eta, y.long())
        elif loss == "poisson":
            value = functions.poisson_nll_loss(eta[:, 0] + offset, y)
        else:
            value = functions.binary_cross_entropy_with_logits(eta[:, 0], y)
        value = share * value + 0.5 * l2 * (coef * coef).sum()
        value.backward()
        if distributed:  # the line search has to see the same value everywhere
            value = value.detach()
            torch.distributed.all_reduce(value)
            value /= CORES
        return value

    return coef, evaluate


def _torch_minimise(parameters: list[Any], evaluate: Callable[[], Any], tol: float) -> None:
    """L-BFGS with a strong Wolfe search."""
    import torch

    torch.optim.LBFGS(
        parameters,
        max_iter=MANY,
        max_eval=MANY,
        tolerance_grad=tol,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    ).step(evaluate)


def vowpal_wabbit(problem: Problem, tol: float) -> np.ndarray:
    """L-BFGS of Vowpal Wabbit over its own cache of a text file; its loss is a sum, its model float32."""
    import vowpalwabbit

    global begin
    X, y, l2 = problem["X"], problem["y"], problem["l2"]
    n, d = X.shape
    with tempfile.TemporaryDirectory() as scratch:
        text = Path(scratch) / "rows.vw"
        with text.open("w", encoding="ascii") as file:
            for i, label in enumerate(y):
                row = zip(X[i].indices, X[i].data, strict=True) if sparse.issparse(X) else enumerate(X[i])
                file.write(f"{1 if label else -1} | " + " ".join(f"{j}:{x:.9g}" for j, x in row) + "\n")
        common = f"-b {max((d - 1).bit_length(), 10)} --noconstant --quiet --holdout_off --loss_function logistic"
        common += f" --cache_file {scratch}/rows.cache"
        vowpalwabbit.Workspace(f"{common} -d {text} -k --passes 1").finish()  # makes the cache
        begin = time.perf_counter()
        fit = f"{common} --bfgs --passes 10000 --termination {tol} --l2 {l2 * n!r} --mem 15"
        model = vowpalwabbit.Workspace(fit)
        coef = np.array([model.get_weight(j) for j in range(d)])
        model.finish()
    return coef


def glum(problem: Problem, tol: float) -> np.ndarray:
    """Glum's generalised linear models; it halves deviances, as mpigd does."""
    from glum import GeneralizedLinearRegressor

    family = {"logistic": "binomial", "poisson": "poisson", "squared": "normal"}[problem["loss"]]
    strength = problem["l1"] + problem["l2"]
    model = GeneralizedLinearRegressor(
        family=family,
        alpha=strength,
        l1_ratio=problem["l1"] / strength,
        fit_intercept=False,
        gradient_tol=tol,
        max_iter=10_000,
    )
    offset = {"offset": problem["offset"]} if problem["loss"] == "poisson" else {}
    return np.asarray(model.fit(problem["X"], problem["y"], **offset).coef_)


def skglm(problem: Problem, tol: float) -> np.ndarray:
    """Skglm's Lasso, by working sets."""
    from skglm import Lasso

    model = Lasso(alpha=problem["l1"], fit_intercept=False, tol=tol, max_iter=1000, max_epochs=MANY)
    return np.asarray(model.fit(problem["X"], problem["y"]).coef_)


def adelie(problem: Problem, tol: float) -> np.ndarray:
    """adelie, the algorithm of glmnet for groups, on all cores."""
    import adelie as ad

    X, y, l1, l2 = problem["X"], problem["y"], problem["l1"], problem["l2"]
    family = {"logistic": ad.glm.binomial, "poisson": ad.glm.poisson, "squared": ad.glm.gaussian}[problem["loss"]]
    state = ad.grpnet(
        X=np.asfortranarray(X),
        glm=family(y=y.astype(X.dtype), dtype=X.dtype.type),
        offsets=problem["offset"].astype(X.dtype) if problem["loss"] == "poisson" else None,
        alpha=l1 / (l1 + l2),
        lmda_path=[l1 + l2],
        early_exit=False,
        intercept=False,
        tol=tol,
        n_threads=CORES,
        progress_bar=False,
    )
    return np.asarray(state.betas.toarray()[0])


def dask_glm(problem: Problem, tol: float) -> np.ndarray:
    """L-BFGS of dask-glm."""
    import dask.array as da
    from dask_glm.algorithms import lbfgs

    rows = len(problem["y"]) // CORES
    X, y = da.from_array(problem["X"], chunks=(rows, -1)), da.from_array(problem["y"], chunks=rows)
    return np.asarray(lbfgs(X, y, lamduh=problem["l2"] * len(problem["y"]), regularizer="l2", tol=tol, max_iter=10_000))


def heat(problem: Problem, tol: float) -> np.ndarray:
    """Coordinate descent of HeAT; its first column is an intercept that is not penalised: one of zeros."""
    import heat as ht

    X = ht.array(np.column_stack([np.zeros(len(problem["y"]), np.float32), problem["X"]]), split=0)
    model = ht.regression.Lasso(lam=problem["l1"], max_iter=100, tol=tol)
    model.fit(X, ht.array(problem["y"][:, None], split=0))
    return model.coef_.numpy().reshape(-1)


def spark(problem: Problem, tol: float) -> np.ndarray:
    """L-BFGS of Spark's MLlib on all cores, the rows being cached as vectors."""
    from pyspark.ml.classification import LogisticRegression
    from pyspark.ml.functions import array_to_vector
    from pyspark.sql import SparkSession

    session = SparkSession.builder.master(f"local[{CORES}]").config("spark.driver.memory", "12g")
    session = session.config("spark.ui.enabled", "false").getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    import pyarrow as pa
    from pyarrow import parquet

    X, y = problem["X"], problem["y"]
    rows = pa.FixedSizeListArray.from_arrays(pa.array(X.reshape(-1)), X.shape[1]).cast(pa.list_(pa.float32()))
    parquet.write_table(pa.table({"label": y.astype(float), "raw": rows}), "spark.parquet")
    frame = session.read.parquet(str(Path("spark.parquet").resolve())).repartition(CORES)
    frame = frame.select("label", array_to_vector("raw").alias("features")).cache()
    frame.count()
    global begin  # what came before is not the fit
    begin = time.perf_counter()
    model = LogisticRegression(
        regParam=problem["l2"], elasticNetParam=0.0, fitIntercept=False, standardization=False, tol=tol, maxIter=10_000
    )
    return np.asarray(model.fit(frame).coefficients.toArray())


PEERS: dict[str, Fit] = {
    "scikit-learn": scikit_learn(""),
    "scikit-learn lbfgs": scikit_learn("lbfgs"),
    "scikit-learn newton-cholesky": scikit_learn("newton-cholesky"),
    "scikit-learn liblinear": scikit_learn("liblinear"),
    "scikit-learn-intelex": scikit_learn_intelex,
    "Snap ML": snap_ml,
    "torch L-BFGS": torch_lbfgs,
    "torch L-BFGS, DDP": torch_ddp,
    "Vowpal Wabbit": vowpal_wabbit,
    "glum": glum,
    "skglm": skglm,
    "adelie": adelie,
    "dask-glm": dask_glm,
    "HeAT": heat,
    "Spark MLlib": spark,
}


def read(file: str) -> dict[str, Any]:
    """X, y and the offset."""
    with h5py.File(file) as data:
        group = data["X"]
        if isinstance(group, h5py.Dataset):
            X: Any = group[:]
        else:
            parts = (group["data"][:], group["indices"][:], group["indptr"][:])
            X = sparse.csr_matrix(parts, shape=tuple(group.attrs["shape"]))
        return {"X": X, "y": data["y"][:], "offset": data["offset"][:] if "offset" in data else None}


def main(name: str, file: str, settings: str, setting: str, output: str) -> None:
    """Fit once, time it, write the coefficients."""
    global begin
    warnings.simplefilter("ignore")
    problem = {**json.loads(Path(settings).read_text(encoding="utf-8")), **read(file)}
    some = {key: problem[key][:2000] if problem[key] is not None else None for key in ("X", "y", "offset")}
    if name not in ("Spark MLlib", "HeAT"):
        PEERS[name]({**problem, **some}, 1e-2)  # imports, first use
    begin = time.perf_counter()
    coef = PEERS[name](problem, float(setting))
    print(time.perf_counter() - begin)
    np.save(output, np.asarray(coef, np.float64).reshape(problem["X"].shape[1], -1))


if __name__ == "__main__":
    main(*sys.argv[1:])

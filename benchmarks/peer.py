"""One fit of another program, for benchmarks/peers.py.

    python peer.py NAME FILE PROBLEM.json SETTING COEFFICIENTS.npy

Runs in the virtual environment of the peers, without mpigd. Prints the seconds of the fit alone, the data being in
memory in the layout that the program likes; no intercept. PROBLEM holds loss, l1, l2; SETTING is a tolerance.
"""

from __future__ import annotations

import json
import sys
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
    X, y = torch.from_numpy(problem["X"]), torch.from_numpy(problem["y"])
    loss, l2 = problem["loss"], problem["l2"]
    outputs = int(y.max()) + 1 if loss == "softmax" else 1
    offset = torch.from_numpy(problem["offset"].astype(np.float32)) if loss == "poisson" else None
    coef = torch.zeros((X.shape[1], outputs), requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [coef], max_iter=MANY, max_eval=MANY, tolerance_grad=tol, tolerance_change=0.0, line_search_fn="strong_wolfe"
    )
    functions = torch.nn.functional

    def evaluate() -> Any:
        optimizer.zero_grad()
        eta = X @ coef
        if loss == "softmax":
            value = functions.cross_entropy(eta, y.long())
        elif loss == "poisson":
            value = functions.poisson_nll_loss(eta[:, 0] + offset, y)
        else:
            value = functions.binary_cross_entropy_with_logits(eta[:, 0], y)
        value = value + 0.5 * l2 * (coef * coef).sum()
        value.backward()
        return value

    optimizer.step(evaluate)
    return coef.detach().numpy().astype(np.float64)


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

"""Compressed sums: what is left out of one is in the next, and mini-batches get by with them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import load_table

from mpigd.comm import Comm
from mpigd.compression import CHUNK, Compression, EightBits, TopShare
from mpigd.errors import UsageError
from mpigd.options import Train
from mpigd.problem import read_data
from mpigd.train import fit, run

MAKERS: dict[str, Callable[[Comm], Compression]] = {
    "int8": EightBits,
    "top-share": lambda comm: TopShare(comm, 0.1),
}


def own_values(rank: int, step: int, count: int) -> np.ndarray:
    rng = np.random.default_rng([rank, step])
    return rng.standard_normal(count) * 10.0 ** rng.integers(-3, 3, count)


@pytest.mark.mpi
@pytest.mark.parametrize("count", [1, 5, CHUNK, 700])
@pytest.mark.parametrize("name", MAKERS)
def test_what_is_sent_and_what_is_left_is_all(comm: Comm, name: str, count: int) -> None:
    """After any number of sums, with zeros among them."""
    compression, sent, given = MAKERS[name](comm), np.zeros(count), np.zeros(count)
    for step in range(6):
        values = own_values(comm.rank, step, count) * (step != 3)
        result = compression.sum(values)
        np.testing.assert_array_equal(result, comm.share(result))
        sent += result
        given += sum(own_values(rank, step, count) * (step != 3) for rank in range(comm.size))
    left = comm.sum(compression.left.copy())
    np.testing.assert_allclose(sent + left, given, rtol=1e-9, atol=1e-9)


@pytest.mark.mpi
def test_eight_bits_are_off_by_half_a_unit_of_each_rank(comm: Comm) -> None:
    values = own_values(comm.rank, 0, 600)
    every = [own_values(rank, 0, 600) for rank in range(comm.size)]
    unit = [np.max(np.abs(np.array(every)[:, start : start + CHUNK])) / 127 for start in range(0, 600, CHUNK)]
    off = np.abs(EightBits(comm).sum(values) - sum(every))
    assert (off <= 0.5 * comm.size * np.repeat(unit, CHUNK)[:600] * (1.0 + 1e-9)).all()
    assert off.any()


@pytest.mark.mpi
def test_the_largest_numbers_are_sent(comm: Comm) -> None:
    values = np.zeros(100)
    values[comm.rank] = 5.0 + comm.rank
    values[50:] = 0.01
    found = TopShare(comm, 0.01).sum(values)
    np.testing.assert_array_equal(found[: comm.size], 5.0 + np.arange(comm.size))
    assert not found[comm.size :].any()


@pytest.mark.mpi
@pytest.mark.parametrize("solver", ["sgd", "adam", "adagrad"])
@pytest.mark.parametrize("reduce", ["int8", "top-share"])
def test_fits_end_near_those_with_exact_sums(comm: Comm, reduce: str, solver: str) -> None:
    """All but a twentieth of the way from theta = 0; the objective is evaluated on all rows without compression."""
    options: dict[str, Any] = {"loss": "logistic", "l2": 0.02, "batch_size": 64, "max_passes": 200.0, "tol": 1e-3}
    values = {}
    for way in ("exact", reduce):
        chosen = Train(load_table("breast_cancer").path, solver=solver, reduce=way, top_share=0.3, **options)
        values[way] = fit(comm, read_data(comm, chosen), chosen).state.value
    assert values[reduce] - values["exact"] < 0.05 * (math.log(2.0) - values["exact"])


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "lbfgs"}, "--reduce int8: only gradients of mini-batches"),
        ({"solver": "svrg"}, "--solver sgd, adagrad, rmsprop, adam, adamw"),
        ({"solver": "sgd", "average": "ranks"}, "not with --average ranks"),
        ({"solver": "sgd", "local_steps": 2}, "nor with --local-steps"),
    ],
)
def test_only_mini_batches_are_compressed(comm: Comm, shared_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(comm, Train(load_table("boston").path, reduce="int8", run_dir=shared_path / "run", **options))


def test_the_share_is_a_share() -> None:
    with pytest.raises(UsageError, match=r"--top-share 1\.5"):
        Train(Path("data.h5"), top_share=1.5)

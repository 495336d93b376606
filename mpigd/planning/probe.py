"""What this machine does in a second: reading, computing, adding up.

All ranks measure at once and agree on the slowest; a few seconds in all. Programs that run beside it are measured, too.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import mpigd_kernels as kernels
import numpy as np
from mpigd_kernels.factor import factor

from mpigd import platforms
from mpigd.comm import Comm
from mpigd.dataset import Dataset, prepare
from mpigd.objective import outputs_of
from mpigd.options import Train
from mpigd.planning.network import Link, fitted
from mpigd.planning.sample import Sample
from mpigd.problem import loss_parameter, make_objective

REPEATS, ENOUGH = 5, 0.3  # of what is timed; seconds after which there are no more of them
MOST_COLUMNS = 512  # of a Hessian, or rows of a factor: larger ones are extrapolated
BUS_BYTES, LEAST_BUS_BYTES = 256 << 20, 16 << 20  # that a node reads to find its limit; of one core, at least
OFTEN_BYTES = 1 << 18  # small messages are sent that often, for a clock to tell
MESSAGES = tuple(8 << 2 * k for k in range(10))  # bytes: 8 … 2 Mi


@dataclass(frozen=True)
class Machine:
    """Of one node and one of its ranks; the same on all ranks.

    cores, memory : cores that the job may use, bytes.
    ranks, each : how many ranks measured, and how many of them on one node.
    opening : seconds before a rank has read its first block.
    read : seconds a byte of X, of a rank; the files may have been in memory.
    gradient, hessian, moments : seconds a byte of X in kernels, of a rank; hessian is 0 where none is formed.
    bus : seconds a byte at which the cores of a node together read their memory.
    beside_gradient, beside_hessian : seconds of a step that do not depend on the rows, without communication.
    factor, solve : seconds of a factorisation and of a solution.
    within : the link between ranks of a node, None where there were no two to measure.
    """

    cores: int
    memory: int
    ranks: int
    each: int
    opening: float
    read: float
    gradient: float
    hessian: float
    moments: float
    bus: float
    beside_gradient: float
    beside_hessian: float
    factor: float
    solve: float
    within: Link | None


def measure_machine(comm: Comm, sample: Sample, options: Train, hessian: bool) -> Machine:
    """Measure. hessian : whether the solver forms some. A collective."""
    with comm.node() as node:
        each = int(comm.max(np.array([node.size]))[0])
        with platforms.on_any_core():
            cores = platforms.own_cores()
        bus = memory_bus(node, cores)
        link = shared_link(node)
    rates = {
        "opening": sample.opening_seconds,
        "read": sample.read_seconds / sample.bytes if sample.bytes else 0.0,
        "bus": bus,
        **_kernels(comm, sample, options, hessian),
        **_equations(comm, sample.data.header.d + options.intercept if hessian else 1),
        **_beside(comm, sample.data, options, hessian),
        "latency": link.latency if link else 0.0,
        "per_byte": link.per_byte if link else 0.0,
    }
    agreed = dict(zip(rates, comm.max(np.array(list(rates.values()))).tolist(), strict=True))
    within = Link(agreed.pop("latency"), agreed.pop("per_byte"))
    least = comm.max(-np.array([cores, platforms.physical_memory()]))
    return Machine(
        cores=-int(least[0]),
        memory=-int(least[1]),
        ranks=comm.size,
        each=each,
        within=within if each > 1 else None,
        **agreed,
    )


def timed(comm: Comm, action: Callable[[], object]) -> float:
    """Median seconds of some repeats, as many on all ranks, after one more."""
    action()
    times: list[float] = []
    while len(times) < REPEATS:
        begin = time.perf_counter()
        action()
        times.append(time.perf_counter() - begin)
        if comm.max(np.array([sum(times)]))[0] > ENOUGH:
            break
    return statistics.median(times)


def _kernels(comm: Comm, sample: Sample, options: Train, hessian: bool) -> dict[str, float]:
    """Seconds a byte of X in passes over the sample."""
    data, loss = sample.data, kernels.LOSSES[options.loss]
    rows, d, outputs = data.slice, data.slice.d, outputs_of(data, loss)
    at = kernels.At(loss, np.zeros((d, outputs)), np.zeros(outputs), loss_parameter(options), options.smoothing)
    prepare(comm, partial(rows.load_gradient, loss.tile, outputs), partial(rows.load, "column_moments"))
    none = replace(rows, picked=np.arange(0))
    idle = timed(comm, lambda: none.value_gradient(at))
    seconds = timed(comm, lambda: rows.value_gradient(at)), timed(comm, lambda: rows.column_moments(np.zeros(d)))
    gradient, moments = (max(some - idle, 0.0) / max(sample.bytes, 1) for some in seconds)
    return {
        "gradient": gradient,
        "moments": moments,
        "hessian": _hessian(comm, sample, at) if hessian else 0.0,
    }


def _hessian(comm: Comm, sample: Sample, at: kernels.At) -> float:
    """Seconds a byte of X in a pass with a Hessian: of few columns and so many blocks that it takes no second."""
    rows, d = sample.data.slice, sample.data.slice.d
    columns = np.arange(min(d, MOST_COLUMNS))
    rows = rows.columns_only(columns) if len(columns) < d else rows
    # Of several outputs the metric is that of least squares.
    loss = at.loss if at.coef.shape[1] == 1 else kernels.LOSSES["squared"]
    at = replace(at, loss=loss, coef=at.coef[columns, :1], intercept=at.intercept[:1])
    rows = replace(rows, y=np.ascontiguousarray(rows.y[:, :1]))
    prepare(comm, partial(rows.load, "second_order", loss.tile))
    count = -(-rows.n // rows.block)

    def some(blocks: int) -> Callable[[], object]:
        return partial(replace(rows, picked=np.arange(blocks)).second_order, at)

    idle, one = timed(comm, some(0)), timed(comm, some(min(1, count)))
    blocks = min(max(int(ENOUGH / comm.max(np.array([one]))[0]), 1), count)
    seconds = max(timed(comm, some(blocks)) - idle, 0.0) * (d / len(columns)) ** 2
    return seconds / (min(blocks * rows.block / rows.n, 1.0) * sample.bytes) if rows.n else 0.0


def _beside(comm: Comm, data: Dataset, options: Train, hessian: bool) -> dict[str, float]:
    """Seconds of a step that do not depend on the rows, without communication: from steps on no rows at all."""
    columns = np.arange(min(data.slice.d, MOST_COLUMNS)) if hessian else np.arange(data.slice.d)
    narrow = data.columns_only(columns) if len(columns) < data.slice.d else data
    header = replace(data.header, d=len(columns), group=None)
    none = replace(narrow, header=header, slice=replace(narrow.slice, picked=np.arange(0)))
    objective = make_objective(comm, none, replace(options, group=None))
    theta = np.zeros(objective.shape)
    growth = data.slice.d / len(columns)

    def rest(step: Callable[[], object]) -> float:
        step()
        before, begin = comm.seconds, time.perf_counter()
        for _ in range(REPEATS):
            step()
        return max(time.perf_counter() - begin - (comm.seconds - before), 0.0) / REPEATS

    found = {"beside_gradient": rest(lambda: objective.value_and_gradient(theta)) * growth, "beside_hessian": 0.0}
    if hessian:
        found["beside_hessian"] = rest(lambda: objective.metric(theta, 1, 0)) * growth**2
    return found


def _equations(comm: Comm, p: int) -> dict[str, float]:
    """Seconds of a factorisation of p rows and of a solution."""
    size = min(p, MOST_COLUMNS)
    matrix, right = np.eye(size) + 1.0 / size, np.ones((size, 1))
    prepare(comm, lambda: factor(np.eye(1)).solve(np.ones((1, 1))))
    known = factor(matrix)
    return {
        "factor": timed(comm, lambda: factor(matrix)) * (p / size) ** 3,
        "solve": timed(comm, lambda: known.solve(right)) * (p / size) ** 2,
    }


def memory_bus(node: Comm, cores: int) -> float:
    """Seconds a byte at which all cores of a node together read memory: numpy adds up without Python's lock."""
    threads = max(cores // node.size, 1)
    numbers = max(BUS_BYTES // (threads * node.size), LEAST_BUS_BYTES) // 8
    arrays = [np.ones(numbers) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:

        def once(array: np.ndarray) -> None:
            with platforms.on_any_core():
                array.sum()

        node.leave()
        seconds = timed(node, lambda: list(pool.map(once, arrays)))
    read = float(node.sum(np.array([8.0 * numbers * threads / seconds]))[0])
    return 1.0 / read


def shared_link(node: Comm) -> Link | None:
    """The link between the ranks of this node; None for one alone."""
    if node.size < 2:
        return None
    times = []
    for count in MESSAGES:
        message, often = np.zeros(count // 8, np.int64), min(max(OFTEN_BYTES // count, 1), 50)

        def several(message: np.ndarray = message, often: int = often) -> None:
            for _ in range(often):
                node.sum(message)

        times.append(timed(node, several) / often)
    return fitted(MESSAGES, node.max(np.array(times)).tolist(), node.size)

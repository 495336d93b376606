"""What exact sums cost: a step of gradient descent with them beside the same step with `--reduce fast`.

    ./run.sh -n 1 --python benchmarks/exact_sums.py
    ./run.sh -n 2 --python benchmarks/exact_sums.py
    ./run.sh -n 8 --python benchmarks/exact_sums.py

Every rank has ROWS rows of random float32 numbers. Steps of both kinds are timed in turn, between barriers; figures
are medians over REPEATS rounds, and of their ratios. Prints a table and writes benchmarks/exact-sums-N.md.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import mpigd_kernels as kernels
import numpy as np
from machine import describe
from measure import Table, compare, make_slice
from mpigd_kernels import exact

from mpigd.comm import Comm
from mpigd.dataset import Dataset, Header, Names
from mpigd.objective import Objective, Reduce
from mpigd.penalties import penalty
from mpigd.scaling import measure
from mpigd.solvers import GradientDescent

ROWS = 100_000  # of a rank, about
COLUMNS = (13, 28, 128, 512, 2000)
REPEATS, STEPS = 31, 5
LOSS = kernels.LOSSES["logistic"]


def make_data(comm: Comm, d: int) -> Dataset:
    """A dataset of random numbers, of which every rank has as many rows."""
    rows = make_slice(comm, "float32", d, megabytes=1.02 * 4e-6 * ROWS * d)
    n, start = rows.n * comm.size, rows.n * comm.rank
    names, dtype = tuple(map(str, range(d))), np.dtype(np.float32)
    header = Header(Path(), Names(), n, d, dtype, None, names, None, 1, False, False, "memory", "float32")
    return Dataset(
        header,
        ((start, start + rows.n),),
        replace(rows, block=header.block),
        np.array([0.0, 1.0]),
        np.zeros(2, np.uint64),
    )


def main() -> None:
    """Measure, print on rank 0, write the table."""
    comm = Comm.world()
    table = Table(
        comm,
        f"Steps of logistic regression, {comm.size} rank(s)",
        *("columns", "rows a rank", "fast step, ms", "exact / fast", "message, bytes: exact / fast"),
        *("Allreduce of doubles alone, ms", "fast sum", "exact sum", "sent twice", "steps in which it was"),
    )
    for d in COLUMNS:
        data = make_data(comm, d)
        scaling = measure(comm, data, centre=True)
        solver, resent = GradientDescent(learning_rate=0.1), comm.resent

        def steps(reduce: Reduce, data: Dataset = data, scaling=scaling, solver=solver) -> partial[None]:
            objective = Objective(comm, data, LOSS, scaling, penalty(1e-3, 0.0, scaling.scale, 1, True), reduce=reduce)
            state = solver.init(objective, np.zeros(objective.shape))

            def take() -> None:
                nonlocal state
                for _ in range(STEPS):
                    state = solver.step(objective, state)

            return partial(take)

        seconds, ratio = compare(comm, steps("fast"), steps("exact"), repeats=REPEATS)
        resent = comm.resent - resent
        total = exact.of_blocks(np.random.default_rng(comm.rank).random((3, d + 3)))
        smaller = exact.of_blocks(np.random.default_rng(comm.rank).random((3, d + 3)) * 1e-30)
        comm.sum_exactly(total)

        def twice(total: np.ndarray = total, smaller: np.ndarray = smaller) -> None:
            comm.sum_exactly(smaller)
            comm.sum_exactly(total)

        plain, *others = compare(
            comm,
            partial(comm.sum, np.ones(d + 3)),
            partial(comm.sum_fast, total),
            partial(comm.sum_exactly, total),
            twice,
            repeats=REPEATS,
        )
        fast, once, two_of_twice = others
        table.add(
            d,
            data.rows,
            1e3 * seconds / STEPS,
            ratio,
            f"{8 * (3 * (d + 3) + 3)} / {8 * (d + 5)}",
            *(f"{1e3 * plain * times:.3f}" for times in (1.0, fast, once, two_of_twice / 2.0)),
            resent,
        )
    if comm.rank == 0:
        head = (
            f"# Exact sums, {comm.size} rank(s)\n\nMachine: {describe()}. Medians of {REPEATS} rounds of {STEPS} steps "
            "of either kind in turn.\n\n"
        )
        path = Path(__file__).parent / f"exact-sums-{comm.size}.md"
        path.write_text(head + "\n".join(table.lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Predictions of what a fit takes: against hand-computed numbers, and against what real fits send, read and hold."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import mpigd_kernels as kernels
import numpy as np
import pytest
from conftest import load_table, mpirun
from mpigd_data import path_of
from scipy import sparse

from mpigd.arguments import parse
from mpigd.comm import Comm
from mpigd.dataset import read
from mpigd.errors import DataError, UsageError
from mpigd.options import Plan, Train
from mpigd.plan import make_job, run
from mpigd.planning.forecast import Forecast, Job, Memory, Share, counts, forecast, spread, worth_having
from mpigd.planning.network import Link, Network, fitted, rounds
from mpigd.planning.probe import Machine
from mpigd.planning.sample import Sample
from mpigd.planning.script import arguments_of, batch_script, time_limit
from mpigd.problem import make_objective, make_solver
from mpigd.solvers.choice import Work
from mpigd.storage import read_header
from mpigd.train import fit

GIGA = 1e-9  # seconds a byte of 1 GB/s
MACHINE = Machine(
    cores=4,
    memory=64 << 30,
    ranks=1,
    each=1,
    opening=1e-3,
    read=GIGA,
    gradient=0.25 * GIGA,
    hessian=0.5 * GIGA,
    moments=0.25 * GIGA,
    bus=0.1 * GIGA,
    beside_gradient=1e-4,
    beside_hessian=1e-3,
    factor=1e-3,
    solve=1e-5,
    within=None,
)
NETWORK = Network(Link(1e-6, 0.25 * GIGA), Link(2e-6, 0.1 * GIGA))
PROCESS = 100 << 20


def test_an_allreduce_by_hand() -> None:
    link = Link(2e-6, 1e-10)  # 10 GB/s
    assert [rounds(p) for p in (1, 2, 3, 4, 5, 8, 9, 1024)] == [0, 1, 2, 2, 3, 3, 4, 10]
    assert link.allreduce(1e6, 1) == 0.0
    assert link.allreduce(0, 2) == pytest.approx(4e-6)
    assert link.allreduce(1e6, 8) == pytest.approx(2 * 3 * 2e-6 + 2 * 1e6 / 10e9)
    # 8 ranks of each of 4 nodes: three rounds there and back within a node, two between nodes.
    expected = (6 * 1e-6 + 2e6 * 0.25e-9) + (4 * 2e-6 + 2e6 * 0.1e-9)
    assert NETWORK.allreduce(1e6, 4, 8) == pytest.approx(expected)
    assert link.bandwidth == pytest.approx(10e9)
    assert Link(1e-6, 0.0).bandwidth == np.inf


@pytest.mark.parametrize("processes", [2, 3, 8])
def test_a_link_is_found_from_what_it_does(processes: int) -> None:
    link, sizes = Link(3e-6, 2e-10), (8, 512, 1 << 15, 1 << 21)
    found = fitted(sizes, [link.allreduce(size, processes) for size in sizes], processes)
    assert (found.latency, found.per_byte) == pytest.approx((3e-6, 2e-10))


def test_noise_makes_no_link_negative() -> None:
    found = fitted((8, 1 << 20), (1e-3, 0.9e-3), 2)  # the larger message took less
    assert found.latency > 0.0
    assert found.per_byte == 0.0


# ---- what is sent, read and held ----


def sample_of(comm: Comm, path: Path, options: Train) -> Sample:
    """All rows as a sample, so that nothing has to be measured."""
    data = read(comm, path, target=kernels.LOSSES[options.loss].target)
    return Sample(data, data.header.bytes, 0.0, 0.0)


def job_of(comm: Comm, path: Path, **options: Any) -> tuple[Job, str]:
    chosen = Plan(path, **options)
    sample = sample_of(comm, path, chosen)
    solver, name, _ = make_solver(chosen.fit, sample.data)
    return make_job(chosen, sample, name, getattr(solver, "one_in", 0))[0], name


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of every sum over ranks."""
    found: list[int] = []
    original = Comm.sum

    def spy(self: Comm, buffer: np.ndarray) -> np.ndarray:
        found.append(buffer.nbytes)
        return original(self, buffer)

    monkeypatch.setattr(Comm, "sum", spy)
    return found


@pytest.mark.mpi
@pytest.mark.parametrize("reduce", ["exact", "fast"])
@pytest.mark.parametrize(("table", "loss"), [("boston", "squared"), ("digits", "softmax"), ("breast_cancer", "probit")])
def test_messages_are_as_long_as_predicted(comm: Comm, sent: list[int], table: str, loss: Any, reduce: Any) -> None:
    path = path_of(table)
    options = Train(path, loss=loss, reduce=reduce, solver="lbfgs")
    job, _ = job_of(comm, path, loss=loss, reduce=reduce, solver="lbfgs")
    objective = make_objective(comm, sample_of(comm, path, options).data, options)
    theta = np.zeros(objective.shape)
    for step, hessian in (
        (lambda: objective.value_and_gradient(theta), False),
        (lambda: objective.metric(theta, 1, 0), True),
    ):
        step()  # the first sum of its kind may be sent twice
        sent.clear()
        step()
        assert sent == [job.message(hessian)]


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("table", "options"),
    [
        ("boston", {}),
        ("boston", {"solver": "newton"}),
        ("breast_cancer", {"loss": "logistic", "l2": 0.1}),
        ("breast_cancer", {"loss": "logistic", "l2": 0.1, "solver": "lbfgs"}),
        ("digits", {"loss": "softmax", "l2": 0.1}),
    ],
)
def test_fits_take_about_as_many_passes_as_predicted(comm: Comm, table: str, options: dict[str, Any]) -> None:
    job, name = job_of(comm, path_of(table), **options)
    chosen = Train(path_of(table), **options)
    fitted = fit(comm, sample_of(comm, path_of(table), chosen).data, chosen)
    assert fitted.solver == name
    assert job.work.passes / 3.0 <= fitted.state.passes <= 3.0 * job.work.passes


RESIDENT = """
import atexit, resource, runpy, sys
atexit.register(lambda: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, file=sys.stderr))
sys.argv[0] = "mpigd"
runpy.run_module("mpigd", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(("rows", "columns"), [(400_000, 32), (12_800, 1000)])
def test_memory_is_near_that_of_a_real_fit(tmp_path: Path, rows: int, columns: int) -> None:
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        X = file.create_dataset("X", (rows, columns), "f8")  # 100 MB
        for first in range(0, rows, 6400):
            some = min(6400, rows - first)
            X[first : first + some] = np.random.default_rng(first).standard_normal((some, columns))
        file["y"] = X[:, 0] > 0.0
    (tmp_path / "program.py").write_text(RESIDENT)
    fitting = ["train", "data.h5", "--loss", "logistic", "--max-passes", 3, "--run-dir", "run", "--json"]
    for _ in range(2):  # the first may have to compile
        real = mpirun("program.py", *fitting, ranks=1, module=False, cwd=tmp_path)
        assert real.status == 0, real.err
    planned = mpirun("plan", "data.h5", "--loss", "logistic", "--ranks", 1, "--json", ranks=1, cwd=tmp_path).json()
    held = int(real.err.split()[-1])
    assert planned["forecasts"][0]["memory"] == pytest.approx(held, rel=0.25)
    assert planned["forecasts"][0]["memory_of"]["x"] == rows * columns * 8


# ---- forecasts ----


@pytest.fixture(params=["dense", "chunks", "sparse"])
def job(request: pytest.FixtureRequest, tmp_path: Path) -> Job:
    """Of 12,345,678 rows of which there is a header only."""
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        if request.param == "sparse":
            rows = sparse.csr_array(np.eye(100, 20))
            group = file.create_group("X")
            group.attrs.update({"encoding-type": "csr_matrix", "shape": rows.shape})
            group["data"], group["indices"], group["indptr"] = rows.data, rows.indices, rows.indptr
        else:
            file.create_dataset("X", data=np.ones((100, 20)), chunks=(100, 20) if request.param == "chunks" else None)
        file["y"] = np.ones(100)
    small = read_header(path)
    header = replace(small, n=12_345_678, stored=None if small.stored is None else 10 * 12_345_678)
    known = job_of(Comm.alone(), path)[0]
    return replace(known, header=header, stored=header.bytes, work=Work(10.0, 1.0, 10.0, 1.0, 1.0, 10.0))


def test_more_ranks_take_less(job: Job) -> None:
    many = replace(MACHINE, cores=1 << 20, bus=0.0)
    found = [forecast(job, many, PROCESS, NETWORK, ranks, 1) for ranks in (1, 2, 3, 4, 8, 16, 64, 256, 1024)]
    for less, more in itertools.pairwise(found):
        assert more.memory.total < less.memory.total
        assert more.read_seconds < less.read_seconds
        assert more.pass_seconds < less.pass_seconds
        assert more.comm_seconds >= less.comm_seconds
    assert found[0].comm_share == 0.0


def test_slices_hold_all_rows(job: Job) -> None:
    for ranks in (1, 2, 3, 7, 64, 1000, job.blocks, job.blocks + 5, 10 * job.blocks):
        assert job.rows(ranks) * ranks >= job.header.n
        assert job.rows(ranks) >= min(job.header.block, job.header.n)
    assert job.rows(1) == job.header.n
    assert job.rows(10 * job.blocks) == job.header.block


def test_cores_memory_and_files_set_limits(job: Job) -> None:
    def share(ranks: int, nodes: int = 1, **changed: Any) -> Share:
        return Share.of(job, replace(MACHINE, **changed), ranks, nodes)

    size = job.header.bytes  # slices differ by a unit, which is large where chunks are
    # 8 ranks share 4 cores: no faster than 4, and 4 of each of two nodes are.
    assert share(8).passing(GIGA, 0.0) == pytest.approx(share(4).passing(GIGA, 0.0), rel=0.1)
    assert share(8, 2).passing(GIGA, 0.0) == pytest.approx(0.5 * share(4).passing(GIGA, 0.0), rel=0.1)
    # A rank that was measured beside seven others on the four cores is twice as fast alone.
    assert share(1, each=8).passing(GIGA, 0.0) == pytest.approx(0.5 * size * GIGA, rel=0.01)
    # Memory of a node that gives 2 GB/s serves no more than that, however many cores there are.
    assert share(4, bus=0.5 * GIGA).passing(GIGA, 0.0) == pytest.approx(0.5 * size * GIGA, rel=0.01)
    slow = replace(job, read_rate=1e8, stored=2 * size)
    assert Share.of(slow, MACHINE, 4, 2).reading() == pytest.approx(size / 1e8, rel=0.1)


def test_streaming_is_foreseen(job: Job) -> None:
    limited = replace(job, memory=1 << 29)
    for ranks in (1, 2, 1024):
        found = forecast(limited, MACHINE, PROCESS, NETWORK, ranks, ranks)
        free = forecast(job, MACHINE, PROCESS, NETWORK, ranks, ranks)
        assert found.streams == (free.memory.total > 0.8 * (1 << 29))
        assert found.fits
        assert found.memory.total <= 1 << 29
        assert found.pass_seconds >= free.pass_seconds
    none = forecast(replace(job, memory=PROCESS), MACHINE, PROCESS, NETWORK, 4, 1)
    assert not none.fits
    tiny = forecast(job, replace(MACHINE, memory=1 << 28), PROCESS, NETWORK, 4, 1)
    assert not tiny.fits


def test_which_numbers_of_ranks_are_compared() -> None:
    assert counts(8, 1000) == [1, 2, 4, 8, 16]
    assert counts(6, 1000) == [1, 2, 4, 6, 8]
    assert counts(8, 3) == [1, 2, 8]  # what is asked for is shown in any case
    assert counts(1, 1) == [1]
    assert [spread(*some) for some in ((1, 4), (8, 4), (9, 4), (8, 1))] == [(1, 1), (4, 2), (4, 3), (1, 8)]


def test_how_many_ranks_are_worth_having() -> None:
    def sequence(*seconds: float, fits: int = 0) -> list[Forecast]:
        memory = Memory(1, 1, 1, 1)
        return [
            Forecast(1 << k, 1, 1 << k, memory, False, k >= fits, 0.1, 0.1, 0.0, 0.0, 10.0, s)
            for k, s in enumerate(seconds)
        ]

    assert worth_having(sequence(8, 4, 2, 1.6, 0.8), 100)[0] == 4
    assert (
        worth_having(sequence(8, 4, 2, 1.6), 100)[1]
        == "4 ranks are worth having: twice as many would save 20% of the time."
    )
    assert worth_having(sequence(8, 7), 100)[1].startswith("1 rank is worth having: twice as many would save 12%")
    assert worth_having(sequence(8, 9), 100)[1] == "1 rank is worth having: more would save no time."
    assert worth_having(sequence(8, 4, 2, 1), 5) == (
        4,
        "4 ranks are worth having: there are 5 blocks of rows to share.",
    )
    assert worth_having(sequence(8, 4, 2, 1), 100)[1].startswith("8 ranks are worth having, or more")
    assert worth_having(sequence(8, 4, 2, 1.6, fits=3), 100)[0] == 8
    assert worth_having(sequence(8, 4, fits=3), 100)[0] is None


# ---- the script ----


SCRIPTED = Forecast(12, 3, 4, Memory(100 << 20, 1 << 30, 0, 0), False, True, 1.0, 1.0, 1e-3, 0.0, 10.0, 1000.0)


def test_the_script_asks_for_what_was_planned(tmp_path: Path) -> None:
    options = Train((Path("some data.h5"), Path("more*.h5")), loss="logistic", intercept=False, lower=-1.5, threads=2)
    text = batch_script(options, SCRIPTED)
    script = tmp_path / "script"
    script.write_text(text)
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    asked = [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH")]
    assert asked == [
        "--job-name=mpigd",
        "--nodes=3",
        "--ntasks=12",
        "--ntasks-per-node=4",
        "--cpus-per-task=2",
        f"--mem={int(np.ceil(4 * 1.2 * 1124 + 300))}M",
        "--time=00:50:00",
        "--requeue",
        "--open-mode=append",
    ]
    assert "train 'some data.h5' 'more*.h5' --loss=logistic --no-intercept --lower=-1.5 --threads=2 --resume" in text
    assert "run=runs/mpigd-$SLURM_JOB_ID\n" in text
    assert 'slot:PE="$SLURM_CPUS_PER_TASK"' in text


@pytest.mark.parametrize(
    ("seconds", "limit"), [(0.1, "00:10:00"), (200.0, "00:10:00"), (3000.0, "02:30:00"), (1e5, "3-11:20:00")]
)
def test_time_limits(seconds: float, limit: str) -> None:
    assert time_limit(seconds) == limit


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"l1": 0.5, "group": "of columns", "intercept": False, "path": 5, "run_dir": Path("a run")},
        {"lower": -1e-3, "learning_rate": 0.5, "solver": "gd", "memory": "2GiB", "scratch": Path("/tmp")},
        {"test_data": (Path("a.h5"), Path("b c.h5")), "validation_data": (Path("d.h5"),), "stratify": False},
    ],
)
def test_the_command_of_the_script_has_the_same_options(changed: dict[str, Any]) -> None:
    options = Train((Path("x.h5"), Path("y.h5")), **changed)
    assert parse(["train", *arguments_of(options)], {"train": Train}) == options


# ---- the job ----


@pytest.mark.mpi
@pytest.mark.parametrize("loss", ["squared", "logistic", "softmax"])
def test_all_ranks_agree(comm: Comm, write_data: Callable[..., Path], loss: Any) -> None:
    rng = np.random.default_rng(0)  # three blocks: some of many ranks have none; labels are sorted
    path = write_data(X=rng.standard_normal((40, 3)), y=np.arange(40.0) // (20 if loss == "logistic" else 8))
    planned = run(comm, Plan(path, loss=loss, ranks=16))
    told = planned.summary()
    assert all(json.dumps(some) == json.dumps(told) for some in comm.gather(told))
    assert planned.solver == ("lbfgs" if loss == "softmax" else planned.solver)
    assert planned.job.shape.outputs == (5 if loss == "softmax" else 1)
    assert [f.ranks for f in planned.forecasts] == [1, 2, 16]
    assert planned.worth is not None
    assert planned.worth <= planned.job.blocks == 3
    assert any("3 blocks" in note for note in planned.notes)
    assert (planned.machine.within is not None) == (planned.machine.each > 1)
    assert planned.machine.ranks == comm.size


@pytest.mark.mpi
def test_sparse_rows_and_stochastic_solvers(comm: Comm, write_data: Callable[..., Path]) -> None:
    rng = np.random.default_rng(0)
    rows = sparse.csr_array(rng.standard_normal((400, 30)) * (rng.random((400, 30)) < 0.1))
    path = write_data(y=rng.standard_normal(400))
    if comm.rank == 0:
        with h5py.File(path, "a") as file:
            group = file.create_group("X")
            group.attrs.update({"encoding-type": "csr_matrix", "shape": rows.shape})
            group["data"], group["indices"], group["indptr"] = rows.data, rows.indices, rows.indptr
    comm.leave()
    planned = run(comm, Plan(path, solver="sgd", batch_size=40, max_passes=100))
    assert planned.forecasts[0].passes == 100.0
    assert planned.job.work.gradient_sums == 50.0 * 11.0  # ten mini-batches and the objective, in every other pass
    assert any("--max-passes" in note for note in planned.notes)
    assert not planned.job.hessian


@pytest.mark.mpi
def test_what_is_wrong_with_the_data_is_said(comm: Comm, write_data: Callable[..., Path]) -> None:
    X = np.ones((300, 2))
    X[290, 1] = np.nan
    with pytest.raises(DataError, match="nan at row 290, column 1"):
        run(comm, Plan(write_data("nan.h5", X=X, y=np.ones(300))))
    three = write_data("three.h5", X=np.ones((300, 2)), y=np.arange(300.0) // 100)
    with pytest.raises(DataError, match="3 different labels"):
        run(comm, Plan(three, loss="logistic"))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"ranks": 0}, "--ranks 0"),
        ({"nodes": 0}, "--nodes 0"),
        ({"ranks": 2, "nodes": 3}, "no more than --ranks"),
        ({"latency": -1.0}, "--latency"),
        ({"bandwidth": 0.0}, "--bandwidth"),
        ({"read_rate": 0.0}, "--read-rate"),
        ({"l2": -1.0}, "--l2"),
    ],
)
def test_impossible_options(options: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        Plan(Path("x.h5"), **options)


@pytest.mark.parametrize(
    ("options", "status", "text"),
    [
        (["--ranks", "0"], 2, "--ranks 0"),
        (["--memory", "two"], 2, "two: expected a number of bytes"),
        (["--solver", "direct", "--loss", "poisson"], 2, "--solver direct"),
        (["--slurm", "none/of/it/script"], 5, "none"),
    ],
)
def test_one_error_on_all_ranks(tmp_path: Path, options: list[str], status: int, text: str) -> None:
    (tmp_path / "none").touch()
    done = mpirun("plan", path_of("boston"), *options, ranks=2, cwd=tmp_path)
    assert done.status == status
    [complaint] = done.complaints()
    assert text in complaint


def test_the_command_under_mpirun(tmp_path: Path) -> None:
    command = ["plan", path_of("boston"), "--l2", 0.1, "--ranks", 4, "--nodes", 2, "--slurm", "script"]
    told = mpirun(*command, "--json", ranks=2, cwd=tmp_path).json()
    assert told["network_measured"] is True
    assert told["network"]["between"] == {"latency": 2e-6, "per_byte": 1e-10}
    assert [(f["ranks"], f["nodes"], f["each"]) for f in told["forecasts"]] == [
        (1, 1, 1),
        (2, 2, 1),
        (4, 2, 2),
        (8, 2, 4),
    ]
    assert told["solver"] == "direct"
    assert told["columns"] == load_table("boston").X.shape[1]
    text = (tmp_path / "script").read_text()
    assert "--ntasks=4" in text
    assert "--l2=0.1" in text
    assert [path.name for path in tmp_path.iterdir()] == ["script"]
    shown = mpirun(*command, ranks=1, cwd=tmp_path)
    assert shown.status == 0, shown.err
    for part in ("solver: direct", "worth having", "speed-up", "assumed", "Written to script"):
        assert part in shown.out

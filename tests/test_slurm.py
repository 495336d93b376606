"""The batch scripts of examples/slurm on a real SLURM: limits, requeueing, cancelling, a node that is set down."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import chaos
import hosts
import pytest
import slurm
from conftest import launcher
from mpi4py import MPI

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "slurm"
OPTIONS = ("--solver", "gd", "--tol", "0", "--max-passes", "4000", "--checkpoint-steps", "200")
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(slurm.lacking()), reason=slurm.lacking() or "-"),
    pytest.mark.skipif(not MPI.Get_library_version().startswith("Open MPI v5"), reason="the scripts want Open MPI 5"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurm.Slurm]:
    with slurm.Slurm(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chaos.make_data(tmp_path_factory.mktemp("data"))["dense"]


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    job = chaos.Job(tmp_path_factory.mktemp("undisturbed") / "run", data, OPTIONS, 2)
    assert job.wait()[0] == 0, job.said
    return job.model()


class Batch:
    """A job of a script of examples/slurm."""

    def __init__(
        self,
        cluster: slurm.Slurm,
        folder: Path,
        script: str,
        data: Path,
        *asked: str,
        options: tuple[str, ...] = OPTIONS,
        settings: dict[str, str] | None = None,
    ) -> None:
        """The options are of mpigd.

        asked : of SLURM, instead of what the script asks for.  settings : of the environment of the job.
        """
        self.cluster, self.directory = cluster, folder / "run"
        # What a module and an activated environment would give.
        path = f"{Path(launcher()).parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        mpi = {key: value for key, value in os.environ.items() if key.startswith(("OMPI_ALLOW", "PRTE_", "OMPI_MCA"))}
        mpi |= {"PATH": path, "OMPI_MCA_mpi_yield_when_idle": "1", "OMPI_MCA_btl": "^ofi,uct,openib"}
        mpi |= settings or {}
        self.output = folder / "output"
        self.id = cluster(
            *("sbatch", "--parsable", "--export=ALL", f"--chdir={folder}", f"--output={self.output}", *asked),
            *(str(EXAMPLES / script), str(data), str(self.directory), *options),
            **mpi,
        )
        assert self.id.isdigit(), self.id

    @property
    def status(self) -> str:
        return chaos.status_of(self.directory)

    @property
    def steps(self) -> int:
        return chaos.records_of(self.directory)

    def model(self) -> Any:
        return chaos.model_of(self.directory)

    def ranks(self) -> list[int]:
        """Process numbers of its ranks."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode().split("\0")
                if str(self.directory) in words and not chaos.is_launcher(int(entry.name)):
                    found.append(int(entry.name))
        return found

    def run(self, steps: int = 300) -> None:
        """Wait until it has made some steps."""
        self.cluster.wait_for(lambda: self.status == "running" and self.steps > steps)

    def queued_again(self) -> None:
        """Wait until it is."""
        self.cluster.wait_for(lambda: self.cluster.state(self.id) == "PENDING")

    def complete(self, within: float = 120.0) -> None:
        """Wait for its end, which has to be a good one."""
        ends = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
        self.cluster.wait_for(lambda: self.cluster.state(self.id) in ends, within)
        assert self.cluster.state(self.id) == "COMPLETED", self.cluster.log + self.output.read_text()
        assert self.status == "done"


def test_a_job_is_queued_again_ahead_of_its_limit(
    cluster: slurm.Slurm, data: Path, tmp_path: Path, undisturbed: Any
) -> None:
    batch = Batch(cluster, tmp_path, "requeue.sbatch", data, "--ntasks=4")
    batch.run()
    # As near the limit: the script's shell passes nothing on, so the ranks are told.
    cluster("scancel", "--signal=USR1", "--full", batch.id)
    batch.queued_again()
    batch.complete()
    assert batch.model() == undisturbed
    assert '"resumed"' in (batch.directory / "events.jsonl").read_text()


def test_a_job_whose_node_is_set_down_goes_on_later(
    cluster: slurm.Slurm, data: Path, tmp_path: Path, undisturbed: Any
) -> None:
    batch = Batch(cluster, tmp_path, "requeue.sbatch", data, "--ntasks=4")
    batch.run()
    cluster("scontrol", "update", f"nodename={cluster.nodes[0]}", "state=down", "reason=test")
    batch.queued_again()
    cluster("scontrol", "update", f"nodename={cluster.nodes[0]}", "state=resume")
    batch.complete()
    assert batch.model() == undisturbed


def test_a_job_that_is_cancelled_leaves_a_checkpoint(
    cluster: slurm.Slurm, data: Path, tmp_path: Path, undisturbed: Any
) -> None:
    batch = Batch(cluster, tmp_path, "one-node.sbatch", data)
    batch.run()
    cluster("scancel", batch.id)
    cluster.wait_for(lambda: cluster.state(batch.id) == "CANCELLED")
    assert batch.status in ("stopped", "running")
    again = chaos.Job(batch.directory, data, OPTIONS, 3, "--resume")
    assert again.wait()[0] == 0, again.said
    assert again.model() == undisturbed


def test_the_limit_of_a_job_itself(cluster: slurm.Slurm, data: Path, tmp_path: Path, undisturbed: Any) -> None:
    batch = Batch(cluster, tmp_path, "requeue.sbatch", data, "--time=1")
    batch.run()
    # A step that takes a third of the minute, which is the least that SLURM counts: there is no time for two more.
    sleeper = batch.ranks()[0]
    os.kill(sleeper, signal.SIGSTOP)
    time.sleep(20.0)
    os.kill(sleeper, signal.SIGCONT)
    batch.queued_again()
    assert "its time limit is near" in batch.output.read_text()
    batch.complete()
    events = [event["event"] for event in chaos.events_of(batch.directory) if event["event"] != "slow rank"]
    # On a slow machine it needs more than two goes.
    assert events == ["stopped", "resumed"] * max(len(events) // 2, 1)
    assert batch.model() == undisturbed


def test_an_array_of_jobs(cluster: slurm.Slurm, data: Path, tmp_path: Path) -> None:
    options = ("--loss", "logistic")
    batch = Batch(cluster, tmp_path, "tuning-array.sbatch", data, "--array=1,4", "--ntasks=2", options=options)
    runs = [batch.directory / f"l2-{strength}" for strength in ("1e-2", "1e-5")]
    cluster.wait_for(lambda: all(chaos.status_of(run) == "done" for run in runs), 120.0)
    assert sorted(batch.directory.iterdir()) == sorted(runs)
    models = {chaos.model_of(run) for run in runs}
    assert None not in models
    assert len(models) == 2


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[slurm.Slurm, hosts.Hosts]]:
    if hosts.lacking():
        pytest.skip(hosts.lacking())
    with hosts.Hosts(3) as running, slurm.Slurm(tmp_path_factory.mktemp("nodes"), running) as cluster:
        yield cluster, running


def test_several_nodes_with_threads(
    nodes: tuple[slurm.Slurm, hosts.Hosts], data: Path, tmp_path: Path, undisturbed: Any
) -> None:
    cluster, running = nodes
    asked = ("--nodes=3", "--ntasks-per-node=1", "--cpus-per-task=2")
    batch = Batch(cluster, tmp_path, "hybrid.sbatch", data, *asked, settings=running.settings(tmp_path))
    batch.complete()
    assert batch.model() == undisturbed
    assert min(map(running.bytes_sent, running.names)) > 100_000


def test_a_job_that_loses_a_node_goes_on_without_it(
    nodes: tuple[slurm.Slurm, hosts.Hosts], data: Path, tmp_path: Path, undisturbed: Any
) -> None:
    cluster, running = nodes
    asked = ("--nodes=2", "--ntasks-per-node=2")
    batch = Batch(cluster, tmp_path, "many-nodes.sbatch", data, *asked, settings=running.settings(tmp_path))
    batch.run()
    assert cluster.words(batch.id)["NodeList"] == "n[1-2]"
    running.cut("n2")
    try:
        batch.complete(200.0)
    finally:
        running.mend("n2")
    assert cluster.words(batch.id)["NodeList"] == "n[1,3]"
    assert batch.model() == undisturbed
    assert "resumed" in [event["event"] for event in chaos.events_of(batch.directory)]

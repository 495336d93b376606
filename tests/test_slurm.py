"""The batch scripts of examples/slurm on a real SLURM: limits, requeueing, cancelling, a node that is set down."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chaos
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

    def __init__(self, cluster: slurm.Slurm, folder: Path, script: str, data: Path) -> None:
        self.cluster, self.directory = cluster, folder / "run"
        # What a module and an activated environment would give.
        path = f"{Path(launcher()).parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        mpi = {key: value for key, value in os.environ.items() if key.startswith(("OMPI_ALLOW", "PRTE_", "OMPI_MCA"))}
        mpi |= {"PATH": path, "OMPI_MCA_mpi_yield_when_idle": "1", "OMPI_MCA_btl": "^ofi,uct,openib"}
        self.output = folder / "output"
        self.id = cluster(
            *("sbatch", "--parsable", "--export=ALL", f"--chdir={folder}", f"--output={self.output}"),
            *(str(EXAMPLES / script), str(data), str(self.directory), *OPTIONS),
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

    def run(self, steps: int = 300) -> None:
        """Wait until it has made some steps."""
        self.cluster.wait_for(lambda: self.status == "running" and self.steps > steps)

    def queued_again(self) -> None:
        """Wait until it is."""
        self.cluster.wait_for(lambda: self.cluster.state(self.id) == "PENDING")

    def complete(self) -> None:
        """Wait for its end, which has to be a good one."""
        self.cluster.wait_for(lambda: self.cluster.state(self.id) in ("COMPLETED", "FAILED", "CANCELLED"), 120.0)
        assert self.cluster.state(self.id) == "COMPLETED", self.cluster.log + self.output.read_text()
        assert self.status == "done"


def test_a_job_is_queued_again_ahead_of_its_limit(
    cluster: slurm.Slurm, data: Path, tmp_path: Path, undisturbed: Any
) -> None:
    batch = Batch(cluster, tmp_path, "requeue.sbatch", data)
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
    batch = Batch(cluster, tmp_path, "requeue.sbatch", data)
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

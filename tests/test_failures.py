"""Ranks die, signals and time limits strike, disks are full: whole jobs, compared with undisturbed ones."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import chaos
import h5py
import pytest
from mpi4py import MPI

from mpigd import checkpoint
from mpigd.errors import UsageError
from mpigd.launch import check_launch, end_of_job
from mpigd.options import parse_seconds

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not MPI.Get_library_version().startswith("Open MPI v5"), reason="only Open MPI 5 goes on after deaths"
    ),
]
LONG = ("--solver", "gd", "--tol", "0", "--max-passes", "4000")  # some seconds


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return chaos.make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def undisturbed(data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    job = chaos.Job(tmp_path_factory.mktemp("undisturbed") / "run", data["dense"], LONG, 2)
    assert job.wait()[0] == 0, job.said
    return job.model()


@pytest.fixture
def start(data: dict[str, Path], tmp_path: Path) -> Iterator[Callable[..., chaos.Job]]:
    with chaos.ended() as jobs:

        def begin(*more: str, ranks: int = 3, options: tuple[str, ...] = LONG, at: Path | None = None) -> chaos.Job:
            jobs.append(chaos.Job(at or tmp_path / "run", data["dense"], options, ranks, *more))
            return jobs[-1]

        yield begin


def test_ranks_that_are_killed_do_not_change_a_bit(tmp_path: Path) -> None:
    cases = ["sgd", "sparse", "nesterov-l1", "saga", "streamed"]
    tally = chaos.kill_ranks(random.Random(5), tmp_path, 12, cases)
    assert tally.bad == 0
    assert tally.ends["survived"] >= 3


def test_a_job_that_is_killed_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    tally = chaos.kill_whole(random.Random(6), tmp_path, 8, ["saga", "prox-newton-path", "nesterov-l1"])
    assert tally.bad == 0
    assert tally.ends["survived"] >= 1


SEARCH = ("--solver", "gd", "--tol", "0", "--max-passes", "700", "--over", "learning_rate=0.02,0.03,0.04")


def test_a_search_whose_rank_is_killed_begins_anew(data: dict[str, Path], tmp_path: Path) -> None:
    def started(name: str, ranks: int) -> chaos.Job:
        jobs.append(chaos.Job(tmp_path / name, data["dense"], SEARCH, ranks, command="tune"))
        return jobs[-1]

    with chaos.ended() as jobs:
        disturbed = started("killed", ranks=3)
        while len(chaos.ranks_of(disturbed.process.pid)) < 3:
            assert disturbed.process.poll() is None, disturbed.said
            time.sleep(0.02)
        time.sleep(2.0)  # amid the search, mostly; wherever it is, nothing may differ
        os.kill(chaos.ranks_of(disturbed.process.pid)[-1], signal.SIGKILL)
        assert disturbed.wait()[0] == 0, disturbed.said
        assert "beginning again with 2 rank(s)" in disturbed.said
        alone = started("alone", ranks=1)
        assert alone.wait()[0] == 0, alone.said
    trials = [json.loads((tmp_path / name / "tuning.json").read_text())["trials"] for name in ("killed", "alone")]
    assert trials[0] == trials[1]
    assert disturbed.model() == alone.model()


def test_a_search_stops_at_a_signal_and_goes_on(data: dict[str, Path], tmp_path: Path) -> None:
    def started(name: str, ranks: int, *more: str) -> chaos.Job:
        jobs.append(chaos.Job(tmp_path / name, data["dense"], SEARCH, ranks, *more, command="tune"))
        return jobs[-1]

    with chaos.ended() as jobs:
        stopped = started("stopped", 3)
        stopped.underway()
        time.sleep(0.5)
        os.kill(max(chaos.ranks_of(stopped.process.pid)), signal.SIGTERM)
        assert stopped.wait()[0] == 7, stopped.said
        assert "stopped amid a search: a signal asked for it; go on with --resume" in stopped.said
        assert stopped.status == "stopped"
        again, alone = started("stopped", 2, "--resume"), started("alone", 1)
        assert again.wait()[0] == 0, again.said
        assert alone.wait()[0] == 0, alone.said
    trials = [json.loads((tmp_path / name / "tuning.json").read_text())["trials"] for name in ("stopped", "alone")]
    assert trials[0] == trials[1]
    assert again.model() == alone.model()


def test_a_search_stops_at_a_death_where_that_is_asked_for(data: dict[str, Path], tmp_path: Path) -> None:
    with chaos.ended() as jobs:
        job = chaos.Job(tmp_path / "run", data["dense"], SEARCH, 3, "--on-failure", "stop", command="tune")
        jobs.append(job)
        job.underway()
        os.kill(max(chaos.ranks_of(job.process.pid)), signal.SIGKILL)
        assert job.wait()[0] == 8, job.said
        assert "2 rank(s) are left (--on-failure stop)" in job.said


def test_a_stopped_rank_does_not_hang_a_search(data: dict[str, Path], tmp_path: Path) -> None:
    with chaos.ended() as jobs:
        job = chaos.Job(tmp_path / "run", data["dense"], SEARCH, 3, "--stall-timeout", "3", command="tune")
        jobs.append(job)
        job.underway()
        victim = max(chaos.ranks_of(job.process.pid))
        os.kill(victim, signal.SIGSTOP)
        assert job.wait()[0] == 0, job.said
        assert f"(process {victim}) has not come to a sum for 3 s" in job.said
        assert "beginning again with 2 rank(s)" in job.said


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_a_signal_to_any_rank_stops_all_with_a_checkpoint(
    start: Callable[..., chaos.Job], undisturbed: Any, name: str
) -> None:
    job = start()
    job.reach(50)
    os.kill(max(chaos.ranks_of(job.process.pid)), getattr(signal, name))
    assert job.wait()[0] == 7, job.said
    assert job.status == "stopped"
    assert job.said.count("mpigd: ") == 1
    assert "a signal asked for it; go on with --resume" in job.said
    assert len(checkpoint.names_in(job.directory)) == 1
    again = start("--resume", ranks=2)
    assert again.wait()[0] == 0, again.said
    assert again.model() == undisturbed
    assert again.status == "done"
    assert chaos.events_of(again.directory)[-1]["event"] == "resumed"
    assert checkpoint.names_in(job.directory) == []
    assert start("--resume").wait()[0] == 2
    assert start("--resume", "auto").wait()[0] == 0


def test_a_time_limit_stops_the_fit_ahead_of_it(start: Callable[..., chaos.Job]) -> None:
    job = start("--time-limit", "3s", options=(*LONG[:-1], "1000000"))
    assert job.wait()[0] == 7, job.said
    assert "its time limit is near" in job.said
    refused = start("--resume")  # with another budget, on which the fit depends
    assert refused.wait()[0] == 2
    assert "the fit had other options: --max-passes was 1000000" in refused.said


def test_other_data_are_refused(start: Callable[..., chaos.Job], data: dict[str, Path], tmp_path: Path) -> None:
    job = start()
    job.reach(20)
    os.kill(min(chaos.ranks_of(job.process.pid)), signal.SIGTERM)
    assert job.wait()[0] == 7
    other = tmp_path / "other.h5"
    shutil.copy(data["dense"], other)
    with h5py.File(other, "r+") as file:
        file["X"][17, 3] += 1.0
    changed = chaos.Job(job.directory, other, LONG, 2, "--resume")
    assert changed.wait()[0] == 3
    assert "its rows are not those that the fit began with" in changed.said


def test_it_stops_at_a_death_where_that_is_asked_for(
    start: Callable[..., chaos.Job], undisturbed: Any, tmp_path: Path
) -> None:
    for option in (("--on-failure", "stop"), ("--min-ranks", "3")):
        job = start(*option, at=tmp_path / option[0])
        job.reach(50)
        os.kill(min(chaos.ranks_of(job.process.pid)), signal.SIGKILL)  # rank 0
        assert job.wait()[0] == 8, job.said
        assert job.status == "stopped"
        assert "rank 0 on" in job.said
        assert f"2 rank(s) are left ({' '.join(option)}); go on with --resume" in job.said
    again = start("--resume", ranks=1, at=job.directory)
    assert again.wait()[0] == 0, again.said
    assert again.model() == undisturbed


def test_a_rank_that_is_stopped_is_named_and_ended(start: Callable[..., chaos.Job], undisturbed: Any) -> None:
    job = start("--stall-timeout", "3")
    job.reach(50)
    victim = max(chaos.ranks_of(job.process.pid))
    os.kill(victim, signal.SIGSTOP)
    assert job.wait()[0] == 0, job.said
    assert f"(process {victim}) has not come to a sum for 3 s" in job.said
    assert "died; 2 rank(s) are left" in job.said
    assert job.model() == undisturbed
    assert [event["event"] for event in chaos.events_of(job.directory)] == ["ranks lost"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_costs_no_model(start: Callable[..., chaos.Job], tmp_path: Path, undisturbed: Any) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this machine does not mount: " + mounted.stderr.decode())
    try:
        job = start("--checkpoint-steps", "50", at=disk / "run")
        assert job.wait()[0] == 5, job.said
        assert "history.jsonl: can't be written: No space left" in job.said
        kept = Path(job.said.rpartition("it is in ")[2].split("\n")[0])
        with h5py.File(kept) as file:
            assert file.attrs["fingerprint"] == undisturbed[0]
        kept.unlink()
    finally:
        subprocess.run(["umount", disk], check=True)


def test_data_that_change_while_they_are_read_anew_for_every_pass(tmp_path: Path) -> None:
    kind, options = chaos.CASES["streamed"]
    own = chaos.data_for(tmp_path, ["streamed"])[kind]
    job = chaos.Job(tmp_path / "run", own, options, 2)
    job.reach(5)
    os.utime(own)
    assert job.wait()[0] == 3, job.said
    assert job.said.count("large.h5: has changed while it was read") == 1
    assert job.status == "failed"


def test_jobs_of_one_rank_each_are_found_out() -> None:
    check_launch(1, {})
    check_launch(8, {"OMPI_COMM_WORLD_SIZE": "8"})
    check_launch(1, {"SLURM_NTASKS": "8"})  # a batch script that runs one process by itself
    check_launch(4, {"OMPI_COMM_WORLD_SIZE": "4", "SLURM_STEP_NUM_TASKS": "1"})
    with pytest.raises(UsageError, match="Open MPI's mpirun has started 8 processes, but each is a job of one rank"):
        check_launch(1, {"OMPI_COMM_WORLD_SIZE": "8", "OMPI_COMM_WORLD_RANK": "0"})
    with pytest.raises(UsageError, match=r"srun has started 2 processes.*--mpi"):
        check_launch(1, {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0"})
    with pytest.raises(UsageError, match=r"^$"):  # said once, by the first of them
        check_launch(1, {"PMI_SIZE": "8", "PMI_RANK": "3"})


def test_a_launcher_that_hangs_is_ended(tmp_path: Path) -> None:
    # One that waits for ever: a shell of its name, which starts what a rank does at its end.
    (tmp_path / "prterun").symlink_to("/bin/sh")
    rank = "from mpigd.launch import end_hanging_launcher; end_hanging_launcher(2)"
    command = [tmp_path / "prterun", "-c", f"{sys.executable} -c '{rank}'; while true; do sleep 0.1; done"]
    done = subprocess.Popen(command, start_new_session=True)
    assert done.wait(30) == -signal.SIGKILL
    other = ["/bin/sh", "-c", f"{sys.executable} -c '{rank}'; sleep 4"]
    assert subprocess.run(other, check=False).returncode == 0


def test_limits_of_batch_systems() -> None:
    assert end_of_job({}) is None
    assert end_of_job({"SLURM_JOB_ID": "1", "SLURM_JOB_END_TIME": "1700000000"}) == 1.7e9
    assert [parse_seconds(text) for text in ("90", "1.5h", "1:30", "2:00:00", "1-00:00:00")] == [
        *(90.0, 5400.0, 90.0, 7200.0, 86400.0)
    ]
    with pytest.raises(UsageError, match="expected a time"):
        parse_seconds("soon")

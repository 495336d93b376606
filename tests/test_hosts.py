"""Jobs on several hosts: the same bits over a network, and hosts that are lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import chaos
import hosts
import pytest
from mpi4py import MPI

OPTIONS = ("--solver", "gd", "--tol", "0", "--max-passes", "1500", "--checkpoint-steps", "100")
SHORT = ("--solver", "lbfgs", "--loss", "logistic", "--l2", "1e-4", "--tol", "1e-9")
COUNT, EACH = 3, 2  # hosts, ranks on each
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(hosts.lacking()), reason=hosts.lacking() or "-"),
    pytest.mark.skipif(not MPI.Get_library_version().startswith("Open MPI v5"), reason="the settings are Open MPI 5's"),
]
Start = Callable[..., chaos.Job]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chaos.make_data(tmp_path_factory.mktemp("data"))["dense"]


@pytest.fixture(scope="module")
def on_one_host(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """A function: the model that options give on one host."""
    known: dict[tuple[str, ...], Any] = {}

    def fit(options: tuple[str, ...]) -> Any:
        if options not in known:
            job = chaos.Job(tmp_path_factory.mktemp("one") / "run", data, options, 2)
            assert job.wait()[0] == 0, job.said
            known[options] = job.model()
        return known[options]

    return fit


@pytest.fixture
def some_hosts(request: pytest.FixtureRequest) -> Iterator[hosts.Hosts]:
    with hosts.Hosts(COUNT, delay=getattr(request, "param", 0.0)) as running:
        yield running


@pytest.fixture
def start(some_hosts: hosts.Hosts, data: Path, tmp_path: Path) -> Iterator[Start]:
    (tmp_path / "hostfile").write_text("".join(f"{name} slots={EACH}\n" for name in some_hosts.names))

    with chaos.ended() as jobs:

        def begin(options: tuple[str, ...] = OPTIONS, *more: str, **settings: str) -> chaos.Job:
            settings |= some_hosts.settings(tmp_path) | {"PRTE_MCA_prte_default_hostfile": str(tmp_path / "hostfile")}
            prefix = some_hosts.enter(some_hosts.names[0])
            jobs.append(
                chaos.Job(tmp_path / "run", data, options, COUNT * EACH, *more, prefix=prefix, settings=settings)
            )
            return jobs[-1]

        yield begin


def nothing_left(some_hosts: hosts.Hosts, within: float = 30.0) -> None:
    """Check that no host has a process of the job."""
    end = time.monotonic() + within
    while any(map(some_hosts.processes, some_hosts.names)):
        assert time.monotonic() < end, "processes of the job are left"
        time.sleep(0.1)


def test_hosts_give_the_bits_of_one(some_hosts: hosts.Hosts, start: Start, on_one_host: Callable[..., Any]) -> None:
    job = start(SHORT)
    assert job.wait()[0] == 0, job.said
    assert job.model() == on_one_host(SHORT)
    assert min(map(some_hosts.bytes_sent, some_hosts.names)) > 100_000  # they did talk over the network


@pytest.mark.parametrize("some_hosts", [0.002], indirect=True)
def test_a_slow_network_gives_them_too(start: Start, on_one_host: Callable[..., Any]) -> None:
    job = start(SHORT)
    assert job.wait()[0] == 0, job.said
    assert job.model() == on_one_host(SHORT)


def test_a_narrow_network_gives_them_too(
    some_hosts: hosts.Hosts, start: Start, on_one_host: Callable[..., Any]
) -> None:
    some_hosts.limit(1.0)
    job = start(SHORT)
    assert job.wait()[0] == 0, job.said
    assert job.model() == on_one_host(SHORT)
    assert max(map(some_hosts.held_back, some_hosts.names)) > 0


def test_all_ranks_of_a_host_may_die(some_hosts: hosts.Hosts, start: Start, on_one_host: Callable[..., Any]) -> None:
    job = start()
    job.reach(100)
    there = set(some_hosts.processes("n3"))
    for pid in set(chaos.ranks_of(job.process.pid)) & there:
        os.kill(pid, signal.SIGKILL)
    assert job.wait()[0] == 0, job.said
    assert job.model() == on_one_host(OPTIONS)
    assert [len(event["ranks"]) for event in chaos.events_of(job.directory)] in ([EACH], [1] * EACH)
    nothing_left(some_hosts)


def test_a_host_may_be_off_the_network_for_a_moment(
    some_hosts: hosts.Hosts, start: Start, on_one_host: Callable[..., Any]
) -> None:
    job = start()
    job.reach(100)
    some_hosts.cut("n2")
    time.sleep(3.0)
    some_hosts.mend("n2")
    assert job.wait()[0] == 0, job.said
    assert job.model() == on_one_host(OPTIONS)
    assert chaos.events_of(job.directory) == []


@pytest.mark.parametrize("lose", [hosts.Hosts.kill, hosts.Hosts.cut], ids=["power", "network"])
def test_a_lost_host_ends_the_job_which_goes_on_without_it(
    some_hosts: hosts.Hosts,
    start: Start,
    data: Path,
    on_one_host: Callable[..., Any],
    lose: Callable[[hosts.Hosts, str], None],
) -> None:
    job = start(OPTIONS, **hosts.QUICK)
    job.reach(200)
    lose(some_hosts, "n3")
    assert job.wait()[0] == 8, job.said
    assert job.status == "running"  # nothing had the time to say more
    assert f"the job did not come to its end (status 8): go on with --resume --run-dir {job.directory}" in job.said
    nothing_left(some_hosts)
    again = chaos.Job(job.directory, data, OPTIONS, 3, "--resume")
    assert again.wait()[0] == 0, again.said
    assert again.model() == on_one_host(OPTIONS)
    assert chaos.events_of(job.directory)[-1]["event"] == "resumed"

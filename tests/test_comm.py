"""The communicator: sums, agreement, turns."""

from __future__ import annotations

import numpy as np
import pytest

from mpigd.comm import Comm
from mpigd.errors import DataError

pytestmark = pytest.mark.mpi


def test_sum_and_max(comm: Comm) -> None:
    np.testing.assert_array_equal(comm.sum(np.array([1.0, comm.rank])), [comm.size, sum(range(comm.size))])
    assert comm.max(np.array([comm.rank]))[0] == comm.size - 1
    assert comm.seconds > 0.0


def test_share_and_gather(comm: Comm) -> None:
    assert comm.share({"from": comm.rank}, root=comm.size - 1) == {"from": comm.size - 1}
    assert comm.gather(comm.rank) == list(range(comm.size))


def test_agreement_without_failure(comm: Comm) -> None:
    with comm.agreement():
        reached = True
    assert reached


@pytest.mark.parametrize("culprit", [0, 1, 7])
def test_one_rank_fails_and_all_raise_its_error(comm: Comm, culprit: int) -> None:
    culprit %= comm.size

    def find() -> None:
        with comm.agreement():
            if comm.rank == culprit:
                raise DataError(f"rank {culprit} found it")

    with pytest.raises(DataError, match=f"rank {culprit} found it") as caught:
        find()
    assert caught.value.agreed
    assert comm.sum(np.ones(1))[0] == comm.size  # nobody is a collective behind


def test_the_lowest_failing_rank_speaks(comm: Comm) -> None:
    with pytest.raises(DataError, match=r"^0$"), comm.agreement():
        raise DataError(str(comm.rank))


def test_turns_are_taken_in_order(comm: Comm, shared_path) -> None:
    path = shared_path / "turns"

    def append() -> None:
        with path.open("a") as file:
            file.write(f"{comm.rank}\n")

    comm.in_turn(append)
    assert path.read_text().split() == [str(rank) for rank in range(comm.size)]


def test_a_failed_turn_ends_the_round_on_all_ranks(comm: Comm) -> None:
    taken = []

    def fail_on_last() -> None:
        taken.append(comm.rank)
        if comm.rank == comm.size - 1:
            raise DataError("last")

    with pytest.raises(DataError, match="last"):
        comm.in_turn(fail_on_last)
    assert taken == [comm.rank]


def test_node_leader_first(comm: Comm, shared_path) -> None:
    with comm.node_leader_first():
        first = not (shared_path / "compiled").exists()
        (shared_path / "compiled").touch()
    assert sum(comm.gather(first)) == 1  # all ranks of a test are on one node

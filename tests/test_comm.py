"""The communicator: sums, agreement, turns."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mpigd_kernels import exact

from mpigd.comm import Comm
from mpigd.errors import BitsError, DataError

pytestmark = pytest.mark.mpi


def test_sum_and_max(comm: Comm) -> None:
    np.testing.assert_array_equal(comm.sum(np.array([1.0, comm.rank])), [comm.size, sum(range(comm.size))])
    assert comm.max(np.array([comm.rank]))[0] == comm.size - 1
    assert comm.seconds > 0.0


@pytest.mark.parametrize("spread", [0, 30, 900])
def test_exact_sums_are_rounded_once_whatever_the_ranks_hold(comm: Comm, spread: int) -> None:
    """Three times over, so that windows are guessed: right, then wrong on one rank alone."""
    rng = np.random.default_rng(spread)
    for scale in (1.0, 1.0, 2.0**80):
        terms = rng.standard_normal((200, 5)) * 2.0 ** rng.integers(-spread, spread + 1, (200, 5))
        terms[17] *= scale
        terms[18] = -terms[17]
        terms[:, 4] = 0.0
        mine = exact.of_blocks(np.array_split(terms, comm.size)[comm.rank])
        found = comm.sum_exactly(mine, "test")
        wanted = np.array([math.fsum(column) for column in terms.T])
        # 2^-70 of the largest term is what the windows keep.
        np.testing.assert_allclose(found, wanted, rtol=3e-16, atol=float(np.abs(terms).max()) * 2.0**-65)


def test_exact_sums_carry_infinities_and_nan_through(comm: Comm) -> None:
    terms = np.array([[1.0, np.inf, -np.inf, np.nan, np.inf, 2.0], [1.0, 5.0, 1.0, 1.0, -np.inf, 3.0]])
    mine = terms if comm.rank == comm.size - 1 else np.zeros((0, 6))
    found = comm.sum_exactly(exact.of_blocks(mine), "special")
    np.testing.assert_array_equal(found, [2.0, np.inf, -np.inf, np.nan, np.nan, 5.0])


def test_fast_sums_are_sums_of_doubles(comm: Comm) -> None:
    terms = np.random.default_rng(comm.rank).standard_normal((7, 3))
    wanted = np.sum([part.sum(axis=0) for part in comm.gather(terms)], axis=0)
    np.testing.assert_allclose(comm.sum_fast(exact.of_blocks(terms)), wanted, rtol=1e-13)


@pytest.mark.parametrize("how", ["sum_exactly", "sum_fast"])
@pytest.mark.parametrize("culprit", [0, 1, 7])
def test_ranks_that_hold_other_bits_are_found_out(comm: Comm, how: str, culprit: int) -> None:
    """A single bit of a single rank, and all ranks say so; nobody is a collective behind."""
    culprit %= comm.size
    theta, total = np.linspace(0.0, 1.0, 50), exact.of_blocks(np.ones((3, 2)))
    summed = getattr(comm, how)
    assert summed(total, alike=theta).tolist() == [3.0 * comm.size] * 2
    if comm.rank == culprit:
        theta[17] = np.nextafter(theta[17], 1.0)
    if comm.size == 1:
        return
    with pytest.raises(BitsError, match=rf"ranks 0 .* and {culprit or 1} .* hold different theta") as caught:
        summed(total, alike=theta)
    assert caught.value.agreed
    assert comm.sum(np.ones(1))[0] == comm.size


def test_more_terms_than_an_exact_sum_takes_are_noticed_by_all(comm: Comm) -> None:
    total = exact.of_blocks(np.array([[1.0]]))
    if comm.rank == comm.size - 1:
        total[1] = 2**62 - 1 + 2**62
    with pytest.raises(OverflowError, match="more than 16777216 terms"):
        comm.sum_exactly(total)


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

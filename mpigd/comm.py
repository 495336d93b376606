"""The ranks of a job: the one module that calls MPI.

Every method is a collective unless it says otherwise: all ranks call it, in the same order.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import numpy as np
from mpigd_kernels import exact

from mpigd import platforms
from mpigd.errors import BitsError, MpigdError, RanksLostError
from mpigd.replicated import digest

if TYPE_CHECKING:
    from mpi4py.MPI import Intracomm, Op

T = TypeVar("T")
NOTHING = np.zeros(0)
# Classes of errors by which an MPI with user-level failure mitigation says that a rank has died.
GOES_ON = "OMPI_MCA_mpi_ft_enable"  # set by mpirun --with-ft ulfm
# Seconds that MPI has to begin, and to come to its end.
BEGINNING, FINISHING = int(os.environ.get("MPIGD_BEGIN_SECONDS", "120")), 20
DEATHS = ("ERR_PROC_FAILED", "ERR_PROC_FAILED_PENDING", "ERR_REVOKED")
MEETING = 1  # tag of messages that say that a rank has come
UNCLEAR = ("ERR_OTHER", "ERR_INTERN", "ERR_UNKNOWN")  # what collectives that do not block make of them in Open MPI
IN_VAIN = 3  # repairs without a death after which it is another error
# Numbers of a message beside its sums: what ranks ask for, and two from which they see that they hold the same theta.
BESIDE = 3
# Of the digest of what ranks should hold alike: so few that squares of it, summed over 2^16 ranks, fit a double.
DIGEST_BITS = 18


def message_numbers(sums: int, exactly: bool = True) -> int:
    """Numbers of eight bytes in the message that adds up so many sums over ranks."""
    return (3 * sums + 1 if exactly else sums) + BESIDE


def packed(value: object) -> bytes:
    """A value as bytes that show whether all of them have arrived."""
    content = pickle.dumps(value)
    return digest(np.frombuffer(content, np.uint8)).to_bytes(8, "little") + content


def unpacked(message: bytes) -> Any:
    """What `packed` was given; ValueError if something is missing."""
    content = message[8:]
    if digest(np.frombuffer(content, np.uint8)).to_bytes(8, "little") != message[:8]:
        raise ValueError("a message between ranks has arrived in part")
    return pickle.loads(content)


class Member(NamedTuple):
    """A process of the job: its rank when that began, its machine, its process number there."""

    rank: int
    host: str
    pid: int

    def __str__(self) -> str:
        return f"rank {self.rank} on {self.host}"


class Comm:
    """A communicator with the few collectives that mpigd needs.

    rank, size : this process's number and how many there are; after `repair` among those that are left.
    members : of all ranks, in rank order; empty before `enrol`.
    seconds : time that this rank has spent in sums and maxima so far, waiting for others included.
    waiting : when this rank entered the collective that it is in, as time.monotonic(); 0 outside of one.
    resent : how many exact sums had to be sent twice so far, after the first of their kind.
    asks : a number that goes with every sum.  heard : the sum of it over ranks, as of the last sum; the same on all.

    damaged : whether a rank has died, as far as this one knows.

    A collective that finds that a rank has died raises RanksLostError on those that notice, and sees to it that the
    others do; where the MPI library can't go on after a death it ends all ranks itself.
    """

    def __init__(self, mpi_comm: Intracomm) -> None:
        # mpi4py initialises MPI when its module is loaded, so it is loaded by those who have a communicator.
        from mpi4py import MPI

        self._api = MPI
        self._deaths = {getattr(MPI, name, None) for name in DEATHS} - {None}
        self.members: list[Member] = []
        self.seconds, self.waiting, self.resent = 0.0, 0.0, 0
        self.asks = self.heard = 0
        self.damaged, self._in_vain = False, 0
        self._use(mpi_comm)

    def _use(self, mpi_comm: Intracomm) -> None:
        self._mpi = mpi_comm
        self._node: Intracomm | None = None
        self.rank: int = mpi_comm.Get_rank()
        self.size: int = mpi_comm.Get_size()
        # The windows of the last exact sums of each kind: what the next ones will most likely need.
        self._windows: dict[tuple[str, int], np.ndarray] = {}

    @classmethod
    def world(cls) -> Comm:
        """All ranks that mpirun started.

        Where a rank dies before MPI has begun, the others wait for it for ever; so they are given a limit.
        """
        limited = GOES_ON in os.environ
        if limited:
            platforms.end_after(BEGINNING)
        from mpi4py import MPI

        if limited:
            platforms.end_after(0)
        return cls(MPI.COMM_WORLD)

    @classmethod
    def alone(cls) -> Comm:
        """A communicator of one, for each rank its own. Not a collective."""
        from mpi4py import MPI

        return cls(MPI.COMM_SELF)

    def enrol(self) -> None:
        """Learn who the other ranks are."""
        own = Member(self._api.COMM_WORLD.Get_rank(), self.host(), os.getpid())
        self.members = self.gather(own)

    @property
    def survives(self) -> bool:
        """Whether this MPI goes on after a death: Open MPI 5 does where its launcher was told to. Not a collective."""
        return bool(self._deaths) and os.environ.get(GOES_ON, "").lower() in ("1", "true", "yes")

    def repair(self) -> list[Member]:
        """Go on with the ranks that are left, in the same order; returns those that are not.

        Called by all of them, as often as RanksLostError is raised. Ranks may die meanwhile: then the next collective
        says so. (W. Bland et al., "Post-failure recovery of MPI communication capability", Int. J. High Perform.
        Comput. Appl. 27, 2013, section 4.)
        """
        before, members = self._mpi, self.members
        self._revoke()
        after = before.Shrink()
        self._use(cast("Intracomm", after))
        self._in_vain = self._in_vain + 1 if before.Get_size() == after.Get_size() else 0
        group, own = before.Get_group(), after.Get_group()
        places = own.Translate_ranks(None, group)
        self.members = [members[place] for place in places] if members else []
        return [member for place, member in enumerate(members) if place not in set(places)]

    def _revoke(self) -> None:
        """Have all ranks leave the collectives that they are in, or will enter."""
        for comm in (self._node, self._mpi):
            if comm is not None and not comm.Is_revoked():
                comm.Revoke()

    @contextmanager
    def _deaths_noticed(self) -> Iterator[None]:
        """Run a collective, and nothing else; where it finds that a rank has died, all that take part are told.

        Open MPI may have a collective succeed amid which a rank has died, with nothing of what the dead rank sent.
        """
        self.waiting = time.monotonic()
        try:
            yield
        except Exception as error:
            if not self._is_of_a_death(error):
                raise
            self.damaged = True
            self._revoke()
            raise RanksLostError from None
        finally:
            self.waiting = 0.0

    def _is_of_a_death(self, error: Exception) -> bool:
        if isinstance(error, self._api.Exception):
            if error.Get_error_class() in self._deaths:
                return True
            if error.Get_error_class() not in {getattr(self._api, name) for name in UNCLEAR}:
                return False
        return bool(self.survives) and self._in_vain < IN_VAIN

    def sum(self, buffer: np.ndarray) -> np.ndarray:
        """Replace a contiguous numeric array by its sum over ranks, in place."""
        return self._reduce(buffer, self._api.SUM)

    def sum_exactly(self, total: np.ndarray, kind: str = "", alike: np.ndarray = NOTHING) -> np.ndarray:
        """The sums over ranks of accumulators (5, sums), as doubles: the same bits however terms lay on ranks.

        alike : an array that ranks should hold with the same bits; where they do not, all raise a BitsError.

        One Allreduce of integers, 3 for each sum and three more, if the windows (see `mpigd_kernels.exact`) of the
        last sums of this kind and length still fit. Where one does not, which all ranks see from the result, the
        maximum of the windows over ranks is found and the sums are sent again.
        """
        count = total.shape[1]
        key = kind, count
        window = self._windows.get(key)
        message, out, wrong = np.empty(message_numbers(count), np.int64), np.empty(count), np.ones(1, np.int64)
        while wrong[0]:
            if window is None:
                window = self.max(total[0].copy())
            exact.to_message(total, window, self.size, message[:-BESIDE])
            self._sum_alike(message, alike, total[4])
            exact.from_message(message[:-BESIDE], window, total[4], out, wrong)
            if wrong[0] >= exact.TOO_LARGE:
                raise OverflowError(f"more than {exact.MOST_TERMS} terms in an exact sum")
            self.resent += bool(wrong[0])
            self._windows[key], window = window, None
        return out

    def sum_fast(self, total: np.ndarray, alike: np.ndarray = NOTHING) -> np.ndarray:
        """As `sum_exactly`, by MPI's sum of doubles: a third of the bytes, in whatever order MPI adds."""
        message = np.empty(message_numbers(total.shape[1], exactly=False))
        message[:-BESIDE] = exact.rounded(total)
        return self._sum_alike(message, alike, total[4])[:-BESIDE]

    def _sum_alike(self, message: np.ndarray, *alike: np.ndarray) -> np.ndarray:
        """Sum over ranks in place; the last numbers carry what ranks ask for, and show that all hold the same arrays.

        These are sums of a digest h and of h². The mean of squares is the square of the mean only where all h are
        equal, and every rank sees that from the same two numbers: so all raise the error or none.
        """
        own = digest(*alike) % (1 << DIGEST_BITS)
        message[-BESIDE:] = self.asks, own, own * own
        self.sum(message)
        self.heard = int(message[-BESIDE])
        if self.size * int(message[-1]) != int(message[-2]) ** 2:
            holds = self.gather((self.host(), own))
            first, other = holds[0], next(rank for rank, (_, found) in enumerate(holds) if found != holds[0][1])
            with self.agreement():
                raise BitsError(
                    f"ranks 0 (on {first[0]}) and {other} (on {holds[other][0]}) hold different theta: the same "
                    "arithmetic gave other bits there. Use one version of mpigd and its libraries, and one kind of "
                    "processor; if they are the same, suspect that machine's memory"
                )
        return message

    def max(self, buffer: np.ndarray) -> np.ndarray:
        """Replace a contiguous numeric array by its maximum over ranks, in place."""
        return self._reduce(buffer, self._api.MAX)

    def _reduce(self, buffer: np.ndarray, op: Op) -> np.ndarray:
        start = time.perf_counter()
        with self._deaths_noticed():
            self._mpi.Allreduce(self._api.IN_PLACE, buffer, op=op)
        self.seconds += time.perf_counter() - start
        return buffer

    def share(self, value: T, root: int = 0) -> T:
        """The value that rank `root` passes, on every rank."""
        message = np.frombuffer(packed(value) if self.rank == root else b"", np.uint8)
        length = np.array([len(message)])
        self._meet(self._mpi)
        with self._deaths_noticed():
            self._mpi.Bcast(length, root=root)
            if self.rank != root:
                message = np.empty(int(length[0]), np.uint8)
            self._mpi.Bcast(message, root=root)
            result: T = value if self.rank == root else unpacked(message.tobytes())
        return result

    def each(self, values: np.ndarray) -> np.ndarray:
        """The arrays (m,) of all ranks, (size, m), in rank order."""
        start = time.perf_counter()
        found = np.empty((self.size, *values.shape), values.dtype)
        with self._deaths_noticed():
            self._mpi.Allgather(np.ascontiguousarray(values), found)
        self.seconds += time.perf_counter() - start
        return found

    def exchange(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Send parts[r] (m,) to each rank r; what came from all ranks, in their order, (n,). All of one type."""
        counts = np.array([len(part) for part in parts], np.int64)
        expected = np.empty_like(counts)
        start = time.perf_counter()
        with self._deaths_noticed():
            self._mpi.Alltoall(counts, expected)
            found = np.empty(int(expected.sum()), parts[0].dtype)
            self._mpi.Alltoallv([np.concatenate(parts), counts], [found, expected])
        self.seconds += time.perf_counter() - start
        return found

    def gather(self, value: T) -> list[T]:
        """Every rank's value, in rank order, on every rank. For small values only: O(size) memory."""
        with self._deaths_noticed():
            return [unpacked(each) for each in self._mpi.allgather(packed(value))]

    def collect(self, value: T) -> list[T]:
        """Every rank's value, in rank order, on rank 0; an empty list on the others."""
        with self._deaths_noticed():
            return [unpacked(each) for each in self._mpi.gather(packed(value), root=0) or []]

    def in_turn(self, action: Callable[[], None]) -> None:
        """Run an action on each rank, one after the other; if one fails, all raise and the rest is left out."""
        for turn in range(self.size):
            with self.agreement():
                if turn == self.rank:
                    action()

    @contextmanager
    def agreement(self) -> Iterator[None]:
        """Run a block that may fail on some ranks, and have all ranks fail or none.

        If the block raises on any rank, every rank raises the error of the lowest such rank. The block
        itself must not contain a collective that a failing rank would miss.
        """
        error: Exception | None = None
        try:
            yield
        except RanksLostError:
            raise
        except Exception as caught:
            error = caught
        failed = np.array([self.size if error is None else self.rank])
        self._meet(self._mpi)
        with self._deaths_noticed():
            self._mpi.Allreduce(self._api.IN_PLACE, failed, op=self._api.MIN)
        first = int(failed[0])
        if first == self.size:
            return
        if first == self.rank and error is not None and not isinstance(error, MpigdError):
            raise error  # a defect of mpigd: `main` ends all ranks with its traceback
        agreed = self.share(error, root=first)
        if not isinstance(agreed, MpigdError):
            raise TypeError(f"rank {first} failed without an error: {agreed!r}")
        agreed.agreed = True
        raise agreed

    @contextmanager
    def node_leader_first(self) -> Iterator[None]:
        """Run a block on one rank of each node before the others of that node enter it."""
        node = self._of_node()
        leader = node.Get_rank() == 0
        if not leader:
            self._meet(node)
        try:
            yield
        finally:
            if leader:
                self._meet(node)

    def _of_node(self) -> Intracomm:
        """The ranks of this machine."""
        if self._node is None:
            with self._deaths_noticed():
                self._node = cast("Intracomm", self._mpi.Split_type(self._api.COMM_TYPE_SHARED))
        return self._node

    @contextmanager
    def node(self) -> Iterator[Comm]:
        """The ranks of this machine alone."""
        yield Comm(self._of_node())

    @contextmanager
    def divided(self, groups: int) -> Iterator[tuple[Comm, int]]:
        """The ranks of this one's group, of so many groups of neighbours, and the number of the group. A collective."""
        number = self.rank * groups // self.size
        with self._deaths_noticed():
            some = cast("Intracomm", self._mpi.Split(number, self.rank))
        try:
            yield Comm(some), number
        finally:
            some.Free()

    @staticmethod
    def host() -> str:
        """Name of this rank's machine. Not a collective."""
        return socket.gethostname()

    def leave(self) -> None:
        """Wait for all ranks, so that none is killed by the launcher while it still has work to do."""
        self._meet(self._mpi)

    def finish(self, status: int) -> None:
        """Wait for all ranks before this process ends; where ranks have died it ends here, with this exit status.

        MPI's own end waits for the dead, at times for ever. A rank that does not know of them has a while for it.
        """
        with suppress(RanksLostError):  # there is nothing left to lose
            self.leave()
        if self.damaged:
            sys.stdout.flush()
            os._exit(status)
        if self.survives:
            platforms.end_after(FINISHING)

    def _meet(self, comm: Intracomm) -> None:
        """Wait for all ranks of a communicator without keeping a core busy: others of this machine may need it.

        For collectives between the phases of a job, where ranks may be seconds apart: MPI libraries spin while they
        wait. Everybody hears of everybody in rounds, of the rank that is 1, 2, 4, … before (D. Hensgen, R. Finkel,
        U. Manber, "Two algorithms for barrier synchronization", Int. J. Parallel Program. 17, 1988). Not MPI's own
        barrier in the background: when a rank dies amid one, Open MPI may never come back from it.
        """
        rank, size, distance = comm.Get_rank(), comm.Get_size(), 1
        with self._deaths_noticed():
            while distance < size:
                heard = comm.Irecv(np.empty(0), (rank - distance) % size, MEETING)
                told = comm.Isend(np.empty(0), (rank + distance) % size, MEETING)
                pause = 1e-5
                while not (heard.Test() and told.Test()):
                    time.sleep(pause)
                    pause = min(2.0 * pause, 1e-3)
                distance *= 2

    def abort(self, status: int) -> None:
        """End all ranks at once. Not a collective: one rank is enough."""
        # A launcher that ends a job may drop what a rank has just printed, which is the reason why it ends.
        time.sleep(0.5)
        self._mpi.Abort(status)

"""What a fit will take on some number of ranks: memory, seconds, messages. Nothing is measured here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import mpigd_kernels as kernels

from mpigd.comm import message_numbers
from mpigd.errors import DataError
from mpigd.options import Train
from mpigd.planning.network import Network
from mpigd.planning.probe import Machine
from mpigd.reader import unit_rows
from mpigd.solvers import BY_ROWS, Shape
from mpigd.solvers.choice import Work
from mpigd.storage import Header
from mpigd.streaming import Room, beside_rows, room_for_rows

READING_TRAFFIC = 3.0  # bytes through memory for one that is read: from the file's cache, and to its tile and back
WORTH = 0.25  # part of the time that twice as many ranks have to save


@dataclass(frozen=True)
class Job:
    """What is to be fitted, and how; the same on any number of ranks.

    stored : bytes of the files.  beside : bytes that belong to a row beside X.  work : of the solver.
    hessian : whether it forms some.  memory : bytes that a rank may take, or None.
    read_rate : bytes a second that files give a node, or None for as fast as they were read.
    """

    header: Header
    shape: Shape
    stored: int
    beside: int
    work: Work
    hessian: bool
    exactly: bool = True
    threads: int = 1
    memory: int | None = None
    read_rate: float | None = None

    def message(self, hessian: bool = False) -> int:
        """Bytes of the message of a step, with the gradient alone or with the Hessian."""
        d = self.shape.d
        sums = kernels.second_order_sums(d) if hessian else kernels.gradient_sums(d, self.shape.outputs)
        return 8 * message_numbers(sums, self.exactly)

    @property
    def blocks(self) -> int:
        """More ranks than that have nothing to do."""
        return -(-self.header.n // self.header.block)

    def rows(self, ranks: int) -> int:
        """Rows of the largest slice. Sparse ones are divided by their numbers, as if all rows had as many."""
        unit = unit_rows(self.header, ranks) if self.header.stored is None else self.header.block
        units = -(-self.header.n // unit)
        return min(-(-units // ranks) * unit, self.header.n)


@dataclass(frozen=True)
class Memory:
    """Bytes of the largest rank.

    process : before it reads.  x : in the type that it is kept in.  rows : what else belongs to them.
    solver : what it, kernels and messages need.
    """

    process: int
    x: int
    rows: int
    solver: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.process + self.x + self.rows + self.solver


@dataclass(frozen=True)
class Forecast:
    """Of a fit on `ranks` ranks of `nodes` nodes, at most `each` of them on one.

    streams : whether X is read for every pass.  fits : whether memory suffices.
    read_seconds : before the first pass.  pass_seconds : of a pass, without communication.
    comm_seconds : of a sum over ranks.  comm_share : of `seconds`, which is all from the first read to the model.
    """

    ranks: int
    nodes: int
    each: int
    memory: Memory
    streams: bool
    fits: bool
    read_seconds: float
    pass_seconds: float
    comm_seconds: float
    comm_share: float
    passes: float
    seconds: float
    speed_up: float = 1.0
    efficiency: float = 1.0

    def summary(self) -> dict[str, Any]:
        """As plain values."""
        values = dict(vars(self))
        memory: Memory = values.pop("memory")
        return {**values, "memory": memory.total, "memory_of": dict(vars(memory))}


def work_at_most(options: Train, solver: str, rows: int) -> Work:
    """Of a solver that may go on until its budget is spent: a bound, which says nothing of when it converges."""
    passes = options.max_passes
    if solver not in BY_ROWS:
        return Work(gradients=passes, gradient_sums=passes)
    epochs = passes / 2.0  # each is a pass in mini-batches and one for the objective
    batches = max(rows / (options.batch_size * options.accumulate), 1.0)
    return Work(gradients=passes, gradient_sums=epochs * (batches + 1.0))


def spread(ranks: int, nodes: int) -> tuple[int, int]:
    """Ranks evenly on nodes: how many nodes have some, and how many ranks the fullest has."""
    used = min(ranks, nodes)
    return used, -(-ranks // used)


def memory_of(job: Job, process: int, ranks: int) -> tuple[Memory, Room | None]:
    """Memory of the largest rank, and the room for its X where there is a limit. DataError where that is too low."""
    header, rows = job.header, job.rows(ranks)
    of_rows = rows * job.beside
    x, room = header.bytes * rows // header.n, None
    if job.memory is not None:
        room = room_for_rows(header, rows, job.memory, taken=process + of_rows)
        if room.needed > room.bytes:
            blocks = -(-rows // header.block)
            x = min(min(room.kept, blocks) + 2 * room.part, blocks) * room.block
    return Memory(process, x, of_rows, beside_rows(header, rows, job.hessian)), room


@dataclass(frozen=True)
class Share:
    """What a rank and a node do of a job. ranks, nodes, each : as of a `Forecast`.

    own, on_node : bytes of X of the largest rank, of the fullest node.
    crowd : how much longer a rank takes that shares its core with others than when it was measured.
    """

    job: Job
    machine: Machine
    nodes: int
    each: int
    own: float
    on_node: float
    crowd: float

    @classmethod
    def of(cls, job: Job, machine: Machine, ranks: int, nodes: int) -> Share:
        """On so many ranks of so many nodes."""
        used, each = spread(ranks, nodes)
        own = job.header.bytes * job.rows(ranks) / job.header.n

        def crowd(on_node: int) -> float:
            return max(on_node * job.threads / machine.cores, 1.0)

        return cls(job, machine, used, each, own, min(each * own, job.header.bytes), crowd(each) / crowd(machine.each))

    def reading(self, share: float = 1.0) -> float:
        """Seconds in which all ranks at once read that share of their slices, once the files are open."""
        job, machine = self.job, self.machine
        seconds = max(self.own * machine.read * self.crowd, self.on_node * machine.bus * READING_TRAFFIC)
        if job.read_rate is not None:
            seconds = max(seconds, self.on_node / job.header.bytes * job.stored / job.read_rate)
        return share * seconds

    def passing(self, per_byte: float, waiting: float) -> float:
        """Seconds of a pass in kernels, in which files are read meanwhile, for `waiting` seconds."""
        return max(self.own * per_byte * self.crowd, self.on_node * self.machine.bus, waiting)

    def computing(self, waiting: float) -> float:
        """Seconds of all that a fit does without communication, after its first pass."""
        machine, work = self.machine, self.job.work
        beside = work.gradient_sums * machine.beside_gradient + work.hessian_sums * machine.beside_hessian
        equations = work.factors * machine.factor + work.steps * machine.solve * self.job.shape.outputs
        return (
            work.gradients * self.passing(machine.gradient, waiting)
            + work.hessians * self.passing(machine.hessian, waiting)
            + (beside + equations) * self.crowd
        )

    def communicating(self, network: Network) -> float:
        """Seconds of all sums over ranks."""
        job = self.job
        return job.work.gradient_sums * network.allreduce(
            job.message(), self.nodes, self.each
        ) + job.work.hessian_sums * network.allreduce(job.message(hessian=True), self.nodes, self.each)


def forecast(job: Job, machine: Machine, process: int, network: Network, ranks: int, nodes: int) -> Forecast:
    """Of one number of ranks. process : bytes of a rank before it reads."""
    share, fits = Share.of(job, machine, ranks, nodes), True
    try:
        memory, room = memory_of(job, process, ranks)
    except DataError:  # --memory is too little even for a part of the rows
        memory, room = memory_of(replace(job, memory=None), process, ranks)
        fits = False
    streams = room is not None and room.needed > room.bytes
    waiting = share.reading(max(1.0 - memory.x / share.own, 0.0)) if streams else 0.0
    read = machine.opening * share.crowd + share.reading()
    computing, communicating = share.computing(waiting), share.communicating(network)
    seconds = read + share.passing(machine.moments, waiting) + computing + communicating
    return Forecast(
        ranks=ranks,
        nodes=share.nodes,
        each=share.each,
        memory=memory,
        streams=streams,
        fits=fits and not 0 < machine.memory < share.each * memory.total,
        read_seconds=read,
        pass_seconds=computing / job.work.passes,
        comm_seconds=communicating / (job.work.gradient_sums + job.work.hessian_sums),
        comm_share=communicating / seconds,
        passes=job.work.passes,
        seconds=seconds,
    )


def counts(ranks: int, blocks: int) -> list[int]:
    """Numbers of ranks to look at: powers of two up to twice as many, as far as each has a block, and `ranks`."""
    powers = [1 << k for k in range((2 * ranks).bit_length()) if 1 << k <= min(2 * ranks, blocks)]
    return sorted({*powers, ranks})


def worth_having(forecasts: Sequence[Forecast], blocks: int) -> tuple[int | None, str]:
    """How many ranks are worth having, and why in a sentence; None where memory suffices for none.

    From the least that memory suffices for on, as long as twice as many save a quarter of the time.
    """
    doubling = [f for f in forecasts if f.fits and f.ranks & (f.ranks - 1) == 0 and f.ranks <= blocks]
    if not doubling:
        return None, "Memory suffices for none of these numbers of ranks: give more ranks, nodes, or --memory."
    best, why = doubling[0], ""
    for more in doubling[1:]:
        saved = 1.0 - more.seconds / best.seconds
        if saved < WORTH:
            why = f": twice as many would save {saved:.0%} of the time" if saved > 0.0 else ": more would save no time"
            break
        best = more
    if not why:
        full = 2 * best.ranks > blocks
        why = f": there are {blocks} blocks of rows to share" if full else ", or more: no larger number was looked at"
    some = "1 rank is" if best.ranks == 1 else f"{best.ranks} ranks are"
    return best.ranks, f"{some} worth having{why}."

"""How long an Allreduce takes: a model of the network.

    seconds(bytes, p) = 2 ceil(log2 p) · latency + 2 bytes / bandwidth

for p processes: a reduce-scatter and an allgather, each in ceil(log2 p) rounds and each moving every byte about once
(R. Rabenseifner, "Optimization of collective reduction operations", ICCS 2004; R. Thakur, R. Rabenseifner, W. Gropp,
"Optimization of collective communication operations in MPICH", Int. J. High Perform. Comput. Appl. 19, 2005).

Ranks of one node first add up among themselves, then the nodes: each of the two has a link of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Link:
    """Between two processes: latency in seconds, seconds a byte takes."""

    latency: float
    per_byte: float

    @property
    def bandwidth(self) -> float:
        """Bytes a second."""
        return 1.0 / self.per_byte if self.per_byte > 0.0 else float("inf")

    def allreduce(self, count: float, processes: int) -> float:
        """Seconds in which so many processes add up a message of `count` bytes; 0 for one alone."""
        if processes < 2:
            return 0.0
        return 2.0 * rounds(processes) * self.latency + 2.0 * count * self.per_byte


@dataclass(frozen=True)
class Network:
    """Links within a node and between nodes."""

    within: Link
    between: Link

    def allreduce(self, count: float, nodes: int, each: int) -> float:
        """Seconds in which `nodes` nodes of `each` ranks add up a message of `count` bytes."""
        return self.within.allreduce(count, each) + self.between.allreduce(count, nodes)


# Of ranks of one node, where there are not two to measure: usual for messages through shared memory.
SHARED_MEMORY = Link(1e-6, 1.0 / 4e9)


def rounds(processes: int) -> int:
    """ceil(log2 processes)."""
    return (processes - 1).bit_length()


def fitted(sizes: Sequence[float], seconds: Sequence[float], processes: int) -> Link:
    """The link whose formula is nearest to what was measured, by least squares of relative errors.

    sizes (m,) bytes, seconds (m,) : of Allreduces among `processes`, two or more of each. Where noise would make one
    of the two numbers negative, it is zero and the other one is fitted alone.
    """
    measured = np.asarray(seconds, float)
    columns = np.column_stack([np.full(len(measured), 2.0 * rounds(processes)), 2.0 * np.asarray(sizes, float)])
    scaled, ones = columns / measured[:, None], np.ones(len(measured))
    found = np.linalg.lstsq(scaled, ones, rcond=None)[0]
    if found.min() < 0.0:
        kept = int(np.argmax(found))
        found = np.zeros(2)
        found[kept] = scaled[:, kept] @ ones / (scaled[:, kept] @ scaled[:, kept])
    return Link(float(found[0]), float(found[1]))

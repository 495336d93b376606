"""Which rows a rank has: runs of whole blocks, ascending. At first one run, and more where others have died."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

Run = tuple[int, int]  # the first row, and the one after the last


def blocks_of(start: int, stop: int, block: int) -> np.ndarray:
    """Numbers of the blocks of rows start … stop - 1, int64; start begins a block of so many rows."""
    return np.arange(start // block, -(-stop // block)) if start < stop else np.zeros(0, np.int64)


def lacking(held: Iterable[Run], n: int) -> list[Run]:
    """The rows of 0 … n - 1 that are in none of some runs.

    >>> lacking([(32, 64), (0, 16)], 100)
    [(16, 32), (64, 100)]
    """
    gaps, end = [], 0
    for start, stop in [*sorted(run for run in held if run[0] < run[1]), (n, n)]:
        if start > end:
            gaps.append((end, start))
        end = max(end, stop)
    return gaps


def share_out(held: Sequence[Sequence[Run]], n: int, block: int) -> list[list[Run]]:
    """The runs that each rank takes over of rows that none has, so that those with fewest blocks have more.

    held : by rank.  A pure function, so that every rank finds the same.

    >>> share_out([[(0, 32)], [], [(64, 96)]], 100, 16)
    [[], [(32, 64)], [(96, 100)]]
    """
    gaps = lacking([run for runs in held for run in runs], n)
    have = np.array([sum(-(-(stop - start) // block) for start, stop in runs) for runs in held])
    missing = sum(-(-(stop - start) // block) for start, stop in gaps)
    takes = _to_level(have, missing).tolist()
    shares: list[list[Run]] = [[] for _ in held]
    rank = 0
    for start, stop in gaps:
        while start < stop:
            while not takes[rank]:
                rank += 1
            end = min(start + takes[rank] * block, stop)
            shares[rank].append((start, end))
            takes[rank] -= -(-(end - start) // block)
            start = end
    return shares


def joined(runs: Iterable[Run]) -> tuple[Run, ...]:
    """The same rows in ascending runs, those that touch as one."""
    result: list[Run] = []
    for start, stop in sorted(run for run in runs if run[0] < run[1]):
        if result and result[-1][1] == start:
            result[-1] = result[-1][0], stop
        else:
            result.append((start, stop))
    return tuple(result)


def _to_level(have: np.ndarray, missing: int) -> np.ndarray:
    """How many of `missing` blocks each rank takes, so that the most that any has is as small as can be."""
    low, high = 0, int(have.max(initial=0)) + missing  # the highest level that they do not fill, and one that they do
    while high - low > 1:
        level = (low + high) // 2
        if np.maximum(level - have, 0).sum() <= missing:
            low = level
        else:
            high = level
    takes = np.maximum(low - have, 0)
    rest = missing - int(takes.sum())
    takes[np.flatnonzero(have <= low)[:rest]] += 1
    result: np.ndarray = takes
    return result

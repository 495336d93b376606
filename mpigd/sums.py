"""Sums over the rows of all ranks, exact from block to block: the same bits on any number of ranks."""

from __future__ import annotations

import numpy as np
from mpigd_kernels import exact

from mpigd.comm import Comm


def sums(comm: Comm, block: int, *terms: np.ndarray) -> np.ndarray:
    """Of the columns of terms (rows, …), side by side. block : rows of a canonical block. A collective."""
    return comm.sum_exactly(exact.of_blocks(np.hstack(terms), block), "rows")


def sums_by_group(comm: Comm, block: int, group: np.ndarray, count: int, values: np.ndarray) -> np.ndarray:
    """Of values (rows,), by the group of a row from 0 to count - 1: (count,). A collective."""
    blocks = -(-len(group) // block)
    place = np.arange(len(group)) // block * count + group
    own = np.bincount(place, values, minlength=blocks * count).astype(np.float64).reshape(blocks, count)
    return comm.sum_exactly(exact.of_blocks(own), "rows")

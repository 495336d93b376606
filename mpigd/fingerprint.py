"""Fingerprints of data: a number that two sets of rows share only if they are the same, on any number of ranks."""

from __future__ import annotations

import numpy as np
import xxhash

from mpigd.comm import Comm
from mpigd.dataset import Dataset


def of_data(comm: Comm, data: Dataset) -> str:
    """The fingerprint, 32 hexadecimal digits, of the rows as a fit sees them: X, y, weights, offsets. A collective.

    Every block is hashed with its number (XXH3 of 128 bits), and hashes are added up as integers, which
    gives the same in any order. So it does not depend on ranks, nor on how the file is chunked or compressed. It does
    on the type of X, and on whether X is sparse; weights that are all one count as none. It tells accidents
    apart, not forgeries.
    """
    rows, per_block = data.slice, data.slice.block // data.slice.rows
    total = np.zeros(2, np.uint64)
    if comm.rank == 0:
        header = data.header
        total += _words(xxhash.xxh3_128(f"{header.n} {header.d} {header.dtype}".encode()))
    first_block = data.start // data.slice.block
    for number, first in enumerate(range(0, len(rows.y), per_block), first_block):
        last = min(first + per_block, len(rows.y))
        state = xxhash.xxh3_128(str(number).encode())
        for array in rows.x_of_tiles(first, last):
            state.update(array.data)
        for values, absent in ((rows.y, None), (rows.weight, 1.0), (rows.offset, 0.0)):
            if len(values):
                some = values[first:last].transpose(0, 2, 1).reshape(-1, values.shape[1])
                some = np.ascontiguousarray(some[: rows.n - first * rows.rows], np.float64)
                if absent is None or (some != absent).any():
                    state.update(some.data)
            state.update(b"|")
        total += _words(state)
    low, high = comm.sum(total)
    return f"{int(high):016x}{int(low):016x}"


def _words(state: xxhash.xxh3_128) -> np.ndarray:
    """Its 128 bits as two numbers, uint64 (2,); sums of them wrap around."""
    return np.frombuffer(state.digest(), ">u8")[::-1].astype(np.uint64)

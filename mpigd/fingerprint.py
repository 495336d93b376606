"""Fingerprints of data: a number that two sets of rows share only if they are the same, on any number of ranks.

Every block is hashed with its number (XXH3 of 128 bits), and hashes are added up as integers, which gives the same in
any order. So a fingerprint does not depend on ranks, nor on how the file is chunked or compressed. It does on the type
of X, and on whether X is sparse; weights that are all one count as none. It tells accidents apart, not forgeries.
"""

from __future__ import annotations

import numpy as np
import xxhash
from mpigd_kernels import Slice

from mpigd.comm import Comm


class Hasher:
    """The hashes of blocks of X, added up while rows are being read, when they are still in the cache.

    first_block : number of the first block.  per_block : rows of a block.
    """

    def __init__(self, first_block: int, per_block: int) -> None:
        self._block, self._per_block, self._total = first_block, per_block, np.zeros(2, np.uint64)
        self._rows, self._state = 0, xxhash.xxh3_128(f"X {first_block}".encode())

    def add(self, *arrays: np.ndarray, rows: int) -> None:
        """Some more rows of the current block, given as contiguous arrays; at most what is left of it."""
        for array in arrays:
            self._state.update(array.data)
        self._rows += rows
        if self._rows == self._per_block:
            self.finish()

    def add_rows(self, rows: np.ndarray) -> None:
        """Some more rows (m, d), C-contiguous, of this block and those that follow."""
        while len(rows):
            left = self._per_block - self._rows
            self.add(rows[:left], rows=min(left, len(rows)))
            rows = rows[left:]

    def finish(self) -> np.ndarray:
        """End the current block, if anything has come of it; the sum of all so far, (2,) uint64."""
        if self._rows:
            self._total += _words(self._state)
            self._block, self._rows = self._block + 1, 0
            self._state = xxhash.xxh3_128(f"X {self._block}".encode())
        return self._total


def of_data(comm: Comm, of_x: np.ndarray, shape: str, blocks: np.ndarray, rows: Slice) -> str:
    """The fingerprint, 32 hexadecimal digits, of X, y, weights and offsets as a fit sees them. A collective.

    of_x : (2,) uint64, as from `Hasher`.  shape : of X, in words.  blocks : numbers of the blocks of rows, (m,).
    """
    total, per_block = of_x.copy(), rows.block // rows.rows
    if comm.rank == 0:
        total += _words(xxhash.xxh3_128(shape.encode()))
    for number, first in zip(blocks.tolist(), range(0, len(rows.y), per_block), strict=True):
        last = min(first + per_block, len(rows.y))
        state = xxhash.xxh3_128(str(number).encode())
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

"""Random choices of rows, by counter: functions of (seed, epoch, block), never of the ranks.

Mini-batches, train/test splits and folds are the same thing here: all rows are dealt into `parts` parts
of equal size. Within each block the rows are shuffled; the part of a row is its place in the concatenation
of the shuffled blocks, modulo `parts`. Every part so has floor or ceil of n / parts rows, takes an even
share of every block (hence of every rank), and can be found by the owner of a block alone.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Philox  # numpy loads this part when it is asked for, which takes 8 ms

_ROUNDS = 6  # of `permuted`
_LAST = 2**64 - 1  # a block number that no block has; nor the one before


def _stream(seed: int, epoch: int, block: int) -> Philox:
    # Philox takes a 128-bit key and a 256-bit counter (Salmon et al., "Parallel random numbers: as easy as
    # 1, 2, 3", SC 2011). The low words of the counter are left for the draws within a block.
    key, counter = np.array([seed, epoch], np.uint64), np.array([0, 0, 0, block], np.uint64)
    return Philox(key=key, counter=counter)


def uniform(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers from -1/2 to 1/2, float64; equal on all ranks and for all versions of numpy."""
    raw = _stream(seed, 0, _LAST).random_raw(math.prod(shape))
    result: np.ndarray = (raw >> np.uint64(11)).reshape(shape) * 2.0**-53 - 0.5
    return result


def words(seed: int, purpose: int, block: int, count: int) -> np.ndarray:
    """Random words, (count,) int64, of a block; equal on all ranks and for all versions of numpy.

    purpose : what they are for, from 0 to 2^32: not an epoch, of which no words are the same.
    """
    result: np.ndarray = _stream(seed, 2**63 + purpose, block).random_raw(count).view(np.int64)
    return result


def permuted(seed: int, purpose: int, numbers: np.ndarray, count: int, back: bool = False) -> np.ndarray:
    """Where a random permutation of 0 … count - 1 sends some numbers (m,) int64, each found by itself: (m,) int64.

    back : the inverse.  purpose : as of `words`.
    A Feistel network on as many bits as count needs, through which what lies beyond count goes again (J. Black, P.
    Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002, section 4).
    """
    half = np.uint64(max((max(count - 1, 1).bit_length() + 1) // 2, 1))
    keys = words(seed, purpose, 0, _ROUNDS).view(np.uint64)
    result, left = numbers.astype(np.uint64), np.arange(len(numbers))
    while len(left):
        high, low = result[left] >> half, result[left] & ((np.uint64(1) << half) - np.uint64(1))
        for key in keys[::-1] if back else keys:
            if back:
                high, low = low ^ _mixed(high, key, half), high
            else:
                high, low = low, high ^ _mixed(low, key, half)
        result[left] = high << half | low
        left = left[result[left] >= count]
    return result.astype(np.int64)


def _mixed(values: np.ndarray, key: np.uint64, bits: np.uint64) -> np.ndarray:
    """The first bits of a hash of values and a key: the last steps of SplitMix64 (G. Steele et al., OOPSLA 2014)."""
    mixed = values + key
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    result: np.ndarray = mixed >> (np.uint64(64) - bits)
    return result


def shuffled(seed: int, epoch: int, count: int) -> np.ndarray:
    """The numbers 0 … count - 1 in an order drawn for an epoch, (count,) int64."""
    return np.argsort(_stream(seed, epoch, _LAST - 1).random_raw(count), kind="stable")


def pick(seed: int, blocks: np.ndarray, one_in: int) -> np.ndarray:
    """Which of some blocks, by their numbers (m,) int64, are picked, (m,) bool: one of each run of `one_in` blocks."""
    group, place = np.divmod(blocks, one_in)
    chosen = {g: int(_stream(seed, 0, g).random_raw() % one_in) for g in np.unique(group).tolist()}
    picked: np.ndarray = np.array([chosen[g] for g in group.tolist()], np.int64) == place
    return picked


def places(seed: int, epoch: int, blocks: np.ndarray, block_rows: int, rows: int) -> np.ndarray:
    """The rows of some blocks, counted from 0, in the order of blocks that are shuffled each for itself: int64.

    As for `deal`.
    """
    order = np.empty(rows, np.int64)
    for row, block in zip(range(0, rows, block_rows), blocks.tolist(), strict=True):
        count = min(block_rows, rows - row)
        own = np.argsort(_stream(seed, epoch, block).random_raw(count), kind="stable")
        order[row : row + count] = row + own
    return order


def deal(seed: int, epoch: int, blocks: np.ndarray, block_rows: int, rows: int, parts: int) -> np.ndarray:
    """The part (0 … parts - 1) of each of the rows of some blocks, (rows,) int64.

    blocks : their numbers, ascending, (m,) int64; all but the last have `block_rows` rows. Only `random_raw` of the
    generator and a stable sort are used, so that the choice does not change with the version of numpy.
    """
    part = np.empty(rows, np.int64)
    # Which part comes first is drawn too: else small blocks would always feed the same parts.
    rotation = int(_stream(seed, epoch, _LAST).random_raw() % parts)
    order = places(seed, epoch, blocks, block_rows, rows)
    number = (blocks[:, None] * block_rows + np.arange(block_rows)).reshape(-1)[:rows]
    part[order] = (number + rotation) % parts
    return part

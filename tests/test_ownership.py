"""Rows that are taken over: all of them, once, by those that have least."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mpigd.ownership import blocks_of, lacking, share_out
from mpigd.reader import owned_rows


@given(
    n=st.integers(1, 1000),
    block=st.sampled_from([1, 16, 64]),
    deaths=st.lists(st.integers(0, 7), min_size=1, max_size=7),
    size=st.integers(1, 8),
)
def test_every_row_stays_somewhere_whoever_dies(n: int, block: int, deaths: list[int], size: int) -> None:
    held = [[owned_rows(n, block, size, rank)] for rank in range(size)]
    for dead in deaths:
        if len(held) == 1:
            break
        del held[dead % len(held)]
        shares = share_out(held, n, block)
        before = [sum(len(blocks_of(*run, block)) for run in runs) for runs in held]
        held = [[*runs, *more] for runs, more in zip(held, shares, strict=True)]
        rows = sorted(itertools.chain.from_iterable(range(*run) for runs in held for run in runs))
        assert rows == list(range(n))
        assert all(start % block == 0 and (stop % block == 0 or stop == n) for runs in shares for start, stop in runs)
        after = [sum(len(blocks_of(*run, block)) for run in runs) for runs in held]
        # Who has taken some has no more than the least of the others could have had with one more.
        took = [now for was, now in zip(before, after, strict=True) if now > was]
        assert all(now <= min(after) + 1 for now in took)


def test_nothing_is_lacking_where_all_is_held() -> None:
    assert lacking([(0, 5), (5, 5), (5, 9)], 9) == []
    assert lacking([], 3) == [(0, 3)]
    assert share_out([[(0, 9)]], 9, 4) == [[]]


def test_blocks_of_no_rows() -> None:
    assert len(blocks_of(100, 100, 16)) == 0
    np.testing.assert_array_equal(blocks_of(32, 100, 16), [2, 3, 4, 5, 6])

"""Random choices of rows: fair, and a function of (seed, epoch, block) alone."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from mpigd_kernels import exact

from mpigd.ownership import blocks_of
from mpigd.reader import owned_rows
from mpigd.sampling import deal, permuted, pick
from mpigd.storage import block_rows


def deal_all(n: int, parts: int, seed: int = 0, epoch: int = 0) -> np.ndarray:
    return deal(seed, epoch, blocks_of(0, n, block_rows(n)), block_rows(n), n, parts)


@given(n=st.integers(1, 20_000), size=st.integers(1, 600))
def test_slices_are_whole_blocks_and_balanced(n: int, size: int) -> None:
    rows = block_rows(n)
    slices = [owned_rows(n, rows, size, rank) for rank in range(size)]
    assert slices[0][0] == 0
    assert slices[-1][1] == n
    assert all(a[1] == b[0] for a, b in itertools.pairwise(slices))
    assert all(start % rows == 0 or start == n for start, _ in slices)
    blocks = [-(-(stop - start) // rows) for start, stop in slices]
    assert max(blocks) - min(blocks) <= 1


@given(n=st.integers(1, 5000), parts=st.integers(1, 300), seed=st.integers(0, 2**64 - 1), epoch=st.integers(0, 1000))
def test_parts_have_equal_sizes(n: int, parts: int, seed: int, epoch: int) -> None:
    counts = np.bincount(deal_all(n, parts, seed, epoch), minlength=parts)
    assert len(counts) == parts
    assert set(counts) <= {n // parts, -(-n // parts)}


@given(n=st.integers(1, 5000), parts=st.integers(1, 50), size=st.integers(1, 9), seed=st.integers(0, 99))
def test_ranks_find_the_same_parts_alone(n: int, parts: int, size: int, seed: int) -> None:
    rows = block_rows(n)
    pieces = [
        deal(seed, 3, blocks_of(start, stop, rows), rows, stop - start, parts)
        for start, stop in (owned_rows(n, rows, size, rank) for rank in range(size))
    ]
    np.testing.assert_array_equal(np.concatenate(pieces), deal_all(n, parts, seed, 3))


@given(n=st.integers(1, 5000), parts=st.integers(1, 50), size=st.integers(1, 9), seed=st.integers(0, 99))
def test_every_rank_has_an_even_share_of_every_part(n: int, parts: int, size: int, seed: int) -> None:
    rows = block_rows(n)
    for start, stop in (owned_rows(n, rows, size, rank) for rank in range(size)):
        counts = np.bincount(deal(seed, 3, blocks_of(start, stop, rows), rows, stop - start, parts), minlength=parts)
        assert set(counts) <= {(stop - start) // parts, -(-(stop - start) // parts)}


@given(st.integers(1, 300), st.integers(1, 20), st.integers(0, 99), st.lists(st.integers(0, 300), max_size=3))
def test_one_block_of_each_group_is_picked(blocks: int, one_in: int, seed: int, cuts: list[int]) -> None:
    ends = [0, *sorted(min(cut, blocks) for cut in cuts), blocks]
    found = np.concatenate([pick(seed, np.arange(a, b), one_in) for a, b in itertools.pairwise(ends)])
    assert found.tolist() == pick(seed, np.arange(blocks), one_in).tolist()
    whole = found[: blocks // one_in * one_in].reshape(-1, one_in)
    assert (whole.sum(axis=1) == 1).all()


@given(n=st.integers(1, 2**50), d=st.integers(1, 10**6), sparse=st.booleans())
def test_blocks_are_whole_tiles_and_no_more_than_an_exact_sum_takes(n: int, d: int, sparse: bool) -> None:
    rows = block_rows(n, d, 10 * n if sparse else None)
    assert rows & (rows - 1) == 0
    assert rows >= 16
    assert -(-n // rows) <= exact.MOST_TERMS


def test_every_row_is_equally_likely_in_every_part() -> None:
    n, parts, epochs = 48, 3, 3000
    first = sum((deal_all(n, parts, 1, epoch) == 0).astype(int) for epoch in range(epochs))
    deviation = np.sqrt(epochs * (1 / parts) * (1 - 1 / parts))
    assert np.abs(first - epochs / parts).max() < 5 * deviation


def test_epochs_and_seeds_differ() -> None:
    base = deal_all(1000, 10, seed=0, epoch=0)
    assert (deal_all(1000, 10, seed=0, epoch=1) != base).any()
    assert (deal_all(1000, 10, seed=1, epoch=0) != base).any()


def test_choice_is_frozen() -> None:
    """The rows of a mini-batch are part of a result: they may not change between versions."""
    assert np.flatnonzero(deal_all(100, 10, seed=7) == 0).tolist() == FROZEN


FROZEN = [12, 18, 20, 32, 47, 52, 75, 77, 88, 96]


@given(st.integers(0, 2**63), st.integers(1, 3000))
def test_permutations_are_permutations(seed: int, count: int) -> None:
    there = permuted(seed, 1, np.arange(count), count)
    assert np.array_equal(np.sort(there), np.arange(count))
    assert np.array_equal(permuted(seed, 1, there, count, back=True), np.arange(count))
    few = np.arange(0, count, 7)
    assert np.array_equal(permuted(seed, 1, few, count), there[few])


def test_permutations_are_all_as_likely() -> None:
    drawn = [tuple(permuted(0, k, np.arange(4), 4)) for k in range(2400)]
    counts = np.array([drawn.count(order) for order in set(drawn)])
    assert len(counts) == 24
    assert np.sum((counts - 100.0) ** 2 / 100.0) < 49.7  # one in a thousand of χ² with 23 degrees of freedom

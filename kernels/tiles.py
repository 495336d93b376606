"""The tile layout: a few hundred rows stored column by column."""

from __future__ import annotations

from mpigd_kernels.native import Floats2, Integers1, Rows, Tiles, kernel

TILE_ROWS = 64  # two tiles of float32 stay in L2 up to a thousand columns; measured in benchmarks/
LANES = 16  # rows of a tile are a multiple of this, so that no kernel needs a remainder loop


def tile_rows(rows: int) -> int:
    """Rows per tile for data that comes in runs of `rows` rows: at most TILE_ROWS, a multiple of LANES."""
    return min(TILE_ROWS, -(-max(rows, 1) // LANES) * LANES)


def tile_count(n: int, rows: int) -> int:
    """Number of tiles of `rows` rows that n rows fill."""
    return -(-n // rows)


@kernel
def fill_tiles(chunk: Rows, start: int, tiles: Tiles) -> None:
    """Copy chunk (m, d) to rows start … start + m - 1 of tiles (tiles, d, rows)."""
    m, d = chunk.shape
    rows = tiles.shape[2]
    for i in range(m):
        t, lane = divmod(start + i, rows)
        for j in range(d):
            tiles[t, j, lane] = chunk[i, j]


@kernel
def gather_rows(
    tiles: Tiles,
    y: Floats2,
    weight: Floats2,
    offset: Floats2,
    picked: Integers1,
    to_tiles: Tiles,
    to_y: Floats2,
    to_weight: Floats2,
    to_offset: Floats2,
) -> None:
    """Copy the rows `picked` (m,) int64 of a tiled slice to the first m rows of another.

    Both sides have the layout that the package's docstring describes; padding of the target beyond m is
    set to zero.
    """
    rows, to_rows = tiles.shape[2], to_tiles.shape[2]
    d = tiles.shape[1]
    to_tiles[:] = 0
    for i in range(picked.shape[0]):
        t, lane = divmod(picked[i], rows)
        to_t, to_lane = divmod(i, to_rows)
        for j in range(d):
            to_tiles[to_t, j, to_lane] = tiles[t, j, lane]
        to_y[to_t, to_lane] = y[t, lane]
        if weight.shape[0]:
            to_weight[to_t, to_lane] = weight[t, lane]
        if offset.shape[0]:
            to_offset[to_t, to_lane] = offset[t, lane]

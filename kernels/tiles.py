"""The tile layout: a few dozen rows stored column by column."""

from __future__ import annotations

from mpigd_kernels.native import Floats2, Integers1, OtherTiles, Rows, Tiles, kernel
from mpigd_kernels.vector import fma_lanes, lanes_of, load, publish, side_of, splat, store, turn

TILE_ROWS = 64  # two tiles of float32 stay in L2 up to a thousand columns; measured in benchmarks/
LEAST_ROWS = 16  # as many as there are float lanes, so that no kernel needs a remainder loop


def tile_rows(rows: int) -> int:
    """Rows per tile for data that comes in runs of `rows` rows: one of two, for which kernels are compiled."""
    return TILE_ROWS if rows >= TILE_ROWS else LEAST_ROWS


def tile_count(n: int, rows: int) -> int:
    """Number of tiles of `rows` rows that n rows fill."""
    return -(-n // rows)


@kernel
def fill_tiles(chunk: Rows, start: int, tiles: Tiles, check: Floats2) -> None:
    """Copy chunk (m, d) to rows start … start + m - 1 of tiles (tiles, d, rows).

    start : where a tile begins.  check (1, 8) : overwritten; not all finite, if not all values are.
    """
    m, d = chunk.shape
    rows, side = tiles.shape[2], side_of(chunk)
    total = splat(0.0, check)
    for first in range(0, m, rows):
        t, count = (start + first) // rows, min(rows, m - first)
        if count == rows and d >= side:
            for i in range(0, rows, side):
                for column in range(0, d, side):
                    j = min(column, d - side)  # the last square covers some columns once more
                    total = turn(chunk, first + i, j, tiles, t * d + j, i, total)
        else:
            for j in range(d):
                for i in range(count):
                    tiles[t, j, i] = chunk[first + i, j]
                for i in range(0, rows, lanes_of(check)):
                    total = fma_lanes(load(tiles, t * d + j, i, check), splat(0.0, check), total)
    store(check, 0, 0, total)
    publish()


@kernel
def gather_tiles(tiles: Tiles, picked: Integers1, place: Integers1, to: OtherTiles) -> None:
    """Copy the rows `picked` (m,) to the rows `place` (m,) of tiles `to`, whose other rows are set to zero."""
    rows, to_rows = tiles.shape[2], to.shape[2]
    to[:] = 0
    for i in range(picked.shape[0]):
        t, lane = divmod(picked[i], rows)
        to_t, to_lane = divmod(place[i], to_rows)
        for j in range(tiles.shape[1]):
            to[to_t, j, to_lane] = tiles[t, j, lane]

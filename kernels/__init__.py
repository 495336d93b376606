"""Numeric kernels of mpigd: no MPI, no files, no state.

Conventions
-----------
- Rows are stored as *tiles*: an array of shape (tiles, d, rows) in C order, so that the values of one
  column in one tile are contiguous and SIMD lanes run across rows. The last tile is padded with zeros;
  `n` says how many rows are real.
- Per-row arrays (`y`, `weight`, `offset`) have shape (tiles, rows), float64. An absent `weight` or
  `offset` is an array of shape (0, rows).
- X may be float32, float64, int8 or uint8; all arithmetic is done in float64.
- Kernels write into buffers of the caller and allocate nothing. The order of every addition is a
  function of the shapes alone: no reassociating fast-math.
"""

from mpigd_kernels.gradient import linear_predictor, value_gradient, work_shapes
from mpigd_kernels.losses import LOSSES, Loss, of_three
from mpigd_kernels.moments import column_moments, largest_row_norm
from mpigd_kernels.native import Kernel
from mpigd_kernels.tiles import fill_tiles, gather_rows, tile_count, tile_rows

__all__ = [
    "LOSSES",
    "Kernel",
    "Loss",
    "column_moments",
    "fill_tiles",
    "gather_rows",
    "largest_row_norm",
    "linear_predictor",
    "of_three",
    "tile_count",
    "tile_rows",
    "value_gradient",
    "work_shapes",
]

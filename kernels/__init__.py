"""Numeric kernels of mpigd: no MPI, no files, no state.

Conventions
-----------
- Dense rows are stored as *tiles*: an array of shape (tiles, d, rows) in C order, so that the values of one
  column in one tile are contiguous and SIMD lanes run across rows. The last tile is padded with zeros;
  `n` says how many rows are real. Sparse rows are stored as CSR.
- Per-row arrays (`y`, `weight`, `offset`) have shape (tiles, 1 or K, rows), float32 or float64. An absent `weight`
  or `offset` has no tiles.
- X may be float64, float32, float16, int8 or uint8. Arithmetic is in float64 or, where asked for, in float32
  within a tile; what leaves a tile is summed in float64, what leaves a block exactly.
- Kernels write into buffers of the caller and allocate nothing. The order of every addition is a
  function of the shapes alone: no reassociating fast-math.
"""

# All modules that declare kernels are loaded by every job: what they declare is part of the names of cached objects.
from mpigd_kernels import summary, synthetic
from mpigd_kernels.losses import LOSSES, Loss, of_three
from mpigd_kernels.native import Kernel
from mpigd_kernels.slices import At, Computing, DenseSlice, Slice, SparseSlice, gradient_sums, second_order_sums
from mpigd_kernels.tiles import fill_tiles, tile_count, tile_rows
from mpigd_kernels.vector import aligned

__all__ = [
    "LOSSES",
    "At",
    "Computing",
    "DenseSlice",
    "Kernel",
    "Loss",
    "Slice",
    "SparseSlice",
    "aligned",
    "fill_tiles",
    "gradient_sums",
    "of_three",
    "second_order_sums",
    "summary",
    "synthetic",
    "tile_count",
    "tile_rows",
]

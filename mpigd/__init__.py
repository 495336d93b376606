"""Distributed gradient descent for linear models: SPMD over MPI, HDF5 slices, Numba kernels.

Importing this package starts nothing: MPI is initialised by the first `mpigd.comm.Comm.world()`.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing's, which takes longer to import than all this
if TYPE_CHECKING:
    from pathlib import Path

    from mpigd.serving import Served

__version__ = "0.1.0"


def load(path: Path | str) -> Served:
    """A model that was fitted, to predict rows in memory: needs numpy and h5py alone. See `mpigd.serving.load`."""
    from mpigd.serving import load as read

    return read(path)

"""Distributed gradient descent for linear models: SPMD over MPI, HDF5 slices, Numba kernels.

Importing this package starts nothing: MPI is initialised by the first `mpigd.comm.Comm.world()`.
"""

__version__ = "0.1.0"

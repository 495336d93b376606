"""The job `convert`: from tables of several formats to an HDF5 data file."""

"""The tables that ship with mpigd, as HDF5 files; README.md says where they come from."""

from pathlib import Path

TABLES = ("boston", "breast_cancer", "digits")


def path_of(table: str) -> Path:
    """The HDF5 file of a table that ships."""
    return Path(__file__).parent / f"{table}.h5"

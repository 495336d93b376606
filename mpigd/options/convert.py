"""The options of `convert`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal

from mpigd.options.base import Output, parse_bytes, require


@dataclass(frozen=True)
class Convert(Output):
    """Make an HDF5 data file from tables: CSV, Parquet, Arrow, svmlight, NumPy or HDF5."""

    paths: tuple[Path, ...]
    """The files to read, all of one kind (rows one after the other), and last the HDF5 file to write."""

    _: KW_ONLY

    like: Path | None = None
    """Give new rows the columns of a file that convert has written: the same columns of the tables in the same order,
    levels, numbers for missing values, classes and type. A level that it does not have is zero in all its columns, and
    counted. The target and the weight may be absent."""

    target: str | None = None
    """Column that becomes y, or none; of HDF5 a dataset such as obs/label. The default is the last column; the label of
    svmlight; y of NumPy and HDF5. Text becomes numbers of classes."""

    weight: str | None = None
    """Column that becomes sample_weight."""

    offset: str | None = None
    """Column that becomes offset."""

    columns: tuple[str, ...] = ()
    """Names or patterns (as of a shell) of the columns that X takes; the default is all."""

    exclude: tuple[str, ...] = ()
    """Names or patterns of columns to leave out."""

    categorical: tuple[str, ...] = ()
    """Names or patterns of columns to encode one-hot; columns of text are without being named."""

    drop_first: bool = False
    """Leave out the first level of every categorical column."""

    max_levels: int = 1000
    """Refuse a categorical column with more levels."""

    hash_bits: int | None = None
    """Hash the levels of all categorical columns into 2 to the power of so many columns, instead of one for each."""

    interactions: tuple[str, ...] = ()
    """Pairs a:b of columns whose products are added as columns."""

    missing: Literal["refuse", "mean", "median", "drop"] = "refuse"
    """What to do about missing values: stop, put the mean or median of the column there, or drop the row. With mean and
    median, a gap in a category is a level of its own, (missing)."""

    layout: Literal["auto", "dense", "sparse"] = "auto"
    """How X is stored; auto is sparse where that takes less space."""

    dtype: Literal["auto", "float64", "float32", "float16", "int8", "uint8"] = "auto"
    """Type of X; auto is float32 if that holds every value exactly, else float64."""

    compression: Literal["none", "gzip", "zstd", "lz4", "blosc2"] = "none"
    """How datasets are compressed. None, the default, is fastest to read in slices."""

    chunk_rows: int | None = None
    """Rows of a chunk of X. The default is near 1 MiB, and no slice of a fit shares a chunk; without compression there
    are no chunks."""

    format: Literal["auto", "csv", "parquet", "arrow", "svmlight", "npy", "npz", "hdf5"] = "auto"
    """What the files are; auto goes by their names."""

    delimiter: str | None = None
    """Of CSV; the default is a tab for .tsv and .tab, else a comma."""

    header: bool = True
    """Whether the first line of CSV names the columns; without, they are x0, x1, …"""

    memory: str = "1GiB"
    """What a rank may hold in memory, as 512MiB, 2GiB or a number of bytes, roughly; the rest waits on disk, beside the
    output."""

    def __post_init__(self) -> None:
        super().__post_init__()
        shown = " ".join(map(str, self.paths))
        require(len(self.paths) >= 2, "paths", shown, "files to read and last the file to write")
        require(self.output not in self.sources, "paths", shown, "an output that is none of the inputs")
        require(self.output != self.like, "--like", self.like, "a file other than the output")
        require(self.max_levels >= 1, "--max-levels", self.max_levels, "a whole number ≥ 1")
        bits = self.hash_bits
        require(bits is None or 1 <= bits <= 30, "--hash-bits", bits, "a whole number from 1 to 30")
        require(
            not (bits and self.drop_first), "--drop-first", "", "no --hash-bits with it: levels share columns there"
        )
        for pair in self.interactions:
            require(
                pair.count(":") == 1 and not pair.startswith(":") and not pair.endswith(":"),
                "--interactions",
                pair,
                "a:b",
            )
        require(self.chunk_rows is None or self.chunk_rows >= 1, "--chunk-rows", self.chunk_rows, "a whole number ≥ 1")
        delimiter = self.delimiter
        require(
            delimiter in (None, "tab") or (len(delimiter) == 1 and delimiter.isascii() and delimiter not in '"\r\n'),
            "--delimiter",
            delimiter,
            "one character, or tab",
        )
        require(parse_bytes(self.memory) >= 1 << 20, "--memory", self.memory, "at least 1MiB")

    @property
    def sources(self) -> tuple[Path, ...]:
        """The files to read."""
        return self.paths[:-1]

    @property
    def output(self) -> Path:
        """The file to write."""
        return self.paths[-1]

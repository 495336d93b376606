"""Make the HDF5 tables from their text form: `python data/make.py [DIRECTORY]`."""

from __future__ import annotations

import sys
from pathlib import Path

from mpigd.comm import Comm
from mpigd.convert import job
from mpigd.options import Convert

SOURCES = {
    "boston": ("boston.csv", "MEDV"),
    "breast_cancer": ("breast_cancer.csv", "benign"),
    "digits": ("digits.csv.gz", "digit"),
}


def main(directory: Path) -> None:
    """Convert every table of text/ into an HDF5 file in directory."""
    here = Path(__file__).parent
    for name, (source, target) in SOURCES.items():
        paths = (here / "text" / source, directory / f"{name}.h5")
        print(job.run(Comm.alone(), Convert(paths, target=target, dtype="float64", layout="dense")))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)

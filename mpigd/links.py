"""Where the datasets of an HDF5 file lead: they may take their numbers from other files.

External links, external storage, and the sources of virtual datasets are followed by HDF5 wherever they lead. A file
from somebody else could so have files of the user's read. They have to be in the directory of the file that names them,
or below it, or in a directory that the user has allowed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import h5py

from mpigd.errors import DataError

ALLOWED = "MPIGD_LINKS"  # directories that files may lead to, separated as those of PATH are
DEEPEST = 8  # of groups in groups, and of files that lead to files


def check_inside(item: h5py.Dataset | h5py.Group, path: Path, name: str, depth: int = 0) -> None:
    """Raise DataError if a dataset, or one of a group, that `path` holds under a name is in files it may not lead to.

    So for a source that is missing, too, for which HDF5 would give zeros.
    """
    if depth > DEEPEST:
        raise DataError(f"{path}: dataset '{name}' leads on and on, more than {DEEPEST} times")
    real = Path(os.fsdecode(item.file.filename))
    if not _same(real, path):
        _refuse_outside(real, path, name)
    if isinstance(item, h5py.Group):
        for member in item:
            check_inside(item[member], path, f"{name}/{member}", depth + 1)
        return
    for raw, _, _ in item.external or ():
        _refuse_outside(_stored_at(os.fsdecode(raw)), path, name)
    if not item.is_virtual:
        return
    checked = set()
    for source in item.virtual_sources():
        if source.file_name == "." or (source.file_name, source.dset_name) in checked:
            continue
        checked.add((source.file_name, source.dset_name))
        for part in _sources(real, source.file_name):
            _refuse_outside(part, path, name)
            if not part.exists():
                raise DataError(
                    f"{path}: dataset '{name}' is virtual, and its part {part} is missing: HDF5 would take zeros for it"
                )
            with h5py.File(part, "r", locking="best-effort") as file:
                if source.dset_name in file:  # else there is a pattern of names, or reading says what is wrong
                    check_inside(file[source.dset_name], part, source.dset_name, depth + 1)


def _refuse_outside(target: Path, path: Path, name: str) -> None:
    allowed = [path.resolve().parent, *(Path(each).resolve() for each in _allowed())]
    if not any(target.resolve().is_relative_to(each) for each in allowed):
        raise DataError(
            f"{path}: dataset '{name}' leads to {target}, which is not in the directory of the file; if you trust it, "
            f"set {ALLOWED}={target.resolve().parent}"
        )


def _allowed() -> list[str]:
    return [each for each in os.environ.get(ALLOWED, "").split(os.pathsep) if each]


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _stored_at(raw: str) -> Path:
    """Where HDF5 looks for external storage: below its prefix, or the present directory."""
    return Path(os.environ.get("HDF5_EXTFILE_PREFIX", "."), raw)


def _sources(file: Path, source: str) -> Iterator[Path]:
    """Where HDF5 looks for a source of a virtual dataset of a file; several where its name counts blocks by %b."""
    prefix = os.environ.get("HDF5_VDS_PREFIX", "").replace("${ORIGIN}", str(file.parent))
    path = Path(prefix or file.parent, source)
    if "%b" not in source.replace("%%", ""):
        yield Path(str(path).replace("%%", "%"))
        return
    pattern = re.sub(r"([*?\[])", r"[\1]", path.name.replace("%b", "\0").replace("%%", "%")).replace("\0", "*")
    yield from sorted(path.parent.glob(pattern))

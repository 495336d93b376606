"""Datasets that lead to other files: of the directory and below it, or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import mpirun

from mpigd.errors import DataError
from mpigd.links import ALLOWED
from mpigd.storage import read_header

X = np.arange(40.0).reshape(20, 2)


def plain(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        file["X"], file["y"] = X, X[:, 0]
    return path


def external_link(path: Path, target: Path) -> None:
    with h5py.File(path, "w") as file:
        file["X"], file["y"] = h5py.ExternalLink(target, "X"), X[:, 0]


def link_of_a_group(path: Path, target: Path) -> None:
    with h5py.File(path, "w") as file:
        file["there"] = h5py.ExternalLink(target, "/")
        file["X"], file["y"] = h5py.SoftLink("/there/X"), X[:, 0]


def virtual(path: Path, target: Path) -> None:
    layout = h5py.VirtualLayout(X.shape, X.dtype)
    layout[:] = h5py.VirtualSource(target, "X", X.shape)
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("X", layout)
        file["y"] = X[:, 0]


def external_storage(path: Path, target: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("X", X.shape, X.dtype, external=[(str(target), 0, h5py.h5f.UNLIMITED)])
        file["X"][:] = X
        file["y"] = X[:, 0]


def virtual_of_a_link(path: Path, target: Path) -> None:
    between = path.with_name("between.h5")
    external_link(between, target)
    virtual(path, between)


WAYS = (external_link, link_of_a_group, virtual, external_storage, virtual_of_a_link)


@pytest.mark.parametrize("lead", WAYS)
def test_files_of_the_directory_are_read(lead: Callable[[Path, Path], None], tmp_path: Path) -> None:
    lead(tmp_path / "data.h5", plain(tmp_path / "below" / "other.h5"))
    assert (read_header(tmp_path / "data.h5").n, read_header(tmp_path / "data.h5").d) == X.shape


@pytest.mark.parametrize("lead", WAYS)
def test_files_elsewhere_are_refused_unless_allowed(
    lead: Callable[[Path, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    other = plain(tmp_path / "yours" / "other.h5")
    lead(tmp_path / "mine" / "data.h5", other)
    with pytest.raises(DataError, match=f"dataset 'X' leads to .*other.h5.*{ALLOWED}={other.parent}"):
        read_header(tmp_path / "mine" / "data.h5")
    monkeypatch.setenv(ALLOWED, str(other.parent))
    assert read_header(tmp_path / "mine" / "data.h5").n == len(X)


def test_a_way_out_by_a_link_of_the_file_system_is_one(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "inside.h5").symlink_to(plain(tmp_path / "yours" / "other.h5"))
    virtual(tmp_path / "mine" / "data.h5", Path("inside.h5"))
    with pytest.raises(DataError, match="not in the directory"):
        read_header(tmp_path / "mine" / "data.h5")


def test_a_missing_part_is_no_zeros(tmp_path: Path) -> None:
    virtual(tmp_path / "data.h5", tmp_path / "gone.h5")
    with pytest.raises(DataError, match=r"its part .*gone\.h5 is missing"):
        read_header(tmp_path / "data.h5")


def test_files_that_lead_to_each_other_come_to_an_end(tmp_path: Path) -> None:
    virtual(tmp_path / "one.h5", tmp_path / "two.h5")
    virtual(tmp_path / "two.h5", tmp_path / "one.h5")
    with pytest.raises(DataError, match="leads on and on"):
        read_header(tmp_path / "one.h5")


@pytest.mark.parametrize("command", ["train", "inspect", "convert"])
def test_said_once_by_commands(command: str, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    virtual(tmp_path / "mine" / "data.h5", plain(tmp_path / "yours" / "other.h5"))
    more = [tmp_path / "out.h5"] if command == "convert" else []
    done = mpirun(command, tmp_path / "mine" / "data.h5", *more, ranks=2, cwd=tmp_path)
    assert done.status == 3
    [complaint] = done.complaints()
    assert "leads to" in complaint

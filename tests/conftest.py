"""What tests share: a communicator, data files, and whole jobs under mpirun.

Tests marked `mpi` run inside MPI, on every number of ranks that run.sh starts them with; the others in one
process. A failure on one rank ends all of them: the rest would wait for it for ever.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fits
import h5py
import numpy as np
import pytest
from hypothesis import settings
from mpigd_data import path_of
from scipy import sparse

from mpigd import dataset
from mpigd.comm import Comm
from mpigd.options import Train

# Files that take minutes are begun first: where files are tested side by side, one of them would else come last.
LONG = (
    "test_slurm",
    "test_library",
    "test_kernels",
    "test_failures",
    "test_bits",
    "test_hosts",
    "test_docs",
    "test_bindings",
)

# What Open MPI's launcher says at times on a busy machine, before it has started any rank; and how often it is started.
NOT_LAUNCHED, TRIES = "The PMIx server's listener thread failed to start", 3

# Every rank has to draw the same examples; examples of JIT-compiled code have no deadline.
settings.register_profile("mpigd", derandomize=True, deadline=None, database=None, max_examples=30)
settings.load_profile("mpigd")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    comm = Comm.world()
    if report.failed and comm.size > 1:
        print(f"\nrank {comm.rank} of {comm.size}: {item.nodeid}\n{report.longreprtext}", file=sys.stderr, flush=True)
        comm.abort(1)
    return report


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if Comm.world().rank > 0:  # one rank speaks for all
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        if reporter:
            config.pluginmanager.unregister(reporter)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in LONG)


@pytest.fixture
def comm() -> Comm:
    return Comm.world()


@pytest.fixture
def shared_path(comm: Comm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new directory that is the same on all ranks."""
    return comm.share(tmp_path_factory.mktemp("shared") if comm.rank == 0 else None)


@pytest.fixture
def write_data(comm: Comm, shared_path: Path) -> Callable[..., Path]:
    """A function that writes arrays to an HDF5 file once, for all ranks."""

    def write(name: str = "data.h5", **arrays: Any) -> Path:
        path = shared_path / name
        if comm.rank == 0:
            with h5py.File(path, "w") as file:
                for key, values in arrays.items():
                    file[key] = values
        comm.leave()
        return path

    return write


@pytest.fixture(params=["dense", "sparse", "streamed"])
def stored(
    request: pytest.FixtureRequest,
    write_data: Callable[..., Path],
    write_sparse: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Train]:
    """A function of X (n, d), y and options of train, which are then of a file that is dense, sparse, or streams."""

    def write(X: np.ndarray, y: np.ndarray, **options: Any) -> Train:
        if request.param == "sparse":
            return Train((write_sparse(sparse.csr_array(X), y=y),), **options)
        if request.param == "streamed":
            monkeypatch.setattr(dataset, "room_for_rows", fits.cramped)
            options["memory"] = "1GiB"
        return Train((write_data(X=X, y=y),), **options)

    return write


@pytest.fixture
def write_sparse(comm: Comm, shared_path: Path) -> Callable[..., Path]:
    """A function that writes a CSR matrix as AnnData does, with further arrays beside it."""

    def write(X: sparse.csr_array, name: str = "sparse.h5", **arrays: Any) -> Path:
        path = shared_path / name
        if comm.rank == 0:
            with h5py.File(path, "w") as file:
                group = file.create_group("X")
                group.attrs.update({"encoding-type": "csr_matrix", "shape": X.shape})
                group["data"], group["indices"], group["indptr"] = X.data, X.indices, X.indptr
                for key, values in arrays.items():
                    file[key] = values
        comm.leave()
        return path

    return write


@dataclass(frozen=True)
class Table:
    """A table that ships, as plain arrays."""

    path: Path
    X: np.ndarray
    y: np.ndarray


@pytest.fixture(params=["boston", "breast_cancer", "digits"])
def any_table(request: pytest.FixtureRequest) -> Table:
    return load_table(request.param)


def load_table(name: str) -> Table:
    with h5py.File(path_of(name)) as file:
        return Table(path_of(name), file["X"][:], file["y"][:])


@dataclass(frozen=True)
class Outcome:
    """How a job under mpirun ended."""

    status: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(self.out)
        return result

    def complaints(self) -> list[str]:
        """What mpigd complained of; a note is not a complaint."""
        said = (line for line in self.err.splitlines() if line.startswith("mpigd: "))
        return [line for line in said if not line.startswith("mpigd: note: ")]


def launcher() -> str:
    """The mpirun of the MPI that mpi4py uses here."""
    return os.environ.get("MPIGD_MPIRUN") or shutil.which("mpirun") or shutil.which("mpiexec") or "mpirun"


def library_of(mpirun: str | None = None) -> Path | None:
    """The library of an MPI, which lies beside its mpirun: of the one in use if none is named."""
    top = Path(mpirun or launcher()).resolve().parent.parent
    patterns = ("lib*/libmpi.so.*", "lib*/libmpi.so", "lib*/libmpi.dylib")  # wheels have an empty libmpi.so
    return next((path for pattern in patterns for path in sorted(top.glob(pattern))), None)


def mpirun(
    *arguments: object,
    ranks: int = 3,
    module: bool = True,
    python: Path | str = sys.executable,
    cwd: Path | None = None,
    timeout: float = 60.0,
    **settings: str,
) -> Outcome:
    """Run `python -m mpigd ARGUMENTS` (or python ARGUMENTS) under mpirun and check that no process is left.

    python : the interpreter.  settings : variables of its environment.
    """
    # A process inside MPI can't start another job: the launcher's variables have to go.
    prefixes = ("PMIX_", "OMPI_COMM", "PRTE_LAUNCHED")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(prefixes)} | settings
    mark = f"{os.getpid()}-{np.random.default_rng().integers(2**60)}"
    environment["MPIGD_TEST_MARK"] = mark
    command = [str(python), *(["-m", "mpigd"] if module else []), *map(str, arguments)]
    for _ in range(TRIES):
        done = subprocess.run(
            [environment.get("MPIGD_MPIRUN", launcher()), "-n", str(ranks), *command],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=environment,
            cwd=cwd,
        )
        if done.returncode == 0 or NOT_LAUNCHED not in done.stderr:
            break
    assert_ended(mark)
    return Outcome(done.returncode, done.stdout, done.stderr)


def assert_ended(mark: str, within: float = 10.0) -> None:
    """Check that no Python process whose environment holds mark is left; the last may still be on its way out."""
    deadline = time.monotonic() + within
    while (left := processes_with(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left, "the job left processes behind"


def processes_with(mark: str) -> list[str]:
    """Python processes of this machine whose environment holds mark (Linux)."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:  # it ended meanwhile
            continue
    return [command for command in found if "python" in command.split(" ")[0]]

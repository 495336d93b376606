"""The promise: the same bits on any number of ranks. Whole jobs of many fits, started in many ways.

What they are compared with is one process; that its results are right is checked elsewhere, against other software.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fits
import pytest
from conftest import library_of, mpirun
from mpi4py import MPI

pytestmark = pytest.mark.timeout(660)  # the first job compiles all kernels where none are cached
Digests = dict[str, str]
Run = Callable[..., Digests]
Told = dict[str, Any]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tables")
    fits.write_files(directory)
    return directory


@pytest.fixture(scope="module")
def job(tables: Path) -> Callable[..., Told]:
    """A function that starts `fits` on so many ranks and returns what it tells."""

    def start(ranks: int, *settings: str, **environment: str) -> Told:
        done = mpirun(fits.__file__, tables, *settings, ranks=ranks, module=False, timeout=600, **environment)
        assert done.status == 0, done.err
        told = done.json()
        assert told["ranks"] == ranks
        return told

    return start


@pytest.fixture(scope="module")
def run(job: Callable[..., Told]) -> Run:
    """The same for the digests of its cases alone."""
    return lambda *arguments, **environment: job(*arguments, **environment)["digests"]


@pytest.fixture(scope="module")
def one_rank(run: Run) -> Digests:
    return run(1)


def assert_same(found: Digests, wanted: Digests) -> None:
    assert found
    assert {case for case, digest in found.items() if digest != wanted[case]} == set()


def test_cases_are_what_exists(one_rank: Digests) -> None:
    """A digest tells fits apart, and no way to store the same numbers changes a bit."""
    for solver in ("gd", "sgd"):
        by_loss = {digest for case, digest in one_rank.items() if case.count(" ") == 1 and case.startswith(solver)}
        assert len(by_loss) == len(fits.kernels.LOSSES)
        for loss in ("logistic", "softmax"):
            for stored in (fits.DENSE, fits.SPARSE):
                assert len({one_rank[f"{solver} {loss} {name}"] for name in stored}) == 1


@pytest.mark.parametrize(
    ("ranks", "cases"), [(2, "some"), (3, "all"), (4, "some"), (5, "some"), (7, "some"), (8, "all")]
)
def test_the_same_bits_on_any_number_of_ranks(run: Run, one_rank: Digests, ranks: int, cases: str) -> None:
    assert_same(run(ranks, f"cases={cases}"), one_rank)


@pytest.mark.parametrize("ranks", [1, 3])
def test_the_same_bits_with_threads(run: Run, one_rank: Digests, ranks: int) -> None:
    assert_same(run(ranks, "threads=2"), one_rank)


@pytest.mark.parametrize(("ranks", "cases"), [(1, "some"), (3, "all")])
def test_the_same_bits_where_rows_are_read_for_every_pass(run: Run, one_rank: Digests, ranks: int, cases: str) -> None:
    assert_same(run(ranks, f"cases={cases}", "stream=yes"), one_rank)


def algorithm(number: int) -> dict[str, str]:
    """Has Open MPI use one of its algorithms of Allreduce for every message."""
    return {
        "OMPI_MCA_coll": "self,basic,libnbc,tuned,inter",
        "OMPI_MCA_coll_tuned_use_dynamic_rules": "1",
        "OMPI_MCA_coll_tuned_allreduce_algorithm": str(number),
    }


needs_open_mpi = pytest.mark.skipif(
    not MPI.Get_library_version().startswith("Open MPI"), reason="these settings are Open MPI's"
)


@needs_open_mpi
@pytest.mark.parametrize("number", range(1, 7))
def test_the_same_bits_with_every_algorithm_of_allreduce(run: Run, one_rank: Digests, number: int) -> None:
    assert_same(run(5, "cases=some", **algorithm(number)), one_rank)


@needs_open_mpi
def test_fast_sums_do_depend_on_the_algorithm(run: Run) -> None:
    """Else the test above would not show anything."""
    ring, doubling = (run(5, "cases=some", "reduce=fast", **algorithm(number)) for number in (4, 3))
    assert all(ring[case] != doubling[case] for case in ring)


@pytest.mark.skipif("MPIGD_OTHER_MPIRUN" not in os.environ, reason="run.sh test installs another MPI beside the first")
@pytest.mark.parametrize(("ranks", "cases"), [(1, "all"), (3, "all"), (8, "some")])
def test_the_same_bits_with_another_mpi(run: Run, one_rank: Digests, ranks: int, cases: str) -> None:
    launcher = os.environ["MPIGD_OTHER_MPIRUN"]
    other = {"MPIGD_MPIRUN": launcher, "MPI4PY_LIBMPI": str(library_of(launcher))}
    assert_same(run(ranks, f"cases={cases}", **other), one_rank)


# What libraries take for the processor, as on an x86 of 2009: without AVX, without fused multiply-adds.
OLD_PROCESSOR = {
    "NUMBA_CPU_NAME": "x86-64-v2",
    "OPENBLAS_CORETYPE": "Nehalem",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX,-AVX2,-FMA,-AVX512F,-AVX512VL",
}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names of x86 processors")
def test_the_same_bits_on_another_processor(job: Callable[..., Told]) -> None:
    """Without metrics, which are made with numpy's exp and log: those do depend on it, as a control shows."""
    settings = ("cases=some", "scores=no")
    old, own = job(2, *settings, **OLD_PROCESSOR), job(1, *settings)
    assert_same(old["digests"], own["digests"])
    assert old["arithmetic"][0] != own["arithmetic"][0]
    assert old["arithmetic"][1:] != own["arithmetic"][1:]


@pytest.mark.parametrize("average", ["rows", "ranks"])
def test_averages_over_ranks_depend_on_their_number(run: Run, one_rank: Digests, average: str) -> None:
    """As the formula says, and no other average does."""
    found = run(3, "cases=some", f"average={average}")
    differ = {case for case in found if found[case] != one_rank[case]}
    assert differ == (set(found) if average == "ranks" else set())

"""libmpigd: built by CMake with few kernels, its tests pass, and programs find, link and use what is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from functools import partial
from importlib import import_module
from pathlib import Path

import h5py
import library
import mpigd_kernels as kernels
import numpy as np
import pytest
from library import TOP, run
from mpigd_kernels import emit, prebuilt
from test_docs import blocks_of

from mpigd.model import Model
from mpigd.rundir import versions

CONSUMER = """
cmake_minimum_required(VERSION 3.20)
project(consumer LANGUAGES C)
find_package(mpigd REQUIRED)
add_executable(shared predict.c)
target_link_libraries(shared mpigd::mpigd)
add_executable(static predict.c)
target_link_libraries(static mpigd::mpigd_static)
if(TARGET mpigd::mpi)
    add_executable(fit fit.c)
    target_link_libraries(fit mpigd::mpi)
endif()
"""
# Coefficients by hand: the kernels alone, without MPI and files.
GRADIENT = """
import hashlib, sys
import numpy as np
import mpigd_kernels as kernels
from mpigd_kernels import exact

x = np.random.default_rng(0).standard_normal((300, 5))
tiles = kernels.aligned((19, 5, 16), x.dtype)
tiles[-1:] = 0
kernels.fill_tiles(x, 0, tiles, np.zeros((1, 8)))
none = np.zeros((0, 1, 16))
rows = kernels.DenseSlice(300, 16, np.ones((19, 1, 16)), none, none, kernels.Computing(), tiles=tiles)
at = kernels.At(kernels.LOSSES["logistic"], np.full((5, 1), 0.1), np.zeros(1))
print(hashlib.sha256(rows.value_gradient(at).tobytes()).hexdigest(), "llvmlite" in sys.modules)
"""
# The program on a machine that has no LLVM.
BARE = """
import runpy, sys

sys.modules["numba"] = sys.modules["llvmlite"] = None
runpy.run_module("mpigd", run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return library.build(tmp_path_factory)


@pytest.fixture(scope="module")
def installed(build: Path) -> Path:
    return build.with_name("home")


def examples() -> list[str]:
    """The programs of its page."""
    return [block.text for block in blocks_of(TOP / "docs/library.md") if block.language == "c"]


@pytest.mark.timeout(900)
def test_its_own_tests_pass(build: Path) -> None:
    told = run("ctest", "--test-dir", build, "--output-on-failure")
    assert "100% tests passed" in told


@pytest.mark.timeout(900)
def test_programs_find_it(installed: Path, tmp_path: Path) -> None:
    predict, fit = examples()
    (tmp_path / "predict.c").write_text(predict)
    (tmp_path / "fit.c").write_text(fit)
    (tmp_path / "CMakeLists.txt").write_text(CONSUMER)
    run("cmake", "-B", "here", f"-DCMAKE_PREFIX_PATH={installed}", cwd=tmp_path)
    run("cmake", "--build", "here", cwd=tmp_path)
    programs = ["here/shared", "here/static"]
    if shutil.which("pkg-config"):
        [lib] = installed.glob("lib*")
        found = run("pkg-config", "--cflags", "--libs", "mpigd", PKG_CONFIG_PATH=str(lib / "pkgconfig")).split()
        run("cc", "-Wall", "-Wextra", "-Werror", "predict.c", *found, f"-Wl,-rpath,{lib}", "-o", "plain", cwd=tmp_path)
        programs.append("./plain")
    model = Model(
        np.array([[1.0, -1.0], [0.5, 2.0], [0.0, -0.25]]),
        np.array([0.0, 0.1]),
        kernels.LOSSES["softmax"],
        ("a", "b", "c"),
        np.array([3.0, 7.0]),
    )
    model.save(tmp_path / "model.h5")
    for row in ([2.0, 0.0, 1.0], [-1.0, 3.0, 0.5]):
        expected = model.predict(np.array(row))
        for program in programs:
            told = run(tmp_path / program, tmp_path / "model.h5", *map(str, row), cwd=tmp_path)
            assert float(told) == expected
    if (tmp_path / "here/fit").exists():
        assert run("here/fit", "fitted.h5", cwd=tmp_path) == "2.000000 -1.000000 1.000000\n"
        np.testing.assert_allclose(Model.load(tmp_path / "fitted.h5").coef, [2.0, -1.0], rtol=1e-12)


def test_python_takes_kernels_from_it(installed: Path) -> None:
    [shared] = installed.glob("lib*/libmpigd_kernels.so.1")
    compiled, own = run(sys.executable, "-c", GRADIENT, MPIGD_KERNELS="jit").split()
    taken, other = run(sys.executable, "-c", GRADIENT, MPIGD_KERNELS=str(shared)).split()
    assert compiled == taken
    assert (own, other) == ("True", "False")


def test_the_program_takes_kernels_from_it(installed: Path, tmp_path: Path) -> None:
    """A fit has the same bits, and nothing is compiled on the way."""
    [shared] = installed.glob("lib*/libmpigd_kernels.so.1")
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file["X"], file["y"] = rng.standard_normal((400, 6)), rng.integers(0, 2, 400)
    found, empty = [], tmp_path / "cache"
    for source, variables in (("jit", {}), (shared, {"MPIGD_CACHE_DIR": str(empty)})):
        fit = (
            sys.executable,
            "-m",
            "mpigd",
            "train",
            tmp_path / "rows.h5",
            "--loss",
            "logistic",
            "--l2",
            "0.1",
            "--json",
        )
        told = json.loads(run(*fit, "--kernels", source, cwd=tmp_path, **variables))
        found.append({key: told[key] for key in ("model_fingerprint", "data_fingerprint", "objective", "passes")})
    assert found[0] == found[1]
    assert not empty.exists()


@pytest.fixture(scope="module")
def wheel(build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the wheel of kernels is unpacked, made of objects that the library is made of."""
    pytest.importorskip("scikit_build_core")
    top = tmp_path_factory.mktemp("wheel")
    shutil.copytree(build / "libmpigd/kernels", top / "build/libmpigd/kernels")
    defined = {"TYPES": ";".join(library.TYPES), "LOSSES": ";".join(library.LOSSES), "TARGETS": library.target()}
    settings = [f"-Ccmake.define.MPIGD_{key}={value}" for key, value in defined.items()]
    make = (sys.executable, "-m", "build", "--wheel", "--no-isolation", f"-Cbuild-dir={top / 'build'}", *settings)
    run(*make, "--outdir", top, TOP / "packaging/kernels")
    [made] = top.glob("mpigd_kernels_aot-*-py3-none-linux_*.whl")
    with zipfile.ZipFile(made) as archive:
        archive.extractall(top / "there")
    files = [path.name for path in (top / "there/mpigd_kernels_aot").iterdir()]
    assert files == [prebuilt.NAME]
    return top / "there"


def test_without_llvm_all_jobs_run_on_the_wheel_of_kernels(wheel: Path, tmp_path: Path) -> None:
    told = {}
    for name, program, variables in (
        ("compiled", ("-m", "mpigd"), {}),
        ("taken", ("-c", BARE), {"PYTHONPATH": str(wheel), "MPIGD_KERNELS": "aot", "MPIGD_CACHE_DIR": "/nowhere"}),
    ):
        folder = tmp_path / name
        folder.mkdir()

        mpigd = partial(run, sys.executable, *program, cwd=folder, **variables)
        mpigd("generate", "rows.h5", "--rows", "500", "--columns", "4", "--dtype", "float64", "--loss", "logistic")
        fits = [mpigd("train", "rows.h5", "--loss", "logistic", "--l1", "0.01", "--json", "--run-dir", "run")]
        fits.append(mpigd("train", "rows.h5", "--loss", "logistic", "--solver", "sgd", "--max-passes", "3", "--json"))
        fits.append(mpigd("tune", "rows.h5", "--loss", "logistic", "--over", "l2=0.01,0.1", "--folds", "3", "--json"))
        found = [json.loads(fit) for fit in fits]
        prints = [fit.get("fit", fit)["model_fingerprint"] for fit in found]  # a search tells of more than its fit
        columns = json.loads(mpigd("inspect", "rows.h5", "--json"))["columns"]
        mpigd("predict", "run", "rows.h5", "--output", "said.h5")
        with h5py.File(folder / "said.h5") as file:
            said = {key: file[key][:].tobytes() for key in file}
        told[name] = (prints, columns, said)
    assert told["compiled"] == told["taken"]


def test_what_has_to_be_compiled_and_can_not_be_is_said_once(wheel: Path, tmp_path: Path) -> None:
    fit = ("train", str(TOP / "data/boston.h5"), "--loss", "huber")
    variables = {**os.environ, "PYTHONPATH": str(wheel), "MPIGD_KERNELS": "aot"}
    command = [sys.executable, "-c", BARE, *fit]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=variables)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("mpigd: --kernels: the library has no kernel '")
    assert "huber" in line
    assert line.endswith("there is no Numba to compile it")


def test_a_run_tells_the_versions_of_what_is_there() -> None:
    assert set(versions(("numpy", "no-such-package"))) == {"numpy"}


def test_every_kernel_is_emitted() -> None:
    folder = Path(kernels.__file__).parent
    there = [import_module(f"mpigd_kernels.{path.stem}") for path in folder.glob("*.py") if path.stem[0] != "_"]
    declared = {some.__name__ for module in there for some in vars(module).values() if isinstance(some, kernels.Kernel)}
    assert declared <= {each.kernel.__name__ for each in emit.wanted(("float64",), tuple(kernels.LOSSES))}


def test_what_can_not_be_had_is_said(tmp_path: Path) -> None:
    fit = ("train", str(TOP / "data/boston.h5"), "--kernels", "/nowhere/libmpigd_kernels.so.1")
    done = subprocess.run([sys.executable, "-m", "mpigd", *fit], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--kernels: /nowhere/libmpigd_kernels.so.1: no library of kernels" in done.stderr


@pytest.mark.parametrize("asked", ["/nowhere/libmpigd_kernels.so.1", str(Path(__file__))])
def test_a_library_that_is_none_is_refused(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(prebuilt.KERNELS, asked)
    with pytest.raises(prebuilt.UnusableLibraryError, match="no library of kernels"):
        prebuilt.choose(None)


def test_a_library_of_other_kernels_is_refused(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [shared] = installed.glob("lib*/libmpigd_kernels.so.1")
    monkeypatch.setenv(prebuilt.KERNELS, str(shared))
    monkeypatch.setattr(prebuilt, "sources", lambda: "others")
    prebuilt._library.cache_clear()
    with pytest.raises(prebuilt.UnusableLibraryError, match="built from other kernels"):
        prebuilt.choose(None)

"""libmpigd for tests: built by CMake with few kernels, once for all processes that test side by side."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
TYPES, LOSSES = ("float64",), ("logistic", "quantile", "softmax", "squared")


def run(*command: str | Path, cwd: Path | None = None, **variables: str) -> str:
    """What a program prints that may not fail."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PMIX_", "OMPI_COMM"))}
    words = list(map(str, command))
    done = subprocess.run(words, cwd=cwd, env={**environment, **variables}, capture_output=True, text=True, timeout=560)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def build(factory: pytest.TempPathFactory) -> Path:
    """Where it is built, for this processor alone, and beside that, in `home`, where it is installed."""
    missing = [program for program in ("cmake", "cc", "make") if not shutil.which(program)]
    if missing or sys.platform != "linux":
        pytest.skip(f"libmpigd needs Linux, and {' and '.join(missing)}")
    import fcntl  # of Unix

    base = factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "library"
    shared.mkdir(exist_ok=True)
    folder = shared / "build"
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "home").exists():
            kernels = (f"-DMPIGD_TYPES={';'.join(TYPES)}", f"-DMPIGD_LOSSES={';'.join(LOSSES)}")
            options = (*kernels, f"-DMPIGD_TARGETS={target()}", f"-DPython_EXECUTABLE={sys.executable}")
            configured = subprocess.run(["cmake", "-S", TOP, "-B", folder, *options], capture_output=True, text=True)
            if configured.returncode and "HDF5" in configured.stderr:
                pytest.skip("libmpigd needs HDF5 for C")
            assert configured.returncode == 0, configured.stderr
            run("cmake", "--build", folder, "--parallel", "2")
            run("cmake", "--install", folder, "--prefix", shared / "home")
    return folder


def target() -> str:
    """One that this processor can run."""
    if os.uname().machine == "aarch64":
        return "aarch64"
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    return "x86-64-v3" if "avx2" in flags and "f16c" in flags else "x86-64-v2"

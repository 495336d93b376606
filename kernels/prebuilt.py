"""Kernels that were built ahead of time, with the C library libmpigd, in place of compiling them.

For machines without LLVM, and for a start that compiles nothing. A library is taken only if it comes from the same
sources, so that results have the same bits. What it does not have is compiled as ever.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

KERNELS = "MPIGD_KERNELS"  # jit, aot, or the path of a library
NAME = "libmpigd_kernels.so.1"  # libmpigd.so.1 will do, too
WHEEL = "mpigd_kernels_aot"  # a package that has it, from packaging/kernels
NO_KERNELS = ("emit", "prebuilt")  # modules of this package that no machine code depends on


class UnusableLibraryError(ValueError):
    """There is no library as asked for, or it does not go with this version of the kernels."""


@cache
def sources() -> str:
    """Hash of the sources of kernels, and of what compiles them."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem not in NO_KERNELS:
            digest.update(path.name.encode() + b"\0" + path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()


def find() -> Path:
    """The library that `aot` stands for: of its own wheel, in the environment's lib, or where the loader looks."""
    wheel = find_spec(WHEEL)
    packed = list(wheel.submodule_search_locations or ()) if wheel else []
    prefix = Path(sys.prefix)
    for folder in (*map(Path, packed), prefix / "lib", prefix / "lib64", Path("/usr/local/lib")):
        if (folder / NAME).exists():
            return folder / NAME
    return Path(NAME)


def choose(asked: str | None) -> None:
    """Have this process take kernels from jit, aot or a library; None for what the environment says.

    Raises UnusableLibraryError where such a library can't be had.
    """
    if asked is not None:
        os.environ[KERNELS] = asked
    is_used()


def is_used() -> bool:
    """Whether kernels come from a library."""
    return _library(os.environ.get(KERNELS, "jit")) is not None


def address_of(name: str) -> int | None:
    """The address of a kernel's C function, by `Kernel.named`; None where it has to be compiled.

    Raises UnusableLibraryError where there is nothing to compile it with.
    """
    library = _library(os.environ.get(KERNELS, "jit"))
    if library is None:
        return None
    address: int | None = library.mpigd_kernel(name.encode())
    if address is None and not all(map(find_spec, ("numba", "llvmlite"))):
        raise UnusableLibraryError(f"the library has no kernel '{name}', and there is no Numba to compile it")
    return address


@cache
def _library(asked: str) -> ctypes.CDLL | None:
    if asked in ("", "jit"):
        return None
    path = find() if asked == "aot" else Path(asked)
    try:
        library = ctypes.CDLL(str(path))
        built_from = library.mpigd_kernel_sources
    except (OSError, AttributeError) as error:
        raise UnusableLibraryError(
            f"{path}: no library of kernels: {error}; install mpigd[aot], build libmpigd, or use --kernels jit"
        ) from None
    built_from.restype = ctypes.c_char_p
    library.mpigd_kernel.argtypes, library.mpigd_kernel.restype = [ctypes.c_char_p], ctypes.c_void_p
    if built_from().decode() != sources():
        raise UnusableLibraryError(f"{path}: built from other kernels than these; build it again, or use --kernels jit")
    return library

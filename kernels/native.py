"""Kernels as machine code: compiled once a machine with Numba, loaded afterwards without it.

A kernel is a plain function whose parameters are annotated with the types below. Numba compiles it behind a
C signature (each array as a pointer and its shape); llvmlite turns that into an object file, which is kept
in a cache. A process that finds the object there loads it with llvmlite alone: importing Numba and preparing
its type tables would cost every rank 0.7 s, at every start.

A cached object is named by a hash of all that its bits depend on (sources, types, versions, processor) and
written under another name first. So any number of processes may fill the cache at once, on a shared file
system too: whoever is last replaces a file by an equal one.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import types
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import llvmlite
import llvmlite.binding as llvm
import numpy as np
from mpigd_kernels import vector


@dataclass(frozen=True)
class Array:
    """A parameter that is a C-contiguous array; dtype None is that of the stored rows, X."""

    ndim: int
    dtype: str | None = "float64"


# The annotations of a kernel's parameters, beside int.
Tiles = Annotated[np.ndarray, Array(3, None)]
Rows = Annotated[np.ndarray, Array(2, None)]  # of X, as they come from a file
Floats1 = Annotated[np.ndarray, Array(1)]
Floats2 = Annotated[np.ndarray, Array(2)]
Integers1 = Annotated[np.ndarray, Array(1, "int64")]

_inlined: dict[str, types.FunctionType] = {}


def inline(function: Any) -> Any:
    """Declare a function that kernels call: compiled into each of them. In Python it stays as it is."""
    _inlined[function.__name__] = function
    return function


def kernel(function: Any) -> Kernel:
    """Declare a kernel: a function of annotated parameters that writes its results into some of them."""
    return Kernel(function)


class Kernel:
    """A function that runs as machine code; the type of X is taken from the arguments at each call."""

    def __init__(self, function: types.FunctionType) -> None:
        self._function = function
        hints = get_type_hints(function, include_extras=True)
        del hints["return"]
        self._parameters: list[Array | None] = [None if h is int else h.__metadata__[0] for h in hints.values()]
        self._which = next(i for i, p in enumerate(self._parameters) if p and p.dtype is None)
        self._loaded: dict[np.dtype[Any], Callable[..., None]] = {}
        self.__doc__, self.__name__ = function.__doc__, function.__name__

    def __call__(self, *arguments: Any) -> None:
        """Run on arguments of the declared types; anything else is a TypeError."""
        dtype = arguments[self._which].dtype
        native = self._loaded.get(dtype) or self.load(dtype)
        flat: list[int] = []
        for parameter, value in zip(self._parameters, arguments, strict=True):
            if parameter is None:
                flat.append(value)
                continue
            if (
                value.ndim != parameter.ndim
                or value.dtype != (parameter.dtype or dtype)
                or not value.flags.c_contiguous
            ):
                raise TypeError(f"{self.__name__}: expected {parameter}, got {value.dtype}{value.shape}")
            flat.append(value.__array_interface__["data"][0])
            flat.extend(value.shape)
        native(*flat)

    def load(self, dtype: np.dtype[Any]) -> Callable[..., None]:
        """Make the kernel ready for rows of this dtype: from the cache, or by compiling it (seconds)."""
        dtype = np.dtype(dtype)
        key = hashlib.sha256(f"{_fingerprint()} {self.__name__} {dtype}".encode()).hexdigest()[:32]
        symbol = f"mpigd_{self.__name__}_{key}"
        code = _read(key)
        if code is None:
            code = self._compile(dtype, symbol)
            _write(key, code)
        address = _link(code, symbol)
        native = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * self._c_arity())(address)
        self._loaded[dtype] = native
        return native

    def _c_arity(self) -> int:
        return sum(1 + p.ndim if p else 1 for p in self._parameters)

    def _compile(self, dtype: np.dtype[Any], symbol: str) -> bytes:
        """The object file of a C function of the kernel's arguments, each array as an address and a shape."""
        import numba

        names, signature, arrays = [], [], []
        for i, parameter in enumerate(self._parameters):
            names.append(f"a{i}")
            if parameter is None:
                signature.append(numba.int64)
                arrays.append(f"a{i}")
                continue
            element = numba.from_dtype(np.dtype(parameter.dtype or dtype))
            shape = [f"a{i}_{k}" for k in range(parameter.ndim)]
            names.extend(shape)
            signature.extend([numba.types.CPointer(element), *[numba.int64] * parameter.ndim])
            arrays.append(f"carray(a{i}, ({', '.join(shape)},))")
        # Without Numba's runtime a kernel that allocates does not compile, and nothing counts references.
        options = {"error_model": "numpy", "_nrt": False}
        jitted: dict[str, Any] = dict(vector.compiled())
        for name, function in _inlined.items():
            jitted[name] = numba.njit(inline="always", **options)(_rebound(function, jitted))
        run = numba.njit(**options)(_rebound(self._function, jitted))
        namespace: dict[str, Any] = {"carray": numba.carray, "kernel": run}
        exec(f"def entry({', '.join(names)}):\n    kernel({', '.join(arrays)})", namespace)
        entry = numba.cfunc(numba.void(*signature))(namespace["entry"])
        module = llvm.parse_assembly(_without_runtime(entry.inspect_llvm()))
        module.get_function(entry.native_name).name = symbol
        return bytes(_target_machine().emit_object(module))


_UNREACHED = "mpigd_unreached_"


def _without_runtime(ir: str) -> str:
    """Rename the functions of Numba's runtime that LLVM code refers to but does not hold.

    They stand on paths that a kernel never takes, since it neither raises nor owns memory; `_link` has them
    end the process. The names are our own because a process may use Numba for other things too.
    """
    outside = re.findall(r"^declare [^@]*@((?:NRT|numba)_\w+)\(", ir, re.MULTILINE)
    return re.sub(rf"@({'|'.join(outside)})\b", rf"@{_UNREACHED}\1", ir) if outside else ir


def _rebound(function: types.FunctionType, names: dict[str, Any]) -> types.FunctionType:
    """The same function, seeing the compiled form of the functions that it calls."""
    return types.FunctionType(function.__code__, {**function.__globals__, **names}, function.__name__)


@cache
def _target_machine() -> llvm.TargetMachine:
    _initialize()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=_features(), opt=3, reloc="default", codemodel="jitdefault"
    )


@cache
def _initialize() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


def _features() -> str:
    return str(llvm.get_host_cpu_features().flatten())


@cache
def _fingerprint() -> str:
    """All that machine code depends on, but for the kernel's name and the type of X."""
    from importlib.metadata import version

    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    parts = [version("numba"), llvmlite.__version__, llvm.get_process_triple(), llvm.get_host_cpu_name(), _features()]
    digest.update("\n".join(parts).encode())
    return digest.hexdigest()


@cache
def _engine() -> llvm.ExecutionEngine:
    _initialize()
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine())


def _link(code: bytes, symbol: str) -> int:
    """Bring an object file into this process; the address of its function."""
    for name in set(re.findall(rf"{_UNREACHED}\w+", code.decode("latin-1"))):
        llvm.add_symbol(name, _abort_address())
    engine = _engine()
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return int(engine.get_function_address(symbol))


@cache
def _abort_address() -> int:
    library = ctypes.cdll.msvcrt if os.name == "nt" else ctypes.CDLL(None)
    return ctypes.cast(library.abort, ctypes.c_void_p).value or 0


def cache_directory() -> Path:
    """Where compiled kernels are kept: MPIGD_CACHE_DIR, or mpigd in the user's cache directory."""
    if directory := os.environ.get("MPIGD_CACHE_DIR"):
        return Path(directory)
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "mpigd"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mpigd"


def _read(key: str) -> bytes | None:
    """A cached object, or None where there is no whole one."""
    try:
        content = (cache_directory() / f"{key}.o").read_bytes()
    except OSError:
        return None
    digest, code = content[:32], content[32:]
    return code if hashlib.sha256(code).digest() == digest else None


def _write(key: str, code: bytes) -> None:
    """Keep an object for other processes, led by its digest. Without a writable cache every process compiles."""
    path = cache_directory() / f"{key}.o"
    temporary = path.with_suffix(f".{os.getpid()}-{os.urandom(4).hex()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(hashlib.sha256(code).digest() + code)
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()

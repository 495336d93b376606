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


class Static:
    """A parameter that is a function, compiled into the kernel: each one makes a kernel of its own."""


# The annotations of a kernel's parameters, beside int and float.
Function = Annotated[Callable[..., Any], Static()]
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
        self._parameters: list[Any] = [h if h in (int, float) else h.__metadata__[0] for h in hints.values()]
        self._which = next(i for i, p in enumerate(self._parameters) if isinstance(p, Array) and p.dtype is None)
        self._loaded: dict[Any, Callable[..., None]] = {}
        self.__doc__, self.__name__ = function.__doc__, function.__name__

    def __call__(self, *arguments: Any) -> None:
        """Run on arguments of the declared types; anything else is a TypeError."""
        dtype = arguments[self._which].dtype
        functions, flat = [], []
        for parameter, value in zip(self._parameters, arguments, strict=True):
            if isinstance(parameter, Static):
                functions.append(value)
            elif not isinstance(parameter, Array):
                flat.append(value)
            elif (
                value.ndim != parameter.ndim
                or value.dtype != (parameter.dtype or dtype)
                or not value.flags.c_contiguous
            ):
                raise TypeError(f"{self.__name__}: expected {parameter}, got {value.dtype}{value.shape}")
            else:
                flat.append(value.__array_interface__["data"][0])
                flat.extend(value.shape)
        native = self._loaded.get((dtype, *functions)) or self.load(dtype, *functions)
        native(*flat)

    def load(self, dtype: np.dtype[Any], *functions: Callable[..., Any]) -> Callable[..., None]:
        """Make the kernel ready for rows of this dtype: from the cache, or by compiling it (seconds).

        functions : the arguments for the parameters that are functions. A kernel with one that is not
        mpigd's own is compiled in every process.
        """
        dtype = np.dtype(dtype)
        names = " ".join([self.__name__, str(dtype), *map(_name, functions)])
        # The fingerprint covers the sources of this package, so only what comes from it can be cached.
        own = all(f.__module__.startswith("mpigd_kernels.") for g in (self._function, *functions) for f in _within(g))
        key = hashlib.sha256(f"{_fingerprint()} {names}".encode()).hexdigest()[:32] if own else os.urandom(16).hex()
        symbol = f"mpigd_{self.__name__}_{key}"
        code = _read(key) if own else None
        if code is None:
            code = self._compile(dtype, functions, symbol)
            if own:
                _write(key, code)
        native = ctypes.CFUNCTYPE(None, *self._c_types())(_link(code, symbol))
        self._loaded[(dtype, *functions)] = native
        return native

    def _c_types(self) -> list[Any]:
        """Types of the C function's parameters: an array is its address and its shape."""
        c_types: list[Any] = []
        for parameter in self._parameters:
            if isinstance(parameter, Array):
                c_types.extend([ctypes.c_int64] * (1 + parameter.ndim))
            elif not isinstance(parameter, Static):
                c_types.append(ctypes.c_int64 if parameter is int else ctypes.c_double)
        return c_types

    def _compile(self, dtype: np.dtype[Any], functions: tuple[Any, ...], symbol: str) -> bytes:
        """The object file of a C function of the kernel's arguments, each array as an address and a shape."""
        import numba

        # Without Numba's runtime a kernel that allocates does not compile, and nothing counts references.
        options = {"error_model": "numpy", "_nrt": False}
        jitted: dict[str, Any] = dict(vector.compiled())

        def jit(function: Any) -> Any:
            return numba.njit(inline="always", **options)(_rebound(function, jitted, jit))

        for name, function in _inlined.items():
            jitted[name] = jit(function)
        namespace: dict[str, Any] = {
            "carray": numba.carray,
            "kernel": numba.njit(**options)(_rebound(self._function, jitted, jit)),
        }
        names: list[str] = []
        signature: list[Any] = []
        values: list[str] = []
        remaining = iter(functions)
        for i, parameter in enumerate(self._parameters):
            if isinstance(parameter, Static):
                namespace[f"f{i}"] = jit(next(remaining))
                values.append(f"f{i}")
            elif isinstance(parameter, Array):
                element = numba.from_dtype(np.dtype(parameter.dtype or dtype))
                shape = [f"a{i}_{k}" for k in range(parameter.ndim)]
                names.extend([f"a{i}", *shape])
                signature.extend([numba.types.CPointer(element), *[numba.int64] * parameter.ndim])
                values.append(f"carray(a{i}, ({', '.join(shape)},))")
            else:
                names.append(f"a{i}")
                signature.append(numba.int64 if parameter is int else numba.float64)
                values.append(f"a{i}")
        exec(f"def entry({', '.join(names)}):\n    kernel({', '.join(values)})", namespace)
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


def _rebound(function: types.FunctionType, names: dict[str, Any], jit: Callable[[Any], Any]) -> types.FunctionType:
    """The same function, seeing the compiled form of the functions that it calls and has closed over."""
    closure = tuple(
        types.CellType(
            jit(cell.cell_contents) if isinstance(cell.cell_contents, types.FunctionType) else cell.cell_contents
        )
        for cell in function.__closure__ or ()
    )
    return types.FunctionType(function.__code__, {**function.__globals__, **names}, function.__name__, None, closure)


def _within(function: Any) -> list[Any]:
    """A function and those that it has closed over."""
    cells = (cell.cell_contents for cell in function.__closure__ or ())
    return [function, *(inner for c in cells if isinstance(c, types.FunctionType) for inner in _within(c))]


def _name(function: Any) -> str:
    return "/".join(f.__qualname__ for f in _within(function))


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

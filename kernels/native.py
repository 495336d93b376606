"""Kernels as machine code: compiled once a machine with Numba, loaded afterwards without it.

A kernel is a plain function whose parameters are annotated with the types below. Numba compiles it behind a
C signature (each array as a pointer and its shape); llvmlite turns that into an object file, which is kept
in a cache. A process that finds the object there loads it with llvmlite alone: importing Numba and preparing
its type tables would cost every rank 0.7 s, at every start.

A process may take kernels from a library instead that was built ahead of time from the same sources (see `prebuilt`):
then there is nothing to compile, and no LLVM.

A cached object is named by a hash of all that its bits depend on (sources, types, versions, processor) and
written under another name first. So any number of processes may fill the cache at once, on a shared file
system too: whoever is last replaces a file by an equal one.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import numpy as np
from mpigd_kernels import instructions, prebuilt, vector

if TYPE_CHECKING:  # a process whose kernels are prebuilt has no use for LLVM
    import llvmlite.binding as llvm

# Where colorama is installed, Numba would have a colour code follow all that a process writes to a terminal, and
# standard output of a rank is one under Open MPI. Numba reads this when it is imported.
os.environ.setdefault("NUMBA_DISABLE_ERROR_MESSAGE_HIGHLIGHTING", "1")


@dataclass(frozen=True)
class Array:
    """A parameter that is a C-contiguous array; a dtype in capitals is a variable, taken from the arguments.

    X : how columns are stored: float64, float32, float16, int8 or uint8.
    ROW : how y, weights and offsets are stored: float64 or float32.
    WORK : what arithmetic is done in: float64 or float32.
    INDEX : how column numbers of sparse rows are stored: int32 or int64.

    last : the length of the last axis where a kernel is compiled for it, or a variable: ROWS, those of a tile, taken
    from the arguments; LANES, what a cache line holds of WORK; ONE, which is 1 where the first such argument has 1, and
    else open. Loops over such an axis know their end and its arrays
    their strides, which makes narrow tables a third faster.
    """

    ndim: int
    dtype: str = "float64"
    last: str | int | None = None


# The annotations of a kernel's parameters, beside int and float.
Tiles = Annotated[np.ndarray, Array(3, "X", "ROWS")]
OtherTiles = Annotated[np.ndarray, Array(3, "X")]  # whose rows are of another number
Rows = Annotated[np.ndarray, Array(2, "X")]  # as they come from a file
Values = Annotated[np.ndarray, Array(1, "X")]  # that a sparse matrix holds
Columns = Annotated[np.ndarray, Array(1, "INDEX")]
PerRow = Annotated[np.ndarray, Array(3, "ROW", "ROWS")]  # y, weight, offset
RowsOfTile = Annotated[np.ndarray, Array(2, "ROW", "ROWS")]  # the same of one tile
Work1 = Annotated[np.ndarray, Array(1, "WORK")]
Work2 = Annotated[np.ndarray, Array(2, "WORK")]
Column2 = Annotated[np.ndarray, Array(2, "WORK", 1)]
Scratch2 = Annotated[np.ndarray, Array(2, "WORK", "ROWS")]  # of one tile
Scratch3 = Annotated[np.ndarray, Array(3, "WORK", "ROWS")]
Theta2 = Annotated[np.ndarray, Array(2, "WORK", "ONE")]
Products1 = Annotated[np.ndarray, Array(2, "float64", 1)]
Products2 = Annotated[np.ndarray, Array(2, "float64", "ONE")]
Lanes2 = Annotated[np.ndarray, Array(2, "float64", "LANES")]
Floats1 = Annotated[np.ndarray, Array(1)]
Floats2 = Annotated[np.ndarray, Array(2)]
Integers1 = Annotated[np.ndarray, Array(1, "int64")]
Integers2 = Annotated[np.ndarray, Array(2, "int64")]

_inlined: dict[str, types.FunctionType] = {}
_called: dict[str, types.FunctionType] = {}
_singles: dict[str, types.FunctionType] = {}
_declaring: set[str] = set()  # names of modules that declare any, or kernels


def _is_own(module: str) -> bool:
    return module.startswith("mpigd_kernels.")


def inline(function: Any) -> Any:
    """Declare a function that loops of kernels are to take in, so that they vectorise. In Python it stays as it is."""
    _inlined[function.__name__] = function
    _declaring.add(function.__module__)
    return function


def called(function: Any) -> Any:
    """Declare a function with loops of its own that kernels call. In Python it stays as it is."""
    _called[function.__name__] = function
    _declaring.add(function.__module__)
    return function


def single_form_of(name: str) -> Callable[[Any], Any]:
    """Declare what takes the place of an inlined function where arithmetic is in float32."""

    def declare(function: Any) -> Any:
        _singles[name] = function
        _declaring.add(function.__module__)
        return function

    return declare


def kernel(function: Any) -> Kernel:
    """Declare a kernel: a function of annotated parameters that writes its results into some of them."""
    return Kernel(function)


def stage(function: Any) -> Kernel:
    """Declare a kernel that other kernels run on each tile, by its address (see `run_stage`).

    It computes in the type of its working arrays: where they are float32, so are the constants in it.
    """
    return Kernel(function, narrow=True)


def run_stage(address: int, *arguments: Any) -> None:
    """In a kernel: run the stage at an address on arrays (…, …) and numbers."""
    raise NotImplementedError("only compiled kernels hold addresses")


@dataclass(frozen=True)
class _Native:
    """A loaded kernel. expected : of each argument its parameter and, of an array, its dtype and last length."""

    address: int
    function: Callable[..., None]
    expected: list[tuple[Any, np.dtype[Any] | None, int | None]]


class Kernel:
    """A function that runs as machine code; the types that vary are taken from the arguments at each call."""

    def __init__(self, function: types.FunctionType, narrow: bool = False) -> None:
        self.function, self._narrow = function, narrow
        _declaring.add(function.__module__)
        hints = get_type_hints(function, include_extras=True)
        del hints["return"]
        self._parameters: list[Any] = [h if h in (int, float) else h.__metadata__[0] for h in hints.values()]
        # Where each variable is first seen among the arguments.
        self._variables: dict[str, int] = {}
        self._lengths: dict[str, int] = {}
        for i, parameter in enumerate(self._parameters):
            if isinstance(parameter, Array):
                if parameter.dtype.isupper():
                    self._variables.setdefault(parameter.dtype, i)
                if parameter.last in ("ROWS", "ONE"):
                    self._lengths.setdefault(parameter.last, i)
        self._loaded: dict[Any, _Native] = {}
        self.__doc__, self.__name__ = function.__doc__, function.__name__

    def __call__(self, *arguments: Any) -> None:
        """Run on arguments of the declared types; anything else is a TypeError."""
        variables = {name: arguments[i].dtype for name, i in self._variables.items()}
        for name, i in self._lengths.items():
            variables[name] = arguments[i].shape[-1] if name == "ROWS" else arguments[i].shape[-1] == 1
        native = self._loaded.get(tuple(variables.values())) or self._load(variables)
        flat: list[Any] = []
        for (parameter, dtype, length), value in zip(native.expected, arguments, strict=True):
            if dtype is None:
                flat.append(value)
                continue
            shape = value.shape
            if (
                len(shape) != parameter.ndim
                or value.dtype != dtype
                or (length is not None and shape[-1] != length)
                or not value.flags.c_contiguous
            ):
                raise TypeError(f"{self.__name__}: expected {parameter}, got {value.dtype}{shape}")
            flat.append(vector.address_of(value))
            flat.extend(shape)
        native.function(*flat)

    def load(self, variables: Mapping[str, Any]) -> int:
        """Make the kernel ready for arguments of such types: from the cache, or by compiling it (seconds).

        variables : a dtype, for ROWS a number, for ONE a truth value, for each variable that the kernel has (see
        `Array`); others are passed over.
        Returns the address of its C function. A kernel of functions that are not mpigd's own is compiled in every
        process.
        """
        return self._load(self._own(variables)).address

    def _load(self, variables: dict[str, Any]) -> _Native:
        if loaded := self._loaded.get(tuple(variables.values())):
            return loaded
        # What identifies a kernel knows the sources of this package, so only what comes from it can be looked up.
        own = all(_is_own(f.__module__) for f in _within(self.function))
        address = prebuilt.address_of(self._named(variables)) if own else None
        if address is None:
            address = self._made(variables, own)
        expected: list[Any] = []
        for parameter in self._parameters:
            if isinstance(parameter, Array):
                dtype = np.dtype(variables.get(parameter.dtype, parameter.dtype))
                expected.append((parameter, dtype, _length(parameter.last, variables)))
            else:
                expected.append((parameter, None, None))
        result = _Native(address, ctypes.CFUNCTYPE(None, *self._c_types())(address), expected)
        self._loaded[tuple(variables.values())] = result
        return result

    def named(self, variables: Mapping[str, Any]) -> str:
        """What tells the kernel for arguments of such types from all others of the package; as for `load`."""
        return self._named(self._own(variables))

    def compiled(self, variables: Mapping[str, Any], symbol: str, triple: str) -> bytes:
        """The object file, position independent, of a C function of that name for a machine; as for `load`.

        triple : of the machine, as LLVM writes it; its processor is that of `vector.processor`.
        """
        return self._compile(self._own(variables), symbol, _target_machine(triple))

    def _own(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The variables that the kernel has, in its own order."""
        dtypes = {name: np.dtype(variables[name]) for name in self._variables}
        return {**dtypes, **{name: variables[name] for name in self._lengths}}

    def _named(self, variables: Mapping[str, Any]) -> str:
        return " ".join([_name(self.function), *map(str, variables.values())])

    def _made(self, variables: dict[str, Any], own: bool) -> int:
        """The address of the C function as machine code from the cache, or compiled."""
        text = f"{_fingerprint()} {self._named(variables)}"
        key = hashlib.sha256(text.encode()).hexdigest()[:32] if own else os.urandom(16).hex()
        symbol = f"mpigd_{self.__name__}_{key}"
        code = _read(key) if own else None
        if code is None:
            code = self._compile(variables, symbol, _target_machine())
            if own:
                _write(key, code)
        return _link(code, symbol)

    def _c_types(self) -> list[Any]:
        """Types of the C function's parameters: an array is its address and its shape."""
        c_types: list[Any] = []
        for parameter in self._parameters:
            if isinstance(parameter, Array):
                c_types.extend([ctypes.c_int64] * (1 + parameter.ndim))
            else:
                c_types.append(ctypes.c_int64 if parameter is int else ctypes.c_double)
        return c_types

    def _compile(self, variables: dict[str, Any], symbol: str, machine: llvm.TargetMachine) -> bytes:
        """The object file of a C function of the kernel's arguments, each array as an address and a shape."""
        import numba

        # Without Numba's runtime a kernel that allocates does not compile, and nothing counts references.
        options = {"error_model": "numpy", "_nrt": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
        single = self._narrow and variables["WORK"] == np.float32
        names: dict[str, Any] = {**instructions.compiled(), "run_stage": _stage_runner()}

        def bound(function: types.FunctionType) -> types.FunctionType:
            return _rebound(function, names, inlined, _to_single if single else _same)

        def inlined(function: types.FunctionType) -> Any:
            return numba.njit(inline="always", **options)(bound(function))

        for name, function in _inlined.items():
            names[name] = inlined(_singles.get(name, function) if single else function)
        for name, function in _called.items():
            names[name] = numba.njit(**options)(bound(function))
        namespace: dict[str, Any] = {
            "carray": numba.carray,
            "kernel": numba.njit(**options)(bound(self.function)),
        }
        parameters: list[str] = []
        signature: list[Any] = []
        values: list[str] = []
        for i, parameter in enumerate(self._parameters):
            if isinstance(parameter, Array):
                dtype = np.dtype(variables.get(parameter.dtype, parameter.dtype))
                # Numba has no half floats: it moves them as integers, and `vector.load` widens them.
                element = numba.uint16 if dtype == np.float16 else numba.from_dtype(dtype)
                shape = [f"a{i}_{k}" for k in range(parameter.ndim)]
                parameters.extend([f"a{i}", *shape])
                signature.extend([numba.types.CPointer(element), *[numba.int64] * parameter.ndim])
                if (length := _length(parameter.last, variables)) is not None:
                    shape[-1] = str(length)
                values.append(f"carray(a{i}, ({', '.join(shape)},))")
            else:
                parameters.append(f"a{i}")
                signature.append(numba.int64 if parameter is int else numba.float64)
                values.append(f"a{i}")
        exec(f"def entry({', '.join(parameters)}):\n    kernel({', '.join(values)})", namespace)
        with _unoptimised():
            entry = numba.cfunc(numba.void(*signature))(namespace["entry"])
        return _object_of(entry.inspect_llvm(), entry.native_name, symbol, machine)


def _length(last: str | int | None, variables: Mapping[str, Any]) -> int | None:
    """The length that `Array.last` stands for; None where it is open."""
    if last == "LANES":
        return vector.LINE // int(variables["WORK"].itemsize)
    if last == "ONE":
        return 1 if variables["ONE"] else None
    return int(variables["ROWS"]) if last == "ROWS" else last  # type: ignore[return-value]


@contextmanager
def _unoptimised() -> Iterator[None]:
    """Have Numba leave the code as it is: once at the end is enough, and knows more (see `_object_of`)."""
    from numba.core import config

    before = config.OPT
    config.OPT = type(before)(0)
    try:
        yield
    finally:
        config.OPT = before


def _object_of(ir: str, name: str, symbol: str, machine: llvm.TargetMachine) -> bytes:
    """Optimise the C function `name` with all that it calls; an object file in which it is called `symbol`.

    The arrays of a kernel do not overlap. LLVM is told so, or loops over several of them would not vectorise.
    """
    import llvmlite.binding as llvm

    ir = re.sub(
        rf"^define [^\n]*@{name}\([^\n]*",
        lambda line: re.sub(r"\bptr (?=%)", "ptr noalias ", line.group()),
        _without_runtime(ir).replace("{ noinline }", "{ nounwind }"),  # Numba has the C function call the kernel
        flags=re.MULTILINE,
    )
    module = llvm.parse_assembly(ir)
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    for function in module.functions:
        if not function.is_declaration and function.name != name:
            function.linkage = "internal"
            function.add_function_attribute("alwaysinline")
    for variable in module.global_variables:
        if not variable.is_declaration:
            variable.linkage = "internal"  # names of Numba's, which objects that are linked together may share
    module.get_function(name).name = symbol
    # Loops vectorise more often once everything is inlined and loops are in rotated form: hence a round before.
    for level in (0, 3):
        tuning = llvm.create_pipeline_tuning_options(speed_level=level)
        tuning.loop_vectorization = tuning.loop_interleaving = level > 0
        tuning.loop_unrolling = False  # loops over lanes are as long as registers allow
        builder = llvm.create_pass_builder(machine, tuning)
        passes = builder.getModulePassManager()
        if level == 0:
            passes.add_sroa_pass()
            passes.add_loop_rotate_pass()
            passes.add_instruction_combine_pass()
            passes.add_jump_threading_pass()
        passes.run(module, builder)
    return bytes(machine.emit_object(module))


@cache
def _stage_runner() -> Any:
    """`run_stage` for Numba: a call through a pointer, each array as an address and a shape."""
    from llvmlite import ir
    from numba.core import types
    from numba.extending import intrinsic
    from numba.np import arrayobj

    @intrinsic
    def run(typing: Any, address: Any, eta: Any, y: Any, kept: Any, value: Any, residual: Any, p: Any, s: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            flat = []
            for kind, argument in zip(signature.args[1:6], arguments[1:6], strict=True):
                array = arrayobj.make_array(kind)(context, builder, argument)
                flat.extend([array.data, *(builder.extract_value(array.shape, axis) for axis in (0, 1))])
            flat.extend(arguments[6:])
            function = ir.FunctionType(ir.VoidType(), [value.type for value in flat])
            builder.call(builder.inttoptr(arguments[0], function.as_pointer()), flat)
            return context.get_dummy_value()

        numbers = (types.float64, types.float64)
        return types.void(types.int64, eta, y, kept, value, residual, *numbers), generate

    return run


_UNREACHED = "mpigd_unreached_"


def _without_runtime(ir: str) -> str:
    """Rename the functions of Numba's runtime, and of Python, that LLVM code refers to but does not hold.

    They stand on paths that a kernel never takes, since it neither raises nor owns memory; `_link` has them
    end the process. The names are our own because a process may use Numba for other things too.
    """
    ir = re.sub(r"^ *(?:tail )?call void @NRT_(?:incref|decref)\(.*\n", "", ir, flags=re.MULTILINE)
    outside = re.findall(r"^declare [^@]*@((?:NRT_|numba_|Py)\w+)\(", ir, re.MULTILINE)
    return re.sub(rf"@({'|'.join(outside)})\b", rf"@{_UNREACHED}\1", ir) if outside else ir


def _same(constant: Any) -> Any:
    return constant


def _to_single(constant: Any) -> Any:
    with np.errstate(over="ignore"):  # of a module's constants that the function does not use
        return np.float32(constant) if isinstance(constant, float) else constant


def _rebound(
    function: types.FunctionType,
    names: dict[str, Any],
    jit: Callable[[Any], Any],
    convert: Callable[[Any], Any],
) -> types.FunctionType:
    """The same function, seeing the compiled form of the functions that it calls and has closed over.

    convert : applied to every constant of the function, to those of its module, and to those it has closed over.
    """

    def seen(value: Any) -> Any:
        return jit(value) if isinstance(value, types.FunctionType) else convert(value)

    closure = tuple(types.CellType(seen(cell.cell_contents)) for cell in function.__closure__ or ())
    code = function.__code__.replace(co_consts=tuple(map(convert, function.__code__.co_consts)))
    module = {name: convert(value) for name, value in function.__globals__.items()}
    return types.FunctionType(code, {**module, **names}, function.__name__, None, closure)


def _within(function: Any) -> list[Any]:
    """A function and those that it has closed over."""
    cells = (cell.cell_contents for cell in function.__closure__ or ())
    return [function, *(inner for c in cells if isinstance(c, types.FunctionType) for inner in _within(c))]


def _name(function: Any) -> str:
    return "/".join(f.__qualname__ for f in _within(function))


@cache
def _target_machine(triple: str | None = None) -> llvm.TargetMachine:
    """Of this process; or, with a triple, of whoever links its objects into a library."""
    import llvmlite.binding as llvm

    if triple is None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
    else:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple(triple or llvm.get_process_triple())
    cpu, features = vector.processor()
    reloc, model = ("default", "jitdefault") if triple is None else ("pic", "default")
    return target.create_target_machine(cpu=cpu, features=features, opt=3, reloc=reloc, codemodel=model)


@cache
def _fingerprint() -> str:
    """All that machine code depends on, but for the kernel's name and the type of X."""
    from importlib.metadata import version

    import llvmlite.binding as llvm

    digest = hashlib.sha256()
    # The modules that declare what is compiled, with those that compile it.
    modules = {__name__, vector.__name__, instructions.__name__, *(name for name in _declaring if _is_own(name))}
    for module in sorted(modules):
        digest.update(Path(str(sys.modules[module].__file__)).read_bytes())
    parts = [version("numba"), version("llvmlite"), llvm.get_process_triple(), *vector.processor()]
    digest.update("\n".join(parts).encode())
    return digest.hexdigest()


@cache
def _engine() -> llvm.ExecutionEngine:
    import llvmlite.binding as llvm

    machine = _target_machine()  # which has LLVM made ready
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)


def _link(code: bytes, symbol: str) -> int:
    """Bring an object file into this process; the address of its function."""
    import llvmlite.binding as llvm

    for name in unreached(code):
        llvm.add_symbol(name, _abort_address())
    engine = _engine()
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return int(engine.get_function_address(symbol))


def unreached(code: bytes) -> set[str]:
    """Names of functions that an object file refers to and never calls: whoever links it has them end the process."""
    return set(re.findall(rf"{_UNREACHED}\w+", code.decode("latin-1")))


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

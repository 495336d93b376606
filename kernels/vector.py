"""Lanes for kernels: one cache line of numbers at a time, explicitly, so that no order of additions ever changes.

Lanes are eight doubles or sixteen floats, as the working array that an operation is given says. LLVM maps them to
whatever registers a processor has (two of 256 bits, four of 128), lane by lane: so results do not depend on the
width of the hardware, nor on what an optimiser would dare to reorder. Stored types are widened as they are loaded.

In Python, without Numba, the same functions work on numpy arrays.
"""

from __future__ import annotations

import ctypes
import math
from functools import cache
from typing import Any

import numpy as np

LINE = 64  # bytes of a cache line, and of one set of lanes
AHEAD = 4096  # bytes: how far before its use a cache line is asked for; measured with benchmarks/kernels.py


def address_of(array: np.ndarray) -> int:
    """Where the memory of an array begins; four times as fast as asking the array."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array.data))
    except (TypeError, ValueError):  # read-only, or empty
        return int(array.ctypes.data)


def aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """A new array whose first element begins a cache line, as every set of lanes in it then does; not initialised.

    numpy aligns to 16 bytes; loads that straddle two lines cost a kernel a third of its speed in cache.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + LINE, np.uint8)
    start = -address_of(memory) % LINE
    return np.ndarray(shape, dtype, memory.data, start)


def lanes_of(work: Any) -> int:
    """How many numbers of the working array's type make one set of lanes: 8 or 16."""
    return LINE // int(work.itemsize)


def load(array: Any, j: int, i: int, work: Any) -> Any:
    """Elements array[j, i …] of a C-contiguous (n, m) array as lanes of the type of `work`; no bounds are checked."""
    return array[j, i : i + lanes_of(work)].astype(work.dtype)


def store(array: Any, j: int, i: int, value: Any) -> None:
    """Write lanes to array[j, i …], an array of their own type."""
    array[j, i : i + len(value)] = value


def accumulate(array: Any, j: int, i: int, value: Any) -> None:
    """Add lanes to array[j, i …], float64."""
    array[j, i : i + len(value)] += value


def broadcast(array: Any, j: int, i: int, work: Any) -> Any:
    """Element array[j, i] in all lanes of the type of `work`."""
    return splat(array[j, i], work)


def splat(value: float, work: Any) -> Any:
    """The same number in all lanes."""
    return np.full(lanes_of(work), value, work.dtype)


def fma(a: float, b: float, c: float) -> float:
    """Compute a * b + c, rounded once; in Python a stand-in that rounds twice."""
    return a * b + c


def fma_lanes(a: Any, b: Any, c: Any) -> Any:
    """Compute a * b + c, lane by lane, each rounded once; in Python a stand-in that rounds twice."""
    return a * b + c


def sum_lanes(value: Any) -> float:
    """The sum of the lanes in double precision, in a fixed order: halves are added until one is left."""
    value = np.asarray(value, np.float64)
    while len(value) > 1:
        half = len(value) // 2
        value = value[:half] + value[half:]
    return float(value[0])


def prefetch(array: Any, j: int, i: int, work: Any, distance: int) -> None:
    """Ask for the cache lines of two sets of lanes `distance` bytes after array[j, i]; they need not exist."""


def load_some(array: Any, m: int, count: int, work: Any) -> Any:
    """Elements array[m : m + count] of an array (n,) as lanes of the type of `work`, the rest zero."""
    value = np.zeros(lanes_of(work), work.dtype)
    value[:count] = array[m : m + count]
    return value


def gather_some(table: Any, k: int, index: Any, m: int, count: int) -> Any:
    """Elements table[index[m : m + count], k] of a C-contiguous (n, K) array as lanes of its type, the rest zero."""
    value = np.zeros(lanes_of(table), table.dtype)
    value[:count] = table[index[m : m + count], k]
    return value


def scatter_add(table: Any, k: int, index: Any, m: int, value: Any) -> None:
    """Add lanes to table[index[m …], k] one after the other."""
    for i, v in enumerate(value):
        table[index[m + i], k] += v


def _code(kind: Any) -> str:
    """How LLVM's names of operations give a type."""
    return {"double": "f64", "float": "f32"}.get(str(kind), str(kind))


@cache
def compiled() -> dict[str, Any]:
    """The functions above for Numba, by name: as instructions on a type of their own."""
    from llvmlite import ir
    from numba.core import types
    from numba.extending import intrinsic, models, register_model

    class Lanes(types.Type):
        def __init__(self, dtype: Any) -> None:
            super().__init__(name=f"Lanes({dtype})")
            self.dtype, self.width = dtype, LINE * 8 // dtype.bitwidth
            element = ir.DoubleType() if dtype == types.float64 else ir.FloatType()
            self.llvm = ir.VectorType(element, self.width)

    @register_model(Lanes)
    class LanesModel(models.PrimitiveModel):  # type: ignore[misc]
        def __init__(self, manager: Any, kind: Any) -> None:
            super().__init__(manager, kind, kind.llvm)

    double, single = Lanes(types.float64), Lanes(types.float32)
    word = ir.IntType(32)

    def lanes_for(work: Any) -> Lanes:
        return double if work.dtype == types.float64 else single

    def address(context: Any, builder: Any, array_type: Any, array: Any, j: Any, i: Any) -> Any:
        from numba.np import arrayobj

        struct = arrayobj.make_array(array_type)(context, builder, array)
        stride = builder.extract_value(struct.shape, 1)
        return builder.gep(struct.data, [builder.add(builder.mul(j, stride), i)])

    def declared(builder: Any, name: str, kind: Any) -> Any:
        return builder.module.globals.get(name) or ir.Function(builder.module, kind, name)

    def stored_type(context: Any, dtype: Any) -> Any:
        """The LLVM type of a stored element; Numba has no half floats and is told that they are uint16."""
        return ir.HalfType() if dtype == types.uint16 else context.get_data_type(dtype)

    def widen(builder: Any, value: Any, dtype: Any, to: Any) -> Any:
        if dtype == types.int8:
            return builder.sitofp(value, to)
        if dtype == types.uint8:
            return builder.uitofp(value, to)
        if value.type == to:
            return value
        return builder.fptrunc(value, to) if dtype == types.float64 else builder.fpext(value, to)

    def read(builder: Any, at: Any, kind: Any, align: int) -> Any:
        value = builder.load(builder.bitcast(at, kind.as_pointer()))
        value.align = align
        return value

    @intrinsic
    def lanes_of(typing: Any, work: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return context.get_constant(types.intp, lanes_for(work).width)

        return types.intp(work), generate

    @intrinsic
    def load(typing: Any, array: Any, j: Any, i: Any, work: Any) -> Any:
        lanes = lanes_for(work)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            dtype = signature.args[0].dtype
            at = address(context, builder, signature.args[0], *arguments[:3])
            kind = ir.VectorType(stored_type(context, dtype), lanes.width)
            return widen(builder, read(builder, at, kind, dtype.bitwidth // 8), dtype, lanes.llvm)

        return lanes(array, types.intp, types.intp, work), generate

    @intrinsic
    def store(typing: Any, array: Any, j: Any, i: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            at = address(context, builder, signature.args[0], *arguments[:3])
            at = builder.bitcast(at, value.llvm.as_pointer())
            builder.store(arguments[3], at, align=value.dtype.bitwidth // 8)
            return context.get_dummy_value()

        return types.void(array, types.intp, types.intp, value), generate

    @intrinsic
    def accumulate(typing: Any, array: Any, j: Any, i: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            at = address(context, builder, signature.args[0], *arguments[:3])
            kind = ir.VectorType(ir.DoubleType(), value.width)
            added = widen(builder, arguments[3], value.dtype, kind)
            total = builder.fadd(read(builder, at, kind, 8), added)
            builder.store(total, builder.bitcast(at, kind.as_pointer()), align=8)
            return context.get_dummy_value()

        return types.void(array, types.intp, types.intp, value), generate

    def spread(builder: Any, number: Any, lanes: Lanes) -> Any:
        undefined = ir.Constant(lanes.llvm, ir.Undefined)
        start = builder.insert_element(undefined, number, word(0))
        return builder.shuffle_vector(start, undefined, ir.Constant(ir.VectorType(word, lanes.width), None))

    @intrinsic
    def splat(typing: Any, value: Any, work: Any) -> Any:
        lanes = lanes_for(work)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return spread(builder, context.cast(builder, arguments[0], signature.args[0], lanes.dtype), lanes)

        return lanes(value, work), generate

    @intrinsic
    def broadcast(typing: Any, array: Any, j: Any, i: Any, work: Any) -> Any:
        lanes = lanes_for(work)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            dtype = signature.args[0].dtype
            at = address(context, builder, signature.args[0], *arguments[:3])
            number = read(builder, at, stored_type(context, dtype), dtype.bitwidth // 8)
            return spread(builder, widen(builder, number, dtype, lanes.llvm.element), lanes)

        return lanes(array, types.intp, types.intp, work), generate

    @intrinsic
    def sum_lanes(typing: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            width = value.width
            v = widen(builder, arguments[0], value.dtype, ir.VectorType(ir.DoubleType(), width))
            while width > 1:
                width //= 2
                count = ir.VectorType(word, width)
                undefined = ir.Constant(v.type, ir.Undefined)
                low = builder.shuffle_vector(v, undefined, ir.Constant(count, list(range(width))))
                high = builder.shuffle_vector(v, undefined, ir.Constant(count, list(range(width, 2 * width))))
                v = builder.fadd(low, high)
            return builder.extract_element(v, word(0))

        return types.float64(value), generate

    @intrinsic
    def prefetch(typing: Any, array: Any, j: Any, i: Any, work: Any, distance: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            at = address(context, builder, signature.args[0], *arguments[:3])
            byte = ir.IntType(8)
            kind = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), word, word, word])
            function = declared(builder, "llvm.prefetch.p0", kind)
            at = builder.bitcast(at, byte.as_pointer())
            size = 2 * lanes_for(work).width * signature.args[0].dtype.bitwidth // 8
            at = builder.gep(at, [arguments[4]])
            for line in range(0, size, LINE):
                builder.call(function, [builder.gep(at, [word(line)]), word(0), word(3), word(1)])
            return context.get_dummy_value()

        return types.void(array, types.intp, types.intp, work, types.intp), generate

    def some_of(context: Any, builder: Any, array_type: Any, array: Any, m: Any, count: Any, width: int) -> Any:
        """Elements array[m : m + count] as a vector, zero beyond, with the mask of those that are loaded."""
        from numba.np import arrayobj

        data = arrayobj.make_array(array_type)(context, builder, array).data
        kind = ir.VectorType(context.get_data_type(array_type.dtype), width)
        at = builder.bitcast(builder.gep(data, [m]), kind.as_pointer())
        numbers = ir.VectorType(ir.IntType(64), width)
        start = builder.insert_element(ir.Constant(numbers, ir.Undefined), count, word(0))
        limit = builder.shuffle_vector(start, start, ir.Constant(ir.VectorType(word, width), None))
        mask = builder.icmp_signed("<", ir.Constant(numbers, list(range(width))), limit)
        name = f"llvm.masked.load.v{width}{_code(kind.element)}.p0"
        load = declared(builder, name, ir.FunctionType(kind, [at.type, word, mask.type, kind]))
        bytes_each = word(array_type.dtype.bitwidth // 8)
        return builder.call(load, [at, bytes_each, mask, ir.Constant(kind, None)]), mask

    @intrinsic
    def load_some(typing: Any, array: Any, m: Any, count: Any, work: Any) -> Any:
        lanes = lanes_for(work)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            value, _ = some_of(context, builder, signature.args[0], *arguments[:3], lanes.width)
            return widen(builder, value, signature.args[0].dtype, lanes.llvm)

        return lanes(array, types.intp, types.intp, work), generate

    @intrinsic
    def gather_some(typing: Any, table: Any, k: Any, index: Any, m: Any, count: Any) -> Any:
        lanes = lanes_for(table)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            from numba.np import arrayobj

            found, mask = some_of(context, builder, signature.args[2], *arguments[2:5], lanes.width)
            if signature.args[2].dtype.bitwidth < 64:
                found = builder.zext(found, ir.VectorType(ir.IntType(64), lanes.width))
            struct = arrayobj.make_array(signature.args[0])(context, builder, arguments[0])
            stride = builder.extract_value(struct.shape, 1)
            start = builder.insert_element(ir.Constant(found.type, ir.Undefined), stride, word(0))
            stride = builder.shuffle_vector(start, start, ir.Constant(ir.VectorType(word, lanes.width), None))
            first = builder.gep(struct.data, [arguments[1]])
            pointers = ir.VectorType(first.type, lanes.width)
            places = builder.ptrtoint(first, ir.IntType(64))
            places = builder.insert_element(ir.Constant(found.type, ir.Undefined), places, word(0))
            places = builder.shuffle_vector(places, places, ir.Constant(ir.VectorType(word, lanes.width), None))
            size = ir.Constant(found.type, [lanes.dtype.bitwidth // 8] * lanes.width)
            places = builder.add(places, builder.mul(builder.mul(found, stride), size))
            places = builder.inttoptr(places, pointers)
            name = f"llvm.masked.gather.v{lanes.width}{_code(lanes.llvm.element)}.v{lanes.width}p0"
            gather = declared(builder, name, ir.FunctionType(lanes.llvm, [pointers, word, mask.type, lanes.llvm]))
            bytes_each = word(lanes.dtype.bitwidth // 8)
            return builder.call(gather, [places, bytes_each, mask, ir.Constant(lanes.llvm, None)])

        return lanes(table, types.intp, index, types.intp, types.intp), generate

    @intrinsic
    def scatter_add(typing: Any, table: Any, k: Any, index: Any, m: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            from numba.np import arrayobj

            table, k, index, m, lanes = arguments
            columns = arrayobj.make_array(signature.args[2])(context, builder, index).data
            for lane in range(value.width):
                at = builder.gep(columns, [builder.add(m, ir.Constant(m.type, lane))])
                column = builder.load(at)
                if column.type != m.type:
                    column = builder.zext(column, m.type)
                at = address(context, builder, signature.args[0], table, column, k)
                builder.store(builder.fadd(builder.load(at), builder.extract_element(lanes, word(lane))), at)
            return context.get_dummy_value()

        return types.void(table, types.intp, index, types.intp, value), generate

    def fused(typing: Any, number: Any, of: Any, suffix: str) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = ir.FunctionType(of, [of] * 3)
            return builder.call(declared(builder, f"llvm.fma.{suffix}", kind), arguments)

        return number(number, number, number), generate

    @intrinsic
    def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
        if a == b == c == types.float32:
            return fused(typing, types.float32, ir.FloatType(), "f32")
        return fused(typing, types.float64, ir.DoubleType(), "f64")

    @intrinsic
    def fma_lanes(typing: Any, a: Any, b: Any, c: Any) -> Any:
        return fused(typing, a, a.llvm, f"v{a.width}f{a.dtype.bitwidth}")

    mine = (
        *(lanes_of, load, load_some, gather_some, store, accumulate, scatter_add, broadcast, splat),
        *(fma, fma_lanes, sum_lanes, prefetch),
    )
    return {function._defn.__name__: function for function in mine}

"""Eight doubles at a time, for kernels: explicit SIMD lanes whose order of additions never changes.

LLVM maps a vector of eight doubles to whatever registers a processor has (two of 256 bits, four of 128), lane
by lane: so results do not depend on the width of the hardware, nor on what an optimiser would dare to
reorder. Stored types are widened to double as they are loaded.

In Python, without Numba, the same functions work on numpy arrays of eight.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

LANES = 8


def load8(array: Any, j: int, i: int) -> Any:
    """Elements array[j, i … i + 7] of a C-contiguous (n, m) array, as doubles; no bounds are checked."""
    return array[j, i : i + LANES].astype(np.float64)


def store8(array: Any, j: int, i: int, value: Any) -> None:
    """Write eight doubles to array[j, i … i + 7], float64."""
    array[j, i : i + LANES] = value


def splat8(value: float) -> Any:
    """Eight times the same number."""
    return np.full(LANES, value)


def fma(a: float, b: float, c: float) -> float:
    """Compute a * b + c of three doubles, rounded once; in Python a stand-in that rounds twice."""
    return a * b + c


def fma8(a: Any, b: Any, c: Any) -> Any:
    """Compute a * b + c, lane by lane, each rounded once; in Python a stand-in that rounds twice."""
    return a * b + c


def sum8(value: Any) -> float:
    """The sum of the lanes, in a fixed order: pairs at distance 4, then 2, then 1."""
    v = value[:4] + value[4:]
    v = v[:2] + v[2:]
    return float(v[0] + v[1])


AHEAD = 8192  # bytes: how far before its use a cache line is asked for; measured with benchmarks/kernels.py
LINE = 64


def prefetch16(array: Any, j: int, i: int) -> None:
    """Ask for the cache lines AHEAD bytes after array[j, i … i + 15]; they need not exist."""


@cache
def compiled() -> dict[str, Any]:
    """The functions above for Numba, by name: as instructions on a type of their own."""
    from llvmlite import ir
    from numba.core import types
    from numba.extending import intrinsic, models, register_model

    class Float64x8(types.Type):
        def __init__(self) -> None:
            super().__init__(name="float64x8")

    vector = Float64x8()
    lanes = ir.VectorType(ir.DoubleType(), LANES)

    @register_model(Float64x8)
    class Float64x8Model(models.PrimitiveModel):  # type: ignore[misc]
        def __init__(self, manager: Any, kind: Any) -> None:
            super().__init__(manager, kind, lanes)

    def address(context: Any, builder: Any, array_type: Any, array: Any, j: Any, i: Any) -> Any:
        from numba.np import arrayobj

        struct = arrayobj.make_array(array_type)(context, builder, array)
        stride = builder.extract_value(struct.shape, 1)
        index = builder.add(builder.mul(j, stride), i)
        return builder.gep(struct.data, [index]), context.get_data_type(array_type.dtype)

    def declared(builder: Any, name: str, kind: Any) -> Any:
        return builder.module.globals.get(name) or ir.Function(builder.module, kind, name)

    def widen(builder: Any, value: Any, dtype: Any) -> Any:
        if dtype == types.float64:
            return value
        if isinstance(dtype, types.Float):
            return builder.fpext(value, lanes)
        return builder.sitofp(value, lanes) if dtype.signed else builder.uitofp(value, lanes)

    @intrinsic
    def load8(typing: Any, array: Any, j: Any, i: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            at, element = address(context, builder, signature.args[0], *arguments)
            at = builder.bitcast(at, ir.VectorType(element, LANES).as_pointer())
            value = builder.load(at)
            value.align = signature.args[0].dtype.bitwidth // 8
            return widen(builder, value, signature.args[0].dtype)

        return vector(array, types.intp, types.intp), generate

    @intrinsic
    def store8(typing: Any, array: Any, j: Any, i: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            at, _ = address(context, builder, signature.args[0], *arguments[:3])
            builder.store(arguments[3], builder.bitcast(at, lanes.as_pointer()), align=8)
            return context.get_dummy_value()

        return types.void(array, types.intp, types.intp, vector), generate

    @intrinsic
    def splat8(typing: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            start = builder.insert_element(ir.Constant(lanes, ir.Undefined), arguments[0], ir.IntType(32)(0))
            mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
            return builder.shuffle_vector(start, ir.Constant(lanes, ir.Undefined), mask)

        return vector(types.float64), generate

    @intrinsic
    def sum8(typing: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            [v] = arguments
            for width in (4, 2, 1):
                count = ir.VectorType(ir.IntType(32), width)
                undefined = ir.Constant(v.type, ir.Undefined)
                low = builder.shuffle_vector(v, undefined, ir.Constant(count, list(range(width))))
                high = builder.shuffle_vector(v, undefined, ir.Constant(count, list(range(width, 2 * width))))
                v = builder.fadd(low, high)
            return builder.extract_element(v, ir.IntType(32)(0))

        return types.float64(vector), generate

    @intrinsic
    def prefetch16(typing: Any, array: Any, j: Any, i: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            at, _ = address(context, builder, signature.args[0], *arguments)
            byte, word = ir.IntType(8), ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), word, word, word])
            function = declared(builder, "llvm.prefetch.p0", kind)
            at = builder.bitcast(at, byte.as_pointer())
            for distance in range(AHEAD, AHEAD + 2 * signature.args[0].dtype.bitwidth, LINE):
                builder.call(function, [builder.gep(at, [word(distance)]), word(0), word(2), word(1)])
            return context.get_dummy_value()

        return types.void(array, types.intp, types.intp), generate

    def fused(number: Any, of: Any, name: str) -> Any:
        @intrinsic
        def multiply_add(typing: Any, a: Any, b: Any, c: Any) -> Any:
            def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                return builder.call(declared(builder, name, ir.FunctionType(of, [of] * 3)), arguments)

            return number(number, number, number), generate

        return multiply_add

    return {
        "load8": load8,
        "store8": store8,
        "splat8": splat8,
        "sum8": sum8,
        "prefetch16": prefetch16,
        "fma": fused(types.float64, ir.DoubleType(), "llvm.fma.f64"),
        "fma8": fused(vector, lanes, "llvm.fma.v8f64"),
    }

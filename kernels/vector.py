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

import llvmlite.binding as llvm
import numpy as np

LINE = 64  # bytes of a cache line, and of one set of lanes
AHEAD = 4096  # bytes: how far before its use a cache line is asked for; measured with benchmarks/kernels.py
# Sets of lanes that stay in registers while others are multiplied: of 32 registers of a line each, or of 16 of half a
# line. No sum depends on it: it says only which sums are formed side by side.
ACCUMULATORS = 24 if llvm.get_host_cpu_features().get("avx512f") else 6
OUTPUTS = min(ACCUMULATORS, 12)  # of a block of accumulators, at most


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


def add_combinations(
    x: Any, first: int, last: int, coef: Any, k: int, count: int, eta: Any, ahead: Any, row: int, halves: int
) -> None:
    """Add columns first … last - 1 of x (d, rows), times coef (d, P), to `count` outputs from k on of eta (P, rows).

    count : at most OUTPUTS; they meet the rows of as many sets of lanes as there are registers for. Every sum goes
    through the columns in turn. With k = 0 memory is asked for on the way: from row `row` of the tiles `ahead` on, as
    many halves of these columns, in the order of addresses.
    """
    eta[k : k + count] += coef[first:last, k : k + count].T @ x[first:last].astype(eta.dtype)


def add_inner_products(x: Any, j: int, right: Any, k: int, count: int, products: Any) -> None:
    """Add columns from j on of x times `count` outputs from k on of right, over all their rows, to products (d, K).

    x (T, d, rows), right (T K, rows) : tiles.  products : float64.
    count : at most OUTPUTS; they meet ACCUMULATORS // count columns, or fewer where x ends. Lanes run across rows.
    Every sum goes through the rows of a lane in turn and then through the lanes in the order of `sum_lanes`, in the
    type of right; it is widened as it leaves.
    """
    outputs, columns = products.shape[1], slice(j, j + ACCUMULATORS // count)
    for t, tile in enumerate(x):
        some = right[t * outputs + k : t * outputs + k + count]
        products[columns, k : k + count] += tile[columns].astype(right.dtype) @ some.T


@cache
def compiled() -> dict[str, Any]:
    """The functions above for Numba, by name: as instructions on a type of their own."""
    from llvmlite import ir
    from numba.core import cgutils, types
    from numba.extending import intrinsic, models, register_model
    from numba.np import arrayobj

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
    word, index = ir.IntType(32), ir.IntType(64)

    def lanes_for(work: Any) -> Lanes:
        return double if work.dtype == types.float64 else single

    class Table:
        """An array argument of an intrinsic as rows of elements, those of all tiles numbered through."""

        def __init__(self, context: Any, builder: Any, kind: Any, array: Any) -> None:
            struct = arrayobj.make_array(kind)(context, builder, array)
            self._builder, self._data, self._dtype = builder, struct.data, kind.dtype
            # Numba has no half floats and is told that they are uint16.
            self._stored = ir.HalfType() if kind.dtype == types.uint16 else context.get_data_type(kind.dtype)
            self.shape = cgutils.unpack_tuple(builder, struct.shape)

        def address(self, j: Any, i: Any, kind: Any) -> Any:
            """Of element i of row j, for elements of an LLVM type."""
            at = self._builder.gep(self._data, [self._builder.add(self._builder.mul(j, self.shape[-1]), i)])
            return self._builder.bitcast(at, kind.as_pointer())

        def read(self, j: Any, i: Any, to: Any) -> Any:
            """Elements from there on, as an LLVM vector or number of the type `to`."""
            kind = ir.VectorType(self._stored, to.count) if isinstance(to, ir.VectorType) else self._stored
            value = self._builder.load(self.address(j, i, kind))
            value.align = self._dtype.bitwidth // 8
            return widen(self._builder, value, self._dtype, to)

        def write(self, j: Any, i: Any, value: Any) -> None:
            self._builder.store(value, self.address(j, i, value.type), align=self._dtype.bitwidth // 8)

        def accumulate(self, j: Any, i: Any, value: Any, dtype: Any) -> None:
            """Add a vector of numbers of a type to elements, float64."""
            added = widen(self._builder, value, dtype, ir.VectorType(ir.DoubleType(), value.type.count))
            self.write(j, i, self._builder.fadd(self.read(j, i, added.type), added))

        def spread(self, j: Any, i: Any, lanes: Lanes) -> Any:
            """An element in all lanes."""
            return spread(self._builder, self.read(j, i, lanes.llvm.element), lanes)

        def prefetch(self, j: Any, i: Any, count: int, distance: Any) -> None:
            """Ask for the cache lines of so many elements, `distance` bytes further on."""
            byte = ir.IntType(8)
            kind = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), word, word, word])
            function = declared(self._builder, "llvm.prefetch.p0", kind)
            at = self._builder.gep(self.address(j, i, byte), [distance])
            for line in range(0, count * self._dtype.bitwidth // 8, LINE):
                self._builder.call(function, [self._builder.gep(at, [word(line)]), word(0), word(3), word(1)])

    def tables(context: Any, builder: Any, signature: Any, arguments: Any) -> list[Any]:
        """The arguments of an intrinsic, arrays among them as tables."""
        pairs = zip(signature.args, arguments, strict=True)
        return [Table(context, builder, k, a) if isinstance(k, types.Array) else a for k, a in pairs]

    def declared(builder: Any, name: str, kind: Any) -> Any:
        return builder.module.globals.get(name) or ir.Function(builder.module, kind, name)

    def widen(builder: Any, value: Any, dtype: Any, to: Any) -> Any:
        if dtype == types.int8:
            return builder.sitofp(value, to)
        if dtype == types.uint8:
            return builder.uitofp(value, to)
        if value.type == to:
            return value
        return builder.fptrunc(value, to) if dtype == types.float64 else builder.fpext(value, to)

    def spread(builder: Any, number: Any, lanes: Lanes) -> Any:
        undefined = ir.Constant(lanes.llvm, ir.Undefined)
        start = builder.insert_element(undefined, number, word(0))
        return builder.shuffle_vector(start, undefined, ir.Constant(ir.VectorType(word, lanes.width), None))

    def shuffled(builder: Any, a: Any, b: Any, picked: list[int]) -> Any:
        """Elements of a, then b, numbered through."""
        return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(word, len(picked)), picked))

    def multiply_add(builder: Any, lanes: Lanes, *arguments: Any) -> Any:
        kind = ir.FunctionType(lanes.llvm, [lanes.llvm] * 3)
        return builder.call(declared(builder, f"llvm.fma.v{lanes.width}f{lanes.dtype.bitwidth}", kind), arguments)

    @intrinsic
    def lanes_of(typing: Any, work: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return context.get_constant(types.intp, lanes_for(work).width)

        return types.intp(work), generate

    @intrinsic
    def load(typing: Any, array: Any, j: Any, i: Any, work: Any) -> Any:
        lanes = lanes_for(work)

        def generate(*arguments: Any) -> Any:
            table, j, i, _ = tables(*arguments)
            return table.read(j, i, lanes.llvm)

        return lanes(array, types.intp, types.intp, work), generate

    @intrinsic
    def store(typing: Any, array: Any, j: Any, i: Any, value: Any) -> Any:
        def generate(context: Any, *arguments: Any) -> Any:
            table, j, i, value = tables(context, *arguments)
            table.write(j, i, value)
            return context.get_dummy_value()

        return types.void(array, types.intp, types.intp, value), generate

    @intrinsic
    def accumulate(typing: Any, array: Any, j: Any, i: Any, value: Any) -> Any:
        dtype = value.dtype

        def generate(context: Any, *arguments: Any) -> Any:
            table, j, i, value = tables(context, *arguments)
            table.accumulate(j, i, value, dtype)
            return context.get_dummy_value()

        return types.void(array, types.intp, types.intp, value), generate

    @intrinsic
    def splat(typing: Any, value: Any, work: Any) -> Any:
        lanes = lanes_for(work)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return spread(builder, context.cast(builder, arguments[0], signature.args[0], lanes.dtype), lanes)

        return lanes(value, work), generate

    @intrinsic
    def sum_lanes(typing: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            width = value.width
            v = widen(builder, arguments[0], value.dtype, ir.VectorType(ir.DoubleType(), width))
            while width > 1:
                width //= 2
                low = shuffled(builder, v, v, list(range(width)))
                high = shuffled(builder, v, v, list(range(width, 2 * width)))
                v = builder.fadd(low, high)
            return builder.extract_element(v, word(0))

        return types.float64(value), generate

    @intrinsic
    def prefetch(typing: Any, array: Any, j: Any, i: Any, work: Any, distance: Any) -> Any:
        count = 2 * lanes_for(work).width

        def generate(context: Any, *arguments: Any) -> Any:
            table, j, i, _, distance = tables(context, *arguments)
            table.prefetch(j, i, count, distance)
            return context.get_dummy_value()

        return types.void(array, types.intp, types.intp, work, types.intp), generate

    @intrinsic
    def add_combinations(
        typing: Any,
        x: Any,
        first: Any,
        last: Any,
        coef: Any,
        k: Any,
        count: Any,
        eta: Any,
        ahead: Any,
        row: Any,
        halves: Any,
    ) -> Any:
        lanes = lanes_for(eta)

        def block(builder: Any, sets: int, outputs: int, i: Any, tables: list[Any]) -> None:
            """So many sets of lanes of rows, from row i on, meet so many outputs."""
            x, first, last, coef, k, _, eta, ahead, row, halves = tables
            rows = [builder.add(i, index(s * lanes.width)) for s in range(sets)]
            ks = [builder.add(k, index(o)) for o in range(outputs)]
            sums = {(o, s): cgutils.alloca_once(builder, lanes.llvm) for o in range(outputs) for s in range(sets)}
            for (o, s), total in sums.items():
                builder.store(eta.read(ks[o], rows[s], lanes.llvm), total)
            with cgutils.for_range(builder, last, first) as loop:
                with builder.if_then(builder.icmp_signed("==", k, index(0))):
                    done = builder.mul(builder.sub(loop.index, first), index(sets * lanes.width))
                    done = builder.add(done, builder.mul(i, builder.sub(last, first)))
                    done = builder.add(done, builder.mul(first, x.shape[1]))
                    done = builder.ashr(builder.mul(done, halves), index(1))
                    # With one half every line is asked for twice, which costs nothing beside the arithmetic.
                    ahead.prefetch(row, done, sets * lanes.width, index(0))
                values = [x.read(loop.index, r, lanes.llvm) for r in rows]
                for o in range(outputs):
                    c = coef.spread(loop.index, ks[o], lanes)
                    for s in range(sets):
                        builder.store(multiply_add(builder, lanes, values[s], c, builder.load(sums[o, s])), sums[o, s])
            for (o, s), total in sums.items():
                eta.write(ks[o], rows[s], builder.load(total))

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            arrays = tables(context, builder, signature, arguments)
            rows = arrays[6].shape[1]
            for outputs in range(1, OUTPUTS + 1):
                with builder.if_then(builder.icmp_signed("==", arguments[5], index(outputs))):
                    begin = index(0)
                    for sets in (8, 4, 2, 1):
                        if sets * outputs <= ACCUMULATORS:
                            step = index(sets * lanes.width)
                            trips = builder.sdiv(builder.sub(rows, begin), step)
                            with cgutils.for_range(builder, trips) as loop:
                                i = builder.add(begin, builder.mul(loop.index, step))
                                block(builder, sets, outputs, i, arrays)
                            begin = builder.add(begin, builder.mul(trips, step))
            return context.get_dummy_value()

        n = types.intp
        return types.void(x, n, n, coef, n, n, eta, ahead, n, n), generate

    def lane_sums(builder: Any, vectors: list[Any]) -> Any:
        """A vector of the sums of the lanes of vectors, at most as many as they have lanes.

        Two vectors become one that holds the halves of either, added up, then two of those one of quarters: a third of
        the work of adding up each for itself.
        """
        lanes = span = vectors[0].type.count
        tree = [*vectors, *[None] * (lanes - len(vectors))]
        while span > 1:
            half = span // 2
            first = [lane % span < half for lane in range(lanes)]
            own = [lane if f else lane + lanes for lane, f in enumerate(first)]
            other = [lane + half if f else lane + lanes - half for lane, f in enumerate(first)]

            def added(a: Any, b: Any, own: list[int] = own, other: list[int] = other) -> Any:
                if a is None:
                    return None
                b = b or ir.Constant(a.type, ir.Undefined)
                return builder.fadd(shuffled(builder, a, b, own), shuffled(builder, a, b, other))

            tree = [added(a, b) for a, b in zip(tree[: len(tree) // 2], tree[len(tree) // 2 :], strict=True)]
            span = half
        return shuffled(builder, tree[0], tree[0], list(range(len(vectors))))

    @intrinsic
    def add_inner_products(typing: Any, x: Any, j: Any, right: Any, k: Any, count: Any, products: Any) -> Any:
        lanes = lanes_for(right)

        def block(builder: Any, columns: int, outputs: int, tables: list[Any]) -> None:
            x, j, right, k, _, products = tables
            tiles, d, rows = x.shape
            js = [builder.add(j, index(c)) for c in range(columns)]
            inside = [builder.icmp_signed("<", column, d) for column in js]
            ks = [builder.add(k, index(o)) for o in range(outputs)]
            sums = {
                (c, o): cgutils.alloca_once(builder, lanes.llvm, zfill=True)
                for c in range(columns)
                for o in range(outputs)
            }
            # Where x has ended its first column of the block is taken again.
            picked = [builder.select(i, column, j) for i, column in zip(inside, js, strict=True)]
            step = index(lanes.width)
            with (
                cgutils.for_range(builder, tiles) as t,
                cgutils.for_range_slice(builder, index(0), rows, step) as (i, _),
            ):
                above, beside = builder.mul(t.index, d), builder.mul(t.index, products.shape[1])
                values = [x.read(builder.add(above, column), i, lanes.llvm) for column in picked]
                for o in range(outputs):
                    r = right.read(builder.add(beside, ks[o]), i, lanes.llvm)
                    for c in range(columns):
                        total = sums[c, o]
                        builder.store(multiply_add(builder, lanes, values[c], r, builder.load(total)), total)
            for c in range(columns):
                with builder.if_then(inside[c]):
                    for o in range(0, outputs, lanes.width):
                        some = [builder.load(sums[c, p]) for p in range(o, min(o + lanes.width, outputs))]
                        products.accumulate(js[c], ks[o], lane_sums(builder, some), lanes.dtype)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            arrays = tables(context, builder, signature, arguments)
            for outputs in range(1, OUTPUTS + 1):
                with builder.if_then(builder.icmp_signed("==", arguments[4], index(outputs))):
                    block(builder, ACCUMULATORS // outputs, outputs, arrays)
            return context.get_dummy_value()

        n = types.intp
        return types.void(x, n, right, n, n, products), generate

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

    numbers = (lanes_of, load, store, accumulate, splat, fma, fma_lanes, sum_lanes, prefetch)
    return {function._defn.__name__: function for function in (*numbers, add_combinations, add_inner_products)}

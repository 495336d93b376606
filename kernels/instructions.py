"""The functions of `vector` as LLVM instructions, for Numba to put into kernels."""

from __future__ import annotations

from functools import cache
from typing import Any

from mpigd_kernels.vector import LINE, converts_half_floats, room


def code_of(kind: Any) -> str:
    """How LLVM's names of operations give a type."""
    return {"double": "f64", "float": "f32"}.get(str(kind), str(kind))


@cache
def compiled() -> dict[str, Any]:
    """The functions by name, on a type of their own for lanes, with what depends on the processor."""
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
    most, accumulators = room()["OUTPUTS"], room()["ACCUMULATORS"]
    word, index = ir.IntType(32), ir.IntType(64)

    def lanes_for(work: Any) -> Lanes:
        return double if work.dtype == types.float64 else single

    class Table:
        """An array argument of an intrinsic as rows of elements, those of all tiles numbered through."""

        def __init__(self, context: Any, builder: Any, kind: Any, array: Any) -> None:
            struct = arrayobj.make_array(kind)(context, builder, array)
            self._builder, self._data, self._dtype = builder, struct.data, kind.dtype
            self.itemsize = kind.dtype.bitwidth // 8
            # Numba has no half floats and is told that they are uint16.
            self.stored = ir.HalfType() if kind.dtype == types.uint16 else context.get_data_type(kind.dtype)
            self.shape = cgutils.unpack_tuple(builder, struct.shape)

        def address(self, j: Any, i: Any, kind: Any) -> Any:
            """Of element i of row j, for elements of an LLVM type."""
            at = self._builder.gep(self._data, [self._builder.add(self._builder.mul(j, self.shape[-1]), i)])
            return self._builder.bitcast(at, kind.as_pointer())

        def read(self, j: Any, i: Any, to: Any) -> Any:
            """Elements from there on, as an LLVM vector or number of the type `to`."""
            kind = ir.VectorType(self.stored, to.count) if isinstance(to, ir.VectorType) else self.stored
            value = self._builder.load(self.address(j, i, kind))
            value.align = self.itemsize
            return widen(self._builder, value, self._dtype, to)

        def write(self, j: Any, i: Any, value: Any) -> None:
            self._builder.store(value, self.address(j, i, value.type), align=self.itemsize)

        def accumulate(self, j: Any, i: Any, value: Any, dtype: Any) -> None:
            """Add a vector of numbers of a type to elements, float64."""
            added = widen(self._builder, value, dtype, ir.VectorType(ir.DoubleType(), value.type.count))
            self.write(j, i, self._builder.fadd(self.read(j, i, added.type), added))

        def spread(self, j: Any, i: Any, lanes: Lanes) -> Any:
            """An element in all lanes."""
            return everywhere(self._builder, self.read(j, i, lanes.llvm.element), lanes.width)

        def prefetch(self, j: Any, i: Any, count: int, distance: Any) -> None:
            """Ask for the cache lines of so many elements, `distance` bytes further on."""
            byte = ir.IntType(8)
            kind = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), word, word, word])
            function = declared(self._builder, "llvm.prefetch.p0", kind)
            at = self._builder.gep(self.address(j, i, byte), [distance])
            for line in range(0, count * self.itemsize, LINE):
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
        if dtype == types.uint16 and not converts_half_floats():
            value = single_of_half(builder, value, to)
            dtype = types.float32
        if value.type == to:
            return value
        return builder.fptrunc(value, to) if dtype == types.float64 else builder.fpext(value, to)

    def single_of_half(builder: Any, value: Any, to: Any) -> Any:
        """Widen finite half floats with integers: as a float, their bits are the number times 2^-112."""

        def like(element: Any) -> Any:
            return ir.VectorType(element, to.count) if isinstance(to, ir.VectorType) else element

        def constant(element: Any, number: float) -> Any:
            return ir.Constant(like(element), [number] * to.count if isinstance(to, ir.VectorType) else number)

        wide = builder.zext(builder.bitcast(value, like(ir.IntType(16))), like(word))
        bits = builder.shl(builder.and_(wide, constant(word, 0x7FFF)), constant(word, 13))
        size = builder.fmul(builder.bitcast(bits, like(ir.FloatType())), constant(ir.FloatType(), 2.0**112))
        sign = builder.shl(builder.and_(wide, constant(word, 0x8000)), constant(word, 16))
        return builder.bitcast(builder.or_(builder.bitcast(size, like(word)), sign), like(ir.FloatType()))

    def everywhere(builder: Any, number: Any, width: int) -> Any:
        """A vector of the same number."""
        start = builder.insert_element(ir.Constant(ir.VectorType(number.type, width), ir.Undefined), number, word(0))
        return shuffled(builder, start, start, [0] * width)

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
    def side_of(typing: Any, array: Any) -> Any:
        side = min(LINE * 8 // array.dtype.bitwidth, 16)

        def generate(context: Any, *arguments: Any) -> Any:
            return context.get_constant(types.intp, side)

        return types.intp(array), generate

    @intrinsic
    def turn(typing: Any, rows: Any, i: Any, j: Any, to: Any, k: Any, lane: Any, total: Any) -> Any:
        dtype, side = rows.dtype, min(LINE * 8 // rows.dtype.bitwidth, 16)

        def generate(context: Any, builder: Any, *arguments: Any) -> Any:
            table, i, j, to, k, lane, total = tables(context, builder, *arguments)
            kind = ir.VectorType(table.stored, side)
            square = []
            for row in range(side):
                line = builder.load(table.address(builder.add(i, index(row)), j, kind))
                line.align = table.itemsize
                square.append(line)
            if dtype not in (types.int8, types.uint8):
                # Times zero: zero, or no number.
                of = double if dtype == types.float64 else single
                found = None
                for line in square:
                    wide = widen(builder, line, dtype, of.llvm)
                    zero = ir.Constant(of.llvm, None)
                    found = multiply_add(builder, of, wide, zero, zero if found is None else found)
                for half in range(0, of.width, double.width):
                    some = shuffled(builder, found, found, list(range(half, half + double.width)))
                    total = builder.fadd(total, widen(builder, some, of.dtype, double.llvm))
            # Two lines at a distance exchange halves, then quarters, ...
            span = side // 2
            while span:
                first = [lane % (2 * span) < span for lane in range(side)]
                low = [lane if f else lane + side - span for lane, f in enumerate(first)]
                high = [lane + span if f else lane + side for lane, f in enumerate(first)]
                for row in range(side):
                    if row % (2 * span) < span:
                        a, b = square[row], square[row + span]
                        square[row] = shuffled(builder, a, b, low)
                        square[row + span] = shuffled(builder, a, b, high)
                span //= 2
            places = [to.address(builder.add(k, index(column)), lane, kind) for column in range(side)]
            if table.itemsize * side < LINE:
                for line, place in zip(square, places, strict=True):
                    builder.store(line, place, align=table.itemsize)
                return total
            # Whole lines go past the cache: they need not be read from memory first, and are more than it holds.
            inside = builder.and_(builder.ptrtoint(places[0], index), index(LINE - 1))
            with builder.if_else(builder.icmp_signed("==", inside, index(0))) as (whole, divided):
                with whole:
                    for line, place in zip(square, places, strict=True):
                        stored = builder.store(line, place, align=LINE)
                        stored.set_metadata("nontemporal", builder.module.add_metadata([word(1)]))
                with divided:
                    for line, place in zip(square, places, strict=True):
                        builder.store(line, place, align=table.itemsize)
            return total

        n = types.intp
        return total(rows, n, n, to, n, n, total), generate

    @intrinsic
    def publish(typing: Any) -> Any:
        def generate(context: Any, builder: Any, *arguments: Any) -> Any:
            builder.fence("seq_cst")
            return context.get_dummy_value()

        return types.void(), generate

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
            number = context.cast(builder, arguments[0], signature.args[0], lanes.dtype)
            return everywhere(builder, number, lanes.width)

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

    def some_of(builder: Any, table: Table, m: Any, count: Any, width: int) -> Any:
        """Elements m … m + count - 1 of a table of one row, zero beyond, with the mask of those that are loaded."""
        at = table.address(index(0), m, ir.VectorType(table.stored, width))
        kind = at.type.pointee
        lanes = ir.Constant(ir.VectorType(index, width), list(range(width)))
        mask = builder.icmp_signed("<", lanes, everywhere(builder, count, width))
        function = ir.FunctionType(kind, [at.type, word, mask.type, kind])
        function = declared(builder, f"llvm.masked.load.v{width}{code_of(kind.element)}.p0", function)
        return builder.call(function, [at, word(table.itemsize), mask, ir.Constant(kind, None)]), mask

    @intrinsic
    def load_some(typing: Any, array: Any, m: Any, count: Any, work: Any) -> Any:
        lanes, dtype = lanes_for(work), array.dtype

        def generate(context: Any, builder: Any, *arguments: Any) -> Any:
            table, m, count, _ = tables(context, builder, *arguments)
            return widen(builder, some_of(builder, table, m, count, lanes.width)[0], dtype, lanes.llvm)

        return lanes(array, types.intp, types.intp, work), generate

    @intrinsic
    def gather_some(typing: Any, array: Any, k: Any, rows: Any, m: Any, count: Any) -> Any:
        lanes = lanes_for(array)

        def generate(context: Any, builder: Any, *arguments: Any) -> Any:
            table, k, rows, m, count = tables(context, builder, *arguments)
            found, mask = some_of(builder, rows, m, count, lanes.width)
            wide = ir.VectorType(index, lanes.width)
            found = found if found.type == wide else builder.zext(found, wide)
            stride = everywhere(builder, builder.mul(table.shape[1], index(table.itemsize)), lanes.width)
            first = table.address(index(0), k, lanes.llvm.element)
            places = everywhere(builder, builder.ptrtoint(first, index), lanes.width)
            places = builder.inttoptr(
                builder.add(places, builder.mul(found, stride)), ir.VectorType(first.type, lanes.width)
            )
            function = ir.FunctionType(lanes.llvm, [places.type, word, mask.type, lanes.llvm])
            name = f"llvm.masked.gather.v{lanes.width}{code_of(lanes.llvm.element)}.v{lanes.width}p0"
            function = declared(builder, name, function)
            return builder.call(function, [places, word(table.itemsize), mask, ir.Constant(lanes.llvm, None)])

        return lanes(array, types.intp, rows, types.intp, types.intp), generate

    @intrinsic
    def scatter_add(typing: Any, array: Any, k: Any, rows: Any, m: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, *arguments: Any) -> Any:
            table, k, rows, m, lanes = tables(context, builder, *arguments)
            for lane in range(value.width):
                at = rows.address(index(0), builder.add(m, index(lane)), rows.stored)
                row = builder.load(at)
                row = row if row.type == index else builder.zext(row, index)
                at = table.address(row, k, ir.DoubleType())
                builder.store(builder.fadd(builder.load(at), builder.extract_element(lanes, word(lane))), at)
            return context.get_dummy_value()

        return types.void(array, types.intp, rows, types.intp, value), generate

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
            for outputs in range(1, most + 1):
                with builder.if_then(builder.icmp_signed("==", arguments[5], index(outputs))):
                    begin = index(0)
                    for sets in (8, 4, 2, 1):
                        if sets * outputs <= accumulators:
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
            for outputs in range(1, most + 1):
                with builder.if_then(builder.icmp_signed("==", arguments[4], index(outputs))):
                    block(builder, accumulators // outputs, outputs, arrays)
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

    mine = (
        *(lanes_of, side_of, turn, publish, load, load_some, gather_some, store, accumulate, scatter_add, splat),
        *(fma, fma_lanes, sum_lanes, prefetch, add_combinations, add_inner_products),
    )
    return {**room(), **{function._defn.__name__: function for function in mine}}

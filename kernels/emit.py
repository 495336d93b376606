"""Kernels as object files for a C library: `python -m mpigd_kernels.emit --target x86-64-v3 --output DIRECTORY`.

One process for each target, since what kernels are like depends on the processor (see `vector.room`). In the directory
it writes an object file for each kernel, a list of them in the file `objects`, and two C files: kernels.c, a table of
kernels by name (see `Kernel.named`), and losses.c, a table of losses. Results have the same bits on all targets.

Objects that are there already and come from the same sources are left as they are.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# Of a target its processor and features, as LLVM has them, and the machine; what it does not say is not used.
TARGETS = {
    "x86-64-v2": ("x86-64-v2", "", "x86_64-unknown-linux-gnu"),
    "x86-64-v3": ("x86-64-v3", "+f16c", "x86_64-unknown-linux-gnu"),
    "x86-64-v4": ("x86-64-v4", "+avx512f,+f16c", "x86_64-unknown-linux-gnu"),
    "aarch64": ("generic", "", "aarch64-unknown-linux-gnu"),
}
TYPES = ("float64", "float32", "float16", "int8", "uint8")
ALL = "all.o"  # what a linker may have made of the others
SPARSE_TYPES = ("float64", "float32")


class Wanted(NamedTuple):
    """A kernel for arguments of some types, see `Kernel.load`."""

    kernel: Any
    variables: dict[str, Any]


def wanted(types: Sequence[str], losses: Sequence[str]) -> Iterator[Wanted]:
    """The kernels of a library: double precision, what belongs to rows in double precision, too.

    types : of X.  losses : names.
    """
    from mpigd_kernels import (
        LOSSES,
        DenseSlice,
        Kernel,
        SparseSlice,
        descent,
        exact,
        factor,
        fill_tiles,
        summary,
        synthetic,
    )

    double = {"ROW": "float64", "WORK": "float64"}
    for module in (descent, exact, factor, summary, synthetic):  # whose kernels are for one type each
        for kernel in vars(module).values():
            if isinstance(kernel, Kernel):
                yield Wanted(kernel, {})
    for rows in (64, 16):
        for x in types:
            for kernel in (*DenseSlice.KERNELS.values(), fill_tiles):
                yield Wanted(kernel, {**double, "X": x, "ROWS": rows})
            for one in (True, False) if x in SPARSE_TYPES else ():
                for kernel in SparseSlice.KERNELS.values():
                    yield Wanted(kernel, {**double, "X": x, "INDEX": "int32", "ROWS": rows, "ONE": one})
        yield Wanted(DenseSlice.KERNELS["column_moments"], {**double, "X": "float64", "ROWS": rows})  # of y
        for name in losses:
            loss = LOSSES[name]
            for stage in (loss.tile, loss.product, loss.product_anew):
                yield Wanted(stage, {**double, "ROWS": rows})


def emit(target: str, output: Path, types: Sequence[str], losses: Sequence[str]) -> None:
    """Write the object files and the C files. The environment is as `main` sets it for the target."""
    from mpigd_kernels import native, prebuilt

    output.mkdir(parents=True, exist_ok=True)
    triple, tag = TARGETS[target][2], target.replace("-", "_")
    kernels = {each.kernel.named(each.variables): each for each in wanted(types, losses)}
    symbols, unreached, kept = {}, set(), set()
    for number, (name, each) in enumerate(sorted(kernels.items())):
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        symbols[name] = f"mpigd_{tag}_{digest}"
        path = output / f"{digest}-{_version(prebuilt.sources())}.o"
        if not path.exists():
            print(f"{target}: {number + 1} of {len(kernels)}: {name}", file=sys.stderr, flush=True)
            temporary = path.with_suffix(f".{os.getpid()}")
            temporary.write_bytes(each.kernel.compiled(each.variables, symbols[name], triple))
            temporary.replace(path)
        kept.add(path.name)
        unreached |= native.unreached(path.read_bytes())
    for path in output.glob("*.o"):
        if path.name not in kept and path.name != ALL:
            path.unlink()
    _write(output / "objects", "".join(f"{output.resolve() / name}\n" for name in sorted(kept)))
    _write(output / "kernels.c", _table(tag, symbols, sorted(unreached)))
    _write(output / "losses.c", _losses(losses, prebuilt.sources()))


def _version(sources: str) -> str:
    """What object files depend on, but for the target, which the directory is for."""
    from importlib.metadata import version

    text = " ".join([sources, version("numba"), version("llvmlite")])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _table(tag: str, symbols: dict[str, str], unreached: Sequence[str]) -> str:
    """C: kernels by name, in the order of strcmp; functions that are never called end the process."""
    return "\n".join(
        [
            '#include <stdlib.h>\n#include "kernels.h"\n',
            *(f"void {symbol}(void);" for symbol in symbols.values()),
            *(f"__attribute__((weak)) void {name}(void) {{ abort(); }}" for name in unreached),
            # An exception that the same paths refer to.
            '__attribute__((weak, visibility("hidden"))) void *PyExc_RuntimeError;',
            f"const mpigd_kernel_entry mpigd_kernels_{tag}[] = {{",
            *(f'    {{"{name}", {symbol}}},' for name, symbol in symbols.items()),
            "};",
            f"const size_t mpigd_kernels_{tag}_count = {len(symbols)};\n",
        ]
    )


def _losses(names: Sequence[str], sources: str) -> str:
    """C: what the library needs to know of losses, and what kernels were made from."""
    from mpigd_kernels import LOSSES

    variables = {"ROW": "float64", "WORK": "float64", "ROWS": 16}
    rows = []
    for loss in (LOSSES[name] for name in names):
        p = loss.parameter
        # Names of kernels end with their variables, of which the library writes its own.
        stages = [stage.named(variables).split()[0] for stage in (loss.tile, loss.product, loss.product_anew)]
        numbers = [p.default, p.low, min(p.high, 1e308)] if p else [0.0, -math.inf, math.inf]
        fields = [*map(_quoted, (loss.name, loss.target, loss.link, p.name if p else "")), *map(_number, numbers)]
        rows.append(f"    {{{', '.join([*fields, str(int(loss.smoothed)), *map(_quoted, stages)])}}},")
    return "\n".join(
        [
            '#include <math.h>\n#include "kernels.h"\n',
            "const mpigd_loss_entry mpigd_losses[] = {",
            *rows,
            "};",
            f"const size_t mpigd_losses_count = {len(rows)};",
            f'const char mpigd_sources[] = "{sources}";\n',
        ]
    )


def _quoted(text: str) -> str:
    return f'"{text}"'


def _number(value: float) -> str:
    return repr(value) if math.isfinite(value) else ("INFINITY" if value > 0.0 else "-INFINITY")


def _write(path: Path, text: str) -> None:
    """Write what is not there already, so that nothing is compiled anew for it."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def main() -> None:
    """Emit as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m mpigd_kernels.emit", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--target", required=True, choices=TARGETS)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--types", default=",".join(TYPES), help="of X; %(default)s")
    parser.add_argument("--losses", default="all", help="names, or all")
    given = parser.parse_args()
    # Read as the kernels' modules compile.
    os.environ["NUMBA_CPU_NAME"], os.environ["NUMBA_CPU_FEATURES"] = TARGETS[given.target][:2]
    os.environ["MPIGD_KERNELS"] = "jit"
    from mpigd_kernels import LOSSES

    losses = tuple(LOSSES) if given.losses == "all" else tuple(given.losses.split(","))
    types = tuple(given.types.split(","))
    for what, names, known in (("type", types, TYPES), ("loss", losses, LOSSES)):
        if unknown := [name for name in names if name not in known]:
            parser.error(f"there is no {what} {unknown[0]}; there are {', '.join(known)}")
    emit(given.target, given.output, types, losses)


if __name__ == "__main__":
    main()

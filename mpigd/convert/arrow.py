"""PyArrow, an optional dependency: what convert needs of it, or one sentence that says how to get it."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpigd.errors import UsageError

try:
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv
except ImportError as error:
    raise UsageError(f"convert needs pyarrow ({error}); install mpigd[convert]") from None

_PLAIN = {pa.float64().id, pa.float32().id, pa.int64().id, pa.int32().id, pa.string().id}

__all__ = ["csv", "numbers", "pa", "pc", "plain", "single_thread", "sort_of"]


def single_thread() -> None:
    """Keep this rank's pyarrow to one thread: ranks are the parallelism."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)


def sort_of(kind: Any) -> str:
    """What mpigd calls an Arrow type: number, text, date, or other."""
    types = pa.types
    if types.is_dictionary(kind):
        return sort_of(kind.value_type)
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "number"
    if types.is_null(kind):
        return "number"
    if types.is_string(kind) or types.is_large_string(kind) or kind == getattr(pa, "string_view", pa.string)():
        return "text"
    return "date" if types.is_temporal(kind) else "other"


def plain(values: Any) -> Any:
    """An array without dictionaries, booleans (0 and 1), decimals and chunks."""
    if isinstance(values, pa.ChunkedArray):
        values = (
            values.chunk(0) if values.num_chunks == 1 else pa.concat_arrays(values.chunks or [pa.nulls(0, values.type)])
        )
    if values.type.id in _PLAIN:
        return values
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if sort_of(values.type) == "text" and not pa.types.is_string(values.type):
        return values.cast(pa.large_string())
    if pa.types.is_boolean(values.type):
        return values.cast(pa.uint8())
    if pa.types.is_decimal(values.type) or pa.types.is_null(values.type):
        return values.cast(pa.float64())
    return values


def numbers(values: Any) -> np.ndarray:
    """The values (rows,) of a plain array of numbers in their own type; NaN, and a float type, where one is missing."""
    result: np.ndarray = values.to_numpy(zero_copy_only=False)
    return result

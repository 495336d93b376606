"""A pass over the bytes of the inputs before they are parsed, shared out among ranks: their hash, and open quotes.

A newline inside quotes ends no row, and whether a byte is inside quotes depends on all before it. So each rank counts
the quotes of its part, and sums over ranks tell each where it begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from mpigd.comm import Comm
from mpigd.convert import delimited, text
from mpigd.convert.source import Share, Source, readable


@dataclass(frozen=True)
class Scanned:
    """What one source is.

    digest : XXH3 of 128 bits of the digests of its parts of 1 MiB.
    odd : (parts,) bool, whether there is an odd number of quotes in each.
    """

    path: Path
    size: int
    digest: str
    odd: np.ndarray

    def described(self) -> dict[str, Any]:
        """Name, size and hash, for the output."""
        return {"name": self.path.name, "bytes": self.size, "xxh3_128_of_mebibytes": self.digest}


def scan(comm: Comm, sources: Sequence[Source]) -> list[Scanned]:
    """Read all sources once, each rank a part. A collective."""
    unit = text.UNIT
    sizes: list[int] = []
    with comm.agreement():
        if comm.rank == 0:
            sizes = [source.path.stat().st_size for source in sources]
    sizes = comm.share(sizes)
    parts = [-(-size // unit) for size in sizes]
    shares = dealt(parts, comm.size, comm.rank)
    digests: list[tuple[bytes, np.ndarray]] = []
    with comm.agreement():
        for source, (start, stop) in zip(sources, shares, strict=True):
            digests.append(_scan(source.path, start, stop, unit, isinstance(source, delimited.Delimited)))
    everyone = comm.gather(digests)
    found = []
    for index, source in enumerate(sources):
        digest = xxhash.xxh3_128_hexdigest(b"".join(each[index][0] for each in everyone))
        odd = np.concatenate([each[index][1] for each in everyone])
        found.append(Scanned(source.path, sizes[index], digest, odd))
    return found


def _scan(path: Path, start: int, stop: int, unit: int, quotes: bool) -> tuple[bytes, np.ndarray]:
    digests, odd = [], np.zeros(stop - start, bool)
    buffer = bytearray(unit)
    with readable(path, "a file"), path.open("rb", buffering=0) as file:
        file.seek(start * unit)
        for part in range(stop - start):
            got = 0
            while got < unit and (more := file.readinto(memoryview(buffer)[got:])):
                got += more
            whole = buffer if got == unit else buffer[:got]
            digests.append(xxhash.xxh3_128_digest(whole))
            if quotes and text.QUOTE in whole:
                odd[part] = whole.count(b'"') % 2
    return b"".join(digests), odd


def dealt(units: Sequence[int], size: int, rank: int) -> list[tuple[int, int]]:
    """For every source, the units start and stop of a rank's share: contiguous in all sources taken together."""
    total = sum(units)
    low, high = total * rank // size, total * (rank + 1) // size
    found, before = [], 0
    for count in units:
        found.append((min(max(low - before, 0), count), min(max(high - before, 0), count)))
        before += count
    return found


def shares(comm: Comm, sources: Sequence[Source], scanned: Sequence[Scanned]) -> list[Share]:
    """Which units of every source are for the own rank."""
    found = []
    ranges = dealt([source.units for source in sources], comm.size, comm.rank)
    for (start, stop), seen in zip(ranges, scanned, strict=True):
        quoted = (bool(seen.odd[:start].sum() % 2), bool(seen.odd[:stop].sum() % 2))
        found.append(Share(start, stop, quoted))
    return found

"""How a data set lies on disk, and what of it makes slices slow to read."""

from __future__ import annotations

from dataclasses import dataclass

from mpigd.hdf5 import damage_reported, open_file
from mpigd.storage import SPARSE, Header

KIB, MIB = 1 << 10, 1 << 20
SMALL_FILE = 16 * MIB  # of which the layout does not matter
SMALLEST_CHUNK, LARGEST_CHUNK = 16 * KIB, 64 * MIB
SHORTEST_ROW = 256  # bytes of a row in a chunk: each is copied by itself
FEWEST_CHUNKS = 64  # along the rows, so that some ranks get whole ones
ADVICE = "'mpigd convert' lays it out anew"


@dataclass(frozen=True)
class Layout:
    """X of the first file as it is stored: the others of a data set are mostly like it.

    chunk : shape of a chunk, empty where there are none.  filters : names of compression filters.
    stored, on_disk : bytes of the numbers of X in the first file, and of all files.
    """

    chunk: tuple[int, ...]
    filters: tuple[str, ...]
    stored: int
    on_disk: int


def layout_of(header: Header) -> Layout:
    """Look at the files of a data set. DataError where one can't be opened."""
    path, x = header.files[0].path, header.names.x
    with open_file(path) as file, damage_reported(path):
        parts = [file[x]] if header.stored is None else [file[x][part] for part in SPARSE]
        plist = parts[0].id.get_create_plist()
        names = [plist.get_filter(i)[3].decode(errors="replace").split(";")[0] for i in range(plist.get_nfilters())]
        stored = sum(part.id.get_storage_size() for part in parts)
        on_disk = sum(each.path.stat().st_size for each in header.files)
        return Layout(tuple(parts[0].chunks or ()), tuple(names), stored, on_disk)


def slow(header: Header, layout: Layout) -> list[str]:
    """What makes reading rows of X slower than it need be, one sentence each."""
    if header.stored is not None or len(layout.chunk) != 2 or header.bytes < SMALL_FILE:
        return []
    rows, columns = layout.chunk
    item = header.bytes // (header.n * header.d)
    chunk, across, down = rows * columns * item, -(-header.d // columns), -(-header.files[0].n // rows)
    shape, found = f"chunks of {rows} × {columns}", []
    if across > 1 and rows * header.d * item > LARGEST_CHUNK:
        found.append(
            f"{shape} hold many rows of few columns: whoever reads a row decompresses {rows} of all columns; "
            f"{ADVICE} with whole rows in a chunk"
        )
    elif across > 1 and columns * item < SHORTEST_ROW:
        found.append(f"{shape} cut every row into {across} short parts; {ADVICE} with whole rows in a chunk")
    elif across == 1 and chunk > LARGEST_CHUNK:
        found.append(f"{shape} are {chunk // MIB} MiB each, to be read as a whole; {ADVICE} in smaller ones")
    if chunk < SMALLEST_CHUNK:
        found.append(f"{shape} are {chunk} bytes each: finding them takes longer than reading; {ADVICE} in larger ones")
    if 1 < down < FEWEST_CHUNKS:
        found.append(f"{down} {shape} along the rows: ranks that share one each decompress it; {ADVICE}")
    return found

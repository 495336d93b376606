"""Compiled kernels: loaded from the cache without Numba, never from a damaged file, checked at each call."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mpigd_kernels as kernels
import numpy as np
import pytest
from mpigd_kernels import dense, native

FILL = """
import sys, numpy as np, mpigd_kernels as kernels
tiles = np.zeros((1, 2, 16))
kernels.fill_tiles(np.arange(6.0).reshape(3, 2), 0, tiles, np.zeros((1, 8)))
assert tiles[0, 1, :3].tolist() == [1.0, 3.0, 5.0] and tiles.sum() == 15.0
print("compiled" if "numba" in sys.modules else "loaded")
"""


def fill(cache: Path, **variables: str) -> str:
    """What a new process does to fill a tile, given a cache directory and variables of its environment."""
    environment = {**os.environ, "MPIGD_CACHE_DIR": str(cache), **variables}
    done = subprocess.run([sys.executable, "-c", FILL], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_second_process_loads_what_the_first_compiled(tmp_path: Path) -> None:
    assert fill(tmp_path / "new" / "cache") == "compiled"
    assert fill(tmp_path / "new" / "cache") == "loaded"
    assert len(list((tmp_path / "new" / "cache").iterdir())) == 1


def test_damaged_objects_are_replaced(tmp_path: Path) -> None:
    fill(tmp_path)
    [stored] = tmp_path.iterdir()
    whole = stored.read_bytes()
    for damaged in (whole[:-1], b"", whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]):
        stored.write_bytes(damaged)
        assert fill(tmp_path) == "compiled"
        assert len(stored.read_bytes()) == len(whole)


def test_without_a_writable_cache_every_process_compiles(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert fill(tmp_path / "file" / "cache") == "compiled"


def test_compiling_adds_nothing_to_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba colours its errors, those that it catches as well, where colorama is installed: that ends in a code."""
    lines = ("__version__ = '0.4.6'", "class Fore: ...", "class Style: ...", "def init(): print('coloured')")
    (tmp_path / "colorama.py").write_text("\n".join([*lines, "reinit = deinit = init"]))
    monkeypatch.delenv("NUMBA_DISABLE_ERROR_MESSAGE_HIGHLIGHTING", raising=False)  # set by this process for itself
    assert fill(tmp_path / "cache", PYTHONPATH=str(tmp_path)) == "compiled"


@pytest.mark.parametrize(
    "bad",
    [np.zeros((3, 2), np.float32), np.zeros((2, 3)).T, np.zeros(6)],
    ids=["type differs from the tiles'", "not C-contiguous", "wrong number of dimensions"],
)
def test_wrong_arguments_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(TypeError, match=r"fill_tiles: expected Array"):
        kernels.fill_tiles(bad, 0, np.zeros((1, 2, 16)), np.zeros((1, 8)))


def test_wrong_number_of_arguments_is_refused() -> None:
    with pytest.raises(ValueError, match="argument"):
        kernels.fill_tiles(np.zeros((3, 2)), 0, np.zeros((1, 2, 16)), np.zeros((1, 8)), 1)


def test_kernels_agree_with_their_source() -> None:
    """The machine code does what the Python function under it does."""
    tiles = np.random.default_rng(0).standard_normal((2, 3, 16))
    arguments = (tiles, 0, 2, np.ones(3), np.full(3, 2.0))  # powers of two: in Python a fused operation rounds twice
    compiled, plain = np.zeros((2, 16)), np.zeros((2, 16))
    dense.row_norms(*arguments, compiled)
    dense.row_norms.function(*arguments, plain)
    np.testing.assert_allclose(compiled, plain, rtol=1e-15)


def test_cache_directory_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPIGD_CACHE_DIR", "/somewhere")
    assert native.cache_directory() == Path("/somewhere")

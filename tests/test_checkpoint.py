"""Checkpoints: what is read is what was written, or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpigd_kernels.factor import factor

from mpigd import checkpoint
from mpigd.errors import DataError
from mpigd.fitting import Along, Progress
from mpigd.history import Held, Mark, Record
from mpigd.solvers import STATES


def progress(state: Any) -> Progress:
    along = Along(2.0, 0.1, 3.0, True, np.arange(2.0)[:, None], np.ones(1))
    first = checkpoint.CLASSES["State"](np.zeros((2, 1)), np.inf, np.array([[np.nan], [-0.0]]), 0, 1.0, 0.5)
    held = Held(0.5, first, 0.25, 2)
    return Progress(7, first, state, Mark(1, 2.5, 1e-300), np.array([2.0, 1.0]), 1, (along,), 3, 0.1, 2, "", held)


def state_of(kind: Any) -> Any:
    more: dict[str, Any] = {}
    names = kind.__dataclass_fields__
    if "metric" in names and names["metric"].type == "Factor | None":
        more["metric"] = factor(np.diag([1.0, 2.0]))
    if "factor" in names:
        more["factor"] = factor(np.diag([3.0, 2.0]))
    if "table" in names:
        more |= {"table": np.random.default_rng(0).standard_normal((3, 2, 1)), "place": 2}
    return kind(np.full((2, 1), 0.1), 0.25, np.full((2, 1), 1e-9), 4, 5.5, 0.125, **more)


def same(a: Any, b: Any) -> bool:
    """Whether two values have the same types and bits throughout."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if isinstance(a, float):
        return np.float64(a).tobytes() == np.float64(b).tobytes()
    if hasattr(a, "__dataclass_fields__"):
        return type(a) is type(b) and all(same(getattr(a, n), getattr(b, n)) for n in a.__dataclass_fields__)
    if isinstance(a, tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("kind", STATES)
def test_every_state_comes_back_bit_for_bit(tmp_path: Path, kind: Any) -> None:
    path, at = tmp_path / "c.h5", progress(state_of(kind))
    records = (Record(0, 1.0, 0.5, 0.25, 1.0, 2.0, 3.0, 4.0),)
    checkpoint.write(path, at=at, records=records, fingerprint="abc")
    found = checkpoint.read(path)
    assert found.keys() == {"at", "records", "fingerprint"}
    assert same(found["at"], at)
    assert same(found["records"], records)


def test_states_are_all_that_solvers_have() -> None:
    def below(kind: Any) -> set[Any]:
        return {kind}.union(*map(below, kind.__subclasses__()))

    assert below(checkpoint.CLASSES["State"]) == set(STATES)


def test_a_torn_file_is_never_taken_for_whole(tmp_path: Path) -> None:
    """Cut at every byte, and with every byte of it changed."""
    whole, torn = tmp_path / "whole.h5", tmp_path / "torn.h5"
    checkpoint.write(whole, at=progress(state_of(STATES[0])))
    content = whole.read_bytes()
    for length in range(len(content)):
        torn.write_bytes(content[:length])
        with pytest.raises(DataError, match="damaged checkpoint"):
            checkpoint.read(torn)
    for place in range(0, len(content), 1 if len(content) < 30_000 else 7):
        torn.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(DataError, match="damaged checkpoint"):
            checkpoint.read(torn)


def test_the_newest_that_is_whole_is_found(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path) is None
    (tmp_path / checkpoint.FIT).mkdir()
    for step in (3, 20, 100):
        checkpoint.write(checkpoint.path_of(tmp_path, step), at=progress(state_of(STATES[0])), fingerprint=str(step))
    newest = checkpoint.path_of(tmp_path, 100)
    newest.write_bytes(newest.read_bytes()[:-1])
    found = checkpoint.newest(tmp_path)
    assert found is not None
    path, values, problems = found
    assert (path.name, values["fingerprint"], len(problems)) == ("step-000000000020.h5", "20", 1)
    checkpoint.thin_out(tmp_path, 1)
    assert checkpoint.names_in(tmp_path) == [newest]
    with pytest.raises(DataError, match="no older one is left"):
        checkpoint.newest(tmp_path)


def test_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(b"")
    with pytest.raises(DataError, match="damaged"):
        checkpoint.read(path)
    with pytest.raises(DataError, match="can't be read"):
        checkpoint.read(tmp_path / "none.h5")
    with pytest.raises(TypeError, match="can't hold a function"):
        checkpoint.write(path, at=progress)

"""Damaged files end in a model of what they hold, or in one error: no crash, no hang, no wrong model.

MPIGD_FUZZ=2000 tries so many of every kind instead of a few.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import fuzz
import pytest
from conftest import mpirun

COUNT = int(os.environ.get("MPIGD_FUZZ", "40"))
SEED = int(os.environ.get("MPIGD_FUZZ_SEED", "0"))
NEVER_BACK = "HDF5 does not come back from reading"  # what is said where the library itself loops


@pytest.mark.timeout(240 + COUNT)
@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_damaged_files(tmp_path: Path, kind: str) -> None:
    first, log, endless = 0, tmp_path / "outcomes.jsonl", 0
    while first < COUNT:
        job = (fuzz.__file__, tmp_path, SEED, kind, first, COUNT)
        done = mpirun(*job, ranks=2, module=False, timeout=220 + COUNT, MPIGD_HEADER_SECONDS="5")
        last = int((tmp_path / "last").read_text().split()[-1])
        if done.status:
            assert NEVER_BACK in done.err, f"{(tmp_path / 'last').read_text()}: {done.err[-3000:]}"
            endless += 1
        first = last + 1
    outcomes = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(outcomes) + endless == COUNT
    assert [outcome for outcome in outcomes if outcome[2] not in (["fitted"], ["refused"])] == []
    found = [outcome[2][0] for outcome in outcomes]
    assert min(found.count("fitted"), found.count("refused")) > COUNT // 20  # else nothing is shown
